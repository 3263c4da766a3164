"""Logs larger than memory: one pass over their batches, then interactions and the parts of a split.

DuckDB keeps the rows of the window, compressed and spilling to disk above `MEMORY_LIMIT`, and groups them into pairs;
the rules of the split are those of `lib.splits`. Measured against pandas in chunks: benchmarks/log_preparation.md.
"""

import contextlib
import shutil
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa

from lib import splits
from lib.tables import UTC_MICROSECONDS

MEMORY_LIMIT = "2GB"
SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("track_id", pa.string()),
        ("timestamp", pa.timestamp("us", "UTC")),
        ("event", pa.string()),
        ("played_seconds", pa.float64()),
        ("count", pa.int64()),
    ]
)
EXAMPLES = 3  # unknown ids that a report names


class Prepared(NamedTuple):
    """What a log became.

    Attributes
    ----------
    parts : lib.splits.Split
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
        As from `lib.logs.batches`.
    folder : Path
        Made anew; ``events.parquet`` (rows of the window, in the order of the log) and ``interactions.parquet`` (its
        pairs, by user, time and track) are written there. Nothing is left of it if anything fails.
    test_date, preset, val_users, positives : str
        As for `lib.splits.split`.
    known_tracks : sequence of str, optional
        Ids that exist; rows of others are left out, and counted.
    progress : callable, optional
        Such as `lib.progress.progress`.

    Returns
    -------
    Prepared

    Raises
    ------
    lib.splits.SplitError, lib.logs.LogError
        As for `lib.splits.split` and `lib.logs.batches`; also where no track of the log is known.

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
        with _database(folder) as database:
            n_rows = _keep_window(database, batches, splits.window(date, preset=preset), progress)
            report = {"rows of the log": n_rows} | _leave_unknown(database, known_tracks)
            _write(database, _EVENTS, folder / "events.parquet")
            _group(database, outcomes, date)
            _write(database, _INTERACTIONS, folder / "interactions.parquet")
            train, test = (_pairs(database, period) for period in ("before", "after"))
            report |= _report(database)
        return Prepared(splits.divide(train, test, date, preset, val_users), report)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def keep(batches, folder, start):
    """Write the listens of a log from a date on as ``events.parquet``, and give its path."""
    folder = Path(folder)
    with _database(folder) as database:
        _keep_window(database, batches, (start, None), None)
        _write(database, _EVENTS, folder / "events.parquet")
    return folder / "events.parquet"


def leakage(parts, events, test_date=None, *, preset="tamm2026", positives="all"):
    """`lib.splits.leakage` for a log that is kept in a file.

    Parameters
    ----------
    parts : lib.splits.Split
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
        database.execute(f"create view listens as select *, 1 as count from read_parquet('{_quoted(events)}')")
        return _fetch(database, _PERIOD, values)


_EVENTS = """
    select user_id, track_id, timestamp, event, played_seconds
    from (select *, unnest(range(count)) from listens)
"""
_INTERACTIONS = """
    select user_id, track_id, first as timestamp, (n_before + n_after)::bigint as count
    from pairs order by user_id, timestamp, track_id
"""
_PERIOD = """
    select user_id, track_id, min(timestamp) as timestamp, sum(count)::bigint as count from listens
    where list_contains($outcomes, event) and timestamp >= $low and timestamp < $high group by user_id, track_id
    order by user_id, timestamp, track_id
"""


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


def _keep_window(database, batches, window, progress):
    """Table `listens`: rows of the window. Gives the number of rows that passed."""
    start, end = window
    passed, broken = 0, []

    def stream():
        nonlocal passed
        try:
            for batch in progress(batches, label="reading the log", unit="batch") if progress else batches:
                passed += len(batch)
                yield from _uniform(batch).to_batches()
        except Exception as error:  # DuckDB would wrap it in words of its own
            broken.append(error)
            raise

    log = pa.RecordBatchReader.from_batches(SCHEMA, stream())
    database.register("log", log)
    inside = "timestamp >= $start" + (" and timestamp < $end" if end is not None else "")
    try:
        database.execute(
            "create table listens as select user_id, track_id, timestamp, coalesce(event, 'play') as event, "
            f"played_seconds, coalesce(count, 1) as count from log where {inside}",
            {"start": start} | ({"end": end} if end is not None else {}),
        )
    except Exception:
        if broken:
            raise broken[0] from None
        raise
    database.unregister("log")
    return passed


def _uniform(batch):
    """A batch with all columns of `SCHEMA`, null where it has none."""
    columns = [
        batch[field.name].cast(field.type) if field.name in batch.column_names else pa.nulls(len(batch), field.type)
        for field in SCHEMA
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _leave_unknown(database, known):
    """Delete rows of unknown tracks; what there was of them, for the report."""
    if known is None:
        return {}
    database.register("known", pa.table({"track_id": pa.array(list(known), pa.string())}))
    unknown = "from listens where track_id not in (select track_id from known)"
    rows, tracks = database.execute(f"select count(*), count(distinct track_id) {unknown}").fetchone()
    examples = database.execute(f"select distinct track_id {unknown} order by track_id limit {EXAMPLES}").fetchall()
    if rows and rows == database.execute("select count(*) from listens").fetchone()[0]:
        raise splits.SplitError(
            f"Expected tracks of the log among the {len(known)} that are known, found none (the first is "
            f"{examples[0][0]!r}): check track_id in log_columns, or the data set."
        )
    if rows:
        database.execute(f"delete {unknown}")
    database.unregister("known")
    named = f" ({', '.join(name for (name,) in examples)}{', …' if tracks > EXAMPLES else ''})" if tracks else ""
    return {"rows of unknown tracks, left out": rows, "unknown tracks": f"{tracks}{named}"}


def _group(database, outcomes, date):
    """Table `pairs`: first play in the window, and plays before and from the date on."""
    database.execute(
        "create table pairs as select user_id, track_id, min(timestamp) as first, "
        "coalesce(sum(count) filter (timestamp < $date), 0) as n_before, "
        "coalesce(sum(count) filter (timestamp >= $date), 0) as n_after "
        "from listens where list_contains($outcomes, event) group by user_id, track_id",
        {"date": date, "outcomes": list(outcomes)},
    )


def _pairs(database, period):
    """Pairs first heard in a period, with their plays in it."""
    heard = "n_before > 0" if period == "before" else "n_before = 0"
    query = f"select user_id, track_id, first as timestamp, n_{period}::bigint as count from pairs where {heard} "
    return _fetch(database, query + "order by user_id, timestamp, track_id")


def _fetch(database, query, values=None):
    """A result as pandas frame of the contract's types; equal ids are one object."""
    found = database.sql(query, params=values).to_arrow_table().to_pandas()
    return found.astype({"timestamp": UTC_MICROSECONDS, "count": "int64"})


def _write(database, query, path):
    database.execute(f"copy ({query}) to '{_quoted(path)}' (format parquet, compression zstd)")


def _report(database):
    rows, skipped, completed = database.execute(
        "select count(*), avg((event = 'skip')::int), avg((event = 'complete')::int) from listens"
    ).fetchone()
    pairs, listeners, tracks = database.execute(
        "select count(*), count(distinct user_id), count(distinct track_id) from pairs"
    ).fetchone()
    outcomes = {"skipped": f"{skipped:.1%}", "completed": f"{completed:.1%}"} if skipped or completed else {}
    return {"listens in the window": rows, **outcomes, "listeners": listeners, "tracks": tracks, "pairs": pairs}


def _quoted(path):
    return str(path).replace("'", "''")
