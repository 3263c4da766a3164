"""Every backend at its true size: width, frames, seconds and memory for a 30 s clip, parameters, licence.

Run ``python benchmarks/backends.py --out benchmarks/backends.md``. Networks whose weights are not at hand are measured
through their untrained twin, which is the same network: what it costs does not depend on what it has learned. Each runs
in a process of its own on one thread.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from memory import peak_megabytes

from lib import backends

SECONDS = 30
REPEATS = 3


def noise(rate, seconds, seed=0):
    """A clip of noise with a slow beat, mono."""
    time_of = np.arange(int(rate * seconds)) / rate
    wave = np.random.default_rng(seed).standard_normal(len(time_of)) * (0.6 + 0.4 * np.sin(2 * np.pi * 2 * time_of))
    return (0.1 * wave).astype(np.float32)


def measure(name):
    """Print what a backend costs, in this process; what could not be loaded is a sentence."""
    rate = backends.REGISTRY[name].sample_rate
    used = name
    try:
        backend = backends.create(name)
    except (ValueError, FileNotFoundError) as error:
        used = backends.UNTRAINED.get(name)
        if used is None:
            print(json.dumps({"error": str(error)}))
            return
        clips = {"calibration": [noise(rate, 10, seed) for seed in range(4)]}
        backend = backends.create(used, **(clips if "calibration" in backends.options(used) else {}))
    clip = noise(rate, SECONDS)
    backend.embed([clip])
    cpu = []
    for _ in range(REPEATS):
        started = time.process_time()
        vector = backend.embed([clip])
        cpu.append(time.process_time() - started)
    found = {"used": used, "dim": vector.shape[1], "cpu": float(np.median(cpu)), "megabytes": peak_megabytes()}
    print(json.dumps(found | {"layer": str(backend.layer)}))


def main():
    """Measure every backend, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=backends.names(twins=False), help="ids; all by default")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure)
        return
    lines = ["| backend | measured | rate, Hz | dim | parameters, M | cpu s a 30 s clip | peak memory, MB | weights |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for name in options.names:
        command = [sys.executable, __file__, "--measure", name]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        found, entry = json.loads(done.stdout.splitlines()[-1]), backends.REGISTRY[name]
        if "error" in found:
            lines.append(f"| {name} | not loaded: {found['error'][:80]} | | | | | | {entry.licence} |")
            continue
        lines.append(
            f"| {name} | {found['used']} | {entry.sample_rate} | {found['dim']} | {entry.parameters or '–'} | "
            f"{found['cpu']:.2f} | {found['megabytes']:,.0f} | {entry.licence} |"
        )
        print(lines[-1], flush=True)
    if options.out:
        heading = ["# Backends", "", f"Made by `benchmarks/backends.py`; median of {REPEATS}, one thread.", ""]
        options.out.write_text("\n".join([*heading, *lines, ""]))


if __name__ == "__main__":
    main()
