"""Backends: frozen networks (and MFCC) that turn a waveform into one vector.

Public: `Backend` (the contract), `create`, `names`, `REGISTRY` (what a card says of each), `LABELS`, `UNTRAINED`,
`PAPER_NAMES`. An adapter is one module here; it is imported when it is asked for, and with it its heavy packages. A
backend of one's own is one file here, ``own_<name>.py``, which says in ``ENTRIES`` what the registry says of the others
(docs/adding.md).
"""

import hashlib
import importlib
import inspect
import json
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path

import numpy as np

from lib.backends.names import LABELS, PAPER_NAMES
from lib.backends.registry import REGISTRY, UNTRAINED, Entry
from lib.data import audio

__all__ = ["LABELS", "PAPER_NAMES", "REGISTRY", "UNTRAINED", "Backend", "Entry", "create", "names"]

_CALIBRATION = Path(__file__).with_name("calibration.py")


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
                f"lib.data.audio.load(path, {self.sample_rate})."
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
            and of the code in between, for twins that of their calibration too.

        Examples
        --------
        >>> len(create("mfcc").fingerprint())
        16
        """
        parts = ("name", "checkpoint", "revision", "sample_rate", "frontend", "layer", "pooling")
        identity = {part: getattr(self, part) for part in parts} | {"code": self.code_digest()}
        if (
            self.name in UNTRAINED.values()
        ):  # not in the digest of the code: twins share their features with the trained
            identity["calibration"] = hashlib.sha256(_CALIBRATION.read_bytes()).hexdigest()[:8]
        text = json.dumps(identity, sort_keys=True)
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
                f"{waveform.dtype} of shape {waveform.shape}; load it with lib.data.audio.load."
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


def _register_own():
    """Add the backends of all files ``own_*.py`` beside this one to the registry."""
    for path in sorted(path for folder in __path__ for path in Path(folder).glob("own_*.py")):
        entries = importlib.import_module(f"{__name__}.{path.stem}").ENTRIES
        taken = sorted(set(entries) & set(REGISTRY))
        if taken:
            raise ValueError(
                f"Expected new ids of backends in {path.name}, found {taken[0]!r}, which there is; rename it."
            )
        for name, entry in entries.items():
            REGISTRY[name] = replace(entry, adapter=path.stem)
            LABELS[name] = entry.label or name
            if entry.untrained:
                UNTRAINED[name] = entry.untrained


_register_own()
