"""From scores to comparisons: every backend against every control and reference, and the smallest effect of interest.

What follows from them for RQ1 is in `lib.answers.rq1`.
"""

import itertools

import numpy as np
import pandas as pd

from lib import backends
from lib.evaluation import results, statistics
from lib.evaluation.effects import differing, effect_sizes
from lib.evaluation.results import Run

__all__ = ["comparisons", "judged", "mean_differences", "overview", "smallest_effect"]


AGAINST = ("shuffled", "untrained", "random", "profile_swap", "id_only", "artist", "mostpop", "collaborative", "chance")
DELTA_FRACTION = 0.05  # smallest effect of interest, as a share of what there is to gain; never edited after a run
COLLABORATIVE = ("itemknn", "ease", "bpr", "lightgcn", "sasrec")  # kinds that learn from listening alone
PERMUTATION_TEST = "max-T permutation over tracks, one-sided"
TRAINED_TEST = "t against runs under permutations of tracks, pooled over backends, one-sided, Holm"
RANDOMISATION_TEST = "paired randomisation over users, two-sided, Holm"
MANY_PERMUTATIONS = 99  # from so many on a trained model is judged by max-T, as KNN is at any number


def judged(study):
    """Named recommenders that ran on real and on permuted vectors, each with the splits it was judged on.

    Parameters
    ----------
    study : Study

    Returns
    -------
    dict of {str: list of str}
        In the order of the table of params.

    Examples
    --------
    >>> judged(study)["bimodal_collaborative"]  # doctest: +SKIP
    ['hot_test']
    """
    permuted = results.read_permutations(study).groupby("recommender")["split"].unique()
    named = [name for name in study.parameters.recommender_table if name in permuted]
    return {name: [split for split in results.TEST_SPLITS if split in permuted[name]] for name in named}


def comparisons(study, recommender, split):
    """Every backend of a study against every control and reference, under one recommender on one split.

    Parameters
    ----------
    study : Study
    recommender : str
        Name from the table in params.
    split : {'hot_test', 'cold_test'}

    Returns
    -------
    DataFrame
        Rows of ``comparisons.parquet`` but for the column ``study``, with ``against`` and ``n_differ``: the listeners
        whose scores differ, from 0 where the reference is no list but an expectation. Against `shuffled` p is from
        permutations of tracks: for KNN, and for whatever ran under 99 of them or more, adjusted over backends by max-T
        (``lib.evaluation.statistics.max_t``); for models trained under fewer from
        ``lib.evaluation.statistics.trained_test``, adjusted by Holm. Against all else p is from paired randomisation
        over users, adjusted over backends by Holm. ``test`` says which. Intervals are BCa bootstraps over users, and
        over trainings where there are several: they describe, they do not decide on `shuffled`. Both see other users,
        not other tracks.

    Raises
    ------
    FileNotFoundError
        Where the recommender has no scores on the split.
    ValueError
        Where a trained model has fewer than 5 permuted runs, or a backend lacks a run that another has.
    """
    rows = []
    for against, pairs in _opposed(study, recommender):
        found = [_compare(study, recommender, split, backend, other) for backend, other in pairs]
        found = pd.concat([frame for frame in found if frame is not None] or [pd.DataFrame()], ignore_index=True)
        if found.empty:
            continue
        found["against"] = against
        if against == "shuffled":
            found = _with_permutation_p(study, recommender, split, found)
        else:
            found["p_adjusted"] = found.groupby(["metric", "k"])["p"].transform(statistics.holm)
        rows.append(found)
    if not rows:
        raise FileNotFoundError(
            f"Expected scores of {recommender} on {split}, found none: run its notebook for a backend first."
        )
    order = [
        "split",
        "recommender",
        "metric",
        "k",
        "backend_a",
        "control_a",
        "backend_b",
        "control_b",
        "diff",
        "ci_low",
        "ci_high",
    ]
    rows = pd.concat(rows, ignore_index=True).assign(split=split, recommender=recommender)
    return rows[[*order, "p", "p_adjusted", "test", "n_users", "n_seeds", "n_permutations", "against", "n_differ"]]


def overview(frame, against):
    """Differences to one control or reference with their p, one line a recommender, one column a backend.

    Parameters
    ----------
    frame : DataFrame
        From `comparisons`, of one metric.
    against : str
        One of `AGAINST`.

    Returns
    -------
    DataFrame of str
        Like ``+0.051 (0.004)``, p adjusted over backends; indexed by tracks, k and recommender.
    """
    rows = frame[frame["against"] == against]
    cells = [f"{row.diff:+.3f} ({row.p_adjusted:.3f})" for row in rows.itertuples()]
    rows = rows.assign(cell=cells, tracks=rows["split"].str.removesuffix("_test"))
    order = {name: list(dict.fromkeys(rows[name])) for name in ("tracks", "k", "recommender", "backend_a")}
    wide = rows.pivot(index=["tracks", "k", "recommender"], columns="backend_a", values="cell")
    lines = [key for key in itertools.product(*list(order.values())[:3]) if key in wide.index]
    return wide.loc[lines, order["backend_a"]].fillna("–").rename_axis(columns=None)


def best_collaborative(study):
    """The baseline of listening alone that does best on validation listeners; None where none has run.

    Chosen on validation, so that the best of several is not flattered by the test month it is judged on.

    Parameters
    ----------
    study : Study

    Returns
    -------
    str or None
        A name from the table in params.

    Examples
    --------
    >>> best_collaborative(study)  # doctest: +SKIP
    'ease'
    """
    scores = {name: results.per_user(study, Run(name), "val") for kind in COLLABORATIVE for name in study.named(kind)}
    means = {name: frame.filter(like="NDCG@").iloc[:, 0].mean() for name, frame in scores.items() if frame is not None}
    return max(means, key=means.get, default=None)


def mean_differences(study, recommender, split, metric):
    """Real vectors less each control and reference, averaged over backends within each listener.

    Parameters
    ----------
    study : Study
    recommender : str
        Name from the table in params.
    split : {'hot_test', 'cold_test'}
    metric : str
        Like ``NDCG@50``.

    Returns
    -------
    DataFrame
        ``recommender, split, against, name, diff, ci_low, ci_high, d_z, superiority, n_backends, n_users``, one row an
        entry of `AGAINST` that ran; ``name`` says which baseline 'collaborative' is. Intervals are BCa bootstraps over
        users, and over trainings where there are several; effect sizes are those of
        `lib.evaluation.effects.effect_sizes`.
    """
    rows = []
    for against, pairs in _opposed(study, recommender):
        found = [
            tuple(results.per_seed(study, run, split) for run in (Run(recommender, backend), other))
            for backend, other in pairs
        ]
        found = [(a, b) for a, b in found if a is not None and b is not None]
        if not found:
            continue
        real, reference = (
            pd.concat([frame[["user_id", "seed", metric]] for frame in side])
            .groupby(["user_id", "seed"], as_index=False)
            .mean()
            for side in zip(*found, strict=True)
        )
        rng = study.rng("mean over backends", recommender, split, against)
        n_resamples = study.parameters.n_bootstrap
        row = statistics.paired_difference_of_seeds(real, reference, rng, n_resamples=n_resamples).iloc[0]
        means = (side.drop(columns="seed").groupby("user_id", as_index=False).mean() for side in (real, reference))
        size = effect_sizes(*means, rng, n_resamples=n_resamples).iloc[0]
        name = pairs[0][1].recommender if against == "collaborative" else against
        values = [*row[["diff", "ci_low", "ci_high"]], *size[["d_z", "superiority"]], len(found), row["n_users"]]
        rows.append((recommender, split, against, name, *values))
    columns = ["recommender", "split", "against", "name", "diff", "ci_low", "ci_high", "d_z", "superiority"]
    columns += ["n_backends", "n_users"]
    return pd.DataFrame(rows, columns=columns)


def smallest_effect(study, recommender, split, metric):
    """δ: the share `DELTA_FRACTION` of what there is to gain on a split.

    Hot: `best_collaborative` − shuffled, mean over the backends. Cold: the artist's name − chance.

    Parameters
    ----------
    study : Study
    recommender : str
        Whose shuffled runs and artist run count.
    split : {'hot_test', 'cold_test'}
    metric : str
        Like ``NDCG@50``.

    Returns
    -------
    float
        In units of the metric; NaN where a reference has not run or there is nothing to gain, since the better of the
        two references is not better here.
    """

    def mean(run):
        scores = results.per_user(study, run, split)
        return np.nan if scores is None else scores[metric].mean()

    if split == "hot_test":
        name = best_collaborative(study)
        best = mean(Run(name)) if name else np.nan
        low = np.nanmean([mean(Run(recommender, backend, "shuffled")) for backend in study.parameters.backend_ids])
    else:
        best, low = mean(Run(recommender, "artist")), mean(Run("chance"))
    return DELTA_FRACTION * (best - low) if best > low else np.nan


def _heard(study, recommender):
    """Backends whose vectors a recommender has had, those of a trained one as params say."""
    learned = recommender not in study.named("knn")
    return [name for name in study.parameters.backend_ids if name in study.trained_on or not learned]


def _opposed(study, recommender):
    """Every entry of `AGAINST` that there is, with each backend and the run that its real one is held against."""
    best = best_collaborative(study)
    for against in AGAINST:
        others = [(name, _other(study, recommender, name, against, best)) for name in _heard(study, recommender)]
        if pairs := [pair for pair in others if pair[1]]:
            yield against, pairs


def _other(study, recommender, backend, against, best):
    """The run that a backend's real one is held against; None where there is none."""
    if against == "collaborative":
        return Run(best) if best else None
    if against == "untrained" and backend not in backends.UNTRAINED:
        return None
    if against == "id_only":
        return Run(_without_audio(study, recommender), control="id_only")
    return {"artist": Run(recommender, "artist"), "mostpop": Run("mostpop"), "chance": Run("chance")}.get(
        against, Run(recommender, backend, against)
    )


def _without_audio(study, recommender):
    """Whose ids alone a recommender is held against: its own, or of audio beside ids those of its like without."""
    table = study.parameters.recommender_table
    alone = {option: value for option, value in table[recommender].items() if option != "ids"}
    return next((name for name, options in table.items() if options == alone), recommender)


def _compare(study, recommender, split, backend, other):
    by_seed = [results.per_seed(study, run, split) for run in (Run(recommender, backend), other)]
    if any(frame is None for frame in by_seed):
        return None
    rng = study.rng("comparison", recommender, split, backend, other.file(0, split))
    found = statistics.paired_difference_of_seeds(*by_seed, rng, n_resamples=study.parameters.n_bootstrap)
    real, reference = (results.mean_of_seeds([frame.drop(columns="seed")]) for frame in by_seed)
    found["p"] = statistics.randomisation_p(real, reference, rng).to_numpy()
    of_lists = other.control != "shuffled" and other.recommender != "chance"
    real, reference = statistics.align(real, reference)
    found["n_differ"] = differing(real - reference if of_lists else real)
    return found.drop(columns=["n_seeds_a", "n_seeds_b"]).assign(
        backend_a=backend,
        control_a="real",
        backend_b=other.backend if other.backend != results.NO_BACKEND else other.recommender,
        control_b=other.control,
        test=RANDOMISATION_TEST,
        n_seeds=by_seed[0]["seed"].nunique(),
        n_permutations=0,
    )


def _with_permutation_p(study, recommender, split, found):
    permutations = results.read_permutations(study)
    parts = []
    for (metric, k), rows in found.groupby(["metric", "k"], sort=False):
        table = results.permuted(permutations, recommender, split, metric, k).reindex(columns=rows["backend_a"])
        real = [
            results.per_user(study, Run(recommender, name), split)[f"{metric}@{k}"].mean() for name in rows["backend_a"]
        ]
        # KNN draws nothing but the permutation: its real arrangement is one of 1 + P alike, and max-T exact at any P
        by_rank = recommender in study.named("knn") or len(table) >= MANY_PERMUTATIONS
        tested = (statistics.max_t if by_rank else statistics.trained_test)(real, table.to_numpy())
        parts.append(
            rows.assign(
                p=tested["p"].to_numpy(),
                p_adjusted=tested["p_adjusted"].to_numpy(),
                test=PERMUTATION_TEST if by_rank else TRAINED_TEST,
                n_permutations=len(table),
            )
        )
    return pd.concat(parts, ignore_index=True)
