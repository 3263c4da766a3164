"""Metrics by hand, and against two libraries that other people wrote."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from lib.evaluation.metrics import per_user


def lists(**tracks):
    rows = [(user, rank, track) for user, names in tracks.items() for rank, track in enumerate(names, 1)]
    return pd.DataFrame(rows, columns=["user_id", "rank", "track_id"])


def pairs(**tracks):
    return pd.DataFrame([(u, t) for u, names in tracks.items() for t in names], columns=["user_id", "track_id"])


def test_by_hand():
    scores = per_user(lists(u="abcd"), pairs(u="bdz"), [2, 4]).set_index("user_id").loc["u"]
    gain = {rank: 1 / np.log2(rank + 1) for rank in (1, 2, 3, 4)}
    assert scores["HitRate@2"] == scores["HitRate@4"] == 1
    assert scores["Recall@2"] == pytest.approx(1 / 3)
    assert scores["Recall@4"] == pytest.approx(2 / 3)
    assert scores["NDCG@2"] == pytest.approx(gain[2] / (gain[1] + gain[2]))
    assert scores["NDCG@4"] == pytest.approx((gain[2] + gain[4]) / (gain[1] + gain[2] + gain[3]))


def test_every_truth_user_counts_and_others_do_not():
    scores = per_user(lists(u="ab", stranger="a"), pairs(u="a", v="a"), [2])
    assert scores["user_id"].tolist() == ["u", "v"]
    assert scores["NDCG@2"].tolist() == [1.0, 0.0]


def test_empty_lists_score_zero():
    scores = per_user(lists().astype({"rank": int}), pairs(u="a", v="b"), [3])
    assert (scores.drop(columns="user_id").to_numpy() == 0).all()
    assert len(scores) == 2


def test_duplicates_in_list_and_truth_count_once():
    assert per_user(lists(u="aab"), pairs(u="ab"), [2])["Recall@2"].item() == 1  # b moves up to rank 2
    assert per_user(lists(u="a"), pairs(u="aab"), [2])["Recall@2"].item() == 0.5


def test_the_order_of_rows_does_not_matter():
    frame = lists(u="abcdef", v="fedcba")
    truth = pairs(u="bf", v="bf")
    shuffled = frame.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(per_user(frame, truth, [3]), per_user(shuffled, truth, [3]))


def test_canary_the_k_in_a_label_is_the_k_used():
    """Published columns named @20 were computed at 50: a hit at rank 21 must be invisible at 20."""
    frame, truth = lists(u=[f"t{i}" for i in range(50)]), pairs(u=["t20"])
    scores = per_user(frame, truth, [20, 21]).iloc[0]
    assert scores["HitRate@20"] == scores["Recall@20"] == scores["NDCG@20"] == 0
    assert scores["HitRate@21"] == 1


@pytest.fixture(scope="module")
def random_case():
    rng = np.random.default_rng(5)
    tracks = [f"t{i:02d}" for i in range(40)]
    frame = lists(**{f"u{u}": list(rng.permutation(tracks)[: rng.integers(1, 31)]) for u in range(60)})
    truth = pairs(**{f"u{u}": list(rng.permutation(tracks)[: rng.integers(1, 15)]) for u in range(65)})
    return frame, truth


@pytest.mark.parametrize("k", [1, 5, 20, 50])
def test_agrees_with_rs_metrics(random_case, k):
    import rs_metrics

    frame, truth = random_case
    ours = per_user(frame, truth, [k]).set_index("user_id")
    names = {"user_col": "user_id", "item_col": "track_id", "apply_mean": False}
    for metric, function in (("HitRate", "hitrate"), ("Recall", "recall"), ("NDCG", "ndcg")):
        theirs = getattr(rs_metrics, function)(truth, frame, k=k, **names)
        assert np.allclose(ours[f"{metric}@{k}"], theirs, atol=1e-12), metric  # both in ascending order of user


RANX = """
import sys, json, pandas as pd
from ranx import Qrels, Run, evaluate
frame, truth = pd.read_parquet(sys.argv[1]), pd.read_parquet(sys.argv[2])
run = Run.from_df(frame.assign(score=1.0 / frame["rank"]), "user_id", "track_id", "score")
qrels = Qrels.from_df(truth.assign(score=1), "user_id", "track_id", "score")
names = [f"{name}@{k}" for name in ("hit_rate", "recall", "ndcg") for k in (1, 5, 20, 50)]
print(json.dumps({k: float(v) for k, v in evaluate(qrels, run, names, make_comparable=True).items()}))
"""


def test_agrees_with_ranx(random_case, tmp_path):
    """In a process of its own without numba's compiler, which would take half a minute."""
    frame, truth = random_case
    paths = [tmp_path / "lists.parquet", tmp_path / "truth.parquet"]
    for path, table in zip(paths, (frame, truth), strict=True):
        table.to_parquet(path)
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-c", RANX, *map(str, paths)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    theirs = json.loads(done.stdout.splitlines()[-1])
    ours = per_user(frame, truth, [1, 5, 20, 50]).drop(columns="user_id").mean()
    names = {"hit_rate": "HitRate", "recall": "Recall", "ndcg": "NDCG"}
    assert len(theirs) == len(ours) == 12
    for name, value in theirs.items():
        metric, k = name.split("@")
        assert ours[f"{names[metric]}@{k}"] == pytest.approx(value, abs=1e-9), name
