"""Taste that is planted over a study's own tracks and vectors: what a handful of real backends can tell of it.

As `lib.answers.known_truth`, with real vectors in place of synthetic ones. Their qualities are not independent of each
other, and no p over five points survives a correction for four tasks; so what comes out is reported and nothing is
claimed.
"""

import numpy as np
import pandas as pd

from lib import evaluation
from lib.answers.known_truth import COLD_SHARE, PLANTED, SPLITS, TASKS, TEST_DATE, World, recommend
from lib.answers.recovery import stands_out
from lib.data import splits
from lib.data.mock import listeners
from lib.data.mock.taste import FACTORS
from lib.evaluation import probes
from lib.evaluation.correlation import exact_correlation

__all__ = ["over_study"]


def probe_scores(tracks, vectors, rng, *, groups="score_id", n_folds=3, n_inner=2):
    """Mean score of the probes of `lib.evaluation.probes` for every task and backend.

    Parameters
    ----------
    tracks : DataFrame
        With the columns of `lib.answers.known_truth.TASKS` and `groups`; tasks whose label cannot be probed are left
        out.
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
        As for `lib.data.mock.listeners.blocks`, ascending by track_id.
    vectors : dict of {str: array, shape (n_tracks, dim)}
    scores : DataFrame
        From `probe_scores`.
    followed : str
        A column of `scores`.
    size : lib.answers.known_truth.Size
        Of which the listeners count.
    rng : numpy.random.Generator

    Returns
    -------
    DataFrame
        world, split, task, rho, p (exact, two-sided), first (whether every other task's rho is lower).
    """
    events = listeners.simulate(
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


def over_study(tracks, store, backends, draw, n_worlds):
    """Plant every task that can be probed, in several worlds, over a study's tracks and vectors.

    Parameters
    ----------
    tracks : DataFrame
        The study's, ascending by track_id; those that lack a vector of any backend are left out.
    store : lib.backends.vectors.VectorStore
    backends : list of str
        With a table in the store; at least three.
    draw : callable
        ``draw(*words)`` gives a generator, as `lib.study.Study.rng`.
    n_worlds : int
        Of each task.

    Returns
    -------
    DataFrame
        As from `recover`, and seed.
    """
    found = {backend: store.read(backend) for backend in backends}
    tracks = tracks[np.all([one.has(tracks["track_id"]) for one in found.values()], axis=0)].reset_index(drop=True)
    vectors = {backend: one.take(tracks["track_id"]) for backend, one in found.items()}
    scores = probe_scores(tracks, vectors, draw("planted taste", "probes"))
    rows = []
    for task in scores:
        for number in range(n_worlds):
            rng = draw("planted taste", task, number)
            rows.append(recover(tracks, vectors, scores, task, PLANTED, rng).assign(seed=number))
    return pd.concat(rows, ignore_index=True)
