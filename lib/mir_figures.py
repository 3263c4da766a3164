"""Figures of MIR tasks: probes with their chance, what backends score in both, and a map of correlations."""

import pandas as pd

from lib import correlation, figures
from lib.backends import LABELS

_MODELS = {"linear": ("o", -0.16), "mlp": ("s", 0.16)}  # marker, and how far from the middle of its line
_PANELS_A_ROW = 4
_SHORT = {"classification": "balanced acc.", "regression": "R²", "key": "weighted score", "tags": "mean ROC AUC"}


def probe_panels(found, text_width):
    """Every probe of every backend, one panel a task, with the chance line of each.

    Parameters
    ----------
    found : DataFrame
        From ``lib.mir.scores``; untrained twins are hollow.
    text_width : float
        Of the thesis, inches.

    Returns
    -------
    Figure
    """
    import matplotlib as mpl

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
        axes.axvline(own["chance"].mean(), color="black", lw=0.8, ls=(0, (1, 2)))
        axes.set(title=readable(label), xlabel=_SHORT[own["task"].iloc[0]])
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(3))
        axes.set_yticks(range(len(lines)), [LABELS.get(name, name) for name in lines])
        axes.set_ylim(len(lines) - 0.5, -0.5)
    for empty in grid.flat[len(labels) :]:
        empty.set_axis_off()
    style = {"color": figures.GREY, "ls": "", "ms": 4}
    handles = [mpl.lines.Line2D([], [], marker=marker, label=name, **style) for name, (marker, _) in _MODELS.items()]
    handles.append(mpl.lines.Line2D([], [], marker="o", mfc="white", label="untrained twin", **style))
    handles.append(mpl.lines.Line2D([], [], color="black", lw=0.8, ls=(0, (1, 2)), label="chance"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def scatter(points, panels, text_width, *, ylabel):
    """What backends score in MIR tasks against what they score in recommendation, with intervals on both axes.

    Parameters
    ----------
    points : DataFrame
        As from ``lib.correspondence.paired``, with the column ``panel``. Untrained twins are hollow and not in rho.
    panels : list of str
        Values of ``panel`` in their order.
    text_width : float
        Of the thesis, inches.
    ylabel : str

    Returns
    -------
    Figure
    """
    import matplotlib as mpl

    n_columns = min(3, len(panels))
    figure, grid = figures.panels(
        text_width, -(-len(panels) // n_columns), n_columns, ratio=0.3 + 0.18 * n_columns, squeeze=False, sharey=True
    )
    for axes, panel in zip(grid.flat, panels, strict=False):
        own = points[points["panel"] == panel]
        for row in own.to_dict("records"):
            _cross(axes, row)
        axes.set_title(f"{panel}\n{_told(own)}", fontsize=mpl.rcParams["xtick.labelsize"])
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
    for axes in grid[:, 0]:
        axes.set_ylabel(ylabel)
    for empty in grid.flat[len(panels) :]:
        empty.set_axis_off()
    handles = {}
    for axes in grid.flat:
        handles |= {name: handle for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    order = [LABELS.get(name, name) for name in _backends(points)]
    shown = sorted(handles, key=order.index)
    figure.legend([handles[name] for name in shown], shown, loc="outside lower center", ncols=min(4, len(shown) or 1))
    return figure


def heat_map(rows, text_width, *, index="label", alpha=0.05):
    """Spearman's rho of every task (line) with every recommender (column), of those that n can decide.

    Parameters
    ----------
    rows : DataFrame
        From ``lib.correspondence.correlations``, of one model, or of `published_correlations`; at least one pair has
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
    import seaborn as sns

    rows = rows[rows["cannot"] == ""]
    rows = rows.assign(
        column=rows["recommender"] + " " + rows["split"].str.removesuffix("_test") + rows["n"].map(" (n = {})".format),
        shown=[_cell(row, alpha) for row in rows.itertuples()],
    )
    lines, columns = rows[index].unique(), rows.sort_values(["split", "recommender"])["column"].unique()
    wide, shown = (
        rows.pivot_table(index=index, columns="column", values=name, aggfunc="first").reindex(
            index=lines, columns=columns
        )
        for name in ("rho", "shown")
    )
    figure, axes = figures.panels(text_width, ratio=min(0.9, 0.04 * len(lines) + 0.28))
    sns.heatmap(
        wide.astype(float), annot=shown.fillna(""), fmt="", vmin=-1, vmax=1, cmap="RdBu_r", ax=axes, linewidths=0.5,
        cbar_kws={"label": "Spearman's rho", "shrink": 0.8}, annot_kws={"size": 7},
    )  # fmt: skip
    axes.set(xlabel="", ylabel="")
    axes.tick_params(length=0)
    axes.set_xticks(axes.get_xticks(), [str(name).replace("_", " ") for name in columns], rotation=40, ha="right")
    axes.set_yticks(axes.get_yticks(), [readable(name) for name in lines], rotation=0)
    return figure


def readable(label):
    """How figures call a task."""
    return label.removesuffix("_mirex").replace("_", " ") + (", MIREX" if label.endswith("_mirex") else "")


def _cell(row, alpha):
    if pd.isna(row.rho):
        return ""
    star = "*" if row.rho_q <= alpha else ""
    return f"{row.rho:+.1f}{star}".replace("-", "−")


def _told(points):
    """Rho and exact p of the pretrained backends, or why there is none."""
    real = points[~points["untrained"].astype(bool)].dropna(subset=["x", "y"])
    if correlation.cannot_decide(len(real)):
        return f"cannot be decided at n = {len(real)}"
    found = correlation.exact_correlation(real["x"], real["y"])
    told = f"ρ = {found['estimate']:.2f} [{found['ci_low']:.2f}, {found['ci_high']:.2f}], p = {found['p']:.2g}"
    return told.replace("-", "−").replace("0.", ".")


def _backends(frame):
    """Backends in the order of figures, untrained twins last."""
    names = frame.drop_duplicates("backend").set_index("backend")["untrained"].astype(bool)
    own = figures.in_order(names.index[~names])
    return [*own, *sorted(names.index[names])]


def _style(backend, untrained):
    base = backend.removesuffix("_untrained") if untrained else backend
    known = next((name for name in figures.COLOURS if name == base or name.startswith(f"{base}_")), None)
    colour = figures.COLOURS.get(known, figures.GREY)
    return colour, figures.MARKERS.get(known, "o"), "white" if untrained else colour


def _point(axes, backend, line, row, marker):
    colour, _, fill = _style(backend, row["untrained"])
    axes.plot([row["ci_low"], row["ci_high"]], [line, line], color=colour, lw=1.0)
    axes.plot(row["value"], line, marker, ms=3.2, color=colour, mfc=fill, ls="")


def _cross(axes, row):
    colour, marker, fill = _style(row["backend"], row["untrained"])
    faint = {"color": colour, "lw": 0.8, "alpha": 0.45}
    axes.plot([row["x_low"], row["x_high"]], [row["y"], row["y"]], **faint)
    axes.plot([row["x"], row["x"]], [row["y_low"], row["y_high"]], **faint)
    label = LABELS.get(row["backend"], row["backend"])
    axes.plot(row["x"], row["y"], marker, ms=4.5, color=colour, mfc=fill, ls="", label=label)
