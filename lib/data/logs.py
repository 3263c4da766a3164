"""Listening logs from files as people bring them, as one stream of batches.

A *batch* is a ``pyarrow.Table`` with the columns user_id, track_id (text) and timestamp (microseconds, UTC) and, where
the file has them, event (skip, play or complete), played_seconds, position_seconds (where in a recording a listen
began) and count (a row that stands for several listens). Logs larger than memory pass through batch by batch.
"""

import bz2
import gzip
import zoneinfo
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from lib.study.tables import EVENTS, UTC_MICROSECONDS

NEEDED = ("user_id", "track_id", "timestamp")
OPTIONAL = ("event", "played_seconds", "position_seconds", "count")
ZONED = r"\d[T ]\d{2}.*(?:Z|[+-]\d{2}(?::?\d{2})?)$"  # a time of day, with colons or without, that ends in its offset
SEPARATORS = {"\t": "tab", ",": "comma", ";": "semicolon", "|": "bar"}
TIME = pa.timestamp("us", "UTC")
ROWS = 1_000_000
MOST_LISTENS = 1_000_000  # that a row may stand for
BLOCK_BYTES = 2**20  # of text parsed at a time: what a processor's cache holds


class LogError(ValueError):
    """A file holds no listening log; the sentence says what it holds."""


def batches(path, *, columns=None, names=None, derive=None, time_zone="UTC"):
    """Stream a listening log: text (plain, .bz2 or .gz; any usual separator) or Parquet.

    Parameters
    ----------
    path : str or Path
        The published ``userid_trackid_timestamp.tsv.bz2`` reads as it is.
    columns : dict of str to str, optional
        Our names and the file's, for columns that are called otherwise.
    names : sequence of str, optional
        Names of the columns of a text file without a header line.
    derive : dict of str to callable, optional
        Our names and what makes their column from a raw batch of the file, for columns that are more than read.
    time_zone : str
        IANA name of the zone of times that carry none. Of a local time that occurs twice, the first is meant; one that
        a clock skipped is moved to the next that existed.

    Yields
    ------
    pyarrow.Table
        A batch; columns that are none of ours are left out. Rows stay in the order of the file.

    Raises
    ------
    FileNotFoundError, LogError
        Missing, empty, damaged or not a table; columns missing or doubled; empty ids, times that are none, unknown
        outcomes, negative seconds or counts (naming rows, counted from 1 without the header).

    Examples
    --------
    >>> next(batches("plays.tsv")).column_names  # doctest: +SKIP
    ['user_id', 'track_id', 'timestamp']
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Expected a listening log at {path}, found no such file: check the path.")
    if path.stat().st_size == 0:
        raise LogError(f"Expected a listening log in {path.name}, found an empty file: fetch or export it again.")
    _check_zone(time_zone)
    columns = dict(columns or {})
    _check_columns(columns)
    read = _parquet if path.suffix == ".parquet" else _text
    before = 0
    for raw in read(path, columns, names, derive or {}):
        for name, make in (derive or {}).items():
            column = make(raw)
            raw = raw.drop_columns([name]) if name in raw.column_names else raw
            raw = raw.append_column(name, column)
        yield _cleaned(raw, path, time_zone, before)
        before += len(raw)
    if not before:
        raise LogError(f"Expected rows below the header of {path.name}, found none: fetch or export it again.")


def published(folder, name, where):
    """Path of a published file in a folder.

    Parameters
    ----------
    folder : str or Path
    name : str
    where : str
        Where to get it, for the sentence.

    Returns
    -------
    Path

    Raises
    ------
    FileNotFoundError
        Where it is not there.

    Examples
    --------
    >>> published("logs", "plays.tsv", "its authors")  # doctest: +SKIP
    PosixPath('logs/plays.tsv')
    """
    path = Path(folder) / name
    if not path.is_file():
        raise FileNotFoundError(f"Expected {name} in {folder}, found no such file: get it from {where}.")
    return path


def read_log(path, **options):
    """Read a whole listening log into memory.

    Parameters
    ----------
    path : str or Path
    **options
        As for `batches`.

    Returns
    -------
    DataFrame
        The columns of a batch; ids as str, timestamp in UTC.

    Raises
    ------
    FileNotFoundError, LogError
        As for `batches`.

    Examples
    --------
    >>> read_log("plays.tsv").columns.tolist()  # doctest: +SKIP
    ['user_id', 'track_id', 'timestamp']
    """
    frame = pa.concat_tables(batches(path, **options)).to_pandas()
    return frame.astype({"timestamp": UTC_MICROSECONDS})


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


def as_utc_times(times, time_zone="UTC", before=0):
    """Series of times as datetime64[us, UTC]: text or times without a zone are taken as of `time_zone`.

    Parameters
    ----------
    times : Series
        Text or times.
    time_zone : str
        IANA name; see `batches` for what clock changes mean.
    before : int
        Rows before the first of these, for the sentence.

    Raises
    ------
    LogError
        Naming the first rows (counted from 1) that hold no time.

    Examples
    --------
    >>> as_utc_times(pd.Series(["2019-02-01 01:00:00+01:00"])).dt.hour.tolist()
    [0]
    >>> as_utc_times(pd.Series(["2019-02-01 01:00:00"]), "Europe/Berlin").dt.hour.tolist()
    [0]
    """
    if pd.api.types.is_numeric_dtype(times):
        raise LogError(
            f"Expected times like 2019-02-01 12:17:41, found numbers ({times.iloc[0]} in row {before + 1}): "
            "convert them first."
        )
    if isinstance(times.dtype, pd.DatetimeTZDtype):
        parsed = times.dt.tz_convert("UTC")
    elif pd.api.types.is_datetime64_dtype(times):
        parsed = _localised(times, time_zone)
    else:
        # apart, for pandas gives a time without zone the offset of the time before it
        zoned = times.astype(str).str.contains(ZONED).to_numpy()
        parsed = _parsed(times.where(zoned))
        plain = _parsed(times.where(~zoned)).dt.tz_localize(None)
        parsed = parsed.where(zoned, _localised(plain, time_zone))
    bad = np.flatnonzero(parsed.isna().to_numpy())
    if len(bad):
        shown = ", ".join(f"row {before + row + 1}: {times.iloc[row]!r}" for row in bad[:3])
        raise LogError(
            f"Expected times like 2019-02-01 12:17:41 in column timestamp, found {len(bad)} that are none "
            f"({shown}; rows counted from 1 without the header): mend or drop them."
        )
    return parsed.astype(UTC_MICROSECONDS)


def _parsed(times):
    return pd.to_datetime(times, utc=True, errors="coerce", format="ISO8601")


def _localised(times, time_zone):
    first = np.ones(len(times), bool)
    return times.dt.tz_localize(time_zone, ambiguous=first, nonexistent="shift_forward").dt.tz_convert("UTC")


def _check_zone(name):
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        raise LogError(f"Expected a time zone like UTC or Europe/Berlin, found {name!r}: correct time_zone.") from None


def _check_columns(columns):
    unknown = sorted(set(columns) - {*NEEDED, *OPTIONAL})
    if unknown:
        raise LogError(
            f"Expected log_columns to name some of {', '.join((*NEEDED, *OPTIONAL))}, found {unknown[0]!r}: our name "
            "stands first, the file's second."
        )


def _wanted(found, columns, path, derive):
    """{their name: ours} of the columns to read, in our order; a sentence where needed ones lack or are doubled."""
    wanted = {columns.get(name, name): name for name in (*NEEDED, *OPTIONAL)}
    asked = {*NEEDED, *columns} - set(derive)
    missing = [theirs for theirs, ours in wanted.items() if theirs not in found and ours in asked]
    if missing:
        raise LogError(
            f"Expected the columns {', '.join(columns.get(name, name) for name in NEEDED)} in {path.name} (separated "
            f"by {', '.join(SEPARATORS.values())}), found no {' and no '.join(missing)} in the header "
            f"{' | '.join(found)[:120]!r}: name them in log_columns, rename or export again."
        )
    doubled = sorted({name for name in found if found.count(name) > 1})
    if doubled:
        raise LogError(
            f"Expected each column once in {path.name}, found {', '.join(doubled)} more than once: drop one."
        )
    known = {theirs: ours for theirs, ours in wanted.items() if theirs in found}
    return {name: known.get(name, name) for name in found} if derive else known


def _parquet(path, columns, _, derive):
    try:
        file = pa.parquet.ParquetFile(path)
        wanted = _wanted(file.schema_arrow.names, columns, path, derive)
        for batch in file.iter_batches(ROWS, columns=list(wanted)):
            table = pa.Table.from_batches([batch])
            yield table.rename_columns([wanted[name] for name in table.column_names])
    except (pa.ArrowInvalid, OSError) as error:
        raise LogError(
            f"Expected Parquet in {path.name}, found a damaged or other file ({_brief(error)}): export it again."
        ) from None


def _text(path, columns, names, derive):
    try:
        found, separator = _header(path, columns) if names is None else (list(names), _separator(path, len(names)))
        wanted = _wanted(found, columns, path, derive)
        reader = pa.csv.open_csv(
            pa.input_stream(path, compression={".bz2": "bz2", ".gz": "gzip"}.get(path.suffix)),
            pa.csv.ReadOptions(column_names=found, skip_rows=int(names is None), block_size=BLOCK_BYTES),
            # titles in tab-separated files hold loose quotes
            pa.csv.ParseOptions(delimiter=separator, quote_char=False if separator == "\t" else '"'),
            pa.csv.ConvertOptions(
                column_types=dict.fromkeys(found, pa.string()), include_columns=list(wanted), strings_can_be_null=False
            ),
        )
        for batch in reader:
            yield pa.Table.from_batches([batch]).rename_columns([wanted[name] for name in batch.schema.names])
    except UnicodeDecodeError as error:
        raise LogError(
            f"Expected text in UTF-8 in {path.name}, found byte {error.object[error.start]:#x}: convert it."
        ) from None
    except (pa.ArrowInvalid, EOFError, OSError) as error:
        raise LogError(_text_sentence(path, error)) from None


def _text_sentence(path, error):
    said = _brief(error)
    if "UTF8" in said:
        return f"Expected text in UTF-8 in {path.name}, found other bytes ({said}): convert it."
    if path.suffix in (".bz2", ".gz") and "CSV parse error" not in said:
        return f"Expected a whole file in {path.name}, found it cut or damaged ({said}): fetch it again."
    if "Empty CSV" in said:
        return f"Expected rows below the header of {path.name}, found none: fetch or export it again."
    return f"Expected one listen a line in {path.name}, found otherwise ({said}): mend that line, or quote its text."


def _brief(error):
    return str(error).splitlines()[0][:200].rstrip(".")


def _header(path, columns):
    """Names in the first line and the separator that yields most of the needed ones."""
    line = _first_line(path)
    needed = {columns.get(name, name) for name in NEEDED}
    rows = {separator: [name.strip('"') for name in line.split(separator)] for separator in SEPARATORS}
    separator = max(rows, key=lambda key: len(set(rows[key]) & needed))
    return rows[separator], separator


def _separator(path, width):
    """The separator that cuts the first line of a file without header into as many values as it has columns."""
    line = _first_line(path)
    fitting = [separator for separator in SEPARATORS if line.count(separator) == width - 1]
    if not fitting:
        raise LogError(
            f"Expected {width} values in the first line of {path.name} (separated by {', '.join(SEPARATORS.values())})"
            f", found {line[:120]!r}: is it another file?"
        )
    return fitting[0]


def _first_line(path):
    opener = {".bz2": bz2.open, ".gz": gzip.open}.get(path.suffix, open)
    with opener(path, "rt", encoding="utf-8-sig") as lines:
        return lines.readline().rstrip("\r\n")


def _cleaned(raw, path, time_zone, before):
    """A batch with the right types, or the sentence that says which row has what is wrong."""
    found = {name: _ids(raw[name], name, path, before) for name in ("user_id", "track_id")}
    found["timestamp"] = _times(raw["timestamp"], time_zone, before)
    if "event" in raw.column_names:
        found["event"] = raw["event"].cast(pa.string())
        known = pc.is_in(found["event"], value_set=pa.array(EVENTS))
        _refuse(pc.invert(known), found["event"], f"an event of {', '.join(EVENTS)}", path, before)
    for name in ("played_seconds", "position_seconds"):
        if name in raw.column_names:
            found[name] = _numbers(raw[name], name, path, before)
            wrong = pc.or_(pc.less(found[name], 0.0), pc.invert(pc.is_finite(found[name])))
            _refuse(wrong, found[name], f"{name} of 0 or more", path, before)
    if "count" in raw.column_names:
        numbers = _numbers(raw["count"], "count", path, before)
        whole = pc.and_(pc.greater_equal(numbers, 1.0), pc.equal(numbers, pc.floor(numbers)))
        whole = pc.and_(whole, pc.less_equal(numbers, MOST_LISTENS))
        _refuse(pc.invert(pc.fill_null(whole, False)), numbers, f"a count of 1 to {MOST_LISTENS:,}", path, before)
        found["count"] = numbers.cast(pa.int64())
    return pa.table(found)


def _ids(column, name, path, before):
    if pa.types.is_floating(column.type):
        raise LogError(
            f"Expected {name} as text or whole numbers in {path.name}, found decimals ({column[0]} in row "
            f"{before + 1}): write that column as text."
        )
    text = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not pa.types.is_string(text):
        column = column.cast(pa.string())
    lengths = pc.binary_length(column.cast(pa.string()))
    if column.null_count or pc.min(lengths).as_py() == 0:
        _refuse(pc.equal(pc.fill_null(lengths, 0), 0), column, f"a {name} in every row", path, before)
    return column


def _times(column, time_zone, before):
    if pa.types.is_string(column.type) and time_zone == "UTC":
        try:
            return column.cast(pa.timestamp("us")).cast(TIME)
        except pa.ArrowInvalid:  # zones, or no times: slower, and with a sentence
            pass
    return pa.array(as_utc_times(column.to_pandas(), time_zone, before), TIME)


def _numbers(column, name, path, before):
    if pa.types.is_string(column.type):
        column = pc.if_else(pc.equal(column, ""), None, column)
    try:
        return column.cast(pa.float64())
    except pa.ArrowInvalid:
        numbers = pd.to_numeric(column.to_pandas(), errors="coerce").isna().to_numpy() & ~column.is_null().to_numpy()
        _refuse(pa.array(numbers), column, f"numbers in column {name}", path, before)
        raise


def _refuse(bad, values, expected, path, before):
    """Raise for the first row of which `bad` holds."""
    rows = np.flatnonzero(pc.fill_null(bad, False).to_numpy(zero_copy_only=False)) if pc.any(bad).as_py() else ()
    if len(rows):
        value = values[int(rows[0])].as_py()
        raise LogError(
            f"Expected {expected} of {path.name}, found {value!r} in row {before + rows[0] + 1} ({len(rows)} such rows "
            "near it): mend or drop them."
        )
