"""Ask whether the workbook finds what is planted, and nothing where there is nothing (``make calibrate``).

Draws many small worlds without audio (lib/answers/known_truth.py), measures every synthetic backend in them with the
code of a study, and writes how often the right answer came out to docs/calibration.md and docs/calibration.csv.
Measured worlds are kept under runs/calibrate/ by the code that made them: stop it any time, the next run goes on from
there.
"""

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy: one thread a process

import pandas as pd

from lib.answers import known_truth, recovery
from lib.answers.known_truth import NULL, PLANTED, Size
from lib.study import ROOT, provenance
from lib.study.progress import progress
from lib.study.tables import sweep, write_atomically, write_parquet

STRENGTHS = (1.0, 0.3)
N_PERMUTATIONS = 39  # p = 2 / 40 is exactly .05, and 39 cost little
FEWER_PLANTED = 4  # with permutations, these are slow: one in so many
WORLDS_A_FILE = {"planted": 4, "unplanted": 50, "arranged": 5}
HEAD = """# Calibration: does the workbook find what is planted?

Written by `make calibrate` (code {digest}); not edited by hand. Notebook 74 says how to read it.

- Planted worlds: {seeds} of each kind, {planted_size}.
- Worlds with nothing planted: {unplanted}, {unplanted_size}.
- With {permutations} permutations of tracks: {arranged} worlds of the latter kind, and {few} of each planted kind.
- A quarter of the tracks is cold.
- Synthetic backends: 24, and the first 12 of them alone; blur log-uniform from {blur} (noise over signal), independent
  for every factor; the first backend's blur of what taste follows is {best}.
- KNN on standardised vectors, NDCG at the default cut-off; linear probes. Cells are shares of worlds with Wilson's 95 %
  intervals. 'First': the planted task has the highest rank correlation with NDCG among the four; p is the exact one
  over pairings, Holm over the four tasks. RQ3 is claimed only where the arrangement test rejects too: 'by both tests'.
- 'Mean z' is of all four probes; that of RQ3 is of those alone that tell a study's backends apart."""
NOTHING = """Shares of worlds with p <= .05; nominal is .05. The pairing test takes backends as independent units; those
that hear alike share the luck of one arrangement of tracks, which it does not see. The arrangement test permutes
vectors over tracks, for all backends at once, and sees it."""
PAIRS = """Pairs of backends by max-T over listeners (RQ2): is one that hears worse called better, in any of 66 pairs?
What the test is about are these very tracks, on which two backends of nearly equal blur do differ, either way."""


class Batch(NamedTuple):
    """Worlds of one kind that are measured and kept together."""

    kind: str
    world: str
    strength: float
    size: Size
    n_permutations: int
    first: int
    n: int

    @property
    def name(self):
        """Stem of its files."""
        return f"{self.kind}.{self.world}.{self.strength:g}.{self.first:05d}-{self.n}"


def batches(n_seeds, n_null, n_arranged):
    """All that is to be measured.

    ``planted`` and ``unplanted`` worlds have 24 backends; ``arranged`` ones have 12, their vectors are permuted over
    tracks too: `n_arranged` worlds with nothing planted, and a quarter of the planted ones at strength 1.
    """
    fewer = {"size": NULL._replace(n_backends=recovery.FEWER), "n_permutations": N_PERMUTATIONS}
    kinds = [
        ("planted", world, strength, PLANTED, 0, n_seeds)
        for strength in STRENGTHS
        for world in known_truth.WORLDS
        if known_truth.WORLDS[world]
    ]
    kinds.append(("unplanted", "nothing", 0.0, NULL, 0, n_null))
    kinds.append(("arranged", "nothing", 0.0, *fewer.values(), n_arranged))
    fewer["size"] = PLANTED._replace(n_backends=recovery.FEWER)
    kinds += [
        ("arranged", world, 1.0, *fewer.values(), n_seeds // FEWER_PLANTED)
        for world in known_truth.WORLDS
        if known_truth.WORLDS[world]
    ]
    for *kind, n in kinds:
        step = WORLDS_A_FILE[kind[0]]
        for first in range(0, n, step):
            yield Batch(*kind, first, min(step, n - first))


def measure(batch, folder):
    """Measure the worlds of a batch and keep them."""
    found = [
        known_truth.measure(batch.world, batch.strength, seed, batch.size, n_permutations=batch.n_permutations)
        for seed in range(batch.first, batch.first + batch.n)
    ]
    if batch.kind != "unplanted":
        write_parquet(pd.concat([one.users for one in found]), folder / f"{batch.name}.users.parquet")
    write_parquet(pd.concat([one.backends for one in found]), folder / f"{batch.name}.backends.parquet")


def summarise(folder, todo):
    """Rates and levels over all batches."""
    rows = {"planted": [], "unplanted": [], "arranged": []}
    for batch in todo:
        rows[batch.kind].append(pd.read_parquet(folder / f"{batch.name}.backends.parquet"))
    rows = {kind: pd.concat(frames, ignore_index=True) for kind, frames in rows.items()}
    users = [pd.read_parquet(folder / f"{batch.name}.users.parquet") for batch in todo if batch.kind == "planted"]
    tables, found = [recovery.pair_verdicts(rows["planted"], pd.concat(users)).assign(kind="planted")], []
    for n in (recovery.FEWER, PLANTED.n_backends):
        tables.append(recovery.planted(recovery.correlations(rows["planted"], n)).assign(kind="planted"))
        tables.append(recovery.best_backend(rows["planted"], n).assign(kind="planted"))
        found.append(recovery.correlations(rows["unplanted"], n))
        tables.append(recovery.null(found[-1]).assign(kind="unplanted"))
    arranged = recovery.correlations(rows["arranged"], recovery.FEWER)
    nothing = arranged["world"] == "nothing"
    tables.append(recovery.planted(arranged[~nothing]).assign(kind="arranged"))
    tables.append(recovery.null(arranged[nothing]).assign(kind="arranged"))
    tables.append(recovery.beats_shuffled(rows["arranged"]).assign(kind="arranged"))
    levels = [recovery.levels(pd.concat(found)).assign(kind="unplanted")]
    levels.append(recovery.levels(arranged[nothing]).assign(kind="arranged"))
    rates = pd.concat([table for table in tables if len(table)], ignore_index=True)[["kind", *recovery.RATE_COLUMNS]]
    return rates, pd.concat(levels, ignore_index=True)


def report(rates, digest):
    """The summary as a page: sizes, tables and what they come to, all of it from the rates."""
    worlds = rates[~rates["question"].isin(recovery.OF_PAIRS)].groupby("kind")["worlds"].max()
    head = HEAD.format(
        digest=digest,
        seeds=worlds["planted"],
        unplanted=worlds["unplanted"],
        arranged=worlds["arranged"],
        few=worlds["planted"] // FEWER_PLANTED,
        planted_size=_spoken(PLANTED),
        unplanted_size=_spoken(NULL),
        permutations=N_PERMUTATIONS,
        blur=f"{known_truth.BLUR[0]:g} to {known_truth.BLUR[1]:g}",
        best=known_truth.BLUR_OF_BEST,
    )
    parts = [head]
    for strength in STRENGTHS:
        parts += [
            f"## Planted, content strength {strength:g}: is the task recovered?",
            recovery.target_reached(rates, strength),
        ]
        parts += [_markdown(rates, "planted", recovery.RECOVERED, strength)]
        parts += ["Which task ranks first:", _markdown(rates, "planted", recovery.RANKED, strength)]
        parts += ["Is the planted best backend named?", _markdown(rates, "planted", recovery.BEST, strength)]
        parts += [PAIRS, _markdown(rates, "planted", recovery.PAIRS, strength)]
    parts += ["## Nothing planted: how often is something found?", NOTHING]
    parts += [recovery.above_nominal(rates, "unplanted"), _tall(rates, "unplanted", recovery.PAIRING)]
    parts += ["With vectors permuted over tracks, in fewer worlds:", recovery.above_nominal(rates, "arranged")]
    parts += [_tall(rates, "arranged", recovery.PAIRING | recovery.ARRANGEMENT)]
    parts += ["What asking both tests costs, where something is planted (strength 1):"]
    parts += [_markdown(rates, "arranged", recovery.BY_BOTH, 1.0)]
    return "\n\n".join(parts) + "\n"


def _markdown(rates, kind, questions, strength):
    return recovery.table(rates, kind, questions, strength).reset_index().to_markdown(index=False)


def _tall(rates, kind, questions):
    return recovery.table(rates, kind, questions, 0.0).droplevel("world").T.to_markdown()


def _spoken(size):
    return f"{size.n_tracks} tracks, {size.n_users} listeners of {size.tracks_per_user:g} tracks"


def main():
    """Measure what is missing, then write the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=40, help="planted worlds of each kind (default: %(default)s)")
    parser.add_argument(
        "--null", type=int, default=2000, help="worlds in which there is nothing (default: %(default)s)"
    )
    parser.add_argument(
        "--arranged", type=int, default=200, help="null worlds with permutations (default: %(default)s)"
    )
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="processes (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="folder of the summary (default: docs)")
    options = parser.parse_args()
    digest = provenance.code_digest([], also=[known_truth.__name__])
    folder = ROOT / "runs" / "calibrate" / digest
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    todo = list(batches(options.seeds, options.null, options.arranged))
    missing = [batch for batch in todo if not (folder / f"{batch.name}.backends.parquet").is_file()]
    with ProcessPoolExecutor(options.cores, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(measure, batch, folder) for batch in missing]
        try:
            for job in progress(as_completed(jobs), total=len(jobs), label="worlds", unit="batch"):
                job.result()
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            print("calibrate: stopped; the next run goes on from here", file=sys.stderr)
            return 1
    rates, levels = summarise(folder, todo)
    for name, table in (("calibration", rates), ("calibration_levels", levels)):
        with write_atomically(options.out / f"{name}.csv") as beside:
            table.to_csv(beside, index=False, float_format="%.6g")
    text = report(pd.read_csv(options.out / "calibration.csv"), digest)  # as written, so that 74 shows the same digits
    with write_atomically(options.out / "calibration.md") as beside:
        beside.write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
