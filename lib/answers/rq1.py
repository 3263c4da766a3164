"""RQ1: the rule that 70_rq1_viability states before any figure, the verdicts it gives, and what speaks against them.

'Audio informs' means better than shuffled vectors, 'pretraining helps' better than the untrained twin; a backend is
viable on cold tracks only where it beats shuffled vectors, its twin and the artist's name, each by more than the
smallest effect of interest.
"""

import numpy as np
import pandas as pd

from lib import backends
from lib.answers import claims
from lib.evaluation import effects
from lib.study.answers import decision, setting

__all__ = ["answer_rq1", "by_recommender", "cannot_conclude", "objections", "side_information", "verdicts"]


ROBUST_SHARE = 0.8  # of the backends must agree: for one verdict on a recommender, and for the instrument to work
REFERENCES = {  # what may do as well as real vectors, as an objection says it
    "shuffled": "its vectors shuffled over tracks",
    "random": "random vectors",
    "untrained": "the same network without training",
    "profile_swap": "another listener's history",
    "id_only": "ids in place of audio",
    "artist": "the artist's name alone",
    "mostpop": "the most played tracks",
    "collaborative": "listening alone",
    "chance": "chance",
}


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
            helps = bool(by.loc["untrained", "p_adjusted"] <= alpha and by.loc["untrained", "ci_low"] > 0)
        bars = by.reindex([name for name in needed if name != "untrained" or backend in backends.UNTRAINED])
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


def by_recommender(decided):
    """One verdict a recommender and split, from those of its backends.

    Parameters
    ----------
    decided : DataFrame
        ``recommender, split`` and the columns of `verdicts`.

    Returns
    -------
    DataFrame
        ``recommender, split, status, verdict, backends, informs, helps``: the verdict that at least 80 % of backends
        share, else 'depends on the backend' where all of them are decided, else 'undecided'. Counts are texts like
        ``4 of 5``; of `helps` only networks with an untrained twin count.

    Examples
    --------
    >>> one = {"recommender": "knn", "split": "hot_test", "backend": "mfcc", "audio_informs": True}
    >>> by_recommender(pd.DataFrame([one | {"pretraining_helps": None, "verdict": "useful alone"}]))["status"].tolist()
    ['decided']
    """
    rows = []
    for (recommender, split), own in decided.groupby(["recommender", "split"], sort=False):
        counts = own["verdict"].value_counts()
        verdict = counts.index[0] if counts.iloc[0] >= ROBUST_SHARE * len(own) else None
        if verdict is None:
            verdict = "undecided" if "undecided" in counts else "depends on the backend"
        twins = [bool(value) for value in own["pretraining_helps"] if value is not None]
        rows.append(
            {
                "recommender": recommender,
                "split": split,
                "status": "undecided" if verdict == "undecided" else "decided",
                "verdict": verdict,
                "backends": ", ".join(f"{n} {name}" for name, n in counts.items()),
                "informs": f"{int(own['audio_informs'].sum())} of {len(own)}",
                "helps": f"{sum(twins)} of {len(twins)}",
            }
        )
    return pd.DataFrame(rows)


def objections(study, differences, delta, n_permutations):
    """The strongest objections to one recommender on one split, as measured.

    A reference objects where real vectors do not beat it by more than δ for sure. The one that may be furthest ahead
    (the lowest lower limit) comes first; where fewer than three object, what the design leaves open follows.

    Parameters
    ----------
    study : Study
    differences : DataFrame
        From `lib.answers.claims.mean_differences`.
    delta : float
        Smallest effect of interest; NaN counts as 0.
    n_permutations : int
        Behind the test against shuffled vectors.

    Returns
    -------
    list of str
        Three.

    Examples
    --------
    >>> objections(study, differences, 0.01, 999)[0]  # doctest: +SKIP
    'beaten by listening alone (ease): -0.050 [-0.060, -0.040]'
    """
    rows = differences[differences["ci_low"].le(0 if np.isnan(delta) else delta)].sort_values("ci_low")
    found = []
    for row in rows.itertuples():
        name = REFERENCES[row.against] + (f" ({row.name})" if row.against == "collaborative" else "")
        how = "beaten by" if row.ci_high < 0 else "not shown to beat"
        found.append(f"{how} {name}: {row.diff:+.3f} [{row.ci_low:+.3f}, {row.ci_high:+.3f}]")
    backends = f"{int(differences['n_backends'].max())} backends"
    left = [f"one world of {int(differences['n_users'].max())} listeners and {backends}"]
    if (differences["against"] == "untrained").any():
        left.insert(0, "one draw of the untrained twin's weights")
    if n_permutations < claims.MANY_PERMUTATIONS:
        left.insert(0, f"only {n_permutations} permutations")
    if study.world == "mock":
        left.append("taste is made of the labels, by construction")
    left += ["clips stand for whole recordings", "one month of listening stands for taste"]
    return [*found, *left][:3]


def cannot_conclude(n_backends, n_seeds, compared, *, trained):
    """What a study of this size cannot say, in sentences.

    Parameters
    ----------
    n_backends, n_seeds : int
        Backends compared, trainings of each.
    compared : DataFrame
        From `lib.answers.claims.comparisons`.
    trained : bool
        Whether any recommender is trained.

    Returns
    -------
    list of str
        Empty where size sets no such limit.

    Examples
    --------
    >>> cannot_conclude(5, 3, pd.DataFrame({"n_differ": [200], "n_users": [600]}), trained=True)
    []
    """
    found = effects.few_differ(compared, "between real vectors and some reference")
    if trained and n_seeds < 2:
        found.append("With 1 seed the luck of a training cannot be told from the worth of a backend.")
    if n_backends < 3:
        found.append(
            f"With {n_backends} backend{'s' * (n_backends > 1)} nothing can be said of pretrained representations in "
            "general, nor of how performance in MIR tasks goes with recommendation."
        )
    return found


def answer_rq1(study, recommender, compared, decided, differences, delta):
    """The answer to RQ1 as one recommender gives it, for ``answers.json``.

    Parameters
    ----------
    study : Study
    recommender : str
    compared : DataFrame
        Its comparisons of one metric, at one cut-off a split.
    decided : DataFrame
        ``split`` and the columns of `verdicts`, on the same.
    differences : DataFrame
        From `lib.answers.claims.mean_differences`, on the same splits.
    delta : float
        Smallest effect of interest on hot tracks: where the upper limit lies below it the instrument has failed, above
        it a study that found too few backends is too small to decide.

    Returns
    -------
    dict
        ``status, verdict, statement, n, test, estimate, ci, p``, the numbers those of hot tracks against shuffled
        vectors. In a mock world the verdict is about the instrument: it works if it finds what was planted, and finds
        nothing where nothing was.
    """
    shuffled = compared[compared["against"] == "shuffled"]
    mean = differences[differences["against"] == "shuffled"].set_index("split")
    clauses = [
        _clause(rows, mean.loc[split], decided[decided["split"] == split])
        for split, rows in shuffled.groupby("split", sort=False)
    ]
    sentence = f"{recommender}'s lists beat those from shuffled vectors " + "; ".join(clauses)
    hot = shuffled[shuffled["split"] == "hot_test"]
    informs = decided.loc[decided["split"] == "hot_test", "audio_informs"]
    row, p = mean.loc["hot_test"], float(hot["p_adjusted"].min())
    if study.world == "mock":
        status, verdict, sentence = _of_the_instrument(study, sentence, informs, undecidable=not row["ci_high"] < delta)
    else:
        each = by_recommender(decided.assign(recommender=recommender))
        status = "decided" if (each["status"] == "decided").all() else "undecided"
        verdict = "; ".join(
            f"{_tracks(split)} tracks: {name}" for split, name in zip(each["split"], each["verdict"], strict=True)
        )
        sentence = f"Among real listeners {sentence}. {decision(status, verdict)}"
    return {
        "status": status,
        "verdict": verdict,
        "statement": sentence,
        "n": int(hot["n_users"].iloc[0]),
        "test": hot["test"].iloc[0],
        "estimate": round(float(row["diff"]), 4),
        "ci": [round(float(row[limit]), 4) for limit in ("ci_low", "ci_high")],
        "p": round(p, 4),
    }


def _clause(rows, mean, decided):
    """What one split shows: how many backends, by how much, by which test."""
    first, informs = rows.iloc[0], int(decided["audio_informs"].sum())
    helped = [bool(value) for value in decided["pretraining_helps"] if value is not None]
    return (
        f"on {_tracks(first['split'])} tracks with {informs} of {len(decided)} backends "
        f"({first['metric']}@{first['k']}, "
        f"mean difference {mean['diff']:+.3f} [{mean['ci_low']:+.3f}, {mean['ci_high']:+.3f}], {first['test']}, "
        f"P = {int(first['n_permutations'])}, smallest family-wise p = {rows['p_adjusted'].min():.3f}, "
        f"n = {int(first['n_users'])} listeners), and {sum(helped)} of {len(helped)} networks beat their untrained twin"
    )


def _tracks(split):
    return split.removesuffix("_test")


def _of_the_instrument(study, sentence, informs, undecidable):
    """Status, verdict and sentence of a mock world, where what ought to be found is known."""
    strength, n = study.parameters.content_strength, int(informs.sum())
    works = n >= ROBUST_SHARE * len(informs) if strength > 0 else n == 0
    too_small = strength > 0 and not works and undecidable
    sentence = f"{setting(study)}, {sentence}. This tests the instrument and says nothing of real listeners. "
    if too_small:
        return "undecided", None, f"{sentence}The study is too small. {decision('undecided', None)}"
    verdict = "instrument_works" if works else "instrument_fails"
    return "decided", verdict, sentence + decision("decided", verdict)
