"""The most popular tracks, the same for everybody."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.recommenders.base import Recommender, check_train, known_users
from lib.recommenders.ranking import check_k, rank_blocks
from lib.study.ids import positions, sorted_ids


class MostPop(Recommender):
    """Scores a track by the number of train users who heard it; a track absent from train scores 0.

    Cold tracks therefore all tie and are listed in ascending order of id, which is chance where ids are hashes.
    """

    kind = "mostpop"

    def __init__(self):
        self.listeners_: pd.Series | None = None
        self._users: pd.Index | None = None

    def fit(self, train, vectors, rng, *, validate=None, checkpoint=None, progress=None) -> MostPop:
        """Count listeners; see `Recommender.fit`. Vectors and generator are not used."""
        check_train(train)
        self._users = pd.Index(sorted_ids(train["user_id"]))
        tracks = pd.Index(sorted_ids(train["track_id"]))
        pairs = np.unique(positions(train["user_id"], self._users) * len(tracks) + positions(train["track_id"], tracks))
        self.listeners_ = pd.Series(np.bincount(pairs % len(tracks), minlength=len(tracks)), index=tracks)
        return self

    def recommend(self, users, k: int, candidates, exclude: pd.DataFrame | None) -> pd.DataFrame:
        """List the most heard candidates; see `Recommender.recommend`."""
        check_k(k)
        users, _ = known_users(users, self._users)
        candidates = sorted_ids(candidates)
        popularity = self.listeners_.reindex(candidates).fillna(0).to_numpy(np.float32)
        return rank_blocks(lambda start, stop: np.tile(popularity, (stop - start, 1)), users, candidates, k, exclude)
