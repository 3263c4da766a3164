"""Yambda and Last.fm-1K are read as published."""

import pandas as pd
import pyarrow as pa
import pytest

from lib.data.sources import lastfm_1k, yambda


def test_lastfm_tracks_without_an_id_are_known_by_artist_and_title(tmp_path):
    rows = [
        ("user_000001", "2009-05-04T23:08:57Z", "f1b1cf71", "Deep Dish", "", 'Fuck "Me'),
        ("user_000001", "2009-05-04T13:54:10Z", "a7f7df4a", "坂本龍一", "f7c1f8f8", "Composition 0919"),
    ]
    text = "".join("\t".join(row) + "\n" for row in rows)
    (tmp_path / lastfm_1k.LOG).write_text(text)
    found = pa.concat_tables(lastfm_1k.events(tmp_path, "")).to_pandas()
    assert found["track_id"].tolist() == ['Deep Dish - Fuck "Me', "f7c1f8f8"]
    assert found["timestamp"].iloc[0] == pd.Timestamp("2009-05-04 23:08:57", tz="UTC")
    assert found.columns.tolist() == ["user_id", "track_id", "timestamp"]


def test_yambda_listens_get_dates_and_outcomes(tmp_path):
    listens = pd.DataFrame(
        {
            "uid": [100, 100, 100, 7],
            "timestamp": pd.array([0, 5, 86400, 10], dtype="uint32"),
            "item_id": [8326270, 1, 2, 3],
            "is_organic": [1, 0, 1, 1],
            "played_ratio_pct": pd.array([100, 49, 50, 45], dtype="uint16"),
            "track_length_seconds": pd.array([170, 200, 200, 600], dtype="uint32"),
        }
    )
    listens.to_parquet(tmp_path / "listens.parquet")
    found = pa.concat_tables(yambda.events(tmp_path, "")).to_pandas()
    assert found["event"].tolist() == ["complete", "skip", "play", "play"]  # 45 % of 600 s is more than 240 s
    assert found["played_seconds"].tolist() == [170, 98, 100, 270]
    assert found["user_id"].tolist() == ["100", "100", "100", "7"]
    assert (found["timestamp"] - found["timestamp"].iloc[0]).dt.total_seconds().tolist() == [0, 5, 86400, 10]


@pytest.mark.parametrize("source", [lastfm_1k, yambda])
def test_what_is_missing_is_said_with_where_to_get_it(source, tmp_path):
    (said,) = source.validate(tmp_path)
    assert "get it from http" in said
    with pytest.raises(FileNotFoundError, match="get it from http"):
        source.events(tmp_path, "")
    assert source.tracks() is None
