"""Item-item collaborative filtering on sparse cosines."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

from lib.recommenders.base import Recommender, check_train, known_users
from lib.recommenders.option_models import check
from lib.recommenders.ranking import RESOLUTION, check_k, rank_blocks, top_k
from lib.study.ids import positions, sorted_ids

BLOCK = 512  # tracks whose similarities are dense at one time: 113 MB at 55,262 tracks


class ItemKNN(Recommender):
    """Scores a track by its summed similarity to the user's tracks, over its nearest tracks only.

    With n_i listeners of track i and n_ij of both, ``sim(i, j) = n_ij / (sqrt(n_i n_j) + shrinkage)``
    (Sarwar et al. 2001; Deshpande and Karypis 2004) and ``score(u, i) = sum of sim(i, j) over j in N(i) heard by u``,
    N(i) the `neighbours` most similar tracks; similarities are kept on a grid of 2**-20. Tracks absent from train
    score 0.

    Parameters
    ----------
    neighbours : int
        Nearest tracks kept for each track.
    shrinkage : float
        Added to the denominator, so that few common listeners count for less; >= 0.
    """

    kind = "itemknn"

    def __init__(self, neighbours: int = 100, shrinkage: float = 10.0):
        check("itemknn", {"neighbours": neighbours, "shrinkage": shrinkage})
        self.neighbours = neighbours
        self.shrinkage = shrinkage
        self._users: pd.Index | None = None
        self._tracks: pd.Index | None = None
        self._heard: sparse.csr_array | None = None
        self._similar: sparse.csc_array | None = None

    def fit(self, train, vectors, rng, *, validate=None, checkpoint=None, progress=None) -> ItemKNN:
        """Compute each track's nearest tracks in blocks; see `Recommender.fit`. Vectors are not used."""
        check_train(train)
        self._users = pd.Index(sorted_ids(train["user_id"]))
        self._tracks = pd.Index(sorted_ids(train["track_id"]))
        rows, columns = positions(train["user_id"], self._users), positions(train["track_id"], self._tracks)
        shape = (len(self._users), len(self._tracks))
        heard = sparse.csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)
        heard.data[:] = 1  # a repeated pair is one pair
        self._heard = heard
        self._similar = self._neighbourhoods(heard, progress)
        return self

    def _neighbourhoods(self, heard, progress):
        """Similarities (tracks x tracks): column i holds the nearest tracks of i."""
        listeners = np.asarray(heard.sum(axis=0)).ravel()
        root = np.sqrt(listeners)
        by_track = heard.T.tocsr()
        starts = range(0, by_track.shape[0], BLOCK)
        found = []
        for start in progress(starts) if progress else starts:
            together = (by_track[start : start + BLOCK] @ heard).toarray()
            rows = np.arange(len(together))
            similar = together / (root[start : start + BLOCK, None] * root[None, :] + np.float32(self.shrinkage))
            similar[rows, rows + start] = -np.inf
            of, _, nearest, values = top_k(similar, self.neighbours, resolution=RESOLUTION)
            common = values > 0
            found.append((of[common] + start, nearest[common], values[common]))
        of, nearest, values = (np.concatenate(part) for part in zip(*found, strict=True))
        return sparse.csc_array((values, (nearest, of)), shape=(len(listeners), len(listeners)))

    def recommend(self, users, k: int, candidates, exclude: pd.DataFrame | None) -> pd.DataFrame:
        """List the candidates most similar to what each user heard; see `Recommender.recommend`."""
        check_k(k)
        users, where = known_users(users, self._users)
        candidates = sorted_ids(candidates)
        columns = self._tracks.get_indexer(pd.Index(candidates))
        warm = np.flatnonzero(columns >= 0)
        similar = self._similar[:, columns[warm]].tocsr()

        def score(start: int, stop: int) -> np.ndarray:
            scores = np.zeros((stop - start, len(candidates)), np.float32)
            scores[:, warm] = (self._heard[where[start:stop]] @ similar).toarray()
            return scores

        return rank_blocks(score, users, candidates, k, exclude)
