"""Ids of users and tracks as arrays: always strings, sorted where order matters, and their positions."""

from __future__ import annotations

import numpy as np
import pandas as pd


def id_array(ids) -> np.ndarray:
    """Ids as an object array of ``str`` (pandas and dictionaries handle these without converting)."""
    return np.asarray(ids, dtype=object)


def sorted_ids(ids) -> np.ndarray:
    """Distinct ids, ascending, as an object array of ``str``.

    Examples
    --------
    >>> list(sorted_ids(["b", "a", "b"]))
    ['a', 'b']
    """
    ids = pd.unique(id_array(ids))
    ids.sort()
    return ids


def positions(values, index: pd.Index) -> np.ndarray:
    """Position of each value in a unique index, -1 where absent; repeated values are looked up once.

    Parameters
    ----------
    values : Series or array of str, shape (n,)
    index : pandas.Index of str

    Returns
    -------
    ndarray of int64, shape (n,)
    """
    codes, distinct = pd.factorize(values)
    return index.get_indexer(pd.Index(distinct)).astype(np.int64)[codes]


def pair_positions(pairs: pd.DataFrame | None, users: pd.Index, tracks: pd.Index) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the user-track pairs that lie in users x tracks, ordered by row.

    Parameters
    ----------
    pairs : DataFrame or None
        Columns ``user_id`` and ``track_id``; None stands for no pairs.
    users, tracks : pandas.Index of str
        Unique ids.

    Returns
    -------
    rows, columns : ndarray of int64
    """
    if pairs is None or not len(pairs):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    rows = positions(pairs["user_id"], users)
    inside = np.flatnonzero(rows >= 0)
    rows, columns = rows[inside], positions(pairs["track_id"].iloc[inside], tracks)
    order = np.flatnonzero(columns >= 0)
    order = order[np.argsort(rows[order], kind="stable")]
    return rows[order], columns[order]
