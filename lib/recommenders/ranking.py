"""From blocks of scores to recommendation lists: exact, blocked, without a loop over users."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from lib.study.ids import id_array, pair_positions, sorted_ids

COLUMNS = ["user_id", "rank", "track_id", "score"]
GROUPS = 64  # columns are folded this often to find a bound on the k-th score: two cheap passes, no full partition
RESOLUTION = 2.0**-20  # cosines closer than this are equal: float32 sums of thousands of terms differ by less
BLOCK_BYTES = 2**27  # scores at one time: large enough for the product to run at full speed
PART_BYTES = 2**23  # scores ranked at one time: temporaries of this size are not returned to the system each time


def quantise(scores: np.ndarray, resolution: float) -> np.ndarray:
    """Scores on a grid, so that scores equal up to rounding tie exactly; unchanged where resolution is 0."""
    return np.rint(scores / resolution) * resolution if resolution else scores


def top_k(
    scores: np.ndarray, k: int, *, resolution: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The k best columns of each row, best first; equal scores in ascending order of column.

    Parameters
    ----------
    scores : ndarray of float, shape (rows, columns), C-contiguous
        ``-inf`` marks what must not be listed.
    k : int
        Length of a list; rows with fewer finite scores give shorter lists.
    resolution : float
        Step of the grid on which scores count as equal; 0 compares them bit by bit.

    Returns
    -------
    rows, ranks, columns, values : ndarray
        Flat and aligned, ordered by row, then rank (from 1); values are on the grid.

    Notes
    -----
    The k-th largest of the maxima of disjoint groups of columns never exceeds the k-th largest score. What reaches
    that bound is a handful more than k a row and is sorted; the result is that of a full stable sort.

    Examples
    --------
    >>> [a.tolist() for a in top_k(np.array([[.1, .3, .3]]), 2)][1:3]
    [[1, 2], [1, 2]]
    """
    n_rows, n = scores.shape
    if not scores.size or k < 1:
        empty = np.empty(0, np.int64)
        return empty, empty, empty, np.empty(0, scores.dtype)
    flat = np.flatnonzero(scores >= _bound(scores, k, resolution)[:, None])
    values = scores.reshape(-1)[flat]
    listed = values > -np.inf
    flat, values = flat[listed], quantise(values[listed], resolution)
    rows, columns = np.divmod(flat, n)
    order = np.lexsort((columns, -values, rows))  # stable, last key first: row, falling score, column
    rows, columns, values = rows[order], columns[order], values[order]
    starts = np.searchsorted(rows, np.arange(n_rows))
    ranks = np.arange(len(rows)) - starts[rows] + 1
    kept = ranks <= k
    return rows[kept], ranks[kept], columns[kept], values[kept]


def _bound(scores: np.ndarray, k: int, resolution: float) -> np.ndarray:
    """For each row a score that at least k columns reach, lowered to the edge of its step of the grid."""
    n_rows, n = scores.shape
    if n <= k:
        return np.full(n_rows, -np.inf, scores.dtype)
    width = n // GROUPS
    if width >= 2 * k:
        folded = scores[:, : GROUPS * width].reshape(n_rows, GROUPS, width).max(axis=1)
        maxima = np.concatenate([folded, scores[:, GROUPS * width :]], axis=1)
    else:
        maxima = scores
    bound = np.partition(maxima, maxima.shape[1] - k, axis=1)[:, maxima.shape[1] - k]
    return quantise(bound, resolution) - scores.dtype.type(0.51 * resolution)


def rank_blocks(
    score: Callable[[int, int], np.ndarray],
    users,
    candidates: np.ndarray,
    k: int,
    exclude: pd.DataFrame | None,
    *,
    resolution: float = 0.0,
    block: int | None = None,
) -> pd.DataFrame:
    """Score users block by block, take out what each has heard, and rank.

    Parameters
    ----------
    score : callable
        ``score(start, stop)`` gives a C-contiguous array (stop - start, candidates) for these users; it is changed
        here and may be the same memory each time.
    users : sequence of str
        One row of scores each.
    candidates : ndarray of str
        Distinct ids in *ascending* order: the order in which equal scores are listed.
    k : int
        Length of the lists after removal.
    exclude : DataFrame or None
        Pairs ``user_id, track_id`` that must not be listed.
    resolution : float
        See `top_k`.
    block : int, optional
        Users at a time; by default `block_size`.

    Returns
    -------
    DataFrame
        ``user_id, rank, track_id, score``.
    """
    users, candidates = id_array(users), id_array(candidates)
    if not len(users) or not len(candidates):
        return empty_lists()
    seen_rows, seen_columns = pair_positions(exclude, pd.Index(users), pd.Index(candidates))
    block = block or block_size(len(candidates))
    parts = []
    for start in range(0, len(users), block):
        scores = score(start, min(start + block, len(users)))
        low, high = np.searchsorted(seen_rows, [start, start + block])
        scores[seen_rows[low:high] - start, seen_columns[low:high]] = -np.inf
        part = max(1, PART_BYTES // (4 * len(candidates)))
        for first in range(0, len(scores), part):
            rows, *rest = top_k(scores[first : first + part], k, resolution=resolution)
            parts.append((rows + (start + first), *rest))
    rows, ranks, columns, values = (np.concatenate(part) for part in zip(*parts, strict=True))
    return pd.DataFrame(
        {"user_id": users[rows], "rank": ranks, "track_id": candidates[columns], "score": values.astype(np.float32)}
    )


def rank_products(
    profiles: np.ndarray,
    vectors: np.ndarray,
    tracks: pd.Index,
    users,
    k: int,
    candidates,
    exclude: pd.DataFrame | None,
    *,
    listed: np.ndarray | None = None,
    taken=None,
    resolution: float = RESOLUTION,
) -> pd.DataFrame:
    """List each user's best candidates by the product of their profile with the tracks' vectors, exactly, in blocks.

    Parameters
    ----------
    profiles : ndarray of float, shape (users, dim)
    vectors : ndarray of float, shape (tracks, dim)
    tracks : pandas.Index of str
        Ids of `vectors`; candidates outside are not listed.
    users : sequence of str
        Ids of `profiles`.
    k : int
    candidates : sequence of str
    exclude : DataFrame or None
        As in `rank_blocks`.
    listed : ndarray of bool, shape (tracks,), optional
        Which tracks may be listed at all.
    taken : callable, optional
        ``taken(columns)`` gives a sparse array, users x candidates, that is taken off the scores; `columns` are the
        candidates' rows of `vectors`.
    resolution : float
        Scores closer than this count as equal.

    Returns
    -------
    DataFrame
        ``user_id, rank, track_id, score``.
    """
    check_k(k)
    candidates = sorted_ids(candidates)
    columns = tracks.get_indexer(pd.Index(candidates))
    inside = columns >= 0 if listed is None else (columns >= 0) & listed[columns]
    candidates, columns = candidates[inside], columns[inside]
    everything = np.array_equal(columns, np.arange(len(vectors)))  # in the same order: no copy
    items, copies = distinct_rows(vectors if everything else vectors[columns])
    off = None if taken is None else taken(columns)
    # one buffer for all blocks: fresh memory for each costs a tenth of the product
    buffer = np.empty((min(len(users), block_size(len(candidates))), len(items)), items.dtype)

    def score(start: int, stop: int) -> np.ndarray:
        scores = np.matmul(profiles[start:stop], items.T, out=buffer[: stop - start])
        scores = scores if copies is None else scores.take(copies, axis=1)
        if off is not None:
            part = off[start:stop].tocoo()
            scores[part.row, part.col] -= part.data
        return scores

    return rank_blocks(score, users, candidates, k, exclude, resolution=resolution)


def distinct_rows(values: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Distinct rows and, for each row, which of them it is; (values, None) where all differ.

    A product may round the same row differently at another place of the matrix; scoring it once makes ties exact.
    """
    if len(np.unique(_row_keys(values[:, :2]))) == len(values):
        return values, None  # two dimensions tell most embeddings apart, far faster than all of them
    _, first, inverse = np.unique(_row_keys(values), return_index=True, return_inverse=True)
    if len(first) == len(values):
        return values, None
    return values[first], inverse


def _row_keys(values: np.ndarray) -> np.ndarray:
    """Each row, in single precision, as one comparable item of bytes, or an integer where it fits."""
    rows = np.ascontiguousarray(values.astype(np.float32, copy=False) + np.float32(0))  # -0.0 becomes 0.0
    width = 4 * rows.shape[1]
    return rows.view({4: np.uint32, 8: np.uint64}.get(width, np.dtype((np.void, width)))).ravel()


def block_size(n_candidates: int) -> int:
    """Users scored at a time: what fits 128 MB of float32 scores."""
    return max(1, BLOCK_BYTES // (4 * max(n_candidates, 1)))


def empty_lists() -> pd.DataFrame:
    """A recommendations frame without rows, with the right types."""
    return pd.DataFrame(
        {
            "user_id": np.empty(0, object),
            "rank": np.empty(0, np.int64),
            "track_id": np.empty(0, object),
            "score": np.empty(0, np.float32),
        }
    )


def check_k(k: int) -> None:
    """Refuse a list length below 1."""
    if k < 1:
        raise ValueError(f"Expected lists of at least one track, found k = {k}.")
