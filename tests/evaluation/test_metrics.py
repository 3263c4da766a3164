import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lib.evaluation.metrics import (
    Task,
    chance,
    cutoff,
    evaluate_files,
    per_user,
    recommend_and_score,
    summarise,
    tasks,
    validator,
)
from lib.recommenders import create


def pairs(rows):
    return pd.DataFrame(rows, columns=["user_id", "track_id"])


@pytest.fixture
def parts():
    hot, cold = [f"h{i:02d}" for i in range(20)], [f"c{i}" for i in range(8)]
    train = pairs([(u, t) for n, u in enumerate("uvw") for t in hot[n : n + 15]] + [("x", t) for t in hot])
    val, hot_test = pairs([("u", "h17"), ("u", "h18")]), pairs([("v", "h00"), ("w", "h00"), ("w", "h01")])
    return train, val, pairs([("u", "c0")]), hot_test, pairs([("v", t) for t in cold])


def test_cutoffs():
    assert cutoff(55_262) == cutoff(200) == 50
    assert cutoff(100) == 25
    assert cutoff(100, 25) == 25
    with pytest.raises(ValueError, match="between 1 and 25, a quarter of the 100 candidates, found 26"):
        cutoff(100, 26)
    with pytest.raises(ValueError, match="found 0"):
        cutoff(100, 0)
    with pytest.raises(ValueError, match="at least 4 candidates"):
        cutoff(3)


def test_tasks_follow_the_definitions(parts):
    made = tasks(*parts, cutoffs_hot=(5, 2))
    assert list(made) == ["val", "cold_val", "hot_test", "cold_test"]
    assert made["val"].candidates.tolist() == [f"h{i:02d}" for i in range(20)]
    assert made["cold_test"].candidates.tolist() == made["cold_val"].candidates.tolist() == [f"c{i}" for i in range(8)]
    assert made["hot_test"].cutoffs == (5, 2)
    assert made["cold_test"].cutoffs == (2,)
    assert made["hot_test"].users.tolist() == ["v", "w"]
    assert set(made["hot_test"].history["user_id"]) == {"v", "w"}


def test_parts_that_cannot_be_ranked_are_left_out(parts):
    train, val, cold_val, hot_test, cold_test = parts
    assert list(tasks(train, val, cold_val[:0], hot_test, cold_test[:3])) == ["val", "hot_test"]
    with pytest.raises(ValueError, match="absent from train, found 1 of them there, the first is 'h00'"):
        tasks(train, val, cold_val, hot_test, pairs([("v", "h00")]))


def test_chance_equals_monte_carlo():
    rng = np.random.default_rng(0)
    tracks = np.array([f"t{i:02d}" for i in range(24)], dtype=object)
    truth = pairs([("u", "t00"), ("u", "t01"), ("u", "t02"), ("v", "t05"), ("w", "t06"), ("w", "absent")])
    history = pairs([("u", f"t{i:02d}") for i in range(10, 24)] + [("w", f"t{i:02d}") for i in range(7, 24)])
    task = Task("hot_test", truth, tracks, history, (6,))
    total, draws = 0.0, 4000
    heard = {user: set(frame["track_id"]) for user, frame in history.groupby("user_id")}
    for start in range(0, draws, 500):
        rows = []
        for draw in range(start, start + 500):
            for user in "uvw":
                own = [t for t in tracks if t not in heard.get(user, ())]
                rows += [(f"{user}{draw}", rank, t) for rank, t in enumerate(rng.permutation(own)[:6], 1)]
        frame = pd.DataFrame(rows, columns=["user_id", "rank", "track_id"])
        copies = pd.concat([truth.assign(user_id=truth["user_id"] + str(d)) for d in range(start, start + 500)])
        scores = per_user(frame, copies, [6])
        total = total + scores.groupby(scores["user_id"].str[0])[list(scores.columns[1:])].sum()
    expected = chance(task, 6).set_index("user_id")
    assert np.allclose(expected, total / draws, atol=0.03)
    assert np.allclose(expected.loc["v", "Recall@6"], 6 / 24)
    assert np.allclose(expected.loc["w", "Recall@6"], 6 / 7 / 2)  # a relevant track that is no candidate cannot be hit


def test_chance_at_the_published_size():
    users = [f"u{i}" for i in range(4)]
    truth = pairs([(u, f"t{i:05d}") for u in users for i in range(5)])
    task = Task("cold_test", truth, np.array([f"t{i:05d}" for i in range(589)], dtype=object), truth[:0], (50,))
    assert chance(task, 50)["Recall@50"].mean() == pytest.approx(0.085, abs=5e-4)


def test_summary_is_mean_with_a_bootstrap_interval():
    rng = np.random.default_rng(1)
    values = rng.random(300) * (rng.random(300) < 0.3)
    scores = pd.DataFrame({"user_id": [f"u{i}" for i in range(300)], "NDCG@5": values})
    row = summarise(scores, np.random.default_rng(0), n_resamples=4000).iloc[0]
    theirs = stats.bootstrap((scores["NDCG@5"],), np.mean, rng=2, n_resamples=4000).confidence_interval
    assert (row["metric"], row["k"], row["n_users"]) == ("NDCG", 5, 300)
    assert row["value"] == pytest.approx(scores["NDCG@5"].mean())
    assert [row["ci_low"], row["ci_high"]] == pytest.approx(list(theirs), abs=0.003)
    with pytest.raises(ValueError, match="at least one user"):
        summarise(scores[:0], rng)


def test_summary_of_constant_scores_and_of_one_user():
    same = pd.DataFrame({"user_id": ["a", "b"], "HitRate@3": [1.0, 1.0]})
    assert summarise(same, np.random.default_rng(0))[["ci_low", "ci_high"]].to_numpy().tolist() == [[1.0, 1.0]]
    assert summarise(same[:1], np.random.default_rng(0))["ci_low"].isna().all()


def test_validator_and_score_agree(parts):
    made = tasks(*parts)
    model = create("mostpop").fit(parts[0], None, np.random.default_rng(0))
    lists, scores = recommend_and_score(model, made["hot_test"])
    assert lists.groupby("user_id").size().to_dict() == {"v": 5, "w": 5}
    assert validator(made["hot_test"])(model) == pytest.approx(scores["NDCG@5"].mean())
    recall = per_user(lists, made["hot_test"].truth, [3])["Recall@3"].mean()
    assert validator(made["hot_test"], "Recall", 3)(model) == recall
    with pytest.raises(ValueError, match="Expected a metric among"):
        validator(made["val"], "MRR")


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".tsv", ".tsv.bz2"])
def test_files(tmp_path, suffix):
    lists = pd.DataFrame({"user_id": ["01", "01", "NA"], "rank": [2, 1, 1], "track_id": ["7", "8", "007"]})
    truth = pairs([("01", "7"), ("NA", "7"), ("3", "7")])
    paths = []
    for name, frame in (("lists", lists), ("truth", truth)):
        paths.append(tmp_path / (name + suffix))
        if suffix == ".parquet":
            frame.to_parquet(paths[-1])
        else:
            frame.to_csv(paths[-1], sep="," if suffix == ".csv" else "\t", index=False)
    summary, scores = evaluate_files(*paths, 2, rng=np.random.default_rng(0))
    assert list(summary) == ["HitRate@2", "Recall@2", "NDCG@2", "n_users"]
    assert summary["n_users"] == 3
    assert scores.set_index("user_id")["HitRate@2"].to_dict() == {"01": 1.0, "3": 0.0, "NA": 0.0}  # '007' is not '7'
    assert summary["HitRate@2"]["value"] == pytest.approx(1 / 3)


def test_files_that_will_not_do_are_named(tmp_path):
    truth, lists = tmp_path / "truth.csv", tmp_path / "lists.csv"
    truth.write_text("user_id,track_id\nu,a\n")
    lists.write_text("user_id,track_id\nu,a\n")
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"missing: rank; it has user_id, track_id"):
        evaluate_files(lists, truth, 5, rng=rng)
    lists.write_text("user_id,rank,track_id\nu,first,a\n")
    with pytest.raises(ValueError, match="found 'first' in row 1"):
        evaluate_files(lists, truth, 5, rng=rng)
    with pytest.raises(FileNotFoundError, match="found none"):
        evaluate_files(tmp_path / "no.csv", truth, 5, rng=rng)
    (tmp_path / "lists.xlsx").touch()
    with pytest.raises(ValueError, match=r"\.parquet, \.csv or \.tsv"):
        evaluate_files(tmp_path / "lists.xlsx", truth, 5, rng=rng)
    lists.write_text("user_id,rank,track_id\n")
    assert evaluate_files(lists, truth, 5, rng=rng)[0]["NDCG@5"]["value"] == 0
    assert evaluate_files(lists, truth, 5, rng=rng)[0]["NDCG@5"]["ci_low"] is None
    truth.write_text("user_id,track_id\n")
    with pytest.raises(ValueError, match="at least one relevant pair"):
        evaluate_files(lists, truth, 5, rng=rng)
    with pytest.raises(ValueError, match="at least 1, found 0"):
        evaluate_files(lists, truth, 0, rng=rng)
