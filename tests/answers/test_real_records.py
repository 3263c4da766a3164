"""What real records allow stands beside a simulated study, and a sentence where they have not been run."""

import numpy as np
import pandas as pd
import pytest

from lib.answers import real_records
from lib.evaluation import results
from lib.evaluation.results import Run
from lib.study import Study, load_parameters
from tests.worlds import numbered_vectors, write_parts


@pytest.fixture
def studies(tmp_path):
    """A mock study and a real one, with MostPop and chance each; the mock one has KNN on audio too."""
    rng = np.random.default_rng(0)
    found = {name: Study(load_parameters(name, {"runs_dir": str(tmp_path)})) for name in ("toy", "onion_sample")}
    for study in found.values():
        write_parts(study, numbered_vectors(rng, 40), rng, n_users=30, n_hot=30)
        todo = results.tasks(study)
        users = pd.Series(todo["hot_test"].users, name="user_id")
        k = todo["hot_test"].cutoffs[0]
        for run in (Run("mostpop"), Run("chance"), *([Run("knn", "mfcc")] if study.name == "toy" else [])):
            scores = pd.DataFrame({"user_id": users, f"NDCG@{k}": rng.random(len(users))})
            results.save_run(study, run, "hot_test", {0: (None, scores)})
    return found


def test_what_both_have_without_audio_stands_side_by_side(studies):
    table, sentence = real_records.beside(studies["toy"])
    assert list(table.columns) == ["toy, mock", "onion_sample, real"]
    assert table.index.get_level_values("recommender").tolist() == ["chance", "mostpop"]
    mean = results.per_user(studies["onion_sample"], Run("mostpop"), "hot_test").filter(like="NDCG").mean().item()
    assert table.loc[("hot", "mostpop"), "onion_sample, real"].startswith(f"{mean:.3f} [")
    assert "without audio" in sentence


def test_a_sentence_says_what_to_run_where_there_are_none(tmp_path):
    table, sentence = real_records.beside(Study(load_parameters("toy", {"runs_dir": str(tmp_path)})))
    assert table is None
    assert "make workbook STUDY=onion_sample" in sentence


def test_real_listeners_need_no_others_beside_them(studies):
    assert real_records.beside(studies["onion_sample"]) == (None, "These are real records.")
