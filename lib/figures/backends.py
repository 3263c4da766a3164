"""Figures of backends: layers and poolings of a transformer, and labels that neighbours share."""

import numpy as np
import seaborn as sns
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from lib import figures
from lib.evaluation import probes
from lib.evaluation.layers import LABELS, POOLINGS
from lib.figures import looks

__all__ = ["layer_curves", "layer_maps", "shared_labels"]


_STYLES = {"mean": ("o", "-"), "mean_std": ("s", "--"), "max": ("^", "-."), "first": ("x", ":")}
_SHADES = {"mean": "#000000", "mean_std": "#009e73", "max": "#d55e00", "first": "#cc79a7"}


def layer_maps(mean, published, text_width):
    """Layers by labels, one map a pooling: how far from chance (0) to perfect (1).

    The published choice is framed.

    Parameters
    ----------
    mean : DataFrame
        Rows of one backend from `lib.evaluation.layers.means`.
    published : (int, str)
    text_width : float
        Inches.

    Returns
    -------
    Figure
    """
    n_layers = int(mean["layer"].max()) + 1
    ratio = 0.3 + 0.055 * n_layers
    figure, grid = figures.panels(text_width, 2, 2, ratio=ratio, sharex=True, sharey=True)
    for axes, pooling in zip(grid.flat, POOLINGS, strict=True):
        wide = mean[mean["pooling"] == pooling].pivot(index="layer", columns="label", values="above")
        wide = wide[mean["label"].unique()].sort_index(ascending=False)
        shown = wide.map(lambda share: f"{share:.2f}".replace("0.", ".").replace("-.00", ".00").replace("-", "−"))
        sns.heatmap(
            wide, annot=shown, fmt="", vmin=0, vmax=1, cmap="Greys", ax=axes, cbar=False, linewidths=0.5,
            annot_kws={"size": 6},
        )  # fmt: skip
        if pooling == published[1]:
            corner = (0, n_layers - 1 - published[0])
            axes.add_patch(Rectangle(corner, wide.shape[1], 1, fill=False, ec="#d55e00", lw=1.6, clip_on=False))
        axes.set(xlabel="", ylabel="", title=LABELS[pooling])
        axes.set_xticks(axes.get_xticks(), [name.replace("_", " ") for name in wide], rotation=40, ha="right")
        axes.tick_params(length=0)
        axes.set_yticks(np.arange(n_layers) + 0.5, wide.index, rotation=0)
    for axes in grid[:, 0]:
        axes.set_ylabel("layer")
    return figure


def layer_curves(mean, baselines, published, text_width):
    """Score against layer, one panel a label and one line a pooling, with what simpler backends reach and chance.

    Parameters
    ----------
    mean : DataFrame
        Rows of one backend from `lib.evaluation.layers.means`; bars are the intervals of the published pooling.
    baselines : DataFrame
        Rows of `lib.evaluation.layers.means` of backends without layers.
    published : (int, str)
    text_width : float
        Inches.

    Returns
    -------
    Figure
    """
    labels = list(mean["label"].unique())
    n_columns = min(4, len(labels))
    n_rows = -(-len(labels) // n_columns)
    ratio = n_columns / 4 * (1.0 if n_rows > 1 else 1.5)  # the legend takes its room from a single row alone
    figure, grid = figures.panels(text_width, n_rows, n_columns, ratio=ratio, sharex=True, squeeze=False)
    for axes, label in zip(grid.flat, labels, strict=False):
        here = mean[mean["label"] == label]
        for pooling, of_pooling in here.groupby("pooling", sort=False):
            marker, line = _STYLES[pooling]
            style = {"color": _SHADES[pooling], "marker": marker, "ls": line, "ms": 3, "lw": 1}
            axes.plot(of_pooling["layer"], of_pooling["value"], label=LABELS[pooling], **style)
            if pooling == published[1]:
                axes.fill_between(
                    of_pooling["layer"], of_pooling["ci_low"], of_pooling["ci_high"], color="#e4e4e4", lw=0
                )
        for row in baselines[baselines["label"] == label].itertuples():
            style = {"color": looks.look(row.backend).colour, "lw": 1.2, "zorder": 1}
            dashes = (0, (5, 1)) if row.backend == "mfcc" else (0, (8, 2, 1, 2))
            axes.axhline(row.value, ls=dashes, label=looks.named(row.backend), **style)
        axes.axhline(here["chance"].iloc[0], label="chance", **figures.CHANCE)
        score = probes.SCORES[here["task"].iloc[0]]
        axes.set_title(f"{label.replace('_', ' ')}\n{score}")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
    for axes in grid.flat[len(labels) :]:
        axes.set_axis_off()
    handles, names = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4)
    for axes in grid[-1]:
        axes.set_xlabel("layer")
    return figure


def shared_labels(frame, labels, text_width):
    """Shares by label and backend with their intervals, and what random vectors would share as dotted lines.

    Parameters
    ----------
    frame : DataFrame
        ``backend`` and the columns of `lib.evaluation.neighbours.agreement`.
    labels : list of str
        In the order of the groups.
    text_width : float
        Of the thesis, inches.

    Returns
    -------
    Figure
    """
    figure, axes = figures.panels(text_width, share=0.9, ratio=0.45)
    order = looks.in_order(frame["backend"].unique())
    entries = {looks.named(name): looks.look(name).line(ls="", ms=4.5) for name in order}
    for place, label in enumerate(labels):
        own = frame[frame["label"] == label].set_index("backend").loc[order]
        beside = place + (np.arange(len(order)) - (len(order) - 1) / 2) * 0.7 / len(order)
        for x, name, row in zip(beside, order, own.itertuples(), strict=True):
            axes.plot([x, x], [row.ci_low, row.ci_high], color=looks.look(name).colour, lw=1.2)
            axes.plot(x, row.shared, **looks.look(name).line(ls="", ms=4.5))
        axes.plot([place - 0.45, place + 0.45], [own["by_chance"].iloc[0]] * 2, **figures.CHANCE)
    axes.set_xticks(range(len(labels)), [looks.named(label) for label in labels])
    axes.tick_params(axis="x", length=0)
    axes.set(ylabel="share with the query's label", ylim=(0, 1))
    figures.legend(figure, entries | {"by chance": figures.CHANCE})
    return figure
