"""Time decoding, the log-mel frontend and the networks on one 30 s clip, and the original package beside them.

Prints a Markdown table: python benchmarks/musicnn_speed.py [--original PYTHON] > benchmarks/musicnn_speed.md

One thread, median of n runs after one warm-up, CPU and wall seconds. The clip is made here (44.1 kHz stereo, chords and
noise). The original runs in an environment of its own, in turns with ours, so that both meet the same load.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)  # fmt: skip
for variable in THREAD_VARIABLES:  # before numpy and torch are imported, and inherited by the original's process
    os.environ[variable] = "1"

import numpy as np  # noqa: E402
import soundfile  # noqa: E402
import torch  # noqa: E402

from lib.backends import LABELS, create, names  # noqa: E402
from lib.backends.architectures.musicnn import log_mel  # noqa: E402
from lib.data import audio  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
HOW_TO = """\
an environment for --original (Python 3.9 to 3.11, about 1 GB):
  python3.11 -m venv ENV
  ENV/bin/pip install tensorflow-cpu==2.15.1 librosa==0.10.2 numpy==1.26.4
  ENV/bin/pip install --no-deps musicnn==0.1.0
  python benchmarks/musicnn_speed.py --original ENV/bin/python
"""

# Runs inside the original's environment: one extraction for each line it reads, timings as JSON lines. Its own process
# stays, so that all runs but the first are warm.
DRIVER = """
import contextlib, io, json, os, sys, time
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
import warnings
warnings.filterwarnings("ignore")
import tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
from musicnn.extractor import extractor
for line in sys.stdin:
    model, path = json.loads(line)
    wall, cpu = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        extractor(path, model=model)
    print(json.dumps([time.process_time() - cpu, time.perf_counter() - wall]), flush=True)
"""


# The same for ours: creating the backend, reading the weights and the first vector, after the imports.
FIRST_CALL = """
import sys, time
import torch
from lib.data import audio
from lib.backends import create, musicnn
torch.set_num_threads(1)
wall = time.perf_counter()
create(sys.argv[1]).embed([audio.load(sys.argv[2], 16000)], sample_rate=16000)
print(time.perf_counter() - wall)
"""

ORIGINAL_HEADER = """\
File to vector, the original package (`extractor`) and ours in turns, so that both meet the same load. *Warm*: median, both
processes stay; the original builds its graph and restores its weights at each call, ours keeps its network. *First call*:
in a fresh process after the imports, weights read.

| network | original, warm: CPU s | wall s | ours, warm: CPU s | wall s | original, first call: wall s | ours | ratio warm (CPU) | ratio warm (wall) | ratio first call (wall) |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"""  # noqa: E501 - a table's header


def clip(path):
    rng = np.random.default_rng(0)
    seconds = np.arange(30 * 44100) / 44100
    chord = sum(np.sin(2 * np.pi * f * seconds) for f in (220.0, 277.2, 329.6)) * np.exp(-4 * (seconds % 0.5))
    stereo = 0.2 * chord[:, None] + 0.02 * rng.standard_normal((len(seconds), 2))
    soundfile.write(path, stereo, 44100, subtype="PCM_16")


def timed(function):
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return time.process_time() - cpu, time.perf_counter() - wall


def median(times):
    return tuple(float(np.median(column)) for column in zip(*times, strict=True))


def measure(function, repeats):
    function()
    return median([timed(function) for _ in range(repeats)])


def our_rows(path, repeats):
    waveform = audio.load(path, 16000)
    features = create("musicnn_msd").features(waveform)
    yield "decode, mix down, resample to 16 kHz", measure(lambda: audio.load(path, 16000), repeats)
    yield "log-mel", measure(lambda: log_mel(waveform), repeats)
    for name in names(twins=False):
        backend = create(name)
        if backend.frontend is None:
            samples = audio.load(path, backend.sample_rate)
            yield f"{LABELS[name]}, from samples", measure(lambda b=backend, s=samples: b.embed([s]), repeats)
        else:
            yield f"{LABELS[name]}, from log-mel", measure(lambda b=backend: b.embed_features([features]), repeats)


class Original:
    """The original package in a process of its own; call it with a model's name and a file for (CPU, wall) seconds."""

    def __init__(self, python):
        self.process = subprocess.Popen(
            [python, "-c", DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def __call__(self, model, path):
        """Extract one file; stop with the original's own words if it fails."""
        self.process.stdin.write(json.dumps([model, str(path)]) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"The original package stopped:\n{self.process.stderr.read()}\n{HOW_TO}")
        return tuple(json.loads(answer))

    def close(self):
        """Let the process end."""
        self.process.communicate()


def first_call(name, path):
    done = subprocess.run(
        [sys.executable, "-c", FIRST_CALL, name, str(path)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return float(done.stdout)


def against_original(python, path, repeats):
    """Yield (network, first calls' wall of original and ours, warm original, warm ours as (CPU, wall))."""
    for name, model in (("musicnn_msd", "MSD_musicnn"), ("vgg_msd", "MSD_vgg")):
        original, backend = Original(python), create(name)

        def ours(backend=backend):
            backend.embed([audio.load(path, backend.sample_rate)], sample_rate=backend.sample_rate)

        first = original(model, path)[1], first_call(name, path)
        original(model, path)
        ours()
        pairs = [(original(model, path), timed(ours)) for _ in range(repeats)]
        original.close()
        yield LABELS[name], first, median([a for a, _ in pairs]), median([b for _, b in pairs])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=HOW_TO, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=9, help="timed runs of each row (default 9)")
    parser.add_argument("--original", metavar="PYTHON", help="Python of an environment with the original package")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.wav"
        clip(path)
        print(
            f"Seconds for one 30 s clip (44.1 kHz stereo): {os.cpu_count()} cores, 1 thread, median of n = "
            f"{options.repeats} after a warm-up; load {os.getloadavg()[0]:.1f} at the start; "
            f"Python {sys.version.split()[0]}, torch {torch.__version__}.\n"
        )
        print("| step | CPU s | wall s |\n|---|---:|---:|")
        for label, (cpu, wall) in our_rows(path, options.repeats):
            print(f"| {label} | {cpu:.3f} | {wall:.3f} |")
        if options.original:
            print("\n" + ORIGINAL_HEADER)
            for label, first, theirs, ours in against_original(options.original, path, options.repeats):
                columns = [f"{seconds:.2f}" for seconds in (*theirs, *ours, *first)]
                ratios = theirs[0] / ours[0], theirs[1] / ours[1], first[0] / first[1]
                print(f"| {label} | {' | '.join([*columns, *(f'{ratio:.1f}x' for ratio in ratios)])} |")


if __name__ == "__main__":
    main()
