"""Arrangements: what a score is played with, how fast, how high and in which room, all crossed.

Every score is played twice, by two different ensembles of four. An artist is a collection played by one ensemble. An
ensemble leans to two instrument families, the same in every collection; in tempo, register and room the four
ensembles lean apart, differently in every collection, so that an artist can be heard while no factor follows from the
collection. Draws follow the order of scores: a larger set begins with the smaller one.
"""

from dataclasses import dataclass

import numpy as np

# General MIDI programs, counted from 0
FAMILIES = {
    "keyboard": (0, 1, 3, 6),  # grand, bright and honky-tonk piano, harpsichord
    "mallet": (8, 11, 12, 13),  # celesta, vibraphone, marimba, xylophone
    "organ": (16, 17, 19, 20),  # drawbar, percussive, church, reed organ
    "plucked": (24, 25, 46, 105),  # nylon and steel guitar, harp, banjo
    "strings": (40, 41, 42, 48),  # violin, viola, cello, ensemble
    "voice": (52, 53, 54),  # aahs, oohs, synthetic voice
    "brass": (56, 57, 60, 61),  # trumpet, trombone, horn, section
    "woodwind": (66, 68, 71, 73),  # tenor saxophone, oboe, clarinet, flute
}
ENSEMBLES = {
    "camerata": ("keyboard", "strings"),
    "consort": ("plucked", "woodwind"),
    "harmonie": ("organ", "brass"),
    "chorus": ("voice", "mallet"),
}
ROOMS = {"studio": (0.25, 0.05), "chamber": (0.6, 0.20), "hall": (1.4, 0.40)}  # decay to -60 dB (s), share of reverb
TEMPO_RANGE = 1.25  # factors lie between 1/1.25 and 1.25
TRANSPOSITIONS = (-5, 6)
TILT = 2.0  # dB an arrangement is at most brighter or darker, at 8 kHz against 1 kHz
MIXED = 0.25  # share of arrangements with a second instrument


@dataclass(frozen=True)
class Arrangement:
    """One way of playing a score: who plays, on what, and how.

    ``programs``: General MIDI program of the melody, and of all else; ``tempo_factor`` and ``transposition``
    (semitones) relative to the score, ``own_tempo`` the factor on a default tempo where the score has no mark;
    ``tilt`` in dB.
    """

    ensemble: str
    family: str
    programs: tuple
    tempo_factor: float
    own_tempo: float
    transposition: int
    room: str
    tilt: float


def arrange(n_scores, rng):
    """Draw two arrangements for every score of one collection.

    Parameters
    ----------
    n_scores : int
    rng : numpy.random.Generator
        One of its own for every collection.

    Returns
    -------
    list of tuple of Arrangement
        Two for each score; they differ in ensemble, family, programs, tempo, transposition and room.

    Examples
    --------
    >>> first, second = arrange(1, np.random.default_rng(0))[0]
    >>> first.family != second.family
    True
    """
    names = list(ENSEMBLES)
    leans = {
        name: {"tempo": tempo, "register": register, "room": room, "deck": []}
        for name, tempo, register, room in zip(
            names,
            rng.permutation([-1.0, -1 / 3, 1 / 3, 1.0]),
            rng.permutation([-1.0, -1 / 3, 1 / 3, 1.0]),
            rng.permutation([*ROOMS, list(ROOMS)[rng.integers(len(ROOMS))]]),
            strict=True,
        )
    }
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    order, drawn = [], []
    for _ in range(n_scores):
        if not order:
            order = [pairs[i] for i in rng.permutation(len(pairs))]
        one, other = order.pop()
        own_tempo = TEMPO_RANGE ** rng.uniform(-1, 1)
        first = _draw(one, leans[one], own_tempo, rng, None)
        drawn.append((first, _draw(other, leans[other], own_tempo, rng, first)))
    return drawn


def _draw(ensemble, lean, own_tempo, rng, other):
    family = _deal(ensemble, lean["deck"], rng, other.family if other else None)
    while True:
        speed = float(np.clip(0.4 * lean["tempo"] + rng.uniform(-0.6, 0.6), -1, 1))
        tempo_factor = round(TEMPO_RANGE**speed, 4)
        if other is None or abs(tempo_factor - other.tempo_factor) >= 0.04:
            break
    while True:
        transposition = int(np.clip(round(0.5 + 2.6 * lean["register"] + rng.uniform(-3.4, 3.4)), *TRANSPOSITIONS))
        if other is None or transposition != other.transposition:
            break
    rooms = [name for name in ROOMS if other is None or name != other.room]
    weights = np.array([6.0 if name == lean["room"] else 1.0 for name in rooms])
    lead = int(rng.choice(FAMILIES[family]))
    rest = lead
    if rng.random() < MIXED:
        others = [name for name in FAMILIES if name != family]
        rest = int(rng.choice(FAMILIES[others[rng.integers(len(others))]]))
    return Arrangement(
        ensemble=ensemble,
        family=family,
        programs=(lead, rest),
        tempo_factor=tempo_factor,
        own_tempo=round(float(own_tempo), 4),
        transposition=transposition,
        room=str(rng.choice(rooms, p=weights / weights.sum())),
        tilt=round(float(rng.uniform(-TILT, TILT)), 1),
    )


def _deal(ensemble, deck, rng, taken):
    """A family from a shuffled deck (7 of 20 cards each for the ensemble's own two, 1 for every other)."""
    while True:
        if not any(card != taken for card in deck):
            cards = [name for name in FAMILIES for _ in range(7 if name in ENSEMBLES[ensemble] else 1)]
            deck[:0] = [cards[i] for i in rng.permutation(len(cards))]
        for place in range(len(deck) - 1, -1, -1):
            if deck[place] != taken:
                return deck.pop(place)
