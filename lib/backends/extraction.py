"""From clips to vectors: decode once, embed in batches, keep what is done, leave out what fails and say so.

Vectors are cached by what made them (audio hash, backend, checkpoint, layer, pooling, code version), so a killed run
loses at most the batches in flight and studies that share audio share the work. A study's own table is then made in one
go from the cache.
"""

import hashlib
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from lib import backends
from lib.backends.vectors import Vectors, VectorStore
from lib.data import audio
from lib.study import devices, resolve
from lib.study.progress import progress as show
from lib.study.progress import say
from lib.study.tables import write_atomically

__all__ = ["extract", "network"]


UNTRAINED_SEED = 0  # of the draw of untrained twins
CALIBRATION_CLIPS = 32  # train clips on which their batch-norm statistics are set
DECODERS_BESIDE_GPU = 8  # threads; a network on the processor takes so much longer than decoding that one will do
CLIPS_AHEAD = 16
BUCKETS = 4  # batches' worth of clips that are sorted by length together
HELD_BYTES = 2**28  # of decoded clips that wait to be sorted; long recordings fill it before BUCKETS does
MOST_CLIPS = 64  # a batch on a GPU; more gains little, and would be lost when a run is killed
ROOMY = 0.4  # share of a GPU's memory below which twice the batch will fit
TOLD = 10  # failed clips that are named one by one


class Extraction(NamedTuple):
    """What an extraction did.

    Attributes
    ----------
    embedded : int
        Clips that went through the network now.
    reused : int
        Clips whose vector was in the cache.
    failed : DataFrame
        ``track_id, path, reason``, one row a clip that is left out.
    """

    embedded: int
    reused: int
    failed: pd.DataFrame

    def in_words(self):
        """A sentence on what was done, what was there and what is left out."""
        done = f"{self.embedded} clips embedded now, {self.reused} were there already"
        return f"{done}, {len(self.failed)} failed and are left out"


def extract(tracks, backend, store, cache, *, keep_features=True, batch_size=8, progress=show):
    """Fill a study's table of one backend.

    Parameters
    ----------
    tracks : DataFrame
        ``track_id, path``.
    backend : Backend
    store : VectorStore
        The study's; its table of the backend's name is made anew.
    cache : Path
        Folder that studies share: vectors by audio hash, and features that several networks have in common.
    keep_features : bool
        Keep those features (0.7 MB a 30 s clip for log-mel spectrograms); without, each network computes its own.
    batch_size : int
        Clips that go through the network together and are written together. On a GPU the first batch; it is doubled
        while most of the memory is free, up to `MOST_CLIPS`. Anywhere it is halved when memory is full.
    progress : callable
        As ``lib.study.progress.progress``.

    Returns
    -------
    Extraction

    Raises
    ------
    ValueError
        When not a single clip could be embedded.
    """
    cached = VectorStore(Path(cache) / "vectors.lance")
    key = f"{backend.name}-{backend.fingerprint()}"
    hashes, failures = _hashes(tracks)
    known = set(cached.ids(key))
    waiting = [track for track in _order(hashes, key) if hashes[track] not in known]
    paths = dict(zip(tracks["track_id"], tracks["path"], strict=True))

    def decode(track):
        return features(resolve(paths[track]), hashes[track], backend, cache if keep_features else None)

    size = BatchSize(batch_size, getattr(backend, "device", "cpu"))
    decoded = progress(
        _ahead(waiting, decode, _decoders(size.device)), total=len(waiting), label=f"embed {backend.name}", unit="clip"
    )
    embedded = 0
    for batch in _batches(decoded, size, failures):
        values = _embedded(batch, backend, size, failures)
        if values:
            digests = [hashes[track] for track in values]
            cached.append(key, digests, np.stack(list(values.values())), backend.metadata())
        embedded += len(values)
    _report(failures)
    _publish(hashes, failures, cached, key, backend, store)
    failed = pd.DataFrame(
        [(track, paths[track], reason) for track, reason in sorted(failures.items())],
        columns=["track_id", "path", "reason"],
    )
    return Extraction(embedded, len(hashes) - len(waiting), failed)


class BatchSize:
    """Clips that go through a network at a time, as many as its device has shown to hold.

    Parameters
    ----------
    first : int
        What to begin with.
    device : str or torch.device

    Attributes
    ----------
    now : int
    """

    def __init__(self, first, device):
        self.now, self.device = first, device
        self._grows = devices.peak_share(device) is not None

    def worked(self, clips):
        """A batch of so many clips went through."""
        if self._grows and clips == self.now < MOST_CLIPS and devices.peak_share(self.device) < ROOMY:
            self.now = min(2 * self.now, MOST_CLIPS)

    def failed(self, clips):
        """A batch of so many clips did not fit."""
        self.now, self._grows = max(1, clips // 2), False


def features(path, audio_hash, backend, cache=None):
    """Features of a clip as a backend's network wants them, from the cache where several networks share them.

    Parameters
    ----------
    path : Path
    audio_hash : str
        Key in the cache.
    backend : Backend
    cache : Path, optional
        None computes them anew.

    Returns
    -------
    ndarray of float32
    """
    file = (
        Path(cache) / "features" / f"{backend.frontend}-{backend.code_digest()}" / f"{audio_hash}.npy"
        if cache and backend.frontend
        else None
    )
    if file and file.is_file():
        return np.load(file, allow_pickle=False)
    found = backend.features(audio.load(path, backend.sample_rate))
    if file:
        with write_atomically(file) as beside:
            np.save(beside, found)
    return found


def network(name, tracks, parameters):
    """Make a backend as a study asks for it.

    Parameters
    ----------
    name : str
        Its id; twins of networks with batch normalisations are calibrated here.
    tracks : DataFrame
        ``track_id, path`` of the clips that may be used for that, in a fixed order.
    parameters : Parameters
        `layer`, `pooling` and `device` count where the adapter has the choice.

    Returns
    -------
    Backend

    Raises
    ------
    ValueError
        Where its weights are not there (the sentence says which files to put where), or an option is not among its.
    """
    p = parameters
    given = {"device": devices.claim(p.device)} if "device" in backends.options(name) else {}
    given |= {"layer": p.layer} if p.layer >= 0 else {}
    given |= {"pooling": p.pooling} if p.pooling else {}
    if name in backends.UNTRAINED.values():
        given |= {"seed": UNTRAINED_SEED}
        if "calibration" in backends.options(name):
            given |= {"calibration": calibration(tracks, name, CALIBRATION_CLIPS)}
    return backends.create(name, **{option: given[option] for option in backends.options(name) if option in given})


def calibration(tracks, name, n_clips):
    """Waveforms of some clips, evenly spread over `tracks`, on which an untrained twin's statistics are set.

    Parameters
    ----------
    tracks : DataFrame
        ``track_id, path``, in a fixed order; clips that cannot be read are passed over.
    name : str
        The twin's id.
    n_clips : int

    Returns
    -------
    list of ndarray
        As ``backends.create(name, calibration=…)`` takes them.
    """
    step = max(1, len(tracks) // n_clips)
    found = []
    for path in tracks["path"].iloc[::step].head(n_clips):
        try:
            found.append(audio.load(resolve(path), backends.REGISTRY[name].sample_rate))
        except audio.AudioError as error:
            say(f"not used for calibration: {error}")
    return found


def embed_files(paths, backend):
    """Vectors of some audio files, without a store.

    Parameters
    ----------
    paths : sequence of path
    backend : Backend

    Returns
    -------
    (DataFrame, dict)
        Rows ``track_id`` (the file's stem) and ``vector`` in the order of `paths`, and {path: reason} of the
        others.

    Raises
    ------
    ValueError
        When two files have the same stem.
    """
    stems = [Path(path).stem for path in paths]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise ValueError(
            f"Expected files with different stems, found {twice[0]!r} more than once: a stem becomes the track_id."
        )
    rows, failures = [], {}
    for path, stem in zip(show(paths, label=f"embed {backend.name}", unit="file"), stems, strict=False):
        try:
            rows.append((stem, backend.embed_features([features(path, stem, backend)])[0]))
        except ValueError as error:
            failures[str(path)] = str(error)
    return pd.DataFrame(rows, columns=["track_id", "vector"]), failures


def _hashes(tracks):
    hashes, failures = {}, {}
    for track, path in zip(tracks["track_id"], tracks["path"], strict=True):
        try:
            hashes[track] = audio.audio_hash(resolve(path))
        except audio.AudioError as error:
            failures[track] = str(error)
    return hashes, failures


def _order(hashes, key):
    """Tracks in an order of the backend's own, so that networks side by side seldom compute the same."""
    tracks = sorted(hashes)
    start = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "little") % max(len(tracks), 1)
    return tracks[start:] + tracks[:start]


def _decoders(device):
    return 1 if str(device) == "cpu" else min(DECODERS_BESIDE_GPU, os.cpu_count())


def _ahead(waiting, decode, decoders):
    """Each track with its features, or with the error that took their place, decoded while the network is busy."""
    pending = deque()
    with ThreadPoolExecutor(decoders) as pool:
        try:
            for track in waiting:
                pending.append((track, pool.submit(decode, track)))
                if len(pending) > CLIPS_AHEAD:
                    yield _result(*pending.popleft())
            while pending:
                yield _result(*pending.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _result(track, future):
    try:
        return track, future.result()
    except ValueError as error:
        return track, error


def _batches(decoded, size, failures):
    """Batches {track: features} of like length, so that little is padded; failures are noted and passed over.

    Clips of one length make a batch as soon as there are enough of them. Others are gathered until there are `BUCKETS`
    batches of them or they fill `HELD_BYTES`, then sorted by length and cut.
    """
    held = {}
    for track, found in decoded:
        if isinstance(found, ValueError):
            failures[track] = str(found)
            continue
        held[track] = found
        alike = [name for name, other in held.items() if len(other) == len(found)]
        if len(alike) >= size.now:
            yield {name: held.pop(name) for name in alike[: size.now]}
        elif len(held) >= BUCKETS * size.now or sum(other.nbytes for other in held.values()) >= HELD_BYTES:
            yield from _cut(held, size)
            held = {}
    yield from _cut(held, size)


def _cut(held, size):
    by_length = sorted(held, key=lambda track: len(held[track]))  # stable: equal lengths stay in order
    while by_length:
        batch, by_length = by_length[: size.now], by_length[size.now :]
        yield {track: held[track] for track in batch}


def _embedded(batch, backend, size, failures):
    """Vectors of a batch {track: features}; where that fails, of its parts, so that one clip cannot spoil it."""
    try:
        values = dict(zip(batch, backend.embed_features(list(batch.values())), strict=True))
    except (ValueError, RuntimeError, MemoryError) as error:
        full = devices.is_out_of_memory(error)
        tracks = list(batch)
        if len(tracks) == 1:
            failures[tracks[0]] = _too_large(batch[tracks[0]], size.device) if full else str(error)
            return {}
        if full:
            size.failed(len(tracks))
        step = size.now if full else 1
    else:
        size.worked(len(batch))
        return values
    values = {}  # out of the handler, which would keep what the failed attempt held
    for start in range(0, len(tracks), step):
        part = {track: batch[track] for track in tracks[start : start + step]}
        values |= _embedded(part, backend, size, failures)
    return values


def _too_large(features, device):
    return (
        f"Expected a clip that fits into the memory of {device}, found one of {features.nbytes / 1e6:.1f} MB decoded; "
        "cut it into excerpts, or set device to cpu."
    )


def _publish(hashes, failures, cached, key, backend, store):
    ready = {track: digest for track, digest in hashes.items() if track not in failures}
    if not ready:
        first = next(iter(failures.values()), "there are no tracks")
        raise ValueError(
            f"Expected at least one clip that {backend.name} can embed, "
            f"found none of {len(failures)}; the first: {first}"
        )
    values = cached.read(key).take(list(ready.values()))
    store.replace(backend.name, Vectors.of(list(ready), values), backend.metadata())


def _report(failures):
    named = sorted(failures.items())
    for track, reason in named[:TOLD]:
        say(f"left out {track}: {reason}")
    if len(named) > TOLD:
        say(f"left out {len(named) - TOLD} clips more; the table of failed clips has them all")
