"""Every backend: does the published layout load, how near is it to its original, what does a 30 s clip cost, licence.

Run ``make backends``, or ``python benchmarks/backends.py --out benchmarks/backends.md``. The first two columns are what
the tests found just now (fixture `proof`): small random checkpoints in the published layout, and the largest relative
distance to what the reference implementation gave at the same weights. Costs are those of the true size. Networks whose
weights are not at hand are measured through their untrained twin, which is the same network: what it costs does not
depend on what it has learned. Each runs in a process of its own on one thread.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from memory import peak_megabytes

from lib import backends

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 30
REPEATS = 3
SLOW = 60  # CPU seconds of a clip; what takes longer is timed once, without a warm-up
TITLE = f"""# Backends

Made by `make backends` (`benchmarks/backends.py`). *Layout*: a small random checkpoint with the published names of
files and weights goes through the loader that real ones do, none missing or left over. *Distance*: the largest relative
one between our vectors and those of the original at the same weights and waveforms. *Costs*: a clip of {SECONDS} s of
noise on one thread of a processor, median of {REPEATS} after a first one (one alone above {SLOW} s); memory is that of
the whole process at its peak, torch included.
"""
HEAD = (
    "backend", "published layout loads", "distance to its original", "against", "measured", "dim", "parameters, M",
    "cpu s a clip", "peak memory, MB", "licence of the weights",
)  # fmt: skip


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
    cpu = []
    while len(cpu) <= REPEATS and (not cpu or cpu[0] < SLOW):  # the first warms up, unless it is slow
        started = time.process_time()
        vector = backend.embed([clip])
        cpu.append(time.process_time() - started)
    cpu = cpu[1:] or cpu
    found = {"used": used, "dim": vector.shape[1], "cpu": float(np.median(cpu)), "megabytes": peak_megabytes()}
    print(json.dumps(found))


def proofs():
    """{backend: {what: value}} as the tests record it; a test that fails stops the benchmark."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "proof", "tests/backends", "tests/golden"]
        command += ["--junitxml", str(report), "-o", "junit_family=xunit1"]
        subprocess.run(command, check=True, cwd=ROOT, stdout=sys.stderr)
        found = [entry.attrib for entry in ElementTree.parse(report).iter("property")]
    table = {}
    for entry in found:
        name, what = entry["name"].split(":")
        row = table.setdefault(name, {})
        if what == "distance":
            row[what] = max(float(entry["value"]), row.get(what, 0.0))
        else:
            row[what] = entry["value"]
    return table


def row(name, proof):
    """One line of the table."""
    entry = backends.REGISTRY[name]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, __file__, "--measure", name]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    found = json.loads(done.stdout.splitlines()[-1])
    distance = f"{proof['distance']:.1e}" if "distance" in proof else "–"
    proved = [name, proof.get("loads", "–"), distance, proof.get("against", "–")]
    if "error" in found:
        cells = [*proved, f"not loaded: {found['error']}", "", "", "", ""]
    else:
        used = "itself" if found["used"] == name else "its untrained twin"
        parameters = f"{entry.parameters:g}" if entry.parameters else "–"
        cells = [*proved, used, found["dim"], parameters, f"{found['cpu']:.2f}", f"{found['megabytes']:,.0f}"]
    return "| " + " | ".join(map(str, [*cells, entry.licence])) + " |"


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
    proved = proofs()
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    print("\n".join(lines))
    for name in options.names:
        lines.append(row(name, proved.get(name, {})))
        print(lines[-1], flush=True)
    if options.out:
        options.out.write_text("\n".join([TITLE, *lines, ""]))


if __name__ == "__main__":
    main()
