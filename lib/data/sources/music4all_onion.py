"""The data set ``music4all_onion``: Music4All's clips and labels, and Music4All-Onion's listening log, as published.

Both may lie in one folder or in two. Music4All's tables are TAB-separated though they are called .csv (copies with
commas exist: the separator is looked at, not believed); the log is newest-first within a listener and has no time zone
(UTC). Nothing is downloaded and nothing guessed: `validate` says what is missing and how to get it.
"""

import csv
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from lib.data import logs
from lib.data.sources.scores.corpus import KEYS

RECORDS = "Zenodo records 6609677 (v1) and 15394646 (v2)"
AGREEMENT = "signed agreement with the authors of Music4All (I. A. P. Santana et al., IWSSIP 2020)"
LOG = "userid_trackid_timestamp.tsv"
LOG_MD5 = "dfe82201036765f7463e6f3ce3d0f991"  # of the .bz2
LOG_BYTES = 2_000_000_000  # the .bz2 has 2.2 GB; what is far smaller is a part
HISTORY = "listening_history.csv"  # Music4All's own log, to the minute
HISTORY_COLUMNS = {"user_id": "user", "track_id": "song"}
TABLES = {  # file: columns that are read, and our names
    "id_information.csv": {"artist": "artist", "song": "title", "album_name": "album"},
    "id_metadata.csv": {
        "popularity": "popularity",
        "release": "release",
        "danceability": "danceability",
        "energy": "energy",
        "key": "key",
        "mode": "mode",
        "valence": "valence",
        "tempo": "tempo",
        "duration_ms": "full_duration",
    },
    "id_genres.csv": {"genres": "genres"},
    "id_tags.csv": {"tags": "tags"},
    "id_lang.csv": {"lang": "language"},
}
ROWS = 109_269
NUMBERS = ("popularity", "danceability", "energy", "key", "mode", "valence", "tempo", "full_duration")


class Music4AllError(ValueError):
    """A published file is not as published; the sentence names it."""


def describe():
    """What the data set is, in a sentence or two."""
    return (
        "Music4All: 109,269 songs as 30 s clips with genres, tags, language and Spotify's descriptors; "
        "Music4All-Onion: 252,984,396 listens of 119,140 Last.fm users to 56,512 of them, 2005 to 2020. Real listening."
    )


def licence():
    """Under which terms the parts stand."""
    return f"Clips and labels: {AGREEMENT}, research only. Listening log and features: CC BY-NC-SA 4.0 ({RECORDS})."


def cite():
    """What to cite."""
    return (
        "I. A. P. Santana et al., Music4All: A New Music Database and its Applications, IWSSIP 2020; "
        "M. Moscati et al., Music4All-Onion: A Large-Scale Multi-Faceted Content-Centric Music Recommendation Dataset, "
        "CIKM 2022."
    )


def validate(folder):
    """Compare a folder that holds all of it with what is published.

    Parameters
    ----------
    folder : str or Path

    Returns
    -------
    list of str
        A sentence for each thing that is missing, only a part, or not as published; empty where all is well.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return [f"Expected a folder at {folder}, found none: make it and put the published files there."]
    return validate_log(folder) + validate_base(folder)


def validate_log(folder):
    """Compare the log in a folder with the published one; as `validate`."""
    folder = Path(folder)
    log = log_path(folder)
    if log is None:
        return [f"Expected the log {LOG}.bz2 in {folder.name}/, found none: get it from {RECORDS}."]
    if log.suffix != ".bz2":
        return [f"{log.name} is not the published .bz2 ({_megabytes(log):,} MB): whether it is whole was not checked."]
    if log.stat().st_size < LOG_BYTES:
        return [f"{log.name} is a part of the published log or another version of it ({_megabytes(log)} MB)."]
    found = _md5(log)
    if found != LOG_MD5:
        return [f"Expected {log.name} with md5 {LOG_MD5}, found {found}: fetch it again from {RECORDS}."]
    return []


def validate_base(folder):
    """Compare tables and clips of the base set in a folder with the published ones; as `validate`."""
    folder, problems = Path(folder), []
    for name, columns in TABLES.items():
        path = folder / name
        if not path.is_file():
            problems.append(f"Expected {name} in {folder.name}/, found none: it comes by {AGREEMENT}.")
            continue
        try:
            rows = len(_table(path, columns))
        except Music4AllError as error:
            problems.append(str(error))
            continue
        if rows != ROWS:
            problems.append(f"Expected {ROWS:,} rows in {name}, found {rows:,}: it is a part or another version.")
    clips = sum(1 for _ in (folder / "audios").glob("*.mp3")) if (folder / "audios").is_dir() else 0
    if clips != ROWS:
        problems.append(f"Expected {ROWS:,} clips in audios/, found {clips:,}: they come by {AGREEMENT}.")
    return problems


def log_path(folder):
    """The published log in a folder, compressed or not; None where it is not there."""
    found = [path for path in (Path(folder) / f"{LOG}.bz2", Path(folder) / LOG) if path.is_file()]
    return found[0] if found else None


def events(folder, log_file, progress=None):
    """Stream the listening log.

    Parameters
    ----------
    folder : str or Path
    log_file : str
        Its name; empty for the published one. Music4All's own ``listening_history.csv`` reads as it is, too.
    progress : callable, optional
        Not needed: `lib.data.stream` tells how far the stream is.

    Returns
    -------
    iterator of pyarrow.Table
        See `lib.data.logs.batches`.

    Raises
    ------
    FileNotFoundError
        Where it is not there; the sentence says where to get it.
    """
    found = None if log_file else log_path(folder)
    path = found or logs.published(folder, log_file or f"{LOG}.bz2", RECORDS)
    return logs.batches(path, columns=HISTORY_COLUMNS if path.name == HISTORY else None)


def tracks(folder):
    """Read what is known of the songs.

    Parameters
    ----------
    folder : str or Path
        With the base set's tables and ``audios/``.

    Returns
    -------
    DataFrame or None
        Sorted by track_id: track_id, path (empty without a clip), duration (30 s with a clip), artist, title, album,
        key, mode, valence, energy, danceability, tempo, popularity, release, full_duration (s), genres, collection
        (the first genre), tags, language, as far as the tables are there. None where the folder holds none of them.

    Raises
    ------
    Music4AllError
        Where a table is not as published.
    """
    folder = Path(folder)
    if not (folder / "id_information.csv").is_file():
        return None
    known = _table(folder / "id_information.csv", TABLES["id_information.csv"])
    for name, columns in TABLES.items():
        if name != "id_information.csv" and (folder / name).is_file():
            known = known.join(_table(folder / name, columns), how="left")
    known = known.rename_axis("track_id").sort_index().reset_index()
    clips = {path.stem for path in (folder / "audios").glob("*.mp3")}
    known["path"] = [str(folder / "audios" / f"{name}.mp3") if name in clips else "" for name in known["track_id"]]
    known["duration"] = np.where(known["path"] != "", 30.0, np.nan)
    if "full_duration" in known:
        known["full_duration"] = (known["full_duration"] / 1000).where(known["full_duration"] > 0)
        known["key"] = [KEYS[int(key)] if 0 <= key < 12 else "" for key in known["key"].fillna(-1)]
        known["mode"] = known["mode"].map({0.0: "minor", 1.0: "major"}).fillna("")
    text = [name for name in ("artist", "title", "album", "genres", "tags", "language", "release") if name in known]
    known[text] = known[text].fillna("")
    if "genres" in known:
        known["collection"] = known["genres"].str.split(",").str[0].str.strip()
    first = ["track_id", "path", "duration", "artist", "title"]
    return known[[*first, *(name for name in known.columns if name not in first)]]


def _table(path, columns):
    """A base table indexed by id, with our names; ids stay text."""
    try:
        return _read_table(path, columns)
    except (UnicodeDecodeError, pd.errors.ParserError) as error:
        raise Music4AllError(
            f"Expected a table in UTF-8 with a value for each column in {path.name}, found otherwise ({error}): is it "
            "as published?"
        ) from None


def _read_table(path, columns):
    with open(path, encoding="utf-8-sig") as lines:
        header = lines.readline().rstrip("\r\n")
    separator = max("\t,;", key=header.count)
    names = [name.strip('"') for name in header.split(separator)]
    missing = [name for name in ("id", *columns) if name not in names]
    if missing:
        raise Music4AllError(
            f"Expected the column {missing[0]!r} in {path.name}, found {', '.join(names)[:120]}: is it as published?"
        )
    # titles in tab-separated files hold loose quotes
    options = {"sep": separator, "quoting": csv.QUOTE_NONE if separator == "\t" else csv.QUOTE_MINIMAL}
    frame = pd.read_csv(path, usecols=["id", *columns], dtype=str, keep_default_na=False, encoding="utf-8", **options)
    frame = frame.set_index("id").rename(columns=columns)[list(columns.values())]
    if frame.index.has_duplicates:
        twice = frame.index[frame.index.duplicated()][0]
        raise Music4AllError(
            f"Expected each id once in {path.name}, found {twice!r} more than once: is it as published?"
        )
    for name in frame.columns.intersection(NUMBERS):
        frame[name] = pd.to_numeric(frame[name], errors="coerce")
    return frame


def _md5(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _megabytes(path):
    return max(1, round(path.stat().st_size / 1e6))
