"""Players, the map and the room, driven as a browser drives them: by values of controls and messages."""

import html
import io

import numpy as np
import pandas as pd
import pytest
import soundfile
from plotly.callbacks import InputDeviceState, Points

from lib import recommenders
from lib.backends.vectors import Vectors, VectorStore
from lib.evaluation import results
from lib.evaluation.results import Run
from lib.listening import archives, players, reasons, track_map
from lib.listening import room as listening_room
from lib.listening.room import LISTENER, TRACK
from lib.study import Study, load_parameters
from lib.study.tables import write_parquet

IDS = [f"t{number:02d}" for number in range(16)]
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"
CHANGES = {
    "recommender_table": {"knn": {"kind": "knn", "scaling": "none"}, "mostpop": {"kind": "mostpop"}},
    "variant_table": {},
    "tuning_grids": {},
    "label_columns": {},
    "backend_ids": ["mfcc", "musicnn_msd"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data, lists and clips of a small study, made once; a track plays a tone of its own, the last two have no file."""
    folder, rng = tmp_path_factory.mktemp("runs"), np.random.default_rng(3)
    study = Study(load_parameters("toy", CHANGES | {"runs_dir": str(folder)}))
    time = np.arange(22050) / 22050
    paths = [str(folder / f"{track}.flac") for track in IDS]
    for row, path in enumerate(paths[:-2]):
        soundfile.write(path, 0.3 * np.sin(2 * np.pi * (300 + 100 * row) * time), 22050)
    tracks = pd.DataFrame({"track_id": IDS, "path": [*paths[:-1], ""], "duration": 1.0, "artist": "somebody"})
    tracks["title"], tracks["mode"] = [EVIL, *IDS[1:]], ["major", "minor"] * 8
    write_parquet(tracks.assign(tempo=np.arange(16.0), key=EVIL), study.path("data/tracks.parquet"))
    rows = [(user, track) for user in ("u1", "u2", "u3") for track in rng.permutation(IDS[:12])[:6]]
    both = pd.DataFrame(rows, columns=["user_id", "track_id"]).assign(count=1)
    both["timestamp"] = pd.Timestamp("2019-01-01", tz="UTC").as_unit("us")
    late = both.groupby("user_id").cumcount() >= 4
    cold = both[late].assign(track_id=IDS[12:15] * 2)
    parts = {"train": both[~late], "hot_test": both[late], "val": both[late], "cold_test": cold, "cold_val": cold}
    for name, frame in parts.items():
        write_parquet(frame, study.path("data", f"{name}.parquet"))
    store = VectorStore(study.path("vectors.lance"))
    for backend, dim in (("mfcc", 3), ("musicnn_msd", 5)):
        store.replace(backend, Vectors.of(IDS, rng.standard_normal((16, dim))), {"checkpoint": "none"})
        model = recommenders.create("knn", scaling="none").fit(parts["train"], store.read(backend), rng)
        for split, n in (("hot_test", 8), ("cold_test", 3)):
            lists = model.recommend(["u1", "u2", "u3"], n, IDS[:12] if n == 8 else IDS[12:], parts["train"])
            write_parquet(lists, study.path("recommendations", Run("knn", backend).file(0, split)))
    model = recommenders.create("mostpop").fit(parts["train"], None, rng)
    lists = model.recommend(["u1", "u2", "u3"], 8, IDS[:12], parts["train"])
    write_parquet(lists, study.path("recommendations", Run("mostpop").file(0, "hot_test")))
    return folder


@pytest.fixture
def archive(folder):
    return archives.read(Study(load_parameters("toy", CHANGES | {"runs_dir": str(folder)})))


@pytest.fixture
def room(archive):
    return listening_room.Room(archive, archives.compared(archive, "knn"))


def click(track_list, track):
    """What the front end sends on a click, or when an arrow key comes to rest."""
    track_list._handle_custom_msg({"choose": track}, [])


def tone(sound):
    """The loudest frequency of an MP3, Hz, and its length, s."""
    samples, rate = soundfile.read(io.BytesIO(sound))
    spectrum = np.abs(np.fft.rfft(samples))
    return np.argmax(spectrum) * rate / len(samples), len(samples) / rate


def shown(track_list):
    return [row["id"] for row in track_list.rows]


def test_what_is_sent_is_the_clip_as_mp3(archive):
    heard, seconds = tone(players.sound(archive.tracks.at["t07", "path"]))
    assert heard == pytest.approx(1000, abs=3)
    assert seconds == pytest.approx(1.0, abs=0.06)


def test_a_new_version_of_a_clip_is_heard(tmp_path):
    path, time = tmp_path / "clip.wav", np.arange(44100) / 44100
    for frequency in (440, 880):
        soundfile.write(path, 0.3 * np.sin(2 * np.pi * frequency * time), 44100)
        assert tone(players.sound(str(path)))[0] == pytest.approx(frequency, abs=3)


def test_a_clip_that_is_gone_absent_or_no_audio_is_a_sentence(archive, tmp_path):
    with pytest.raises(players.NoSoundError, match=r"clip as t14\.flac, found no such file: run 10_prepare_data"):
        players.sound(archive.tracks.at["t14", "path"])
    with pytest.raises(players.NoSoundError, match="This track has no audio"):
        players.sound("")
    (tmp_path / "text.flac").write_text("no audio")
    with pytest.raises(players.NoSoundError, match=r"Expected audio in text\.flac"):
        players.sound(str(tmp_path / "text.flac"))


def test_static_players_have_sound_or_a_sentence_and_no_markup_of_others(archive):
    found = players.players(archive.tracks, ["t00", "t14"]).data
    assert found.count("<audio") == found.count("data:audio/mpeg;base64,") == 1
    assert "found no such file" in found
    assert html.escape(EVIL) in found
    assert "<script" not in found
    assert "<img" not in found


def test_where_nothing_has_audio_one_sentence_says_so(archive):
    silent = archive.tracks.assign(path="").reset_index()
    assert players.players(silent, ["t00", "t01"]).data.count("<em>") == 1


def test_the_room_opens_on_two_lists_of_one_listener(room):
    assert room.about.value == LISTENER
    assert shown(room.history) == archives.history(room.archive, room.listener.value)["track_id"].tolist()
    for side in room.sides:
        expected = archives.proposals(room.archive, side.run, "hot_test", room.listener.value)
        assert shown(side.list) == expected["track_id"].tolist()
        assert [row["hit"] for row in side.list.rows] == expected["hit"].tolist()
    assert [side.run.backend for side in room.sides] == ["musicnn_msd", "mfcc"]
    assert room.player.sound == b""  # nothing is loaded before somebody asks


def test_another_listener_is_another_history_and_other_lists(room):
    other = next(user for user in ("u1", "u2", "u3") if user != room.listener.value)
    before = shown(room.history), shown(room.sides[0].list)
    room.listener.value = other
    assert (shown(room.history), shown(room.sides[0].list)) != before
    assert other in room.history.heading


def test_cold_tracks_are_listed_when_asked_for(room):
    room.split.value = "cold_test"
    assert set(shown(room.sides[0].list)) <= set(IDS[12:])
    room.sides[0].recommender.value = "mostpop"
    assert not room.sides[0].list.rows
    assert "No list" in room.sides[0].list.note


def test_the_vectors_that_were_chosen_stay_where_the_recommender_has_them(room):
    side = room.sides[1]
    side.space.value = Run("knn", "musicnn_msd")
    assert "KNN · MusiCNN (MSD)" in side.list.heading
    side.recommender.value = "mostpop"
    assert side.run == Run("mostpop")
    assert "MostPop · listening alone" in side.list.heading
    side.recommender.value = "knn"
    assert side.run == Run("knn", "musicnn_msd")
    assert "KNN · MusiCNN (MSD)" in side.list.heading


def test_a_click_on_a_proposal_plays_it_and_says_why(room):
    side = room.sides[0]
    track = shown(side.list)[1]
    click(side.list, track)
    assert tone(room.player.sound)[0] == pytest.approx(300 + 100 * IDS.index(track), abs=3)
    assert room.player.line.startswith("Now playing: ")
    assert room.player.line.endswith("(from list A)")
    why = reasons.reasons(room.archive, side.run, "hot_test", room.listener.value, track)
    assert shown(room.why) == why.tracks["track_id"].tolist()
    assert room.why.note == why.sentence
    assert {one.playing for one in (room.history, room.why, side.list)} == {track}


def test_each_play_is_told_to_the_front_end(room):
    """Also of the same track, and of one without sound after one with: by a number that changes."""
    serials = [room.player.serial]
    for track in (shown(room.history)[0], shown(room.history)[0], shown(room.history)[1]):
        click(room.history, track)
        serials.append(room.player.serial)
    assert len(set(serials)) == 4


def test_a_clip_that_is_gone_is_a_sentence_in_place_of_a_player(room):
    click(room.sides[0].list, shown(room.sides[0].list)[0])
    room.play("t14", "the map")
    assert room.player.sound == b""
    assert "found no such file" in room.player.line


def test_a_track_as_the_seed_lists_its_neighbours_in_two_spaces(room):
    room.about.value = TRACK
    room.track.value = "t05"
    for side, backend in zip(room.sides, ("musicnn_msd", "mfcc"), strict=True):
        assert shown(side.list) == archives.nearest(room.archive, backend, "t05")["track_id"].tolist()
    room.sides[0].backend.value = "mfcc"
    assert shown(room.sides[0].list) == shown(room.sides[1].list)
    assert "mode: minor" in room.why.note
    room.about.value = LISTENER
    assert len(room.history.rows) == 4


def on_map(room, trace, place):
    """A click as plotly hands it to the figure."""
    one = room.map.figure.data[trace]
    points = Points(point_inds=[place], xs=[0.0], ys=[0.0], trace_name=one.name, trace_index=trace)
    one._dispatch_on_click(points, InputDeviceState())
    return one.customdata[place]


def test_a_click_on_the_map_plays_that_track(room):
    for trace in range(len(room.map.figure.data)):
        track = on_map(room, trace, 0)
        heard = room.player.line if track in IDS[14:] else tone(room.player.sound)[0]
        expected = 300 + 100 * IDS.index(track)
        assert (
            ("found no such" in heard or "no audio" in heard) if isinstance(heard, str) else abs(heard - expected) < 3
        )
        assert room.player.line.endswith("(from the map)") or isinstance(heard, str)


def test_a_click_on_the_map_makes_a_track_the_seed(room):
    room.about.value = TRACK
    track = on_map(room, 0, 2)
    assert room.track.value == track
    assert shown(room.history) == [track]


def test_the_map_has_every_track_once_and_marks_history_and_lists(room):
    room.colour.value = "mode"
    by_name = {trace.name: list(trace.customdata) for trace in room.map.figure.data}
    assert sorted(by_name["major"] + by_name["minor"]) == IDS
    assert by_name["major"] == IDS[::2]
    assert set(by_name["history"]) == set(shown(room.history))
    assert set(by_name["list A"]) == set(shown(room.sides[0].list))
    room.listener.value = next(user for user in ("u1", "u2", "u3") if user != room.listener.value)
    by_name = {trace.name: list(trace.customdata) for trace in room.map.figure.data}
    assert set(by_name["history"]) == set(shown(room.history))


def test_the_map_changes_its_space_and_its_colours(room):
    before = dict(zip(room.map.figure.data[0].customdata, room.map.figure.data[0].x, strict=True))
    room.space.value = "mfcc"
    after = dict(zip(room.map.figure.data[0].customdata, room.map.figure.data[0].x, strict=True))
    assert before != after
    room.colour.value = "tempo"
    assert list(room.map.figure.data[0].marker.color) == [
        float(IDS.index(t)) for t in room.map.figure.data[0].customdata
    ]


def test_titles_of_others_are_text_on_the_map(room):
    room.colour.value = ""
    written = [*room.map.figure.data[0].text, *(trace.name or "" for trace in room.map.figure.data)]
    assert not any("<script" in text or "<img" in text for text in written)
    assert any(html.escape(EVIL) in text for text in written)


def test_the_front_end_writes_text_never_markup():
    for path in listening_room.FRONT_END.glob("*.js"):
        code = path.read_text().replace("// never innerHTML", "")
        assert "innerHTML" not in code
        assert "insertAdjacentHTML" not in code
        assert "outerHTML" not in code


def test_every_control_has_a_label(room):
    controls = [room.about, room.listener, room.split, room.track, room.space, room.colour]
    controls += [control for side in room.sides for control in (side.recommender, side.space, side.backend)]
    labels = [control.description for control in controls]
    assert all(labels)
    assert "Recommender A" in labels
    assert "Vectors B" in labels


def test_a_study_without_listeners_starts_from_a_track(folder):
    study = Study(load_parameters("toy", CHANGES | {"runs_dir": str(folder), "listening_source": "none"}))
    room = listening_room.Room(archives.read(study), [])
    assert room.about.options == (TRACK,)
    assert len(room.sides[0].list.rows) == archives.SHOWN
    click(room.sides[0].list, next(track for track in shown(room.sides[0].list) if track not in IDS[14:]))
    assert room.player.line.startswith("Now playing")


def test_a_study_without_audio_has_lists_and_no_map(folder, tmp_path):
    study = Study(load_parameters("toy", CHANGES | {"runs_dir": str(tmp_path), "backend_ids": []}))
    whole = Study(load_parameters("toy", CHANGES | {"runs_dir": str(folder)}))
    for path in [*whole.path("data").glob("*.parquet"), *whole.path("recommendations").glob("mostpop.*")]:
        frame = pd.read_parquet(path)
        frame = frame.assign(path="") if path.stem == "tracks" else frame
        write_parquet(frame, study.path(path.parent.name, path.name))
    archive = archives.read(study)
    room = listening_room.Room(archive, archives.compared(archive, "knn"))
    click(room.sides[0].list, shown(room.sides[0].list)[0])
    assert "This track has no audio" in room.player.line
    assert "MostPop reads neither audio nor history" in room.why.note
    assert "workbook-map" not in str([child._dom_classes for child in room.widget.children[-1].children])


def test_papermill_is_no_front_end(monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    assert not listening_room.has_front_end()
    monkeypatch.setenv("JPY_SESSION_NAME", "notebooks/80_listen.ipynb")
    assert listening_room.has_front_end()


def test_rare_values_share_a_colour_and_missing_ones_are_unknown():
    values = pd.Series([*"aabbccddeeffgghhiijk", None, ""])
    found = track_map.groups(values)
    assert found.tolist()[-4:] == ["other", "other", "unknown", "unknown"]
    drawn = track_map.group_looks(found)
    assert list(drawn)[-2:] == ["other", "unknown"]
    assert len({marker for _, marker in drawn.values()}) == len(drawn) - 1  # told apart in grey, these two apart


def test_a_large_collection_is_mapped_by_a_sample(archive, monkeypatch):
    monkeypatch.setattr(track_map, "MOST_TRACKS", 8)
    assert len(track_map.positions(archive, "mfcc", 42)) == 8


def test_what_a_real_listener_heard_is_not_marked_on_paper(folder, archive):
    pair = archives.compared(archive, "knn")
    over = track_map.marks(archive, pair, "hot_test", "u1")
    assert list(over["history"][1]) == archives.history(archive, "u1")["track_id"].tolist()
    assert [name for name, _ in over.values()] == ["heard", "KNN · MusiCNN (MSD)", "KNN · MFCC"]
    real = Study(load_parameters("toy", CHANGES | {"runs_dir": str(folder), "listening_source": "yambda"}))
    assert track_map.marks(archives.read(real), pair, "hot_test", "u1") == {}


def test_the_map_on_paper_marks_what_its_table_says(archive):
    places = track_map.positions(archive, "mfcc", 42)
    over = {track_map.HISTORY: ("heard", ["t01", "t02"]), track_map.FIRST: ("list", ["t02", "gone"])}
    figure = track_map.draw(places, archive.tracks["mode"], over, 6.3)
    drawn = {one.get_label(): one.get_offsets() for one in figure.axes[0].collections}
    assert drawn["heard"].tolist() == pytest.approx(places.loc[["t01", "t02"], ["x", "y"]].to_numpy())
    assert len(drawn["list"]) == 1
    table = track_map.table(places, archive.tracks["mode"], over).set_index("track_id")
    assert table.loc[["t00", "t01", "t02"], "marked"].tolist() == ["", "heard", "heard, list"]
    assert tuple(archives.SPLITS) == results.TEST_SPLITS
