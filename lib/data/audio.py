"""Audio files: decode, mix down to mono, resample, cut.

libsndfile decodes what it knows, FFmpeg (through PyAV) the rest: m4a, aac, wma, opus in mp4 and so on.
"""

import contextlib
import hashlib
from pathlib import Path

import numpy as np

_KNOWN = "WAV, FLAC, OGG, AIFF, MP3, M4A or another format that FFmpeg reads"
_LOUDEST = 2.0**31  # full scale of 32-bit integers kept as floats; far above it, a network's sums overflow
_WARM_UP_SECONDS = 1.0  # decoded before a span and dropped: the first 0.15 s of Opus after a jump sound otherwise


class AudioError(ValueError):
    """An audio file cannot be used; the message is one sentence that says which, why and what to do."""


def load(path, sample_rate, *, start=0.0, seconds=None):
    """Decode a file to mono samples at one rate.

    Channels are averaged in float32, and soxr resamples at its `HQ` setting. The level is left as it is: some networks
    hear it.

    Parameters
    ----------
    path : path-like
        A file that libsndfile or FFmpeg reads, any number of channels, any rate.
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
        If the file is missing, empty, not audio, holds NaN, infinite or absurdly large samples (above 2 ** 31), or has
        no samples in the span.

    Examples
    --------
    >>> waveform = load("clip.flac", 16000, seconds=30)  # doctest: +SKIP
    >>> waveform.dtype, waveform.ndim  # doctest: +SKIP
    (dtype('float32'), 1)
    """
    import soxr

    mono, rate = read(path, start=start, seconds=seconds)
    n_samples = len(mono)
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate, "HQ")
    if not len(mono):
        raise AudioError(
            f"Expected audio in {path}, but its {n_samples} samples at {rate} Hz leave no samples at "
            f"{sample_rate} Hz; replace the file or leave the track out."
        )
    return np.ascontiguousarray(mono, dtype=np.float32)


def read(path, *, start=0.0, seconds=None):
    """Decode a file to mono samples at its own rate.

    Parameters
    ----------
    path, start, seconds
        As for `load`.

    Returns
    -------
    (numpy.ndarray, int)
        float32, shape (samples,), and their rate in Hz.

    Raises
    ------
    AudioError
        As for `load`.
    """
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
    if not (mono.min() >= -_LOUDEST and mono.max() <= _LOUDEST):  # NaN is neither
        raise AudioError(_unusable(path, mono))
    return mono, rate


def duration(path):
    """Length of a file in seconds, from its header; of a stream saved without one, from its packets.

    Parameters
    ----------
    path : path-like
        As for `load`.

    Returns
    -------
    float

    Raises
    ------
    AudioError
        If it is missing, empty or not audio.

    Examples
    --------
    >>> duration("clip.flac")  # doctest: +SKIP
    30.0
    """
    import soundfile

    path = _existing(path)
    try:
        found = soundfile.info(path)
        return found.frames / found.samplerate
    except soundfile.LibsndfileError:
        return _duration_with_ffmpeg(path)


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
    except soundfile.LibsndfileError:
        return _decode_with_ffmpeg(path, start, seconds)


def _decode_with_ffmpeg(path, start, seconds):
    """As `_decode`, for what libsndfile does not know; only the span is decoded."""
    av = _ffmpeg(path)
    with _opened(path) as container:
        stream = container.streams.audio[0]
        rate = stream.rate
        first, last = round(start * rate), None if seconds is None else round((start + seconds) * rate)
        planar = av.AudioResampler(format="fltp", layout=stream.layout, rate=rate)
        parts, at = [], None
        try:
            if start > _WARM_UP_SECONDS:
                container.seek(int((start - _WARM_UP_SECONDS) / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                at = round(float(frame.pts * frame.time_base) * rate) if at is None else at
                for plain in planar.resample(frame):
                    samples = plain.to_ndarray().T
                    low, high = max(first - at, 0), len(samples) if last is None else max(last - at, 0)
                    parts.append(samples[low:high])
                    at += len(samples)
                if last is not None and at >= last:
                    break
        except av.FFmpegError as error:
            raise AudioError(_refusal(path)) from error
        return np.concatenate(parts) if parts else np.empty((0, 1), np.float32), rate


def _duration_with_ffmpeg(path):
    """Seconds of the audio alone: pictures beside it may last longer."""
    with _opened(path) as container:
        stream = container.streams.audio[0]
        if stream.duration:
            return float(stream.duration * stream.time_base)
        if container.duration:
            return container.duration / 1e6
        ends = (packet.pts + (packet.duration or 0) for packet in container.demux(stream) if packet.pts is not None)
        return float(max(ends, default=0) * stream.time_base)


def _ffmpeg(path):
    """The package av, or a sentence."""
    try:
        import av
    except ImportError:
        raise AudioError(
            f"Expected the package av to read {path}, which libsndfile does not, found it not installed: install "
            "requirements.txt, or convert the file to FLAC."
        ) from None
    return av


@contextlib.contextmanager
def _opened(path):
    """An FFmpeg container that holds audio."""
    av = _ffmpeg(path)
    try:
        container = av.open(str(path))
    except (av.FFmpegError, ValueError) as error:
        raise AudioError(_refusal(path)) from error
    with container:
        if not container.streams.audio:
            raise AudioError(_refusal(path))
        yield container


def _unusable(path, mono):
    if np.isfinite(mono).all():
        found = f"one of {np.abs(mono).max():.3g}"
        return (
            f"Expected samples between -1 and 1 in {path}, found {found}; export the file again or leave the track out."
        )
    bad = int((~np.isfinite(mono)).sum())
    return (
        f"Expected finite samples in {path}, but {bad} of {len(mono)} are NaN or infinite; export the file again "
        "or leave the track out."
    )


def _refusal(path):
    return (
        f"Expected audio ({_KNOWN}) in {path}, but its content is none of these or is damaged; "
        "check that the file is what its name says, convert it, or leave the track out."
    )
