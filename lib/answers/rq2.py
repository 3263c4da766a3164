"""The answer to RQ2: what one recommender's lists say of backends, and what they cannot say."""

import math

import numpy as np

from lib import evaluation, recommenders
from lib.answers import backend_pairs, rq1
from lib.answers.backend_pairs import ORACLE, TEST, TEST_BOTH
from lib.backends import LABELS
from lib.backends.vectors import Vectors
from lib.data.mock.taste import true_factors
from lib.evaluation import correlation, effects
from lib.study.answers import decision, setting

__all__ = ["answer_rq2", "cannot_say", "compare_with_oracle", "oracle_scores"]


ORACLE_TEST = "true factors against every backend, max-T by flipping signs of listeners, two-sided"


def cannot_say(n_backends, pairs, *, alpha, n_seeds=0, n_worlds=None):
    """What a study of this size cannot conclude about backends, in sentences.

    Parameters
    ----------
    n_backends : int
    pairs : DataFrame
        From ``lib.answers.backend_pairs.compare_pairs``; no rows below two backends.
    alpha : float
        Family-wise error.
    n_seeds : int
        Trainings of a backend; 0 where nothing is trained.
    n_worlds : int, optional
        Simulated worlds; None where listeners are real.

    Returns
    -------
    list of str
        Empty where nothing stands in the way.

    Examples
    --------
    >>> import pandas as pd
    >>> cannot_say(1, pd.DataFrame(), alpha=0.05)
    ['With one backend there is no pair to compare: run 20 and 30 for a second one.']
    """
    found = []
    if n_backends < 2:
        found.append(
            f"With {('no', 'one')[n_backends]} backend there is no pair to compare: run 20 and 30 for a second one."
        )
    elif correlation.cannot_decide(n_backends, alpha):
        found.append(f"Whether two orders of backends agree {correlation.cannot_decide(n_backends, alpha)}.")
    n_users = pairs["n_users"].min() if len(pairs) else np.inf
    least = 2.0 ** (1 - n_users)
    if least > alpha:
        found.append(
            f"With {n_users} listeners no p lies below {least:.3f}: no difference can be shown, whatever its size."
        )
    else:
        found += effects.few_differ(pairs, "in some pair of backends")
    if n_seeds == 1:
        found.append(
            "With one training each, a difference between trained models may be the luck of its seed: undecided."
        )
    if n_worlds is not None and n_worlds < 2:
        found.append("With fewer than two worlds nothing says how far an order of backends is that of one taste.")
    return found


def oracle_scores(study, tracks, train, task):
    """Scores of listeners on what taste follows in a mock world, through the same KNN: no backend can know more.

    Parameters
    ----------
    study : Study
        With mock listening.
    tracks : DataFrame
    train : DataFrame
        Pairs.
    task : Task

    Returns
    -------
    Series
        NDCG at the primary cut-off, indexed by listener.
    """
    factors = Vectors.of(tracks["track_id"], true_factors(tracks, study.parameters.factor_weights or None))
    model = recommenders.create("knn", scaling="none").fit(train, factors, study.rng("oracle"))
    label = f"NDCG@{task.cutoffs[0]}"
    return evaluation.recommend_and_score(model, task)[1].set_index("user_id")[label].rename(ORACLE)


def answer_rq2(study, recommender, label, pairs, places, delta, oracle=None, worlds=None):
    """The answer to RQ2 as far as one recommender on one split gives it, for ``answers.json``.

    Parameters
    ----------
    study : Study
    recommender, label : str
        Whose lists, in which metric.
    pairs : DataFrame
        From ``lib.answers.backend_pairs.compare_pairs``, of real backends; with ``p_arranged`` where known.
    places : DataFrame
        From ``lib.answers.backend_pairs.ranks``.
    delta : float
        Smallest effect of interest.
    oracle : DataFrame, optional
        Pairs of `ORACLE` (as a) with every backend, compared as one family: what is known to be best in a mock world
        in which taste follows sound. Not given for real listeners.
    worlds : DataFrame, optional
        From ``lib.answers.worlds.summary``, on the same split: who is best where tastes are others.

    Returns
    -------
    dict
        ``status, verdict, statement, n, test, estimate, ci, p``: the last four of the comparison that decides. In a
        mock world the verdict is about the instrument: it works where it puts the true factors above at least 80 % of
        the backends, and the weakest of these decides; where taste ignores sound, where no pair differs. Among real
        listeners: ``differences_shown``, ``all_equivalent``, or none where no pair is decided. Without an oracle the
        largest difference decides, with its simultaneous interval, among pairs shown to differ if there are any.
    """
    alpha = study.parameters.alpha
    if not len(pairs):
        return _of_no_pair(study, places, pairs, alpha)
    n = int(pairs["n_users"].iloc[0])
    said = backend_pairs.verdicts(pairs, delta, alpha)
    deciding = _largest(pairs, said)
    sentence = f"under {recommender} {_found(pairs, said, places, delta, label, alpha)}"
    counted = f"{said.isin(['better', 'worse']).sum()} of {len(said)} pairs"
    close = ""
    if study.world == "mock":
        status, verdict, statement = _of_the_instrument(study, sentence, said, oracle, alpha)
        if study.parameters.content_strength > 0 and oracle is not None and len(oracle):
            deciding, close = _weakest(oracle, verdict), _of_backends(said, counted, verdict)
    else:
        status, verdict, statement = _of_listeners(sentence, said)
    n_worlds = None if worlds is None else int(worlds["n_worlds"].max())
    limits = cannot_say(len(places), pairs, alpha=alpha, n_worlds=n_worlds)
    if worlds is not None:
        limits.insert(0, _elsewhere(worlds, places["backend"].iloc[0]))
    last = decision(status, f"{verdict} ({counted})" if verdict == "differences_shown" else verdict)
    return {
        "status": status,
        "verdict": verdict,
        "statement": " ".join(filter(None, [statement, *limits, close, last])),
        "n": n,
        "test": _test(deciding),
        "estimate": round(float(deciding["diff"]), 4),
        "ci": [round(float(deciding[end]), 4) for end in ("low", "high")] if np.isfinite(deciding["low"]) else None,
        "p": round(float(backend_pairs.deciding_p(deciding.to_frame().T).iloc[0]), 4),
    }


def compare_with_oracle(oracle, table, rng, *, alpha):
    """The true factors against every backend, as one family.

    Parameters
    ----------
    oracle : Series
        From `oracle_scores`.
    table : DataFrame
        From ``lib.answers.backend_pairs.scores``.
    rng : numpy.random.Generator
    alpha : float

    Returns
    -------
    DataFrame
        As ``lib.answers.backend_pairs.compare_pairs``, `ORACLE` being backend_a, a row a backend.
    """
    against = [(ORACLE, name) for name in table.columns]
    both = table.assign(**{ORACLE: oracle.reindex(table.index)})
    return backend_pairs.compare_pairs(both, rng, alpha=alpha, couples=against)


def _of_no_pair(study, places, pairs, alpha):
    """The answer where fewer than two backends ran."""
    where = setting(study) + ("," if study.world == "mock" else "")
    reason = cannot_say(len(places), pairs, alpha=alpha)[0]
    statement = f"{where} nothing is said of how backends compare. {reason} {decision('undecided', None)}"
    empty = dict.fromkeys(("n", "test", "estimate", "ci", "p"))
    return {"status": "undecided", "verdict": None, "statement": statement, **empty}


def _largest(pairs, said):
    """The pair of the largest difference, among those shown to differ if there are any."""
    differ = pairs[said.isin(["better", "worse"])]
    among = differ if len(differ) else pairs
    return among.loc[among["diff"].abs().idxmax()]


def _test(pair):
    """By what a pair was judged."""
    if pair["backend_a"] == ORACLE:
        return ORACLE_TEST
    return TEST_BOTH if np.isfinite(pair.get("p_arranged", np.nan)) else TEST


def _weakest(oracle, verdict):
    """Of as many backends as the truth must be above, the one it is least above; the worst where the truth is below."""
    ordered = oracle.sort_values("t", ascending=False, kind="stable")
    return ordered.iloc[-1 if verdict == "instrument_fails" else math.ceil(rq1.ROBUST_SHARE * len(ordered)) - 1]


def _of_backends(said, counted, verdict):
    """That to know the truth for the best is not to tell the backends apart."""
    start = "The instrument can rank truth above backends; about" if verdict == "instrument_works" else "About"
    return f"{start} the backends themselves: {'undecided' if said.eq('undecided').all() else counted + ' differ'}."


def _found(pairs, said, places, delta, label, alpha):
    """What was found among pairs, as the middle of a sentence."""
    decided = {name: int(said.eq(name).sum()) for name in ("equivalent within δ", "undecided")}
    differ = len(said) - sum(decided.values())
    leaders = backend_pairs.groups(list(places["backend"]), pairs, alpha)
    first = next((group for group in leaders if places["backend"].iloc[0] in group), [places["backend"].iloc[0]])
    largest = _largest(pairs, said)
    a, b = (LABELS.get(largest[side], largest[side]) for side in ("backend_a", "backend_b"))
    detectable = backend_pairs.detectable(pairs, delta, alpha)["detectable"].median()
    named = ", ".join(LABELS.get(name, name) for name in first)
    leads = f"{named} leads alone" if len(first) == 1 else f"{named} are not told apart at the top"
    size = f"δ = {delta:.4f}" if delta > 0 else "no δ above 0 to be equivalent within"
    limits = f"[{largest['low']:+.3f}, {largest['high']:+.3f}]" if np.isfinite(largest["low"]) else "without limits"
    p = f"family-wise p = {largest['p_adjusted']:.3f} over listeners"
    if _test(largest) == TEST_BOTH:
        p += f", {largest['p_arranged']:.3f} over arrangements of tracks"
    return (
        f"{differ} of {len(said)} pairs of backends differ, {decided['equivalent within δ']} are equivalent "
        f"within δ and {decided['undecided']} are undecided ({label}, {size}, smallest detectable difference "
        f"{detectable:.3f}, {_test(largest)}, n = {int(largest['n_users'])} "
        f"listeners); the largest difference{' shown' if differ else ''} is {a} − {b}, {largest['diff']:+.3f} "
        f"{limits}, {p}; {leads}"
    )


def _elsewhere(worlds, first):
    """Who is best in worlds with other tastes, and how often it is who is best in this one."""
    shares = worlds.set_index("backend")["share_best"]
    most, n = shares.idxmax(), int(worlds["n_worlds"].max())
    sentence = f"Over {n} worlds with other tastes {LABELS.get(most, most)} is best in {shares[most]:.0%}"
    if most == first:
        return f"{sentence}, as in this one."
    return f"{sentence}, and {LABELS.get(first, first)}, first in this one, in {shares[first]:.0%}."


def _of_listeners(sentence, said):
    """Status, verdict and sentence of real listeners."""
    differ, same = said.isin(["better", "worse"]).any(), said.eq("equivalent within δ").all()
    verdict = "differences_shown" if differ else "all_equivalent" if same else None
    return "decided" if verdict else "undecided", verdict, f"Among real listeners {sentence}."


def _of_the_instrument(study, sentence, said, oracle, alpha):
    """Status, verdict and sentence of a mock world, where the best is known, or that there is none."""
    strength = study.parameters.content_strength
    sentence = f"{setting(study)}, {sentence}"
    close = "this tests the instrument and says nothing of real listeners."
    if strength == 0:
        works = not said.isin(["better", "worse"]).any()
        return "decided", "instrument_works" if works else "instrument_fails", f"{sentence}; {close}"
    if oracle is None or not len(oracle):
        return "undecided", None, f"{sentence}; what taste follows was not scored; {close}"
    above = int(((oracle["p_adjusted"] <= alpha) & (oracle["diff"] > 0)).sum())
    sentence += f"; the true factors, known to be best, are found above {above} of {len(oracle)} backends; {close}"
    if above >= rq1.ROBUST_SHARE * len(oracle):
        return "decided", "instrument_works", sentence
    wrong = ((oracle["p_adjusted"] <= alpha) & (oracle["diff"] < 0)).any()
    if wrong:
        return "decided", "instrument_fails", sentence
    return "undecided", None, f"{sentence} The study is too small to tell the best from the rest."
