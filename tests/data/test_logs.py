"""Listening logs as people bring them: read whatever their dress, refused with one sentence where they are none."""

import bz2
import gzip

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from lib.data import logs
from lib.data.logs import LogError, batches, read_log

D = "2019-02-01"

GOOD = (
    "user_id\ttrack_id\ttimestamp\n20\tb\t2019-02-02 00:00:00\n20\ta\t2019-02-01 00:00:00\nNA\ta\t2019-02-01 00:00:00\n"
)


@pytest.mark.parametrize("separator", ["\t", ",", ";", "|"])
@pytest.mark.parametrize("suffix", [".tsv", ".tsv.bz2"])
def test_logs_are_read_whatever_their_separator(tmp_path, separator, suffix):
    data = GOOD.replace("\t", separator).encode()
    path = tmp_path / f"log{suffix}"
    path.write_bytes(bz2.compress(data) if suffix.endswith("bz2") else data)
    found = read_log(path)
    assert found["user_id"].tolist() == ["20", "20", "NA"]
    assert str(found["timestamp"].dtype) == "datetime64[us, UTC]"


def test_logs_as_parquet_keep_outcomes(tmp_path):
    frame = pd.DataFrame({"user_id": ["u"], "track_id": ["a"], "timestamp": [D], "event": ["skip"]})
    frame = frame.assign(played_seconds=2.0, extra=1)
    frame.to_parquet(tmp_path / "log.parquet")
    assert read_log(tmp_path / "log.parquet").columns.tolist() == [*frame.columns[:5]]


def test_a_quoted_user_id_may_hold_the_separator(tmp_path):
    (tmp_path / "log.csv").write_text('user_id,track_id,timestamp\n"a,b",t,2019-02-01\n')
    assert read_log(tmp_path / "log.csv")["user_id"].tolist() == ["a,b"]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.tsv", b"", "found an empty file"),
        ("a.tsv", GOOD.splitlines()[0].encode() + b"\n", "found none"),
        (
            "a.tsv",
            GOOD.replace("timestamp", "time").encode(),
            "found no timestamp in the header 'user_id | track_id | time'",
        ),
        ("a.tsv", GOOD.replace("\t", " ").encode(), "found no user_id and no track_id"),
        ("a.tsv", GOOD.replace("track_id", "track_id\ttrack_id").encode(), "found track_id more than once"),
        ("a.tsv", GOOD.replace("02-02", "02-31").encode(), r"row 1: '2019-02-31"),
        ("a.tsv", GOOD.encode() + b"20\ta\t2019-02-01\tx\ty\n", "one listen a line"),
        ("a.tsv", GOOD.replace(":00\n", ":00\tx\n").encode(), r"Expected 3 columns, got 4"),
        ("a.tsv", GOOD.encode() + b"20\ta\n", r"Row #5: Expected 3 columns, got 2"),
        ("a.tsv", GOOD.encode() + b"\xff\ta\t2019-02-01\n", "found byte 0xff"),
        ("a.tsv.bz2", bz2.compress(GOOD.encode() * 50)[:60], "cut or damaged"),
        ("a.tsv.bz2", GOOD.encode(), "cut or damaged"),
        ("a.parquet", GOOD.encode(), "Expected Parquet in a.parquet"),
    ],
)
def test_files_that_are_no_log_are_refused_with_a_sentence(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(LogError, match=message):
        read_log(tmp_path / name)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="found no such file"):
        read_log(tmp_path / "none.tsv")


def text(tmp_path, data, name="log.csv"):
    (tmp_path / name).write_text(data)
    return tmp_path / name


def test_a_batch_has_the_agreed_types(tmp_path):
    path = text(
        tmp_path, "user_id,track_id,timestamp,event,played_seconds,count,title\n007,NA,2019-02-01,skip,2.5,3,x\n"
    )
    (batch,) = batches(path)
    assert batch.schema.names == ["user_id", "track_id", "timestamp", "event", "played_seconds", "count"]
    assert batch.schema.field("timestamp").type == pa.timestamp("us", "UTC")
    assert batch.to_pylist()[0] | {"timestamp": None} == {
        "user_id": "007",
        "track_id": "NA",
        "timestamp": None,
        "event": "skip",
        "played_seconds": 2.5,
        "count": 3,
    }


def test_columns_are_mapped_and_an_unknown_name_is_refused(tmp_path):
    path = text(tmp_path, "user\tsong\ttimestamp\nu\tt\t2019-02-01 10:20\n", "listening_history.csv")
    found = read_log(path, columns={"user_id": "user", "track_id": "song"})
    assert found.iloc[0].tolist() == ["u", "t", pd.Timestamp("2019-02-01 10:20", tz="UTC")]
    with pytest.raises(LogError, match=r"found no listener .*name them in log_columns"):
        read_log(path, columns={"user_id": "listener", "track_id": "song"})
    with pytest.raises(LogError, match="found 'user'"):
        read_log(path, columns={"user": "user_id"})


def test_a_file_without_header_takes_names(tmp_path):
    path = text(tmp_path, "u\t2009-05-04T23:08:57Z\tx\tt\nv\t2009-05-04T13:54:10Z\ty\ts\n", "plain.tsv")
    found = read_log(path, names=["user_id", "timestamp", "artist", "track_id"])
    assert found["track_id"].tolist() == ["t", "s"]
    assert found["timestamp"].dt.hour.tolist() == [23, 13]
    with pytest.raises(LogError, match="Expected 3 values in the first line"):
        read_log(path, names=["user_id", "timestamp", "track_id"])


@pytest.mark.parametrize(
    ("zone", "time", "utc"),
    [
        ("UTC", "2019-07-01 12:00:00", "2019-07-01 12:00:00"),
        ("Europe/Berlin", "2019-07-01 12:00:00", "2019-07-01 10:00:00"),
        ("Europe/Berlin", "2019-01-01 12:00:00", "2019-01-01 11:00:00"),
        ("Europe/Berlin", "2019-01-01 12:00:00+05:00", "2019-01-01 07:00:00"),  # its own zone goes before
        ("Europe/Berlin", "20190101T120000+0500", "2019-01-01 07:00:00"),  # without colons too
        ("Europe/Berlin", "2019-01-01T12Z", "2019-01-01 12:00:00"),
        ("Europe/Berlin", "2019-01-01", "2018-12-31 23:00:00"),  # a day of the month is no offset
        ("Europe/Berlin", "2019-10-27 02:30:00", "2019-10-27 00:30:00"),  # occurs twice: the first
        ("Europe/Berlin", "2019-03-31 02:30:00", "2019-03-31 01:00:00"),  # skipped: the next that existed
    ],
)
def test_time_zones_are_honoured(tmp_path, zone, time, utc):
    path = text(tmp_path, f"user_id,track_id,timestamp\nu,t,{time}\n")
    assert read_log(path, time_zone=zone)["timestamp"].iloc[0] == pd.Timestamp(utc, tz="UTC")


def test_zones_may_be_mixed_within_a_file(tmp_path):
    times = ["2019-02-01 12:00:00", "2019-02-01T12:00:00Z", "2019-02-01 12:00:00+02:00"]
    path = text(tmp_path, "user_id,track_id,timestamp\n" + "".join(f"u,t,{time}\n" for time in times))
    assert read_log(path)["timestamp"].dt.hour.tolist() == [12, 12, 10]
    assert read_log(path, time_zone="America/New_York")["timestamp"].dt.hour.tolist() == [17, 12, 10]


def test_a_zone_that_is_none_is_refused(tmp_path):
    path = text(tmp_path, "user_id,track_id,timestamp\nu,t,2019-02-01\n")
    with pytest.raises(LogError, match="found 'Berlin'"):
        read_log(path, time_zone="Berlin")


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("event", "liked", r"an event of play, skip, complete of log.csv, found 'liked' in row 2 "),
        ("played_seconds", "-1", r"played_seconds of 0 or more of log.csv, found -1.0 in row 2 "),
        ("played_seconds", "long", r"numbers in column played_seconds of log.csv, found 'long' in row 2 "),
        ("count", "-3", r"a count of 1 to 1,000,000 of log.csv, found -3.0 in row 2 "),
        ("played_seconds", "inf", r"played_seconds of 0 or more of log.csv, found inf in row 2 "),
        ("count", "1000001", r"a count of 1 to 1,000,000 of log.csv, found 1000001.0 in row 2 "),
        ("count", "0", r"a count of 1 to 1,000,000 of log.csv, found 0.0 in row 2 "),
        ("count", "1.5", r"a count of 1 to 1,000,000 of log.csv, found 1.5 in row 2 "),
        ("count", "", r"a count of 1 to 1,000,000 of log.csv, found None in row 2 "),
    ],
)
def test_values_that_cannot_be_are_named_with_their_row(tmp_path, column, value, message):
    good = {"event": "play", "played_seconds": "3", "count": "1"}[column]
    path = text(tmp_path, f"user_id,track_id,timestamp,{column}\nu,t,2019-02-01,{good}\nu,t,2019-02-01,{value}\n")
    with pytest.raises(LogError, match=message):
        read_log(path)


def test_an_empty_id_is_named_with_its_row_in_the_whole_file(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "BLOCK_BYTES", 4096)  # several batches
    rows = ["u,t,2019-02-01\n"] * 3000 + [",t,2019-02-01\n"]
    path = text(tmp_path, "user_id,track_id,timestamp\n" + "".join(rows))
    with pytest.raises(LogError, match="found '' in row 3001 "):
        read_log(path)
    assert len(list(batches(text(tmp_path, "user_id,track_id,timestamp\n" + "".join(rows[:-1]))))) > 3


def test_an_unquoted_comma_in_an_id_is_a_sentence(tmp_path):
    path = text(tmp_path, "user_id,track_id,timestamp\nSmith, J,t,2019-02-01\n")
    with pytest.raises(LogError, match=r"Row #2: Expected 3 columns, got 4: Smith, J"):
        read_log(path)


def test_a_header_in_the_middle_is_a_sentence(tmp_path):
    once = "user_id,track_id,timestamp\nu,t,2019-02-01\n"
    with pytest.raises(LogError, match="row 2: 'timestamp'"):
        read_log(text(tmp_path, once * 2))


def test_bytes_that_are_no_utf8_are_a_sentence_wherever_they_are(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(b"user_id,track_id,timestamp\n" + b"u,t,2019-02-01\n" * 2000 + b"Ren\xe9,t,2019-02-01\n")
    with pytest.raises(LogError, match=r"text in UTF-8 in log.csv"):
        read_log(path)


@pytest.mark.parametrize(("suffix", "squeeze"), [(".bz2", bz2.compress), (".gz", gzip.compress)])
def test_a_compressed_log_cut_in_the_middle_is_a_sentence(tmp_path, suffix, squeeze):
    rows = np.random.default_rng(0).integers(10**9, size=4000)
    whole = squeeze(("user_id\ttrack_id\ttimestamp\n" + "".join(f"{r}\tt\t2019-02-01\n" for r in rows)).encode())
    path = tmp_path / f"log.tsv{suffix}"
    path.write_bytes(whole)
    assert len(read_log(path)) == 4000
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LogError, match="cut or damaged"):
        read_log(path)


@pytest.mark.parametrize(("suffix", "squeeze"), [(".bz2", bz2.compress), (".gz", gzip.compress)])
def test_a_log_compressed_in_several_streams_is_read_to_its_end(tmp_path, suffix, squeeze):
    parts = [b"user_id\ttrack_id\ttimestamp\n", b"u\tt\t2019-02-01\n" * 3000, b"v\tt\t2019-02-01\n" * 2000]
    path = tmp_path / f"log.tsv{suffix}"  # as parallel compressors write it
    path.write_bytes(b"".join(squeeze(part) for part in parts))
    assert read_log(path)["user_id"].value_counts().to_dict() == {"u": 3000, "v": 2000}
    path.write_bytes(b"".join(squeeze(part) for part in parts)[:-8])
    with pytest.raises(LogError, match="cut or damaged"):
        read_log(path)


def test_a_million_listens_of_one_listener_are_read(tmp_path):
    frame = pd.DataFrame({"user_id": "u", "track_id": "t", "timestamp": pd.date_range(D, periods=10**6, freq="s")})
    frame.to_parquet(tmp_path / "log.parquet")
    assert sum(len(batch) for batch in batches(tmp_path / "log.parquet")) == 10**6


def test_decimal_ids_are_refused(tmp_path):
    pd.DataFrame({"user_id": [1.5], "track_id": ["t"], "timestamp": [D]}).to_parquet(tmp_path / "log.parquet")
    with pytest.raises(LogError, match=r"user_id as text or whole numbers in log.parquet, found decimals"):
        read_log(tmp_path / "log.parquet")
