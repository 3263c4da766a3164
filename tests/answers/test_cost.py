"""Costs, widths, the published table, and worlds with other tastes."""

import numpy as np
import pandas as pd
import pytest
from worlds import planted_world

from lib import backends, evaluation, recommenders
from lib.answers import cost, worlds
from lib.backends.vectors import Vectors
from lib.data import splits
from lib.data.mock import listeners
from lib.data.mock.taste import true_factors
from lib.study import Study, load_parameters

RNG = np.random.default_rng


def test_costs_are_those_of_the_cards():
    found = cost.costs(backends.names(twins=False))
    assert (found["seconds"] > 0).all()
    assert found.set_index("backend").loc["jukebox", "dim"] == 4800


def test_nobody_on_the_frontier_is_beaten_as_cheaply():
    frame = pd.DataFrame({"seconds": [1, 1, 2, 3, 3], "value": [0.2, 0.1, 0.2, 0.5, 0.5]})
    assert cost.frontier(frame).tolist() == [True, False, False, True, True]


def test_a_projection_is_that_of_scikit_learn_on_train_tracks_alone():
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    rng = RNG(0)
    own = Vectors.of([f"t{i:02d}" for i in range(60)], rng.standard_normal((60, 8)) @ rng.standard_normal((8, 8)))
    train = own.ids[:40]
    scaler = StandardScaler().fit(own.values[:40])
    true = PCA(3).fit(scaler.transform(own.values[:40])).transform(scaler.transform(own.values))
    found = cost.narrowed(own, train, 3).values
    np.testing.assert_allclose(np.abs(found), np.abs(true), rtol=1e-3, atol=1e-4)
    moved = own.values.copy()
    moved[40:] += 100  # the canary: cold tracks have no part in it
    again = cost.narrowed(Vectors(own.ids, moved), train, 3).values
    np.testing.assert_array_equal(again[:40], found[:40])


def test_the_common_width_keeps_cosines_where_nothing_is_cut():
    train, vectors, todo = planted_world()
    wide = Vectors(vectors.ids, np.hstack([vectors.values, vectors.values * 2]))  # the same, at twice the width
    hot = {"hot_test": todo["hot_test"]}
    found = cost.by_width(train, hot, {"narrow": vectors, "wide": wide}, RNG(0)).set_index("backend")
    assert found["native"].to_dict() == {"narrow": 16, "wide": 32}
    assert (found["common"] == 16).all()
    np.testing.assert_allclose(found["diff"], 0, atol=1e-9)


def test_a_projection_to_few_dimensions_loses_what_it_cuts():
    train, vectors, todo = planted_world()
    thin = Vectors(vectors.ids, RNG(0).standard_normal((len(vectors), 2)).astype(np.float32))
    hot = {"hot_test": todo["hot_test"]}
    found = cost.by_width(train, hot, {"full": vectors, "thin": thin}, RNG(0)).set_index("backend")
    assert found.loc["full", "diff"] < -0.02
    assert found.loc["thin", "diff"] == pytest.approx(0, abs=1e-9)


def test_no_vectors_no_common_width():
    with pytest.raises(ValueError, match="run 20_extract_embeddings first"):
        cost.common_width({}, ["t0", "t1"])


def test_the_published_table_is_under_our_names():
    found = cost.published()
    assert len(found) == 783
    assert set(found["backend"].dropna()) <= set(backends.names())
    cosine = found.query("recommender == 'knn_raw' and split == 'hot_test' and metric == 'HitRate' and k == 50")
    assert cosine.set_index("backend")["value"]["musicnn_msd"] == 0.0275  # as printed
    assert set(cost.PAPER_RECOMMENDERS.values()) <= set(load_parameters("base").recommender_table)


def test_only_what_both_have_stands_beside_the_published():
    todo = planted_world()[2]
    row = {"split": "hot_test", "control": "real", "seed": -1, "metric": "NDCG", "k": todo["hot_test"].cutoffs[0]}
    row |= {"recommender": "knn_raw", "value": 0.2, "ci_low": 0.1, "ci_high": 0.3}
    metrics = pd.DataFrame([row | {"backend": name} for name in ("musicnn_msd", "vgg_msd")])
    metrics = pd.concat([metrics, metrics.assign(control="shuffled"), metrics.assign(recommender="knn")])
    found = cost.beside_published(metrics, todo)
    assert found["backend"].tolist() == ["musicnn_msd"]
    assert found["published"].tolist() == [0.0008]
    assert found["k_published"].tolist() == [50]


def clips(n=160):
    rng = RNG(5)
    return pd.DataFrame(
        {
            "track_id": [f"{number:04x}" for number in rng.permutation(n)],
            "artist": rng.choice([f"artist {i}" for i in range(30)], n),
            "collection": rng.choice(list("xyz"), n),
            "tempo": rng.uniform(60, 180, n),
            "mode": rng.choice(["major", "minor"], n),
        }
    )


@pytest.fixture(scope="module")
def small_worlds():
    tracks = clips()
    vectors = {"knowing": Vectors.of(tracks["track_id"], true_factors(tracks))}
    vectors["random"] = Vectors.of(tracks["track_id"], RNG(1).standard_normal((len(tracks), 5)))
    study = Study(load_parameters("toy", {"n_users": 150, "tracks_per_user": 16, "seed": 3}))
    return study, tracks, vectors, worlds.over_worlds(study, tracks, vectors, 4, study.rng("worlds"))


def test_what_taste_follows_is_best_in_most_worlds(small_worlds):
    hot = small_worlds[3].query("split == 'hot_test'")
    found = worlds.summary(hot).set_index("backend")
    assert found["share_best"].sum() == pytest.approx(1)
    assert found.loc["knowing", "share_best"] >= 0.75
    assert found.loc["knowing", "value"] > found.loc["random", "value"]
    pairs = worlds.differences(hot)
    assert pairs["diff"].tolist() == pytest.approx([found["value"]["knowing"] - found["value"]["random"]])


def test_a_world_is_the_same_however_many_are_drawn(small_worlds):
    study, tracks, vectors, four = small_worlds
    two = worlds.over_worlds(study, tracks, vectors, 2, study.rng("worlds"))
    pd.testing.assert_frame_equal(two, four[four["world"] < 2])
    assert four["weights"].nunique() == 4


def test_worlds_are_saved(small_worlds, tmp_path):
    study = Study(small_worlds[0].parameters.model_copy(update={"runs_dir": str(tmp_path)}))
    worlds.save(study, small_worlds[3])
    pd.testing.assert_frame_equal(pd.read_parquet(study.path("worlds.parquet")), small_worlds[3])


def test_listeners_of_a_world_are_scored_as_the_recommender_scores_them(small_worlds):
    study, tracks, vectors, _ = small_worlds
    p = study.parameters
    events = listeners.simulate(
        tracks,
        n_users=p.n_users,
        tracks_per_user=p.tracks_per_user,
        content_strength=1.0,
        factor_weights={},
        cold_share=p.cold_share,
        test_date=splits.date_of(p.test_date, p.split_preset),
        rng=RNG(0),
    )
    parts = splits.split(events, test_date=None, preset=p.split_preset, val_users=p.val_users, positives=p.positives)
    todo = evaluation.tasks(**parts._asdict(), cutoffs_hot=(), cutoffs_cold=())
    found = worlds.listeners(parts.train, todo, vectors, RNG(0))
    assert list(found) == ["hot_test", "cold_test"]
    model = recommenders.create("knn", scaling="standardise").fit(parts.train, vectors["random"], RNG(0))
    true = evaluation.recommend_and_score(model, todo["cold_test"])[1].set_index("user_id")
    pd.testing.assert_series_equal(
        found["cold_test"]["random"], true[f"NDCG@{todo['cold_test'].cutoffs[0]}"], check_names=False
    )


def hand_made():
    wide = pd.DataFrame({"world": [0, 1, 2], "a": [1, 2, 3], "b": [2, 2, 7]})
    return wide.melt("world", var_name="backend")


def test_differences_over_worlds_are_those_of_scipy():
    from scipy import stats

    true = stats.ttest_rel([1, 2, 3], [2, 2, 7])
    found = worlds.differences(hand_made()).iloc[0]
    assert found["p"] == pytest.approx(true.pvalue)
    assert [found["ci_low"], found["ci_high"]] == pytest.approx(list(true.confidence_interval()))
    assert found["share_above"] == 0
    assert worlds.summary(hand_made()).set_index("backend")["share_best"].to_dict() == pytest.approx(
        {"b": 2.5 / 3, "a": 0.5 / 3}
    )


def test_one_world_has_no_spread():
    one = hand_made().query("world == 0")
    assert worlds.summary(one)[["sd_worlds", "ci_low", "ci_high"]].isna().all(axis=None)
    found = worlds.differences(one)
    assert found["p_adjusted"].tolist() == [1]
    users = pd.DataFrame({"backend_a": ["b"], "backend_b": ["a"], "ci_low": [0.0], "ci_high": [1.0]})
    assert np.isnan(worlds.beside_users(found, users)["ratio"][0])


def test_real_listeners_have_no_worlds():
    study = Study(load_parameters("toy", {"listening_source": "music4all_onion"}))
    with pytest.raises(worlds.NoWorldsError, match="real"):
        worlds.over_worlds(study, clips(), {}, 2, RNG(0))


def test_tasks_of_a_world_have_the_primary_cutoff(small_worlds):
    found = small_worlds[3].query("split == 'hot_test'")
    assert set(found["metric"]) == {"NDCG"}
    assert (found["k"] <= evaluation.cutoff(160)).all()
