"""Two folders of results, compared."""

import json

import numpy as np
import pandas as pd
import pytest

from lib.backends.vectors import Vectors, VectorStore
from lib.study.tables import write_parquet
from workflow.compare_runs import differences


def make(folder, value=0.25, vector=1.0, estimate=0.5, list_track="t1"):
    write_parquet(pd.DataFrame({"metric": ["NDCG", "Recall"], "value": [value, np.nan]}), folder / "metrics.parquet")
    lists = pd.DataFrame({"user_id": ["u"], "rank": [1], "track_id": [list_track], "score": [0.1]})
    write_parquet(lists, folder / "recommendations" / "knn.mfcc.real.seed0.hot_test.parquet")
    values = np.full((2, 3), vector, np.float32)
    VectorStore(folder / "vectors.lance").replace("mfcc", Vectors.of(["t1", "t2"], values), {})
    (folder / "answers.json").write_text(json.dumps({"rq1": {"estimate": estimate, "ci": [0.1, 0.2]}}))
    return folder


def faults(a, b, tolerance=0.0):
    return [sentence for sentence, differs in differences(a, b, tolerance) if differs]


def test_equal_folders_do_not_differ(tmp_path):
    found = list(differences(make(tmp_path / "a"), make(tmp_path / "b")))
    assert [sentence.split(":")[0] for sentence, _ in found] == ["metrics", "recommendations", "vectors", "answers"]
    assert not any(differs for _, differs in found)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"value": 0.25 + 1e-12}, "metrics: 1 of 1 table(s): metrics.parquet: value in 1 of 2 rows"),
        ({"vector": 1.0 + 1e-6}, "vectors: mfcc"),
        ({"estimate": 0.51}, "answers: rq1.estimate 0.5 and 0.51"),
        ({"list_track": "t2"}, "recommendations: 1 of 1"),
    ],
)
def test_the_least_difference_is_named(tmp_path, changed, sentence):
    (found,) = faults(make(tmp_path / "a"), make(tmp_path / "b", **changed))
    assert found.startswith(sentence)


def test_a_file_in_one_folder_alone_is_a_difference(tmp_path):
    a, b = make(tmp_path / "a"), make(tmp_path / "b")
    (b / "metrics.parquet").unlink()
    assert "only in" in faults(a, b)[0]


def test_the_order_of_rows_is_no_difference_and_a_tolerance_is_kept(tmp_path):
    a, b = make(tmp_path / "a"), make(tmp_path / "b", value=0.25 + 1e-6)
    frame = pd.read_parquet(b / "metrics.parquet")
    write_parquet(frame.iloc[::-1].reset_index(drop=True), b / "metrics.parquet")
    assert faults(a, b, tolerance=1e-5) == []
    assert len(faults(a, b)) == 1
