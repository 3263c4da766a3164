"""The data set ``recordings``: a folder of one's own, with a table of what is known of them and one of who listened.

The rules:

- A recording shorter than one and a half clips is one track, as it is. A longer one is cut into excerpts of
  `clip_seconds` that begin `excerpt_step` apart, from 0 on, as long as a whole clip fits; silent ones (below −60 dBFS)
  are left out. An excerpt is a track of its own; `recording_id` says what it belongs to.
- A listen to a long recording counts for every excerpt that it touched: from where it began (position_seconds, else 0)
  for as long as it lasted (played_seconds, else to the end). An excerpt after which the listener went on is complete,
  wherever in it the listen began; the one in which it ended is judged by how much of it was heard, as any track is. A
  skip of which nothing more is known counts for the excerpt at its position, as a skip.
"""

import csv
import re
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from lib.data import audio, logs
from lib.study.tables import write_atomically

__all__ = ["SUFFIXES"]


SUFFIXES = {".wav", ".flac", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".aifc", ".au", ".caf", ".mp3", ".w64", ".rf64"}
SUFFIXES |= {".wv", ".ac3", ".m4a", ".m4b", ".aac", ".mp4", ".mov", ".wma", ".webm", ".mka", ".mkv"}
WHOLE_BELOW = 1.5  # clips
SILENCE = 10 ** (-60 / 20)
HIGHEST_RATE = 48000
SKIPPED_SECONDS = 240.0
SCHEMA = pa.schema(
    {
        "user_id": pa.string(),
        "track_id": pa.string(),
        "timestamp": logs.TIME,
        "event": pa.string(),
        "played_seconds": pa.float64(),
    }
)
LABEL_KEYS = ("recording_id", "recording", "file", "track_id", "id")


class RecordingsError(ValueError):
    """A folder or a table of one's own cannot be used; the sentence says why."""


def describe():
    """What the data set is, in a sentence or two."""
    return "Recordings of one's own: whole where they are short, cut into excerpts where they are long."


def licence():
    """Under which terms it stands."""
    return "Yours: nothing of it leaves this machine."


def cite():
    """What to cite."""
    return "Your own archive."


def validate(folder):
    """Look at every recording's header.

    Parameters
    ----------
    folder : str or Path

    Returns
    -------
    list of str
        A sentence for each file that cannot be read; one where there are none at all.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return [f"Expected a folder of recordings at {folder}, found none: correct dataset_folder."]
    try:
        files, problems = _files(folder), []
    except RecordingsError as error:
        return [str(error)]
    if not files:
        return [f"Expected recordings in {folder}, found none among {', '.join(sorted(SUFFIXES))}."]
    for path in files.values():
        try:
            audio.duration(path)
        except audio.AudioError as error:
            problems.append(str(error))
    return problems


def tracks(folder, *, cache, clip_seconds, excerpt_step, labels_table=None, progress=None):
    """List the recordings of a folder, and cut the long ones.

    Parameters
    ----------
    folder : str or Path
        Searched with all that is below it.
    cache : Path
        Keeps the excerpts (16-bit mono FLAC at the recording's own rate, at most 48 kHz) by the recording's content:
        what is there is not cut again.
    clip_seconds, excerpt_step : float
        Length of an excerpt, and from one's beginning to the next's.
    labels_table : Path, optional
        CSV, TSV or Parquet: a column recording_id, recording, file, track_id or id (else the first) names the recording
        by its path below the folder or its name, with or without ending; all other columns become labels.
    progress : callable, optional
        Such as `lib.study.progress.progress`.

    Returns
    -------
    DataFrame
        Sorted by track_id: track_id (the path below the folder without its ending; excerpts with '#' and their second),
        path, duration (s), artist, title, recording_id, start (s), then the labels. ``attrs["left_out"]`` has a
        sentence for each recording that cannot be read and each label that fits none.

    Raises
    ------
    RecordingsError
        Where nothing can be read, two recordings have one name, or the table of labels is none.
    """
    folder = Path(folder)
    rows, left_out = [], []
    files = _files(folder)
    for name, path in (progress or _plain)(files.items(), total=len(files), label="reading recordings", unit="file"):
        try:
            rows += _recording(name, path, cache, clip_seconds, excerpt_step, left_out)
        except audio.AudioError as error:
            left_out.append(str(error))
    if not rows:
        raise RecordingsError(
            f"Expected recordings in {folder}, found none that can be read ({len(files)} files with a known ending"
            f"{'; the first: ' + left_out[0] if left_out else ''}): correct dataset_folder or convert them."
        )
    frame = pd.DataFrame(rows).sort_values("track_id", ignore_index=True)
    twice = frame.loc[frame["track_id"].duplicated(), "track_id"]
    if len(twice):
        raise RecordingsError(
            f"Expected one track an id, found {twice.iloc[0]!r} twice: rename the recording of that name, or set "
            "excerpt_step to 1 s or more."
        )
    if labels_table is not None:
        frame = _with_labels(frame, Path(labels_table), left_out)
    frame["artist"] = frame["artist"].fillna("") if "artist" in frame else ""
    first = ["track_id", "path", "duration", "artist", "title", "recording_id", "start"]
    frame = frame[[*first, *(name for name in frame.columns if name not in first)]]
    frame.attrs["left_out"] = left_out
    return frame


def events(folder, *, log_file, log_columns=None, time_zone="UTC"):
    """Stream a table of listening.

    Parameters
    ----------
    folder : str or Path
    log_file : str
        CSV, TSV or Parquet in it; empty: nobody has listened.
    log_columns : dict of str to str, optional
        Our names and the table's (`lib.data.logs.batches`).
    time_zone : str
        IANA name of the zone of times that carry none.

    Returns
    -------
    iterator of pyarrow.Table or None
        Tracks as the table names them; `touched` turns these into track ids.
    """
    if not log_file:
        return None
    return logs.batches(Path(folder) / log_file, columns=log_columns, time_zone=time_zone)


def touched(batches, tracks):
    """Turn listens to recordings into listens to tracks: every excerpt that was touched.

    Parameters
    ----------
    batches : iterator of pyarrow.Table
        track_id names a recording (its id or file, with or without ending, alone or with its path) or a track.
    tracks : DataFrame
        From `tracks`.

    Yields
    ------
    pyarrow.Table
        A batch (`lib.data.logs`) with event and played_seconds. What names no recording stays as it is.

    Examples
    --------
    >>> heard = touched(events("archive", log_file="plays.csv"), frame)  # doctest: +SKIP
    >>> next(heard)["track_id"][0].as_py()  # doctest: +SKIP
    'gala#00090'
    """
    recordings = {name: of for name, of in tracks.sort_values("start").groupby("recording_id", sort=False)}
    alias, known = _aliases(recordings), set(tracks["track_id"]) - set(recordings)
    for batch in batches:
        frame = batch.to_pandas().astype({"user_id": object, "track_id": object})
        for name in ("event", "played_seconds", "position_seconds"):
            if name not in frame:
                frame[name] = None if name == "event" else np.nan
        names = {name: None if name in known else _named(name, alias) for name in frame["track_id"].unique()}
        recording = frame["track_id"].map(names)
        parts = [_unnamed(frame[recording.isna()], tracks)]
        for name, rows in frame.groupby(recording):
            excerpts = recordings[name]
            long = len(excerpts) > 1 or excerpts["track_id"].iloc[0] != name
            parts.append(_excerpts(rows, excerpts) if long else _whole(rows, excerpts.iloc[0]))
        found = pd.concat([part for part in parts if len(part)] or parts[:1]).sort_index(kind="stable")
        schema = SCHEMA.append(pa.field("count", pa.int64())) if "count" in frame else SCHEMA
        yield pa.Table.from_pandas(found[schema.names], schema, preserve_index=False).replace_schema_metadata()


def _files(folder):
    """{recording id: path} of a folder, ascending."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()):
        name = _composed(path.relative_to(folder).with_suffix("").as_posix())
        if name in found:
            raise RecordingsError(
                f"Expected recordings of different names, found {found[name].name} and {path.name} for {name!r}: "
                "rename one, or move it away."
            )
        found[name] = path
    return found


def _recording(name, path, cache, clip_seconds, step, left_out):
    """Rows of a recording: itself, or its excerpts."""
    length = audio.duration(path)
    title = Path(name).name
    row = {"track_id": name, "path": str(path), "duration": float(length), "title": title, "recording_id": name}
    if length < WHOLE_BELOW * clip_seconds:
        audio.read(path, seconds=1.0)  # a header may promise what the file does not hold
        return [row | {"start": 0.0}]
    folder = Path(cache) / audio.audio_hash(path)[:16] / f"{clip_seconds:g}s"
    starts = np.arange(0, length - clip_seconds + 1e-3, step)
    rows, silent = [], 0
    for start in starts:
        cut = folder / f"{start:09.3f}.flac"
        if not cut.is_file() and not cut.with_suffix(".silent").is_file():
            _cut(path, cut, float(start), clip_seconds)
        if cut.is_file():
            minutes, seconds = divmod(int(start), 60)
            rows.append(
                row
                | {
                    "track_id": f"{name}#{int(start):05d}",
                    "path": str(cut),
                    "duration": float(clip_seconds),
                    "title": f"{title}, {minutes}:{seconds:02d}",
                    "start": float(start),
                }
            )
        else:
            silent += 1
    if silent:
        left_out.append(f"{silent} of {len(starts)} excerpts of {name} are silent (below -60 dBFS) and are left out.")
    return rows


def _cut(path, cut, start, seconds):
    """Write an excerpt as FLAC, or a mark that it is silent."""
    import soundfile
    import soxr

    samples, rate = audio.read(path, start=start, seconds=seconds)
    if rate > HIGHEST_RATE:
        samples, rate = soxr.resample(samples, rate, HIGHEST_RATE, "HQ"), HIGHEST_RATE
    if np.sqrt(np.mean(samples.astype(float) ** 2)) < SILENCE:
        cut.parent.mkdir(parents=True, exist_ok=True)
        cut.with_suffix(".silent").touch()
        return
    with write_atomically(cut) as beside:
        soundfile.write(beside, np.clip(samples, -1, 1), rate, subtype="PCM_16")


def _with_labels(frame, path, left_out):
    table, key = _read_labels(path)
    named = table[key].fillna("").astype(str).str.strip()
    recordings = {name: None for name in frame["recording_id"]}
    alias = _aliases(recordings)
    known = named.map(lambda name: _named(name, alias))
    for stray in named[known.isna()].unique()[:3]:
        left_out.append(f"The label {stray!r} in {path.name} names no recording ({int(known.isna().sum())} such rows).")
    table = table.drop(columns=key).assign(recording_id=known)[known.notna().to_numpy()]
    if table["recording_id"].duplicated().any():
        twice = table.loc[table["recording_id"].duplicated(), "recording_id"].iloc[0]
        raise RecordingsError(f"Expected one row a recording in {path.name}, found {twice!r} more than once: drop one.")
    unnamed = set(recordings) - set(table["recording_id"])
    if unnamed:
        left_out.append(f"{len(unnamed)} recordings have no row in {path.name}, {min(unnamed)} for one.")
    clash = [name for name in ("track_id", "path", "duration", "start") if name in table]
    if clash:
        raise RecordingsError(f"Expected labels in {path.name}, found the column {clash[0]!r}: rename it.")
    if "title" in table:
        frame = frame.assign(title=_titles(frame, table))
        table = table.drop(columns="title")
    merged = frame.merge(table, on="recording_id", how="left")
    text = [name for name in table.columns if merged[name].dtype == object]
    return merged.assign(**{name: merged[name].fillna("").astype(str) for name in text})


def _titles(frame, table):
    """Titles of the table, excerpts with their minute."""
    given = frame["recording_id"].map(table.set_index("recording_id")["title"]).fillna("").astype(str)
    minute = frame["title"].str.extract(r"(, \d+:\d\d)$")[0].where(frame["track_id"] != frame["recording_id"], "")
    return (given + minute.fillna("")).where(given != "", frame["title"])


def _read_labels(path):
    """The table and the name of the column that names recordings, which is text: '001' is no number."""
    if not path.is_file():
        raise RecordingsError(f"Expected a table of labels at {path}, found no such file: correct labels_table.")
    try:
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
            return table, _label_key(list(table), path)
        with open(path, encoding="utf-8-sig") as lines:
            header = next((line for line in lines if line.strip()), "")
        separator = max("\t,;", key=header.count)
        key = _label_key(next(csv.reader([header], delimiter=separator)) or [""], path)
        table = pd.read_csv(path, sep=separator, keep_default_na=False, na_values=[""], dtype={key: str})
    except RecordingsError:
        raise
    except (ValueError, OSError) as error:
        said = str(error).splitlines()[0][:150]
        raise RecordingsError(
            f"Expected a table of labels in {path.name}, found otherwise ({said}): export it as CSV in UTF-8."
        ) from None
    if not isinstance(table.index, pd.RangeIndex):  # pandas would take the first column for row names
        raise RecordingsError(
            f"Expected {table.shape[1]} values a line in {path.name}, as its header has, found more: put values that "
            f"hold {separator!r} in quotes."
        )
    return table, key


def _label_key(names, path):
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RecordingsError(
            f"Expected each column once in {path.name}, found {twice[0]!r} more than once: rename or drop one."
        )
    return next((name for name in LABEL_KEYS if name in names), names[0])


def _aliases(recordings):
    """Every way to name a recording: its id, and its last part where no other ends so."""
    last = pd.Series(list(recordings)).map(lambda name: Path(name).name)
    unique = last[~last.duplicated(keep=False)]
    return {name: list(recordings)[row] for row, name in unique.items()} | {name: name for name in recordings}


def _named(name, alias):
    """The recording that a name, a file or a path means, or None.

    Of an absolute path the end counts, so that a log may name files as they lay elsewhere; it must be a whole id, for
    another folder's file of the same name is another recording.
    """
    path = Path(_composed(name).replace("\\", "/"))
    bare = (path.with_suffix("") if path.suffix.lower() in SUFFIXES else path).as_posix()
    parts = bare.split("/")
    absolute = bare.startswith("/") or re.match(r"[A-Za-z]:/", bare)
    ends = ["/".join(parts[first:]) for first in range(1, len(parts))] if absolute else []
    whole = next((end for end in ends if alias.get(end) == end), None)
    return alias.get(bare) or whole or alias.get(_composed(name))


def _composed(name):
    """A name with its accents composed (NFC): some file systems take them apart, tables seldom do."""
    return unicodedata.normalize("NFC", name)


def _whole(rows, track):
    """Listens of a recording that is one track."""
    rows = rows.assign(track_id=track["track_id"])
    return rows.assign(
        event=rows["event"].where(rows["event"].notna(), _outcome(rows["played_seconds"], track["duration"]))
    )


def _unnamed(rows, tracks):
    """Listens that name a track itself, or nothing that is known."""
    duration = rows["track_id"].map(tracks.set_index("track_id")["duration"])
    return rows.assign(event=rows["event"].where(rows["event"].notna(), _outcome(rows["played_seconds"], duration)))


def _outcome(played, duration):
    """skip, play or complete by what was played; play where that is unknown."""
    skipped = played < np.minimum(0.5 * duration, SKIPPED_SECONDS)
    return pd.Series(np.select([skipped, played >= 0.9 * duration], ["skip", "complete"], "play"), index=played.index)


def _excerpts(rows, excerpts):
    """Listens of a long recording as listens of the excerpts that they touched."""
    starts, lengths = excerpts["start"].to_numpy(), excerpts["duration"].to_numpy()
    begun = rows["position_seconds"].fillna(0.0).to_numpy(float)
    played = rows["played_seconds"].to_numpy(float)
    at_once = (rows["event"] == "skip").to_numpy() & np.isnan(played)  # left, one knows not when
    left = begun + np.where(np.isnan(played), np.where(at_once, 0.0, np.inf), played)
    first = np.searchsorted(starts + lengths, begun, side="right")
    # a listen of no length touches where it began
    after = np.searchsorted(starts, np.maximum(left, np.nextafter(begun, np.inf)), side="left")
    count = np.maximum(after - first, 0)
    row = np.repeat(np.arange(len(rows)), count)
    which = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count) + first[row]
    low, end = np.maximum(starts[which], begun[row]), starts[which] + lengths[which]
    heard = np.round(np.minimum(end, left[row]) - low, 3)
    went_on = left[row] >= end - 1e-3
    outcome = np.where(went_on, "complete", _outcome(pd.Series(heard), lengths[which]))
    found = rows.iloc[row].assign(
        track_id=excerpts["track_id"].to_numpy()[which],
        event=np.where(at_once[row], "skip", outcome).astype(object),
        played_seconds=np.where(at_once[row], np.nan, heard),
    )
    found["timestamp"] += np.round(1000 * (low - begun[row])).astype("timedelta64[ms]")
    return found


def _plain(items, **_):
    return items
