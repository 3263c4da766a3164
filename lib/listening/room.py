"""The listening room: choose a listener or a track, hear the history and what two recommenders propose, see why.

Widgets for JupyterLab; everything they show comes from `lib.listening.archives`. Lists are walked with the arrow keys,
Space starts and stops, and every control has a label. Sound is loaded when a track is chosen, one at a time.
"""

import os
from pathlib import Path

import anywidget
import ipywidgets
import traitlets

from lib.figures.looks import named
from lib.listening import archives, players, reasons, track_map
from lib.listening.track_map import FIRST, HISTORY, SECOND

__all__ = ["Room", "has_front_end"]


FRONT_END = Path(__file__).with_name("front_end")
LISTENER, TRACK = "a listener", "a track"
NOTHING_YET = "Choose a track to hear it: click, or arrow keys in a list; Space starts and stops."


class TrackList(anywidget.AnyWidget):
    """A list of tracks to walk through and click.

    Attributes
    ----------
    heading, note : str
    rows : list of dict
        ``id, place, title, artist, hit, aside`` of each track.
    playing : str
        Track id that is marked as the one that plays.
    """

    _esm = FRONT_END / "track_list.js"
    _css = FRONT_END / "room.css"
    heading = traitlets.Unicode("").tag(sync=True)
    note = traitlets.Unicode("").tag(sync=True)
    rows = traitlets.List([]).tag(sync=True)
    playing = traitlets.Unicode("").tag(sync=True)

    def __init__(self, chosen, **values):
        super().__init__(**values)
        self.on_msg(lambda _widget, content, _buffers: "choose" in content and chosen(content["choose"]))

    def show(self, heading, frame=None, note=""):
        """Show a frame with ``track_id, title, artist`` and, where they are, ``rank, hit, similarity, aside``."""
        rows = [] if frame is None else frame.to_dict("records")
        with self.hold_sync():
            self.heading, self.note = heading, note
            self.rows = [_row(place, row) for place, row in enumerate(rows, 1)]


class Player(anywidget.AnyWidget):
    """One player, and a line on what it plays."""

    _esm = FRONT_END / "player.js"
    line = traitlets.Unicode(NOTHING_YET).tag(sync=True)
    sound = traitlets.Bytes(b"").tag(sync=True)
    serial = traitlets.Int(0).tag(sync=True)  # the front end reads line and sound when this changes: both or neither

    def play(self, line, sound):
        """Say `line` and play `sound`, MP3; empty: nothing to play."""
        with self.hold_sync():
            self.line, self.sound, self.serial = line, sound, self.serial + 1


class Side:
    """One of the two that are opposed: which recommender, on which vectors, and its list."""

    def __init__(self, archive, run, name, changed, chosen):
        self._archive, self._runs, self.name, self._changed = archive, archives.runs(archive), name, changed
        self._wanted, self._offering = run.backend if run else "", False
        spaces = archives.spaces(archive)
        recommenders = list(dict.fromkeys(one.recommender for one in self._runs))
        self.recommender = ipywidgets.Dropdown(
            options=[(named(each), each) for each in recommenders], description=f"Recommender {name}"
        )
        self.space = ipywidgets.Dropdown(description=f"Vectors {name}")
        self.backend = ipywidgets.Dropdown(
            options=[(archives.backend_label(archive, each), each) for each in spaces],
            description=f"Vectors {name}",
            value=run.backend if run and run.backend in spaces else (spaces or [None])[0],
        )
        self.list = TrackList(chosen)
        if run:
            self.recommender.value = run.recommender
            self.space.options = self._spaces()
            self.space.value = run
        self.recommender.observe(lambda _change: self._offer(), "value")
        self.space.observe(lambda _change: self._chosen(), "value")
        self.backend.observe(lambda _change: changed(), "value")
        choices = ipywidgets.HBox([self.recommender, self.space, self.backend])
        choices.add_class("workbook-choices")
        self.widget = ipywidgets.VBox([choices, self.list])
        self.widget.add_class("workbook-column").add_class(f"workbook-column-{name.lower()}")

    @property
    def run(self):
        """The run that is chosen, None where there is none."""
        return self.space.value

    def _spaces(self):
        own = [run for run in self._runs if run.recommender == self.recommender.value]
        return [(archives.space_label(self._archive, run), run) for run in own]

    def _offer(self):
        """Offer the vectors on which the recommender has lists; those last chosen stay if they are among them."""
        offered = self._spaces()
        self._offering = True  # new options choose their first by themselves: nothing that anybody asked for
        self.space.options = offered
        self.space.value = next((run for _, run in offered if run.backend == self._wanted), offered[0][1])
        self._offering = False
        self._changed()

    def _chosen(self):
        if not self._offering:
            self._wanted = self.run.backend
            self._changed()

    def about(self, what):
        """Show the controls that go with a listener, or with a track."""
        _shown(self.recommender, what == LISTENER)
        _shown(self.space, what == LISTENER)
        _shown(self.backend, what == TRACK)


class Room:
    """Everything together; `widget` is what a notebook shows.

    Parameters
    ----------
    archive : lib.listening.archives.Archive
    pair : list of Run
        The two that are opposed at first, as from `lib.listening.archives.compared`.
    listener : str
        Who is there at first; empty: of whom the pair finds most.
    """

    def __init__(self, archive, pair, listener=""):
        self.archive = archive
        self._says = {}  # what is said of a track that plays, by where it was chosen
        a, b = [*pair, None, None][:2]
        self.sides = [Side(archive, run, name, self.refresh, self._of_side(name)) for run, name in ((a, "A"), (b, "B"))]
        self.history = TrackList(lambda track: self.play(track, "the history"))
        self.why = TrackList(lambda track: self.play(track, "the reasons"))
        self.why.add_class("workbook-why")
        self.player = Player()
        self.map = track_map.ClickableMap(archive, self._of_map)
        self._controls(pair, listener)
        self.refresh()
        self._lay_out()

    def _controls(self, pair, listener):
        archive = self.archive
        known = archives.listeners(archive)
        words = [
            f"{user}: {row.heard} heard; {row.hot_test} hot, {row.cold_test} cold to find"
            for user, row in known.iterrows()
        ]
        seeds = archive.tracks.index[: track_map.MOST_TRACKS]
        about = [LISTENER, TRACK] if len(known) and pair else [TRACK]
        self.about = ipywidgets.ToggleButtons(options=about, description="Start from")
        self.about.style.button_width = "auto"
        self.about.add_class("workbook-about")
        self.listener = ipywidgets.Dropdown(options=list(zip(words, known.index, strict=True)), description="Listener")
        self.split = ipywidgets.Dropdown(
            options=[(text, split) for split, text in archives.SPLITS.items() if split in archive.truth],
            description="Tracks",
        )
        self.track = ipywidgets.Dropdown(
            options=[(_line(archive, track), track) for track in seeds], description="Track"
        )
        if len(known) and pair:
            self.listener.value = archives.telling(archive, pair, self.split.value, listener) or known.index[0]
        self.space = ipywidgets.Dropdown(
            options=[(archives.backend_label(archive, name), name) for name in archives.spaces(archive)],
            description="Map by",
        )
        if archive.study.one_backend in archives.spaces(archive):
            self.space.value = archive.study.one_backend
        labels = [(name.replace("_", " "), name) for name in track_map.colourings(archive.tracks)]
        self.colour = ipywidgets.Dropdown(options=[*labels, ("nothing", "")], description="Coloured by")
        for control in (self.about, self.listener, self.split, self.track):
            control.observe(lambda _change: self.refresh(), "value")
        for control in (self.space, self.colour):
            control.observe(lambda _change: self._draw_map(), "value")

    def _lay_out(self):
        controls = ipywidgets.HBox([self.about, self.split])
        controls.add_class("workbook-controls")
        seed = ipywidgets.HBox([self.listener, self.track])
        seed.add_class("workbook-choices")
        left = ipywidgets.VBox([seed, self.history])
        left.add_class("workbook-column").add_class("workbook-history")
        columns = ipywidgets.HBox([left, *(side.widget for side in self.sides)])
        columns.add_class("workbook-columns")
        of_map = ipywidgets.HBox([self.space, self.colour])
        of_map.add_class("workbook-controls")
        below = [self.why]
        if archives.spaces(self.archive):
            around = ipywidgets.VBox([of_map])
            around.add_class("workbook-map")
            # a figure that comes with its box is drawn before its traces are there, and stays empty
            self.player.on_msg(lambda *_shown: setattr(around, "children", [of_map, self.map.figure]))
            below.append(around)
        below = ipywidgets.HBox(below)
        below.add_class("workbook-below")
        self.widget = ipywidgets.VBox([controls, columns, self.player, below])
        self.widget.add_class("workbook-room")

    def refresh(self):
        """Show what the controls say."""
        what = self.about.value
        _shown(self.listener, what == LISTENER)
        _shown(self.split, what == LISTENER and len(self.split.options) > 1)
        _shown(self.track, what == TRACK)
        for side in self.sides:
            side.about(what)
        if what == LISTENER:
            self._show_listener()
        else:
            self._show_track()
        self._draw_map()

    def _show_listener(self):
        user, split = self.listener.value, self.split.value
        heard = archives.history(self.archive, user)
        aside = heard["plays"].map(lambda plays: f"{plays} ×")
        self.history.show(f"{user} heard {len(heard)} tracks", heard.assign(aside=aside), "The latest first.")
        self.why.show("Why", note="Choose a proposal to see what it is near to.")
        for side in self.sides:
            _shown(side.widget, side.run is not None)
            if side.run:
                found = archives.proposals(self.archive, side.run, split, user)
                heading = f"{side.name}  {archives.label(self.archive, side.run)}"
                side.list.show(heading, found, _found(found, split, archives.listeners(self.archive).loc[user]))

    def _show_track(self):
        track = self.track.value
        seed = self.archive.tracks.loc[[track]].reset_index()
        self.history.show("The track", seed, "Its neighbours are of other recordings.")
        of = seed.loc[0, track_map.colourings(self.archive.tracks)].dropna()
        known = [f"{name.replace('_', ' ')}: {value}" for name, value in of.items() if value != ""]
        self.why.show(f"Known of {seed.at[0, 'title']}", note=" · ".join(known))
        for side in self.sides:
            _shown(side.widget, side.backend.value is not None)
            if side.backend.value:
                found = archives.nearest(self.archive, side.backend.value, track)
                name = archives.backend_label(self.archive, side.backend.value)
                note = "By cosine of standardised vectors." if len(found) else f"This track has no vector of {name}."
                side.list.show(f"{side.name}  Nearest in {name}", found, note)

    def _of_side(self, name):
        def chosen(track):
            side = self.sides["AB".index(name)]
            self.play(track, f"list {name}")
            if self.about.value == LISTENER:
                why = reasons.reasons(self.archive, side.run, self.split.value, self.listener.value, track)
                title = self.archive.tracks.at[track, "title"]
                self.why.show(f"Why {name} proposes {title}", why.tracks, why.sentence)

        return chosen

    def _of_map(self, track):
        if self.about.value == TRACK:
            if track not in [known for _, known in self.track.options]:  # of a collection too large to offer whole
                self.track.options = [*self.track.options, (_line(self.archive, track), track)]
            self.track.value = track  # which shows its neighbours
        self.play(track, "the map")

    def play(self, track, where):
        """Play a track and say what it is and where it was chosen; where there is no sound, say why."""
        known = f"{_line(self.archive, track)} (from {where})"
        try:
            self.player.play(f"Now playing: {known}", players.sound(self.archive.tracks.at[track, "path"]))
        except players.NoSoundError as error:
            self.player.play(f"{known}. {error}", b"")
        for one in (self.history, self.why, *(side.list for side in self.sides)):
            one.playing = track

    def _draw_map(self):
        if not archives.spaces(self.archive):
            return
        over = {HISTORY: ("history" if self.about.value == LISTENER else "the track", _ids(self.history))}
        for key, side in zip((FIRST, SECOND), self.sides, strict=True):
            if side.list.rows:
                over[key] = (f"list {side.name}", _ids(side.list))
        self.map.show(self.space.value, self.colour.value, over, self.archive.study.parameters.seed)


def has_front_end():
    """Whether somebody may be looking: JupyterLab, Notebook and VS Code say so to a kernel, papermill does not."""
    import __main__

    return "JPY_SESSION_NAME" in os.environ or hasattr(__main__, "__vsc_ipynb_file__")


def _shown(widget, shown):
    widget.layout.display = None if shown else "none"


def _ids(track_list):
    return [row["id"] for row in track_list.rows]


def _line(archive, track):
    known = archive.tracks.loc[track]
    return " — ".join(part for part in (known["title"], known["artist"]) if part)


def _found(found, split, counts):
    """Under a list: how much of what there was to find it found."""
    if not len(found):
        return "No list: there was nothing to find for this listener."
    return f"{int(found['hit'].sum())} of these {len(found)} heard later, of {counts[split]} to be found."


def _row(place, row):
    similarity = row.get("similarity")
    aside = row.get("aside", "") if similarity is None else f"{similarity:.2f}"
    return {
        "id": row["track_id"],
        "place": str(row.get("rank", place)),
        "title": row["title"],
        "artist": row["artist"] or "",
        "hit": bool(row.get("hit", False)),
        "aside": str(aside),
    }
