"""Sound from notes: a soundfont synthesiser, a room, a tilt of the spectrum, one loudness for all.

A fresh synthesiser for each clip gives the same samples every time; one that has played before does not. The soundfont
is TimGM6mb, used in place inside the user's installation of pretty_midi (it is GPL-2: never copied), or a path.
"""

import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import math
from pathlib import Path

import numpy as np

from lib.data.sources.scores.arrangements import ROOMS
from lib.study.provenance import file_hash
from lib.study.tables import write_atomically

RENDERER_VERSION = 1  # raise it when the same specification comes to sound different
SAMPLE_RATE = 44_100
LOUDNESS = -23.0  # LUFS (EBU R 128)
PEAK = 0.98
FADE_SECONDS = 0.02
ARTICULATION = 0.95  # share of a note's length it is held
_DRUM_CHANNEL = 9


class RenderingError(ValueError):
    """A clip could not be rendered."""


def soundfont_path(path=None):
    """The soundfont to use: `path`, or TimGM6mb.sf2 in the installed pretty_midi.

    Raises
    ------
    RenderingError
        When there is no such file.

    Examples
    --------
    >>> soundfont_path().name
    'TimGM6mb.sf2'
    """
    if path is None:
        spec = importlib.util.find_spec("pretty_midi")
        if spec is None:
            raise RenderingError(
                "Expected the package pretty_midi, which carries a soundfont, found none: install it with "
                "`pip install pretty_midi` or give the path of a soundfont."
            )
        path = Path(spec.submodule_search_locations[0]) / "TimGM6mb.sf2"
    path = Path(path)
    if not path.is_file():
        raise RenderingError(f"Expected a soundfont at {path}, found no such file: correct the path.")
    return path


@functools.cache
def renderer_fingerprint(soundfont):
    """What else decides the samples: this module's version, the synthesiser's and the soundfont's content.

    Parameters
    ----------
    soundfont : Path

    Returns
    -------
    str
    """
    digest = hashlib.sha256(Path(soundfont).read_bytes()).hexdigest()
    return f"{RENDERER_VERSION}/tinysoundfont {importlib.metadata.version('tinysoundfont')}/{digest}"


def track_id(specification):
    """Sixteen hexadecimal digits that stand for all that decides a clip's samples.

    Parameters
    ----------
    specification : dict
        Plain values; see ``lib.data.sources.scores.collection``.

    Examples
    --------
    >>> len(track_id({"room": "hall"}))
    16
    """
    text = json.dumps(specification, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def schedule(notes, quarters, quarters_a_minute, transposition, seconds):
    """Notes as they sound in a clip; a piece shorter than the clip starts again.

    Parameters
    ----------
    notes : array_like, shape (n, 5)
        Onset and duration in quarters, MIDI pitch, velocity, part.
    quarters : float
        Length of the score.
    quarters_a_minute : float
    transposition : int
        Semitones.
    seconds : float
        Length of the clip.

    Returns
    -------
    ndarray of float, shape (m, 5)
        Onset and duration in seconds, pitch, velocity, part; by onset.

    Examples
    --------
    >>> schedule([[0, 1, 60, 80, 0]], 2, 60, 2, 3.0)[:, :3].tolist()
    [[0.0, 1.0, 62.0], [2.0, 1.0, 62.0]]
    """
    events = np.array(notes, dtype=float)
    events[:, 0] -= events[:, 0].min()
    period = max(quarters, (events[:, 0] + events[:, 1]).max())
    times = math.ceil(seconds * quarters_a_minute / 60 / period)
    events = np.concatenate([events + np.array([turn * period, 0, 0, 0, 0]) for turn in range(times)])
    events[:, :2] *= 60 / quarters_a_minute
    events[:, 2] = np.clip(events[:, 2] + transposition, 0, 127)
    events = events[events[:, 0] < seconds]
    return events[np.lexsort(events.T[::-1])]


def render(events, programs, room, tilt, seconds, soundfont):
    """Play a schedule.

    Parameters
    ----------
    events : ndarray, shape (m, 5)
        From `schedule`.
    programs : tuple of int
        General MIDI programs of the melody (part 0) and of the other parts. Where there is one part only and the two
        differ, the second doubles it softly an octave below.
    room : str
        A key of ``ROOMS``.
    tilt : float
        dB at 8 kHz (and with the other sign at 125 Hz) against 1 kHz.
    seconds : float
    soundfont : Path

    Returns
    -------
    ndarray of int16, shape (samples,)
        Mono at 44,100 Hz, -23 LUFS unless the peak would pass 0.98. The same arguments give the same samples.

    Raises
    ------
    RenderingError
        When nothing is heard.
    """
    length = max(1, round(seconds * SAMPLE_RATE))
    wave = _in_a_room(_synthesise(events, programs, length, soundfont), room, tilt)
    wave *= _gain(wave)
    fade = min(length, round(FADE_SECONDS * SAMPLE_RATE))
    wave[-fade:] *= np.linspace(1, 0, fade)
    return np.round(wave * 32767).astype(np.int16)


def write_clip(path, events, **how):
    """Render to a 16-bit FLAC file, whole or not at all.

    Parameters
    ----------
    path : Path
    events : ndarray, shape (m, 5)
    **how
        The other arguments of `render`.

    Returns
    -------
    str
        Hash of the file.
    """
    import soundfile

    samples = render(events, **how)
    with write_atomically(path) as beside:
        soundfile.write(beside, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return file_hash(path, 64)


def _synthesise(events, programs, length, soundfont):
    import tinysoundfont

    synth = tinysoundfont.Synth(samplerate=SAMPLE_RATE)
    font = synth.sfload(str(soundfont))
    commands = []  # (sample, 0 = off | 1 = on, channel, pitch, velocity): at one instant notes end before others begin
    parts = sorted({int(part) for part in events[:, 4]})
    doubled = len(parts) == 1 and programs[0] != programs[1]
    for channel, program in _channels(parts, programs, doubled):
        synth.program_select(channel, font, 0, program)
    for onset, duration, pitch, velocity, part in events:
        channel = _channel(parts.index(int(part)))
        start = round(onset * SAMPLE_RATE)
        end = max(start + 1, round((onset + ARTICULATION * duration) * SAMPLE_RATE))
        voices = [(channel, int(pitch), int(velocity))]
        if doubled:
            voices.append((_channel(1), max(0, int(pitch) - 12), int(velocity) - 20))
        for voice in voices:
            commands += [(start, 1, *voice), (end, 0, *voice)]
    pieces, now = [], 0
    for sample, on, channel, pitch, velocity in sorted(commands):
        if sample >= length:
            break
        if sample > now:
            pieces.append(_generate(synth, sample - now))
            now = sample
        synth.noteon(channel, pitch, velocity) if on else synth.noteoff(channel, pitch)
    pieces.append(_generate(synth, length - now))
    return np.concatenate(pieces).mean(axis=1)


def _generate(synth, samples):
    """Stereo samples; the synthesiser hands out bytes of float32, not numbers."""
    return np.frombuffer(bytes(synth.generate(samples)), dtype=np.float32).reshape(-1, 2).astype(np.float64)


def _channel(place):
    """MIDI channel of the part at a place: every part its own as far as there are, never the drums."""
    channel = place % 15
    return channel + 1 if channel >= _DRUM_CHANNEL else channel


def _channels(parts, programs, doubled):
    for place, part in enumerate(parts):
        yield _channel(place), programs[0] if part == parts[0] else programs[1]
    if doubled:
        yield _channel(1), programs[1]


def _in_a_room(wave, room, tilt):
    """Convolve with the room's decaying noise and tilt the spectrum, in one pass over frequencies."""
    from scipy import fft

    decay, wet = ROOMS[room]
    response = _room_response(room, decay)
    size = fft.next_fast_len(len(wave) + len(response) - 1, real=True)
    frequencies = fft.rfftfreq(size, 1 / SAMPLE_RATE)
    octaves = np.log2(np.maximum(frequencies, 1.0) / 1000)
    colour = 10 ** (tilt * np.clip(octaves / 3, -1, 1) / 20)
    spectrum = fft.rfft(wave, size)
    spectrum *= (1 - wet / 2 + wet * fft.rfft(response, size)) * colour
    return fft.irfft(spectrum, size)[: len(wave)]


def _room_response(room, decay):
    rng = np.random.default_rng([2604, list(ROOMS).index(room)])  # a room is the same room in every clip
    n = round(decay * SAMPLE_RATE)
    time = np.arange(n) / SAMPLE_RATE
    response = rng.standard_normal(n) * 10 ** (-3 * time / decay)
    response[: round(0.01 * SAMPLE_RATE)] = 0  # the direct sound arrives first
    return response / np.sqrt(np.sum(response**2))


def _gain(wave):
    peak = float(np.abs(wave).max())
    if not np.isfinite(peak) or peak < 1e-5:
        raise RenderingError(f"Expected sound, found a peak of {peak:g}: the soundfont may lack the instruments.")
    return min(10 ** ((LOUDNESS - loudness(wave)) / 20), PEAK / peak)


def loudness(wave):
    """Integrated loudness in LUFS; of less than one gating block (0.4 s), the root mean square in dB.

    Parameters
    ----------
    wave : ndarray of float, shape (samples,)
        At 44,100 Hz, full scale 1.

    Examples
    --------
    >>> round(loudness(np.full(100, 0.1)))
    -20
    """
    import pyloudnorm

    measured = -np.inf
    if len(wave) >= 0.4 * SAMPLE_RATE + 1:
        measured = pyloudnorm.Meter(SAMPLE_RATE).integrated_loudness(wave)
    if not np.isfinite(measured):  # too short, or all of it below the gate
        measured = 20 * np.log10(np.sqrt(np.mean(wave**2)) + 1e-12)
    return float(measured)
