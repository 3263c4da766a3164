"""How figures and tables look, and one call that saves each with the data behind it.

Statistical plots are seaborn, sized by tueplots as a share of the thesis's text width. Every backend has one colour and
one marker everywhere, safe for the colour-blind (Okabe and Ito) and told apart in grey by its marker.
"""

import difflib
import math

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from tueplots import axes as tue_axes
from tueplots import figsizes

from lib import latex, latex_tables
from lib.backends import LABELS
from lib.tables import write_atomically

COLOURS = {
    "mfcc": "#7a7a7a",
    "musicnn_msd": "#0072b2",
    "musicnn_mtt": "#56b4e9",
    "vgg_msd": "#d55e00",
    "vgg_mtt": "#e69f00",
    "mert_95m": "#007a5a",
    "mert_330m": "#009e73",
    "music2vec": "#cc79a7",
    "musicfm": "#8c5fa8",
    "encodecmae": "#b8a800",
    "jukebox": "#5b3a1e",
    "mule": "#2f4b7c",
    "muq": "#a05195",
    "muq_mulan": "#d45087",
    "crepe": "#7b8b00",
    "crepe_tiny": "#b5c334",
    "vibenet": "#006d77",
    "artist": "#000000",
    "genre": "#444444",
    "factors": "#8c2d04",
}
MARKERS = dict(zip(COLOURS, "osD^vPXdph*<H8234s>1", strict=True))
CONTROL_COLOURS = {
    "real": "#0072b2",
    "untrained": "#e69f00",
    "shuffled": "#9a9a9a",
    "random": "#c8c8c8",
    "profile_swap": "#cc79a7",
    "id_only": "#009e73",
}
GREY = "#8a8a8a"
_LINE_HEIGHT = 0.145  # inches, of a dot with its interval among many
_GROUP_GAP = 0.8  # of a line, between groups
_AROUND = 7  # lines, of title, axis and legend
_PANELS_A_ROW = 4
_TMLR_WIDTH = 6.5  # inches: the text width behind tueplots' tmlr2023, which is scaled to the thesis's own


def use_style(font_size, font_family="DejaVu Sans"):
    """Set the look of all figures of this kernel.

    Parameters
    ----------
    font_size : float
        Points, as the caption's.
    font_family : str
        A family that matplotlib finds: "DejaVu Serif", "STIXGeneral", or one that is installed.

    Raises
    ------
    ValueError
        Where there is no such family; matplotlib would take another and only warn.
    """
    known = mpl.font_manager.get_font_names()
    if font_family not in known:
        near = ", ".join(difflib.get_close_matches(font_family, known, n=3)) or "DejaVu Sans, DejaVu Serif, STIXGeneral"
        raise ValueError(f"Expected a font family that matplotlib finds, found {font_family!r}; try {near}.")
    sns.set_theme(style="ticks", context="paper")
    small = font_size - 1
    mpl.rcParams.update(figsizes.tmlr2023() | tue_axes.lines())
    mpl.rcParams.update(
        {
            "font.family": font_family,
            "font.size": font_size,
            "axes.labelsize": font_size,
            "axes.titlesize": font_size,
            "xtick.labelsize": small,
            "ytick.labelsize": small,
            "legend.fontsize": small,
            "legend.title_fontsize": small,
            "legend.frameon": False,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "pdf.fonttype": 42,  # embedded as TrueType, so that text stays text
            "figure.dpi": 110,
            "savefig.dpi": 200,
        }
    )


def panels(text_width, nrows=1, ncols=1, *, share=1.0, ratio=0.618, **options):
    """A figure with its axes, sized for the thesis.

    Parameters
    ----------
    text_width : float
        Width of the thesis's text, inches.
    nrows, ncols : int
    share : float
        Share of the text's width, above 0 to 1.
    ratio : float
        Height of one panel over its width; the golden ratio unless told.
    **options
        For ``matplotlib.pyplot.subplots``.

    Returns
    -------
    (Figure, Axes or array of Axes)
    """
    size = figsizes.tmlr2023(
        rel_width=share * text_width / _TMLR_WIDTH, nrows=nrows, ncols=ncols, height_to_width_ratio=ratio
    )
    return plt.subplots(nrows, ncols, figsize=size["figure.figsize"], **options)


def save(figure, name, data, study, caption):
    """Save a figure as PDF, PNG and LaTeX, the data behind it as CSV and its caption, into the study's ``figures/``.

    Two runs on the same data write the same bytes. Study and world are part of every file name and caption.

    Parameters
    ----------
    figure : Figure
    name : str
        Words joined by hyphens.
    data : DataFrame
        What is drawn.
    study : Study
    caption : str
        A sentence or two, as under the figure in the thesis; ``lib.latex.short_caption`` makes the short one of it.
    """
    stem = _stem(name, study)
    folder = study.path("figures")
    for suffix, metadata in (
        (".pdf", {"CreationDate": None, "Creator": None, "Producer": None}),
        (".png", {"Software": None}),
    ):
        with write_atomically(folder / f"{stem}{suffix}") as beside:
            figure.savefig(beside, metadata=metadata)
    _write_text(folder / f"{stem}.csv", data.to_csv(index=False, float_format="%.6g"))
    _write_text(folder / f"{stem}.caption.txt", f"{caption} {latex.world_sentence(study)}\n")
    share = figure.get_size_inches()[0] / study.parameters.text_width
    _write_text(folder / f"{stem}.tex", latex.figure(stem, caption, study, share))


def save_table(frame, name, study, caption, *, ranked=False):
    """Save a table of text cells as booktabs LaTeX that fits the text's width, and as CSV, into ``figures/``.

    Parameters
    ----------
    frame : DataFrame
        Cells are strings, as ``mean_with_interval`` makes them; an index that is more than numbers of lines comes
        first.
    name, study, caption
        As for ``save``.
    ranked : bool
        Whether the largest mean of a column is bold and the second underlined, within the first column's groups.
    """
    stem = _stem(name, study)
    _write_text(study.path("figures", f"{stem}.tex"), latex_tables.table(frame, stem, caption, study, ranked=ranked))
    _write_text(study.path("figures", f"{stem}.csv"), frame.to_csv(index=not latex_tables.is_numbered(frame)))


def mean_with_interval(rows):
    """Cells like ``.123 [.101, .145]`` from columns ``value, ci_low, ci_high``, or ``.123`` without an interval."""
    return [
        f"{value:.3f}" if math.isnan(low) else f"{value:.3f} [{low:.3f}, {high:.3f}]"
        for value, low, high in zip(rows["value"], rows["ci_low"], rows["ci_high"], strict=True)
    ]


def signed_with_interval(difference, low, high):
    """A difference like ``+0.123 [+0.101, +0.145]``, or ``+0.123`` without an interval.

    Examples
    --------
    >>> signed_with_interval(0.1, -0.02, 0.3), signed_with_interval(0.1, math.nan, math.nan)
    ('+0.100 [-0.020, +0.300]', '+0.100')
    """
    return f"{difference:+.3f}" + ("" if math.isnan(low) else f" [{low:+.3f}, {high:+.3f}]")


def means(axes, frame, *, label, colour):
    """Means with their intervals, one a line, top line first: ``value, ci_low, ci_high`` and the column `label`.

    `colour` is one for all, or a list with one for each.
    """
    lines = range(len(frame))
    axes.hlines(lines, frame["ci_low"], frame["ci_high"], colors=colour, lw=1.2)
    axes.scatter(frame["value"], lines, s=16, c=colour, lw=0, zorder=3)
    axes.set_yticks(lines, frame[label])
    axes.set_ylim(len(frame) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    sns.despine(ax=axes, left=True)


def dots(frame, text_width, *, panel, label, hue, colours, scale="", reference=None):
    """Means with their intervals in small panels that share their lines, with one legend.

    Parameters
    ----------
    frame : DataFrame
        ``value, ci_low, ci_high`` and the columns named next. Panels and lines come in the order of its rows; a line
        without a value in a panel is left empty there.
    text_width : float
        Of the thesis, inches.
    panel, label, hue : str
        Columns that name a panel, a line, and what decides a line's colour.
    colours : dict of {str: colour}
        Of the values of `hue`, in the order of the legend.
    scale : str
        What all panels measure, on one scale that starts at 0; without it each panel has its own.
    reference : float, optional
        Where a line is drawn in every panel; the scale then need not start at 0.

    Returns
    -------
    Figure
    """
    lines = pd.Index(frame[label].unique(), name=label)
    names = list(frame[panel].unique())
    hues = frame.drop_duplicates(label).set_index(label)[hue]
    ncols = min(_PANELS_A_ROW, len(names))
    ratio = _LINE_HEIGHT * (len(lines) + _AROUND) * ncols / text_width
    figure, axes = panels(
        text_width, -(-len(names) // ncols), ncols, ratio=ratio, squeeze=False, sharey=True, sharex=bool(scale)
    )
    for one, name in zip(axes.flat, names, strict=False):
        own = frame[frame[panel] == name].set_index(label).reindex(lines).reset_index()
        if reference is not None:
            one.axvline(reference, color=GREY, lw=0.8)
        means(one, own, label=label, colour=[colours[hues[line]] for line in lines])
        one.set(title=name, xlabel=scale)
        one.grid(axis="y", color="#ececec", lw=0.6)
        one.xaxis.set_major_locator(mpl.ticker.MaxNLocator(3))
        one.tick_params(axis="x", labelbottom=True)
    if scale and reference is None:
        axes[0, 0].set_xlim(0, None)  # after all is drawn: it ends what scales by itself
    for empty in axes.flat[len(names) :]:
        empty.set_axis_off()
    _colour_legend(figure, colours)
    return figure


def by_control(rows, todo, splits, backend, text_width):
    """NDCG of recommenders under every control, one panel a split, with intervals over users.

    Lines of a recommender stand together; colours are the controls'.

    Parameters
    ----------
    rows : DataFrame
        Rows of ``metrics.parquet``; means over seeds are drawn.
    todo : dict of {str: Task}
        The first cut-off of each is drawn.
    splits : list of str
    backend : str
        Named over the legend.
    text_width : float
        Of the thesis, inches.

    Returns
    -------
    Figure
    """
    rows = rows[(rows["metric"] == "NDCG") & (rows["seed"] == -1) & rows["split"].isin(splits)]
    order = {name: place for place, name in enumerate(rows["recommender"].unique())}
    places = {control: place for place, control in enumerate([*CONTROL_COLOURS, "–"])}
    keys = rows[["recommender", "control"]].drop_duplicates()
    keys = keys.sort_values(["recommender", "control"], key=lambda column: column.map(order | places))
    height = _LINE_HEIGHT * (len(keys) + _GROUP_GAP * len(order) + _AROUND)
    figure, axes = panels(
        text_width, 1, len(splits), ratio=height * len(splits) / text_width, squeeze=False, sharey=True
    )
    for panel, split in zip(axes[0], splits, strict=True):
        k = todo[split].cutoffs[0]
        drawn = keys.merge(rows[(rows["split"] == split) & (rows["k"] == k)], how="left")
        _grouped(panel, drawn)
        panel.set(title=f"{split.split('_')[0]} tracks", xlabel=f"NDCG@{k}", xlim=(0, None))
        panel.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
    shown = {
        control.replace("_", " "): colour
        for control, colour in CONTROL_COLOURS.items()
        if control in set(keys["control"])
    }
    _colour_legend(figure, shown, title=LABELS.get(backend, backend))
    return figure


def _grouped(axes, frame):
    """Means of groups of controls, a gap between recommenders, the recommender's name at the middle of its lines."""
    group = frame["recommender"].ne(frame["recommender"].shift()).cumsum() - 1
    lines = frame.index + _GROUP_GAP * group
    colours = [CONTROL_COLOURS.get(control, GREY) for control in frame["control"]]
    axes.hlines(lines, frame["ci_low"], frame["ci_high"], colors=colours, lw=1.2)
    axes.scatter(frame["value"], lines, s=16, c=colours, lw=0, zorder=3)
    middles = lines.groupby(group).mean()
    axes.set_yticks(middles, frame["recommender"].groupby(group).first())
    axes.set_ylim(lines.max() + 0.7, -0.7)
    axes.tick_params(axis="y", length=0)
    sns.despine(ax=axes, left=True)


def _colour_legend(figure, colours, **options):
    """One legend below all panels: a dot of each colour."""
    handles = [
        mpl.lines.Line2D([], [], color=colour, marker="o", ms=4, lw=1.2, label=name) for name, colour in colours.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=max(1, len(handles)), **options)


def forest(axes, frame, *, group, groups, colour, reference=0.0, margin=None):
    """Differences with their intervals in groups of lines, one line a backend.

    Parameters
    ----------
    axes : Axes
    frame : DataFrame
        ``diff, ci_low, ci_high`` and the columns named next.
    group : str
        Column that names a group.
    groups : list of str
        Which groups, top first; one without rows stays empty.
    colour : str
        Column with backends, whose colours and markers are used; they get a legend entry each.
    reference : float
        Where 'no difference' is drawn.
    margin : float, optional
        Smallest effect of interest, drawn as a band around `reference`.
    """
    if margin:
        axes.axvspan(reference - margin, reference + margin, color="#e8e8e8", lw=0, label="±δ")
    axes.axvline(reference, color=GREY, lw=0.8)
    ids = in_order(frame[colour].unique())
    labelled = set()
    for row in frame[frame[group].isin(groups)].to_dict("records"):
        backend = row[colour]
        line = groups.index(row[group]) + (ids.index(backend) - (len(ids) - 1) / 2) * 0.8 / len(ids)
        style = {"color": COLOURS.get(backend, GREY)}
        axes.plot([row["ci_low"], row["ci_high"]], [line, line], lw=1.2, **style)
        label = None if backend in labelled else LABELS.get(backend, backend)
        axes.plot(row["diff"], line, MARKERS.get(backend, "o"), ms=3.5, ls="", label=label, **style)
        labelled.add(backend)
    axes.set_yticks(range(len(groups)), [name.replace("_", " ") for name in groups])
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
    axes.tick_params(axis="y", length=0)
    sns.despine(ax=axes, left=True)


def in_order(backends):
    """Backends in the fixed order of figures, those without a colour of their own last."""
    known = list(COLOURS)
    return sorted(backends, key=lambda name: (known.index(name) if name in known else len(known), name))


def maps(frame, hue, text_width):
    """Maps of tracks side by side, one a backend, coloured by a label.

    Parameters
    ----------
    frame : DataFrame
        ``backend, x, y`` and the column `hue`.
    hue : str
        Column with the label.
    text_width : float
        Inches.

    Returns
    -------
    seaborn.FacetGrid
    """
    with mpl.rc_context({"figure.constrained_layout.use": False}):  # a FacetGrid lays itself out
        grid = sns.relplot(
            frame,
            x="x",
            y="y",
            hue=hue,
            col="backend",
            col_wrap=3,
            height=text_width / 3,
            s=9,
            linewidth=0,
            palette="colorblind",
            facet_kws={"sharex": False, "sharey": False},
        )
    grid.set(xticks=[], yticks=[], xlabel="", ylabel="")
    for backend, axes in grid.axes_dict.items():
        axes.set_title(LABELS.get(backend, backend))
    sns.despine(grid.figure, left=True, bottom=True)
    sns.move_legend(grid, "lower right", bbox_to_anchor=(0.98, 0.06))
    return grid


def _stem(name, study):
    return f"{name}--{study.name}-{study.world}"


def _write_text(path, text):
    with write_atomically(path) as beside:
        beside.write_text(text)
