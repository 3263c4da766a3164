"""RQ2 over many simulated worlds: the same tracks and vectors, other tastes and other listeners.

One simulated world has one taste. Which backend is best in it may be the luck of its weights, which no interval over
its listeners shows; this module draws the weights anew and tells how much an order of backends moves from world to
world.
"""

import json

import numpy as np
import pandas as pd

from lib import evaluation, recommenders
from lib.data import splits
from lib.data.mock import listeners as listening
from lib.data.mock.taste import FACTORS
from lib.evaluation import results, statistics
from lib.study.tables import write_parquet

__all__ = ["beside_users", "differences", "listeners", "over_worlds", "save", "summary"]


SCALING = "standardise"
FILE = "worlds.parquet"
COLUMNS = ("study", "world", "backend", "split", "metric", "k", "value", "n_users", "weights")


class NoWorldsError(ValueError):
    """A study has no worlds to draw; the sentence says why."""


def over_worlds(study, tracks, vectors, n_worlds, rng, *, progress=None):
    """Score KNN on every backend in worlds whose tastes weigh the true factors at random.

    Parameters
    ----------
    study : Study
        With mock listening: its number of listeners, content strength, cold share and split are those of each world.
    tracks : DataFrame
        With the labels that taste follows.
    vectors : dict of {str: Vectors}
        By backend.
    n_worlds : int
    rng : numpy.random.Generator
        Gives each world a generator of its own, so that world 3 is the same whether 5 or 20 are drawn.
    progress : callable, optional
        Such as `lib.study.progress.progress`: wraps the worlds.

    Returns
    -------
    DataFrame
        `COLUMNS`: NDCG at the primary cut-off of each split, mean over the listeners of the world; `weights` is JSON,
        of mean 1. Factor weights are uniform on the simplex (Dirichlet, all parameters 1).

    Raises
    ------
    NoWorldsError
        Where listeners are real, or the true factors of tracks carry no names to weigh.

    Examples
    --------
    >>> over_worlds(study, tracks, {"mfcc": vectors}, 20, study.rng("worlds"))  # doctest: +SKIP
    """
    if study.world != "mock":
        raise NoWorldsError("Worlds are drawn for simulated listeners alone: this study's listeners are real.")
    factors = [name for name in FACTORS if name in tracks]
    if not factors:
        raise NoWorldsError(
            "Expected tracks with labels that taste could weigh, found none: worlds need rendered scores."
        )
    numbers = range(n_worlds) if progress is None else progress(range(n_worlds), label="worlds", unit="world")
    rows = []
    for number, own in zip(numbers, rng.spawn(n_worlds), strict=True):
        weights = dict(zip(factors, own.dirichlet(np.ones(len(factors))) * len(factors), strict=True))
        scored = _world(study, tracks, vectors, weights, own)
        text = json.dumps({name: round(float(weight), 4) for name, weight in weights.items()})
        rows += [{"study": study.name, "world": number, "weights": text, **row} for row in scored]
    return pd.DataFrame(rows, columns=COLUMNS)


def save(study, frame):
    """Write the scores of worlds to ``worlds.parquet`` of a study."""
    write_parquet(frame, study.path(FILE))


def listeners(train, todo, vectors, rng):
    """Scores of the listeners of one world, through the KNN on standardised vectors that every world has.

    Parameters
    ----------
    train : DataFrame
        Pairs.
    todo : dict of {str: Task}
    vectors : dict of {str: Vectors}
        By backend.
    rng : numpy.random.Generator

    Returns
    -------
    dict of {str: DataFrame}
        Test split to NDCG at its primary cut-off, one row a listener, one column a backend.

    Examples
    --------
    >>> listeners(parts["train"], todo, vectors, study.rng("this world"))["hot_test"].mean()  # doctest: +SKIP
    """
    scored = {split: {} for split in results.judged(todo)}
    for backend, own in vectors.items():
        model = recommenders.create("knn", scaling=SCALING).fit(train, own, rng)
        for split, columns in scored.items():
            found = evaluation.recommend_and_score(model, todo[split])[1]
            columns[backend] = found.set_index("user_id")[f"NDCG@{todo[split].cutoffs[0]}"]
    return {split: pd.DataFrame(columns) for split, columns in scored.items()}


def summary(frame):
    """Means of backends over worlds, how far they move, and how often each is best.

    Parameters
    ----------
    frame : DataFrame
        From `over_worlds`, of one split.

    Returns
    -------
    DataFrame
        ``backend, value, sd_worlds, ci_low, ci_high`` (t over worlds)``, share_best`` (a shared first place counts
        by its share)``, n_worlds``; best first. With one world sd and limits are NaN.
    """
    wide = frame.pivot(index="world", columns="backend", values="value")
    low, high = _t_limits(wide.to_numpy(float))
    best = wide.eq(wide.max(axis=1), axis=0)
    found = pd.DataFrame(
        {
            "backend": wide.columns,
            "value": wide.mean().to_numpy(),
            "sd_worlds": wide.std().to_numpy(),
            "ci_low": low,
            "ci_high": high,
            "share_best": best.div(best.sum(axis=1), axis=0).mean().to_numpy(),
            "n_worlds": len(wide),
        }
    )
    return found.sort_values(["value", "backend"], ascending=[False, True], ignore_index=True)


def differences(frame):
    """Differences of all pairs of backends over worlds.

    Parameters
    ----------
    frame : DataFrame
        From `over_worlds`, of one split.

    Returns
    -------
    DataFrame
        ``backend_a, backend_b, diff, sd_worlds, ci_low, ci_high, p, p_adjusted, share_above, n_worlds``: paired t
        over worlds, p by Holm over the pairs; `share_above` is the share of worlds in which a is above b.
    """
    from itertools import combinations

    from scipy import stats

    wide = frame.pivot(index="world", columns="backend", values="value")
    pairs = list(combinations(wide.columns, 2))
    if not pairs:
        return pd.DataFrame()
    found = np.stack([(wide[a] - wide[b]).to_numpy(float) for a, b in pairs], axis=1)
    low, high = _t_limits(found)
    table = pd.DataFrame(pairs, columns=["backend_a", "backend_b"]).assign(
        diff=found.mean(axis=0),
        sd_worlds=found.std(axis=0, ddof=1) if len(found) > 1 else np.nan,
        ci_low=low,
        ci_high=high,
    )
    moved = len(found) > 1 and (np.ptp(found, axis=0) > 0).all()
    p = stats.ttest_1samp(found, 0).pvalue if moved else np.ones(len(pairs))
    return table.assign(p=p, p_adjusted=statistics.holm(p), share_above=(found > 0).mean(axis=0), n_worlds=len(found))


def beside_users(worlds, user_pairs):
    """The spread from world to world beside the interval over the listeners of one world.

    Parameters
    ----------
    worlds : DataFrame
        From `differences`.
    user_pairs : DataFrame
        From ``lib.answers.backend_pairs.compare_pairs``, of the study's own world scored by `listeners`.

    Returns
    -------
    DataFrame
        ``backend_a, backend_b, users`` (half the interval of the pair alone over listeners)``, worlds`` (1.96 times the
        standard deviation of the difference over worlds)``, ratio``. Each world has listeners of its own: a ratio of
        1 is what their luck gives alone, and what is above it is the taste's.
    """
    from scipy import stats

    own = user_pairs.assign(users=(user_pairs["ci_high"] - user_pairs["ci_low"]) / 2)
    turned = own.rename(columns={"backend_a": "backend_b", "backend_b": "backend_a"})
    keys = ["backend_a", "backend_b"]
    both = worlds.merge(pd.concat([own, turned])[[*keys, "users"]], on=keys)
    both = both.assign(worlds=stats.norm.ppf(0.975) * both["sd_worlds"])
    return both.assign(ratio=both["worlds"] / both["users"])[[*keys, "users", "worlds", "ratio"]]


def _world(study, tracks, vectors, weights, rng):
    """Rows of one world: every backend on both test splits."""
    p = study.parameters
    events = listening.simulate(
        tracks,
        n_users=p.n_users,
        tracks_per_user=p.tracks_per_user,
        content_strength=p.content_strength,
        factor_weights=weights,
        cold_share=p.cold_share,
        test_date=splits.date_of(p.test_date, p.split_preset),
        rng=rng,
    )
    date = {"test_date": p.test_date or None, "preset": p.split_preset}
    parts = splits.split(events, **date, val_users=p.val_users, positives=p.positives)
    cutoffs = {"cutoffs_hot": tuple(p.cutoffs_hot[:1]), "cutoffs_cold": tuple(p.cutoffs_cold[:1])}
    todo = evaluation.tasks(**parts._asdict(), **cutoffs)
    scored = listeners(parts.train, todo, vectors, rng)
    rows = []
    for backend in vectors:
        for split, table in scored.items():
            row = {"backend": backend, "split": split, "metric": "NDCG", "k": todo[split].cutoffs[0]}
            rows.append(row | {"value": float(table[backend].mean()), "n_users": len(table)})
    return rows


def _t_limits(values):
    """95 % limits of the means of columns by Student's t; NaN for one row."""
    from scipy import stats

    n = len(values)
    if n < 2:
        return np.full(values.shape[1], np.nan), np.full(values.shape[1], np.nan)
    half = stats.t.ppf(0.975, n - 1) * values.std(axis=0, ddof=1) / np.sqrt(n)
    return values.mean(axis=0) - half, values.mean(axis=0) + half
