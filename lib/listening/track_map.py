"""A map of the collection with a listener on it: what lies together is alike to a backend. On paper, and to click."""

import html

import numpy as np
import pandas as pd
import seaborn as sns

from lib import figures
from lib.evaluation import neighbours
from lib.figures import looks
from lib.listening import archives

__all__ = ["colourings", "draw", "marks", "positions", "table"]


MOST_TRACKS = 4000  # on a map; more take minutes to lay out and cannot be told apart
MOST_GROUPS = 9  # of a label that have a colour of their own
NO_LABELS = ("path", "title", "duration", "full_duration", "start")
OTHER, UNKNOWN = "other", "unknown"
HISTORY, FIRST, SECOND = "history", "first", "second"
OVER = {  # name: colour, symbol in plotly, marker in matplotlib
    HISTORY: (figures.GREY, "circle-open", "o"),
    FIRST: ("#d55e00", "triangle-up-open", "^"),
    SECOND: ("#0072b2", "square-open", "s"),
}


def positions(archive, backend, seed):
    """Where tracks lie: t-SNE of standardised vectors, of at most `MOST_TRACKS` drawn at random.

    Parameters
    ----------
    archive : lib.listening.archives.Archive
    backend : str
    seed : int

    Returns
    -------
    DataFrame
        Indexed by track id: ``x, y``.
    """

    def laid_out():
        vectors = archive.vectors(backend)
        if len(vectors) > MOST_TRACKS:
            drawn = archive.study.rng("map", backend).choice(vectors.ids, MOST_TRACKS, replace=False)
            vectors = vectors.select(drawn)
        return neighbours.layout(vectors, seed).set_index("track_id")

    return archive.kept(("map", backend, seed), laid_out)


def colourings(tracks):
    """Labels a map can be coloured by: columns that tell some tracks from others, and not all of them.

    Parameters
    ----------
    tracks : DataFrame

    Returns
    -------
    list of str
        Those with few values first.

    Examples
    --------
    >>> colourings(pd.DataFrame({"title": list("abcd"), "key": list("CCDD"), "score": list("wxyz"), "tempo": range(4)}))
    ['key', 'tempo']
    """
    sizes = {}
    for name in tracks.columns.difference(NO_LABELS, sort=False):
        values = tracks[name].dropna()
        distinct = values.astype(str).nunique()
        told = pd.api.types.is_numeric_dtype(values) or distinct <= len(values) / 2
        if distinct > 1 and told:
            sizes[name] = distinct
    return sorted(sizes, key=lambda name: (sizes[name] > MOST_GROUPS, list(sizes).index(name)))


def groups(values):
    """What each track is coloured by: numbers as they are, else one of the most frequent values, other or unknown.

    Parameters
    ----------
    values : Series

    Returns
    -------
    Series
        float, or str.

    Examples
    --------
    >>> groups(pd.Series(["C", None, "C", "D"])).tolist()
    ['C', 'unknown', 'C', 'D']
    """
    if pd.api.types.is_numeric_dtype(values) and values.nunique() > MOST_GROUPS:
        return values.astype(float)
    text = values.astype(object).where(values.notna(), UNKNOWN).astype(str).replace("", UNKNOWN)
    most = text[text != UNKNOWN].value_counts().sort_index().sort_values(ascending=False, kind="stable")
    return text.where(text.isin([*most.index[:MOST_GROUPS], UNKNOWN]), OTHER)


def group_looks(found):
    """Colour and marker of each group of `groups`, in the order of the legend."""
    names = sorted(set(found) - {OTHER, UNKNOWN})
    return looks.label_looks(names) | {name: ("#b0b0b0", ".") for name in (OTHER, UNKNOWN) if name in set(found)}


def marks(archive, pair, split, user):
    """What is marked on the map on paper: what a listener heard, and what is proposed to them.

    Parameters
    ----------
    archive : lib.listening.archives.Archive
    pair : list of Run
    split, user : str

    Returns
    -------
    dict of {str: (str, Series)}
        As `draw` takes it. Empty where there is no listener, and where they are real: what one person heard is no
        picture for a thesis (docs/mock_data_and_privacy.md).
    """
    if not user or archive.study.world == "real":
        return {}
    over = {HISTORY: ("heard", archives.history(archive, user)["track_id"])}
    for key, run in zip((FIRST, SECOND), pair, strict=False):
        over[key] = (archives.label(archive, run), archives.proposals(archive, run, split, user)["track_id"])
    return over


def draw(places, values, over, text_width):
    """The map on paper.

    Parameters
    ----------
    places : DataFrame
        From `positions`.
    values : Series
        Of the label, indexed by track id; its name is the legend's title.
    over : dict of {str: (str, sequence of str)}
        What is marked on the map: a key of `OVER` to its name in the legend and its tracks.
    text_width : float
        Of the thesis, inches.

    Returns
    -------
    Figure
    """
    figure, axes = figures.panels(text_width, ratio=0.55)
    shown = groups(values.reindex(places.index))
    title = str(values.name).replace("_", " ")
    if shown.dtype == float:
        dots = axes.scatter(places["x"], places["y"], c=shown, s=9, lw=0, cmap="viridis")
        figure.colorbar(dots, ax=axes, label=title, shrink=0.7)
    else:
        for name, (colour, marker) in group_looks(shown).items():
            own = places[shown == name]
            axes.scatter(own["x"], own["y"], s=9, lw=0, color=colour, marker=marker, label=name.replace("_", " "))
    for size, (key, (name, ids)) in zip((34, 52, 60), over.items(), strict=False):
        own = places.reindex(ids).dropna()
        colour, _, marker = OVER[key]
        axes.scatter(own["x"], own["y"], s=size, marker=marker, facecolors="none", edgecolors=colour, lw=1, label=name)
    axes.set(xticks=[], yticks=[])
    sns.despine(ax=axes, left=True, bottom=True)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", title=title)
    return figure


def table(places, values, over):
    """What `draw` draws: ``track_id, x, y``, the label, and a column of marks, its names joined by commas."""
    marks = pd.Series("", places.index)
    for name, ids in over.values():
        own = marks.index.isin(ids)
        marks[own] = [f"{before}, {name}" if before else name for before in marks[own]]
    return places.assign(**{values.name: values.reindex(places.index), "marked": marks}).reset_index()


class ClickableMap:
    """The map in a browser: a click plays a track.

    Parameters
    ----------
    archive : lib.listening.archives.Archive
    play : callable
        ``play(track_id)``.

    Attributes
    ----------
    figure : plotly.graph_objects.FigureWidget
    """

    def __init__(self, archive, play):
        self._archive, self._play, self.figure = archive, play, None

    def show(self, backend, label, over, seed):
        """Lay tracks out in a backend's space, coloured by a label, with `over` marked as in `draw`."""
        places = positions(self._archive, backend, seed)
        found = [*self._tracks(places, label), *self._marks(places, over)]
        if self.figure is None:
            self.figure = _interactive(found)  # what is added before the browser has the figure would be lost
        else:
            self.figure.data = ()
            self.figure.add_traces(found)
        for trace in self.figure.data:
            trace.on_click(self._clicked)

    def _clicked(self, trace, points, _state):
        for place in points.point_inds[:1]:
            self._play(str(trace.customdata[place]))

    def _tracks(self, places, label):
        values = self._archive.tracks[label] if label else pd.Series("all tracks", self._archive.tracks.index)
        shown, title = groups(values.reindex(places.index)), label.replace("_", " ")
        if shown.dtype == float:
            bar = {"title": {"text": title}, "thickness": 12, "outlinewidth": 0}
            return [self._dots(places, "", color=shown, colorscale="Viridis", colorbar=bar, showscale=True)]
        return [
            self._dots(places[shown == name], html.escape(name.replace("_", " ")), color=colour)
            for name, (colour, _) in group_looks(shown).items()
        ]

    def _marks(self, places, over):
        for size, (key, (name, ids)) in zip((12, 14, 15), over.items(), strict=False):
            colour, symbol, _ = OVER[key]
            own = places.loc[[track for track in ids if track in places.index]]
            yield self._dots(own, html.escape(name), size=size, color=colour, symbol=symbol, line={"width": 2})

    def _dots(self, places, name, size=7, **marker):
        from plotly import graph_objects

        known = self._archive.tracks.loc[places.index]
        lines = [
            "<br>".join(html.escape(part) for part in row if part)
            for row in known[["title", "artist"]].fillna("").astype(str).to_numpy()
        ]
        return graph_objects.Scatter(
            x=places["x"].to_numpy(),
            y=places["y"].to_numpy(),
            mode="markers",
            name=name,
            text=lines,
            customdata=np.asarray(places.index, dtype=object),
            hovertemplate="%{text}<extra></extra>",
            showlegend=bool(name),
            marker={"size": size, **marker},
        )


def _interactive(traces):
    """Figure for a browser, without axes: distances are all it shows."""
    from plotly import graph_objects

    faint = "rgba(0,0,0,0)"
    figure = graph_objects.FigureWidget(
        data=traces,
        layout={
            "height": 300,
            "autosize": True,
            "margin": {"l": 0, "r": 0, "t": 4, "b": 4},
            "paper_bgcolor": faint,
            "plot_bgcolor": faint,
            "font": {"color": "#808080", "size": 11},  # readable on light and dark
            "hovermode": "closest",
            "dragmode": "pan",
            "xaxis": {"visible": False},
            "yaxis": {"visible": False},
            "legend": {"itemsizing": "constant", "tracegroupgap": 4},
            "uirevision": "kept",
        },
    )
    figure._config = figure._config | {"responsive": True, "scrollZoom": True, "displayModeBar": False}
    return figure
