import itertools
import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lib.backends.vectors import Vectors
from lib.evaluation.metrics import tasks
from lib.evaluation.tuning import Search, TuningError, close_calls, keep, noise, search, searches, tune, write
from lib.figures.recommenders import tuning_panels
from lib.study import Study, load_parameters
from lib.study.tuned import read_tuned as read


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
    wanted = Search("x", "itemknn", {"shrinkage": 1.0}, {"neighbours": [1, 20]})
    table, winner, scores = tune(wanted, train, [], parts["val"], 0)
    assert winner == {"neighbours": 20}
    assert table["validation"].is_monotonic_increasing
    assert sorted(scores.index) == sorted(parts["val"].users)
    assert scores.mean().tolist() == pytest.approx(table["validation"].tolist())
    with pytest.raises(TuningError, match="found hot_test; options are never chosen on test users"):
        tune(wanted, train, [], parts["hot_test"], 0)


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
    tune(Search("x", "mostpop", {}, {"a": [1, 2, 3]}), split[0], [], split[1]["val"], 5)
    assert drawn == [np.random.default_rng(5).integers(1000)] * 3


def test_what_has_a_device_gets_it_unless_the_table_names_one(split, monkeypatch):
    from lib.recommenders.mostpop import MostPop

    made = []
    monkeypatch.setattr("lib.recommenders.create", lambda kind, **options: made.append((kind, options)) or MostPop())
    for kind, fixed in (("bpr", {}), ("bpr", {"device": "cpu"}), ("itemknn", {})):
        tune(Search("x", kind, fixed, {"a": [1]}), split[0], [], split[1]["val"], 0, device="cuda:1")
    tried = [entry for entry in made if "a" in entry[1]]
    assert tried == [
        ("bpr", {"device": "cuda:1", "a": 1}),
        ("bpr", {"device": "cpu", "a": 1}),
        ("itemknn", {"a": 1}),
    ]


def test_misspelt_and_doubled_options_are_refused_before_anything_is_tried(split):
    train, parts = split
    with pytest.raises(TuningError, match="neighbors"):
        tune(Search("x", "itemknn", {}, {"neighbors": [1]}), train, [], parts["val"], 0)
    with pytest.raises(TuningError, match="found neighbours in both"):
        tune(Search("x", "itemknn", {"neighbours": 3}, {"neighbours": [1]}), train, [], parts["val"], 0)


def test_what_was_found_is_kept_and_the_same_search_writes_the_same_bytes(tmp_path):
    path = tmp_path / "tuned" / "study.json"
    grid, fixed = {"lr": [0.1, 0.01], "width": [8]}, {"device": "cpu"}

    def keep(name="bpr", best=0.1):
        table, winner = search(dict, grid, nothing, lambda model: float(model["lr"] == best))
        write(path, Search(name, "bpr", fixed, grid), table, winner, 42)

    keep()
    first = path.read_bytes()
    keep("other", 0.01)
    assert read(path, "bpr", "bpr", fixed) == {"lr": 0.1, "width": 8}  # what was fixed stands in params
    assert read(path, "other", "bpr", fixed)["lr"] == 0.01
    keep("other", 0.1)  # again: in place of the last
    assert read(path, "other", "bpr", fixed)["lr"] == 0.1
    path.unlink()
    keep()
    assert path.read_bytes() == first
    entry = json.loads(first)["bpr"]
    assert entry["grid"] == grid
    assert entry["validation"] == [1.0, 0.0]
    assert entry["seed"] == 42


def test_scores_in_the_file_follow_the_grid_in_the_file(tmp_path):
    path = tmp_path / "s.json"
    grid = {"lr": [3, 1], "layers": [1, 2, 3]}  # names not in order of the alphabet
    table, winner = search(dict, grid, nothing, lambda model: 10 * model["lr"] + model["layers"])
    for name in "yx":
        write(path, Search(name, "lightgcn", {}, grid), table, winner, 0)
    found = json.loads(path.read_text())
    assert list(found) == ["x", "y"]
    combinations = itertools.product(*found["x"]["grid"].values())
    told = dict(zip(combinations, found["x"]["validation"], strict=True))
    assert max(told, key=told.get) == tuple(found["x"]["winner"].values()) == (3, 3)


def test_a_refused_combination_is_null_in_the_file(tmp_path):
    table = pd.DataFrame({"a": [1, 2], "validation": [np.nan, 0.5], "seconds": [0, 0], "refused": ["no", ""]})
    write(tmp_path / "s.json", Search("x", "knn", {}, {"a": [1, 2]}), table, {"a": 2}, 0)
    assert json.loads((tmp_path / "s.json").read_text())["x"]["validation"] == [None, 0.5]


def test_untuned_is_empty_and_stale_or_damaged_is_said(tmp_path):
    path = tmp_path / "s.json"
    assert read(path, "bpr", "bpr", {}) == {}
    write(path, Search("bpr", "bpr", {}, {"a": [1]}), pd.DataFrame({"validation": [0.5]}), {"a": 1}, 0)
    assert read(path, "lightgcn", "lightgcn", {}) == {}
    with pytest.raises(TuningError, match="to be of kind ease, found bpr; run make extended again"):
        read(path, "bpr", "ease", {})
    path.write_text("{")
    with pytest.raises(TuningError, match=r"Expected JSON in s\.json"):
        read(path, "bpr", "bpr", {})


@pytest.mark.parametrize("now", [{}, {"layers": 2}, {"layers": 1, "width": 8}, {"width": 1}])
def test_a_winner_does_not_outlive_the_table_it_was_found_under(tmp_path, now):
    path = tmp_path / "s.json"
    table = pd.DataFrame({"validation": [0.5]})
    write(path, Search("net", "bert4rec", {"layers": 1}, {"scaling": ["none"]}), table, {"scaling": "none"}, 0)
    assert read(path, "net", "bert4rec", {"layers": 1}) == {"scaling": "none"}
    assert read(path, "net", "bert4rec", now) == {}


def test_what_the_table_decides_is_not_searched_and_said():
    table = {"ease": {"kind": "ease"}, "narrow": {"kind": "bpr", "width": 8}, "knn": {"scaling": "none"}}
    grids = {"ease": {"l2": [1, 2]}, "narrow": {"lr": [0.1], "width": [4]}, "knn": {"scaling": ["centre"]}, "no": {}}
    found, left_out = searches(table, grids, audio=True)
    assert found == [
        Search("ease", "ease", {}, {"l2": [1, 2]}),
        Search("narrow", "bpr", {"width": 8}, {"lr": [0.1]}),
    ]
    assert left_out == [
        "narrow: recommender_table decides width.",
        "knn: recommender_table decides scaling.",
        "no is not in recommender_table.",
    ]


def test_what_listens_is_left_out_without_vectors():
    found, left_out = searches(
        {"knn": {}, "itemknn": {}}, {"knn": {"scaling": ["none"]}, "itemknn": {"neighbours": [1]}}, False
    )
    assert [wanted.name for wanted in found] == ["itemknn"]
    assert left_out == ["knn: there are no vectors."]


def test_what_listens_is_judged_by_its_mean_over_backends(split):
    train, parts = split
    rng = np.random.default_rng(1)
    spaces = [Vectors.of(np.unique(train["track_id"]), rng.normal(size=(30, 4)).astype(np.float32)) for _ in "ab"]
    wanted = Search("knn", "knn", {}, {"scaling": ["none", "standardise"]})
    each = [tune(wanted, train, [space], parts["val"], 0)[0]["validation"].to_numpy() for space in spaces]
    assert np.abs(each[0] - each[1]).max() > 0.01
    table, _, scores = tune(wanted, train, spaces, parts["val"], 0)
    assert table["validation"].to_numpy() == pytest.approx((each[0] + each[1]) / 2)
    assert scores.mean().to_numpy() == pytest.approx(table["validation"].to_numpy())


def judged_by(columns, n_resamples=400):
    scores = pd.DataFrame(columns)
    table = pd.DataFrame({"a": range(3), "validation": scores.mean().reindex(range(3)), "refused": ""})
    return noise(table, scores, np.random.default_rng(0), n_resamples=n_resamples)


def test_noise_tells_a_clear_winner_from_a_close_one_and_passes_over_what_was_refused():
    rng = np.random.default_rng(3)
    base = rng.normal(size=100)
    clear = judged_by({0: base, 2: base + 1 + rng.normal(0, 0.1, 100)})
    assert clear["wins"].tolist()[::2] == [0, 1]
    assert np.isnan(clear.loc[1, ["behind", "ci_low", "wins"]].astype(float)).all()
    assert clear.loc[0, "ci_low"] > 0.9
    assert clear.loc[2, ["behind", "ci_low", "ci_high"]].tolist() == [0, 0, 0]
    close = judged_by({0: base + rng.normal(0, 1, 100), 2: base + rng.normal(0, 1, 100)})
    worse = close["behind"].idxmax()
    assert close.loc[worse, "ci_low"] < 0 < close.loc[worse, "ci_high"]
    assert 0.02 < close.loc[worse, "wins"] < 0.5


def test_the_share_of_wins_is_that_of_a_normal_mean():
    difference = np.random.default_rng(5).normal(size=400)
    difference += 0.05 - difference.mean()  # one standard error, sd / sqrt(n)
    expected = stats.norm.cdf(difference.mean() / (difference.std() / 20))
    found = judged_by({0: np.zeros(400), 2: difference}, 4000)
    assert found["wins"][2] == pytest.approx(expected, abs=0.025)


def test_runner_up_and_picture_name_what_they_are():
    scores = pd.DataFrame(np.random.default_rng(0).normal([0, 2, 1, 0], size=(50, 4)))
    grid = {"lr": [0.1, 0.01], "layers": [1, 2]}
    table = pd.DataFrame(list(itertools.product(*grid.values())), columns=list(grid))
    found = noise(table.assign(validation=scores.mean(), refused=""), scores, np.random.default_rng(0), n_resamples=200)
    told = close_calls({"bpr": found}, {"bpr": grid}).loc["bpr"]
    assert (told["winner"], told["runner_up"], told["trials"]) == ("lr 0.1, layers 2", "lr 0.01, layers 1", 4)
    axes = tuning_panels({"bpr": found}, {"bpr": grid}, 6.3).axes[0]
    (star,) = [line for line in axes.lines if line.get_marker() == "*"]
    assert star.get_ydata()[0] == found["validation"].max()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["layers 1", "layers 2"]


def test_a_winner_at_the_edge_of_a_long_grid_is_told():
    scores = pd.DataFrame(np.random.default_rng(0).normal(range(6), size=(50, 6)))
    grid = {"lr": [0.1, 0.01], "l2": [1, 2, 3]}
    table = pd.DataFrame(list(itertools.product(*grid.values())), columns=list(grid)).assign(refused="")
    for best, told in ((5, "l2"), (4, "–")):
        scores[5] = scores[5] if best == 5 else -9.0
        found = noise(table.assign(validation=scores.mean()), scores, np.random.default_rng(0), n_resamples=100)
        assert close_calls({"x": found}, {"x": grid}).loc["x", "edge"] == told


def test_words_have_no_edge():
    kinds = ["none", "centre", "standardise", "whiten"]
    scores = pd.DataFrame(np.random.default_rng(0).normal(range(4), size=(50, 4)))
    table = pd.DataFrame({"scaling": kinds, "validation": scores.mean(), "refused": ""})
    found = noise(table, scores, np.random.default_rng(0), n_resamples=100)
    told = close_calls({"hybrid": found}, {"hybrid": {"scaling": kinds}}).loc["hybrid"]
    assert told[["winner", "edge"]].tolist() == ["scaling whiten", "–"]  # the last word, in the alphabet as in the grid


def test_one_trial_has_no_runner_up():
    scores = pd.DataFrame({0: [0.5, 0.7]})
    table = noise(pd.DataFrame({"l2": [3], "validation": [0.6]}), scores, np.random.default_rng(0), n_resamples=100)
    assert close_calls({"ease": table}, {"ease": {"l2": [3]}}).loc["ease", ["trials", "behind"]].tolist() == [1, "–"]


def test_a_search_is_kept_by_a_step_of_its_own(tmp_path, monkeypatch):
    parameters = load_parameters("toy")
    monkeypatch.setattr("lib.study.study.ROOT", tmp_path)
    study = Study(parameters)
    with pytest.raises(TuningError, match="Expected a search of study toy, found none; run 63_tuning first"):
        keep(study)
    table = pd.DataFrame({"validation": [0.5]})
    write(study.path("tuned.json"), Search("itemknn", "itemknn", {}, {"neighbours": [7]}), table, {"neighbours": 7}, 0)
    assert study.named("itemknn") == {"itemknn": {}}  # not before
    assert keep(study) == tmp_path / "params" / "tuned" / "toy.json"
    assert study.named("itemknn") == {"itemknn": {"neighbours": 7}}


def test_what_was_found_with_other_parameters_is_not_kept(tmp_path, monkeypatch, capsys):
    from workflow import finish

    parameters = load_parameters("toy")
    monkeypatch.setattr("lib.study.study.ROOT", tmp_path)
    monkeypatch.setattr("workflow.workbook.load_parameters", lambda name, overrides: parameters)
    study = Study(parameters)
    table = pd.DataFrame({"validation": [0.5]})
    write(study.path("tuned.json"), Search("ease", "ease", {}, {"l2": [3.0]}), table, {"l2": 3.0}, 0)
    monkeypatch.setattr("sys.argv", ["finish.py", "tuned", "toy", "--set", "n_users=300"])
    assert finish.main() == 0
    assert "n_users=300 are not kept" in capsys.readouterr().out
    assert not study.tuned.exists()
    monkeypatch.setattr("sys.argv", ["finish.py", "tuned", "toy"])
    assert finish.main() == 0
    assert read(study.tuned, "ease", "ease", {}) == {"l2": 3.0}


def test_a_notebook_of_named_recommenders_depends_on_what_was_tuned(tmp_path, monkeypatch):
    """Canary: baselines of demo would not be made again after another search."""
    from workflow import dag, digests

    file = tmp_path / "tuned.json"
    monkeypatch.setattr(Study, "tuned", file)
    parameters = load_parameters("toy")
    names = ("60_baselines", "21_inspect_embeddings")

    def found():
        return [digests.digest(Study(parameters), dag.Job(dag.ROW[name])) for name in names]

    before = found()
    file.write_text('{"bpr": {"kind": "bpr", "winner": {"lr": 0.1}}}')
    first = found()
    file.write_text('{"bpr": {"kind": "bpr", "winner": {"lr": 0.2}}}')
    second = found()
    assert len({before[0], first[0], second[0]}) == 3
    assert before[1] == first[1] == second[1]
