"""Vectors that others have made are read as published, checked by their ids, and given away again."""

import bz2

import numpy as np
import pandas as pd
import pytest

from lib.backends import imported
from lib.backends.imported import ReadyMadeError
from lib.backends.vectors import Vectors, VectorStore
from lib.study import Study, load_parameters

TEXT = "id\tf0\tf1\tf2\n" + "b\t1\t2.5\t-3e-2\n" + "a\t0\t0\t1\n"
EXPECTED = Vectors.of(["a", "b"], [[0, 0, 1], [1, 2.5, -0.03]])


def same(found, expected=EXPECTED):
    return found.ids.tolist() == expected.ids.tolist() and np.allclose(found.values, expected.values)


@pytest.mark.parametrize("name", ["id_musicnn.tsv.bz2", "id_musicnn.tsv", "id_musicnn.csv"])
def test_a_feature_file_is_a_backend(tmp_path, name):
    text = TEXT.replace("\t", ",") if name.endswith("csv") else TEXT
    (tmp_path / name).write_bytes(bz2.compress(text.encode()) if name.endswith("bz2") else text.encode())
    assert same(imported.read_features(imported.onion_file(tmp_path, "onion_musicnn")))


def test_a_missing_file_says_what_it_is_called(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"id_maest.tsv.bz2 .* Zenodo record 15394646"):
        imported.onion_file(tmp_path, "onion_maest")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id\ttags\na\t{'pop': 100}\n", r"numbers in every column of f.tsv but id, found others in tags"),
        ("id\tf0\na\t1\na\t2\n", r"each id once in f.tsv, found 'a' more than once"),
        ("id\tf0\tf1\na\t1\t\nb\t1\t2\n", r"for 1 of 2 ids, the first being 'a'"),
        ("track\tf0\na\t1\n", r"columns id and numbers in f.tsv, found track, f0"),
        ("id\tf0\n", r"a row for each track in f.tsv, found none"),
        ("id\tf0\n\t1\n", r"an id in every row of f.tsv"),
        ("id\tf0\na\t1\nb\tx\n", r"other content .*invalid value 'x'"),
        ("id\tf0\na\t1\nb\t1e60\n", r"none or infinity for 1 of 2 ids, the first being 'b'"),
        ("id\tf0\tf1\na\t1\n", r"cut, damaged .*Expected 3 columns, got 2"),
    ],
)
def test_files_that_hold_no_vectors_are_a_sentence(tmp_path, text, message):
    (tmp_path / "f.tsv").write_text(text)
    with pytest.raises(ReadyMadeError, match=message):
        imported.read_features(tmp_path / "f.tsv")


def test_a_file_cut_in_the_middle_is_a_sentence(tmp_path):
    rows = "".join(f"{n}\t{value}\n" for n, value in enumerate(np.random.default_rng(0).random(9000)))
    whole = bz2.compress(("id\tf0\n" + rows).encode())
    (tmp_path / "f.tsv.bz2").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ReadyMadeError, match="cut, damaged"):
        imported.read_features(tmp_path / "f.tsv.bz2")


def test_a_column_that_begins_with_whole_numbers_may_go_on_with_decimals(tmp_path, monkeypatch):
    monkeypatch.setattr(imported, "BLOCK_BYTES", 100)
    rows = [*((f"{n:03d}", 0, n) for n in reversed(range(300))), ("zzz", 0.25, 1)]
    (tmp_path / "f.tsv").write_text("id\tx\ty\n" + "".join("\t".join(map(str, row)) + "\n" for row in rows))
    found = imported.read_features(tmp_path / "f.tsv")
    assert found.take(["zzz", "017"]).tolist() == [[0.25, 1], [0, 17]]
    assert len(found) == 301


def test_rows_that_come_in_many_blocks_keep_their_ids(tmp_path, monkeypatch):
    monkeypatch.setattr(imported, "ROWS", 7)
    monkeypatch.setattr(imported, "SORTED_AT_ONCE", 2)
    rng = np.random.default_rng(3)
    ids, values = rng.permutation(100).astype(str), rng.normal(size=(100, 5)).astype(np.float32)
    pd.DataFrame({"item_id": ids, "embed": list(values)}).to_parquet(tmp_path / "e.parquet")
    assert imported.read_vectors(tmp_path / "e.parquet").take(ids).tolist() == values.tolist()


def test_quoted_names_of_a_copy_with_commas(tmp_path):
    (tmp_path / "id_x.csv").write_text('"id","a"\n"b",1\n')
    assert imported.read_features(tmp_path / "id_x.csv").ids.tolist() == ["b"]


@pytest.mark.parametrize("listed", ["b\na\n", ",trackid\n0,b\n1,a\n"], ids=["a line each", "trackid_sorted.csv"])
def test_arrays_take_their_ids_from_a_list(tmp_path, listed):
    np.save(tmp_path / "x.npy", EXPECTED.values[::-1].astype(np.float64))
    (tmp_path / "ids.csv").write_text(listed)
    assert same(imported.read_vectors(tmp_path / "x.npy", tmp_path / "ids.csv"))
    with pytest.raises(ReadyMadeError, match=r"list of ids beside x\.npy"):
        imported.read_vectors(tmp_path / "x.npy")
    (tmp_path / "ids.csv").write_text("a\n")
    with pytest.raises(ReadyMadeError, match=r"each of the 1 ids of ids.csv, found an array of shape \(2, 3\)"):
        imported.read_vectors(tmp_path / "x.npy", tmp_path / "ids.csv")


def test_pickles_are_never_loaded(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "ids.csv").write_text("a\n")
    with pytest.raises(ReadyMadeError, match=r"array of numbers in x.npy, found other content"):
        imported.read_vectors(tmp_path / "x.npy", tmp_path / "ids.csv")


def test_parquet_with_lists_or_columns(tmp_path):
    lists = pd.DataFrame({"item_id": ["b", "a"], "embed": [[9.0] * 3] * 2})
    lists.assign(normalized_embed=list(EXPECTED.values[::-1])).to_parquet(tmp_path / "yambda.parquet")
    assert same(imported.read_vectors(tmp_path / "yambda.parquet"))
    wide = pd.DataFrame(EXPECTED.values, columns=["x", "y", "z"]).assign(track_id=EXPECTED.ids)
    wide.to_parquet(tmp_path / "wide.parquet")
    assert same(imported.read_vectors(tmp_path / "wide.parquet"))
    pd.DataFrame({"name": ["a"]}).to_parquet(tmp_path / "none.parquet")
    with pytest.raises(ReadyMadeError, match=r"Expected ids .* found name"):
        imported.read_vectors(tmp_path / "none.parquet")


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([[1.0, 2.0], [3.0]], r"lists of one length in every row of x.parquet"),
        ([[1.0], None], r"lists of one length in every row of x.parquet"),
        ([["a"], ["b"]], r"Expected ids .* and a list of numbers a row"),
    ],
)
def test_lists_that_are_no_vectors_are_a_sentence(tmp_path, column, message):
    pd.DataFrame({"id": ["a", "b"], "vector": column}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(ReadyMadeError, match=message):
        imported.read_vectors(tmp_path / "x.parquet")


def test_an_index_that_pandas_wrote_is_no_dimension(tmp_path):
    frame = pd.DataFrame(EXPECTED.values, columns=["x", "y", "z"]).assign(track_id=EXPECTED.ids)
    frame.set_index(pd.Index([7, 3])).to_parquet(tmp_path / "wide.parquet")
    assert same(imported.read_vectors(tmp_path / "wide.parquet"))


def test_import_keeps_the_studys_tracks_and_names_those_without(tmp_path):
    (tmp_path / "id_musicnn.tsv").write_text(TEXT)
    overrides = {"runs_dir": str(tmp_path), "dataset": "music4all_onion", "dataset_folder": str(tmp_path)}
    study = Study(load_parameters("toy", overrides))
    store = VectorStore(study.path("vectors.lance"))
    tracks = pd.DataFrame({"track_id": ["b", "c"], "path": ""})
    missing = imported.fill(study, "onion_musicnn", store, tracks)
    assert missing["track_id"].tolist() == ["c"]
    assert same(store.read("onion_musicnn"), EXPECTED.select(["b"]))
    assert store.metadata("onion_musicnn")["checkpoint"] == "id_musicnn.tsv"
    with pytest.raises(ReadyMadeError, match=r"found none \(its first id is 'a'\)"):
        imported.fill(study, "onion_musicnn", store, tracks.assign(track_id=["x", "y"]))


@pytest.mark.parametrize("name", ["v.parquet", "v.npy"])
def test_what_is_exported_reads_back(tmp_path, name):
    imported.export_vectors(EXPECTED, tmp_path / name)
    ids = tmp_path / "v.ids.txt" if name.endswith("npy") else None
    assert same(imported.read_vectors(tmp_path / name, ids))
