"""Tables are whole or not there, and what is wrong with one is said with its rows."""

import pandas as pd
import pytest

from lib.study.tables import (
    UTC_MICROSECONDS,
    TableError,
    check,
    read_parquet,
    sweep,
    upsert,
    write_atomically,
    write_parquet,
)


@pytest.fixture
def pairs():
    times = pd.to_datetime(["2019-01-01", "2019-01-02"], utc=True).astype(UTC_MICROSECONDS)
    return pd.DataFrame({"user_id": ["u", "u"], "track_id": ["a", "b"], "timestamp": times, "count": [1, 2]})


@pytest.fixture
def tracks():
    return pd.DataFrame({"track_id": ["a", "b"], "path": "x", "duration": [1.0, 2.0], "artist": "q", "title": "r"})


def test_good_tables_pass(pairs, tracks):
    assert check(pairs, "pairs") is pairs
    assert check(tracks, "tracks") is tracks


def test_duplicate_track_ids_name_the_rows(tracks):
    with pytest.raises(TableError, match=r"track_id is a unique id, found 'a' in 2 row\(s\): row 0 .*row 1"):
        check(tracks.assign(track_id="a"), "tracks")


def test_an_offending_row_is_numbered_from_the_top(tracks):
    with pytest.raises(TableError, match=r"duration is above 0, found -2.0 in 1 row\(s\): row 1 \(track_id=b"):
        check(tracks.assign(duration=[1.0, -2.0]).set_index(pd.Index([7, 8])), "tracks")


def test_a_repeated_pair_is_refused(pairs):
    with pytest.raises(TableError, match=r"one row a \(user_id, track_id\), found others in 2 row"):
        check(pairs.assign(track_id="a"), "pairs")


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        ("timestamp", "soon", "timestamp is .*datetime64.*UTC"),
        ("count", 0, "count is 1 or more, found 0"),
        ("user_id", "", "user_id is a non-empty string"),
    ],
)
def test_a_wrong_value_is_a_sentence(pairs, column, value, sentence):
    with pytest.raises(TableError, match=sentence):
        check(pairs.assign(**{column: value}), "pairs")


def test_a_missing_column_is_named(pairs):
    with pytest.raises(TableError, match=r"column 'count', found the columns user_id, track_id, timestamp"):
        check(pairs.drop(columns="count"), "pairs")


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="on the way"), write_atomically(path) as beside:
        beside.write_text("half")
        raise RuntimeError("on the way")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_upsert_replaces_rows_of_the_same_key_and_keeps_others(tmp_path):
    path = tmp_path / "t.parquet"
    upsert(path, pd.DataFrame({"k": ["b", "a"], "v": [1, 2]}), ["k"])
    upsert(path, pd.DataFrame({"k": ["b", "c"], "v": [3, 4]}), ["k"])
    assert pd.read_parquet(path).to_dict("list") == {"k": ["a", "b", "c"], "v": [2, 3, 4]}


def test_a_missing_table_names_the_notebook_to_run(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"data/train.parquet of study 'toy'.*run notebook 10_prepare_data first"
    ):
        read_parquet(tmp_path / "toy" / "data" / "train.parquet")


def test_equal_tables_are_equal_bytes(tmp_path, pairs):
    write_parquet(pairs, tmp_path / "a.parquet")
    write_parquet(pairs, tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_sweeping_takes_what_the_dead_left_and_spares_the_living(tmp_path):
    dead = tmp_path / "deep" / ".t.4194305.part.parquet"  # above the largest process id there can be
    dead.parent.mkdir()
    dead.write_text("half")
    with write_atomically(tmp_path / "live.txt") as beside:
        beside.write_text("whole")
        assert sweep(tmp_path) == 1
        assert beside.exists()
    assert not dead.exists()
    assert (tmp_path / "live.txt").read_text() == "whole"
