"""Which tracks are ranked for whom, and how good a list is. One evaluator for every recommender.

For user u with the set R of relevant tracks and the list L (distinct, heard tracks removed, then cut at k):

- ``HitRate@k = 1 if L and R share a track, else 0``
- ``Recall@k = |L and R| / |R|``
- ``NDCG@k = sum over hits at rank r of 1 / log2(r + 1)``, divided by the same sum for the ideal list, which holds
  min(|R|, k) hits at ranks 1, 2, ...

Every user with a relevant track counts; an empty or absent list scores 0. The k in a label is the k used.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from lib.evaluation.statistics import RESAMPLES, bootstrap_means, labelled
from lib.study.ids import pair_positions, sorted_ids

METRICS = ("HitRate", "Recall", "NDCG")
LARGEST_DEFAULT = 50
CANDIDATES_PER_PLACE = 4  # a list longer than a quarter of the candidates is easy for chance


def cutoff(n_candidates: int, k: int | None = None) -> int:
    """Length of the lists to score.

    Parameters
    ----------
    n_candidates : int
        Tracks that are ranked.
    k : int, optional
        A cut-off asked for.

    Returns
    -------
    int
        k, or by default ``min(50, n_candidates // 4)``.

    Raises
    ------
    ValueError
        Where k lies outside 1 .. n_candidates // 4, or there are fewer than 4 candidates.

    Examples
    --------
    >>> cutoff(55262), cutoff(100), cutoff(100, 10)
    (50, 25, 10)
    """
    most = n_candidates // CANDIDATES_PER_PLACE
    if most < 1:
        raise ValueError(
            f"Expected at least {CANDIDATES_PER_PLACE} candidates to rank, found {n_candidates}; use more tracks."
        )
    if k is None:
        return min(LARGEST_DEFAULT, most)
    if not 1 <= k <= most:
        raise ValueError(
            f"Expected a cut-off between 1 and {most}, a quarter of the {n_candidates} candidates, found {k}; "
            "choose a smaller k or leave it to the default."
        )
    return int(k)


@dataclass(frozen=True)
class Task:
    """Something to recommend: for the users of `truth`, rank `candidates` less their `history`.

    Attributes
    ----------
    name : {'val', 'cold_val', 'hot_test', 'cold_test'}
    truth : DataFrame
        Distinct relevant pairs ``user_id, track_id``.
    candidates : ndarray of str
        Ascending.
    history : DataFrame
        Pairs ``user_id, track_id`` taken out of the lists: what the users of `truth` heard in train.
    cutoffs : tuple of int
        The first is the primary one.
    users : ndarray of str
        Users of `truth`, ascending.
    """

    name: str
    truth: pd.DataFrame
    candidates: np.ndarray
    history: pd.DataFrame
    cutoffs: tuple[int, ...]
    users: np.ndarray = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "users", sorted_ids(self.truth["user_id"]))


def tasks(
    train: pd.DataFrame,
    val: pd.DataFrame,
    cold_val: pd.DataFrame,
    hot_test: pd.DataFrame,
    cold_test: pd.DataFrame,
    *,
    cutoffs_hot: tuple[int, ...] = (),
    cutoffs_cold: tuple[int, ...] = (),
) -> dict[str, Task]:
    """The tasks of a split.

    Parameters
    ----------
    train, val, cold_val, hot_test, cold_test : DataFrame
        Pairs, with at least ``user_id`` and ``track_id``.
    cutoffs_hot, cutoffs_cold : tuple of int
        Cut-offs, the primary one first; 0 is the default one, as is an empty tuple.

    Returns
    -------
    dict of str to Task
        Keys ``val, cold_val, hot_test, cold_test``. Hot candidates are all train tracks, cold ones the tracks of
        cold_val and cold_test. A part without pairs is left out, and so are the cold parts where there are fewer
        than 4 cold tracks, too few to rank.

    Raises
    ------
    ValueError
        Where a cold track occurs in train, or a cut-off exceeds a quarter of the candidates.

    Examples
    --------
    >>> tasks(train, val, cold_val, hot_test, cold_test)["hot_test"].cutoffs  # doctest: +SKIP
    (50,)
    """
    hot = sorted_ids(train["track_id"])
    cold = sorted_ids(pd.concat([cold_val["track_id"], cold_test["track_id"]]))
    leaked = np.intersect1d(cold, hot)
    if len(leaked):
        raise ValueError(
            f"Expected cold tracks to be absent from train, found {len(leaked)} of them there, the first is "
            f"{leaked[0]!r}; run 10_prepare_data again."
        )
    made = {}
    for name, truth, candidates, asked in (
        ("val", val, hot, cutoffs_hot),
        ("cold_val", cold_val, cold, cutoffs_cold),
        ("hot_test", hot_test, hot, cutoffs_hot),
        ("cold_test", cold_test, cold, cutoffs_cold),
    ):
        if not len(truth) or (candidates is cold and len(cold) < CANDIDATES_PER_PLACE):
            continue
        cutoffs = tuple(dict.fromkeys(cutoff(len(candidates), k or None) for k in asked or (0,)))
        truth = truth[["user_id", "track_id"]].drop_duplicates(ignore_index=True)
        history = train.loc[train["user_id"].isin(truth["user_id"].unique()), ["user_id", "track_id"]]
        made[name] = Task(name, truth, candidates, history.reset_index(drop=True), cutoffs)
    return made


def discounts(k: int) -> np.ndarray:
    """``1 / log2(rank + 1)`` for ranks 1 .. k, shape (k,)."""
    return 1 / np.log2(np.arange(2, k + 2))


def ideal(n_relevant: np.ndarray, k: int) -> np.ndarray:
    """DCG of the best list of k for users with `n_relevant` >= 1 relevant tracks."""
    return np.cumsum(discounts(k))[np.minimum(n_relevant, k) - 1]


def per_user(recommendations: pd.DataFrame, truth: pd.DataFrame, ks) -> pd.DataFrame:
    """Score the list of every user.

    Parameters
    ----------
    recommendations : DataFrame
        ``user_id, rank, track_id``; a track listed twice counts at its better rank and those below move up.
    truth : DataFrame
        Relevant pairs ``user_id, track_id``.
    ks : sequence of int
        Cut-offs.

    Returns
    -------
    DataFrame
        ``user_id`` (ascending, every user of `truth`), then ``HitRate@k, Recall@k, NDCG@k`` for each k, in [0, 1].

    Notes
    -----
    Formulas at the top of this module. The same numbers as rs-metrics and ranx give on lists without duplicates.

    Examples
    --------
    >>> lists = pd.DataFrame({"user_id": ["u", "u"], "rank": [1, 2], "track_id": ["a", "b"]})
    >>> per_user(lists, pd.DataFrame({"user_id": ["u"], "track_id": ["b"]}), [2]).round(3).values.tolist()
    [['u', 1.0, 1.0, 0.631]]
    """
    users = pd.Index(sorted_ids(truth["user_id"]))
    tracks = pd.Index(sorted_ids(truth["track_id"]))
    relevant = np.unique(_pair_codes(*pair_positions(truth, users, tracks), len(tracks)))
    n_relevant = np.bincount(relevant // len(tracks), minlength=len(users))
    rows, ranks, hit = _listed(recommendations, users, tracks, relevant)
    return score_ranks(users, n_relevant, rows[hit], ranks[hit], ks)


def _pair_codes(rows: np.ndarray, columns: np.ndarray, width: int) -> np.ndarray:
    """One number a pair."""
    return rows * width + columns


def _listed(recommendations: pd.DataFrame, users: pd.Index, tracks: pd.Index, relevant: np.ndarray):
    """Row of the user, rank among distinct tracks, and whether it is relevant, for each listed track."""
    everything = pd.Index(pd.unique(recommendations["track_id"]))
    # truth's tracks come first in `listed`: a column below len(tracks) is the column in `tracks`
    listed = tracks.append(everything[tracks.get_indexer(everything) < 0])
    ordered = recommendations
    if not ordered["rank"].is_monotonic_increasing:
        ordered = ordered.iloc[np.argsort(ordered["rank"].to_numpy(), kind="stable")]
    rows, columns = pair_positions(ordered, users, listed)
    _, first = np.unique(_pair_codes(rows, columns, len(listed)), return_index=True)
    first.sort()
    rows, columns = rows[first], columns[first]
    ranks = np.arange(len(rows)) - np.searchsorted(rows, np.arange(len(users)))[rows] + 1
    known = columns < len(tracks)
    hit = np.zeros(len(rows), dtype=bool)
    hit[known] = np.isin(_pair_codes(rows[known], columns[known], len(tracks)), relevant, assume_unique=True)
    return rows, ranks, hit


def score_ranks(users, n_relevant: np.ndarray, rows: np.ndarray, ranks: np.ndarray, ks) -> pd.DataFrame:
    """Per-user metrics from the row and rank of every hit."""
    scores = {"user_id": np.asarray(users, dtype=object)}
    for k in ks:
        within = ranks <= k
        hits = np.bincount(rows[within], minlength=len(users))
        gain = np.bincount(rows[within], weights=discounts(k)[ranks[within] - 1], minlength=len(users))
        scores[f"HitRate@{k}"] = (hits > 0).astype(float)
        scores[f"Recall@{k}"] = hits / n_relevant
        scores[f"NDCG@{k}"] = gain / ideal(n_relevant, k)
    return pd.DataFrame(scores)


def chance(task: Task, k: int) -> pd.DataFrame:
    """Exact expectation of every metric under a random order of each user's own candidates.

    Parameters
    ----------
    task : Task
    k : int
        Cut-off.

    Returns
    -------
    DataFrame
        As from `per_user`.

    Notes
    -----
    With N candidates of the user after removal, C of the |R| relevant tracks among them and n = min(k, N):
    HitRate = 1 - (N-C choose n) / (N choose n); Recall = n C / (N |R|); NDCG = C / N times the sum of
    1 / log2(r + 1) over r = 1 .. n, divided by the ideal sum.

    Examples
    --------
    >>> chance(task, 50)["Recall@50"].mean()  # doctest: +SKIP
    0.0009
    """
    users, tracks = pd.Index(task.users), pd.Index(task.candidates)
    heard = np.unique(_pair_codes(*pair_positions(task.history, users, tracks), len(tracks)))
    n = len(tracks) - np.bincount(heard // len(tracks), minlength=len(users))
    relevant = np.unique(_pair_codes(*pair_positions(task.truth, users, tracks), len(tracks)))
    reachable = np.bincount(np.setdiff1d(relevant, heard) // len(tracks), minlength=len(users))
    truth = task.truth.drop_duplicates(["user_id", "track_id"])
    n_relevant = truth.groupby("user_id").size().reindex(users).to_numpy()
    places = np.minimum(k, n)
    share = reachable / np.maximum(n, 1)
    gain = np.concatenate([[0.0], np.cumsum(discounts(k))])[places]
    return pd.DataFrame(
        {
            "user_id": task.users,
            f"HitRate@{k}": stats.hypergeom.sf(0, np.maximum(n, 1), reachable, places),
            f"Recall@{k}": places * share / n_relevant,
            f"NDCG@{k}": share * gain / ideal(n_relevant, k),
        }
    )


def summarise(
    scores: pd.DataFrame, rng: np.random.Generator, *, n_resamples: int = RESAMPLES, level: float = 0.95
) -> pd.DataFrame:
    """Means over users with BCa bootstrap intervals over users.

    Parameters
    ----------
    scores : DataFrame
        From `per_user`.
    rng : numpy.random.Generator
    n_resamples : int
    level : float

    Returns
    -------
    DataFrame
        ``metric, k, value, ci_low, ci_high, n_users``.

    Examples
    --------
    >>> scores = pd.DataFrame({"user_id": ["u", "v"], "NDCG@5": [0.0, 1.0]})
    >>> float(summarise(scores, np.random.default_rng(0))["value"][0])
    0.5
    """
    columns = [name for name in scores.columns if name != "user_id"]
    values = scores[columns].to_numpy(float)
    if not len(values):
        raise ValueError("Expected the scores of at least one user, found none.")
    low, high = bootstrap_means(values, rng, n_resamples=n_resamples, level=level)
    return labelled(columns, value=values.mean(axis=0), ci_low=low, ci_high=high, n_users=len(values))


def validator(task: Task, metric: str = "NDCG", k: int | None = None):
    """What a recommender calls to be told how good it is.

    Parameters
    ----------
    task : Task
        Usually ``val``.
    metric : {'HitRate', 'Recall', 'NDCG'}
    k : int, optional
        Cut-off; by default the primary one of the task.

    Returns
    -------
    callable
        ``validate(model) -> float``: mean over the users of the task.
    """
    if metric not in METRICS:
        raise ValueError(f"Expected a metric among {', '.join(METRICS)}, found {metric!r}.")
    k = task.cutoffs[0] if k is None else cutoff(len(task.candidates), k)

    def validate(model) -> float:
        lists = model.recommend(task.users, k, task.candidates, task.history)
        return float(per_user(lists, task.truth, [k])[f"{metric}@{k}"].mean())

    return validate


def recommend_and_score(model, task: Task) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Lists of a fitted recommender for a task, as long as its largest cut-off, and their per-user scores."""
    lists = model.recommend(task.users, max(task.cutoffs), task.candidates, task.history)
    return lists, per_user(lists, task.truth, task.cutoffs)


def evaluate_files(recommendations, truth, k: int, *, rng: np.random.Generator) -> tuple[dict, pd.DataFrame]:
    """Score lists kept in a file against relevant pairs kept in another.

    Parameters
    ----------
    recommendations : path
        ``user_id, rank, track_id`` as .parquet, .csv or .tsv (the latter also .gz or .bz2). Trusted: nothing heard
        is removed. Duplicates are dropped, then lists are cut at k.
    truth : path
        ``user_id, track_id``; every user in it counts.
    k : int
        Cut-off, at least 1.
    rng : numpy.random.Generator
        For the intervals.

    Returns
    -------
    summary : dict
        ``{"NDCG@50": {"value", "ci_low", "ci_high"}, ..., "n_users": int}``; limits are None for a single user.
    scores : DataFrame
        As from `per_user`.
    """
    if k < 1:
        raise ValueError(f"Expected a cut-off of at least 1, found {k}.")
    pairs = _read(truth, ["user_id", "track_id"])
    if not len(pairs):
        raise ValueError(f"Expected at least one relevant pair in {truth}, found none.")
    scores = per_user(_read(recommendations, ["user_id", "rank", "track_id"]), pairs, [k])
    summary: dict = {}
    for row in summarise(scores, rng).to_dict("records"):
        limits = {name: None if np.isnan(row[name]) else row[name] for name in ("ci_low", "ci_high")}
        summary[f"{row['metric']}@{row['k']}"] = {"value": row["value"], **limits}
    return summary | {"n_users": len(scores)}, scores


def _read(path, columns: list[str]) -> pd.DataFrame:
    """Columns of a table; ids stay text whatever they look like."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Expected a file at {path}, found none; check the path.")
    kind = next((s for s in reversed(path.suffixes) if s not in (".gz", ".bz2")), "")
    if kind == ".parquet":
        frame = pd.read_parquet(path)
    elif kind in (".csv", ".tsv"):
        frame = pd.read_csv(path, sep="\t" if kind == ".tsv" else ",", dtype=str, keep_default_na=False)
    else:
        raise ValueError(f"Expected a .parquet, .csv or .tsv file, found {path.name}.")
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise ValueError(
            f"Expected the columns {', '.join(columns)} in {path}, missing: {', '.join(missing)}; "
            f"it has {', '.join(map(str, frame.columns))}."
        )
    frame = frame[columns].copy()
    for name in ("user_id", "track_id"):
        frame[name] = frame[name].astype(str)
    if "rank" in columns:
        ranks = pd.to_numeric(frame["rank"], errors="coerce")
        if ranks.isna().any():
            row = int(np.flatnonzero(ranks.isna())[0])
            found = frame["rank"].iloc[row]
            raise ValueError(f"Expected ranks to be numbers in {path}, found {found!r} in row {row + 1}.")
        frame["rank"] = ranks
    return frame
