"""Train pairs in batches, each pair with negatives drawn at random from what its anchor is not known with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TABLE_BELOW = 2**21  # anchors times others up to which all negatives stand in a table (16 MB): faster than a search


@dataclass(frozen=True)
class Batch:
    """Pairs of one step, ordered by anchor, with the distinct rows that occur in them.

    Attributes
    ----------
    anchors, others : ndarray of int64
        Distinct rows of the anchors' and of the others' table, ascending.
    rows : ndarray of int64, shape (n,)
        Place in `anchors` of each pair's anchor, ascending.
    columns : ndarray of int64, shape (n, 1 + negatives)
        Places in `others` of the positive and the negatives.
    weights : ndarray of float32, shape (n,)
    """

    anchors: np.ndarray
    others: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, anchors, columns, weights, n_others: int) -> Batch:
        """From row numbers of anchors (n,) and of positive and negatives (n, 1 + negatives), in any order."""
        order = np.argsort(anchors, kind="stable")
        distinct, rows = np.unique(anchors[order], return_inverse=True)
        seen = np.zeros(n_others, bool)
        seen[columns] = True
        others = np.flatnonzero(seen)
        place = np.empty(n_others, np.int64)
        place[others] = np.arange(len(others))
        return cls(distinct, others, rows, place[columns[order]], weights[order])


class Pairs:
    """Train pairs as (anchor, positive), and negatives for them.

    Parameters
    ----------
    anchors, positives : ndarray of int64, shape (n,)
        Row numbers; pairs are distinct.
    weights : ndarray of float32, shape (n,)
    shape : tuple of int
        Numbers of anchors and of others there are.
    options : dict
        ``n_negatives, batch_size, exclude_positives``.

    Raises
    ------
    ValueError
        Where every anchor is known with every other, so that there is no negative.
    """

    def __init__(self, anchors, positives, weights, shape, options: dict):
        self.options, self.shape = options, shape
        order = np.lexsort((positives, anchors))
        anchors, positives, weights = anchors[order], positives[order], weights[order]
        counts = np.bincount(anchors, minlength=shape[0])
        self._starts = np.cumsum(counts) - counts
        below = positives - (np.arange(len(anchors)) - self._starts[anchors])  # negatives below each positive
        self._keys = anchors * (shape[1] + 1) + below
        small = options["exclude_positives"] and shape[0] * shape[1] <= TABLE_BELOW
        self._table = self._negatives_first(anchors, positives) if small else None
        self._left = shape[1] - counts if options["exclude_positives"] else np.full(shape[0], shape[1])
        usable = self._left[anchors] > 0
        if not usable.any():
            raise ValueError(
                "Expected a pair for which a negative can be drawn, found that every listener has heard every train "
                "track or is the only one; recommend by knn, or prepare more listeners."
            )
        self.anchors, self.positives, self.weights = anchors[usable], positives[usable], weights[usable]

    def _negatives_first(self, anchors, positives) -> np.ndarray:
        """Row r of each anchor's others, those that are not positive first, ascending."""
        known = np.zeros(self.shape, bool)
        known[anchors, positives] = True
        return np.argsort(known, axis=1, kind="stable")

    def negatives(self, anchors: np.ndarray, rng) -> np.ndarray:
        """Draw uniformly, with replacement, from all that each anchor may have, shape (len(anchors), n_negatives).

        Notes
        -----
        The r-th row that is not among an anchor's ascending positives p_0, p_1, ... is r plus the number of j with
        p_j - j <= r: exact, without trying again.
        """
        size = (len(anchors), self.options["n_negatives"])
        drawn = (rng.random(size) * self._left[anchors][:, None]).astype(np.int64)  # never rounds up to the bound
        if not self.options["exclude_positives"]:
            return drawn
        if self._table is not None:
            return self._table[anchors[:, None], drawn]
        found = np.searchsorted(self._keys, drawn + (anchors * (self.shape[1] + 1))[:, None], side="right")
        return drawn + found - self._starts[anchors][:, None]

    def batches(self, rng):
        """One epoch: all pairs in random order, each with new negatives."""
        order = rng.permutation(len(self.anchors))
        for start in range(0, len(order), self.options["batch_size"]):
            chosen = order[start : start + self.options["batch_size"]]
            anchors = self.anchors[chosen]
            columns = np.column_stack([self.positives[chosen], self.negatives(anchors, rng)])
            yield Batch.of(anchors, columns, self.weights[chosen], self.shape[1])
