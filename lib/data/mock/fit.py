"""Fit the habits of mock listeners to the figures of a public month of listening."""

import tempfile

import numpy as np

from lib.data import realism, stream
from lib.data.mock import listeners
from lib.data.mock.habits import PUBLISHED
from lib.data.sources import latent

N_USERS, N_TRACKS, TRACKS_PER_USER = 500, 4000, 255.6
STEPS = 5  # halvings of the range of each figure, on a logarithmic scale
# habit: its range, the figure it moves, and whether the figure rises with it
MOVES = {
    "session_mean": ((1.5, 25.0), lambda found: found.gap_share_30min, True),
    "repeat_rate": ((0.05, 3.0), lambda found: found.repeat_share, True),
    "test_month": ((0.1, 3.0), lambda found: found.pairs / found.listeners, True),
}


def fit(profile, seed=0):
    """Habits under which mock listeners have the figures of a month.

    Hours and weekdays are taken over. How long sittings are follows from the share of first plays within half an hour
    of the one before; how often tracks are played again, and how much of the year falls into the month, from the
    repeat share and from the tracks a listener, each by halving its range in a small world with common random numbers.

    Parameters
    ----------
    profile : lib.data.realism.Profile
        Of a public log.
    seed : int
        Of the small world.

    Returns
    -------
    lib.data.mock.habits.Habits

    Examples
    --------
    >>> fit(realism.public_profile()).hours[0]  # doctest: +SKIP
    1660
    """
    habits = PUBLISHED._replace(hours=tuple(profile.hours), weekdays=tuple(profile.weekdays))
    for name, ((low, high), figure, rises) in MOVES.items():
        wanted = figure(profile)
        for _ in range(STEPS):
            middle = float(np.sqrt(low * high))
            if (figure(month(habits._replace(**{name: middle}), seed)) < wanted) == rises:
                low = middle
            else:
                high = middle
        habits = habits._replace(**{name: round(float(np.sqrt(low * high)), 3)})
    return habits


def month(habits, seed, n_users=N_USERS, n_tracks=N_TRACKS):
    """Profile of the test month of a small world.

    Parameters
    ----------
    habits : lib.data.mock.habits.Habits
    seed : int
    n_users, n_tracks : int

    Returns
    -------
    lib.data.realism.Profile
    """
    blocks = listeners.blocks(
        latent.tracks(n_tracks=n_tracks, seed=seed),
        n_users=n_users,
        tracks_per_user=TRACKS_PER_USER,
        content_strength=0.35,
        cold_share=0.011,
        test_date="2019-02-01",
        rng=np.random.default_rng(seed),
        habits=habits,
    )
    with tempfile.TemporaryDirectory() as folder:
        parts = stream.prepare(blocks, f"{folder}/new", val_users="published").parts
    return realism.profile(realism.month_of(parts._asdict()))
