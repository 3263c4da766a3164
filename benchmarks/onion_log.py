"""Write a log of the shape of Music4All-Onion's: ``python benchmarks/onion_log.py OUT.tsv --rows 50000000``.

Listeners are simulated (`lib.data.mock.listeners`) on a catalogue without audio; a log of the size asked for is made of
copies of theirs, under new numeric ids and moved back by whole years (each with other tracks), so that, as in the
published log, most rows lie before the year that a split looks at. Only plays are kept, newest first within a listener,
ids of 16 characters, no time zone.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from lib.data.mock import listeners
from lib.data.sources import latent
from lib.study.progress import progress
from lib.study.tables import write_atomically, write_parquet

YEARS = 8  # of listening; one of them and a month are what a split looks at
N_USERS, N_TRACKS = 1500, 20_000


def plays(seed=0):
    """Plays of simulated listeners over a year and a month: user (int), track, time."""
    tracks = latent.tracks(n_tracks=N_TRACKS, seed=seed)
    log = listeners.simulate(
        tracks,
        n_users=N_USERS,
        tracks_per_user=255.6,
        content_strength=0.35,
        cold_share=0.011,
        test_date="2019-02-01",
        rng=np.random.default_rng(seed),
        progress=progress,
    )
    log = log[log["event"] != "skip"]
    return pd.DataFrame(
        {
            "user_id": log["user_id"].str[1:].astype(int),
            "track_id": log["track_id"].astype("category"),
            "timestamp": log["timestamp"].dt.tz_localize(None).astype("datetime64[s]"),
        }
    )


def write(path, n_rows, seed=0):
    """Write at least `n_rows` rows, whole listeners only; gives the number written."""
    once = plays(seed)
    rng = np.random.default_rng(seed)
    tracks = once["track_id"].cat.categories.to_numpy()
    years = []
    for year in range(YEARS):
        others = rng.permutation(tracks) if year else tracks
        moved = once["timestamp"] - pd.Timedelta(days=364 * year)
        years.append(once.assign(timestamp=moved, track_id=others[once["track_id"].cat.codes]))
    block = pd.concat(years).sort_values(["user_id", "timestamp"], ascending=[True, False], kind="stable")
    block = pa.Table.from_pandas(block.astype({"timestamp": "datetime64[s]"}), preserve_index=False)
    users = block["user_id"].to_numpy()
    ends = np.append(np.flatnonzero(np.diff(users)) + 1, len(users))  # of listeners
    copies, rest = divmod(n_rows, len(block))
    sizes = [len(block)] * copies + ([int(ends[np.searchsorted(ends, rest)])] if rest else [])
    options = pa.csv.WriteOptions(delimiter="\t", quoting_style="none")
    write_parquet(pd.DataFrame({"track_id": tracks}), path.parent / "tracks.parquet")  # the ids that there are
    with write_atomically(path) as beside:
        schema = pa.schema([("user_id", pa.int64()), ("track_id", pa.string()), ("timestamp", pa.timestamp("s"))])
        with pa.csv.CSVWriter(beside, schema, write_options=options) as writer:
            for copy, size in enumerate(progress(sizes, label="writing copies", unit="copy")):
                column = pa.array(users[:size] + copy * N_USERS)
                writer.write_table(block.slice(0, size).set_column(0, "user_id", column).cast(schema))
    return sum(sizes)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", type=int, default=50_000_000)
    options = parser.parse_args()
    print(f"{write(options.out, options.rows)} rows -> {options.out}")
