import numpy as np
import pandas as pd
import pytest

from lib.backends.vectors import Vectors
from lib.evaluation.metrics import chance, recommend_and_score, tasks, validator
from lib.recommenders import KINDS, create, top_k
from lib.recommenders.knn import KNN, swap_profiles
from lib.recommenders.ranking import distinct_rows, rank_blocks

RNG = np.random.default_rng


def pairs(*rows):
    frame = pd.DataFrame([(*row, 1)[:3] for row in rows], columns=["user_id", "track_id", "count"])
    return frame.assign(timestamp=pd.Timestamp("2020-01-01", tz="UTC"))


def vectors(**values):
    return Vectors.of(list(values), list(values.values()))


@pytest.fixture(scope="module")
def planted():
    """Users love one of six groups of tracks; vectors show the group, ids are hashes that do not."""
    rng = RNG(7)
    n_tracks, n_groups = 240, 6
    ids = np.array([f"{number:012x}" for number in rng.choice(2**40, n_tracks, replace=False)])
    group = rng.integers(n_groups, size=n_tracks)
    centres = rng.standard_normal((n_groups, 16))
    values = centres[group] + 0.5 * rng.standard_normal((n_tracks, 16)) + 4
    cold = rng.random(n_tracks) < 0.25
    parts = {name: [] for name in ("train", "val", "cold_val", "hot", "cold")}
    for user in range(160):
        weight = np.where(group == user % n_groups, 12.0, 1.0)
        for pool, sizes in ((~cold, (12, 4)), (cold, (0, 3))):
            chance_of = weight * pool / (weight * pool).sum()
            chosen = rng.choice(n_tracks, sum(sizes), replace=False, p=chance_of)
            temperature = "hot" if pool[~cold].any() else "cold"
            test = {"hot": "val", "cold": "cold_val"}[temperature] if user < 50 else temperature
            for position, track in enumerate(chosen):
                parts["train" if position < sizes[0] else test].append((f"user{user:03d}", ids[track]))
    frames = [pairs(*rows) for rows in parts.values()]
    return frames[0], Vectors.of(ids, values), tasks(*frames)


def ndcg(model, task):
    k = task.cutoffs[0]
    return recommend_and_score(model, task)[1][f"NDCG@{k}"].mean()


# --- ranking


@pytest.mark.parametrize(("n", "k"), [(7, 3), (300, 5), (2000, 10), (5, 9)])
def test_top_k_equals_a_full_stable_sort(n, k):
    scores = np.round(RNG(0).standard_normal((9, n)), 1).astype(np.float32)  # many ties
    scores[RNG(1).random(scores.shape) < 0.2] = -np.inf
    rows, ranks, columns, values = top_k(scores.copy(), k)
    for row in range(len(scores)):
        order = np.argsort(-scores[row], kind="stable")
        order = order[scores[row][order] > -np.inf][:k]
        assert columns[rows == row].tolist() == order.tolist()
        assert values[rows == row].tolist() == scores[row][order].tolist()
        assert ranks[rows == row].tolist() == list(range(1, len(order) + 1))


def test_top_k_counts_scores_within_the_resolution_as_equal():
    scores = np.array([[0.5, 0.5 + 2e-7, 0.7]], np.float32)
    assert top_k(scores, 3, resolution=2.0**-20)[2].tolist() == [2, 0, 1]
    assert top_k(scores, 3)[2].tolist() == [2, 1, 0]


def test_blocks_give_the_same_lists_as_one_block():
    scores = RNG(0).standard_normal((23, 50)).astype(np.float32)
    users = [f"u{i:02d}" for i in range(23)]
    tracks = np.array([f"t{i:02d}" for i in range(50)], dtype=object)
    seen = pairs(*[(f"u{i:02d}", f"t{i + 3:02d}") for i in range(23)], ("nobody", "t01"), ("u01", "elsewhere"))
    one, many = (
        rank_blocks(lambda start, stop: scores[start:stop].copy(), users, tracks, 5, seen, block=block)
        for block in (100, 4)
    )
    pd.testing.assert_frame_equal(one, many)
    listed = set(zip(one["user_id"], one["track_id"], strict=True))
    assert not listed & set(zip(seen["user_id"], seen["track_id"], strict=True))
    assert (one.groupby("user_id").size() == 5).all()  # cut after removal


# --- KNN


def test_a_user_with_one_track_has_the_vector_of_that_track():
    store = vectors(a=[3.0, 4.0], b=[4.0, 3.0], c=[-1.0, 0.0])
    model = KNN(scaling="none").fit(pairs(("u", "a")), store, RNG(0))
    assert np.allclose(model.profiles(["u"])[1], [[0.6, 0.8]])
    lists = model.recommend(["u"], 3, store.ids, None)
    assert lists["track_id"].tolist() == ["a", "b", "c"]
    assert np.allclose(lists["score"], [1.0, 0.96, -0.6])


def test_the_profile_is_the_mean_of_scaled_vectors_before_they_get_unit_length():
    store = vectors(a=[10.0, 0.0], b=[0.0, 1.0], c=[5.0, 5.0])
    model = KNN(scaling="none").fit(pairs(("u", "a"), ("u", "b")), store, RNG(0))
    assert np.allclose(model.profiles(["u"])[1], np.array([[5.0, 0.5]]) / np.hypot(5, 0.5))


def test_weighting_by_count():
    store = vectors(a=[1.0, 0.0], b=[0.0, 1.0], c=[1.0, 1.0])
    train = pairs(("u", "a", 3), ("u", "b", 1))
    profile = KNN(weighting="count", scaling="none").fit(train, store, RNG(0)).profiles(["u"])[1]
    assert np.allclose(profile, np.array([[3.0, 1.0]]) / np.sqrt(10))
    assert np.allclose(KNN(scaling="none").fit(train, store, RNG(0)).profiles(["u"])[1], np.sqrt(0.5))


def test_equal_scores_break_by_ascending_id_even_for_multiples_of_one_vector():
    base = RNG(3).standard_normal(37)
    store = Vectors.of([f"t{i}" for i in range(9)], [base * scale for scale in (3, 1, 7, 5, 9, 11, 13, 0.3, 2)])
    lists = KNN(scaling="none").fit(pairs(("u", "t4")), store, RNG(0)).recommend(["u"], 9, store.ids[::-1], None)
    assert lists["track_id"].tolist() == sorted(store.ids)


def test_repeated_rows_are_scored_once():
    values = np.array([[1, 2, 3], [0, 0, 1], [1, 2, 3], [-0.0, 0, 1]], np.float32)
    rows, which = distinct_rows(values)
    assert len(rows) == 2
    assert np.array_equal(rows[which], values)
    assert distinct_rows(values[:2])[1] is None


def test_tracks_without_a_vector_are_left_out_and_users_without_a_profile_get_no_rows():
    store = vectors(a=[1.0, 0.0], b=[1.0, 1.0])
    train = pairs(("u", "a"), ("u", "no vector"), ("v", "no vector"))
    model = KNN(scaling="none").fit(train, store, RNG(0))
    assert np.allclose(model.profiles(["u"])[1], [[1.0, 0.0]])
    lists = model.recommend(["v", "u", "unknown"], 5, ["b", "a", "no vector"], train)
    assert lists[["user_id", "track_id"]].to_numpy().tolist() == [["u", "b"]]


def test_a_whole_history_heard_gives_an_empty_list_and_one_cold_track_a_short_one():
    store = vectors(a=[1.0, 0.0], b=[1.0, 1.0])
    model = KNN(scaling="none").fit(pairs(("u", "a")), store, RNG(0))
    assert model.recommend(["u"], 5, ["a"], pairs(("u", "a"))).empty
    assert len(model.recommend(["u"], 5, ["b"], pairs(("u", "a")))) == 1


def test_ids_with_spaces_and_unicode():
    store = vectors(**{"a b": [1.0, 0.0], "é ☃": [1.0, 0.1], "z": [0.0, 1.0]})
    lists = KNN(scaling="none").fit(pairs(("ü 1", "a b")), store, RNG(0)).recommend(["ü 1"], 2, store.ids, None)
    assert lists["track_id"].tolist() == ["a b", "é ☃"]


def test_a_vector_that_is_not_finite_is_refused_by_name():
    class Loose:
        ids, values = np.array(["a", "bad one"]), np.array([[1.0], [np.nan]], np.float32)

    with pytest.raises(ValueError, match="'bad one'"):
        KNN(scaling="none").fit(pairs(("u", "a")), Loose, RNG(0))


def test_scaling_is_chosen_on_validation_and_remembered(planted):
    train, store, world = planted
    model = KNN().fit(train, store, RNG(0), validate=validator(world["val"]))
    assert set(model.validation_) == {"none", "centre", "standardise", "whiten"}
    assert model.validation_[model.scaling_] == max(model.validation_.values())
    assert ndcg(model, world["val"]) == pytest.approx(model.validation_[model.scaling_])
    assert ndcg(model, world["hot_test"]) > ndcg(KNN(scaling="none").fit(train, store, RNG(0)), world["hot_test"])


def test_canary_planted_taste_is_found_and_shuffled_vectors_fall_to_chance(planted):
    train, store, world = planted
    for split in ("hot_test", "cold_test"):
        task = world[split]
        level = chance(task, task.cutoffs[0])[f"NDCG@{task.cutoffs[0]}"].mean()
        real = ndcg(KNN(scaling="centre").fit(train, store, RNG(0)), task)
        shuffled = [
            ndcg(KNN(scaling="centre").fit(train, Vectors(store.ids, RNG(s).permutation(store.values)), RNG(0)), task)
            for s in range(8)
        ]
        assert real > 2 * level
        assert np.mean(shuffled) == pytest.approx(level, rel=0.25)


def test_canary_the_published_indexing_falls_to_chance(planted):
    """Rows of the array are tracks in order of id; indexing them by encoded ids gives the vectors of other tracks."""
    train, store, world = planted
    task = world["hot_test"]
    column = f"NDCG@{task.cutoffs[0]}"
    encoded = {track: code for code, track in enumerate(pd.unique(train["track_id"]))}
    rows = np.array([encoded.get(track, row) for row, track in enumerate(store.ids)])
    wrong = KNN(scaling="centre").fit(train, store, RNG(0))
    wrong._profiles = KNN(scaling="centre").fit(train, Vectors(store.ids, store.values[rows]), RNG(0))._profiles
    right = KNN(scaling="centre").fit(train, store, RNG(0))
    level = chance(task, task.cutoffs[0])[column].mean()
    assert ndcg(wrong, task) < 1.3 * level
    assert ndcg(right, task) > 2 * level


def test_profile_swap_gives_everybody_another_history():
    train = pairs(("u", "a"), ("v", "b"), ("w", "c"), ("w", "d"))
    swapped = swap_profiles(train, RNG(0))
    before, after = (frame.groupby("user_id")["track_id"].agg(tuple) for frame in (train, swapped))
    assert sorted(before) == sorted(after)
    assert all(before[user] != after[user] for user in before.index)


# --- MostPop and ItemKNN


def test_mostpop_counts_listeners_not_plays_and_ties_by_id():
    train = pairs(("u", "b", 50), ("u", "c"), ("v", "c"), ("w", "a"))
    lists = create("mostpop").fit(train, None, RNG(0)).recommend(["u", "x"], 4, ["d", "c", "b", "a"], None)
    assert lists["track_id"].tolist() == ["c", "a", "b", "d"]
    assert set(lists["user_id"]) == {"u"}


def test_itemknn_equals_dense_cosines_with_shrinkage():
    rng = RNG(2)
    heard = rng.random((30, 12)) < 0.3
    heard[:, 0] = heard[0] = True
    train = pairs(*[(f"u{u:02d}", f"t{t:02d}") for u, t in np.argwhere(heard)])
    together = heard.T.astype(float) @ heard
    root = np.sqrt(np.diagonal(together))
    similar = together / (np.outer(root, root) + 2.0)
    similar = np.rint(similar * 2**20) / 2**20
    np.fill_diagonal(similar, 0)
    for column in similar.T:  # nearest 4 of each candidate, ties by id
        column[np.argsort(-column, kind="stable")[4:]] = 0
    expected = heard @ similar
    model = create("itemknn", neighbours=4, shrinkage=2.0).fit(train, None, RNG(0))
    tracks = [f"t{t:02d}" for t in range(12)]
    lists = model.recommend([f"u{u:02d}" for u in range(30)], 13, [*tracks, "cold"], None)
    found = lists.pivot(index="user_id", columns="track_id", values="score")
    assert np.allclose(found[tracks], expected, atol=1e-5)
    assert (found["cold"] == 0).all()


# --- the contract, for all


@pytest.mark.parametrize("kind", KINDS)
def test_contract(planted, kind):
    train, store, world = planted
    task = world["hot_test"]
    model, again = (create(kind).fit(train, store, RNG(0), validate=validator(world["val"])) for _ in range(2))
    lists = model.recommend([*task.users, "unknown"], 10, task.candidates, task.history)
    assert list(lists.columns) == ["user_id", "rank", "track_id", "score"]
    assert "unknown" not in set(lists["user_id"])
    assert (lists.groupby("user_id")["rank"].agg(list).map(lambda ranks: ranks == list(range(1, 11)))).all()
    assert (lists.groupby("user_id")["score"].diff().dropna() <= 0).all()
    heard = set(zip(task.history["user_id"], task.history["track_id"], strict=True))
    assert not heard & set(zip(lists["user_id"], lists["track_id"], strict=True))
    pd.testing.assert_frame_equal(lists, again.recommend(task.users, 10, task.candidates, task.history))
    few = model.recommend(task.users[:1], 10, task.candidates[:3], None)
    assert len(few) == 3  # fewer candidates than k: all of them


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: create("knnn"), "Unknown kind of recommender 'knnn'; did you mean 'knn'"),
        (lambda: create("knn", weigthing="count"), "Unknown option 'weigthing' .* did you mean 'weighting'"),
        (lambda: create("mostpop", k=3), "Unknown option 'k' .* it takes none"),
        (
            lambda: create("knn", scaling="log"),
            "Expected scaling among none, centre, standardise, whiten, auto, found 'log'",
        ),
        (lambda: create("knn", weighting="plays"), "Expected weighting among"),
        (lambda: create("itemknn", neighbours=0), "neighbours of at least 1"),
        (lambda: KNN().fit(pairs(("u", "a")), vectors(a=[1.0]), RNG(0)), "chosen on validation"),
        (lambda: KNN(scaling="none").fit(pairs(("u", "a")), None, RNG(0)), "20_extract_embeddings"),
        (lambda: KNN(scaling="none").fit(pairs(("u", "a")), vectors(b=[1.0]), RNG(0)), "check the ids"),
        (lambda: create("mostpop").fit(pairs(), None, RNG(0)), "at least one train pair"),
        (lambda: swap_profiles(pairs(("u", "a")), RNG(0)), "at least two users"),
    ],
)
def test_errors_are_sentences(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
