"""A second part for tunes that have one: each tune book is played in a manner of its own.

Without it five books of fiddle tunes sound alike, and nobody, listener or network, could tell whose they are. The
manners follow the tune's key, mode and meter, so that these can be heard as well; the instruments stay free.
"""

import numpy as np

from lib.data.sources.scores.corpus import beat_in_quarters

# collection: manner; collections of several parts are played as written, and O'Neill's airs alone
MANNERS = {
    "airds_airs": "bass",
    "ryans_mammoth": "vamp",
    "oneills_dances": "octave",
    "northumbrian": "drone",
    "american_fife": "thirds",
}
_VELOCITY = {"bass": 74, "vamp": 60, "drone": 64}
_SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}


def accompany(notes, collection):
    """Add what the collection's manner adds, as one more part.

    Parameters
    ----------
    notes : dict
        Of a score: ``notes`` ([onset, duration, pitch, velocity, part]), ``quarters``, ``tonic``, ``mode``, ``meter``.
    collection : str

    Returns
    -------
    list of list
        Notes of all parts, sorted; unchanged where there are several parts or no manner.

    Examples
    --------
    >>> tune = {"notes": [[0, 4, 67, 96, 0]], "quarters": 4, "tonic": 7, "mode": "major", "meter": "4/4"}
    >>> accompany(tune, "northumbrian")
    [[0.0, 4.0, 43, 64, 1], [0.0, 4.0, 50, 64, 1], [0, 4, 67, 96, 0]]
    """
    tune, manner = notes["notes"], MANNERS.get(collection)
    if manner is None or len({note[4] for note in tune}) > 1:
        return tune
    part = tune[0][4] + 1
    if manner == "octave":
        added = [[onset, length, pitch - 12, velocity - 14, part] for onset, length, pitch, velocity, _ in tune]
    elif manner == "thirds":
        below = _thirds(notes["tonic"], notes["mode"])
        added = [
            [onset, length, pitch - below[pitch % 12], velocity - 10, part]
            for onset, length, pitch, velocity, _ in tune
        ]
    else:
        added = [[*note, _VELOCITY[manner], part] for note in _PATTERNS[manner](notes)]
    return sorted([*tune, *added])


def _thirds(tonic, mode):
    """Semitones to the third below in the scale, for each pitch class; three where it is not in the scale."""
    scale = [(tonic + step) % 12 for step in _SCALES[mode]]
    return {pitch: (pitch - scale[scale.index(pitch) - 2]) % 12 if pitch in scale else 3 for pitch in range(12)}


def _bars(notes):
    """Onsets of bars and their length; upbeats are told by where the first accents fall."""
    beats, unit = (int(one) for one in notes["meter"].split("/"))
    bar = beats * 4 / unit
    strongest = max(note[3] for note in notes["notes"])
    accents = [note[0] % bar for note in notes["notes"] if note[3] == strongest]
    phases, counts = np.unique(np.round(accents, 3), return_counts=True)
    return np.arange(phases[counts.argmax()], notes["quarters"] - 1e-6, bar), bar


def _bass(notes):
    """The tonic on the first beat, the fifth below on the middle one."""
    bars, bar = _bars(notes)
    low = 36 + notes["tonic"] % 12
    beat = beat_in_quarters(notes["meter"])
    middle = beat * max(1, round(bar / beat) // 2) if bar > beat else bar / 2
    for start in bars.tolist():
        yield [start, middle, low + 12]
        yield [start + middle, bar - middle, low + 7]


def _vamp(notes):
    """The triad of the key on every beat."""
    bars, bar = _bars(notes)
    beat = min(bar, beat_in_quarters(notes["meter"]))
    root = 48 + notes["tonic"] % 12
    for start in bars.tolist():
        for onset in np.arange(start, start + bar - 1e-6, beat).tolist():
            for step in (0, 3 if notes["mode"] == "minor" else 4, 7):
                yield [onset, beat / 2, root + step]


def _drone(notes):
    """Tonic and fifth held through every bar."""
    bars, bar = _bars(notes)
    for start in bars.tolist():
        for step in (0, 7):
            yield [start, bar, 43 + (notes["tonic"] - 7) % 12 + step]


_PATTERNS = {"bass": _bass, "vamp": _vamp, "drone": _drone}
