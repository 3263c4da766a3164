"""Extract a study's clips with one backend into an empty cache: CPU seconds a clip, and how much of it is decoding.

Prints a Markdown table: ``python benchmarks/extraction.py STUDY [--original PYTHON] > benchmarks/extraction.md``

The study's clips must be there (``make workbook STUDY=demo`` makes the demo's). One thread a network and one that
decodes ahead, as in notebook 20; CPU time is of the whole process, so nothing hides in a thread. The original package
runs in an environment of its own (``benchmarks/musicnn_speed.py --help`` says how it is made) on some of the same
clips, before and after.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from memory import peak_megabytes
from musicnn_speed import DRIVER, THREAD_VARIABLES

from lib.backends import extraction
from lib.backends.vectors import VectorStore
from lib.data import audio
from lib.study import Study, load_parameters, resolve
from lib.study.tables import read_parquet

ORIGINAL = {"musicnn_msd": "MSD_musicnn", "musicnn_mtt": "MTT_musicnn", "vgg_msd": "MSD_vgg", "vgg_mtt": "MTT_vgg"}


class Clock:
    """CPU seconds that a function takes in whichever thread it runs."""

    def __init__(self, function):
        self.function, self.seconds = function, 0.0

    def __call__(self, *args, **options):
        """Run it on the clock."""
        started = time.thread_time()
        try:
            return self.function(*args, **options)
        finally:
            self.seconds += time.thread_time() - started


def ours(study, backend, n_clips):
    """CPU and wall seconds a clip, seconds of decoding, mixing and resampling, and of the front end."""
    tracks = read_parquet(study.path("data", "tracks.parquet")).head(n_clips)
    network = extraction.network(backend, tracks, study.parameters)
    warm = audio.load(resolve(tracks["path"].iloc[0]), network.sample_rate)
    network.embed([warm])
    loading, front = Clock(audio.load), Clock(network.features)
    audio.load, network.features = loading, front
    with tempfile.TemporaryDirectory() as folder:
        store = VectorStore(Path(folder) / "vectors.lance")
        cpu, wall = time.process_time(), time.perf_counter()
        done = extraction.extract(tracks, network, store, Path(folder) / "cache", progress=lambda rows, **_: rows)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return len(tracks), done.embedded, cpu, wall, loading.seconds, front.seconds


def original(python, model, paths):
    """CPU and wall seconds of the original package, a row a clip, the first call in a fresh process at the front."""
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, "1")
    lines = "\n".join(json.dumps([model, str(path)]) for path in [paths[0], *paths])
    done = subprocess.run(
        [python, "-c", DRIVER], input=lines, capture_output=True, text=True, check=True, env=environment
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study")
    parser.add_argument("--backend", default="musicnn_msd")
    parser.add_argument("--clips", type=int, default=400)
    parser.add_argument("--original", metavar="PYTHON", help="interpreter that has the package musicnn 0.1.0")
    parser.add_argument("--original-clips", type=int, default=10)
    options = parser.parse_args()
    study = Study(load_parameters(options.study))
    paths = [resolve(path) for path in read_parquet(study.path("data", "tracks.parquet"))["path"]]
    some = paths[:: max(1, len(paths) // options.original_clips)][: options.original_clips]
    theirs = [original(options.original, ORIGINAL[options.backend], some)] if options.original else []
    load = os.getloadavg()[0]
    n, embedded, cpu, wall, loading, front = ours(study, options.backend, options.clips)
    theirs += [original(options.original, ORIGINAL[options.backend], some)] if options.original else []
    before = 100 * (loading + front) / cpu
    print(f"# Extraction of {n} clips of {options.backend}\n")
    print(f"Made by `python benchmarks/extraction.py {options.study} --original PYTHON > benchmarks/extraction.md`;")
    print(
        f"clips of {study.parameters.clip_seconds:g} s, {embedded} embedded, one run; load {load:.1f} at its start.\n"
    )
    print("| what | figure |\n|---|---:|")
    print(f"| CPU s a clip, file to stored vector | {cpu / n:.3f} |")
    print(f"| wall s a clip | {wall / n:.3f} |")
    print(f"| decode, mix down, resample: CPU s a clip | {loading / n:.4f} |")
    print(f"| log-mel: CPU s a clip | {front / n:.4f} |")
    print(f"| the two as a share of the whole | {before:.1f} % |")
    print(f"| peak memory, MB | {peak_megabytes():,.0f} |")
    if theirs:
        first = np.mean([run[0] for run in theirs], axis=0)
        warm = np.median([row for run in theirs for row in run[1:]], axis=0)
        calls = {f"warm, median of {2 * len(some)}": warm, "first call of a process, mean of 2": first}
        for call, (their_cpu, their_wall) in calls.items():
            print(f"| original package, {call}: CPU s a clip | {their_cpu:.2f} |")
            print(f"| … wall s a clip | {their_wall:.2f} |")
            print(f"| … ratio, CPU | {their_cpu / (cpu / n):.1f}x |")
            print(f"| … ratio, wall | {their_wall / (wall / n):.1f}x |")


if __name__ == "__main__":
    main()
