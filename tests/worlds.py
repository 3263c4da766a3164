"""Small worlds that several tests of recommenders are tried in."""

import numpy as np
import pandas as pd

from lib.backends.vectors import Vectors
from lib.evaluation import results
from lib.evaluation.metrics import recommend_and_score, tasks
from lib.evaluation.results import Run
from lib.study.tables import write_parquet

RNG = np.random.default_rng


def pairs(*rows):
    frame = pd.DataFrame([(*row, 1)[:3] for row in rows], columns=["user_id", "track_id", "count"])
    return frame.assign(timestamp=pd.Timestamp("2020-01-01", tz="UTC"))


def plays(*rows):
    """Pairs with times: rows of user, track, day."""
    frame = pd.DataFrame(rows, columns=["user_id", "track_id", "day"])
    frame["timestamp"] = pd.Timestamp("2020-01-01", tz="UTC") + pd.to_timedelta(frame.pop("day"), unit="D")
    return frame.assign(count=1)


def planted_world():
    """Listeners love one of six groups of tracks, which the vectors show; a quarter of the tracks is cold."""
    rng = RNG(7)
    ids = np.array([f"{number:012x}" for number in rng.choice(2**40, 240, replace=False)])
    group = rng.integers(6, size=240)
    values = rng.standard_normal((6, 16))[group] + 0.5 * rng.standard_normal((240, 16)) + 4
    cold = rng.random(240) < 0.25
    parts = {name: [] for name in ("train", "val", "cold_val", "hot_test", "cold_test")}
    for user in range(160):
        weight = np.where(group == user % 6, 12.0, 1.0)
        hot, new = (
            rng.choice(240, size, replace=False, p=weight * pool / (weight * pool).sum())
            for pool, size in ((~cold, 16), (cold, 3))
        )
        names = ("val", "cold_val") if user < 50 else ("hot_test", "cold_test")
        for name, tracks in zip(("train", *names), (hot[:12], hot[12:], new), strict=True):
            parts[name] += [(f"user{user:03d}", ids[track]) for track in tracks]
    frames = [pairs(*rows) for rows in parts.values()]
    return frames[0], Vectors.of(ids, values), tasks(*frames)


def small(n_users=30, n_tracks=40, dim=6, seed=0):
    """Random pairs and vectors, five tracks cold; the vectors as unchangeable as those read from a store may be."""
    rng = RNG(seed)
    ids = [f"track {number:02d}" for number in range(n_tracks)]
    train = pairs(*((f"u{u:02d}", ids[t]) for u in range(n_users) for t in rng.choice(n_tracks - 5, 8, replace=False)))
    vectors = Vectors.of(ids, rng.standard_normal((n_tracks, dim)))
    vectors.values.flags.writeable = False
    return train, vectors


def ndcg(model, task):
    return recommend_and_score(model, task)[1][f"NDCG@{task.cutoffs[0]}"].mean()


def numbered_vectors(rng, n):
    """Random vectors of the tracks t00, t01, ..."""
    ids = np.array([f"t{number:02d}" for number in range(n)], dtype=object)
    return Vectors(ids, rng.standard_normal((n, 6)).astype(np.float32))


def write_parts(study, vectors, rng, *, n_users, n_hot):
    """Write a study's split: of each listener six train tracks, two of validation and of test, and cold ones."""
    hot, cold = vectors.ids[:n_hot], vectors.ids[n_hot:]

    def drawn(tracks, n):
        rows = [(f"u{user:02d}", track) for user in range(n_users) for track in rng.choice(tracks, n, replace=False)]
        frame = pd.DataFrame(rows, columns=["user_id", "track_id"])
        when = pd.Timestamp("2020-01-01", tz="UTC") + pd.to_timedelta(np.arange(len(frame)), unit="h")
        return frame.assign(timestamp=when.astype("datetime64[us, UTC]"), count=1)

    tables = {"train": drawn(hot, 6), "val": drawn(hot, 2), "hot_test": drawn(hot, 2)}
    for name, frame in (tables | {"cold_val": drawn(cold, 1), "cold_test": drawn(cold, 2)}).items():
        write_parquet(frame, study.path("data", f"{name}.parquet"))


def save_scores(study, run, split, mean, n=60, k=22):
    """Scores of n users about a mean, as a run saves them."""
    rng = np.random.default_rng(list(repr((run, split)).encode()))
    users = [f"u{i}" for i in range(n)]
    values = np.clip(rng.normal(mean, 0.02, n), 0, 1)
    frame = pd.DataFrame({"user_id": users, f"HitRate@{k}": values, f"Recall@{k}": values, f"NDCG@{k}": values})
    results.save_run(study, run, split, {0: (None, frame)})


def finish(study):
    """A finished study whose real vectors are far better than all else."""
    rng = np.random.default_rng(1)
    for split in results.TEST_SPLITS:
        for backend in ("mfcc", "musicnn_msd"):
            save_scores(study, Run("knn", backend), split, 0.5)
            save_scores(study, Run("knn", backend, "shuffled"), split, 0.1)
            values = [
                {"split": split, "permutation": b, "metric": m, "k": 22, "value": rng.normal(0.1, 0.01)}
                for b in range(99)
                for m in ("HitRate", "Recall", "NDCG")
            ]
            results.save_permutations(study, Run("knn", backend, "shuffled"), pd.DataFrame(values))
        save_scores(study, Run("knn", "musicnn_msd", "untrained"), split, 0.3)
        save_scores(study, Run("knn", "artist"), split, 0.2)
        save_scores(study, Run("chance"), split, 0.05)
    save_scores(study, Run("mostpop"), "hot_test", 0.2)
    for split in ("val", "hot_test"):
        save_scores(study, Run("itemknn"), split, 0.4)
        save_scores(study, Run("ease"), split, 0.3 if split == "val" else 0.45)  # better by the luck of the test month
    return study


def permuted(study, run, split, n, mean=0.1):
    """`n` permuted runs of a model, saved as 30_knn saves them; returns their NDCG."""
    rng = np.random.default_rng([n, len(run.backend)])
    values = rng.normal(mean, 0.01, n)
    frame = pd.DataFrame({"split": split, "permutation": range(n), "metric": "NDCG", "k": 22, "value": values})
    every = [frame.assign(metric=name) for name in ("HitRate", "Recall", "NDCG")]
    results.save_permutations(study, run, pd.concat(every, ignore_index=True))
    return values
