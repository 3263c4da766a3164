"""Item retrieval: gains, ideal lists, exclusions, and a test that holds its level though excerpts are dependent."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.metrics import ndcg_score

from lib.backends.vectors import Vectors
from lib.evaluation import retrieval
from lib.evaluation.retrieval import RetrievalError, relevance


def tracks(labels, recordings):
    return pd.DataFrame({"label": labels, "recording": recordings})


def ids(n):
    return [f"t{number:04d}" for number in range(n)]


def slow_gain(one, other, threshold):
    a, b = ({part.strip() for part in text.split(",")} - {""} for text in (one, other))
    jaccard = len(a & b) / len(a | b) if a | b else 0.0
    return jaccard if jaccard >= threshold else 0.0


def test_a_worked_case():
    # queries a and b share a label; c shares none; d is of a's recording, so it is neither ranked nor relevant
    vectors = Vectors.of(ids(4), [[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [1.0, 0.01]])
    relevant = relevance(tracks(["x", "x", "y", "x"], [0, 1, 2, 0]), "label", "recording", 0.3)
    lists = retrieval.nearest(vectors, relevant.recording, 2, "none")
    assert lists.tolist() == [[1, 2], [3, 0], [1, 3], [1, 2]]
    scores = retrieval.ndcg(lists, relevant, (2,))
    assert scores.index.tolist() == [0, 1, 3]  # c has nothing to find
    assert scores["NDCG@2"].tolist() == [1.0, 1.0, 1.0]
    half = (1 + 1 / np.log2(3)) / 2
    assert scores["chance@2"].tolist() == pytest.approx(
        [half, (1 + 1 / np.log2(3)) * 2 / 3 / (1 + 1 / np.log2(3)), half]
    )


@pytest.mark.parametrize("threshold", [0.2, 0.5])
def test_graded_gains_equal_sklearn_on_every_query(rng, threshold):
    n = 60
    texts = [
        ",".join(rng.choice(list("abcdef"), rng.integers(0, 4), replace=False)) + ",z" * (number % 7 == 0)
        for number in range(n)
    ]
    frame = tracks(texts, rng.integers(0, 25, n))
    vectors = Vectors.of(ids(n), rng.standard_normal((n, 5)))
    relevant = relevance(frame, "label", "recording", threshold, ",")
    scores = retrieval.ndcg(retrieval.nearest(vectors, relevant.recording, 10), relevant)
    scaled = (vectors.values - vectors.values.mean(0)) / vectors.values.std(0)
    unit = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
    seen = 0
    for query in range(n):
        others = np.flatnonzero(frame["recording"] != frame["recording"][query])
        gain = np.array([slow_gain(texts[query], texts[other], threshold) for other in others])
        if gain.max() == 0:
            assert query not in scores.index
            continue
        seen += 1
        for k in (5, 10):
            clear = ndcg_score([gain], [unit[others] @ unit[query]], k=k)
            assert scores.loc[query, f"NDCG@{k}"] == pytest.approx(clear, abs=1e-6)
    assert seen == len(scores) > 40


def test_chance_is_the_mean_over_random_orders(rng):
    frame = tracks(rng.choice(list("abc"), 30), rng.integers(0, 12, 30))
    relevant = relevance(frame, "label", "recording", 0.3)
    drawn = []
    for _ in range(400):
        vectors = Vectors.of(ids(30), rng.standard_normal((30, 40)))
        drawn.append(retrieval.ndcg(retrieval.nearest(vectors, relevant.recording, 10, "none"), relevant)["NDCG@10"])
    expected = retrieval.ndcg(retrieval.nearest(vectors, relevant.recording, 10, "none"), relevant)["chance@10"]
    assert np.abs(np.mean(drawn, axis=0) - expected).max() < 0.06
    assert abs(np.mean(drawn) - expected.mean()) < 0.006


def test_blocks_do_not_change_a_list(rng, monkeypatch):
    vectors = Vectors.of(ids(90), rng.standard_normal((90, 6)))
    recording = rng.integers(0, 40, 90)
    whole = retrieval.nearest(vectors, recording)
    graded = relevance(
        tracks([f"{a},{b}" for a, b in rng.integers(0, 6, (90, 2))], recording), "label", "recording", 0.3, ","
    )
    ideal = graded.ideal(10)
    monkeypatch.setattr(retrieval, "BLOCK_BYTES", 4000)
    assert np.array_equal(retrieval.nearest(vectors, recording), whole)
    assert all(np.allclose(a, b) for a, b in zip(graded.ideal(10), ideal, strict=True))


def test_equal_cosines_are_listed_by_id():
    vectors = Vectors.of(ids(6), np.ones((6, 3)))
    assert retrieval.nearest(vectors, np.arange(6), 3, "none")[5].tolist() == [0, 1, 2]


def test_arrangements_move_whole_recordings_to_those_of_equal_length(rng):
    frame = tracks(["x", "x", "y", "y", "y", "z", "x", "y", "z"], [0, 0, 1, 1, 1, 2, 3, 4, 4])
    relevant = relevance(frame, "label", "recording", 0.3)
    assert retrieval.movable(relevant) == 4
    seen = set()
    for order in retrieval.arrangements(relevant, 40, rng):
        assert sorted(order) == list(range(9))
        assert order[2:5].tolist() == [2, 3, 4]  # the only one of its length
        assert order[[0, 1]].tolist() in ([0, 1], [7, 8])  # pairs change places with pairs, excerpts in their order
        assert order[5] in (5, 6)
        seen.add(tuple(order))
    assert len(seen) == 4


@pytest.mark.parametrize("graded", [False, True])
def test_permuted_scores_equal_a_slow_relabelling(rng, graded):
    recording = np.repeat(np.arange(14), [1, 3, 2, 3, 1, 2, 2, 3, 1, 1, 2, 3, 2, 5])
    texts = np.array([",".join(sorted(rng.choice(list("abcd"), 1 + graded, replace=False))) for _ in recording])
    texts[:2] = ""
    frame = tracks(texts, recording)
    relevant = relevance(frame, "label", "recording", 0.3)
    lists = {
        name: retrieval.nearest(Vectors.of(ids(len(frame)), rng.standard_normal((len(frame), 4))), relevant.recording)
        for name in "pq"
    }

    def slow(label, of):
        made = relevance(frame.assign(label=label), "label", "recording", 0.3)
        scores = retrieval.ndcg(of, made)["NDCG@10"]
        return scores.groupby(recording[scores.index]).mean().mean()

    orders = list(retrieval.arrangements(relevant, 25, np.random.default_rng(5)))
    tested = retrieval.beats_shuffled(lists, relevant, 25, np.random.default_rng(5)).set_index("backend")
    for name, of in lists.items():
        permuted = [slow(texts[order], of) for order in orders]
        assert np.std(permuted) > 0
        assert tested.loc[name, "NDCG"] == pytest.approx(slow(texts, of))
        assert tested.loc[name, "shuffled"] == pytest.approx(np.mean(permuted))
        reached = np.sum(np.array(permuted) >= slow(texts, of) - 1e-9)
        assert tested.loc[name, "p"] == pytest.approx((1 + reached) / 26)


def test_hits_by_hand_and_their_chance(rng):
    # a's list holds one of its two relevant candidates, c's none of its two; d is of a's recording
    frame = tracks(["x", "x", "x", "x", "y"], [0, 1, 2, 0, 3])
    relevant = relevance(frame, "label", "recording", 0.3)
    lists = np.array([[1, 4], [4, 0], [4, -1], [2, 1], [0, 1]])
    scores = retrieval.hits(lists, relevant, (1, 2))
    assert relevant.counts().tolist() == [2, 3, 3, 2, 0]
    assert scores.index.tolist() == [0, 1, 2, 3]
    assert scores["HitRate@1"].tolist() == [1, 0, 0, 1]
    assert scores["HitRate@2"].tolist() == [1, 1, 0, 1]
    assert scores["Recall@2"].tolist() == pytest.approx([1 / 2, 1 / 3, 0, 1])
    assert scores["chance Recall@1"].tolist() == pytest.approx([1 / 3, 1 / 4, 1 / 4, 1 / 3])
    assert scores["chance HitRate@2"].tolist() == pytest.approx([1, 1, 1, 1])
    assert scores["chance HitRate@1"].tolist() == pytest.approx([2 / 3, 3 / 4, 3 / 4, 2 / 3])


def test_a_track_of_no_known_recording_is_its_own():
    frame = tracks(["x", "x", "x", "x", "x"], ["r", "r", None, "", np.nan])
    assert relevance(frame, "label", "recording", 0.3).recording.tolist() == [0, 0, 1, 2, 3]
    assert relevance(frame, "label", "none such", 0.3).recording.tolist() == [0, 1, 2, 3, 4]


def test_labels_of_any_type_and_missing_ones():
    frame = tracks(pd.Categorical(["x", None, "x", None]), [0, 1, 2, 3])
    assert relevance(frame, "label", "recording", 0.3).counts().tolist() == [1, 0, 1, 0]
    assert relevance(frame.assign(label=[1.0, np.nan, 1.0, np.nan]), "label", "recording", 0.3).counts().sum() == 2


def planted(rng, strength, n_recordings=40, excerpts=4):
    """Excerpts lie around their recording, recordings around their label by `strength`."""
    label = rng.integers(0, 4, n_recordings)
    centre = strength * np.eye(4, 12)[label] + rng.standard_normal((n_recordings, 12))
    values = np.repeat(centre, excerpts, axis=0) + 0.3 * rng.standard_normal((n_recordings * excerpts, 12))
    recording = np.repeat(np.arange(n_recordings), excerpts)
    return Vectors.of(ids(len(values)), values), tracks(label[recording].astype(str), recording)


def test_what_is_planted_is_found(rng):
    lists = {}
    for name, strength in (("deaf", 0.0), ("hears", 3.0)):
        vectors, frame = planted(np.random.default_rng(1), strength)
        relevant = relevance(frame, "label", "recording", 0.3)
        lists[name] = retrieval.nearest(vectors, relevant.recording)
    tested = retrieval.beats_shuffled(lists, relevant, 99, rng).set_index("backend")
    assert tested.loc["hears", "p_adjusted"] == 0.01
    assert tested.loc["deaf", "p_adjusted"] > 0.05
    assert tested.loc["hears", "NDCG"] > 0.6 > 0.35 > tested.loc["hears", "shuffled"]


def world_of_long_works(rng):
    """Labels go with the length of a recording, vectors with neither."""
    label = np.arange(24) % 3
    length = np.array([1, 3, 10])[label] - (np.arange(24) % 4 == 3)  # a few of lengths that two labels share
    length = np.maximum(length, 1)
    recording = np.repeat(np.arange(24), length)
    values = rng.standard_normal((24, 12))[recording] + 0.3 * rng.standard_normal((len(recording), 12))
    return Vectors.of(ids(len(values)), values), tracks(label[recording].astype(str), recording)


def with_labels_moved(frame, lists, rng, how):
    """p of the wrong tests: labels of single excerpts, or of recordings to those of any length."""

    def mean(label):
        made = relevance(frame.assign(label=label), "label", "recording", 0.3)
        return retrieval.ndcg(lists, made, (10,))["NDCG@10"].mean()

    label, real = frame["label"].to_numpy(), mean(frame["label"])
    of_recording = frame.groupby("recording")["label"].first().to_numpy()
    moved = []
    for _ in range(19):
        moved.append(rng.permutation(label) if how == "excerpts" else rng.permutation(of_recording)[frame["recording"]])
    return (1 + sum(mean(one) >= real for one in moved)) / 20


@pytest.mark.parametrize(
    ("world", "wrong_way"),
    [(lambda rng: planted(rng, 0.0, n_recordings=16), "excerpts"), (world_of_long_works, "recordings")],
)
def test_the_level_holds_where_excerpts_depend_on_each_other_and_labels_on_length(world, wrong_way):
    right = wrong = n_wrong = 0
    n_worlds = 200
    for seed in range(n_worlds):
        rng = np.random.default_rng(seed)
        vectors, frame = world(rng)
        relevant = relevance(frame, "label", "recording", 0.3)
        lists = {"x": retrieval.nearest(vectors, relevant.recording)}
        right += retrieval.beats_shuffled(lists, relevant, 39, rng)["p"][0] <= 0.05
        if seed < 40:
            n_wrong += 1
            wrong += with_labels_moved(frame, lists["x"], rng, wrong_way) <= 0.05
    assert right / n_worlds < 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / n_worlds)
    assert wrong / n_wrong > 0.15


def test_units_are_recordings(rng):
    vectors, frame = planted(rng, 1.0)
    relevant = relevance(frame, "label", "recording", 0.3)
    scores = retrieval.ndcg(retrieval.nearest(vectors, relevant.recording), relevant)
    units = retrieval.by_recording(scores, relevant)
    assert len(units) == 40
    assert units["NDCG@5"].iloc[0] == pytest.approx(scores["NDCG@5"].iloc[:4].mean())


def test_what_cannot_be_is_a_sentence():
    frame = tracks(["x", "y"], [0, 1])
    with pytest.raises(RetrievalError, match=r"column 'composer' .*found none \(there are label\)"):
        relevance(frame, "composer", "recording", 0.3)
    with pytest.raises(RetrievalError, match="recordings that share a value of 'label', found none among 2"):
        relevance(frame, "label", "recording", 0.3)
    with pytest.raises(RetrievalError, match="found none among 2"):
        relevance(tracks(["x", "x"], [0, 0]), "label", "recording", 0.3)


def test_labels_are_kept_sparse():
    frame = tracks([f"{n % 5}" for n in range(10)], range(10))
    assert sparse.issparse(relevance(frame, "label", "none such", 0.3).labels)


def test_a_name_with_a_comma_is_one_label_unless_lists_are_asked_for():
    names = ["Bach, J. S.", "Bach, C. P. E.", "Bach, J. S."]
    frame = tracks(names, [0, 1, 2])
    assert relevance(frame, "label", "recording").counts().tolist() == [1, 0, 1]
    assert relevance(frame, "label", "recording", 0.2, ",").counts().tolist() == [2, 2, 2]
