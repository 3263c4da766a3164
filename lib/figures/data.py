"""Figures of data: a study's listening, alone and beside the public one, and its tracks among the public ones."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lib import figures
from lib.data.realism import DAYS, GAP_EDGES

__all__ = ["collections", "listening", "listening_histograms", "nearness"]


COLOURS = ("#d55e00", "#0072b2")  # the study's side and the public one, everywhere


def listening(one, real, names, text_width):
    """Two profiles side by side in six panels.

    Parameters
    ----------
    one, real : lib.data.realism.Profile
    names : (str, str)
        What to call them.
    text_width : float
        Inches.

    Returns
    -------
    (Figure, DataFrame)
        The figure and what is drawn: panel, side, x, y.
    """
    figure, axes = figures.panels(text_width, 2, 3, ratio=0.85)
    drawn = []
    for side, made, colour, style in zip(names, (one, real), COLOURS, ("-", "--"), strict=True):
        for panel, (name, x, y) in zip(axes.flat, _curves(made), strict=True):
            steps = "steps-post" if name in ("tracks_a_user", "plays_a_pair") else "default"
            marker = "o" if name == "weekdays" else None
            panel.plot(x, y, color=colour, ls=style, lw=1.2, drawstyle=steps, marker=marker, ms=3, label=side)
            drawn.append(pd.DataFrame({"panel": name, "side": side, "x": x, "y": y}))
    _label(axes)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure, pd.concat(drawn, ignore_index=True)


def nearness(nearest, among, text_width):
    """How near own tracks are to public ones, beside how near public ones are to each other.

    Parameters
    ----------
    nearest, among
        From `lib.evaluation.overlap.nearest_public`.
    text_width : float
        Inches.

    Returns
    -------
    (Figure, DataFrame)
        The figure and what is drawn: side, cosine.
    """
    figure, axes = figures.panels(text_width, share=0.7, ratio=0.55)
    data = pd.concat(
        [
            pd.DataFrame({"side": "own track to the nearest public one", "cosine": nearest["cosine"]}),
            pd.DataFrame({"side": "public track to the nearest other", "cosine": among}),
        ],
        ignore_index=True,
    )
    for (side, own), colour, style in zip(data.groupby("side", sort=False), COLOURS, ("-", "--"), strict=True):
        sns.ecdfplot(own, x="cosine", color=colour, ls=style, stat="percent", label=side, ax=axes)
    axes.axvline(np.quantile(among, 0.05), ymax=0.78, color=figures.GREY, lw=0.8, ls=":")
    axes.set(xlabel="cosine", ylabel="tracks, % up to x")
    axes.legend(loc="upper left")
    return figure, data


def collections(layout, is_own, text_width):
    """A map of both collections.

    Parameters
    ----------
    layout : DataFrame
        From `lib.evaluation.neighbours.layout`, of both together.
    is_own : array of bool
    text_width : float
        Inches.

    Returns
    -------
    (Figure, DataFrame)
        The figure and what is drawn: track_id, x, y, side.
    """
    data = layout.assign(side=np.where(is_own, "own", "public"))
    figure, axes = figures.panels(text_width, share=0.7, ratio=0.8)
    for side, colour, marker in (("public", COLOURS[1], "o"), ("own", COLOURS[0], "^")):
        shown = data[data["side"] == side]
        axes.scatter(shown["x"], shown["y"], s=11, color=colour, marker=marker, lw=0, alpha=0.7, label=side)
    axes.set(xticks=[], yticks=[])
    sns.despine(ax=axes, left=True, bottom=True)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure, data


def _label(axes):
    labels = {
        "tracks a listener": "listeners, % up to x",
        "plays a pair": "pairs, % up to x",
        "most played tracks, %": "share of plays, %",
        "time between first plays": "gaps, % up to x",
        "hour of day, UTC": "first plays, %",
        "day of the week": "first plays, %",
    }
    for panel, (across, up) in zip(axes.flat, labels.items(), strict=True):
        panel.set(xlabel=across, ylabel=up, ylim=(0, 1.05 * panel.get_ylim()[1]))
    for panel in axes.flat[:2]:
        panel.set(xscale="log", ylim=(0, 102))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter("")  # within one decade they would be written too, over each other
    axes[0, 2].set(ylim=(0, 102), xticks=(0, 25, 50, 75, 100))
    axes[1, 0].set(xscale="log", ylim=(0, 102), xlim=(0.5, GAP_EDGES[-1]))
    axes[1, 0].set_xticks([1, 60, 1440, 10080], ["1 min", "1 h", "1 d", "1 w"])
    axes[1, 0].minorticks_off()
    axes[1, 1].set_xticks(range(0, 25, 6))
    axes[1, 1].yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes[1, 2].set_xticks(range(7), [day[:2] for day in DAYS])


def _curves(made):
    for name in ("tracks_a_user", "plays_a_pair"):
        values, share = made.distribution(name)
        yield name, np.r_[values[0], values], 100 * np.r_[0, np.cumsum(share)]
    tracks = np.linspace(0, 1, 101)
    yield "concentration", 100 * tracks, [100 * made.top_share(top) for top in tracks]
    values, share = made.distribution("gaps")
    yield "gaps", values, 100 * np.cumsum(share)
    yield "hours", np.arange(24), 100 * np.array(made.hours) / sum(made.hours)
    yield "weekdays", np.arange(7), 100 * np.array(made.weekdays) / sum(made.weekdays)


class Drawn(NamedTuple):
    """A figure and the data behind it."""

    figure: Figure
    data: pd.DataFrame


def listening_histograms(pairs, text_width):
    """Tracks a listener, plays a track, and first plays by hour of day.

    Parameters
    ----------
    pairs : DataFrame
        ``user_id, track_id, timestamp, count``.
    text_width : float
        Inches.

    Returns
    -------
    Drawn
    """
    figure, axes = figures.panels(text_width, 1, 3, ratio=0.85)
    per_user = pairs.groupby("user_id").size()
    sns.histplot(per_user, ax=axes[0], color=COLOURS[1], log_scale=bool(per_user.max() > 200), bins=30)
    axes[0].set(xlabel="tracks a listener", ylabel="listeners")
    ranked = pairs.groupby("track_id")["count"].sum().sort_values(ascending=False).to_numpy()
    axes[1].loglog(range(1, len(ranked) + 1), ranked, color=COLOURS[1])
    for axis in (axes[1].xaxis, axes[1].yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")
    axes[1].set(xlabel="rank of the track", ylabel="plays")
    hours = pairs["timestamp"].dt.hour.value_counts(normalize=True).reindex(range(24), fill_value=0) * 100
    axes[2].stairs(hours, range(25), color=COLOURS[1], baseline=None, lw=1.2)
    axes[2].set_xticks(range(0, 25, 6))
    axes[2].set(xlabel="hour of day, UTC", ylabel="first plays, %", ylim=(0, None))
    return Drawn(figure, per_user.value_counts().sort_index().rename_axis("tracks").reset_index(name="listeners"))
