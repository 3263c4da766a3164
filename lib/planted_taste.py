"""Taste that is planted over a study's own tracks and vectors: what a handful of real backends can tell of it.

As `lib.known_truth`, with real vectors in place of synthetic ones. Their qualities are not independent of each other,
and no p over five points survives a correction for four tasks; so what comes out is reported and nothing is claimed.
"""

import numpy as np
import pandas as pd

from lib import evaluation, listening, probes, splits
from lib.correlation import exact_correlation
from lib.known_truth import COLD_SHARE, SPLITS, TASKS, TEST_DATE, World, recommend
from lib.recovery import stands_out
from lib.taste import FACTORS


def probe_scores(tracks, vectors, rng, *, groups="score_id", n_folds=3, n_inner=2):
    """Mean score of the probes of `lib.probes` for every task and backend.

    Parameters
    ----------
    tracks : DataFrame
        With the columns of `lib.known_truth.TASKS` and `groups`; tasks whose label cannot be probed are left out.
    vectors : dict of {str: array, shape (n_tracks, dim)}
        By backend, rows as tracks.
    rng : numpy.random.Generator
    groups : str
        Column of what must not be on both sides.
    n_folds, n_inner : int

    Returns
    -------
    DataFrame
        One row a backend, one column a task.
    """
    found = {}
    for name, task in TASKS.items():
        try:
            drawn = probes.plan(tracks[name], tracks[groups], rng, task=task, n_folds=n_folds, n_inner=n_inner)
        except probes.ProbeError:
            continue
        found[name] = {backend: probes.score(values, drawn)["score"].mean() for backend, values in vectors.items()}
    return pd.DataFrame(found, index=list(vectors))


def recover(tracks, vectors, scores, followed, size, rng):
    """Plant a taste that follows one factor alone, and correlate every task with KNN over the backends.

    Parameters
    ----------
    tracks : DataFrame
        As for `lib.listening.blocks`, ascending by track_id.
    vectors : dict of {str: array, shape (n_tracks, dim)}
    scores : DataFrame
        From `probe_scores`.
    followed : str
        A column of `scores`.
    size : lib.known_truth.Size
        Of which the listeners count.
    rng : numpy.random.Generator

    Returns
    -------
    DataFrame
        world, split, task, rho, p (exact, two-sided), first (whether every other task's rho is lower).
    """
    events = listening.simulate(
        tracks,
        n_users=size.n_users,
        tracks_per_user=size.tracks_per_user,
        content_strength=1.0,
        factor_weights=dict.fromkeys([name for name in FACTORS if name in tracks], 0.0) | {followed: 1.0},
        cold_share=COLD_SHARE,
        test_date=TEST_DATE,
        rng=rng,
    )
    parts = splits.split(events, test_date=TEST_DATE)
    todo = evaluation.tasks(**parts._asdict())
    values = [np.asarray(vectors[backend], np.float32) for backend in scores.index]
    per_user = recommend(World(tracks, np.empty(0), values, parts.train, {split: todo[split] for split in SPLITS}))
    rows = []
    for split, frame in per_user.items():
        found = [exact_correlation(scores[task], frame.mean()) for task in scores]
        rho = [one["estimate"] for one in found]
        table = pd.DataFrame({"task": list(scores), "rho": rho, "p": [one["p"] for one in found]})
        rows.append(table.assign(world=followed, split=split, first=stands_out(table["rho"])))
    return pd.concat(rows, ignore_index=True)[["world", "split", "task", "rho", "p", "first"]]
