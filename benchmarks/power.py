"""How often would the study find what is there? Sizes and content strength of demo are fixed by this table.

Vectors are read from a study that has run; only the listeners are drawn anew in every world. Each world
goes through the same split, the same KNN with its scaling chosen on validation, and the same permutation test as
notebooks 30 and 70.

    python benchmarks/power.py --worlds 40 --users 600 1000 --strength 0 0.3 --out benchmarks/power.md
"""

import argparse
import itertools
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pandas as pd

from lib import evaluation, recommenders
from lib.backends.vectors import VectorStore
from lib.data import splits
from lib.data.mock import listeners
from lib.evaluation import permutations, statistics
from lib.study import Study, load_parameters
from lib.study.progress import progress
from lib.study.tables import read_parquet, write_atomically


def world(study_name, n_users, strength, number, n_permutations):
    """Draw one world and tell which backends are found on hot tracks: one row."""
    overrides = {"n_users": n_users, "content_strength": strength, "seed": 10_000 + number}
    study = Study(load_parameters(study_name, overrides))
    p = study.parameters
    tracks = read_parquet(study.path("data", "tracks.parquet"))
    events = listeners.simulate(
        tracks,
        n_users=n_users,
        tracks_per_user=p.tracks_per_user,
        content_strength=strength,
        factor_weights=p.factor_weights or None,
        cold_share=p.cold_share,
        test_date=p.test_date,
        rng=study.rng("listening"),
    )
    parts = splits.split(events, test_date=p.test_date, preset=p.split_preset, val_users=p.val_users)
    todo = evaluation.tasks(**parts._asdict())
    hot, label = {"hot_test": todo["hot_test"]}, f"NDCG@{todo['hot_test'].cutoffs[0]}"
    store = VectorStore(study.path("vectors.lance"))
    real, permuted = {}, {}
    for backend in p.backend_ids:
        vectors = store.read(backend)
        model = recommenders.create("knn", scaling="auto")
        model.fit(parts.train, vectors, study.rng("knn"), validate=evaluation.validator(todo["val"]))
        real[backend] = evaluation.recommend_and_score(model, todo["hot_test"])[1][label].mean()
        frame, _ = permutations.permute_knn(
            parts.train,
            vectors,
            hot,
            {"scaling": "auto"},
            n_permutations=n_permutations,
            rng_seed=p.seed,
            validate_task=todo["val"],
        )
        permuted[backend] = frame[frame["metric"] == "NDCG"].set_index("permutation")["value"]
    tested = statistics.max_t(list(real.values()), pd.DataFrame(permuted).to_numpy())
    found = dict(zip(p.backend_ids, tested["p_adjusted"] <= p.alpha, strict=True))
    val_users = len(set(parts.val["user_id"]) | set(parts.cold_val["user_id"]))
    gain = sum(real.values()) / len(real) - pd.DataFrame(permuted).to_numpy().mean()
    return {
        "users": n_users,
        "strength": strength,
        "world": number,
        "gain": gain,
        "validation users": val_users,
    } | found


def summary(rows, backend_ids):
    """One line a setting: power, gain and validation users."""
    frame = pd.DataFrame(rows)
    n_found = frame[backend_ids].sum(axis=1)
    frame = frame.assign(**{"all but one found": n_found >= len(backend_ids) - 1, "any found": n_found > 0})
    grouped = frame.groupby(["users", "strength"])
    table = grouped[["all but one found", "any found", *backend_ids, "gain"]].mean().round(3)
    return table.assign(
        worlds=grouped.size(), **{"fewest validation users": grouped["validation users"].min()}
    ).reset_index()


def main():
    """Run the worlds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="demo", help="whose tracks and vectors (default: %(default)s)")
    parser.add_argument("--worlds", type=int, default=40)
    parser.add_argument("--users", type=int, nargs="+", default=[600])
    parser.add_argument("--strength", type=float, nargs="+", default=[0.0, 0.3])
    parser.add_argument("--permutations", type=int, default=199)
    parser.add_argument("--cores", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, help="also write the table here")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    settings = list(itertools.product(options.users, options.strength, range(options.worlds)))
    with ProcessPoolExecutor(options.cores, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(world, options.study, *setting, options.permutations) for setting in settings]
        rows = [job.result() for job in progress(jobs, label="worlds", unit="world")]
    parameters = load_parameters(options.study)
    table = summary(rows, parameters.backend_ids)
    text = (
        f"# Power of {options.study}: KNN on hot tracks against shuffled vectors\n\n"
        f"{parameters.n_tracks} tracks, {parameters.tracks_per_user:g} tracks a listener, {parameters.cold_share:.0%} "
        f"cold; max-T over {len(parameters.backend_ids)} backends, P = {options.permutations}, family-wise "
        f"{parameters.alpha:g}; NDCG at the default cut-off. Factor weights: {parameters.factor_weights}.\n"
        "Shares of worlds; `gain` is the mean over backends of real − shuffled. "
        "At strength 0 `any found` is the false-positive rate.\n\n"
        f"{table.to_markdown(index=False)}\n"
    )
    print(text)
    if options.out:
        with write_atomically(options.out) as beside:
            beside.write_text(text)


if __name__ == "__main__":
    sys.exit(main())
