"""Tables on disk: what their columns must be, and how they are written so that nothing is ever half there."""

import contextlib
import os
import tempfile
from pathlib import Path

import pandas as pd
import psutil
from filelock import FileLock

__all__ = ["read_parquet", "sweep", "write_atomically", "write_folder_atomically", "write_parquet"]


UTC_MICROSECONDS = "datetime64[us, UTC]"
EVENTS = ("play", "skip", "complete")


class TableError(ValueError):
    """A table is not what it has to be; the sentence names the rows."""


@contextlib.contextmanager
def write_atomically(path):
    """Write beside a file and rename when all went well.

    Parameters
    ----------
    path : str or Path
        Where the file is to be in the end; its folder is made.

    Yields
    ------
    Path
        A sibling (same suffix) to write to. It becomes `path` if the block ends well and is removed if not.

    Examples
    --------
    >>> with write_atomically("x.txt") as beside:  # doctest: +SKIP
    ...     beside.write_text("whole or not at all")
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def write_folder_atomically(path):
    """Write a folder beside another and put it in its place when all went well.

    Parameters
    ----------
    path : str or Path
        Where the folder is to be in the end; what was there goes.

    Yields
    ------
    Path
        Of the new folder, which the block makes.

    Examples
    --------
    >>> with write_folder_atomically("slides") as beside:  # doctest: +SKIP
    ...     beside.mkdir()
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        yield Path(folder, "new")
        if path.exists():
            os.replace(path, Path(folder, "old"))
        os.replace(Path(folder, "new"), path)


def sweep(folder):
    """Remove what killed processes left half written below a folder; what living ones are writing stays.

    Returns
    -------
    int
        Number of files removed.
    """
    removed = 0
    for path in Path(folder).rglob(".*.part*"):
        owner = path.name.split(".")[-3]
        if owner.isdigit() and not _is_alive(int(owner)):
            path.unlink(missing_ok=True)
            removed += 1
    return removed


def _is_alive(process):
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def write_parquet(frame, path):
    """Write a frame to Parquet, atomically and without its index."""
    with write_atomically(path) as beside:
        frame.to_parquet(beside, index=False)


def read_parquet(path, made_by="10_prepare_data"):
    """Read a Parquet file of a study.

    Raises
    ------
    FileNotFoundError
        When it is missing: the sentence names the notebook that makes it (`made_by`).
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected {path.parent.name}/{path.name} of study {_study_of(path)!r}, "
            f"found no such file: run notebook {made_by} first."
        )
    return pd.read_parquet(path)


def upsert(path, frame, keys, order=()):
    """Add rows to a Parquet table in place of those with the same keys; other writers wait.

    Parameters
    ----------
    path : Path
    frame : DataFrame
        Rows to write.
    keys : list of str
        Columns by whose values new rows replace all old ones.
    order : sequence of str
        Columns to sort by after `keys`.

    Returns
    -------
    DataFrame
        The table as written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        if path.is_file():
            old = pd.read_parquet(path)
            stale = pd.MultiIndex.from_frame(old[keys]).isin(pd.MultiIndex.from_frame(frame[keys]))
            frame = pd.concat([old[~stale], frame], ignore_index=True)
        frame = frame.sort_values([*keys, *order], kind="stable", ignore_index=True)
        write_parquet(frame, path)
    return frame


def remove(path, **values):
    """Take rows out of a Parquet table, where there is one; other writers wait.

    Parameters
    ----------
    path : Path
    **values
        Columns and the values by which rows go.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        if path.is_file():
            frame = pd.read_parquet(path)
            gone = (frame[list(values)] == pd.Series(values)).all(axis=1)
            write_parquet(frame[~gone], path)


def check(frame, schema):
    """Check a frame against the schema of its name and give it back.

    Parameters
    ----------
    frame : DataFrame
    schema : {'tracks', 'events', 'pairs'}
        Which contract (docs: contracts outside checks read).

    Returns
    -------
    DataFrame
        The same frame.

    Raises
    ------
    TableError
        Naming the column, the rule and up to three offending rows.

    Examples
    --------
    >>> check(pd.DataFrame({"user_id": ["u"], "track_id": ["t"]}), "pairs")
    Traceback (most recent call last):
    ...
    lib.study.tables.TableError: Expected pairs with a column 'timestamp', found the columns user_id, track_id.
    """
    import pandera.errors

    rules = _schemas()[schema]
    missing = [name for name in rules.columns if name not in frame.columns]
    if missing:
        raise TableError(
            f"Expected {schema} with a column {missing[0]!r}, found the columns {', '.join(map(str, frame.columns))}."
        )
    try:
        rules.validate(frame.reset_index(drop=True), lazy=True)
    except pandera.errors.SchemaErrors as error:
        raise TableError(_sentence(frame, schema, error.failure_cases)) from None
    return frame


def _sentence(frame, schema, failures):
    columns_first = failures.sort_values("schema_context", kind="stable")  # 'Column' < 'DataFrameSchema'
    first = columns_first.iloc[0]
    same = failures[(failures["check"] == first["check"]) & (failures["column"] == first["column"])]
    rows = same["index"].dropna().astype(int).drop_duplicates()
    case = first["failure_case"]
    case = case.item() if hasattr(case, "item") else case  # 0, not np.int64(0)
    if first["schema_context"] == "Column":
        wanted = f"{schema} whose {first['column']} is {first['check']}, found {case!r}"
    else:
        wanted = f"{schema} with {first['check']}, found others"
    where = "; ".join(f"row {row} ({_shown(frame, row)})" for row in rows.head(3))
    return f"Expected {wanted}" + (f" in {len(rows)} row(s): {where}" if where else "") + "; mend these and run again."


def _shown(frame, row):
    return ", ".join(f"{name}={frame[name].iloc[row]}" for name in frame.columns[:3])


def _schemas():
    import pandera.pandas as pa

    text = pa.Column(str, pa.Check(lambda s: s.str.len() > 0, error="a non-empty string"))
    any_text = pa.Column(str)  # empty where unknown
    time = pa.Column(UTC_MICROSECONDS)
    positive = pa.Check(lambda s: s > 0, error="above 0")
    unique_pairs = pa.Check(
        lambda f: ~f.duplicated(["user_id", "track_id"], keep=False), error="one row a (user_id, track_id)"
    )
    return {
        "tracks": pa.DataFrameSchema(
            {
                "track_id": pa.Column(
                    str, [pa.Check(lambda s: s.str.len() > 0, error="a non-empty string"), _unique("a unique id")]
                ),
                "path": any_text,
                "duration": pa.Column(float, positive, nullable=True),
                "artist": any_text,
                "title": any_text,
            }
        ),
        "events": pa.DataFrameSchema(
            {
                "user_id": text,
                "track_id": text,
                "timestamp": time,
                "event": pa.Column(str, pa.Check(lambda s: s.isin(EVENTS), error=f"one of {', '.join(EVENTS)}")),
                "played_seconds": pa.Column(float, pa.Check(lambda s: s >= 0, error="0 or more"), nullable=True),
            }
        ),
        "pairs": pa.DataFrameSchema(
            {
                "user_id": text,
                "track_id": text,
                "timestamp": time,
                "count": pa.Column("int64", pa.Check(lambda s: s >= 1, error="1 or more")),
            },
            checks=unique_pairs,
        ),
    }


def _unique(error):
    import pandera.pandas as pa

    return pa.Check(lambda s: ~s.duplicated(keep=False), error=error)


def _study_of(path):
    return path.parents[1].name if len(path.parents) > 1 else str(path)
