"""RQ3: whether what a backend scores in MIR tasks corresponds to what it scores in recommendation.

Public: `recommender_scores`, `correlations`, `published_correlations`, `table`, `paired` (the points of one pair),
`primary`, `no_primary`, `arrangement_p`, `power`, `answer_rq3`. The points are backends: layers of one model,
labels and untrained twins are no further ones.
"""

import numpy as np
import pandas as pd
from scipy import stats

from lib import backends
from lib.answers import mir
from lib.evaluation import correlation, results, statistics
from lib.evaluation.statistics import max_t
from lib.study.answers import decision, setting

__all__ = [
    "answer_rq3",
    "arrangement_p",
    "correlations",
    "no_primary",
    "paired",
    "power",
    "primary",
    "published_correlations",
    "recommender_scores",
    "table",
]


PRIMARY = {"label": mir.MEAN_Z, "model": "linear", "recommender": "knn"}  # declared before any figure; on cold tracks
TEST = "exact permutation over pairings of backends, Spearman, two-sided"
BOTH_TESTS = f"{TEST}, and permutation of vectors over tracks; the larger p"
_OF_MOCK = " This tests the instrument and says nothing of real listeners."
_PAIR = ["label", "model", "recommender", "split"]
_RANK = ["rho", "rho_low", "rho_high", "rho_p", "tau", "tau_low", "tau_high", "tau_p"]


def recommender_scores(study, todo):
    """NDCG at the primary cut-off of every recommender on every backend, and on the untrained twins.

    Parameters
    ----------
    study : Study
    todo : dict of {str: Task}

    Returns
    -------
    DataFrame
        ``recommender, split, k, backend, untrained, value, ci_low, ci_high``; a twin goes by its own name, with the
        score of the first backend that it is the twin of.
    """
    rows = results.at_primary(results.current(study), todo)
    own = rows["backend"].isin(study.parameters.backend_ids) & rows["control"].isin(["real", "untrained"])
    rows = rows[own & rows["split"].isin(results.TEST_SPLITS) & (rows["seed"] == results.MEAN_OF_SEEDS)]
    rows = rows.assign(untrained=rows["control"] == "untrained")
    twin = rows["backend"].map(backends.UNTRAINED)
    rows = rows.assign(backend=twin.where(rows["untrained"], rows["backend"]))
    rows = rows.drop_duplicates(["recommender", "split", "backend", "untrained"])
    columns = ["recommender", "split", "k", "backend", "untrained", "value", "ci_low", "ci_high"]
    return rows[columns].reset_index(drop=True)


def paired(tasks, found, *, label, model, recommender, split):
    """The points of one pair: a task's score and a recommender's, backend by backend.

    Parameters
    ----------
    tasks : DataFrame
        From ``lib.answers.mir.scores`` and ``lib.answers.mir.mean_z``.
    found : DataFrame
        From `recommender_scores`.
    label, model, recommender, split : str

    Returns
    -------
    DataFrame
        ``backend, untrained, x, x_low, x_high, y, y_low, y_high`` and ``task``, where ``tasks`` tells its kind.
    """
    left = tasks[(tasks["label"] == label) & (tasks["model"] == model)]
    right = found[(found["recommender"] == recommender) & (found["split"] == split)]
    names = {"value": "", "ci_low": "_low", "ci_high": "_high"}
    sides = [
        side[["backend", "untrained", *names]].rename(columns={old: axis + new for old, new in names.items()})
        for side, axis in ((left, "x"), (right, "y"))
    ]
    points = sides[0].merge(sides[1].drop(columns="untrained"), on="backend").reset_index(drop=True)
    return points.assign(task=left["task"].iloc[0]) if "task" in left and len(left) else points


def correlations(tasks, found, alpha=0.05):
    """Every task with every recommender and split, over backends.

    Parameters
    ----------
    tasks, found : DataFrame
        As for `paired`; untrained twins do not count.
    alpha : float
        Below it, a pair over so few backends that none could reach it is not tested and is in no family.

    Returns
    -------
    DataFrame
        ``label, model, recommender, split, n``, Spearman's rho and Kendall's tau with 95 % intervals and exact p,
        ``rho_q`` (Benjamini and Hochberg over all pairs that could be decided) and ``cannot`` (why not, or empty).
    """
    tasks, found = (frame[~frame["untrained"].astype(bool)] for frame in (tasks, found))
    rows = []
    for (label, model), (recommender, split) in _crossed(tasks, found):
        points = paired(tasks, found, label=label, model=model, recommender=recommender, split=split)
        points = points.dropna(subset=["x", "y"])
        rows.append(
            dict(zip(_PAIR, (label, model, recommender, split), strict=True))
            | _of_pair(points["x"], points["y"], alpha)
        )
    return _with_q(pd.DataFrame(rows, columns=[*_PAIR, "n", *_RANK, "cannot"]))


def published_correlations(scores, found, alpha=0.05):
    """Published MIR scores, protocol by protocol, with recommenders' scores of the same backends.

    Parameters
    ----------
    scores : DataFrame
        From ``lib.answers.published_mir.scores``.
    found : DataFrame
        ``recommender, split, backend, value``.
    alpha : float

    Returns
    -------
    DataFrame
        As from `correlations`, with ``protocol`` in place of ``model``.
    """
    known = scores[scores["id"] != ""].groupby(["probe protocol", "label", "id"], sort=False)["value"].mean()
    rows = []
    for (protocol, label), own in known.groupby(level=[0, 1], sort=False):
        own = own.droplevel([0, 1])
        for (recommender, split), right in found.groupby(["recommender", "split"], sort=False):
            right = right.set_index("backend")["value"].dropna()
            shared = own.index.intersection(right.index)
            told = {"protocol": protocol, "label": label, "recommender": recommender, "split": split}
            rows.append(told | _of_pair(own[shared], right[shared], alpha))
    table = pd.DataFrame(rows, columns=["protocol", "label", "recommender", "split", "n", *_RANK, "cannot"])
    return _with_q(table[table["n"] > 0].reset_index(drop=True))


def table(rows):
    """Cells of text of correlations, one row a pair, for reading and for the thesis.

    Parameters
    ----------
    rows : DataFrame
        From `correlations`.

    Returns
    -------
    DataFrame of str
    """
    cells = {
        name: [
            f"{row[name]:+.2f} [{row[f'{name}_low']:+.2f}, {row[f'{name}_high']:+.2f}]".replace("nan", "–")
            for row in rows.to_dict("records")
        ]
        for name in ("rho", "tau")
    }
    return pd.DataFrame(
        {
            "task": rows["label"].to_numpy(),
            "probe": rows["model"].to_numpy(),
            "recommender": rows["recommender"].to_numpy(),
            "tracks": rows["split"].str.removesuffix("_test").to_numpy(),
            "n": rows["n"].to_numpy(),
            "rho": cells["rho"],
            "p": rows["rho_p"].map("{:.3f}".format).to_numpy(),
            "q": rows["rho_q"].map("{:.3f}".format).to_numpy(),
            "tau": cells["tau"],
            "p of tau": rows["tau_p"].map("{:.3f}".format).to_numpy(),
        }
    ).set_index("task")


def primary(tasks, found):
    """The points of the one pair declared beforehand: cold tracks, or hot ones where a study has no cold."""
    splits = set(found.loc[found["recommender"] == PRIMARY["recommender"], "split"])
    split = "hot_test" if "hot_test" in splits and "cold_test" not in splits else "cold_test"
    return paired(tasks, found, split=split, **PRIMARY), split


def power(study, ns, alpha=0.05, rhos=(0.6, 0.8)):
    """How often the pairing test finds a true correlation; of one n the same draws wherever it is asked.

    Parameters
    ----------
    study : Study
    ns : sequence of int
        Numbers of backends, at least 2.
    alpha : float
        Two-sided.
    rhos : sequence of float

    Returns
    -------
    DataFrame
        As from ``lib.evaluation.correlation.power_table``. Where the arrangement test has to reject too, power is at
        most so much.

    Examples
    --------
    >>> power(study, [5, 12])  # doctest: +SKIP
    """
    drawn = [correlation.power_table([n], rhos, study.rng("rq3 power", n), alpha=alpha) for n in ns]
    return pd.concat(drawn, ignore_index=True)


def no_primary(study, told):
    """Why there are no points of the primary pair, as a sentence; empty where there are.

    Parameters
    ----------
    study : Study
    told : DataFrame
        From ``lib.answers.mir.informative``.
    """
    own = told[told["model"] == PRIMARY["model"]]
    if own.empty:
        return "No probe could be asked: the study has no vectors, or its tracks none of the labels in mir_labels."
    if not own["informative"].any():
        best = own.loc[own["ratio"].idxmax()] if own["ratio"].notna().any() else None
        if best is None:
            return f"Probes tell nothing apart with {int(own['n'].max())} backend(s)."
        return (
            f"None of {len(own)} linear probes tells the backends apart: the largest spread over backends is "
            f"{best['ratio']:.1f} standard errors ({best['label']}), {mir.TIMES_SE} are needed."
        )
    if PRIMARY["recommender"] not in study.parameters.recommender_table:
        return f"The study has no recommender named {PRIMARY['recommender']}."
    return ""


def arrangement_p(study, points, split, k):
    """Whether the primary correlation is more than the luck of one arrangement of tracks (`lib.answers.rq3`).

    Parameters
    ----------
    study : Study
    points : DataFrame
        From `primary`; untrained twins do not count.
    split : str
    k : int
        Cut-off of NDCG.

    Returns
    -------
    float
        p; NaN where fewer than three backends have points and permuted runs, or all have one score.
    """
    real = points[~points["untrained"].astype(bool)].dropna(subset=["x", "y"]).set_index("backend")
    rows = results.read_permutations(study)
    permuted = results.permuted(rows, PRIMARY["recommender"], split, "NDCG", k).reindex(columns=real.index)
    if len(real) < 3 or real["x"].nunique() < 2 or permuted.empty or permuted.isna().any(axis=None):
        return float("nan")
    return float(arrangement_test(real["x"].to_numpy()[None], real["y"], permuted)["p"].iloc[0])


def answer_rq3(study, points, split, alpha, reason="", by_arrangement=float("nan")):
    """The answer to RQ3 from the primary pair.

    Parameters
    ----------
    study : Study
    points : DataFrame
        From `primary`; untrained twins do not count.
    split : str
    alpha : float
    reason : str
        Why there are no points, where that is known.
    by_arrangement : float
        From `arrangement_p`; where it is known, the larger p decides, since backends that hear alike share the luck of
        an arrangement and are no independent units (docs/calibration.md).

    Returns
    -------
    dict
        ``status, verdict, statement, n, test, estimate, ci, p``. Among real listeners `corresponds`, `opposed` or,
        where p exceeds alpha, undecided: with few backends 'no relation found' is almost no evidence. In a mock world
        the verdict is about the instrument.
    """
    real = points[~points["untrained"].astype(bool)].dropna(subset=["x", "y"])
    n = len(study.parameters.backend_ids) if reason else len(real)
    world = setting(study) + ("," if study.world == "mock" else "")
    cannot = correlation.cannot_decide(n, alpha)
    empty = {"n": n, "test": TEST, "estimate": None, "ci": None, "p": None}
    about = "whether performance in MIR tasks corresponds to performance in recommendation"
    if reason or cannot:
        cannot = f"cannot be decided: {reason[0].lower()}{reason[1:]}" if reason else f"{cannot}."
        cannot += _OF_MOCK if study.world == "mock" else ""
        statement = f"{world} {about} {cannot} {decision('undecided', None)}"
        return {"status": "undecided", "verdict": None, "statement": statement} | empty
    found = correlation.exact_correlation(real["x"], real["y"])
    test, shown = TEST, f"p = {found['p']:.2g}"
    if not np.isnan(by_arrangement):
        test, shown = BOTH_TESTS, f"p = {found['p']:.2g} and {by_arrangement:.2g}"
        found["p"] = max(found["p"], by_arrangement)
    shares = power(study, [n], alpha).set_index("rho")["power"]
    sentence = (
        f"{world} the mean z of informative probes and knn's NDCG on {split.removesuffix('_test')} tracks have "
        f"rho = {found['estimate']:+.2f} [{found['ci_low']:+.2f}, {found['ci_high']:+.2f}] over n = {n} backends "
        f"({test}, {shown}); so few backends show a true correlation of "
        + " and ".join(f"{rho:g} in {share:.0%}" for rho, share in shares.items())
        + " of cases by pairing alone, at most"
    )
    status, verdict = _verdict(study, found, alpha)
    sentence += "." + (_OF_MOCK if study.world == "mock" else "")
    if status == "undecided":
        sentence += " No relation found among so few backends is almost no evidence that there is none."
    sentence += f" {decision(status, verdict)}"
    return {"status": status, "verdict": verdict, "statement": sentence} | {
        "n": n,
        "test": test,
        "estimate": round(found["estimate"], 4),
        "ci": [round(found["ci_low"], 4), round(found["ci_high"], 4)],
        "p": round(found["p"], 4),
    }


def _verdict(study, found, alpha):
    significant = found["p"] <= alpha
    if study.world != "mock":
        if not significant:
            return "undecided", None
        return "decided", "corresponds" if found["estimate"] > 0 else "opposed"
    if study.parameters.content_strength == 0:
        return "decided", "instrument_fails" if significant else "instrument_works"
    if not significant:
        return "undecided", None
    return "decided", "instrument_works" if found["estimate"] > 0 else "instrument_fails"


def _crossed(tasks, found):
    left = tasks[["label", "model"]].drop_duplicates().itertuples(index=False, name=None)
    right = list(found[["recommender", "split"]].drop_duplicates().itertuples(index=False, name=None))
    return [(one, other) for one in left for other in right]


def _of_pair(x, y, alpha):
    row = {"n": len(x), "cannot": correlation.cannot_decide(len(x), alpha)}
    for method, short in (("spearman", "rho"), ("kendall", "tau")):
        found = correlation.exact_correlation(x, y, method)
        row |= {short: found["estimate"], f"{short}_low": found["ci_low"]}
        row |= {f"{short}_high": found["ci_high"], f"{short}_p": found["p"]}
    return row


def _with_q(rows):
    asked = rows["rho_p"].notna() & (rows["cannot"] == "")
    rows["rho_q"] = np.nan
    if asked.any():
        rows.loc[asked, "rho_q"] = statistics.benjamini_hochberg(rows.loc[asked, "rho_p"])
    return rows


def arrangement_test(scores, real, permuted):
    """Test rank correlations of tasks with recommendation over permutations of tracks, two-sided.

    Backends that hear alike share the luck of one arrangement of tracks, so a test that pairs their scores at random
    may find something where there is no content at all (docs/calibration.md says how often).

    Parameters
    ----------
    scores : array, shape (tasks, B)
        Scores of every task for B backends, none of them all equal.
    real : array, shape (B,)
        What recommenders reach with real vectors.
    permuted : array, shape (P, B)
        The same under P permutations of tracks, each the same for all backends.

    Returns
    -------
    DataFrame
        rho (Spearman), p (of each task, exact at any P: (1 + count) / (1 + P)) and p_adjusted (step-down max-T over the
        tasks), one row a task.

    Notes ----- The null is that vectors say nothing of what is listened to. Where they do, but no more for what a task
    measures than for anything else, p may be too small: claim a correlation only if `lib.evaluation.correlation`
    rejects as well.

    Examples
    --------
    >>> permuted = [[1, 3, 2, 4], [4, 1, 3, 2], [2, 1, 4, 3], [3, 4, 1, 2]]
    >>> arrangement_test([[0.1, 0.2, 0.3, 0.4]], [0.5, 0.6, 0.7, 0.8], permuted).round(2).values.tolist()
    [[1.0, 0.2, 0.2]]
    """
    tasks, everything = np.atleast_2d(scores), np.vstack([real, permuted])
    sides = [stats.rankdata(side, axis=1) for side in (tasks, everything)]
    sides = [side - side.mean(axis=1, keepdims=True) for side in sides]
    sides = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in sides]
    rho = sides[1] @ sides[0].T
    tested = max_t(np.abs(rho[0]), np.abs(rho[1:]))
    return pd.DataFrame({"rho": rho[0], "p": tested["p"], "p_adjusted": tested["p_adjusted"]})
