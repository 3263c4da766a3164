import numpy as np
import pandas as pd
import pytest

from lib.backends.vectors import Vectors
from lib.evaluation.metrics import chance, tasks
from lib.evaluation.permutations import permutation, permute_knn


def make_world(seed, dim=24, duplicates=False):
    """A world of 160 tracks; some tracks have no vector, one user no profile, one truth no vector."""
    rng = np.random.default_rng(seed)
    ids = np.sort([f"{n:09x}" for n in rng.choice(2**36, 160, replace=False)])
    cold = rng.permutation(160) < 30
    rows = {name: [] for name in ("train", "val", "cold_val", "hot", "cold")}
    for user in range(60):
        chosen = rng.permutation(np.flatnonzero(~cold))
        own = 1 + int(rng.integers(20))
        for part, tracks in (
            ("train", chosen[:own]),
            ("val" if user < 25 else "hot", chosen[own : own + 3]),
            ("cold_val" if user < 25 else "cold", rng.permutation(np.flatnonzero(cold))[:2]),
        ):
            rows[part] += [(f"u{user:02d}", ids[t], int(rng.integers(1, 5))) for t in tracks]
    rows["train"] += [("u60", ids[3], 1)] if not cold[3] else []
    rows["hot"].append(("u60", rows["train"][0][1], 1))
    frames = [pd.DataFrame(part, columns=["user_id", "track_id", "count"]) for part in rows.values()]
    values = np.eye(12)[rng.integers(12, size=160)] if duplicates else rng.standard_normal((160, dim)) * 3 + 2
    return frames[0], Vectors.of(ids, values).select(np.delete(ids, [3, 50])), tasks(*frames)


@pytest.mark.parametrize(
    ("options", "dim", "duplicates"),
    [
        ({"scaling": "auto"}, 24, False),
        ({"scaling": "auto", "weighting": "count"}, 300, False),
        ({"scaling": "whiten"}, 300, False),
        ({"scaling": "none"}, 24, False),
        ({"scaling": "none"}, 12, True),
        ({"scaling": "centre"}, 12, True),
        ({"scaling": "standardise"}, 12, True),
    ],
)
def test_the_fast_path_equals_refitting(options, dim, duplicates):
    train, store, world = make_world(3, dim, duplicates)
    world = {name: world[name] for name in ("val", "hot_test", "cold_test")}
    fast, fast_users = permute_knn(train, store, world, options, n_permutations=6, rng_seed=1)
    slow, slow_users = permute_knn(train, store, world, options, n_permutations=6, rng_seed=1, gram_limit=0)
    pd.testing.assert_frame_equal(fast, slow, atol=1e-6, rtol=0)
    for split in world:
        pd.testing.assert_frame_equal(fast_users[split], slow_users[split], atol=1e-6, rtol=0)


def test_the_scaling_is_chosen_anew_under_each_permutation():
    train, store, world = make_world(5)
    parts = {
        kind: permute_knn(train, store, world, {"scaling": kind}, n_permutations=12, rng_seed=2)[0]
        for kind in ("none", "centre", "standardise", "whiten", "auto")
    }
    column = pd.DataFrame(
        {
            kind: frame.query("split == 'val' and metric == 'NDCG'").set_index("permutation")["value"]
            for kind, frame in parts.items()
        }
    )
    assert np.allclose(column["auto"], column.drop(columns="auto").max(axis=1))
    assert column.drop(columns="auto").idxmax(axis=1).nunique() > 1


def test_permutations_are_the_same_for_all_backends_and_depend_on_the_seed():
    assert np.array_equal(permutation(3, 7, 50), permutation(3, 7, 50))
    assert not np.array_equal(permutation(3, 7, 50), permutation(3, 8, 50))
    assert not np.array_equal(permutation(3, 7, 50), permutation(4, 7, 50))
    assert sorted(permutation(3, 7, 50)) == list(range(50))


def test_frames_and_the_level_of_chance():
    train, store, world = make_world(9)
    store = Vectors(store.ids, store.values)
    frame, users = permute_knn(train, store, world, {"scaling": "centre"}, n_permutations=60, rng_seed=0)
    assert list(frame.columns) == ["split", "permutation", "metric", "k", "value"]
    assert len(frame) == 60 * 4 * 3
    for split, task in world.items():
        k = task.cutoffs[0]
        assert users[split]["user_id"].tolist() == task.users.tolist()
        mean = frame.query("split == @split and metric == 'NDCG'")["value"].mean()
        assert users[split][f"NDCG@{k}"].mean() == pytest.approx(mean)
        assert mean == pytest.approx(chance(task, k)[f"NDCG@{k}"].mean(), rel=0.12)


def test_errors_are_sentences():
    train, store, world = make_world(3)
    with pytest.raises(ValueError, match="pass validate_task="):
        permute_knn(train, store, {"hot_test": world["hot_test"]}, n_permutations=1, rng_seed=0)
    with pytest.raises(ValueError, match="at least one permutation"):
        permute_knn(train, store, world, n_permutations=0, rng_seed=0)
    small = Vectors(store.ids, store.values[:, :5])
    with pytest.raises(ValueError, match="at least 10 components"):
        permute_knn(train, small, world, {"scaling": "whiten"}, n_permutations=1, rng_seed=0)
