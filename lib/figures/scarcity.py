"""Learning curves as figures and tables of text; frames are those of `lib.answers.learning_curves`."""

import itertools

import numpy as np
import pandas as pd

from lib import figures
from lib.answers.learning_curves import PANEL, RUN, UNDECIDED
from lib.evaluation.results import NO_BACKEND
from lib.evaluation.scarcity import CHANCE
from lib.figures.looks import in_order, look, named
from lib.study.text import mean_with_interval, tracks_of

__all__ = ["backend_styles", "drawn", "smallest_table", "styles", "table", "verdict_table"]


_DODGE = 0.035  # of a factor of two, between lines
_OF = {"history": "each history", "catalogue": "the catalogue"}


def table(curves):
    """Means with their intervals as text: a line a run, a column a share.

    Parameters
    ----------
    curves : DataFrame
        From `curve`.

    Returns
    -------
    DataFrame of str
        Indexed by split, axis, recommender and backend.
    """
    cells = curves.assign(cell=mean_with_interval(curves))
    return _by_share(cells, [*PANEL, *RUN])


def verdict_table(found):
    """Differences to a reference as text, with a word where one is decided: a line a run, a column a share.

    Parameters
    ----------
    found : DataFrame
        From `against`, with ``split, axis``.

    Returns
    -------
    DataFrame of str
        Like ``+0.051 better``.
    """
    cells = [f"{row.diff:+.3f}" + (f" {row.verdict}" if row.verdict != UNDECIDED else "") for row in found.itertuples()]
    return _by_share(found.assign(cell=cells), [*PANEL, *RUN])


def _by_share(cells, index):
    if cells.empty:
        return pd.DataFrame()
    order = list(dict.fromkeys(zip(*(cells[name] for name in index), strict=True)))
    shares = sorted(cells["share"].unique(), reverse=True)
    wide = cells.pivot(index=index, columns="share", values="cell").loc[order, shares].fillna("–")
    return wide.rename(columns="{:.0%}".format).rename_axis(columns=None)


def smallest_table(found):
    """What `smallest` found, as text: a line a run.

    Parameters
    ----------
    found : DataFrame
        From `smallest`, with ``split, axis``.

    Returns
    -------
    DataFrame of str
        Share and tracks a listener, the difference there, and what comes below; ``–`` where there is no such share.
    """
    shown = found.assign(
        difference=mean_with_interval(found.rename(columns={"diff": "value"})),
        share=[f"{share:.0%}" if share > 0 else "–" for share in found["share"]],
        tracks=[f"{history:g}" if history > 0 else "–" for history in found["history"]],
        then=[
            f"{word} at {share:.0%}" if word else "not tried"
            for word, share in zip(found["next"], found["next_share"], strict=True)
        ],
    )
    return shown.set_index([*PANEL, *RUN])[["share", "tracks", "difference", "then"]]


def drawn(curves, text_width, styles, *, line=None):
    """Learning curves in panels, a row a split and a column an axis, one line a run.

    Parameters
    ----------
    curves : DataFrame
        From `curve`; rows of chance are drawn as a dotted line.
    text_width : float
        Of the thesis, inches.
    styles : dict of {str: (colour, marker, line style)}
        Of each line, in the order of the legend: from `styles` or `backend_styles`.
    line : {None, 'backend'}
        What names a line: recommender and backend, or the backend alone.

    Returns
    -------
    Figure
    """
    splits, axes_names = list(dict.fromkeys(curves["split"])), list(dict.fromkeys(curves["axis"]))
    figure, axes = figures.panels(
        text_width, len(splits), len(axes_names), ratio=0.75, squeeze=False, sharex=True, sharey="row"
    )
    curves = curves.assign(line=_lines_of(curves, line))
    for (row, split), (column, axis) in itertools.product(enumerate(splits), enumerate(axes_names)):
        panel = axes[row, column]
        own = curves[(curves["split"] == split) & (curves["axis"] == axis)]
        _lines(panel, own, styles)
        panel.set_title(tracks_of(split))
        panel.set_ylabel(f"NDCG@{own['k'].iloc[0]}" if column == 0 else "")
        panel.set_xlabel(f"share of {_OF[axis]}" if row == len(splits) - 1 else "")
    for row, split in enumerate(splits):
        axes[row, 0].set_ylim(_bottom(curves[curves["split"] == split]), None)
    shown = {name: style for name, style in styles.items() if name in set(curves["line"])}
    entries = {
        name: {"color": colour, "marker": marker, "ls": style, "lw": 1.2}
        for name, (colour, marker, style) in shown.items()
    }
    figures.legend(figure, entries, title="" if line else _of_all(curves))
    return figure


def _bottom(own):
    """Where a row of panels begins: at 0, or a little below what is drawn where 0 is far from all of it."""
    lowest = own[["value", "ci_low"]].min().min()
    return 0.9 * lowest if lowest > 0.4 * own["value"].max() else 0


def _lines_of(curves, line):
    """Name of each row's line; chance is chance."""
    names = [
        named(backend) if line == "backend" else _run(recommender, backend, curves)
        for recommender, backend in zip(curves["recommender"], curves["backend"], strict=True)
    ]
    return np.where(curves["recommender"] == CHANCE, CHANCE, names)


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


def styles(curves):
    """A colour, a marker and a line style for each run: dashed where it learns from listening alone; chance black.

    Colours and markers are the recommender's; of one that has several backends, the markers are theirs.
    """
    runs = [
        run for run in dict.fromkeys(zip(curves["recommender"], curves["backend"], strict=True)) if run[0] != CHANCE
    ]
    names = [recommender for recommender, _ in runs]
    found = {}
    for recommender, backend in sorted(runs, key=lambda run: in_order(names).index(run[0])):
        marker = look(recommender if names.count(recommender) == 1 else backend).marker
        line = "--" if backend == NO_BACKEND else "-"
        found[_run(recommender, backend, curves)] = (look(recommender).colour, marker, line)
    return found | {CHANCE: ("black", "", ":")}


def backend_styles(curves):
    """The same for each backend, in the colours that it has everywhere."""
    ids = in_order(set(curves["backend"]) - {NO_BACKEND})
    return {named(name): (look(name).colour, look(name).marker, "-") for name in ids} | {CHANCE: ("black", "", ":")}


def _run(recommender, backend, curves):
    """What a legend calls a run: with its backend where not all learn from the same."""
    alone = backend == NO_BACKEND or _of_all(curves)
    return named(recommender) if alone else f"{named(recommender)}, {named(backend)}"


def _of_all(curves):
    """What holds for every line, as the title of a legend: the one backend all vectors are of, or nothing."""
    own = set(curves["backend"]) - {NO_BACKEND}
    return f"vectors: {named(own.pop())}; dashed: listening alone" if len(own) == 1 else ""
