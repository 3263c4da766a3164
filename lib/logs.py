"""Reading listening logs from files as people bring them."""

import bz2
import csv
import gzip
from pathlib import Path

import numpy as np
import pandas as pd

from lib.tables import UTC_MICROSECONDS

NEEDED = ("user_id", "track_id", "timestamp")
OPTIONAL = ("event", "played_seconds")
ZONED = r":\d{2}.*(?:Z|[+-]\d{2}(?::?\d{2})?)$"  # a time of day that ends in its offset
SEPARATORS = {"\t": "tab", ",": "comma", ";": "semicolon", "|": "bar"}


class LogError(ValueError):
    """A file holds no listening log; the sentence says what it holds."""


def read_log(path):
    """Read a listening log: text with a header line (plain, .bz2 or .gz; any usual separator) or Parquet.

    Parameters
    ----------
    path : str or Path
        Columns user_id, track_id, timestamp (without a zone: UTC) and, if there, event and played_seconds; others are
        left. The published ``userid_trackid_timestamp.tsv.bz2`` reads as it is.

    Returns
    -------
    DataFrame
        user_id (str), track_id (str), timestamp (UTC) and the optional columns, in the order of the file.

    Raises
    ------
    FileNotFoundError, LogError
        Missing, empty, damaged or not a table; columns missing or doubled; times that are none (naming rows).

    Examples
    --------
    >>> read_log("plays.tsv").columns.tolist()  # doctest: +SKIP
    ['user_id', 'track_id', 'timestamp']
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Expected a listening log at {path}, found no such file: check the path.")
    if path.stat().st_size == 0:
        raise LogError(f"Expected a listening log in {path.name}, found an empty file: fetch or export it again.")
    frame = _read_parquet(path) if path.suffix == ".parquet" else _read_text(path)
    if frame.empty:
        raise LogError(f"Expected rows below the header of {path.name}, found none: fetch or export it again.")
    return frame.assign(timestamp=as_utc_times(frame["timestamp"]))


def as_utc_date(value):
    """Timestamp in UTC of a date given as text or Timestamp (no zone: UTC).

    Raises
    ------
    LogError
        Where it is no date.

    Examples
    --------
    >>> as_utc_date("2019-02-01").isoformat()
    '2019-02-01T00:00:00+00:00'
    """
    try:
        date = pd.Timestamp(value)
    except (ValueError, TypeError):
        date = pd.NaT
    if date is pd.NaT or isinstance(value, int | float):
        raise LogError(f"Expected a test date like 2019-02-01, found {value!r}: write it as year-month-day.")
    return date.tz_localize("UTC") if date.tzinfo is None else date.tz_convert("UTC")


def as_utc_times(times):
    """Series of times as datetime64[us, UTC]: text or times without a zone are taken as UTC, others converted.

    Raises
    ------
    LogError
        Naming the first rows (counted from 1) that hold no time.

    Examples
    --------
    >>> as_utc_times(pd.Series(["2019-02-01 01:00:00+01:00"])).dt.hour.tolist()
    [0]
    """
    if pd.api.types.is_numeric_dtype(times):
        raise LogError(
            f"Expected times like 2019-02-01 12:17:41, found numbers ({times.iloc[0]} in row 1): convert them first."
        )
    if isinstance(times.dtype, pd.DatetimeTZDtype) or pd.api.types.is_datetime64_dtype(times):
        parsed = times.dt.tz_convert("UTC") if times.dt.tz is not None else times.dt.tz_localize("UTC")
    else:
        # apart, for pandas gives a time without zone the offset of the time before it
        zoned = times.astype(str).str.contains(ZONED).to_numpy()
        parsed = _parsed(times)
        if zoned.any() and not zoned.all():
            parsed = parsed.where(zoned, _parsed(times.where(~zoned)))
            parsed = parsed.mask(zoned, _parsed(times.where(zoned)))
    bad = np.flatnonzero(parsed.isna().to_numpy())
    if len(bad):
        shown = ", ".join(f"row {row + 1}: {times.iloc[row]!r}" for row in bad[:3])
        raise LogError(
            f"Expected times like 2019-02-01 12:17:41 in column timestamp, found {len(bad)} that are none "
            f"({shown}; rows counted from 1 without the header): mend or drop them."
        )
    return parsed.astype(UTC_MICROSECONDS)


def _parsed(times):
    return pd.to_datetime(times, utc=True, errors="coerce", format="ISO8601")


def _read_parquet(path):
    import pyarrow.lib
    import pyarrow.parquet

    try:
        names = pyarrow.parquet.read_schema(path).names
        _require(names, path)
        frame = pd.read_parquet(path, columns=[name for name in (*NEEDED, *OPTIONAL) if name in names])
    except (pyarrow.lib.ArrowInvalid, OSError) as error:
        raise LogError(
            f"Expected Parquet in {path.name}, found a damaged or other file ({error}): export it again."
        ) from None
    missing = frame[["user_id", "track_id"]].isna().any(axis=1)
    if missing.any():
        raise LogError(f"Expected ids in every row of {path.name}, found {int(missing.sum())} rows without: drop them.")
    return frame.astype({"user_id": str, "track_id": str})


def _read_text(path):
    try:
        names, separator = _header(path)
        _require(names, path)
        frame = pd.read_csv(
            path,
            sep=separator,
            dtype=dict.fromkeys((*NEEDED, "event"), str) | {"played_seconds": float},
            keep_default_na=False,  # a listener may be called NA
            na_values={"played_seconds": [""]},
            encoding="utf-8-sig",
            quoting=csv.QUOTE_NONE if separator == "\t" else csv.QUOTE_MINIMAL,  # titles in tab files hold loose quotes
        )
    except UnicodeDecodeError as error:
        raise LogError(
            f"Expected text in UTF-8 in {path.name}, found byte {error.object[error.start]:#x}: convert it."
        ) from None
    except (EOFError, OSError) as error:
        raise LogError(
            f"Expected a whole file in {path.name}, found it cut or damaged ({error}): fetch it again."
        ) from None
    except pd.errors.ParserError as error:
        raise LogError(
            f"Expected one listen a line in {path.name}, found otherwise ({error}): mend that line."
        ) from None
    except ValueError as error:
        if isinstance(error, LogError):
            raise
        raise LogError(
            f"Expected seconds in column played_seconds of {path.name}, found otherwise ({error})."
        ) from None
    if not isinstance(frame.index, pd.RangeIndex):  # pandas took the surplus for an index
        raise LogError(f"Expected {len(names)} values a line in {path.name}, found more: export it again.")
    return frame[[name for name in (*NEEDED, *OPTIONAL) if name in names]]


def _header(path):
    """Names in the first line and the separator that yields most of the needed ones."""
    opener = {".bz2": bz2.open, ".gz": gzip.open}.get(path.suffix, open)
    with opener(path, "rt", encoding="utf-8-sig") as lines:
        line = lines.readline().rstrip("\r\n")
    rows = {separator: [name.strip('"') for name in line.split(separator)] for separator in SEPARATORS}
    separator = max(rows, key=lambda key: len(set(rows[key]) & set(NEEDED)))
    return rows[separator], separator


def _require(names, path):
    missing = [name for name in NEEDED if name not in names]
    if missing:
        raise LogError(
            f"Expected the columns {', '.join(NEEDED)} in {path.name} (separated by {', '.join(SEPARATORS.values())}), "
            f"found no {' and no '.join(missing)} in the header {' | '.join(names)[:120]!r}: rename or export again."
        )
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise LogError(
            f"Expected each column once in {path.name}, found {', '.join(doubled)} more than once: drop one."
        )
