"""Figures of recommenders: how trainings went, what a search found, and what accuracy does not see of lists."""

import itertools

from matplotlib.ticker import MaxNLocator

from lib import figures
from lib.evaluation.list_properties import IDS, LISTENING, VECTORS
from lib.evaluation.trainings import ID_ONLY
from lib.evaluation.tuning import in_words, winner_row, word
from lib.figures import looks
from lib.figures.looks import CONTROL_LINES, label_looks, look, named

__all__ = ["list_panels", "training_curves", "tuning_panels"]


PANELS = 3  # side by side
LOOKS = {VECTORS: look("real"), IDS: look(ID_ONLY), LISTENING: look("mostpop")}
_UNITS = {
    "Coverage": "share listed",
    "Gini": "0 equal, 1 not",
    "Novelty": "bits",
    "PopularityLift": "lists ÷ taste",
    "Diversity": "1 − cosine",
    "KnownArtist": "share of the list",
}


def training_curves(history, text_width):
    """Loss and validation of every training by epoch, one row of panels a recommender, one line a training.

    Parameters
    ----------
    history : DataFrame
        Rows of ``training.parquet``.
    text_width : float
        Of the thesis, inches.

    Returns
    -------
    Figure
    """
    names = list(dict.fromkeys(history["recommender"]))
    figure, axes = figures.panels(text_width, len(names), 2, ratio=0.5 if len(names) > 2 else 0.6, squeeze=False)
    for (left, right), name in zip(axes, names, strict=True):
        own = history[history["recommender"] == name]
        for (control, _), training in own.groupby(["control", "seed"], sort=False):
            style = {"color": look(control).colour, "ls": CONTROL_LINES.get(control, "-"), "lw": 0.9, "alpha": 0.8}
            left.plot(training["epoch"], training["loss"], **style)
            right.plot(training["epoch"], training["validation"], **style)
            best = training[training["epoch"] == training["best_epoch"]]
            right.plot(best["epoch"], best["validation"], "o", ms=3, color=style["color"])
        left.set(ylabel="training loss", title=named(name))
        right.set(ylabel="valid. NDCG", title=named(name))
        for panel in (left, right):
            panel.set_xlim(0, None)
            panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    for last in axes[-1]:
        last.set_xlabel("epoch")
    shown = {
        named(control): {"color": look(control).colour, "ls": CONTROL_LINES.get(control, "-"), "lw": 1.2}
        for control in looks.CONTROLS
        if control in set(history["control"])
    }
    figures.legend(figure, shown | {"epoch kept": {"color": "black", "marker": "o", "ls": "", "ms": 3}})
    return figure


def tuning_panels(judged, grids, text_width):
    """Validation by option, one panel a recommender: a line for each value of its other options, the winner a star.

    Parameters
    ----------
    judged : dict of {str: DataFrame}
        Name to table, from `noise`. Bars are the interval of the difference to the winner, drawn about the value:
        one that does not reach the dotted line of the winner is behind by more than the noise of users.
    grids : dict of {str: dict}
        Name to what was searched.
    text_width : float
        Of the thesis, inches.

    Returns
    -------
    Figure
    """
    columns = min(PANELS, len(judged))
    figure, axes = figures.panels(text_width, -(-len(judged) // columns), columns, ratio=0.9, squeeze=False)
    for panel in axes.flat[len(judged) :]:
        panel.set_axis_off()
    for panel, (name, table) in zip(axes.flat, judged.items(), strict=False):
        _draw_one(panel, table, grids[name])
        panel.set_title(named(name))
    for panel in axes[:, 0]:
        panel.set_ylabel("validation NDCG")
    return figure


def _draw_one(axes, table, grid):
    """The option with most values along x; one line a combination of the others."""
    across = max(grid, key=lambda option: len(grid[option]))
    others = [option for option in grid if option != across]
    places = {value: place for place, value in enumerate(grid[across])}
    best = table.loc[winner_row(table)]
    axes.axhline(best["validation"], color="black", lw=0.7, ls=":")
    combinations = list(itertools.product(*(grid[option] for option in others)))
    styles = list(label_looks(combinations).values())
    for number, values in enumerate(combinations):
        own = table[(table[others] == list(values)).all(axis=1)] if others else table
        shift = 0.08 * number  # so that the bars of two lines stay apart
        x = own[across].map(places) + shift
        bars = (own["ci_high"] - own["behind"], own["behind"] - own["ci_low"])
        label = in_words(dict(zip(others, values, strict=True))) or None
        colour, marker = styles[number]
        style = {"color": colour, "marker": marker, "ms": 3, "lw": 0.9, "elinewidth": 0.7}
        axes.errorbar(x, own["validation"], yerr=bars, label=label, **style)
        if best.name in own.index:
            axes.plot(x[best.name], best["validation"], "*", ms=9, color=colour, mec="black", mew=0.7)
    words = any(isinstance(value, str) for value in places)
    axes.set_xticks(range(len(places)), [word(value) for value in places], rotation=20 if words else 0)
    axes.set_xlabel(across)
    if others:
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + 0.28 * len(axes.get_legend_handles_labels()[1]) * (high - low))  # room for the legend
        axes.legend(handlelength=1, loc="upper left")


def list_panels(frame, panel, text_width, *, scale=""):
    """Small panels of dots with intervals, one dot a line, coloured by what it learns from; measures with their units.

    Parameters
    ----------
    frame : DataFrame
        As the functions above give it.
    panel : str
        Column that names a panel.
    text_width : float
        Of the thesis, inches.
    scale : str
        As for `lib.figures.dots`.

    Returns
    -------
    Figure
    """
    colours = {source: LOOKS[source] for source in LOOKS if source in set(frame["source"])}
    if panel == "measure":
        scale = {name: _UNITS.get(name.split("@")[0], "") for name in frame[panel].unique()}
    return figures.dots(frame, text_width, panel=panel, label="line", hue="source", looks=colours, scale=scale)
