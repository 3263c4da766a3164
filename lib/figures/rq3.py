"""Figures of MIR tasks: probes with their chance, what backends score in both, and a map of correlations."""

import textwrap

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns

from lib import figures
from lib.evaluation import correlation
from lib.figures.looks import GREY, in_order, look, named
from lib.study.text import tracks_of

__all__ = ["heat_map", "probe_panels", "readable", "scatter"]


_MODELS = {"linear": ("o", -0.16), "mlp": ("s", 0.16)}  # marker, and how far from the middle of its line
_SPOKEN = {"linear": "linear probe", "mlp": "MLP probe"}
_PANELS_A_ROW = 4
_SHORT = {"classification": "balanced acc.", "regression": "R²", "key": "weighted score", "tags": "mean ROC AUC"}


def probe_panels(found, text_width):
    """Every probe of every backend, one panel a task, with the chance line of each.

    Parameters
    ----------
    found : DataFrame
        From ``lib.answers.mir.scores``; untrained twins are hollow.
    text_width : float
        Of the thesis, inches.

    Returns
    -------
    Figure
    """
    labels = list(found["label"].unique())
    lines = _backends(found)
    n_columns = min(_PANELS_A_ROW, len(labels))
    ratio = (0.17 * len(lines) + 0.75) * n_columns / text_width
    figure, grid = figures.panels(
        text_width, -(-len(labels) // n_columns), n_columns, ratio=ratio, squeeze=False, sharey=True
    )
    for axes, label in zip(grid.flat, labels, strict=False):
        own = found[found["label"] == label]
        for row in own.to_dict("records"):
            marker, shift = _MODELS[row["model"]]
            _point(axes, row["backend"], lines.index(row["backend"]) + shift, row, marker)
        axes.axvline(own["chance"].mean(), **figures.CHANCE)
        axes.set(title=readable(label), xlabel=_SHORT[own["task"].iloc[0]])
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(3))
        axes.set_yticks(range(len(lines)), [named(name) for name in lines])
        axes.set_ylim(len(lines) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        sns.despine(ax=axes, left=True)
    for empty in grid.flat[len(labels) :]:
        empty.set_axis_off()
    style = {"color": GREY, "ls": ""}
    entries = {_SPOKEN[name]: {"marker": marker, **style} for name, (marker, _) in _MODELS.items()}
    figures.legend(
        figure, entries | {"untrained twin": {"marker": "o", "mfc": "white", **style}, "chance": figures.CHANCE}
    )
    return figure


def scatter(points, panels, text_width, *, ylabel):
    """What backends score in MIR tasks against what they score in recommendation, with intervals on both axes.

    Parameters
    ----------
    points : DataFrame
        As from ``lib.answers.rq3.paired``, with the columns ``panel`` and, where known, ``task``. Untrained twins
        are hollow and not in rho.
    panels : list of str
        Values of ``panel`` in their order.
    text_width : float
        Of the thesis, inches.
    ylabel : str

    Returns
    -------
    Figure
    """
    n_columns = min(3, len(panels))
    figure, grid = figures.panels(
        text_width, -(-len(panels) // n_columns), n_columns, ratio=0.3 + 0.2 * n_columns, squeeze=False, sharey=True
    )
    for axes, panel in zip(grid.flat, panels, strict=False):
        own = points[points["panel"] == panel]
        for row in own.to_dict("records"):
            _cross(axes, row)
        alone = len(panels) == 1  # then what is across needs no title
        axes.set_title(_told(own) if alone else f"{panel}\n{_told(own)}", fontsize=mpl.rcParams["xtick.labelsize"])
        axes.set_xlabel(panel if alone else _scores(own))
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
    for axes in grid[:, 0]:
        axes.set_ylabel(ylabel)
    for empty in grid.flat[len(panels) :]:
        empty.set_axis_off()
    figures.legend(figure, {named(name): look(name).line(ls="", ms=4.5) for name in _backends(points)})
    return figure


def heat_map(rows, text_width, *, index="label", alpha=0.05):
    """Spearman's rho of every task (line) with every recommender (column), a panel a split, of what n can decide.

    Parameters
    ----------
    rows : DataFrame
        From ``lib.answers.rq3.correlations``, of one model, or of `published_correlations`; at least one pair has
        to be decidable.
    text_width : float
        Of the thesis, inches.
    index : str
        Column that names a line.
    alpha : float
        A star marks q at or below it.

    Returns
    -------
    Figure
    """
    rows = rows[rows["cannot"] == ""]
    rows = rows.assign(shown=[_cell(row, alpha) for row in rows.itertuples()])
    splits = sorted(rows["split"].unique(), reverse=True)  # hot tracks first, as in all figures
    columns = {split: in_order(rows.loc[rows["split"] == split, "recommender"].unique()) for split in splits}
    lines = rows[index].unique()
    figure, grid = figures.panels(
        text_width, 1, len(splits), ratio=len(splits) * min(0.9, 0.04 * len(lines) + 0.28), squeeze=False,
        sharey=True, gridspec_kw={"width_ratios": [len(columns[split]) for split in splits]},
    )  # fmt: skip
    rotation = 40 if sum(map(len, columns.values())) <= 8 else 60
    for axes, split in zip(grid[0], splits, strict=True):
        own = rows[rows["split"] == split]
        wide, shown = (
            own.pivot_table(index=index, columns="recommender", values=name, aggfunc="first").reindex(
                index=lines, columns=columns[split]
            )
            for name in ("rho", "shown")
        )
        sns.heatmap(
            wide.astype(float), annot=shown.fillna(""), fmt="", vmin=-1, vmax=1, cmap="RdBu_r", ax=axes,
            linewidths=0.5, cbar=False, annot_kws={"size": 7},
        )  # fmt: skip
        axes.set(xlabel="", ylabel="", title=_counted(tracks_of(split), own["n"]))
        axes.tick_params(length=0)
        axes.set_xticks(axes.get_xticks(), [named(name) for name in columns[split]], rotation=rotation, ha="right")
        axes.set_yticks(
            np.arange(len(lines)) + 0.5,
            [textwrap.fill(readable(name), 22, break_on_hyphens=False) for name in lines],
            rotation=0,
        )
    bar = figure.colorbar(grid[0, -1].collections[0], ax=list(grid[0]), shrink=0.8, pad=0.01, aspect=25)
    figure.set_layout_engine("constrained", wspace=0.01)
    bar.set_label("Spearman's ρ")
    bar.outline.set_visible(False)
    return figure


def _counted(name, numbers):
    """A panel's name with its number of backends, or their range."""
    low, high = int(numbers.min()), int(numbers.max())
    return f"{name} (n = {low})" if low == high else f"{name} (n = {low} to {high})"


def readable(label):
    """How figures call a task."""
    return label.removesuffix("_mirex").replace("_", " ") + (", MIREX" if label.endswith("_mirex") else "")


def _cell(row, alpha):
    if pd.isna(row.rho):
        return ""
    star = "*" if row.rho_q <= alpha else ""
    return f"{row.rho:+.1f}{star}".replace("-", "−").replace("0.", ".").replace("+.0", "0").replace("−.0", "0")


def _told(points):
    """Rho and exact p of the pretrained backends, or why there is none."""
    real = points[~points["untrained"].astype(bool)].dropna(subset=["x", "y"])
    if correlation.cannot_decide(len(real)):
        return f"cannot be decided at n = {len(real)}"
    found = correlation.exact_correlation(real["x"], real["y"])
    told = f"ρ = {found['estimate']:.2f} [{found['ci_low']:.2f}, {found['ci_high']:.2f}], p = {found['p']:.2g}"
    return told.replace("-", "−").replace("0.", ".")


def _scores(points):
    """What the task of a panel is scored by, where the points tell."""
    return _SHORT.get(points["task"].iloc[0], "") if "task" in points and len(points) else ""


def _backends(frame):
    """Backends in the order of figures, untrained twins last."""
    names = frame.drop_duplicates("backend").set_index("backend")["untrained"].astype(bool)
    own = in_order(names.index[~names])
    return [*own, *sorted(names.index[names])]


def _point(axes, backend, line, row, marker):
    style = look(backend)
    axes.plot([row["ci_low"], row["ci_high"]], [line, line], color=style.colour, lw=1.0)
    axes.plot(row["value"], line, marker, ms=3.2, color=style.colour, mfc=style.fill, ls="")


def _cross(axes, row):
    style = look(row["backend"])
    faint = {"color": style.colour, "lw": 0.8, "alpha": 0.45}
    axes.plot([row["x_low"], row["x_high"]], [row["y"], row["y"]], **faint)
    axes.plot([row["x"], row["x"]], [row["y_low"], row["y_high"]], **faint)
    axes.plot(row["x"], row["y"], ls="", **style.line(ms=4.5))
