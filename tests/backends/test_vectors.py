"""Vectors travel with their ids, in memory and in the database."""

import numpy as np
import pytest

from lib.backends.vectors import Vectors, VectorStore, track_by_backend


@pytest.fixture
def store(tmp_path):
    return VectorStore(tmp_path / "vectors.lance")


def test_rows_follow_their_ids():
    vectors = Vectors.of(["b", "a", "c"], [[2.0], [1.0], [3.0]])
    assert vectors.ids.tolist() == ["a", "b", "c"]
    assert vectors.take(["c", "a"]).ravel().tolist() == [3.0, 1.0]
    assert vectors.select(["c", "x", "a"]).values.ravel().tolist() == [1.0, 3.0]


def test_a_missing_track_is_named():
    with pytest.raises(KeyError, match=r"No vector for 1 of 2 tracks, the first being 'z'"):
        Vectors.of(["a"], [[1.0]]).take(["a", "z"])


@pytest.mark.parametrize(
    ("ids", "values", "sentence"),
    [
        (["a", "a"], [[1.0], [2.0]], "unique, ascending"),
        (["a", "b"], [[1.0], [np.nan]], r"NaN or infinity for 1 track\(s\): b"),
        (["a"], [[1.0], [2.0]], "one row of vectors for each of 1 ids"),
    ],
)
def test_what_is_wrong_is_said(ids, values, sentence):
    with pytest.raises(ValueError, match=sentence):
        Vectors(np.array(ids), np.array(values, dtype=np.float32))


def test_what_is_read_is_what_was_written_to_the_bit(store, rng):
    values = rng.standard_normal((50, 7)).astype(np.float32)
    ids = [f"t{n:02d}" for n in rng.permutation(50)]
    store.append("mfcc", ids, values, {"layer": "x"})
    vectors = VectorStore(store.path).read("mfcc")
    assert np.array_equal(vectors.take(ids), values)
    assert store.metadata("mfcc") == {"layer": "x"}


def test_metadata_survives_adding_and_ids_stay_unique(store):
    store.append("m", ["a", "b"], np.eye(2), {"rate": "16000"})
    store.append("m", ["b", "c"], np.eye(2) * 9, {"rate": "16000"})
    assert store.ids("m").tolist() == ["a", "b", "c"]
    assert store.read("m").take(["b"]).tolist() == [[0.0, 1.0]]
    assert store.metadata("m") == {"rate": "16000"}


def test_replacing_leaves_only_the_new_rows(store):
    store.append("m", ["a", "b"], np.eye(2), {})
    store.replace("m", Vectors.of(["c"], [[1.0, 2.0]]), {"layer": "y"})
    assert store.ids("m").tolist() == ["c"]
    assert store.metadata("m") == {"layer": "y"}


def test_a_missing_table_names_the_notebook_to_run(store):
    with pytest.raises(
        FileNotFoundError, match=r"backend 'vgg_msd'.*Run 20_extract_embeddings with -p backend vgg_msd"
    ):
        store.read("vgg_msd")
    assert store.ids("vgg_msd").tolist() == []


def test_more_tables_than_a_page_are_all_listed(store):
    for number in range(15):
        store.append(f"b{number:02d}", ["a"], np.eye(1), {})
    assert len(store.names()) == 15


def test_the_table_of_tracks_and_backends_shows_what_is_missing(store):
    store.append("m", ["a"], np.eye(1), {})
    assert track_by_backend(store, ["a", "b"])["m"].to_dict() == {"a": True, "b": False}


def test_a_table_that_another_process_is_making_or_was_killed_making_is_not_there_yet(store):
    """Canary: its folder and data come first, its version last; until then it could be listed but not opened."""
    store.append("mfcc", ["a"], np.ones((1, 2), np.float32), {"layer": "x"})
    begun = store.path / "crepe.lance" / "data"
    begun.mkdir(parents=True)
    (begun / "part.lance").write_bytes(b"half")
    assert store.names() == ["mfcc"]
    assert store.ids("crepe").tolist() == []
    with pytest.raises(FileNotFoundError, match="No vectors of backend 'crepe'"):
        store.read("crepe")
    store.append("crepe", ["b"], np.zeros((1, 3), np.float32), {"layer": "y"})
    assert store.names() == ["crepe", "mfcc"]
    assert store.read("crepe").dim == 3
