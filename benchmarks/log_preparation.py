"""From a listening log larger than memory to its split: one streaming pass against pandas in chunks.

Run ``python benchmarks/log_preparation.py --rows 50000000 --folder FOLDER --out benchmarks/log_preparation.md``: writes
a log of that shape and size (`benchmarks/onion_log.py`) into FOLDER, lets each route read it in a process of its own,
and prints a Markdown table. All give the same parts, or it stops.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pandas as pd
from memory import peak_megabytes

from lib.data import logs, splits, stream

CHUNK = 1_000_000
ROUTES = {
    "streamed": "one pass, DuckDB (`lib.data.stream`), events and interactions written too",
    "published": f"pandas in chunks of {CHUNK:,} rows, the published steps: all rows to Parquet, then window and pairs",
    "lean": f"pandas in chunks of {CHUNK:,} rows, only the window kept",
}


def streamed(path):
    """Parts of a log by the workbook's own route."""
    return stream.prepare(logs.batches(path), path.parent / "new", val_users="published").parts


def published(path):
    """The steps of the published preparation (arXiv 2409.08987): all rows to one file, then window and pairs."""
    tracks = pd.Index(sorted(pd.read_parquet(path.parent / "tracks.parquet")["track_id"]))
    kept = []
    for chunk in pd.read_csv(path, sep="\t", chunksize=CHUNK, parse_dates=["timestamp"]):
        chunk["track"] = tracks.get_indexer(chunk["track_id"])
        kept.append(chunk)
    pd.concat(kept).to_parquet(path.parent / "plays.parquet")
    del kept
    plays = pd.read_parquet(path.parent / "plays.parquet").astype({"user_id": str})
    return _parts(plays[_inside(plays)])


def lean(path):
    """The same, keeping only the window of each chunk."""
    kept = []
    for chunk in pd.read_csv(path, sep="\t", chunksize=CHUNK, dtype={"user_id": str}, parse_dates=["timestamp"]):
        kept.append(chunk[_inside(chunk)])
    return _parts(pd.concat(kept, ignore_index=True))


def _inside(plays):
    start, end = (moment.tz_localize(None) for moment in splits.window(splits.date_of("")))
    return (plays["timestamp"] >= start) & (plays["timestamp"] < end)


def _parts(plays):
    """Pairs by one groupby before the date and one over the window, then the parts."""
    date = splits.date_of("")
    early = plays[plays["timestamp"] < date.tz_localize(None)]
    train, pairs = (
        part.groupby(["user_id", "track_id"])["timestamp"].agg(timestamp="min", count="size").reset_index()
        for part in (early, plays)
    )
    late = pairs[pairs["timestamp"] >= date.tz_localize(None)]
    return splits.divide(train, late, date, val_users="published")


def measure(route, path):
    """Print what a route took, in this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    parts = {"streamed": streamed, "published": published, "lean": lean}[route](path)
    found = {
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "megabytes": peak_megabytes(),
        "pairs": [len(part) for part in parts],
        "plays": [int(part["count"].sum()) for part in parts],
    }
    print(json.dumps(found))


def compare(path, n_rows):
    """A Markdown table of the routes on one log."""
    found, load = {}, os.getloadavg()[0]
    for route in ROUTES:
        command = [sys.executable, __file__, "--route", route, "--log", str(path)]
        found[route] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    if any(found[route][key] != found["streamed"][key] for route in found for key in ("pairs", "plays")):
        raise SystemExit(f"Expected the same parts from every route, found {found}.")
    lines = [
        "| route | wall, s | cpu, s | peak memory, MB | rows/s | wall over ours | cpu over ours |",
        "|---|---|---|---|---|---|---|",
    ]
    ours = found["streamed"]
    for route, words in ROUTES.items():
        row = found[route]
        lines.append(
            f"| {words} | {row['wall']:.1f} | {row['cpu']:.1f} | {row['megabytes']:,.0f} | "
            f"{n_rows / row['wall'] / 1e6:.1f} M | {row['wall'] / ours['wall']:.1f} | {row['cpu'] / ours['cpu']:.1f} |"
        )
    sizes = ", ".join(f"{name} {size:,}" for name, size in zip(splits.Split._fields, ours["pairs"], strict=True))
    lines += [
        "",
        f"{n_rows:,} rows, {path.stat().st_size / 1e9:.2f} GB, {os.cpu_count()} cores, "
        f"load {load:.1f} before the first route (ours uses two cores: others' work slows its wall time most). "
        f"All give: {sizes}.",
    ]
    return "\n".join(lines)


def main():
    """Make the log, compare, clean up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000_000)
    parser.add_argument("--folder", type=Path, help="where the log is written, and removed afterwards")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--route", choices=ROUTES, help=argparse.SUPPRESS)
    parser.add_argument("--log", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.route:
        measure(options.route, options.log)
        return
    from onion_log import write

    path = options.folder / "onion_shaped.tsv"
    n_rows = write(path, options.rows)
    try:
        table = compare(path, n_rows)
    finally:
        for file in (path, path.parent / "plays.parquet", path.parent / "tracks.parquet"):
            file.unlink(missing_ok=True)
        shutil.rmtree(path.parent / "new", ignore_errors=True)
    print(table)
    if options.out:
        options.out.write_text(f"# Log preparation\n\nMade by `benchmarks/log_preparation.py`.\n\n{table}\n")


if __name__ == "__main__":
    main()
