"""A folder of one's own: what is cut and what is not, whose listens touch what, and what is said of the rest."""

import datetime
import unicodedata
import zoneinfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import soundfile

from lib.data import audio
from lib.data.sources import recordings
from lib.data.sources.recordings import RecordingsError
from lib.study.provenance import file_hash
from lib.study.tables import check

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


def test_names_that_look_like_numbers_or_come_apart_are_names(tmp_path):
    """Canaries: pandas makes 1 of 001, and some file systems make two characters of an accented one."""
    for name in ("001", unicodedata.normalize("NFD", "Dvořák")):
        soundfile.write(tmp_path / f"{name}.wav", noise(2, 0), RATE)
    table = tmp_path / "labels.csv"
    table.write_text("\nfile,composer,year\n001,Bach,1720\nDvořák.wav,NA,1893\n,nobody,\n")
    tracks = tracks_of(tmp_path, tmp_path / "cache", labels_table=table)
    assert tracks["track_id"].tolist() == ["001", "Dvořák"]
    assert tracks["composer"].tolist() == ["Bach", "NA"]
    assert tracks["year"].tolist() == [1720, 1893]
    assert tracks.attrs["left_out"] == ["The label '' in labels.csv names no recording (1 such rows)."]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,composer\ngala,x\ngala.flac,y\n", r"one row a recording in labels.csv, found 'gala' more than once"),
        ("file,path\ngala,x\n", r"found the column 'path'"),
        (b"file,composer\ngala,Dvo\xf8\xe1k\n", r"table of labels in labels.csv, found otherwise"),
        ("", r"table of labels in labels.csv, found otherwise"),
        ("file,composer\ngala,Bach,x\nencore,Bach,y\n", r"2 values a line in labels.csv, .*found more"),
        ("file,composer,composer\ngala,x,y\n", r"each column once in labels.csv, found 'composer'"),
        ("recording_id,track_id\ngala,x\n", r"found the column 'track_id'"),
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


def test_two_tracks_of_one_id_are_a_sentence(tmp_path):
    soundfile.write(tmp_path / "gala.wav", noise(90, 0), RATE)
    with pytest.raises(RecordingsError, match=r"'gala#00000' twice: .* excerpt_step to 1 s or more"):
        tracks_of(tmp_path, tmp_path / "cache", excerpt_step=0.5)
    soundfile.write(tmp_path / "gala#00030.wav", noise(2, 0), RATE)
    with pytest.raises(RecordingsError, match=r"'gala#00030' twice: rename"):
        tracks_of(tmp_path, tmp_path / "cache")


def test_a_long_recording_is_never_read_whole(folder, tmp_path, monkeypatch):
    spans, read = [], audio.read

    def noted(path, *, start=0.0, seconds=None):
        spans.append(seconds)
        return read(path, start=start, seconds=seconds)

    monkeypatch.setattr(audio, "read", noted)
    tracks_of(folder, tmp_path)
    assert len(spans) == 43  # 40 excerpts, and a look into each of three whole recordings
    assert max(spans) == 30


def test_what_ffmpeg_reads_is_cut_alike(tmp_path):
    import av

    wave, rate = 0.1 * np.random.default_rng(3).standard_normal(8 * 16000), 16000
    with av.open(str(tmp_path / "matinee.m4a"), "w") as container:
        stream = container.add_stream("aac", rate=rate, layout="mono")
        for start in range(0, len(wave), 1024):
            frame = av.AudioFrame.from_ndarray(wave[None, start : start + 1024].astype(np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts = rate, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    tracks = tracks_of(tmp_path, tmp_path / "cache", clip_seconds=2.0, excerpt_step=2.0)
    assert tracks["track_id"].tolist() == [f"matinee#{start:05d}" for start in (0, 2, 4, 6)]
    for path, start in zip(tracks["path"], tracks["start"], strict=True):
        cut, found_rate = soundfile.read(path)
        assert (len(cut), found_rate) == (2 * rate, rate)
        there = wave[int(start * rate) : int(start * rate) + len(cut)]
        assert np.corrcoef(cut, there)[0, 1] > 0.9


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
    assert found["event"].tolist() == ["complete"] * 4  # the listener went on after each of them
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
        (("gala", "skip", 3.0, 27.0), 1, {"complete"}),  # to the very end of the one excerpt that it touched
        (("gala", "skip", 2.0, 27.0), 1, {"skip"}),
        (("gala", "play", 20.0, 0.0), 1, {"play"}),
        (("gala", None, 0.0, np.nan), 1, {"skip"}),
        (("/elsewhere/day 2/sonata.wav", None, 25.0, np.nan), 1, {"play"}),
        ((".\\day 2\\sonata.WAV", None, 3.0, np.nan), 1, {"skip"}),
    ],
)
def test_names_and_outcomes(tracks, row, tracks_touched, events):
    found = expanded([row], tracks)
    assert len(found) == tracks_touched
    assert set(found["event"]) == events


def test_names_of_other_folders_are_other_recordings(tracks):
    found = expanded([("day 3/sonata.wav", None, 25.0, np.nan), ("/day 3/sonata.wav", None, 25.0, np.nan)], tracks)
    assert found["track_id"].tolist() == ["day 3/sonata.wav", "/day 3/sonata.wav"]


def test_a_skip_of_unknown_length_keeps_it_unknown(tracks):
    found = expanded([("gala", "skip", np.nan, 605.0)], tracks)
    assert found["track_id"].tolist() == ["gala#00600"]
    assert found["played_seconds"].isna().all()


def test_every_batch_has_the_form_of_batches(tracks):
    """Canary: pandas turns columns without a value into null ones, and added times into nanoseconds."""
    times = pa.array([pd.Timestamp("2024-05-01", tz="UTC")] * 2, pa.timestamp("us", tz="UTC"))
    rows = {"user_id": pa.array(["u", "v"]).dictionary_encode(), "timestamp": times, "count": [2, 3]}
    late = pa.table(rows | {"track_id": ["gala", "gala"], "position_seconds": [5e3, 5e3]})
    known = pa.table(rows | {"track_id": pa.array(["gala", "none"]).dictionary_encode(), "played_seconds": [40.0, 1.0]})
    empty, found = recordings.touched([late, known], tracks)
    assert empty.schema == found.schema
    assert len(empty) == 0
    assert found.schema.field("timestamp").type == pa.timestamp("us", tz="UTC")
    assert found["track_id"].to_pylist() == ["gala#00000", "gala#00030", "none"]
    assert found["count"].to_pylist() == [2, 2, 3]


def test_expansion_equals_a_slow_loop(tracks, rng):
    begun, played = rng.uniform(0, 1200, 60).round(2), rng.uniform(1, 900, 60).round(2)
    found = expanded([("gala", None, p, b) for p, b in zip(played, begun, strict=True)], tracks)
    excerpts = tracks[tracks["recording_id"] == "gala"]
    slow = []
    for number in range(60):
        left = begun[number] + played[number]
        for excerpt in excerpts.itertuples():
            low, end = max(begun[number], excerpt.start), excerpt.start + 30
            heard = min(left, end) - low
            if heard <= 0:
                continue
            event = "complete" if left >= end or heard >= 27 else "skip" if heard < 15 else "play"
            slow.append((f"u{number}", excerpt.track_id, event, round(heard, 3), round(low - begun[number], 3)))
    offset = (found["timestamp"] - pd.Timestamp("2024-05-01 20:00", tz="UTC")).dt.total_seconds()
    columns = (found["user_id"], found["track_id"], found["event"], found["played_seconds"], offset)
    assert {event for _, _, event, _, _ in slow} == {"skip", "play", "complete"}
    assert [row[:3] for row in zip(*columns, strict=True)] == [row[:3] for row in slow]
    np.testing.assert_allclose(np.column_stack(columns[3:]), [row[3:] for row in slow], atol=2e-3)


def test_two_hundred_events_of_a_place_with_summer_time(folder, tracks, tmp_path, rng):
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    first = datetime.datetime(2024, 3, 30, 20)  # clocks change that night, and back on 27 October
    times = [first + datetime.timedelta(hours=25 * n) for n in range(200)] + [first + datetime.timedelta(days=212)]
    files = rng.choice(["encore.wav", "sonata.wav", "overture"], len(times))
    lines = [f"guest {n % 9};{file};{time}" for n, (file, time) in enumerate(zip(files, times, strict=True))]
    (tmp_path / "plays.csv").write_text("\n".join(["who;what;when", *lines]))
    columns = {"user_id": "who", "track_id": "what", "timestamp": "when"}
    events = recordings.events(tmp_path, log_file="plays.csv", log_columns=columns, time_zone="Europe/Berlin")
    found = pa.concat_tables(recordings.touched(events, tracks)).to_pandas()
    wanted = [time.replace(tzinfo=berlin).astimezone(datetime.UTC) for time in times]
    assert found["timestamp"].tolist() == wanted
    assert {time.hour for time in times} == set(range(24))
    assert {time.replace(tzinfo=berlin).utcoffset().seconds for time in times} == {3600, 7200}
    assert found["track_id"].tolist() == [str(file).removesuffix(".wav").replace("son", "day 2/son") for file in files]


def test_events_are_read_with_their_columns_and_zone(folder, tmp_path):
    (tmp_path / "log.csv").write_text("who,what,when\nx,gala.flac,2024-06-01 20:00:00\n")
    columns = {"user_id": "who", "track_id": "what", "timestamp": "when"}
    (batch,) = recordings.events(tmp_path, log_file="log.csv", log_columns=columns, time_zone="Europe/Berlin")
    assert batch["timestamp"][0].as_py() == pd.Timestamp("2024-06-01 18:00", tz="UTC")
    assert recordings.events(tmp_path, log_file="") is None
