"""Who likes what in a mock world: true factors of tracks, tastes of listeners, and the tracks they take up.

Taste depends on what was played, how fast, in which key and by whom (the *true factors*), never on an embedding that
is evaluated. The model is that of `lib.data.mock.listeners`; this module holds its part without time.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

# Equal weights: one world among many. Weight on tempo, density or collection favours taggers, on pitch or mode MFCC.
FACTORS = {
    "collection": 1.0,
    "instrument_family": 1.0,
    "tempo": 1.0,
    "pitch_mean": 1.0,
    "pitch_spread": 1.0,
    "density": 1.0,
    "mode": 1.0,
    "parts": 1.0,
}

POPULARITY_SD = 1.35
POPULARITY_BY_ARTIST = 0.5  # share of popularity's variance that an artist's tracks have in common
MAX_MODES = 4
EXTRA_MODES = 1.2  # Poisson mean of modes beyond the first
MODE_SHARPNESS = 6.0
MODE_STEP = 0.5  # by how much each further mode is weaker
MODE_NOISE = 0.25  # norm of what sets a mode off from the track it was drawn at
ARTIST_LIKING = 2.0
LIKED_ARTISTS = 6
TASTE_SCALE = 1.6
TASTE_SPREAD = 0.35  # log-normal over listeners
POPULARITY_SPREAD = 0.35  # normal over listeners


class ListeningError(ValueError):
    """A mock world cannot be made as asked; the sentence says why."""


class World(NamedTuple):
    """What is true of the tracks: one row a track, in the order of the tracks frame."""

    factors: np.ndarray  # (n, f) float32, unit rows
    artists: np.ndarray  # (n,) int, codes
    twin: np.ndarray  # (n,) int, a permutation: whose factors and artist a track has in the latent half of taste
    popularity: np.ndarray  # (n,) float32
    content_strength: float


class Choices(NamedTuple):
    """Pairs taken up by a block of listeners; all arrays have one entry a pair."""

    user: np.ndarray  # int, row in the block
    track: np.ndarray  # int, row in the tracks frame
    score: np.ndarray  # float32, the perturbed score by which it was chosen
    taste: np.ndarray  # float32, standardised within the listener
    phase: np.ndarray  # int, 0..2 * MAX_MODES - 1: the mode of content or of the twin that it belongs to


def true_factors(tracks, weights=None):
    """Unit vectors of the true factors of tracks.

    Each factor is a block: text one-hot and centred, numbers (tempo as its logarithm) centred; the block is scaled to
    total variance 1, then by its weight.

    Parameters
    ----------
    tracks : DataFrame
        Columns of labels. Where columns z0, z1, … exist, these are the factors (worlds without audio) and weights are
        refused.
    weights : dict of str to float, optional
        Column to weight (0 or more); any column of labels may be named. Those of `FACTORS` that the tracks have and
        that are not named weigh 1.

    Returns
    -------
    ndarray, shape (n_tracks, f), float64
        Rows of norm 1.

    Raises
    ------
    ListeningError
        For an unknown factor, a weight below 0, missing columns or values.

    Examples
    --------
    >>> true_factors(pd.DataFrame({"tempo": [60.0, 120.0]}), dict.fromkeys(FACTORS, 0) | {"tempo": 1}).tolist()
    [[-1.0], [1.0]]
    """
    latent = sorted((name for name in tracks.columns if str(name)[:1] == "z" and str(name)[1:].isdigit()), key=_number)
    if latent:
        if weights:
            raise ListeningError("Expected no factor weights for tracks with latent columns z0, z1, …: leave them out.")
        return _unit(tracks[latent].to_numpy(float))
    weights = _checked_weights(weights, tracks.columns)
    return _unit(np.hstack([weight * factor_block(tracks, name) for name, weight in weights.items()]))


def make_world(tracks, content_strength, factor_weights, rng):
    """Draw popularity and the latent twin of each track.

    Popularity b_i = s [ √ρ ( √c p_a(i) + √(1−c) p'_a(π(i)) ) + √(1−ρ) ε_i ]: its artist part is divided by c too, or
    content would win at c = 0.

    Returns
    -------
    World
    """
    factors = true_factors(tracks, factor_weights).astype(np.float32)
    if "artist" not in tracks.columns or tracks["artist"].isna().any():
        raise ListeningError("Expected an artist for every track, found none for some or all: fill the column artist.")
    artists, names = pd.factorize(tracks["artist"])
    n_tracks = len(tracks)
    twin = rng.permutation(n_tracks)
    own, other = rng.standard_normal((2, len(names)))
    by_artist = np.sqrt(content_strength) * own[artists] + np.sqrt(1 - content_strength) * other[artists[twin]]
    alone = rng.standard_normal(n_tracks)
    popularity = np.sqrt(POPULARITY_BY_ARTIST) * by_artist + np.sqrt(1 - POPULARITY_BY_ARTIST) * alone
    return World(factors, artists, twin, (POPULARITY_SD * popularity).astype(np.float32), float(content_strength))


def choose(world, n_tracks, rng):
    """Let a block of listeners take up tracks: Gumbel-top-n of taste and popularity.

    Adding Gumbel noise to scores and taking the n highest is an exact draw without replacement from the Plackett-Luce
    model of these scores.

    Parameters
    ----------
    world : World
    n_tracks : ndarray of int, shape (users,)
        How many tracks each takes up; at most as many as there are.
    rng : numpy.random.Generator

    Returns
    -------
    Choices
    """
    n_users, content = len(n_tracks), world.content_strength
    of_content, of_twin = _draw_modes(world, n_users, rng), _draw_modes(world, n_users, rng)
    taste = np.zeros((n_users, len(world.factors)), np.float32)
    if content > 0:
        taste += np.float32(np.sqrt(content)) * _taste(world.factors, world.artists, *of_content)
    if content < 1:
        turned = _taste(world.factors, world.artists, *of_twin)[:, world.twin]
        taste += np.float32(np.sqrt(1 - content)) * turned
    warmth = (TASTE_SCALE * rng.lognormal(0, TASTE_SPREAD, (n_users, 1))).astype(np.float32)
    conformity = np.clip(rng.normal(1, POPULARITY_SPREAD, (n_users, 1)), 0, None).astype(np.float32)
    score = warmth * taste + conformity * world.popularity
    noise = rng.standard_exponential(score.shape, dtype=np.float32)
    score -= np.log(np.maximum(noise, np.float32(1e-30), out=noise), out=noise)  # Gumbel; float32 does draw 0
    track = np.concatenate([np.argpartition(-row, n - 1)[:n] for row, n in zip(score, n_tracks, strict=True)])
    user = np.repeat(np.arange(n_users), n_tracks)
    by_content = rng.random(len(user)) < content
    modes_content = _mode_of(world.factors[track], of_content[0], user)
    modes_twin = _mode_of(world.factors[world.twin[track]], of_twin[0], user)
    phase = np.where(by_content, modes_content, MAX_MODES + modes_twin)
    return Choices(user, track, score[user, track], taste[user, track], phase)


def _draw_modes(world, n_users, rng):
    """Modes (users, MAX_MODES, f), their handicap (users, MAX_MODES), and liking of artists (users, artists)."""
    n_tracks, width = world.factors.shape
    n_artists = int(world.artists.max()) + 1
    seeds = world.factors[rng.integers(n_tracks, size=(n_users, MAX_MODES))]
    modes = seeds + rng.normal(0, MODE_NOISE / np.sqrt(width), seeds.shape).astype(np.float32)
    n_modes = np.minimum(1 + rng.poisson(EXTRA_MODES, n_users), MAX_MODES)
    order = np.arange(MAX_MODES)
    handicap = np.where(order < n_modes[:, None], -MODE_STEP * order, -np.inf).astype(np.float32)
    liked = np.zeros((n_users, n_artists), np.float32)
    # the artist of a random track, so that artists with more tracks are liked by more; one drawn twice counts once
    drawn = world.artists[rng.integers(n_tracks, size=(n_users, min(LIKED_ARTISTS, max(1, n_artists // 2))))]
    np.put_along_axis(liked, drawn, ARTIST_LIKING, axis=1)
    return (modes, handicap), liked


def _taste(factors, artists, modes_and_handicap, liked):
    """Liking of every track by every listener, standardised within the listener."""
    modes, handicap = modes_and_handicap
    taste = np.full((len(modes), len(factors)), -np.inf, np.float32)
    for k in range(MAX_MODES):
        np.maximum(taste, MODE_SHARPNESS * (modes[:, k] @ factors.T) + handicap[:, k, None], out=taste)
    taste += liked[:, artists]
    taste -= taste.mean(axis=1, keepdims=True)
    return taste / np.maximum(taste.std(axis=1, keepdims=True), 1e-6)


def _mode_of(factors, modes_and_handicap, user):
    """Index of the mode that each chosen track belongs to."""
    modes, handicap = modes_and_handicap
    liking = [MODE_SHARPNESS * (factors * modes[user, k]).sum(axis=1) + handicap[user, k] for k in range(MAX_MODES)]
    return np.argmax(liking, axis=0)


def _checked_weights(weights, columns):
    merged = {name: weight for name, weight in FACTORS.items() if name in columns} | dict(weights or {})
    missing = [name for name, weight in merged.items() if weight and name not in columns]
    if missing:
        raise ListeningError(
            f"Expected tracks with a column for every factor of taste, found none for {', '.join(map(repr, missing))}: "
            "add labels, or change factor_weights."
        )
    below = [name for name, weight in merged.items() if not weight >= 0]
    if below or not any(merged.values()):
        raise ListeningError(
            f"Expected weights of 0 or more, not all 0, found {merged or 'no label that taste could follow'}: "
            f"name columns of labels in factor_weights{', and mend ' + ', '.join(below) if below else ''}."
        )
    return {name: float(weight) for name, weight in merged.items() if weight > 0}


def factor_block(tracks, name):
    """One factor as centred columns of total variance 1 (0 where all tracks are alike)."""
    values = tracks[name]
    if not pd.api.types.is_numeric_dtype(values):
        bad = values.isna().to_numpy()
        columns = pd.get_dummies(values).to_numpy(float)
    else:
        numbers = pd.to_numeric(values, errors="coerce").to_numpy(float)
        bad = ~np.isfinite(numbers) | ((numbers <= 0) if name == "tempo" else False)
        columns = np.log(np.where(bad, 1.0, numbers))[:, None] if name == "tempo" else numbers[:, None]
    if bad.any():
        shown = ", ".join(
            map(str, (tracks["track_id"] if "track_id" in tracks else tracks.index.to_series())[bad].head(3))
        )
        raise ListeningError(
            f"Expected a {name} for every track, found none or no number for {int(bad.sum())} ({shown})."
        )
    columns = columns - columns.mean(axis=0)
    return columns / max(np.sqrt((columns**2).sum(axis=1).mean()), 1e-12)


def _unit(rows):
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1.0)


def _number(name):
    return int(str(name)[1:])
