"""The data set ``latent``: a catalogue of any size without audio, whose true factors are the columns z0, z1, ….

It serves worlds in which speed, memory and statistics are looked at, not sound. Genres are directions in the space of
factors, artists lie around their genre, tracks around their artist; sizes of artists are heavy-tailed.
"""

import numpy as np
import pandas as pd

from lib.data.mock.listeners import mock_durations

N_FACTORS = 16
N_GENRES = 20
TRACKS_AN_ARTIST = 4  # on average
ARTIST_TAIL = 1.2  # Pareto exponent of how much an artist has made
ARTIST_SPREAD, TRACK_SPREAD = 0.6, 0.5  # standard deviation around genre and artist, of vectors of norm about 1


def describe():
    """What the data set is, in a sentence or two."""
    return (
        "A catalogue without audio: ids, artists, genres and true factors (columns z0, z1, …) drawn from a seed, for "
        "looking at speed, memory and statistics at any size."
    )


def licence():
    """Under which terms it stands."""
    return "None needed: drawn from a random generator on your own machine."


def cite():
    """What to cite."""
    return "This workbook (CITATION.cff)."


def validate(folder):
    """Nothing can be missing: the catalogue is made from its seed."""
    return []


def events():
    """None: nobody has listened to these tracks (`lib.data.mock.listeners` makes mock listeners)."""
    return None


def tracks(*, n_tracks, seed):
    """Draw a catalogue.

    Parameters
    ----------
    n_tracks : int
    seed : int

    Returns
    -------
    DataFrame
        Sorted by track_id (16 hexadecimal digits, whose order tells nothing): track_id, path (empty), duration (s),
        artist, title, collection (the genre) and z0 … z15 (true factors).

    Examples
    --------
    >>> tracks(n_tracks=3, seed=0).columns[:3].tolist()
    ['track_id', 'path', 'duration']
    """
    rng = np.random.default_rng([seed, n_tracks])
    n_artists = max(2, n_tracks // TRACKS_AN_ARTIST)
    output = rng.pareto(ARTIST_TAIL, n_artists) + 1
    artist = rng.choice(n_artists, n_tracks, p=output / output.sum())
    genre_of = rng.integers(N_GENRES, size=n_artists)
    scale = np.sqrt(1 / N_FACTORS)
    genres = scale * rng.standard_normal((N_GENRES, N_FACTORS))
    artists = genres[genre_of] + ARTIST_SPREAD * scale * rng.standard_normal((n_artists, N_FACTORS))
    factors = artists[artist] + TRACK_SPREAD * scale * rng.standard_normal((n_tracks, N_FACTORS))
    ids = [f"{high:08x}{low:08x}" for high, low in zip(_distinct(rng, n_tracks), _distinct(rng, n_tracks), strict=True)]
    frame = pd.DataFrame({"track_id": ids, "path": "", "duration": 0.0})
    frame["duration"] = mock_durations(frame, rng)
    frame["artist"] = [f"artist {number}" for number in artist]
    frame["title"] = [f"track {number}" for number in range(n_tracks)]
    frame["collection"] = [f"genre {number:02d}" for number in genre_of[artist]]
    named = pd.DataFrame(factors, columns=[f"z{number}" for number in range(N_FACTORS)])
    return pd.concat([frame, named], axis=1).sort_values("track_id", ignore_index=True)


def _distinct(rng, n):
    """Different 32-bit numbers in no order."""
    found = np.unique(rng.integers(2**32, size=2 * n + 16))
    return rng.permutation(found)[:n]
