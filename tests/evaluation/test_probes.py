"""Probes: no group on both sides, scores as scikit-learn's, chance for shuffled labels, choices judged on others."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import balanced_accuracy_score, r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lib.evaluation import probes
from lib.evaluation.probes import ProbeError, chosen, difference, plan, probe, score, summarise
from lib.evaluation.tags import tag_matrix


def rng(seed=0):
    return np.random.default_rng(seed)


def world(n_groups=60, seed=0):
    """Two tracks a recording; one number in a vector follows the class, one the tempo, the rest is noise."""
    draws = rng(seed)
    groups = np.repeat(np.arange(n_groups), 2)
    label = np.repeat(draws.integers(0, 3, n_groups), 2)
    tempo = np.repeat(draws.uniform(60, 160, n_groups), 2)
    vectors = draws.standard_normal((2 * n_groups, 12))
    vectors[:, 0] += 3 * label
    vectors[:, 1] = tempo + 10 * draws.standard_normal(len(tempo))
    return vectors, np.array(["reel", "jig", "air"])[label], tempo, groups


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_no_group_is_on_both_sides_and_every_row_is_judged_once(task):
    """Canary for the same melody in training and test: outer folds, and the inner ones that choose the strength."""
    _, label, tempo, groups = world()
    drawn = plan(tempo if task == "regression" else label, groups, rng(), task=task)
    assert sorted(np.concatenate([fold.test for fold in drawn.folds])) == list(range(len(groups)))
    for fold in drawn.folds:
        assert not set(groups[fold.train]) & set(groups[fold.test])
        for train, test in fold.inner:
            assert not set(groups[train]) & set(groups[test])
            assert set(train) | set(test) == set(fold.train)  # what is held out has no part in the choice


def test_text_groups_count_as_well():
    _, label, _, groups = world()
    named = [f"score {group}" for group in groups]
    first, second = plan(label, groups, rng()), plan(label, named, rng())
    assert all((a.test == b.test).all() for a, b in zip(first.folds, second.folds, strict=True))


def test_classification_equals_scikit_learn():
    vectors, label, _, groups = world()
    drawn = plan(label, groups, rng())
    found = score(vectors, drawn)
    for fold, row in zip(drawn.folds, found.itertuples(), strict=True):
        model = LogisticRegression(C=row.strength, class_weight="balanced", tol=1e-3, max_iter=200)
        model = make_pipeline(StandardScaler(), model).fit(vectors[fold.train], label[fold.train])
        expected = balanced_accuracy_score(label[fold.test], model.predict(vectors[fold.test]))
        assert row.score == pytest.approx(expected)
        assert row.chance == pytest.approx(1 / 3)


def test_regression_equals_scikit_learn():
    vectors, _, tempo, groups = world()
    drawn = plan(tempo, groups, rng(), task="regression")
    found = score(vectors, drawn)
    for fold, row in zip(drawn.folds, found.itertuples(), strict=True):
        model = make_pipeline(StandardScaler(), Ridge(row.strength)).fit(vectors[fold.train], tempo[fold.train])
        seen = tempo[fold.train]
        predicted = model.predict(vectors[fold.test]).clip(seen.min(), seen.max())
        assert row.score == pytest.approx(r2_score(tempo[fold.test], predicted))
        assert row.chance == pytest.approx(r2_score(tempo[fold.test], np.full(len(fold.test), seen.mean())))
    assert found["score"].mean() > 0.7


def test_the_strength_is_the_best_of_the_inner_folds():
    vectors, label, _, groups = world()
    drawn = plan(label, groups, rng())
    row, fold = score(vectors, drawn).iloc[0], drawn.folds[0]
    tried = {}
    for strength in probes.STRENGTHS["classification"]:
        model = LogisticRegression(C=strength, class_weight="balanced", tol=1e-3, max_iter=200)
        model = make_pipeline(StandardScaler(), model)
        tried[strength] = np.mean(
            [
                balanced_accuracy_score(label[test], model.fit(vectors[train], label[train]).predict(vectors[test]))
                for train, test in fold.inner
            ]
        )
    assert row["inner"] == pytest.approx(max(tried.values()))
    assert tried[row["strength"]] == pytest.approx(row["inner"])


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_shuffled_labels_fall_to_chance(task):
    """Mean over 8 arrangements of whole recordings: nothing may be left of what the vectors tell."""
    vectors, label, tempo, groups = world()
    target = tempo if task == "regression" else label
    above = []
    for seed in range(8):
        moved = np.repeat(target[::2][rng(seed).permutation(len(target) // 2)], 2)
        found = probe(vectors, moved, groups, rng(seed), task=task)
        above.append((found["score"] - found["chance"]).mean())
    true = probe(vectors, target, groups, rng(), task=task)
    assert np.mean(above) == pytest.approx(0, abs=0.09)
    assert (true["score"] - true["chance"]).mean() > 0.4


def test_a_recognised_recording_gains_nothing():
    """Vectors that name the recording and nothing else: a split by tracks would score 1, ours stays at chance."""
    _, label, _, groups = world()
    fingerprint = rng(5).standard_normal((60, 40))[groups]
    found = probe(fingerprint, label, groups, rng())["score"].mean()
    leaking = probe(fingerprint, label, np.arange(len(groups)), rng())["score"].mean()
    assert found < 0.45 < 0.65 < leaking


def test_a_dimension_that_hardly_varies_does_not_throw_predictions_off():
    vectors, _, tempo, groups = world()
    vectors[:, 5] = 0
    vectors[7, 5] = 1e6
    vectors[50:52, 5] = 1e-3
    assert probe(vectors, tempo, groups, rng(), task="regression")["score"].min() > -1


def test_rare_classes_and_missing_labels_are_left_out():
    vectors, label, tempo, groups = world()
    label = label.astype(object)
    label[:4], label[4:6], label[6] = "rare", None, ""
    drawn = plan(label, groups, rng())
    assert drawn.left_out == 7
    assert not set(np.concatenate([fold.test for fold in drawn.folds])) & set(range(7))
    tempo[3] = np.nan
    assert plan(tempo, groups, rng(), task="regression").left_out == 1
    assert np.isfinite(score(vectors, drawn)["score"]).all()


def test_folds_depend_on_the_generator_alone():
    vectors, label, _, groups = world()
    first, again, other = (probe(vectors, label, groups, rng(seed)) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)


def test_interval_by_hand():
    folds = pd.DataFrame({"score": [0.4, 0.5, 0.6, 0.5, 0.5], "n_train": 80, "n_test": 20})
    found = summarise(folds, alpha=0.05)
    se = np.sqrt(0.005 * (1 / 5 + 1 / 4))  # variance of the scores: .02 / 4
    assert found["value"] == pytest.approx(0.5)
    assert found["se"] == pytest.approx(se)
    assert found["ci_high"] - found["value"] == pytest.approx(2.7764451 * se)  # t of 4 degrees of freedom
    assert found["p"] == pytest.approx(2 * stats.t.sf(0.5 / se, 4))


def test_difference_is_paired():
    rows = pd.DataFrame({"fold": range(5), "score": [0.1, 0.9, 0.3, 0.7, 0.5], "n_train": 80, "n_test": 20})
    better = rows.assign(score=rows["score"] + [0.09, 0.11, 0.1, 0.1, 0.1]).sample(frac=1, random_state=0)
    found = difference(better, rows)
    assert found["value"] == pytest.approx(0.1)
    assert found["ci_low"] > 0.08
    with pytest.raises(ProbeError, match="under one plan"):
        difference(rows.head(4), rows)


def test_choice_is_judged_on_groups_it_did_not_see():
    """The cell that is best on the held-out side must not be taken for that: only `inner` chooses."""
    tried = pd.DataFrame(
        {
            "space": ["a", "b"] * 2,
            "fold": [0, 0, 1, 1],
            "inner": [0.9, 0.1, 0.2, 0.2],
            "score": [0.3, 1.0, 0.6, 1.0],
        }
    )
    found = chosen(tried, ["space"])
    assert found["space"].tolist() == ["a", "a"]
    assert found["score"].tolist() == [0.3, 0.6]


def test_the_best_of_many_by_luck_is_too_good_and_the_choice_is_not():
    """12 spaces of noise: the best looks above chance, what the training side chooses does not."""
    _, label, _, groups = world()
    drawn = plan(label, groups, rng())
    rows = [score(rng(seed).standard_normal((len(label), 6)), drawn).assign(space=seed) for seed in range(12)]
    tried = pd.concat(rows, ignore_index=True)
    luckiest = tried.groupby("space")["score"].mean().max()
    honest = chosen(tried, ["space"])["score"].mean()
    assert luckiest > 1 / 3 + 0.05
    assert honest < luckiest - 0.04
    assert honest == pytest.approx(1 / 3, abs=0.1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"task": "ranking"}, "classification, regression"),
        ({"groups": np.zeros(120)}, "among 0 groups"),
        ({"groups": np.zeros(3)}, "a group for each of 120"),
        ({"labels": ["one"] * 120}, "found 1 such"),
    ],
)
def test_what_cannot_be_probed_is_a_sentence(change, words):
    _, label, _, groups = world()
    given = {"labels": label, "groups": groups, "rng": rng()} | change
    with pytest.raises(ProbeError, match=words):
        plan(**given)


def test_vectors_of_other_tracks_are_refused():
    vectors, label, _, groups = world()
    with pytest.raises(ProbeError, match="each of 120 labels"):
        score(vectors[:-1], plan(label, groups, rng()))


def test_a_network_reads_what_a_linear_model_cannot():
    draws = rng(3)
    vectors = draws.standard_normal((240, 4))
    label = np.where(vectors[:, 0] * vectors[:, 1] > 0, "same", "other")
    drawn = plan(label, np.repeat(np.arange(120), 2), rng())
    assert score(vectors, drawn)["score"].mean() < 0.62
    assert score(vectors, drawn, "mlp")["score"].mean() > 0.8


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_network_falls_to_chance_on_shuffled_labels(task):
    vectors, label, tempo, groups = world()
    target = tempo if task == "regression" else label
    above = []
    for seed in range(4):
        moved = np.repeat(target[::2][rng(seed).permutation(len(target) // 2)], 2)
        found = score(vectors, plan(moved, groups, rng(seed), task=task), "mlp")
        above.append((found["score"] - found["chance"]).mean())
    true = score(vectors, plan(target, groups, rng(), task=task), "mlp")
    assert np.mean(above) < 0.09  # a regression may do worse than the mean
    assert (true["score"] - true["chance"]).mean() > 0.4


def test_a_network_gains_nothing_from_a_recognised_recording():
    _, label, _, groups = world()
    fingerprint = rng(5).standard_normal((60, 40))[groups]
    found = score(fingerprint, plan(label, groups, rng()), "mlp")["score"].mean()
    leaking = score(fingerprint, plan(label, np.arange(len(groups)), rng()), "mlp")["score"].mean()
    assert found < 0.45 < 0.65 < leaking


def test_a_network_gives_the_same_scores_again():
    vectors, label, _, groups = world()
    drawn = plan(label, groups, rng())
    pd.testing.assert_frame_equal(score(vectors, drawn, "mlp"), score(vectors, drawn, "mlp"))


def keyed(n_groups=150, seed=0):
    """Vectors that tell the tonic and nothing of the mode."""
    draws = rng(seed)
    tonic, minor = draws.integers(0, 3, n_groups), draws.integers(0, 2, n_groups)
    names = np.array([f"{('C', 'C#', 'D')[t]} {('major', 'minor')[m]}" for t, m in zip(tonic, minor, strict=True)])
    vectors = draws.standard_normal((n_groups, 8)) * 0.3
    vectors[:, :3] += 3 * np.eye(3)[tonic]
    return vectors, names, np.arange(n_groups)


@pytest.mark.parametrize("model", probes.MODELS)
def test_keys_get_credit_for_near_ones(model):
    """The tonic alone: right in half the cases, parallel in the other half, so 1/2 + .2/2 = .6."""
    vectors, names, groups = keyed()
    found = score(vectors, plan(names, groups, rng(), task="key"), model)
    assert found["score"].mean() == pytest.approx(0.6, abs=0.08)
    assert found["exact"].mean() == pytest.approx(0.5, abs=0.1)
    assert found["chance"].mean() < 0.35


def test_keys_fall_to_chance_when_shuffled():
    vectors, names, groups = keyed()
    found = score(vectors, plan(rng(7).permutation(names), groups, rng(), task="key"))
    assert (found["score"] - found["chance"]).mean() < 0.08


@pytest.mark.parametrize("model", probes.MODELS)
def test_tags_are_judged_by_roc_auc_and_fall_to_chance(model):
    draws = rng(0)
    groups = np.repeat(np.arange(80), 2)
    vectors = draws.standard_normal((160, 6))
    lists = [
        ", ".join(tag for tag, value in zip(("rock", "live", "piano"), row, strict=False) if value > 0)
        for row in vectors
    ]
    matrix = tag_matrix(lists, groups)
    assert sorted(matrix.columns) == ["live", "piano", "rock"]
    drawn = plan(matrix, groups, rng(), task="tags")
    assert drawn.left_out == sum(not text for text in lists)
    assert score(vectors, drawn, model)["score"].mean() > 0.9
    moved = plan(matrix.iloc[rng(1).permutation(160)].to_numpy(), groups, rng(), task="tags")
    assert score(vectors, moved, model)["score"].mean() == pytest.approx(0.5, abs=0.1)


def test_mean_auc_is_that_of_scikit_learn():
    from sklearn.metrics import roc_auc_score

    draws = rng(2)
    true = draws.integers(0, 2, (40, 3)).astype(float)
    predicted = draws.integers(0, 6, (40, 3)).astype(float)  # ties
    assert probes._mean_auc(true, predicted) == pytest.approx(roc_auc_score(true, predicted, average="macro"))
    true[:, 1] = 1.0  # a tag that all have asks nothing
    assert probes._mean_auc(true, predicted) == pytest.approx(roc_auc_score(true[:, [0, 2]], predicted[:, [0, 2]]))


def test_groups_are_joined_by_any_of_several_columns():
    tracks = pd.DataFrame({"score": list("aabcd"), "artist": ["x", "y", "y", "", ""], "other": [1, 2, 3, 4, np.nan]})
    assert probes.together(tracks, ["score"]).tolist() == [0, 0, 1, 2, 3]
    assert probes.together(tracks, ["score", "artist"]).tolist() == [0, 0, 0, 1, 2]  # by way of the second track
    assert len(set(probes.together(tracks, ["artist"]))) == 4  # missing artists join nothing
    assert len(set(probes.together(tracks, ["nowhere"]))) == 5


def test_rare_tags_are_left_out():
    lists = ["rock"] * 12 + ["rare"] * 3
    assert tag_matrix(lists, range(15)).columns.tolist() == ["rock"]
    with pytest.raises(ProbeError, match="Expected tags of 5 groups or more"):
        plan(tag_matrix(["a"] * 4, range(4)), range(4), rng(), task="tags")
