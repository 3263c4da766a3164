"""A folder of one's own: what is cut and what is not, whose listens touch what, and what is said of the rest."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import soundfile

from lib.datasets import recordings
from lib.datasets.recordings import RecordingsError
from lib.provenance import file_hash
from lib.tables import check

RATE = 4000


def noise(seconds, seed, silent=()):
    wave = 0.1 * np.random.default_rng(seed).standard_normal(int(seconds * RATE))
    for start, end in silent:
        wave[int(start * RATE) : int(end * RATE)] = 0
    return wave


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    for number, name in enumerate(("encore", "overture", "day 2/sonata")):
        (folder / name).parent.mkdir(exist_ok=True)
        soundfile.write(folder / f"{name}.wav", noise(30 + 5 * number, number), RATE)
    soundfile.write(folder / "gala.flac", noise(1200, 9, silent=[(60, 90)]), RATE)
    (folder / "broken.mp3").write_text("no music")
    (folder / "empty.wav").touch()
    (folder / "plays.csv").write_text("user_id,track_id,timestamp\n")
    return folder


def tracks_of(folder, cache, **options):
    return recordings.tracks(folder, cache=cache, **({"clip_seconds": 30.0, "excerpt_step": 30.0} | options))


@pytest.fixture(scope="module")
def tracks(folder, tmp_path_factory):
    return tracks_of(folder, tmp_path_factory.mktemp("cache"))


def test_short_recordings_are_whole_and_long_ones_are_cut(tracks, folder):
    check(tracks, "tracks")
    whole = tracks[tracks["track_id"] == tracks["recording_id"]]
    assert whole["track_id"].tolist() == ["day 2/sonata", "encore", "overture"]
    assert whole["duration"].tolist() == [40, 30, 35]
    assert whole["path"].tolist() == [str(folder / f"{name}.wav") for name in whole["track_id"]]
    excerpts = tracks[tracks["recording_id"] == "gala"]
    assert excerpts["start"].tolist() == [start for start in range(0, 1200, 30) if start != 60]
    assert excerpts["track_id"].iloc[2] == "gala#00090"
    assert excerpts["title"].iloc[2] == "gala, 1:30"


def test_an_excerpt_holds_what_the_recording_holds_there(tracks, folder):
    cut, rate = soundfile.read(tracks.set_index("track_id").loc["gala#00600", "path"])
    whole, _ = soundfile.read(folder / "gala.flac", start=600 * RATE, frames=30 * RATE)
    assert rate == RATE
    assert np.abs(cut - whole).max() < 2 / 2**15


def test_what_cannot_be_used_is_said(tracks):
    said = " ".join(tracks.attrs["left_out"])
    assert "1 of 40 excerpts of gala are silent" in said
    assert "broken.mp3" in said
    assert "empty.wav" in said
    assert len(tracks.attrs["left_out"]) == 3


def test_a_second_run_cuts_nothing_again(tracks, folder, tmp_path):
    first = tracks_of(folder, tmp_path)
    before = {path: (path.stat().st_mtime_ns, file_hash(path)) for path in tmp_path.rglob("*.flac")}
    (tmp_path / next(iter(before))).unlink()
    again = tracks_of(folder, tmp_path)
    pd.testing.assert_frame_equal(first, again)
    after = {path: (path.stat().st_mtime_ns, file_hash(path)) for path in tmp_path.rglob("*.flac")}
    assert {path: digest for path, (_, digest) in after.items()} == {
        path: digest for path, (_, digest) in before.items()
    }
    assert sum(after[path] != before[path] for path in before) == 1


def test_excerpts_may_lie_apart(folder, tmp_path):
    tracks = tracks_of(folder, tmp_path, excerpt_step=120.0)
    assert tracks.loc[tracks["recording_id"] == "gala", "start"].tolist() == list(range(0, 1200, 120))


def test_labels_are_joined_by_any_name_and_strays_are_said(folder, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text(
        "file;artist;composer;title;year\ngala.flac;Gala Orchestra;Brahms;;1999\nsonata;;Franck;Sonata in A;2001\n"
        "encore.wav;X;;;\nnone.wav;Y;Z;;\n"
    )
    tracks = tracks_of(folder, tmp_path, labels_table=table)
    known = tracks.set_index("track_id")
    assert known.loc["gala#00030", ["artist", "composer", "title"]].tolist() == [
        "Gala Orchestra",
        "Brahms",
        "gala, 0:30",
    ]
    assert known.loc["day 2/sonata", ["artist", "composer", "title"]].tolist() == ["", "Franck", "Sonata in A"]
    assert known.loc["overture", ["artist", "composer"]].tolist() == ["", ""]
    said = " ".join(tracks.attrs["left_out"])
    assert "'none.wav' in labels.csv names no recording (1 such rows)" in said
    assert "1 recordings have no row in labels.csv, overture for one" in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,composer\ngala,x\ngala.flac,y\n", r"one row a recording in labels.csv, found 'gala' more than once"),
        ("file,path\ngala,x\n", r"found the column 'path'"),
        (b"file,composer\ngala,Dvo\xf8\xe1k\n", r"table of labels in labels.csv, found otherwise"),
        ("", r"table of labels in labels.csv, found otherwise"),
    ],
)
def test_hostile_labels_are_a_sentence(folder, tmp_path, text, message):
    (tmp_path / "labels.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RecordingsError, match=message):
        tracks_of(folder, tmp_path, labels_table=tmp_path / "labels.csv")


def test_two_recordings_of_one_name_and_empty_folders_are_sentences(tmp_path):
    with pytest.raises(RecordingsError, match="found none that can be read"):
        tracks_of(tmp_path, tmp_path / "cache")
    assert "found none among" in recordings.validate(tmp_path)[0]
    soundfile.write(tmp_path / "a.wav", noise(2, 0), RATE)
    soundfile.write(tmp_path / "a.flac", noise(2, 0), RATE)
    with pytest.raises(RecordingsError, match=r"found a.flac and a.wav for 'a'"):
        tracks_of(tmp_path, tmp_path / "cache")


def test_validate_names_what_cannot_be_read(folder):
    assert sorted("broken.mp3" in said or "empty.wav" in said for said in recordings.validate(folder)) == [True, True]


# listens


def expanded(rows, tracks):
    columns = ["user_id", "track_id", "timestamp", "event", "played_seconds", "position_seconds"]
    frame = pd.DataFrame(rows, columns=["track_id", "event", "played_seconds", "position_seconds"])
    frame = frame.assign(user_id=[f"u{n}" for n in range(len(frame))])
    frame["timestamp"] = pd.Timestamp("2024-05-01 20:00", tz="UTC")
    batch = pa.Table.from_pandas(frame[columns].astype({"event": object}), preserve_index=False)
    return pa.concat_tables(recordings.touched([batch], tracks)).to_pandas()


def test_a_listen_counts_for_every_excerpt_it_touched(tracks):
    found = expanded([("gala.flac", None, 100.0, 110.0)], tracks)
    assert (
        found["track_id"].tolist()
        == ["gala#00090", "gala#00120", "gala#00150", "gala#00180", "gala#00210"][: len(found)]
    )
    assert found["played_seconds"].tolist() == [10, 30, 30, 30]
    assert found["event"].tolist() == ["skip", "complete", "complete", "complete"]
    offset = (found["timestamp"] - pd.Timestamp("2024-05-01 20:00", tz="UTC")).dt.total_seconds()
    assert offset.tolist() == [0, 10, 40, 70]


@pytest.mark.parametrize(
    ("row", "tracks_touched", "events"),
    [
        (("gala", None, np.nan, np.nan), 39, {"complete"}),  # to the end; the silent one is no track
        (("gala", "skip", np.nan, 605.0), 1, {"skip"}),
        (("encore.wav", None, np.nan, np.nan), 1, {"play"}),
        (("encore", None, 29.0, np.nan), 1, {"complete"}),
        (("encore", None, 3.0, np.nan), 1, {"skip"}),
        (("encore", "complete", 3.0, np.nan), 1, {"complete"}),  # the source knows better
        (("sonata.wav", None, 25.0, np.nan), 1, {"play"}),
        (("gala#00300", None, 30.0, np.nan), 1, {"complete"}),
        (("unheard of", None, 30.0, np.nan), 1, {"play"}),
        (("gala", None, 30.0, 5000.0), 0, set()),  # begun after the end
    ],
)
def test_names_and_outcomes(tracks, row, tracks_touched, events):
    found = expanded([row], tracks)
    assert len(found) == tracks_touched
    assert set(found["event"]) == events


def test_expansion_equals_a_slow_loop(tracks, rng):
    rows = [
        ("gala", None, float(p), float(s))
        for p, s in zip(rng.uniform(1, 900, 60), rng.uniform(0, 1200, 60), strict=True)
    ]
    found = expanded(rows, tracks)
    excerpts = tracks[tracks["recording_id"] == "gala"]
    slow = []
    for number, (_, _, played, begun) in enumerate(rows):
        for excerpt in excerpts.itertuples():
            heard = min(begun + played, excerpt.start + 30) - max(begun, excerpt.start)
            if heard > 0:
                slow.append((f"u{number}", excerpt.track_id, round(heard, 3)))
    assert list(zip(found["user_id"], found["track_id"], found["played_seconds"], strict=True)) == slow


def test_events_are_read_with_their_columns_and_zone(folder, tmp_path):
    (tmp_path / "log.csv").write_text("who,what,when\nx,gala.flac,2024-06-01 20:00:00\n")
    columns = {"user_id": "who", "track_id": "what", "timestamp": "when"}
    (batch,) = recordings.events(tmp_path, log_file="log.csv", log_columns=columns, time_zone="Europe/Berlin")
    assert batch["timestamp"][0].as_py() == pd.Timestamp("2024-06-01 18:00", tz="UTC")
    assert recordings.events(tmp_path, log_file="") is None
