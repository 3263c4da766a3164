"""Logs larger than memory: one pass over their batches, then interactions and the parts of a split.

The rows of the window go to a Parquet file as they come; DuckDB groups that file into pairs, spilling to disk above
`MEMORY_LIMIT`; the rules of the split are those of `lib.data.splits`. Measured against pandas in chunks:
benchmarks/log_preparation.md.
"""

import contextlib
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from lib.data import splits
from lib.data.logs import ROWS, TIME
from lib.study.tables import UTC_MICROSECONDS, write_atomically

__all__ = ["leakage"]


MEMORY_LIMIT = "2GB"
SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("track_id", pa.string()),
        ("timestamp", TIME),
        ("event", pa.string()),
        ("played_seconds", pa.float64()),
    ]
)
EXAMPLES = 3  # unknown ids that a report names


class Prepared(NamedTuple):
    """What a log became.

    Attributes
    ----------
    parts : lib.data.splits.Split
    report : dict
        Counts and shares, in words: rows, listeners, pairs, outcomes, tracks that are unknown.
    """

    parts: splits.Split
    report: dict


def prepare(
    batches,
    folder,
    *,
    test_date=None,
    preset="tamm2026",
    val_users="all",
    positives="all",
    known_tracks=None,
    progress=None,
):
    """Let a log pass once: keep its window, find the interactions, divide them.

    Parameters
    ----------
    batches : iterator of pyarrow.Table
        As from `lib.data.logs.batches`.
    folder : Path
        Made anew; ``events.parquet`` (rows of the window, in the order of the log) and ``interactions.parquet`` (its
        pairs, by user, time and track) are written there. Nothing is left of it if anything fails.
    test_date, preset, val_users, positives : str
        As for `lib.data.splits.split`.
    known_tracks : sequence of str, optional
        Ids that exist; rows of others are left out, and counted.
    progress : callable, optional
        Such as `lib.study.progress.progress`.

    Returns
    -------
    Prepared

    Raises
    ------
    lib.data.splits.SplitError, lib.data.logs.LogError
        As for `lib.data.splits.split` and `lib.data.logs.batches`; also where no track of the log is known.

    Examples
    --------
    >>> prepare(batches("plays.tsv"), "new", test_date="2019-02-01").parts.train  # doctest: +SKIP
    """
    folder = Path(folder)
    date = splits.date_of(test_date, preset)
    outcomes = splits.liked(positives)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        events = folder / "events.parquet"
        report = _write_events(batches, events, splits.window(date, preset=preset), known_tracks, progress)
        with _database(folder) as database:
            _group(database, events, outcomes, date)
            _write(database, _INTERACTIONS, folder / "interactions.parquet")
            train, test = (_pairs(database, period) for period in ("before", "after"))
            report |= _report(database, events)
        return Prepared(splits.divide(train, test, date, preset, val_users), report)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def keep(batches, folder, start):
    """Write the listens of a log from a date on.

    Parameters
    ----------
    batches : iterator of pyarrow.Table
        As from `lib.data.logs.batches`.
    folder : Path
    start : Timestamp

    Returns
    -------
    Path
        ``events.parquet`` in that folder: a row a listen, in the order of the log.

    Examples
    --------
    >>> keep(batches("plays.tsv"), "new", pd.Timestamp("2019-02-01", tz="UTC"))  # doctest: +SKIP
    """
    events = Path(folder) / "events.parquet"
    _write_events(batches, events, (start, None))
    return events


def leakage(parts, events, test_date=None, *, preset="tamm2026", positives="all"):
    """`lib.data.splits.leakage` for a log that is kept in a file.

    Parameters
    ----------
    parts : lib.data.splits.Split
    events : Path
        ``events.parquet``.
    test_date, preset, positives : str
        As for `prepare`.

    Returns
    -------
    DataFrame
        check, count, ok.
    """
    date = splits.date_of(test_date, preset)
    start, end = splits.window(date, preset=preset)
    outcomes = splits.liked(positives)
    before, after = pairs(events, outcomes, start, date), pairs(events, outcomes, date, end)
    return splits.audit(parts, before, after, date, preset)


def pairs(events, outcomes, start, end=None):
    """Pairs of a period under a reading of what counts as listening.

    Parameters
    ----------
    events : Path
        ``events.parquet``.
    outcomes : sequence of str
        Outcomes that count.
    start, end : Timestamp
        Half-open; no end where None.

    Returns
    -------
    DataFrame
        user_id, track_id, timestamp (first listen of the period), count; by user, time and track.
    """
    values = {"outcomes": list(outcomes), "low": start, "high": end or pd.Timestamp.max.tz_localize("UTC")}
    with _database(Path(events).parent) as database:
        return _fetch(database, _PERIOD.format(events=_quoted(events)), values)


_GROUPED = """
    create table pairs as
    select user_id, track_id, min(timestamp) as first,
        count(*) filter (timestamp < $date) as n_before, count(*) filter (timestamp >= $date) as n_after
    from read_parquet('{events}') where list_contains($outcomes, event) group by user_id, track_id
    order by user_id, first, track_id
"""
_INTERACTIONS = "select user_id, track_id, first as timestamp, n_before + n_after as count from pairs"
_PERIOD = """
    select user_id, track_id, min(timestamp) as timestamp, count(*) as count from read_parquet('{events}')
    where list_contains($outcomes, event) and timestamp >= $low and timestamp < $high group by user_id, track_id
    order by user_id, timestamp, track_id
"""


def _write_events(batches, path, window, known=None, progress=None):
    """Write the listens of a window in the order of the log; what passed and what was left out, for the report."""
    passed, stray, strange = 0, 0, set()
    known = None if known is None else pa.array(list(known), pa.string())

    def inside():
        nonlocal passed
        for batch in progress(batches, label="reading the log", unit="batch") if progress else batches:
            passed += len(batch)
            yield _inside(batch, window)

    kept = 0
    with write_atomically(path) as beside, pa.parquet.ParquetWriter(beside, SCHEMA, compression="zstd") as writer:
        for rows in _gathered(inside()):
            if known is not None:
                is_known = pc.is_in(rows["track_id"], value_set=known)
                others = rows["track_id"].filter(pc.invert(is_known))
                stray += len(others)
                strange.update(others.unique().to_pylist())
                rows = rows.filter(is_known)
            kept += len(rows)
            for listens in _listens(rows):
                writer.write_table(listens)
        if stray and not kept:
            raise splits.SplitError(
                f"Expected tracks of the log among the {len(known)} that are known, found none (the first is "
                f"{min(strange)!r}): check track_id in log_columns, or the data set."
            )
    report = {"rows of the log": passed}
    if known is None:
        return report
    more = ", …" if len(strange) > EXAMPLES else ""
    named = f" ({', '.join(sorted(strange)[:EXAMPLES])}{more})" if strange else ""
    return report | {"rows of unknown tracks, left out": stray, "unknown tracks": f"{len(strange)}{named}"}


def _inside(batch, window):
    """Rows of a batch in the window, with the columns of `SCHEMA` (null where it has none) and the count."""
    start, end = window
    kept = pc.greater_equal(batch["timestamp"], pa.scalar(start, TIME))
    if end is not None:
        kept = pc.and_(kept, pc.less(batch["timestamp"], pa.scalar(end, TIME)))
    batch = batch.filter(kept)
    wanted = SCHEMA.append(pa.field("count", pa.int64()))
    columns = [
        batch[field.name].cast(field.type) if field.name in batch.column_names else pa.nulls(len(batch), field.type)
        for field in wanted
    ]
    columns[wanted.get_field_index("event")] = pc.fill_null(columns[wanted.get_field_index("event")], "play")
    return pa.Table.from_arrays(columns, schema=wanted)


def _gathered(tables):
    """Tables joined until they have `ROWS` rows: small ones make slow files."""
    waiting, n_rows = [], 0
    for table in tables:
        waiting.append(table)
        n_rows += len(table)
        if n_rows >= ROWS:
            yield pa.concat_tables(waiting)
            waiting, n_rows = [], 0
    if n_rows:
        yield pa.concat_tables(waiting)


def _listens(rows):
    """A row a listen, `ROWS` at a time, of rows that may stand for several."""
    ends = np.cumsum(pc.fill_null(rows["count"], 1).to_numpy())
    rows = rows.drop_columns("count")
    if len(rows) == 0 or ends[-1] == len(rows):
        yield rows
        return
    for first in range(0, ends[-1], ROWS):
        listens = np.arange(first, min(first + ROWS, ends[-1]))
        yield rows.take(pa.array(np.searchsorted(ends, listens, side="right")))


@contextlib.contextmanager
def _database(folder):
    """A DuckDB database in a folder of its own, gone afterwards."""
    import duckdb

    scratch = Path(folder) / ".duckdb"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        with duckdb.connect(str(scratch / "log.duckdb")) as database:
            database.execute(f"set memory_limit = '{MEMORY_LIMIT}'")
            database.execute(f"set temp_directory = '{_quoted(scratch)}'")
            database.execute("set TimeZone = 'UTC'")
            database.execute("set enable_progress_bar = false")
            yield database
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _group(database, events, outcomes, date):
    """Table `pairs`: first play in the window, plays before and from the date on; by user, time and track.

    DuckDB gives the rows of a table in the order in which they came, so what is read from it needs no sorting.
    """
    database.execute(_GROUPED.format(events=_quoted(events)), {"date": date, "outcomes": list(outcomes)})


def _pairs(database, period):
    """Pairs first heard in a period, with their plays in it."""
    heard = "n_before > 0" if period == "before" else "n_before = 0"
    columns = f"user_id, track_id, first as timestamp, n_{period} as count"
    return _fetch(database, f"select {columns} from pairs where {heard}")


def _fetch(database, query, values=None):
    """A result as pandas frame of the contract's types; equal ids are one object."""
    found = database.sql(query, params=values).to_arrow_table().to_pandas()
    return found.astype({"timestamp": UTC_MICROSECONDS, "count": "int64"})


def _write(database, query, path):
    database.execute(f"copy ({query}) to '{_quoted(path)}' (format parquet, compression zstd)")


def _report(database, events):
    rows, skipped, completed = database.execute(
        "select count(*), avg((event = 'skip')::int), avg((event = 'complete')::int) "
        f"from read_parquet('{_quoted(events)}')"
    ).fetchone()
    pairs, listeners, tracks = database.execute(
        "select count(*), count(distinct user_id), count(distinct track_id) from pairs"
    ).fetchone()
    outcomes = {"skipped": f"{skipped:.1%}", "completed": f"{completed:.1%}"} if skipped or completed else {}
    return {"listens in the window": rows, **outcomes, "listeners": listeners, "tracks": tracks, "pairs": pairs}


def _quoted(path):
    return str(path).replace("'", "''")
