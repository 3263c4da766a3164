"""The streamed route gives what the frames give, leaves nothing half done, and counts what it leaves out."""

import tempfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from lib.__main__ import main
from lib.data import splits, stream
from lib.study.tables import check

D = "2019-02-01"


def random_log(rng, n=4000, users=60, tracks=80):
    days = pd.Timestamp("2018-01-10") + pd.to_timedelta(rng.integers(0, 430 * 24 * 60, n), unit="min")
    return pd.DataFrame(
        {
            "user_id": rng.integers(1, users + 1, n).astype(str),
            "track_id": [f"t{number}" for number in (tracks * rng.random(n) ** 2).astype(int)],
            "timestamp": days.tz_localize("UTC").astype("datetime64[us, UTC]"),
            "event": rng.choice(["play", "skip", "complete"], n),
            "played_seconds": rng.uniform(0, 300, n).round(1),
        }
    )


def in_batches(frame, size=700):
    for start in range(0, len(frame), size):
        yield pa.Table.from_pandas(frame.iloc[start : start + size], preserve_index=False)


@pytest.mark.parametrize("preset", ["tamm2026", "tamm2024"])
@pytest.mark.parametrize("val_users", ["all", "published"])
@pytest.mark.parametrize("positives", ["all", "completed"])
def test_a_streamed_log_becomes_what_a_frame_becomes(tmp_path, rng, preset, val_users, positives):
    log = random_log(rng)
    options = {"test_date": D, "preset": preset, "val_users": val_users, "positives": positives}
    done = stream.prepare(in_batches(log), tmp_path / "new", **options)
    for mine, clear in zip(done.parts, splits.split(log, **options), strict=True):
        pd.testing.assert_frame_equal(mine, clear)
        check(mine, "pairs")
    assert stream.leakage(done.parts, tmp_path / "new" / "events.parquet", D, preset=preset, positives=positives)[
        "ok"
    ].all()


def test_ids_may_be_dictionary_encoded(tmp_path, rng):
    log = random_log(rng)
    coded = log.astype({"user_id": "category", "track_id": "category", "event": "category"})
    (first, *_) = batches = list(in_batches(coded))
    assert pa.types.is_dictionary(first.schema.field("track_id").type)  # else this test proves nothing
    done = stream.prepare(iter(batches), tmp_path / "new", test_date=D)
    for mine, clear in zip(done.parts, splits.split(log, test_date=D), strict=True):
        pd.testing.assert_frame_equal(mine, clear)


def test_events_are_the_rows_of_the_window_in_their_order(tmp_path, rng):
    log = random_log(rng)
    stream.prepare(in_batches(log), tmp_path / "new", test_date=D)
    start, end = splits.window(D)
    events = pd.read_parquet(tmp_path / "new" / "events.parquet")
    inside = log[(log["timestamp"] >= start) & (log["timestamp"] < end)].reset_index(drop=True)
    pd.testing.assert_frame_equal(check(events, "events"), inside)
    pairs = check(pd.read_parquet(tmp_path / "new" / "interactions.parquet"), "pairs")
    pd.testing.assert_frame_equal(pairs, splits.interactions(inside))


def test_the_date_of_a_preset_is_its_own(tmp_path, rng):
    log = random_log(rng)
    log["timestamp"] += pd.Timedelta(days=384)
    done = stream.prepare(in_batches(log), tmp_path / "new", preset="tamm2024")
    assert (
        done.parts.train["timestamp"].max() < pd.Timestamp("2020-02-20", tz="UTC") <= done.parts.val["timestamp"].min()
    )


def test_a_leak_is_seen(tmp_path, rng):
    done = stream.prepare(in_batches(random_log(rng)), tmp_path / "new", test_date=D)
    more = done.parts.train.assign(count=done.parts.train["count"] + 1)
    audit = stream.leakage(done.parts._replace(train=more), tmp_path / "new" / "events.parquet", D)
    assert audit.loc[~audit["ok"], "check"].tolist() == ["train counts hold plays before the test date only"]


def test_rows_of_unknown_tracks_are_left_out_and_counted(tmp_path, rng):
    log = random_log(rng)
    known = [f"t{number}" for number in range(75)]
    done = stream.prepare(in_batches(log), tmp_path / "new", test_date=D, known_tracks=known)
    start, end = splits.window(D)
    stray = log[(log["timestamp"] >= start) & (log["timestamp"] < end) & ~log["track_id"].isin(known)]
    assert done.report["rows of unknown tracks, left out"] == len(stray) > 0
    assert done.report["unknown tracks"] == "5 (t75, t76, t77, …)"
    assert set(pd.concat(done.parts)["track_id"]) <= set(known)
    with pytest.raises(splits.SplitError, match=r"found none .*check track_id in log_columns"):
        stream.prepare(in_batches(log), tmp_path / "new", test_date=D, known_tracks=["x"])


def test_a_row_may_stand_for_several_listens(tmp_path):
    log = pd.DataFrame(
        {"user_id": "u", "track_id": ["a", "b"], "timestamp": pd.to_datetime(["2019-01-05"] * 2, utc=True)}
    )
    done = stream.prepare(in_batches(log.assign(count=[3, 1])), tmp_path / "new", test_date=D)
    assert done.parts.train["count"].tolist() == [3, 1]
    pd.testing.assert_frame_equal(
        done.parts.train, splits.split(log.assign(count=[3, 1]), test_date=D).train
    )  # frames count too
    events = pd.read_parquet(tmp_path / "new" / "events.parquet")
    assert events["track_id"].tolist() == ["a", "a", "a", "b"]
    assert events["event"].unique().tolist() == ["play"]
    assert events["played_seconds"].isna().all()


def test_listens_of_a_row_follow_each_other_whatever_fits_in_memory(tmp_path, rng, monkeypatch):
    monkeypatch.setattr(stream, "ROWS", 130)  # less than some rows stand for, and no divisor of the whole
    log = random_log(rng, n=300).assign(count=rng.choice([1, 2, 7, 301], 300))
    start = pd.Timestamp("2018-06-01", tz="UTC")
    found = pd.read_parquet(stream.keep(in_batches(log, 70), tmp_path, start))
    inside = log[log["timestamp"] >= start]
    clear = inside.loc[inside.index.repeat(inside["count"])].drop(columns="count").reset_index(drop=True)
    pd.testing.assert_frame_equal(found, clear)
    assert [path.name for path in tmp_path.iterdir()] == ["events.parquet"]


def test_a_million_listens_of_one_listener_are_one_pair(tmp_path):
    log = pd.DataFrame(
        {"user_id": "u", "track_id": "t", "timestamp": pd.date_range("2018-06-01", periods=10**6, freq="s")}
    )
    log["timestamp"] = log["timestamp"].dt.tz_localize("UTC")
    done = stream.prepare(in_batches(log, 2**17), tmp_path / "new", test_date=D)
    assert done.parts.train[["user_id", "track_id", "count"]].to_numpy().tolist() == [["u", "t", 10**6]]


def test_nothing_is_left_where_the_log_breaks_off(tmp_path, rng):
    def breaking():
        yield next(in_batches(random_log(rng)))
        raise ValueError("cut in the middle")

    with pytest.raises(ValueError, match="cut in the middle"):
        stream.prepare(breaking(), tmp_path / "new", test_date=D)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("breaks", [False, True])
def test_the_verb_keeps_its_scratch_beside_the_output_and_removes_it(tmp_path, rng, monkeypatch, breaks):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))  # a system's own folder is not needed
    log = random_log(rng)
    if breaks:
        log["timestamp"] = log["timestamp"].astype(str).where(log.index < len(log) - 1, "yesterday")
    log.to_csv(tmp_path / "log.csv", index=False)
    code = main(["split", str(tmp_path / "log.csv"), "--test-date", D, "--out", str(tmp_path / "parts")])
    assert code == int(breaks)
    assert {path.name for path in tmp_path.iterdir()} == ({"log.csv"} if breaks else {"log.csv", "parts"})


def test_more_rows_than_memory_spill_to_disk(tmp_path, rng, monkeypatch):
    monkeypatch.setattr(stream, "MEMORY_LIMIT", "60MB")
    n = 10**6
    users = rng.integers(0, 20_000, n).astype(str)
    days = pd.Timestamp("2018-03-01", tz="UTC") + pd.to_timedelta(rng.integers(0, 300, n), unit="D")
    tracks = np.char.add("a rather long identifier ", rng.integers(0, 50_000, n).astype(str))
    log = pd.DataFrame({"user_id": users, "track_id": tracks, "timestamp": days.astype("datetime64[us, UTC]")})
    done = stream.prepare(in_batches(log, 2**16), tmp_path / "new", test_date=D)
    assert done.parts.train["count"].sum() == n
    assert len(done.parts.train) == len(log.drop_duplicates(["user_id", "track_id"]))
