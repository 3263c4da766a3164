"""What scores under scarcity amount to: learning curves, where rankings flip, and the smallest history that will do.

Frames are those of `lib.evaluation.scarcity.collect`. Scores are averaged over draws within each listener; two runs are
compared over the draws that both have. Intervals are over listeners; what draws differ by stands beside them.

A change of sign is claimed where simultaneous intervals exclude 0 on both sides of it: one bootstrap of listeners
serves all pairs and shares, and its limits are ``diff ± c se``, where c is the 95 % quantile of a resample's largest
``|diff* - diff| / se*``. So hundreds of differences are looked at, and all intervals hold at once in 95 % of studies.

'Still beats' is a fixed sequence: shares are gone down from the whole, and the first at which the lower limit is not
above 0 ends it. Each step is taken only if all before held, so none needs an adjustment (Maurer, Hothorn and Lehmacher
1995). Its intervals are over listeners alone: what it says holds of these very tracks. Where vectors say nothing of
taste, listeners share the luck of how they lie on the tracks, and no number of listeners averages that out.
"""

import itertools

import numpy as np
import pandas as pd

from lib.evaluation import effects, statistics
from lib.evaluation.results import NO_BACKEND
from lib.evaluation.scarcity import CHANCE
from lib.study.answers import setting
from lib.study.text import signed_with_interval

__all__ = ["against", "by_panel", "curve", "differences", "flips", "limits", "sentence", "smallest"]


RUN = ["recommender", "backend"]
PANEL = ["split", "axis"]
BETTER, WORSE, UNDECIDED = "better", "worse", "undecided"
FLIPS, HOLDS = "flips", "holds"
NAMES = {"mostpop": "MostPop"}
FEWEST = 10  # listeners, below which a resample says little of an error
FEW_BACKENDS = 3


def label(recommender, backend):
    """A run in words, its backend in brackets.

    Examples
    --------
    >>> label("knn", "mfcc"), label("ease", "none")
    ('knn (mfcc)', 'ease')
    """
    return recommender if backend == NO_BACKEND else f"{recommender} ({backend})"


def curve(scores, rng, *, n_resamples=statistics.RESAMPLES):
    """Mean of every run at every share, with intervals.

    Parameters
    ----------
    scores : DataFrame
        From `lib.evaluation.scarcity.collect`.
    rng : callable
        ``rng(split)`` gives the generator of a split's intervals: the same resamples of listeners for all runs.
    n_resamples : int

    Returns
    -------
    DataFrame
        ``axis, share, recommender, backend, split, k, value, ci_low, ci_high, lowest, highest, n_draws, n_users``:
        BCa intervals over listeners; lowest and highest mean of a draw.
    """
    rows = []
    for key, own in scores.groupby(["axis", "share", *RUN, "split", "k"], sort=False):
        by_draw = own.pivot(index="user_id", columns="draw", values="value")
        means = by_draw.mean()
        low, high = statistics.bootstrap_means(
            by_draw.mean(axis=1).to_numpy()[:, None], rng(key[4]), n_resamples=n_resamples
        )
        rows.append((*key, means.mean(), low[0], high[0], means.min(), means.max(), len(means), len(by_draw)))
    columns = ["axis", "share", *RUN, "split", "k", "value", "ci_low", "ci_high", "lowest", "highest", "n_draws"]
    frame = pd.DataFrame(rows, columns=[*columns, "n_users"])
    order = {name: list(dict.fromkeys(scores[name])) for name in (*PANEL, *RUN)}
    place = [frame[name].map(order[name].index) for name in (*PANEL, *RUN)]
    return frame.iloc[np.lexsort([-frame["share"], *place[::-1]])].reset_index(drop=True)


def by_panel(frame, function):
    """What a function finds in each split and axis, as one frame.

    Parameters
    ----------
    frame : DataFrame
        With ``split, axis``; it may be empty.
    function : callable
        ``function(part, split, axis)`` gives a frame.

    Returns
    -------
    DataFrame
        ``split, axis``, then the columns of what was found.
    """
    found = [function(own, *key).assign(split=key[0], axis=key[1]) for key, own in frame.groupby(PANEL, sort=False)]
    found = pd.concat(found or [function(frame, "", "").assign(split="", axis="")], ignore_index=True)
    return found[[*PANEL, *found.columns.drop(PANEL)]]


def differences(scores, rng, *, n_resamples=statistics.RESAMPLES, level=0.95):
    """Every run less every other at every share of one split and axis, with simultaneous intervals.

    Parameters
    ----------
    scores : DataFrame
        Of one split and axis, from `lib.evaluation.scarcity.collect`.
    rng : numpy.random.Generator
    n_resamples : int
    level : float

    Returns
    -------
    DataFrame
        ``a, b, share, diff, ci_low, ci_high, decided, n_users, n_draws``, shares falling within a pair. ``decided`` is
        1, -1 or, where the interval holds 0, 0. All intervals hold at once with `level`. Below 10 users there are
        no intervals and nothing is decided.

    Examples
    --------
    >>> differences(scores, rng)  # doctest: +SKIP
    """
    each = _draws(scores)
    keys, columns = [], []
    runs = list(dict.fromkeys(run for run, _ in each))
    for a, b in itertools.combinations(runs, 2):
        for share in sorted({share for run, share in each if run == a} & {s for r, s in each if r == b}, reverse=True):
            columns.append(_paired(each[a, share], each[b, share]))
            keys.append((label(*a), label(*b), share, _common(each[a, share], each[b, share])))
    frame = pd.DataFrame(keys, columns=["a", "b", "share", "n_draws"])
    if frame.empty:
        return frame.assign(diff=[], ci_low=[], ci_high=[], decided=[], n_users=[])
    values = np.column_stack(columns)
    mean, half = _simultaneous(values, rng, n_resamples, level)
    low, high = mean - half, mean + half
    decided = np.where(low > 0, 1, np.where(high < 0, -1, 0))
    frame = frame.assign(diff=mean, ci_low=low, ci_high=high, decided=decided, n_users=len(values))
    return frame[["a", "b", "share", "diff", "ci_low", "ci_high", "decided", "n_users", "n_draws"]]


def flips(found):
    """Which pairs change places as there is less to learn from.

    Parameters
    ----------
    found : DataFrame
        From `differences`.

    Returns
    -------
    DataFrame
        ``a, b, verdict, share, turns_at, largest, smallest, n_users``, one row a pair. ``flips``: the sign is decided
        both ways, and ``share`` is the first, going down, at which it differs from the last that was decided;
        ``holds``: one sign is decided at every share; else ``undecided``. ``turns_at`` is the first share at which the
        mean, decided or not, has another sign than at the largest; NaN where it never has. ``largest`` and
        ``smallest`` are the differences at the ends.
    """
    rows = []
    for (a, b), own in found.groupby(["a", "b"], sort=False):
        own = own.sort_values("share", ascending=False)
        decided = own[own["decided"] != 0]
        turned = decided["decided"].ne(decided["decided"].shift()).to_numpy()[1:]
        share = decided["share"].to_numpy()[1:][turned]
        verdict = FLIPS if len(share) else HOLDS if len(decided) == len(own) and len(own) > 1 else UNDECIDED
        signs = np.sign(own["diff"].to_numpy())
        turns = own["share"].to_numpy()[signs * signs[0] < 0]
        ends = own["diff"].iloc[0], own["diff"].iloc[-1]
        first = [found[0] if len(found) else np.nan for found in (share, turns)]
        rows.append((a, b, verdict, *first, *ends, own["n_users"].iloc[0]))
    columns = ["a", "b", "verdict", "share", "turns_at", "largest", "smallest", "n_users"]
    return pd.DataFrame(rows, columns=columns)


def against(scores, reference, rng, *, n_resamples=statistics.RESAMPLES):
    """Every content run less a reference at every share of one split and axis, and whether it is still better there.

    Parameters
    ----------
    scores : DataFrame
        Of one split and axis.
    reference : str
        Recommender without vectors, or 'chance'.
    rng : callable
        ``rng()`` gives the generator of the intervals.
    n_resamples : int

    Returns
    -------
    DataFrame
        ``recommender, backend, share, diff, ci_low, ci_high, verdict, still, n_users, n_draws``, shares falling within
        a run; BCa intervals over listeners, on these very tracks. ``still``: the verdict is better here and at every
        larger share.

    Raises
    ------
    ValueError
        Where the reference has no scores.
    """
    each = _draws(scores)
    other = (reference, NO_BACKEND)
    if not any(run == other for run, _ in each):
        raise ValueError(
            f"Expected scores of {reference} to hold content against, found none; name it in scarcity_recommenders."
        )
    rows, still = [], {}
    for run, share in sorted(each, key=lambda cell: -cell[1]):
        if run[1] == NO_BACKEND or (other, share) not in each:
            continue
        values = _paired(each[run, share], each[other, share])[:, None]
        low, high = (limit[0] for limit in statistics.bootstrap_means(values, rng(), n_resamples=n_resamples))
        verdict = BETTER if low > 0 else WORSE if high < 0 else UNDECIDED
        still[run] = still.get(run, True) and verdict == BETTER
        n = _common(each[run, share], each[other, share])
        rows.append((*run, share, values.mean(), low, high, verdict, still[run], len(values), n))
    columns = [*RUN, "share", "diff", "ci_low", "ci_high", "verdict", "still", "n_users", "n_draws"]
    frame = pd.DataFrame(rows, columns=columns)
    order = {run: place for place, run in enumerate(dict.fromkeys(run for run, _ in each))}
    place = [order[run] for run in zip(frame["recommender"], frame["backend"], strict=True)]
    return frame.iloc[np.lexsort([-frame["share"], place])].reset_index(drop=True)


def smallest(found, sizes):
    """The smallest share at which each content run still beats the reference.

    Parameters
    ----------
    found : DataFrame
        From `against`.
    sizes : DataFrame
        Of the same axis, from `lib.evaluation.scarcity.sizes`.

    Returns
    -------
    DataFrame
        ``recommender, backend, share, history, diff, ci_low, ci_high, next_share, next, n_users``: the smallest share
        that `still` reaches, the median tracks of a listener there, and the verdict at the next smaller share, None
        where none was tried. Where content is not even better with all there is, share is NaN and ``next`` the verdict
        with all.
    """
    rows = []
    for run, own in found.groupby(RUN, sort=False):
        held, failed = own[own["still"]], own[~own["still"]]
        last = held.iloc[-1] if len(held) else own.iloc[0]
        history = sizes.set_index("share")["history"].get(last["share"], np.nan)
        ends = (failed["share"].iloc[0], failed["verdict"].iloc[0]) if len(failed) else (np.nan, None)
        where = (last["share"], history) if len(held) else (np.nan, np.nan)
        rows.append((*run, *where, last["diff"], last["ci_low"], last["ci_high"], *ends, last["n_users"]))
    columns = [*RUN, "share", "history", "diff", "ci_low", "ci_high", "next_share", "next", "n_users"]
    return pd.DataFrame(rows, columns=columns)


def sentence(row, study, split, k, reference, axis="history"):
    """What one row of `smallest` says, and of which world and tracks.

    Parameters
    ----------
    row : mapping
    study : Study
        Its world is named.
    split : {'hot_test', 'cold_test'}
    k : int
    reference : str
    axis : {'history', 'catalogue'}

    Returns
    -------
    str
    """
    mock = study.world == "mock"
    world = setting(study) if mock else f"Of the listeners of study {study.name}"
    who = f"content ({row['recommender']}, {row['backend']})"
    name = f"{NAMES.get(reference, reference)} on these {split.removesuffix('_test')} tracks"
    interval = signed_with_interval(row["diff"], row["ci_low"], row["ci_high"])
    numbers = f"NDCG@{k} {interval}, n = {row['n_users']} listeners"
    if np.isnan(row["share"]):
        said = "does not beat" if row["next"] == WORSE else "is not shown to beat"
        end = "no smallest history can be named" if row["next"] == WORSE else "undecided"
        text = f"{who} {said} {name} even with all there is ({numbers}): {end}"
    else:
        of = "each history" if axis == "history" else "the catalogue"
        end = "it is undecided" if row["next"] == UNDECIDED else "it does worse"
        end = f"at {row['next_share']:.0%} {end}" if row["next"] else "nothing smaller was tried"
        kept = f"{row['history']:g} tracks a listener ({row['share']:.0%} of {of}; {numbers})"
        text = f"{who} still beats {name} with a history of {kept}; {end}"
    return f"{world}, {text}{'; this tests the instrument and says nothing of real listeners' if mock else ''}."


def limits(scores, study):
    """What these results cannot show, in sentences.

    Parameters
    ----------
    scores : DataFrame
        From `lib.evaluation.scarcity.collect`.
    study : Study

    Returns
    -------
    list of str
    """
    own = scores[scores["recommender"] != CHANCE]
    said = _of_few_that_differ(own)
    single = sorted(own.groupby("recommender")["draw"].nunique().loc[lambda draws: draws == 1].index)
    if single:
        said.append(f"One draw and one training of {', '.join(single)}: how much another would differ is not known.")
    if len(own["share"].unique()) < 3:
        said.append("With two shares there is no shape of a curve, and no smallest history between them.")
    heard = [name for name in study.parameters.backend_ids if name in set(own["backend"])]
    if len(heard) < FEW_BACKENDS:
        said.append(f"Vectors of {', '.join(heard) or 'no backend'}: nothing is said of how backends in general fare.")
    said.append("Options were chosen with all there is: what is best with less may differ, and all curves share that.")
    return said


def _of_few_that_differ(scores):
    """Of each split, the run under which the fewest listeners have a score at all, where these are few."""
    said = []
    whole = scores[scores["share"] == scores["share"].max()]
    for split, own in whole.groupby("split", sort=False):
        means = own.groupby([*RUN, "user_id"])["value"].mean().unstack("user_id")
        found = pd.DataFrame({"n_differ": effects.differing(means.T), "n_users": means.shape[1]}, means.index)
        fewest = label(*found["n_differ"].idxmin())
        said += effects.few_differ(found, f"from 0 on {split.removesuffix('_test')} tracks under {fewest}")
    return said


def _draws(scores):
    """Scores of each run and share, shape (users, draws), users in one order."""
    users = pd.Index(np.sort(scores["user_id"].unique()))
    found = {}
    for (recommender, backend, share), own in scores.groupby([*RUN, "share"], sort=False):
        by_draw = own.pivot(index="user_id", columns="draw", values="value").reindex(users)
        if by_draw.isna().to_numpy().any():
            raise ValueError(
                f"Expected a score of each of {len(users)} listeners in every draw of {label(recommender, backend)} at "
                f"{share:.0%}, found {int(by_draw.isna().to_numpy().sum())} missing; give one split and one axis."
            )
        found[(recommender, backend), share] = by_draw.to_numpy()
    return found


def _common(a, b):
    return min(a.shape[1], b.shape[1])


def _paired(a, b):
    """Difference of each listener, over the draws that both have; chance has one that stands for all."""
    n = _common(a, b)
    return a[:, :n].mean(axis=1) - b[:, :n].mean(axis=1)


def _simultaneous(values, rng, n_resamples, level):
    """Means of columns and half widths of intervals that hold all at once."""
    n = len(values)
    mean = values.mean(axis=0)
    if n < FEWEST:
        return mean, np.full(values.shape[1], np.nan)
    error = values.std(axis=0, ddof=1) / np.sqrt(n)
    varies = error > 1e-12
    if not varies.any():
        return mean, np.zeros(values.shape[1])
    centred = values[:, varies] - mean[varies]
    drawn = statistics.resampled_means(np.hstack([centred, centred**2]), rng, n_resamples)
    means, squares = np.split(drawn, 2, axis=1)
    # each resample's own error: without it limits are too narrow (at 120 users .08 in place of .05); at least half of
    # the sample's, or a resample in which none of a few differing users is drawn would widen the limits of all
    own = np.sqrt(np.maximum(squares - means**2, 0) / (n - 1))
    largest = np.abs(means / np.maximum(own, error[varies] / 2)).max(axis=1)
    return mean, np.quantile(largest, level) * error
