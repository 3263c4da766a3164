"""Figures of RQ2: pairs, critical differences, costs against benefit, widths, worlds, and the published beside ours."""

import matplotlib as mpl
import numpy as np
import seaborn as sns

from lib.figures.looks import GREY, in_order, look, named
from lib.figures.style import BAND, legend, panels
from lib.study.text import tracks_of

__all__ = ["beside_published", "cost_benefit", "critical_differences", "forest_of_pairs", "widths", "worlds"]


_LINE = 0.19  # inches, of a pair
_AROUND = 0.75  # inches, of axis and title
_DECIDED, _EQUAL, _OPEN = ("#0072b2", "o", "#0072b2"), ("#d55e00", "D", "#d55e00"), (GREY, "o", "white")
_RING = {"ms": 9, "mfc": "none", "mec": "black", "mew": 0.8}
VERDICTS = {"better": _DECIDED, "worse": _DECIDED, "equivalent within δ": _EQUAL, "undecided": _OPEN}


def forest_of_pairs(by_split, deltas, text_width, label):
    """Differences of all pairs, a panel a split: thick the pair's own interval, thin the simultaneous one.

    Parameters
    ----------
    by_split : dict of {str: DataFrame}
        From ``lib.answers.backend_pairs.compare_pairs`` with the column ``verdict``; the same pairs in each.
    deltas : dict of {str: float}
        Smallest effect of interest of each split, drawn as a band.
    text_width : float
        Inches.
    label : dict of {str: str}
        Metric of each split.

    Returns
    -------
    Figure
    """
    first = next(iter(by_split.values()))
    lines = np.arange(len(first))
    figure, axes = _lines(text_width, len(first), by_split, sharey=True)
    for one, (split, pairs) in zip(axes[0], by_split.items(), strict=True):
        if deltas[split] > 0:
            one.axvspan(-deltas[split], deltas[split], color=BAND, lw=0)
        one.axvline(0, color=GREY, lw=0.8)
        colours = [VERDICTS[verdict][0] for verdict in pairs["verdict"]]
        one.hlines(lines, pairs["low"], pairs["high"], colors=colours, lw=0.8)
        one.hlines(lines, pairs["ci_low"], pairs["ci_high"], colors=colours, lw=2.4)
        for line, diff, verdict in zip(lines, pairs["diff"], pairs["verdict"], strict=True):
            colour, marker, fill = VERDICTS[verdict]
            one.plot(diff, line, marker, ms=4.5, color=colour, mfc=fill, zorder=3)
        one.set_xlabel(f"difference in {label[split]}")
        one.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
    texts = [f"{named(a)} − {named(b)}" for a, b in zip(first["backend_a"], first["backend_b"], strict=True)]
    axes[0, 0].set_yticks(lines, texts)
    axes[0, 0].set_ylim(len(first) - 0.5, -0.5)
    _verdict_legend(figure)
    return figure


def critical_differences(by_split, text_width):
    """Places of backends with their intervals, and bars that join those not shown to differ.

    Parameters
    ----------
    by_split : dict of {str: (DataFrame, list of list of str)}
        From ``lib.answers.backend_pairs.ranks`` and ``.groups``.
    text_width : float
        Inches.

    Returns
    -------
    Figure
    """
    most = max(len(places) for places, _ in by_split.values())
    figure, axes = _lines(text_width, most + 1, by_split)  # one more for the legend
    for one, (places, joined) in zip(axes[0], by_split.values(), strict=True):
        lines = np.arange(len(places))
        _dots(one, places["backend"], places["rank"], places["ci_low"], places["ci_high"])
        order = list(places["backend"])
        for place, group in enumerate(joined):
            x = len(places) + 0.5 + 0.3 * place
            one.plot([x, x], [order.index(group[0]) - 0.25, order.index(group[-1]) + 0.25], color="black", lw=2.4)
        one.set_yticks(lines, [named(backend) for backend in order])
        one.set_xlabel("place (1 is best)")
        one.set(xlim=(0.7, len(places) + 0.8 + 0.3 * max(0, len(joined) - 1)), ylim=(len(places) - 0.5, -0.5))
        one.set_xticks(range(1, len(places) + 1))
    if any(joined for _, joined in by_split.values()):
        legend(figure, {"not told apart": {"color": "black", "lw": 2.4}})
    return figure


def cost_benefit(by_split, text_width, label):
    """Score against seconds a clip, on a logarithmic scale, with names; a ring marks whom none beats as cheaply.

    Parameters
    ----------
    by_split : dict of {str: DataFrame}
        ``backend, seconds, value, ci_low, ci_high, frontier``.
    text_width : float
        Inches.
    label : dict of {str: str}
        Metric of each split.

    Returns
    -------
    Figure
    """
    first = next(iter(by_split.values()))
    figure, axes = panels(text_width, 1, len(by_split), ratio=0.75, squeeze=False)
    for one, (split, frame) in zip(axes[0], by_split.items(), strict=True):
        crowd = frame.groupby("seconds").cumcount()
        for row, beside in zip(frame.itertuples(), crowd, strict=True):
            x = row.seconds * 1.12**beside  # of equal cost: side by side
            style = look(row.backend).line(ms=5)
            one.plot([x, x], [row.ci_low, row.ci_high], color=style["color"], lw=1.2)
            if row.frontier:
                one.plot(x, row.value, "o", **_RING)
            one.plot(x, row.value, ls="", **style)
        one.set_xscale("log")
        one.set(title=tracks_of(split), xlabel="CPU seconds a 30 s clip", ylabel=label[split])
        one.margins(x=0.12)
        one.xaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
        one.xaxis.set_major_formatter("{x:g}")
        one.xaxis.set_minor_formatter("")
    ring = {"none as good as cheaply": {"marker": "o", "ls": "", **_RING}}
    legend(figure, _looks(first["backend"]) | ring)
    return figure


def widths(frame, text_width, label):
    """Common less native width, a line a backend, a panel a split, with intervals over listeners."""
    splits = list(dict.fromkeys(frame["split"]))
    ids = in_order(frame["backend"].unique())
    figure, axes = _lines(text_width, len(ids), splits, sharey=True)
    for one, split in zip(axes[0], splits, strict=True):
        own = frame[frame["split"] == split].set_index("backend").loc[ids]
        one.axvline(0, color=GREY, lw=0.8)
        _dots(one, ids, own["diff"], own["ci_low"], own["ci_high"])
        one.set_xlabel(f"common − native width, {label[split]}")
        one.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
    axes[0, 0].set_yticks(range(len(ids)), [named(backend) for backend in ids])
    axes[0, 0].set_ylim(len(ids) - 0.5, -0.5)
    return figure


def worlds(by_split, text_width, label):
    """Scores of backends in every world: small points the worlds, large ones their mean with its interval.

    Parameters
    ----------
    by_split : dict of {str: (DataFrame, DataFrame)}
        From ``lib.answers.worlds.over_worlds`` and ``.summary``.
    text_width : float
        Inches.
    label : dict of {str: str}
        Metric of each split.

    Returns
    -------
    Figure
    """
    ids = in_order(next(iter(by_split.values()))[1]["backend"])
    figure, axes = _lines(text_width, len(ids), by_split, sharey=True)
    for one, (split, (frame, means)) in zip(axes[0], by_split.items(), strict=True):
        for line, backend in enumerate(ids):
            values = frame.loc[frame["backend"] == backend, "value"]
            one.plot(values, np.full(len(values), line + 0.3), "|", color=look(backend).colour, ms=4, alpha=0.7)
        own = means.set_index("backend").loc[ids]
        _dots(one, ids, own["value"], own["ci_low"], own["ci_high"])
        one.set_xlabel(label[split])
        one.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
    axes[0, 0].set_yticks(range(len(ids)), [named(backend) for backend in ids])
    axes[0, 0].set_ylim(len(ids) - 0.5, -0.5)
    return figure


def beside_published(frame, text_width):
    """Published scores against ours, a panel a recommender with two backends in common or more, a point a backend.

    Parameters
    ----------
    frame : DataFrame
        From ``lib.answers.cost.beside_published``, of one split; some recommender with two backends.
    text_width : float
        Inches.

    Returns
    -------
    Figure
    """
    shared = frame.groupby("recommender")["backend"].nunique()
    names = [name for name in frame["recommender"].unique() if shared[name] > 1]
    ncols = min(4, len(names))
    figure, axes = panels(text_width, -(-len(names) // ncols), ncols, ratio=1.0, squeeze=False)
    for one, recommender in zip(axes.flat, names, strict=False):
        for row in frame[frame["recommender"] == recommender].itertuples():
            style = look(row.backend).line(ms=5)
            one.plot([row.published] * 2, [row.ours_low, row.ours_high], color=style["color"], lw=1.2)
            one.plot(row.published, row.ours, ls="", **style)
        one.set(title=named(recommender), xlabel="NDCG, published")
        one.margins(x=0.3)
        one.set(xlim=(0, None), ylim=(0, None))
        one.xaxis.set_major_locator(mpl.ticker.MaxNLocator(2))
        one.yaxis.set_major_locator(mpl.ticker.MaxNLocator(3))
    for empty in axes.flat[len(names) :]:
        empty.set_axis_off()
    for left in axes[:, 0]:
        left.set_ylabel("NDCG, ours")
    legend(figure, _looks(frame.loc[frame["recommender"].isin(names), "backend"].unique()))
    return figure


def _lines(text_width, n_lines, splits, *, sharey=False):
    """Figure and axes, a panel a split, as high as so many lines of names need."""
    ratio = (_LINE * n_lines + _AROUND) / text_width * len(splits)
    figure, axes = panels(text_width, 1, len(splits), ratio=ratio, sharey=sharey, squeeze=False)
    for one, split in zip(axes[0], splits, strict=True):
        one.set_title(tracks_of(split))
        one.tick_params(axis="y", length=0)
        sns.despine(ax=one, left=True)
    return figure, axes


def _dots(axes, ids, values, low, high):
    """A marker with its interval for each backend, one a line."""
    for line, (backend, value, start, stop) in enumerate(zip(ids, values, low, high, strict=True)):
        style = look(backend).line(ms=4.5)
        axes.plot([start, stop], [line, line], color=style["color"], lw=1.2)
        axes.plot(value, line, ls="", **style)


def _looks(backends):
    """What a legend shows of backends."""
    return {named(backend): look(backend).line(ls="", ms=5) for backend in in_order(backends)}


def _verdict_legend(figure):
    shown = {"better or worse": "better", "equivalent within δ": "equivalent within δ", "undecided": "undecided"}
    entries = {}
    for text, verdict in shown.items():
        colour, marker, fill = VERDICTS[verdict]
        entries[text] = {"color": colour, "marker": marker, "mfc": fill, "lw": 2.4}
    legend(figure, entries | {"±δ": mpl.patches.Patch(color=BAND)})
