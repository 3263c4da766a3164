"""The published files are read exactly as published; what is missing is said, with how to get it."""

import bz2
import csv

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from lib.data.sources import music4all_onion as onion
from lib.study.tables import check

IDS = ["0009fFIM1eYThaPg", "01234567NaNabcde"]


@pytest.fixture(params=["\t", ","], ids=["tabs, as published", "a copy with commas"])
def folder(request, tmp_path):
    tables = {
        "id_information.csv": ["id artist song album_name", ["Cheryl", 'Rain on "Me', "3 Words"], ["NA", "x", "y"]],
        "id_metadata.csv": [
            "id spotify_id popularity release danceability energy key mode valence tempo duration_ms",
            ["s1", 31, 2009, 0.6, 0.7, 11, 1, 0.3, 120.5, 241000],
            ["s2", 0, 1994, 0.1, 0.2, -1, 0, 0.4, 90, 0],
        ],
        "id_genres.csv": ["id genres", ["pop,r&b"], ["rock"]],
        "id_tags.csv": ["id tags", ["pop,female vocalists"], [""]],
        "id_lang.csv": ["id lang", ["en"], ["pt"]],
    }
    for name, (header, *rows) in tables.items():
        frame = pd.DataFrame([[key, *row] for key, row in zip(IDS, rows, strict=True)], columns=header.split())
        loose = request.param == "\t"
        quotes = {"quoting": csv.QUOTE_NONE, "quotechar": "\x01"} if loose else {"quoting": csv.QUOTE_ALL}
        frame.to_csv(tmp_path / name, sep=request.param, index=False, **quotes)
    (tmp_path / "audios").mkdir()
    (tmp_path / "audios" / f"{IDS[0]}.mp3").write_bytes(b"x")
    return tmp_path


def test_the_base_set_becomes_tracks(folder):
    tracks = check(onion.tracks(folder), "tracks")
    first, second = tracks.to_dict("records")
    assert (first["track_id"], first["artist"], first["title"]) == (IDS[0], "Cheryl", 'Rain on "Me')
    assert (first["key"], first["mode"], first["tempo"]) == ("B", "major", 120.5)
    assert first["path"].endswith(f"audios/{IDS[0]}.mp3")
    assert first["duration"] == 30
    assert first["full_duration"] == 241
    assert first["collection"] == "pop"
    assert first["tags"] == "pop,female vocalists"
    assert second["artist"] == "NA"  # a name, not a missing value
    assert second["key"] == second["path"] == ""
    assert second["mode"] == "minor"
    assert np.isnan(second["duration"])
    assert np.isnan(second["full_duration"])


def test_a_folder_with_the_log_alone_has_no_list_of_tracks(tmp_path):
    assert onion.tracks(tmp_path) is None


def test_the_log_is_read_newest_first_and_compressed(tmp_path):
    rows = "user_id\ttrack_id\ttimestamp\n20\tb\t2019-02-05 12:17:41\n20\ta\t2019-02-01 00:00:00\n"
    (tmp_path / "userid_trackid_timestamp.tsv.bz2").write_bytes(bz2.compress(rows.encode()))
    found = pa.concat_tables(onion.events(tmp_path, "")).to_pandas()
    assert found["user_id"].tolist() == ["20", "20"]
    assert found["timestamp"].dt.day.tolist() == [5, 1]


def test_music4alls_own_history_reads_as_it_is(tmp_path):
    (tmp_path / "listening_history.csv").write_text("user\tsong\ttimestamp\nuser_007\tab\t2019-02-20 13:28\n")
    found = pa.concat_tables(onion.events(tmp_path, "listening_history.csv")).to_pandas()
    assert found.iloc[0].tolist() == ["user_007", "ab", pd.Timestamp("2019-02-20 13:28", tz="UTC")]


def test_a_missing_log_says_where_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"userid_trackid_timestamp.tsv.bz2 .*Zenodo records 6609677"):
        onion.events(tmp_path, "")


def test_validate_says_all_that_is_missing_and_what_is_a_part(folder):
    said = onion.validate(folder)
    assert "Expected the log userid_trackid_timestamp.tsv.bz2" in said[0]
    assert sum("109,269 rows" in sentence and "found 2" in sentence for sentence in said) == 5
    assert "109,269 clips in audios/, found 1" in said[-1]
    assert all("agreement" in sentence for sentence in onion.validate(folder / "audios")[1:])


def test_validate_names_a_file_that_is_not_as_published(folder):
    (folder / "id_lang.csv").write_text("id\tlanguage\nx\ten\n")
    assert any("Expected the column 'lang' in id_lang.csv" in sentence for sentence in onion.validate(folder))
    (folder / "id_lang.csv").write_text("id\tlang\nx\ten\nx\tpt\n")
    with pytest.raises(onion.Music4AllError, match=r"each id once in id_lang.csv, found 'x'"):
        onion.tracks(folder)


@pytest.mark.parametrize("text", [b"id\tlang\nx\t\xff\n", b'id,lang\nx,"en\n'], ids=["not UTF-8", "an open quote"])
def test_a_damaged_table_is_a_sentence(folder, text):
    (folder / "id_lang.csv").write_bytes(text)
    assert any(
        "in UTF-8 with a value for each column in id_lang.csv" in sentence for sentence in onion.validate(folder)
    )
    with pytest.raises(onion.Music4AllError, match=r"Expected a table in UTF-8 .* id_lang\.csv"):
        onion.tracks(folder)


def test_validate_compares_the_sum_of_a_log_of_full_size(tmp_path, monkeypatch):
    monkeypatch.setattr(onion, "LOG_BYTES", 10)
    (tmp_path / "userid_trackid_timestamp.tsv.bz2").write_bytes(b"not the published bytes")
    assert "Expected userid_trackid_timestamp.tsv.bz2 with md5 dfe82201" in onion.validate(tmp_path)[0]


def test_the_public_sample_is_seen_as_a_part(shared_data):
    said = onion.validate(shared_data / "music4all-onion-sample")
    assert said[0].startswith("userid_trackid_timestamp.tsv is not the published .bz2")
    assert len(said) == 7
