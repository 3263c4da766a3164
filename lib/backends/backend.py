"""The contract of a backend: waveforms in, vectors out, and a fingerprint of what lies between.

Public: `Backend`.
"""

import ast
import functools
import hashlib
import importlib.util
import inspect
import json
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np

from lib.backends.registry import REGISTRY, UNTRAINED, network_module
from lib.data import audio

_HERE = Path(__file__).parent
_TWINS = _HERE / "twins.py"
_COMPUTING = ("networks", "architectures")  # packages beside this module whose code decides a vector


class Backend(ABC):
    """The contract: waveforms in, one float32 vector per clip out; frozen, and no clip depends on its batch.

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
            One array per clip.

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
                "correct `dim` in its entry, or what its module returns."
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
        if self.name in UNTRAINED.values():  # not in the digest of the code: the trained network has the same features
            identity["calibration"] = hashlib.sha256(_TWINS.read_bytes()).hexdigest()[:8]
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
            "name", "checkpoint", "revision", "sample_rate", "layer", "pooling", "dim", "training", "licence",
            "citation",
        )  # fmt: skip
        return {part: str(getattr(self, part)) for part in parts} | {"fingerprint": self.fingerprint()}

    def code_digest(self):
        """Return a digest of the code between a file and a vector.

        That is the backend's module in `networks`, the modules of `networks` and `architectures` that it imports,
        directly or not, and the decoder.
        """
        kinds = type(self).__mro__[: type(self).__mro__.index(Backend)]
        files = {Path(inspect.getfile(kind)) for kind in kinds}
        if self.name in REGISTRY:
            files.add(Path(network_module(self.name).__file__))
        sources = _reached(files) | {Path(audio.__file__): Path(audio.__file__).read_bytes()}
        return hashlib.sha256(b"".join(sources[path] for path in sorted(sources))).hexdigest()[:8]

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


def _reached(files):
    """Sources, {path: bytes}, of some files and of what they import of `networks` and `architectures`."""
    waiting, found = list(files), {}
    while waiting:
        path = waiting.pop()
        if path not in found:
            found[path] = path.read_bytes()
            waiting += _imported(found[path])
    return found


@functools.lru_cache(maxsize=64)
def _imported(source):
    """Files of `networks` and `architectures` that a module imports, at its top or inside a function."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")  # both packages are one level below lib.backends
            origin = importlib.util.resolve_name(origin, f"{__package__}.networks")
            names |= {origin, *(f"{origin}.{alias.name}" for alias in node.names)}
    paths = {
        _HERE / place / f"{name.split('.')[3]}.py"
        for place in _COMPUTING
        for name in names
        if name.startswith(f"lib.backends.{place}.")
    }
    return {path for path in paths if path.is_file()}
