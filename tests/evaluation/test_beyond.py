"""Beyond accuracy, against hand-worked lists and the metrics of RecBole and rs-metrics."""

import time

import numpy as np
import pandas as pd
import pytest

from lib import evaluation
from lib.backends.vectors import Vectors
from lib.evaluation import beyond

LISTS = pd.DataFrame(
    {
        "user_id": ["u", "u", "u", "v", "v"],
        "rank": [1, 2, 3, 1, 2],
        "track_id": ["a", "b", "cold", "b", "c"],
        "score": [0.9, 0.8, 0.7, 0.5, 0.4],
    }
)
# four users; a heard by 4, b by 2, c by 1
TRAIN = pd.DataFrame(
    {"user_id": ["u", "v", "w", "x", "w", "x", "v"], "track_id": ["a", "a", "a", "a", "b", "b", "c"], "count": 1}
)


def random_world(rng, n_users=60, n_tracks=80, k=10):
    """Full lists and train pairs with popular tracks, ids like 'user 7'."""
    users = np.array([f"user {i}" for i in range(n_users)], dtype=object)
    tracks = np.array([f"träck {i:03d}" for i in range(n_tracks)], dtype=object)
    chance = 1 / np.arange(1, n_tracks + 1)
    chance /= chance.sum()
    listed = np.concatenate([rng.choice(n_tracks, k, replace=False, p=chance) for _ in users])
    lists = pd.DataFrame(
        {"user_id": np.repeat(users, k), "rank": np.tile(np.arange(1, k + 1), n_users), "track_id": tracks[listed]}
    )
    heard = np.concatenate([rng.choice(n_tracks - 10, 8, replace=False) for _ in users])  # the last ten are cold
    train = pd.DataFrame({"user_id": np.repeat(users, 8), "track_id": tracks[heard], "count": 1})
    return lists, train, tracks


def test_popularity_novelty_and_lift_by_hand():
    found = beyond.per_user(LISTS, TRAIN, 3).set_index("user_id")
    assert list(found.index) == ["u", "v"]
    assert found["Popularity@3"].tolist() == pytest.approx([(1 + 0.5 + 0) / 3, (0.5 + 0.25) / 2])
    # bits: a 0, b 1, c 2; a track nobody heard counts as heard by one of four
    assert found["Novelty@3"].tolist() == pytest.approx([(0 + 1 + 2) / 3, (1 + 2) / 2])
    # profiles: u heard a (1); v heard a and c (mean .625)
    assert found["PopularityLift@3"].tolist() == pytest.approx([0.5, 0.375 / 0.625])


def test_lists_are_cut_at_k_and_only_there():
    found = beyond.per_user(LISTS.sample(frac=1, random_state=0), TRAIN, 1).set_index("user_id")
    assert found["Popularity@1"].tolist() == [1.0, 0.5]
    assert beyond.coverage(LISTS, ["a", "b", "c", "cold"], 1) == 0.5


def test_a_user_without_history_has_no_lift():
    lists = pd.DataFrame({"user_id": ["new"], "rank": [1], "track_id": ["b"]})
    found = beyond.per_user(lists, TRAIN, 1)
    assert np.isnan(found["PopularityLift@1"][0])
    assert found["Novelty@1"][0] == 1


def test_cold_lists_have_constant_novelty_and_no_popularity():
    lists = pd.DataFrame({"user_id": ["u", "v"], "rank": [1, 1], "track_id": ["cold 1", "cold 2"]})
    found = beyond.per_user(lists, TRAIN, 1)
    assert found["Novelty@1"].tolist() == [2, 2]
    assert found["PopularityLift@1"].tolist() == [0, 0]


def standardised(vectors, train):
    on_train = vectors.select(train["track_id"].unique()).values.astype(float)
    return (vectors.values - on_train.mean(axis=0)) / on_train.std(axis=0)


def test_diversity_is_the_mean_over_pairs(rng, monkeypatch):
    monkeypatch.setattr(beyond, "COLUMNS_AT_A_TIME", 3)  # vectors in several parts, the last one smaller
    lists, train, tracks = random_world(rng)
    vectors = Vectors.of(tracks, rng.normal(5, 1, (len(tracks), 7)))
    found = beyond.per_user(lists, train, 6, vectors=vectors).set_index("user_id")["Diversity@6"]
    scaled = dict(zip(vectors.ids, standardised(vectors, train), strict=True))
    for user, own in lists[lists["rank"] <= 6].groupby("user_id"):
        rows = np.array([scaled[track] for track in own["track_id"]])
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        assert found[user] == pytest.approx((1 - (unit @ unit.T)[np.triu_indices(6, 1)]).mean(), abs=1e-5)


def test_canary_unscaled_vectors_would_all_look_alike(rng):
    """Vectors with one large common direction: raw cosines call every list uniform, standardised ones do not."""
    lists, train, tracks = random_world(rng)
    vectors = Vectors.of(tracks, rng.normal(20, 1, (len(tracks), 7)))
    raw = vectors.values / np.linalg.norm(vectors.values, axis=1, keepdims=True)
    assert (1 - raw @ raw.T).max() < 0.05
    assert beyond.per_user(lists, train, 10, vectors=vectors)["Diversity@10"].min() > 0.5


def test_diversity_of_opposite_equal_and_too_few_vectors():
    vectors = Vectors.of(["a", "b", "c"], [[1.0, 1.0], [-1.0, -1.0], [1.0, 1.0]])
    train = pd.DataFrame({"user_id": ["u", "u"], "track_id": ["a", "b"]})
    lists = pd.DataFrame(
        {
            "user_id": ["far", "far", "same", "same", "single", "half", "half"],
            "rank": [1, 2, 1, 2, 1, 1, 2],
            "track_id": ["a", "b", "a", "c", "a", "a", "no vector"],
        }
    )
    found = beyond.per_user(lists, train, 2, vectors=vectors).set_index("user_id")["Diversity@2"]
    assert found["far"] == pytest.approx(2)
    assert found["same"] == pytest.approx(0, abs=1e-6)
    assert np.isnan(found["single"])
    assert np.isnan(found["half"])


def test_known_artists_by_hand():
    artists = pd.Series({"a": "Ann", "b": "Ben", "c": "Ann", "cold": None})
    found = beyond.per_user(LISTS, TRAIN, 3, artists=artists).set_index("user_id")["KnownArtist@3"]
    assert found["u"] == pytest.approx(1 / 3)  # heard Ann; listed Ann, Ben and nobody
    assert found["v"] == pytest.approx(1 / 2)  # heard Ann twice; listed Ben, Ann


def test_coverage_and_gini_by_hand():
    candidates = ["a", "b", "c", "cold", "never"]
    assert beyond.coverage(LISTS, candidates, 3) == pytest.approx(4 / 5)
    # times listed, ascending 0 1 1 1 2: sum of (2i - 6) times = -2 + 0 + 2 + 8 = 8, over 5 * 5
    assert beyond.gini(LISTS, candidates, 3) == pytest.approx(8 / 25)
    even = pd.DataFrame({"user_id": ["u", "v"], "rank": [1, 1], "track_id": ["a", "b"]})
    assert beyond.gini(even, ["a", "b"], 1) == 0


def test_rs_metrics_agrees(rng):
    rs = pytest.importorskip("rs_metrics")
    lists, train, tracks = random_world(rng)
    names = {"user_col": "user_id", "item_col": "track_id"}
    found = beyond.per_user(lists, train, 10).mean(numeric_only=True)
    assert found["Novelty@10"] == pytest.approx(rs.surprisal(train, lists, k=10, **names))
    assert found["Popularity@10"] == pytest.approx(rs.popularity(train, lists, k=10, **names))
    assert beyond.coverage(lists, tracks, 10) == pytest.approx(rs.coverage(list(tracks), lists, k=10, **names))


def test_recbole_agrees(rng):
    metrics = pytest.importorskip("recbole.evaluator.metrics")
    lists, train, tracks = random_world(rng)
    of_track = {track: number for number, track in enumerate(tracks)}
    matrix = lists["track_id"].map(of_track).to_numpy().reshape(-1, 10)
    config = {"topk": [5, 10], "metric_decimal_place": 12}
    theirs = metrics.GiniIndex(config), metrics.ItemCoverage(config), metrics.AveragePopularity(config)
    counts = train["track_id"].map(of_track).value_counts().to_dict()
    popularity = theirs[2].metric_info(theirs[2].get_pop(matrix, counts)).mean(axis=0)
    for k in (5, 10):
        assert beyond.gini(lists, tracks, k) == pytest.approx(theirs[0].get_gini(matrix[:, :k], len(tracks)))
        assert beyond.coverage(lists, tracks, k) == theirs[1].get_coverage(matrix[:, :k], len(tracks))
        ours = beyond.per_user(lists, train, k)[f"Popularity@{k}"].mean()
        assert ours * train["user_id"].nunique() == pytest.approx(popularity[k - 1])


def test_the_summary_counts_users_with_a_value(rng):
    lists = pd.concat([LISTS, pd.DataFrame({"user_id": ["new"], "rank": [1], "track_id": ["b"]})])
    scores = beyond.per_user(lists, TRAIN, 3)
    table = beyond.summarise(lists, scores, ["a", "b", "c", "cold"], 3, rng, n_resamples=200).set_index("metric")
    assert table.loc["PopularityLift", "n_users"] == 2
    assert table.loc["PopularityLift", "value"] == pytest.approx((0.5 + 0.6) / 2)
    assert table.loc["Novelty", "n_users"] == 3
    assert table.loc["Novelty", "ci_low"] <= table.loc["Novelty", "value"] <= table.loc["Novelty", "ci_high"]
    assert table.loc["Coverage", "value"] == 1
    assert np.isnan(table.loc["Coverage", "ci_low"])  # a bootstrap of coverage is off centre
    assert (table["k"] == 3).all()


def test_history_strata_never_part_equal_lengths():
    lengths = [1, 1, 1, 2, 3, 5, 8, 8]
    users = [f"u{i}" for i in range(len(lengths))]
    train = pd.DataFrame([(user, f"t{j}") for user, n in zip(users, lengths, strict=True) for j in range(n)])
    train.columns = ["user_id", "track_id"]
    strata = beyond.history_strata(train, [*users, "absent"])
    assert strata["absent"] == strata["u0"] == strata["u2"] == "0-1 tracks"
    assert strata["u6"] == strata["u7"]
    assert list(strata.cat.categories) == ["0-1 tracks", "2-2 tracks", "3-5 tracks", "8-8 tracks"]


def test_scores_by_history_average_the_right_users(rng):
    users = [f"u{i}" for i in range(40)]
    train = pd.DataFrame([(user, f"t{j}") for i, user in enumerate(users) for j in range(i + 1)])
    train.columns = ["user_id", "track_id"]
    scores = pd.DataFrame({"user_id": users, "NDCG@5": np.arange(40) / 40}).sample(frac=1, random_state=1)
    table = beyond.by_history(scores, train, rng, n_resamples=200)
    assert table["stratum"].tolist() == ["1-10 tracks", "11-20 tracks", "21-30 tracks", "31-40 tracks"]
    assert table["value"].tolist() == pytest.approx([4.5 / 40, 14.5 / 40, 24.5 / 40, 34.5 / 40])
    assert table["n_users"].tolist() == [10] * 4


def test_popularity_strata_hold_their_share_of_plays():
    plays = pd.Series(np.floor(1000 / np.arange(1, 401)).astype(int), index=[f"t{i:03d}" for i in range(400)])
    train = pd.DataFrame({"user_id": "u", "track_id": plays.index, "count": plays.to_numpy()})
    strata = beyond.popularity_strata(train.sample(frac=1, random_state=0))
    share = plays.groupby(strata).sum() / plays.sum()
    assert share["head"] == pytest.approx(0.2, abs=0.06)
    assert share["tail"] == pytest.approx(0.2, abs=0.06)
    assert plays[strata == "head"].min() > plays[strata == "middle"].max()
    assert plays[strata == "middle"].min() > plays[strata == "tail"].max()
    assert plays.groupby(plays).apply(lambda level: strata[level.index].nunique()).max() == 1  # equals stay together


def test_scores_by_popularity_are_those_of_the_relevant_tracks_alone(rng):
    plays = {"top": 60, "mid": 40, "m1": 30, "m2": 30, "m3": 30, "low": 12, "few": 12}
    train = pd.DataFrame({"user_id": "w", "track_id": list(plays), "count": list(plays.values())})
    strata = beyond.popularity_strata(train)
    assert strata[["top", "mid", "low", "few"]].tolist() == ["head", "middle", "tail", "tail"]
    lists = pd.DataFrame({"user_id": ["u", "u", "v"], "rank": [1, 2, 1], "track_id": ["top", "low", "mid"]})
    truth = pd.DataFrame({"user_id": ["u", "u", "v", "v"], "track_id": ["top", "low", "few", "new"]})
    table = beyond.by_popularity(lists, truth, train, [2], rng, n_resamples=200)
    ndcg = table[table["metric"] == "NDCG"].set_index("stratum")
    assert list(ndcg.index) == ["head", "tail", "unheard"]  # nothing relevant lies in the middle
    assert ndcg.loc["head", "value"] == 1
    assert ndcg.loc["head", "n_users"] == 1
    assert ndcg.loc["tail", "value"] == pytest.approx((1 / np.log2(3) + 0) / 2)
    assert ndcg.loc["unheard", "value"] == 0
    whole = evaluation.per_user(lists, truth, [2])
    assert whole["Recall@2"].mean() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda lists: lists.assign(track_id="a"), "found 'a' twice for user 'u'"),
        (lambda lists: lists.assign(track_id=lists["track_id"].replace("c", "d")), "found 1 place"),
    ],
)
def test_wrong_lists_are_refused(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        beyond.coverage(change(LISTS), ["a", "b", "c", "cold"], 3)


def test_wrong_cut_offs_and_empty_inputs_are_refused(rng):
    with pytest.raises(ValueError, match="cut-off of at least 1, found 0"):
        beyond.per_user(LISTS, TRAIN, 0)
    with pytest.raises(ValueError, match="found none; pass train"):
        beyond.per_user(LISTS, TRAIN.iloc[:0], 3)
    with pytest.raises(ValueError, match="vectors of train tracks to standardise by"):
        beyond.per_user(LISTS, TRAIN, 3, vectors=Vectors.of(["cold"], [[1.0]]))
    with pytest.raises(ValueError, match="at least one user"):
        beyond.by_popularity(LISTS, TRAIN.iloc[:0], TRAIN, [3], rng)


def test_lists_of_the_public_size_take_seconds(rng):
    """11,642 users x 50 tracks, 64 dimensions: about 1 s of processor time; the bound allows for a busy machine."""
    n_users, n_tracks, k = 11_642, 20_000, 50
    users = np.array([f"u{i:05d}" for i in range(n_users)], dtype=object)
    tracks = np.array([f"t{i:05d}" for i in range(n_tracks)], dtype=object)
    listed = (rng.integers(0, n_tracks, (n_users, 1)) + np.arange(k) * 7) % n_tracks
    lists = pd.DataFrame(
        {"user_id": users.repeat(k), "rank": np.tile(np.arange(1, k + 1), n_users), "track_id": tracks[listed.ravel()]}
    )
    train = lists[lists["rank"] <= 30]
    vectors = Vectors.of(tracks, rng.normal(size=(n_tracks, 64)))
    start = time.process_time()
    beyond.per_user(lists, train, k, vectors=vectors, artists=pd.Series("one", index=tracks))
    assert time.process_time() - start < 6
