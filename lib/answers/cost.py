"""What a backend's place is worth: its costs, its width, and whether published tables order backends as ours do."""

from importlib import resources

import numpy as np
import pandas as pd

from lib import backends, evaluation, recommenders
from lib.backends import scaling
from lib.backends.vectors import Vectors
from lib.evaluation import results, statistics

__all__ = ["PAPER_RECOMMENDERS", "SOURCE", "beside_published", "by_width", "costs", "frontier", "published"]


SOURCE = "arXiv 2604.23077"
# Left: as the published table calls it. Its Cosine compares raw vectors, as knn_raw does.
PAPER_RECOMMENDERS = {
    "Cosine": "knn_raw",
    "Shallow": "shallow_net",
    "BERT": "bert4rec",
    "Hybrid": "hybrid",
    "Bimodal Average": "bimodal",
    "Bimodal Content": "bimodal_content",
    "Bimodal Collaborative": "bimodal_collaborative",
}
SCALING = "standardise"


def costs(ids):
    """What backends cost: from their cards, whose seconds were measured (benchmarks/backends.md).

    Parameters
    ----------
    ids : list of str

    Returns
    -------
    DataFrame
        ``backend, seconds`` (of one core, a clip of 30 s)``, dim, parameters`` (millions; NaN where there is no
        network)``, licence, use``.

    Examples
    --------
    >>> costs(["musicnn_msd"])[["dim", "licence"]].values.tolist()
    [[200, 'ISC']]
    """
    entries = [backends.REGISTRY[name] for name in ids]
    return pd.DataFrame(
        {
            "backend": ids,
            "seconds": [entry.cpu_seconds for entry in entries],
            "dim": [entry.dim for entry in entries],
            "parameters": pd.array([entry.parameters for entry in entries], dtype="Float64").to_numpy(
                float, na_value=np.nan
            ),
            "licence": [entry.licence for entry in entries],
            "use": [entry.use for entry in entries],
        }
    )


def frontier(frame):
    """Which backends no other one beats at no more seconds a clip.

    Parameters
    ----------
    frame : DataFrame
        ``seconds, value``.

    Returns
    -------
    Series of bool

    Examples
    --------
    >>> frontier(pd.DataFrame({"seconds": [1, 2, 3], "value": [0.1, 0.3, 0.2]})).tolist()
    [True, True, False]
    """
    pairs = frame[["seconds", "value"]].to_numpy(float)
    beaten = [((pairs <= own)[:, 0] & (pairs >= own)[:, 1] & (pairs != own).any(axis=1)).any() for own in pairs]
    return pd.Series(~np.array(beaten, dtype=bool), index=frame.index)


def common_width(vectors, train_tracks):
    """The widest that all backends can be brought to by a projection fitted on the train tracks.

    Parameters
    ----------
    vectors : dict of {str: Vectors}
    train_tracks : sequence of str

    Returns
    -------
    int
        The smallest dimension, or the train tracks less one where these are fewer.

    Raises
    ------
    ValueError
        Without backends, or with fewer than two train tracks.
    """
    if not vectors or len(train_tracks) < 2:
        raise ValueError(
            f"Expected vectors of some backends and two train tracks or more, found {len(vectors)} backends and "
            f"{len(train_tracks)} tracks; run 20_extract_embeddings first."
        )
    return min(*(own.dim for own in vectors.values()), len(train_tracks) - 1)


def narrowed(vectors, train_tracks, width=None):
    """Vectors standardised and, where a width is given, projected on that many principal components.

    Parameters
    ----------
    vectors : Vectors
    train_tracks : sequence of str
        What scaling and projection are fitted on: no cold track has a part in them.
    width : int, optional
        Components; without it all dimensions stay.

    Returns
    -------
    Vectors
        Of the same tracks.

    Examples
    --------
    >>> wide = Vectors.of(["a", "b", "c"], [[0.0, 1.0, 9.0], [1.0, 0.0, 4.0], [2.0, 2.0, 4.0]])
    >>> narrowed(wide, ["a", "b", "c"], 2).dim
    2
    """
    fitted_on = vectors.values[np.isin(vectors.ids, np.asarray(train_tracks, dtype=str))]
    scaler = scaling.fit(fitted_on, SCALING)
    values = scaler.transform(vectors.values)
    if width is not None:
        _, _, axes = np.linalg.svd(scaler.transform(fitted_on).astype(float), full_matrices=False)
        values = values @ axes[:width].T.astype(np.float32)
    return Vectors(vectors.ids, np.ascontiguousarray(values, dtype=np.float32))


def by_width(train, todo, vectors, rng):
    """KNN on standardised vectors at their native width and at the width common to all backends.

    Parameters
    ----------
    train : DataFrame
        Pairs of train.
    todo : dict of {str: Task}
        Splits to score.
    vectors : dict of {str: Vectors}
    rng : numpy.random.Generator
        For the intervals.

    Returns
    -------
    DataFrame
        ``split, backend, native, common`` (widths)``, value_native, value_common, diff`` (common − native)``, ci_low,
        ci_high, n_users``: NDCG at the primary cut-off, paired BCa intervals over listeners.
    """
    tracks = np.unique(train["track_id"].astype(str))
    width = common_width(vectors, tracks)
    rows = []
    for backend, own in vectors.items():
        models = [
            recommenders.create("knn", scaling="none").fit(train, narrowed(own, tracks, to), rng)
            for to in (None, width)
        ]
        for split, task in todo.items():
            label = f"NDCG@{task.cutoffs[0]}"
            native, common = (evaluation.recommend_and_score(model, task)[1][["user_id", label]] for model in models)
            found = statistics.paired_difference(common, native, rng).iloc[0]
            row = {"split": split, "backend": backend, "native": own.dim, "common": width}
            row |= {"value_native": native[label].mean(), "value_common": common[label].mean()}
            rows.append(row | found[["diff", "ci_low", "ci_high", "n_users"]].to_dict())
    return pd.DataFrame(rows)


def published():
    """The published scores under our names.

    Returns
    -------
    DataFrame
        ``split`` (hot_test, cold_test)``, recommender`` (ours; those that have none of ours keep their own)``, backend,
        metric, k, value, ci95``. A published @20 was computed at k = 50 in the published code.

    Examples
    --------
    >>> published().query("recommender == 'knn_raw' and k == 50 and split == 'hot_test'")["backend"].nunique()
    10
    """
    with resources.files("lib.answers").joinpath("published", "recommender_results.csv").open() as file:
        frame = pd.read_csv(file, keep_default_na=True)
    parts = frame["metric"].str.split("@", expand=True)
    return frame.assign(
        split=frame["split"] + "_test",
        recommender=frame["recommender"].replace(PAPER_RECOMMENDERS),
        backend=frame["backend"].map(backends.PAPER_NAMES),
        metric=parts[0],
        k=parts[1].astype(int),
    )


def beside_published(metrics, todo):
    """Our scores beside the published ones, where both have the backend and the recommender.

    Parameters
    ----------
    metrics : DataFrame
        Rows of ``metrics.parquet``.
    todo : dict of {str: Task}
        Its primary cut-offs are ours; the published ones are 50 on hot and 20 on cold tracks.

    Returns
    -------
    DataFrame
        ``split, recommender, backend, ours, ours_low, ours_high, k_ours, published, ci95, k_published``; no rows
        where there is nothing in common.
    """
    theirs = published().query("metric == 'NDCG'")
    theirs = theirs[theirs["k"] == theirs.groupby("split")["k"].transform("max")]
    theirs = theirs.rename(columns={"value": "published", "k": "k_published"})
    ours = results.at_primary(metrics, todo)
    ours = ours[(ours["control"] == "real") & (ours["seed"] == results.MEAN_OF_SEEDS)]
    ours = ours.rename(columns={"value": "ours", "ci_low": "ours_low", "ci_high": "ours_high", "k": "k_ours"})
    keys = ["split", "recommender", "backend"]
    both = ours[[*keys, "ours", "ours_low", "ours_high", "k_ours"]]
    both = both.merge(theirs[[*keys, "published", "ci95", "k_published"]], on=keys)
    return both.sort_values(keys, ignore_index=True)
