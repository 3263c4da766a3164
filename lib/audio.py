"""Audio files: decode, mix down to mono, resample, cut.

Public: `load`, `audio_hash`, `AudioError`.
"""

import hashlib
from pathlib import Path

import numpy as np

_KNOWN = "WAV, FLAC, OGG, AIFF or MP3"


class AudioError(ValueError):
    """An audio file cannot be used; the message is one sentence that says which, why and what to do."""


def load(path, sample_rate, *, start=0.0, seconds=None):
    """Decode a file to mono samples at one rate.

    libsndfile decodes, channels are averaged in float32, and soxr resamples at its `HQ` setting. The level is left as
    it is: some networks hear it.

    Parameters
    ----------
    path : path-like
        A file that libsndfile reads (WAV, FLAC, OGG, AIFF, MP3), any number of channels, any rate.
    sample_rate : int
        Rate of what is returned, in Hz.
    start : float
        Where to begin, in seconds from the beginning of the file.
    seconds : float or None
        Length to read at most, in seconds; None reads to the end.

    Returns
    -------
    numpy.ndarray
        float32, shape (samples,), nominally in [-1, 1].

    Raises
    ------
    AudioError
        If the file is missing, empty, not audio, holds NaN or infinite samples, or has no samples in the span.

    Examples
    --------
    >>> waveform = load("clip.flac", 16000, seconds=30)  # doctest: +SKIP
    >>> waveform.dtype, waveform.ndim  # doctest: +SKIP
    (dtype('float32'), 1)
    """
    import soxr

    path = _existing(path)
    samples, rate = _decode(path, start, seconds)
    if not len(samples):
        span = "" if start == 0 and seconds is None else f" from {start:g} s on"
        raise AudioError(
            f"Expected audio in {path}, but it holds no samples{span}; replace the file, choose another span, "
            "or leave the track out."
        )
    channels = samples.shape[1]
    mono = samples @ np.full(channels, 1 / channels, np.float32)  # 30 times as fast as .mean(axis=1)
    if not np.isfinite(mono).all():
        bad = int((~np.isfinite(mono)).sum())
        raise AudioError(
            f"Expected finite samples in {path}, but {bad} of {len(mono)} are NaN or infinite; export the file again "
            "or leave the track out."
        )
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate, "HQ")
    if not len(mono):
        raise AudioError(
            f"Expected audio in {path}, but its {len(samples)} samples at {rate} Hz leave no samples at "
            f"{sample_rate} Hz; replace the file or leave the track out."
        )
    return np.ascontiguousarray(mono, dtype=np.float32)


def audio_hash(path):
    """Fingerprint a file's bytes.

    Parameters
    ----------
    path : path-like
        Any file.

    Returns
    -------
    str
        SHA-256, 64 hexadecimal digits.

    Raises
    ------
    AudioError
        If the file is missing or empty.

    Examples
    --------
    >>> audio_hash("clip.flac")[:8]  # doctest: +SKIP
    '5feceb66'
    """
    with _existing(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _existing(path):
    """Return the path if it is a file with something in it."""
    path = Path(path)
    if not path.is_file():
        raise AudioError(
            f"Expected an audio file at {path}, found {'a folder' if path.is_dir() else 'nothing'}; "
            "check the track's path or leave the track out."
        )
    if path.stat().st_size == 0:
        raise AudioError(
            f"Expected audio in {path}, found a zero-length file; copy or render it again, or leave the track out."
        )
    return path


def _decode(path, start, seconds):
    """Read float32 samples of shape (frames, channels) and the file's rate."""
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            first = round(start * file.samplerate)
            if first:
                file.seek(min(first, file.frames))
            wanted = -1 if seconds is None else round(seconds * file.samplerate)
            return file.read(wanted, dtype="float32", always_2d=True), file.samplerate
    except soundfile.LibsndfileError as error:
        raise AudioError(
            f"Expected audio ({_KNOWN}) in {path}, but its content is none of these or is damaged; "
            "check that the file is what its name says, convert it, or leave the track out."
        ) from error
