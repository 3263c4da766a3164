"""Mock listeners at the size of Music4All-Onion: seconds, memory, and how near their figures come to the real ones.

Run ``python benchmarks/full_mock.py --folder FOLDER --out benchmarks/full_mock.md``. The real figures are those of the
published split and of its public month (2,459 validation listeners: with hot and without cold pairs in February 2019).
"""

import argparse
import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pandas as pd
from memory import peak_megabytes

from lib.data import preparation, realism
from lib.study import Study, load_parameters
from lib.study.progress import progress

# of the published split (arXiv 2604.23077)
PUBLISHED = {
    "train pairs": 5_371_381,
    "train pairs a listener, median": 142,
    "train pairs a listener, most": 4427,
    "listeners with test-month pairs, share": (10_238 + 2_459) / 21_018,
    "listeners with cold pairs, share": 4_553 / 21_018,
    "test-month pairs a listener": (280_745 + 23_269 + 48_787) / 21_018,
    "cold pairs a listener": 23_269 / 21_018,
}


def figures(parts, n_users):
    """The same figures of a mock split, and those of its month."""
    of_listener = parts.train.groupby("user_id").size()
    hot = pd.concat([parts.val, parts.hot_test])
    found = {
        "train pairs": len(parts.train),
        "train pairs a listener, median": of_listener.median(),
        "train pairs a listener, most": of_listener.max(),
        "listeners with test-month pairs, share": hot["user_id"].nunique() / n_users,
        "listeners with cold pairs, share": parts.cold_test["user_id"].nunique() / n_users,
        "test-month pairs a listener": (len(hot) + len(parts.cold_test)) / n_users,
        "cold pairs a listener": len(parts.cold_test) / n_users,
    }
    return found | month(realism.profile(realism.month_of(parts._asdict())))


def month(profile):
    """Figures of a month of listening."""
    tracks = {f"tracks a listener in the month, q{q}": profile.quantile("tracks_a_user", q / 100) for q in (50, 90, 99)}
    plays = {f"pairs played {n} time(s), share": profile.share("plays_a_pair", n) for n in (1, 2, 3)}
    gaps = {
        "gaps of 30 min or less, share": profile.gap_share_30min,
        "gaps of a day or more, share": profile.gap_share_day,
    }
    return tracks | plays | gaps


def main():
    """Simulate, prepare, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="for what is written, removed afterwards")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    study = Study(load_parameters("full_mock", {"runs_dir": str(options.folder)}))
    started = time.perf_counter()
    tracks = preparation.tracks(study)
    prepared = preparation.prepare(study, tracks, progress)
    seconds = time.perf_counter() - started
    shutil.rmtree(study.path())
    n_users = study.parameters.n_users
    mock, real = figures(prepared.parts, n_users), PUBLISHED | month(realism.public_profile())
    lines = ["| figure | mock | real | mock / real |", "|---|---|---|---|"]
    for name, value in real.items():
        lines.append(f"| {name} | {mock[name]:,.4g} | {value:,.4g} | {mock[name] / value:.2f} |")
    rows = prepared.report["rows of the log"]
    lines += [
        "",
        f"{n_users:,} listeners, {len(tracks):,} tracks, {rows:,} listens: simulated, written to Parquet and split in "
        f"{seconds:.0f} s on one core, at most {peak_megabytes():,.0f} MB.",
    ]
    print("\n".join(lines))
    if options.out:
        options.out.write_text(
            "# Mock listeners at full size\n\nMade by `benchmarks/full_mock.py`.\n\n" + "\n".join(lines) + "\n"
        )


if __name__ == "__main__":
    main()
