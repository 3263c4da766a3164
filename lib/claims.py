"""From scores to claims: comparisons, the smallest effect of interest, verdicts, and the answer to RQ1.

The rules are those the notebook states before any figure: 'audio informs' means better than shuffled vectors,
'pretraining helps' means better than the untrained twin, and a backend is viable on cold tracks only where it beats
shuffled vectors, its twin and the artist's name, each by more than the smallest effect of interest.
"""

import itertools

import numpy as np
import pandas as pd

from lib import backends, results, statistics
from lib.results import Run

AGAINST = ("shuffled", "untrained", "random", "profile_swap", "id_only", "artist", "mostpop", "chance")
COLLABORATIVE = ("itemknn", "ease", "bpr", "lightgcn", "sasrec")  # kinds that learn from listening alone
PERMUTATION_TEST = "max-T permutation over tracks, one-sided"
TRAINED_TEST = "t against runs under permutations of tracks, pooled over backends, one-sided, Holm"
RANDOMISATION_TEST = "paired randomisation over users, two-sided, Holm"
MANY_PERMUTATIONS = 99  # from so many on a trained model is judged by max-T, as KNN is at any number
ROBUST_SHARE = 0.8  # of the backends must be found where taste follows sound, for the instrument to work


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
        Rows of ``comparisons.parquet`` but for the column ``study``. Against `shuffled` p is from permutations of
        tracks: for KNN, and for whatever ran under 99 of them or more, adjusted over backends by max-T
        (``lib.statistics.max_t``); for models trained under fewer from ``lib.statistics.trained_test``, adjusted by
        Holm. Against all else p is from paired randomisation over users, adjusted over backends by Holm. ``test``
        says which. Intervals are BCa bootstraps over users: they describe, they do not decide on `shuffled`.

    Raises
    ------
    FileNotFoundError
        Where the recommender has no scores on the split.
    ValueError
        Where a trained model has fewer than 5 permuted runs, or a backend lacks a run that another has.
    """
    learned = recommender not in study.named("knn")
    ids = [name for name in study.parameters.backend_ids if name in study.trained_on or not learned]
    rows = []
    for against in AGAINST:
        pairs = [(backend, _other(study, recommender, backend, against)) for backend in ids]
        found = [_compare(study, recommender, split, backend, other) for backend, other in pairs if other]
        found = pd.concat([frame for frame in found if frame is not None] or [pd.DataFrame()], ignore_index=True)
        if found.empty:
            continue
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
    return rows[[*order, "p", "p_adjusted", "test", "n_users", "n_seeds", "n_permutations", "against"]]


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


def smallest_effect(study, recommender, split, metric):
    """δ: the share `delta_fraction` of what there is to gain on a split.

    Hot: best collaborative baseline − shuffled, over the backends that ran. Cold: the artist's name − chance.

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
        In units of the metric; NaN where a reference has not run.
    """

    def mean(run):
        scores = results.per_user(study, run, split)
        return np.nan if scores is None else scores[metric].mean()

    if split == "hot_test":
        best = np.nanmax([mean(Run(name)) for kind in COLLABORATIVE for name in study.named(kind)])
        low = np.nanmean([mean(Run(recommender, backend, "shuffled")) for backend in study.parameters.backend_ids])
    else:
        best, low = mean(Run(recommender, "artist")), mean(Run("chance"))
    return study.parameters.delta_fraction * (best - low)


def verdicts(frame, delta, alpha, split):
    """One verdict a backend by the rule that 70_rq1_viability states.

    Parameters
    ----------
    frame : DataFrame
        Comparisons of one recommender, split, metric and k.
    delta : float
        Smallest effect of interest.
    alpha : float
        Family-wise error.
    split : {'hot_test', 'cold_test'}

    Returns
    -------
    DataFrame
        ``backend, audio_informs, pretraining_helps, verdict``. Cold verdicts: viable, informative but not viable, not
        viable, undecided. Hot: useful alone, informative but not useful alone, not useful alone, undecided.
        `pretraining_helps` is None for a backend without an untrained twin.
    """
    needed = ("shuffled", "untrained", "artist") if split == "cold_test" else ("mostpop",)
    good = "viable" if split == "cold_test" else "useful alone"
    rows = []
    for backend, of_backend in frame.groupby("backend_a", sort=False):
        by = of_backend.set_index("against")
        informs = bool(by.loc["shuffled", "p_adjusted"] <= alpha)
        helps = None
        if "untrained" in by.index:
            helps = bool(by.loc["untrained", "p_adjusted"] <= alpha and by.loc["untrained", "diff"] > 0)
        bars = by.reindex([name for name in needed if name in by.index or name != "untrained"])
        if informs and (bars["ci_low"] > delta).all():
            verdict = good
        elif (bars["ci_high"] < delta).any():
            verdict = f"informative but not {good}" if informs else f"not {good}"
        else:
            verdict = "undecided"
        rows.append((backend, informs, helps, verdict))
    return pd.DataFrame(rows, columns=["backend", "audio_informs", "pretraining_helps", "verdict"])


def side_information(study, frame, delta):
    """Whether audio is worth having beside ids, for recommenders that have both.

    Parameters
    ----------
    study : Study
    frame : DataFrame
        Comparisons on hot tracks, of one metric and k.
    delta : dict of {str: float}
        Smallest effect of interest of each recommender.

    Returns
    -------
    DataFrame
        ``recommender, backend, diff, ci_low, ci_high, delta, verdict``: useful as side information where the lower
        limit of the difference to ids alone exceeds delta, not useful where the upper limit lies below it, else
        undecided.
    """
    table = study.parameters.recommender_table
    both = [name for name, options in table.items() if options.get("ids")]
    rows = frame[(frame["against"] == "id_only") & frame["recommender"].isin(both)]
    rows = rows.rename(columns={"backend_a": "backend"}).assign(delta=rows["recommender"].map(delta))
    verdict = np.select(
        [rows["ci_low"] > rows["delta"], rows["ci_high"] < rows["delta"]],
        ["useful as side information", "not useful as side information"],
        "undecided",
    )
    shown = ["recommender", "backend", "diff", "ci_low", "ci_high", "delta", "verdict"]
    return rows.assign(verdict=verdict)[shown].reset_index(drop=True)


def answer_rq1(study, recommender, frame, decided, delta):
    """The answer to RQ1 as far as one recommender on hot tracks gives it, for ``answers.json``.

    Parameters
    ----------
    study : Study
    recommender : str
    frame : DataFrame
        Its comparisons on one split, metric and k.
    decided : DataFrame
        From `verdicts`, on the same.
    delta : float
        Smallest effect of interest: where the upper limit lies below it the instrument has failed, above it a study
        that found too few backends is too small to decide.

    Returns
    -------
    dict
        ``status, verdict, statement, n, test, estimate, ci, p``. In a mock world the verdict is about the instrument:
        it works if it finds what was planted, and finds nothing where nothing was.
    """
    shuffled = frame[frame["against"] == "shuffled"]
    informs, n = int(decided["audio_informs"].sum()), len(decided)
    helped = [bool(value) for value in decided["pretraining_helps"] if value is not None]
    label = f"{shuffled['metric'].iloc[0]}@{shuffled['k'].iloc[0]}"
    estimate, ci = _mean_over_backends(study, recommender, shuffled["split"].iloc[0], label)
    p, test = float(shuffled["p_adjusted"].min()), shuffled["test"].iloc[0]
    sentence = (
        f"{recommender}'s lists from {informs} of {n} backends beat shuffled vectors on hot tracks "
        f"({label}, mean difference {estimate:+.3f} [{ci[0]:+.3f}, {ci[1]:+.3f}], {test}, "
        f"P = {int(shuffled['n_permutations'].iloc[0])}, smallest family-wise p = {p:.3f}, "
        f"n = {int(shuffled['n_users'].iloc[0])} listeners); "
        f"{sum(helped)} of {len(helped)} networks beat their untrained twin"
    )
    if study.world == "mock":
        status, verdict, sentence = _of_the_instrument(study, sentence, informs, n, undecidable=ci[1] >= delta)
    else:
        verdict = "audio_informs" if informs else "not_shown"
        status = "decided" if informs else "undecided"
        sentence = f"Among real listeners {sentence}."
    return {
        "status": status,
        "verdict": verdict,
        "statement": sentence,
        "n": int(shuffled["n_users"].iloc[0]),
        "test": test,
        "estimate": round(estimate, 4),
        "ci": [round(limit, 4) for limit in ci],
        "p": round(p, 4),
    }


def _of_the_instrument(study, sentence, informs, n, undecidable):
    """Status, verdict and sentence of a mock world, where what ought to be found is known."""
    strength = study.parameters.content_strength
    works = informs >= ROBUST_SHARE * n if strength > 0 else informs == 0
    too_small = strength > 0 and not works and undecidable
    planted = f"{strength:.0%} of taste follows what is heard"
    how = planted if strength > 0 else "taste has nothing to do with what is heard"
    sentence = f"In a simulated world where {how}, {sentence}; "
    sentence += "this tests the instrument and says nothing of real listeners."
    if too_small:
        return "undecided", None, f"{sentence} The study is too small to decide."
    return "decided", "instrument_works" if works else "instrument_fails", sentence


def _other(study, recommender, backend, against):
    """The run that a backend's real one is held against; None where there is none."""
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
    real, reference = (results.per_user(study, run, split) for run in (Run(recommender, backend), other))
    if real is None or reference is None:
        return None
    rng = study.rng("comparison", recommender, split, backend, other.file(0, split))
    found = statistics.paired_difference(real, reference, rng, n_resamples=study.parameters.n_bootstrap)
    found["p"] = statistics.randomisation_p(real, reference, rng).to_numpy()
    against = (
        other.control if other.control != "real" else other.backend if other.backend != "none" else other.recommender
    )
    return found.assign(
        backend_a=backend,
        control_a="real",
        backend_b=other.backend if other.backend != results.NO_BACKEND else other.recommender,
        control_b=other.control,
        test=RANDOMISATION_TEST,
        n_seeds=len(list(study.path("per_user").glob(Run(recommender, backend).file("*", split)))),
        n_permutations=0,
        against=against,
    )


def _with_permutation_p(study, recommender, split, found):
    permuted = results.read_permutations(study)
    permuted = permuted[(permuted["recommender"] == recommender) & (permuted["split"] == split)]
    parts = []
    for (metric, k), rows in found.groupby(["metric", "k"], sort=False):
        table = permuted[(permuted["metric"] == metric) & (permuted["k"] == k)]
        table = table.pivot(index="permutation", columns="backend", values="value").reindex(columns=rows["backend_a"])
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


def _mean_over_backends(study, recommender, split, label):
    """Real − shuffled averaged over backends within each user, with its interval over users."""
    ids = study.parameters.backend_ids
    real, shuffled = (
        results.mean_of_seeds(
            [results.per_user(study, Run(recommender, name, control), split)[["user_id", label]] for name in ids]
        )
        for control in ("real", "shuffled")
    )
    rng = study.rng("answer", recommender, split)
    row = statistics.paired_difference(real, shuffled, rng, n_resamples=study.parameters.n_bootstrap).iloc[0]
    return float(row["diff"]), (float(row["ci_low"]), float(row["ci_high"]))
