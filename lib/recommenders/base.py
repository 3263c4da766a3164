"""The contract that every recommender fulfils."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import pandas as pd

from lib.study.ids import id_array


class CannotFitError(ValueError):
    """A recommender cannot learn from these data, or not on this machine; the sentence says why and what to do."""


class Recommender(ABC):
    """Learns from train pairs (and vectors of tracks) and lists tracks for listeners.

    A recommender knows no metric: where it has something to choose or to stop, it calls ``validate(model) -> float``
    (higher is better), which `lib.evaluation.validator` makes. The same generator state gives the same lists.
    """

    kind: str = ""
    needs_vectors: bool = False

    @abstractmethod
    def fit(self, train, vectors, rng, *, validate=None, checkpoint=None, progress=None) -> Recommender:
        """Learn.

        Parameters
        ----------
        train : DataFrame
            Pairs ``user_id, track_id, timestamp, count``, one row a user and track.
        vectors : Vectors or None
            Vectors of tracks (train and cold), ids ascending.
        rng : numpy.random.Generator
            The only source of random numbers.
        validate : callable, optional
            ``validate(model) -> float``, higher is better.
        checkpoint : Path, optional
            Where a recommender that trains for long keeps its state.
        progress : callable, optional
            Wraps an iterable to show how far it is.

        Returns
        -------
        Recommender
            Itself.
        """

    @abstractmethod
    def recommend(self, users, k: int, candidates, exclude: pd.DataFrame | None) -> pd.DataFrame:
        """List the k best candidates of each user.

        Parameters
        ----------
        users : sequence of str
            Users unknown to train get no rows.
        k : int
            Length of the lists, cut after removal; fewer candidates than k are all listed.
        candidates : sequence of str
            Tracks that may be listed.
        exclude : DataFrame or None
            Pairs ``user_id, track_id`` that must not be listed (heard tracks).

        Returns
        -------
        DataFrame
            ``user_id, rank (from 1), track_id, score``; equal scores in ascending order of id.
        """


def known_users(users, index: pd.Index) -> tuple[np.ndarray, np.ndarray]:
    """Distinct asked users that are in the index, in the order asked, and their positions in it."""
    asked = pd.unique(id_array(users))
    where = index.get_indexer(pd.Index(asked))
    return asked[where >= 0], where[where >= 0]


def check_train(train: pd.DataFrame) -> None:
    """Refuse a train frame without rows or without the columns every recommender reads."""
    missing = [name for name in ("user_id", "track_id") if name not in train.columns]
    if missing:
        raise ValueError(f"Expected the columns user_id and track_id in train, missing: {', '.join(missing)}.")
    if not len(train):
        raise ValueError("Expected at least one train pair, found none; check the split dates of the study.")
