"""What scores under scarcity amount to: learning curves, where rankings flip, and the smallest history that will do.

Frames are those of `lib.scarcity.collect`. Scores are averaged over draws within each listener; two runs are compared
over the draws that both have. Intervals are over listeners; what draws differ by stands beside them.

A change of sign is claimed where simultaneous intervals exclude 0 on both sides of it: one bootstrap of listeners serves
all pairs and shares, and its limits are ``diff ± c se``, where c is the 95 % quantile of the largest ``|diff* - diff| / se``
of a resample. So hundreds of differences are looked at and all of their intervals hold at once in 95 % of studies.

'Still beats' is a fixed sequence: shares are gone down from the whole, and the first at which the lower limit is not
above 0 ends it. Each step is taken only if all before held, so none needs an adjustment (Maurer, Hothorn and Lehmacher
1995).
"""

import itertools

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns

from lib import figures, statistics
from lib.backends import LABELS
from lib.results import NO_BACKEND
from lib.scarcity import CHANCE

RUN = ["recommender", "backend"]
PANEL = ["split", "axis"]
BETTER, WORSE, UNDECIDED = "better", "worse", "undecided"
FLIPS, HOLDS = "flips", "holds"
_DODGE = 0.06  # of a factor of two, between lines
_MARKERS = "osD^vPXd*<>ph"


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
        From `lib.scarcity.collect`.
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
    return pd.DataFrame(rows, columns=[*columns, "n_users"])


def differences(scores, rng, *, n_resamples=statistics.RESAMPLES, level=0.95):
    """Every run less every other at every share of one split and axis, with simultaneous intervals.

    Parameters
    ----------
    scores : DataFrame
        Of one split and axis, from `lib.scarcity.collect`.
    rng : numpy.random.Generator
    n_resamples : int
    level : float

    Returns
    -------
    DataFrame
        ``a, b, share, diff, ci_low, ci_high, decided, n_users, n_draws``, shares falling within a pair. ``decided`` is
        1, -1 or, where the interval holds 0, 0. All intervals hold at once with `level`. NaN and 0 below two users.

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
        ``a, b, verdict, share, turns_at, largest, smallest, n_users``, one row a pair. ``flips``: the sign is decided both
        ways, and ``share`` is the first, going down, at which it differs from the last that was decided; ``holds``: one
        sign is decided at every share; else ``undecided``. ``turns_at`` is the first share at which the mean, decided or
        not, has another sign than at the largest; NaN where it never has. ``largest`` and ``smallest`` are the
        differences at the ends.
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
        ``recommender, backend, share, diff, ci_low, ci_high, verdict, still, n_users, n_draws``, shares falling within a
        run; BCa intervals over listeners. ``still``: the verdict is better here and at every larger share.

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
        Of the same axis, from `lib.scarcity.sizes`.

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
    """What one row of `smallest` says, and of which world.

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
    strength = study.parameters.content_strength if mock else 0
    world = f"In a simulated world where {strength:.0%} of taste follows what is heard, " if mock else ""
    world = world or f"Of the listeners of study {study.name}, "
    who = f"content ({row['recommender']}, {row['backend']})"
    name = "MostPop" if reference == "mostpop" else reference
    on = f"on {split.removesuffix('_test')} tracks"
    numbers = f"NDCG@{k} {row['diff']:+.3f} [{row['ci_low']:+.3f}, {row['ci_high']:+.3f}], n = {row['n_users']} listeners"
    if np.isnan(row["share"]):
        said = {WORSE: f"does not beat {name}", UNDECIDED: f"is not shown to beat {name}"}[row["next"]]
        text = f"{who} {said} {on} even with all there is ({numbers}): " + (
            "no smallest history can be named" if row["next"] == WORSE else "undecided"
        )
    else:
        of = "each history" if axis == "history" else "the catalogue"
        text = f"{who} still beats {name} {on} with {row['history']:g} tracks a listener ({row['share']:.0%} of {of}; {numbers})"
        ends = {None: "nothing smaller was tried", BETTER: "", UNDECIDED: "undecided", WORSE: "it does worse"}
        text += f"; {ends[row['next']]}" if row["next"] is None else f"; at {row['next_share']:.0%}: {ends[row['next']]}"
    return world + text + ("; this tests the instrument and says nothing of real listeners." if mock else ".")


def drawn(curves, text_width, colours, *, name=lambda row: label(row["recommender"], row["backend"])):
    """Learning curves in panels, a row a split and a column an axis, one line a run.

    Parameters
    ----------
    curves : DataFrame
        From `curve`; rows of chance are drawn as a dotted line.
    text_width : float
        Of the thesis, inches.
    colours : dict of {str: (colour, marker, line style)}
        Of each line, by what `name` gives, in the order of the legend.
    name : callable
        Of a row, the name of its line.

    Returns
    -------
    Figure
    """
    splits, axes_names = list(dict.fromkeys(curves["split"])), list(dict.fromkeys(curves["axis"]))
    figure, axes = figures.panels(
        text_width, len(splits), len(axes_names), ratio=0.75, squeeze=False, sharex=True, sharey="row"
    )
    curves = curves.assign(line=[name(row) for row in curves.to_dict("records")])
    for (row, split), (column, axis) in itertools.product(enumerate(splits), enumerate(axes_names)):
        panel = axes[row, column]
        own = curves[(curves["split"] == split) & (curves["axis"] == axis)]
        _lines(panel, own, colours)
        panel.set(title=f"{split.removesuffix('_test')} tracks, share of {_OF[axis]}" if row == 0 or True else "")
        panel.set_ylabel(f"NDCG@{own['k'].iloc[0]}" if column == 0 else "")
        panel.set_xlabel(f"share of {_OF[axis]}" if row == len(splits) - 1 else "")
    handles = [
        mpl.lines.Line2D([], [], color=colour, marker=marker, ls=style, ms=4, lw=1.2, label=line)
        for line, (colour, marker, style) in colours.items()
        if line in set(curves["line"])
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


_OF = {"history": "each history", "catalogue": "the catalogue"}


def _lines(panel, own, colours):
    """Lines of one panel, a little beside each other so that intervals can be told apart."""
    names = [line for line in colours if line in set(own["line"])]
    for place, line in enumerate(names):
        points = own[own["line"] == line].sort_values("share")
        colour, marker, style = colours[line]
        beside = 2 ** (_DODGE * (place - (len(names) - 1) / 2))
        x = points["share"] * beside
        if line == CHANCE:
            panel.plot(points["share"], points["value"], color=colour, ls=style, lw=1)
            continue
        panel.vlines(x, points["ci_low"], points["ci_high"], colors=colour, lw=0.7, alpha=0.6)
        panel.plot(x, points["value"], color=colour, marker=marker, ls=style, ms=3.5, lw=1.2)
    ticks = sorted(own["share"].unique())
    panel.set_xscale("log", base=2)
    panel.set_xticks(ticks, [f"{share:.0%}" for share in ticks])
    panel.minorticks_off()
    panel.set_ylim(0, None)


def styles(names, dashed=()):
    """A colour, a marker and a line style for each of some names, chance last and grey."""
    palette = sns.color_palette("colorblind", 10)
    found = {
        name: (palette[place % len(palette)], _MARKERS[place % len(_MARKERS)], "--" if name in dashed else "-")
        for place, name in enumerate(name for name in names if name != CHANCE)
    }
    return found | {CHANCE: (figures.GREY, "", ":")}


def backend_styles(backends):
    """The same for backends, in the colours they have everywhere."""
    found = {
        name: (figures.COLOURS.get(name, figures.GREY), figures.MARKERS.get(name, "o"), "-")
        for name in figures.in_order(backends)
    }
    return {LABELS.get(name, name): style for name, style in found.items()} | {CHANCE: (figures.GREY, "", ":")}


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
    if n < 2:
        return mean, np.full(values.shape[1], np.nan)
    error = values.std(axis=0, ddof=1) / np.sqrt(n)
    varies = error > 1e-12
    if not varies.any():
        return mean, np.zeros(values.shape[1])
    drawn = statistics.resampled_means(values[:, varies], rng, n_resamples)
    largest = np.abs((drawn - mean[varies]) / error[varies]).max(axis=1)
    return mean, np.quantile(largest, level) * error
