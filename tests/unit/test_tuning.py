import itertools
import json

import numpy as np
import pandas as pd
import pytest

from lib.evaluation import tasks
from lib.tuning import TuningError, read, search, tune, write


def nothing(model):
    """Fit nothing."""


def test_every_combination_is_tried_in_order_and_the_best_wins():
    fitted = []
    table, winner = search(
        dict, {"a": [1, 2], "b": ["x", "y", "z"]}, fitted.append, lambda model: model["a"] - (model["b"] == "z")
    )
    assert fitted == [{"a": a, "b": b} for a, b in itertools.product([1, 2], "xyz")]
    assert table["validation"].tolist() == [1, 1, 0, 2, 2, 1]
    assert list(table.columns) == ["a", "b", "validation", "seconds", "refused"]
    assert winner == {"a": 2, "b": "x"}  # of two that are equal the first


def test_equal_up_to_rounding_is_equal():
    assert search(dict, {"a": [1, 2]}, nothing, lambda model: 0.1 * 3 if model["a"] == 2 else 0.3)[1] == {"a": 1}


def test_a_combination_that_is_refused_is_passed_over_and_told():
    def make(a):
        if a == 2:
            raise ValueError("Expected a below 2, found 2; check params.")
        return a

    table, winner = search(make, {"a": [2, 1]}, nothing, float)
    assert winner == {"a": 1}
    assert table["refused"].tolist() == ["Expected a below 2, found 2; check params.", ""]
    assert np.isnan(table["validation"][0])
    with pytest.raises(TuningError, match=r"can be tried, found none; the first: Expected a below 2"):
        search(make, {"a": [2]}, nothing, float)


def test_other_errors_are_not_swallowed():
    with pytest.raises(TypeError):
        search(lambda: None, {"a": [1]}, nothing, float)
    with pytest.raises(TuningError, match="Expected a finite validation, found nan"):
        search(dict, {"a": [1]}, nothing, lambda model: float("nan"))


@pytest.mark.parametrize("grid", [{}, {"a": [], "b": [1]}])
def test_an_empty_grid_is_refused(grid):
    with pytest.raises(TuningError, match="Expected a grid with values"):
        search(dict, grid, nothing, float)


def test_progress_sees_the_combinations():
    seen = []
    search(dict, {"a": [1, 2]}, nothing, lambda model: 1.0, progress=lambda todo: seen.extend(todo) or todo)
    assert seen == [{"a": 1}, {"a": 2}]


@pytest.fixture
def split():
    rng = np.random.default_rng(0)
    pairs = pd.DataFrame(
        [(f"u{user}", f"t{track:02d}") for user in range(40) for track in 2 * rng.choice(15, 8, False) + user % 2],
        columns=["user_id", "track_id"],
    ).assign(timestamp=pd.Timestamp("2020-01-01", tz="UTC"), count=1)
    place = pairs.groupby("user_id").cumcount()
    test, val = pairs[place == 0], pairs[(place == 1) & pairs["user_id"].str.endswith(("1", "2", "3"))]
    train = pairs.drop(test.index.union(val.index))
    return train, tasks(train, val, val.iloc[:0], test, test.iloc[:0])


def test_tuning_never_sees_test_users(split):
    train, parts = split
    table, winner = tune("itemknn", {"shrinkage": 1.0}, {"neighbours": [1, 20]}, train, None, parts["val"], 0)
    assert winner == {"neighbours": 20}
    assert table["validation"].is_monotonic_increasing
    with pytest.raises(TuningError, match="found hot_test; options are never chosen on test users"):
        tune("itemknn", {}, {"neighbours": [1]}, train, None, parts["hot_test"], 0)


def test_every_combination_starts_from_the_same_seed(split, monkeypatch):
    from lib.recommenders.mostpop import MostPop

    class Drawn(MostPop):
        def __init__(self, a=1):
            super().__init__()

        def fit(self, train, vectors, rng, **how):
            drawn.append(rng.integers(1000))
            return super().fit(train, vectors, rng, **how)

    drawn = []
    monkeypatch.setattr("lib.recommenders.create", lambda kind, **options: Drawn(**options))
    tune("drawn", {}, {"a": [1, 2, 3]}, split[0], None, split[1]["val"], 5)
    assert drawn == [np.random.default_rng(5).integers(1000)] * 3


def test_misspelt_and_doubled_options_are_refused_before_anything_is_tried(split):
    train, parts = split
    with pytest.raises(TuningError, match="takes only neighbours, shrinkage; found neighbors"):
        tune("itemknn", {}, {"neighbors": [1]}, train, None, parts["val"], 0)
    with pytest.raises(TuningError, match="found neighbours in both"):
        tune("itemknn", {"neighbours": 3}, {"neighbours": [1]}, train, None, parts["val"], 0)


def test_what_was_found_is_kept_and_the_same_search_writes_the_same_bytes(tmp_path):
    path = tmp_path / "tuned" / "study.json"
    grid, fixed = {"lr": [0.1, 0.01], "width": [8]}, {"device": "cpu"}

    def keep(name="bpr", best=0.1):
        table, winner = search(dict, grid, nothing, lambda model: float(model["lr"] == best))
        write(path, name, "bpr", fixed, grid, table, winner, 42)

    keep()
    first = path.read_bytes()
    keep("other", 0.01)
    assert read(path, "bpr", "bpr") == {"device": "cpu", "lr": 0.1, "width": 8}
    assert read(path, "other", "bpr")["lr"] == 0.01
    keep("other", 0.1)  # again: in place of the last
    assert read(path, "other", "bpr")["lr"] == 0.1
    path.unlink()
    keep()
    assert path.read_bytes() == first
    entry = json.loads(first)["bpr"]
    assert entry["grid"] == grid
    assert entry["validation"] == [1.0, 0.0]
    assert entry["seed"] == 42


def test_a_refused_combination_is_null_in_the_file(tmp_path):
    table = pd.DataFrame({"a": [1, 2], "validation": [np.nan, 0.5], "seconds": [0, 0], "refused": ["no", ""]})
    write(tmp_path / "s.json", "x", "knn", {}, {"a": [1, 2]}, table, {"a": 2}, 0)
    assert json.loads((tmp_path / "s.json").read_text())["x"]["validation"] == [None, 0.5]


def test_untuned_is_empty_and_stale_or_damaged_is_said(tmp_path):
    path = tmp_path / "s.json"
    assert read(path, "bpr", "bpr") == {}
    write(path, "bpr", "bpr", {}, {"a": [1]}, pd.DataFrame({"validation": [0.5]}), {"a": 1}, 0)
    assert read(path, "lightgcn", "lightgcn") == {}
    with pytest.raises(TuningError, match="to be of kind ease, found bpr; run make extended again"):
        read(path, "bpr", "ease")
    path.write_text("{")
    with pytest.raises(TuningError, match=r"Expected JSON in s\.json"):
        read(path, "bpr", "bpr")
