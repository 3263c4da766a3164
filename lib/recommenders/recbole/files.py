"""RecBole's atomic files: tab-separated tables whose header names each column's type."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
from pandas._libs.parsers import STR_NA_VALUES

from lib.recommenders.base import CannotFitError
from lib.study.ids import sorted_ids
from lib.study.tables import write_atomically

NAME = "ours"  # of the data set: RecBole wants <folder>/ours/ours.train.inter
UNWRITABLE = ("\t", "\n", "\r")
# A space separates the ids of a sequence, a quotation mark would swallow the columns after it, an opening bracket
# begins RecBole's own [PAD], and the per cent sign says that two digits follow.
_ESCAPES = str.maketrans({sign: f"%{ord(sign):02X}" for sign in ' "[%'})


class AtomicFileError(CannotFitError):
    """Something cannot be written to an atomic file; the sentence names it."""


def encode(ids) -> np.ndarray:
    """Ids as RecBole reads them back unharmed; `decode` turns them back.

    Parameters
    ----------
    ids : sequence of str

    Returns
    -------
    ndarray of str
        Spaces, quotation marks, opening brackets and per cent signs become ``%20`` and so on, and so does the first
        letter of a word that pandas takes for a missing value; other ids stay as they are.

    Raises
    ------
    AtomicFileError
        For an id with a tab or a line break, and for an empty one.

    Examples
    --------
    >>> list(encode(["a b", "NA", "Björk"]))
    ['a%20b', '%4EA', 'Björk']
    """
    ids = np.asarray(ids, dtype=object)
    for one in ids:
        if not one or any(sign in one for sign in UNWRITABLE):
            raise AtomicFileError(
                f"Expected ids without tabs and line breaks, found {one!r}; RecBole's files cannot hold it: rename it."
            )
    escaped = [one.translate(_ESCAPES) for one in ids]
    return np.array([f"%{ord(e[0]):02X}{e[1:]}" if e in STR_NA_VALUES else e for e in escaped], dtype=object)


def decode(tokens) -> np.ndarray:
    """Ids from what `encode` made of them.

    Examples
    --------
    >>> list(decode(["a%20b", "%4EA", "Björk"]))
    ['a b', 'NA', 'Björk']
    """
    return np.array([unquote(token, errors="strict") for token in tokens], dtype=object)


def histories(train: pd.DataFrame) -> pd.Series:
    """Tracks of each user in order of time, at equal times of id.

    Parameters
    ----------
    train : DataFrame
        Pairs ``user_id, track_id, timestamp``.

    Returns
    -------
    Series of list of str
        Index ``user_id``, ascending.
    """
    ordered = train.drop_duplicates(["user_id", "track_id"]).sort_values(["user_id", "timestamp", "track_id"])
    return ordered.groupby("user_id", sort=True)["track_id"].agg(list)


def prefixes(history: list, max_length: int, targets: int) -> list[tuple[list, object]]:
    """What was heard before each of the latest tracks, and that track.

    Parameters
    ----------
    history : list
        Tracks in order of time.
    max_length : int
        Tracks kept of what was heard before: the latest, where RecBole by itself would keep the oldest.
    targets : int
        Tracks to be foretold, the latest ones; the first of a history has nothing before it and is none.

    Returns
    -------
    list of (list, object)

    Examples
    --------
    >>> prefixes(["a", "b", "c", "d"], 2, 2)
    [(['a', 'b'], 'c'), (['b', 'c'], 'd')]
    """
    first = max(1, len(history) - targets)
    return [(history[max(0, place - max_length) : place], history[place]) for place in range(first, len(history))]


def write_pairs(folder: Path, train: pd.DataFrame) -> None:
    """Write distinct pairs as ``ours.train.inter``, and all tracks as ``ours.item``, below a folder.

    Raises
    ------
    AtomicFileError
        For an id the files cannot hold.
    """
    # RecBole numbers ids as they come: in ascending order, candidates are read from its scores in one sweep
    pairs = train[["user_id", "track_id"]].drop_duplicates().sort_values(["track_id", "user_id"])
    users, tracks = (pairs[name].map(_encoding(pairs[name])) for name in pairs.columns)
    _write(folder, "train.inter", {"user_id:token": users, "item_id:token": tracks})
    _write_tracks(folder, train)


def write_sequences(folder: Path, train: pd.DataFrame, rows: list[tuple[str, list, str]]) -> None:
    """Write sequences, each with its user and the track to be foretold, below a folder.

    Parameters
    ----------
    folder : Path
    train : DataFrame
        Pairs: all their tracks become known to the model, also those that no row holds.
    rows : list of (str, list of str, str)
        User, tracks before, track to be foretold.

    Raises
    ------
    AtomicFileError
        For an id the files cannot hold.
    """
    code = _encoding(train["track_id"])
    users, before, targets = zip(*rows, strict=True)
    columns = {
        "user_id:token": encode(users),
        "item_id_list:token_seq": [" ".join([code[track] for track in tracks]) for tracks in before],
        "item_id:token": [code[track] for track in targets],
    }
    _write(folder, "train.inter", columns)
    _write_tracks(folder, train)


def _encoding(ids: pd.Series) -> dict[str, str]:
    distinct = sorted_ids(ids)
    return dict(zip(distinct, encode(distinct), strict=True))


def _write_tracks(folder: Path, train: pd.DataFrame) -> None:
    _write(folder, "item", {"item_id:token": encode(sorted_ids(train["track_id"]))})


def _write(folder: Path, ending: str, columns: dict) -> None:
    with write_atomically(Path(folder) / NAME / f"{NAME}.{ending}") as beside:
        pd.DataFrame(columns).to_csv(beside, sep="\t", index=False, quoting=3, encoding="utf-8")
