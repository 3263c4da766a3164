"""How figures and tables look, and one call that saves each with the data behind it.

Statistical plots are seaborn, sized by tueplots as a share of the thesis's text width. Colours, markers, names and
order are those of `lib.figures.looks`.
"""

import difflib
import textwrap

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from tueplots import axes as tue_axes
from tueplots import figsizes

from lib.figures import latex, latex_tables
from lib.figures.looks import CONTROLS, GREY, in_order, label_looks, look, named
from lib.study import on_open
from lib.study.tables import write_atomically
from lib.study.text import tracks_of

BAND = "#e8e8e8"  # of a smallest effect of interest, or an interval
RULE = "#ececec"  # a thin line that leads the eye
CHANCE = {"color": "black", "lw": 0.8, "ls": (0, (1, 2))}  # keywords of the line of chance, everywhere
_SIGNS_OF = {"DejaVu Serif": "dejavuserif", "STIXGeneral": "stix", "cmr10": "cm"}  # mathematics that go with letters
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
            "mathtext.fontset": _SIGNS_OF.get(font_family, "dejavusans"),
            "font.size": font_size,
            "axes.labelsize": font_size,
            "axes.titlesize": font_size,
            "xtick.labelsize": small,
            "ytick.labelsize": small,
            "legend.fontsize": small,
            "legend.title_fontsize": small,
            "legend.frameon": False,
            "lines.solid_capstyle": "butt",  # an interval ends where it ends
            "figure.constrained_layout.wspace": 0.05,  # so that the ticks of neighbours do not touch
            "axes.spines.top": False,
            "axes.spines.right": False,
            "pdf.fonttype": 42,  # embedded as TrueType, so that text stays text
            "figure.dpi": 110,
            "savefig.dpi": 200,
        }
    )


@on_open
def style_of(study):
    """Set the style that a study's parameters name; called whenever a notebook opens one."""
    use_style(study.parameters.font_size, study.parameters.font_family)


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
        A sentence or two, as under the figure in the thesis; ``lib.figures.latex.short_caption`` makes the short one of
        it. How many listeners there are is added where ``data`` has ``split`` and ``n_users``.
    """
    caption += _listeners(data)
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


def means(axes, frame, *, label, colour=None):
    """Means with their intervals, one a line, top line first: ``value, ci_low, ci_high`` and the column `label`.

    `colour` is one for all; without it each has the look of what its line names.
    """
    shown = [look(name) for name in frame[label]]
    if colour:
        shown = [one._replace(colour=colour, marker="o", fill=colour) for one in shown]
    _dots(axes, frame, range(len(frame)), shown)
    axes.set_yticks(range(len(frame)), [named(name) for name in frame[label]])
    axes.set_ylim(len(frame) - 0.5, -0.5)


def _dots(axes, frame, lines, looks, size=14):
    """Means with their intervals at given lines; none is cut off by the frame of the axes."""
    colours = [one.colour for one in looks]
    axes.hlines(lines, frame["ci_low"], frame["ci_high"], colors=colours, lw=1.2)
    shapes = [mpl.markers.MarkerStyle(one.marker) for one in looks]
    points = axes.scatter(frame["value"], lines, s=size, lw=0.9, zorder=3, clip_on=False)
    points.set(facecolors=[one.fill for one in looks], edgecolors=colours)
    points.set_paths([shape.get_path().transformed(shape.get_transform()) for shape in shapes])
    axes.tick_params(axis="y", length=0)
    sns.despine(ax=axes, left=True)


def dots(frame, text_width, *, panel, label, hue=None, looks=None, scale="", reference=None):
    """Means with their intervals in small panels that share their lines, with one legend.

    Parameters
    ----------
    frame : DataFrame
        ``value, ci_low, ci_high`` and the columns named next. Panels and lines come in the order of its rows; a line
        without a value in a panel is left empty there.
    text_width : float
        Of the thesis, inches.
    panel, label : str
        Columns that name a panel and a line.
    hue : str, optional
        Column with what decides a line's look; without it a line has the look of what it names.
    looks : dict of {str: lib.figures.looks.Look}, optional
        Of the values of `hue`, in the order of the legend.
    scale : str or dict of {str: str}
        What all panels measure, on one scale that starts at 0; or for each panel its unit, on a scale of its own.
    reference : float, optional
        Where a line is drawn in every panel; the scale then need not start at 0.

    Returns
    -------
    Figure
    """
    lines = pd.Index(frame[label].unique(), name=label)
    names = list(frame[panel].unique())
    shown = [look(name) for name in lines]
    if hue:
        hues = frame.drop_duplicates(label).set_index(label)[hue]
        shown = [looks[hues[line]] for line in lines]
    units = scale if isinstance(scale, dict) else {}
    ncols = min(_PANELS_A_ROW, len(names))
    ratio = _LINE_HEIGHT * (len(lines) + _AROUND) * ncols / text_width
    figure, axes = panels(
        text_width, -(-len(names) // ncols), ncols, ratio=ratio, squeeze=False, sharey=True, sharex=not units
    )
    for one, name in zip(axes.flat, names, strict=False):
        own = frame[frame[panel] == name].set_index(label).reindex(lines)
        _panel_of_dots(one, own, shown, reference, size=14 if ncols < 3 else 9)
        one.set(title=named(name), xlabel=units.get(name, ""))
    if not units:
        letters = int(text_width * 72 / ncols / (0.6 * _points("axes.labelsize")) * 0.8)
        for last in axes.flat[max(0, len(names) - ncols) : len(names)]:
            last.set_xlabel(textwrap.fill(scale, max(8, letters)))
        if reference is None:
            axes[0, 0].set_xlim(0, None)  # after all is drawn: it ends what scales by itself
    for empty in axes.flat[len(names) :]:
        empty.set_axis_off()
    if looks and len(looks) > 1:
        legend(figure, {name: one.line(lw=1.2) for name, one in looks.items()})
    return figure


def _panel_of_dots(axes, own, looks, reference, size):
    """One panel of `dots`, on faint lines that lead from the name to the dot, small enough to show short intervals."""
    if reference is not None:
        axes.axvline(reference, color=GREY, lw=0.8)
    _dots(axes, own, range(len(own)), looks, size)
    axes.set_yticks(range(len(own)), [named(name) for name in own.index])
    axes.set_ylim(len(own) - 0.5, -0.5)
    axes.grid(axis="y", color=RULE, lw=0.6)
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(3))
    axes.tick_params(axis="x", labelbottom=True)


def by_control(rows, todo, splits, backend, text_width):
    """NDCG of recommenders under every control, one panel a split, with intervals over users.

    Lines of a recommender stand together; looks are the controls', or the recommender's own where it has no vectors.

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
    places = {control: place for place, control in enumerate([*CONTROLS, "–"])}
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
        panel.set(title=tracks_of(split), xlabel=f"NDCG@{k}", xlim=(0, None))
        panel.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
    shown = {named(control): look(control).line(lw=1.2) for control in CONTROLS if control in set(keys["control"])}
    legend(figure, shown, title=named(backend))
    return figure


def _grouped(axes, frame):
    """Means of groups of controls, a gap between recommenders, the recommender's name at the middle of its lines."""
    group = frame["recommender"].ne(frame["recommender"].shift()).cumsum() - 1
    lines = frame.index + _GROUP_GAP * group
    pairs = zip(frame["control"], frame["recommender"], strict=True)
    _dots(axes, frame, lines, [look(control if control in CONTROLS else name) for control, name in pairs])
    middles = lines.groupby(group).mean()
    axes.set_yticks(middles, [named(name) for name in frame["recommender"].groupby(group).first()])
    axes.set_ylim(lines.max() + 0.7, -0.7)
    for end in lines.groupby(group).max()[:-1]:
        axes.axhline(end + (1 + _GROUP_GAP) / 2, color=RULE, lw=0.6)


def legend(figure, entries, **options):
    """One legend below all panels, in as many columns as its words leave room for.

    Parameters
    ----------
    figure : Figure
    entries : dict of {str: dict or artist}
        Name to keywords of ``matplotlib.lines.Line2D``, or to what is shown itself.
    **options
        For ``Figure.legend``.
    """
    handles = [
        mpl.lines.Line2D([], [], **({"ms": 4} | entry)) if isinstance(entry, dict) else entry
        for entry in entries.values()
    ]
    width, height = figure.get_size_inches()
    ncols = _columns(list(entries), width * 72 / _points("legend.fontsize"))
    below = -(-len(handles) // ncols) - 1  # rows below the first, for which the figure grows
    figure.set_size_inches(width, height + max(0, below) * 1.5 * _points("legend.fontsize") / 72)
    figure.legend(handles, list(entries), loc="outside lower center", ncols=ncols, **options)


def _points(parameter):
    """Points of a size of letters, which is a word like ``medium`` until `use_style` is called."""
    return mpl.font_manager.FontProperties(size=mpl.rcParams[parameter]).get_size_in_points()


def _columns(words, width):
    """How many columns of a legend fit into so many heights of a letter."""
    for ncols in range(len(words), 1, -1):
        rows = -(-len(words) // ncols)
        longest = [max(map(len, words[start : start + rows])) for start in range(0, len(words), rows)]
        if sum(0.6 * length + 4.6 for length in longest) <= width:
            return len(longest)
    return 1


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
        axes.axvspan(reference - margin, reference + margin, color=BAND, lw=0, label="±δ")
    axes.axvline(reference, color=GREY, lw=0.8)
    for place in range(1, len(groups)):
        axes.axhline(place - 0.5, color=RULE, lw=0.6)
    ids = in_order(frame[colour].unique())
    labelled = set()
    for row in frame[frame[group].isin(groups)].to_dict("records"):
        backend = row[colour]
        line = groups.index(row[group]) + (ids.index(backend) - (len(ids) - 1) / 2) * 0.84 / len(ids)
        style = look(backend).line(ms=3.5)
        axes.plot([row["ci_low"], row["ci_high"]], [line, line], lw=1.2, color=style["color"])
        label = None if backend in labelled else named(backend)
        axes.plot(row["diff"], line, ls="", label=label, **style)
        labelled.add(backend)
    axes.set_yticks(range(len(groups)), [named(name) for name in groups])
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
    axes.tick_params(axis="y", length=0)
    sns.despine(ax=axes, left=True)


def maps(frame, hue, text_width):
    """Maps of tracks side by side, one a backend, coloured by a label.

    Parameters
    ----------
    frame : DataFrame
        ``backend, x, y`` and the column `hue`; up to twelve values of it are told apart.
    hue : str
        Column with the label.
    text_width : float
        Inches.

    Returns
    -------
    Figure
    """
    names = list(frame["backend"].unique())
    shown = label_looks(sorted(frame[hue].astype(str).unique()))
    ncols = min(3, len(names))
    nrows = -(-len(names) // ncols)
    figure, axes = panels(text_width, nrows, ncols, ratio=0.95, squeeze=False)
    for one, backend in zip(axes.flat, names, strict=False):
        own = frame[frame["backend"] == backend]
        for value, (colour, marker) in shown.items():
            points = own[own[hue].astype(str) == value]
            one.scatter(points["x"], points["y"], s=9, color=colour, marker=marker, lw=0)
        one.set(title=named(backend), xticks=[], yticks=[])
        one.set_aspect("equal", "datalim")
        sns.despine(ax=one, left=True, bottom=True)
    for empty in axes.flat[len(names) :]:
        empty.set_axis_off()
    entries = {value: {"color": colour, "marker": marker, "ls": ""} for value, (colour, marker) in shown.items()}
    if len(shown) > 1:
        legend(figure, entries, title=hue)
    return figure


def _listeners(data):
    """How many listeners are behind a figure, as a sentence, or nothing where its data do not tell."""
    if not {"split", "n_users"} <= set(data.columns):
        return ""
    known = data.dropna(subset="n_users")
    told = []
    for split, numbers in known[known["split"].str.endswith("_test")].groupby("split", sort=False)["n_users"]:
        low, high = int(numbers.min()), int(numbers.max())
        told.append(f"{low if low == high else f'{low} to {high}'} listeners on {tracks_of(split)}")
    return f" n = {', '.join(told)}." if told else ""


def _stem(name, study):
    return f"{name}--{study.name}-{study.world}"


def _write_text(path, text):
    with write_atomically(path) as beside:
        beside.write_text(text)
