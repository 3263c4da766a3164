"""Content recommender without training: the tracks nearest to the mean of what a user has played."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

from lib.backends import scaling as scalings
from lib.recommenders.base import Recommender, check_train, known_users
from lib.recommenders.option_models import check
from lib.recommenders.ranking import rank_products
from lib.study.ids import positions, sorted_ids

__all__ = ["swap_profiles"]


DOUBLE_BELOW = 2**22  # numbers in the vectors of a small collection: double precision costs nothing there and keeps
# ties that hold only mathematically (one-hot artists of equal frequency); beyond, the product must run in single
VANISHED = 1e-6  # a vector shorter than this share of the longest is nought up to rounding, and scores 0


class KNN(Recommender):
    """Cosine between a user's mean vector and every candidate, exact, in blocks.

    The user vector is the mean of the scaled vectors of the user's train tracks, so a user with one track has that
    track's vector. Tracks without a vector are left out of profiles and of lists; a user without any gets no rows.
    Cosines within 2**-20 of each other count as equal.

    Parameters
    ----------
    weighting : {'uniform', 'count'}
        Mean over tracks, or over plays.
    scaling : {'none', 'centre', 'standardise', 'whiten', 'auto'}
        Scaling of vectors, fitted on the train tracks; ``auto`` tries all and keeps the best on validation
        (a scaling the data are too small for is passed over).

    Attributes
    ----------
    scaling_ : str
        The scaling in use.
    validation_ : dict
        Validation score of each scaling tried; empty unless ``auto``.

    Examples
    --------
    >>> model = KNN(scaling="none").fit(train, vectors, rng)  # doctest: +SKIP
    >>> model.recommend(["u1"], 10, vectors.ids, train)  # doctest: +SKIP
    """

    kind = "knn"
    needs_vectors = True

    def __init__(self, weighting: str = "uniform", scaling: str = "auto"):
        check("knn", {"weighting": weighting, "scaling": scaling})
        self.weighting = weighting
        self.scaling = scaling
        self.scaling_: str | None = None
        self.validation_: dict[str, float] = {}
        self._users: pd.Index | None = None
        self._tracks: pd.Index | None = None
        self._weights: sparse.csr_array | None = None
        self._unit: np.ndarray | None = None
        self._profiles: np.ndarray | None = None

    def fit(self, train, vectors, rng, *, validate=None, checkpoint=None, progress=None) -> KNN:
        """Scale the vectors and average them over each user's tracks; see `Recommender.fit`.

        Raises
        ------
        ValueError
            Without vectors, with a vector that is not finite (the track is named), where no train track has a
            vector, or for ``auto`` without validation.
        """
        check_train(train)
        check_vectors(vectors)
        if self.scaling == "auto" and validate is None:
            raise ValueError("Scaling 'auto' is chosen on validation: pass validate=, or name one scaling.")
        self._tracks = pd.Index(np.asarray(vectors.ids, dtype=object))
        self._users, self._weights = profile_weights(train, self._tracks, self.weighting)
        self.validation_ = {}
        if self.scaling != "auto":
            self._use(self.scaling, vectors.values)
            return self
        for kind in usable_scalings(len(np.unique(self._weights.indices)), vectors.values.shape[1]):
            self._use(kind, vectors.values)
            self.validation_[kind] = float(validate(self))
        best = best_scaling(self.validation_)
        if best != self.scaling_:
            self._use(best, vectors.values)
        return self

    def _use(self, kind: str, values: np.ndarray) -> None:
        """Scale the vectors, average them over users, and bring both to unit length."""
        scaler = scalings.fit(values[np.unique(self._weights.indices)], kind)
        scaled = scaler.transform(values).astype(np.float64 if values.size <= DOUBLE_BELOW else np.float32, copy=False)
        longest = float(np.sqrt(np.einsum("ij,ij->i", scaled, scaled, dtype=np.float64).max()))
        self._profiles = unit_rows(self._weights.astype(scaled.dtype, copy=False) @ scaled, longest)
        self._unit = unit_rows(scaled, longest)
        self.scaling_ = kind

    def profiles(self, users) -> tuple[np.ndarray, np.ndarray]:
        """Unit profile vectors of the users known to train.

        Returns
        -------
        users : ndarray of str, shape (n,)
        profiles : ndarray of float, shape (n, dim)
        """
        users, where = known_users(users, self._users)
        return users, self._profiles[where]

    def recommend(self, users, k: int, candidates, exclude: pd.DataFrame | None) -> pd.DataFrame:
        """List the nearest candidates that have a vector; see `Recommender.recommend`."""
        users, profiles = self.profiles(users)
        return rank_products(profiles, self._unit, self._tracks, users, k, candidates, exclude)


def check_vectors(vectors) -> None:
    """Refuse missing, empty or non-finite vectors; the sentence names the first track concerned."""
    if vectors is None or not len(vectors.ids):
        raise ValueError("KNN recommends by vectors of tracks, found none; run 20_extract_embeddings first.")
    finite = np.isfinite(vectors.values).all(axis=1)
    if not finite.all():
        first = vectors.ids[np.flatnonzero(~finite)[0]]
        raise ValueError(
            f"Expected finite vectors, found NaN or infinity in that of track {first!r} ({int((~finite).sum())} "
            "in all); extract it again or leave it out."
        )


def profile_weights(train: pd.DataFrame, tracks: pd.Index, weighting: str) -> tuple[pd.Index, sparse.csr_array]:
    """Users with at least one track that has a vector, and the weights that average over their tracks.

    Parameters
    ----------
    train : DataFrame
        Pairs ``user_id, track_id`` and, for ``count``, ``count``.
    tracks : pandas.Index of str
        Tracks with a vector.
    weighting : {'uniform', 'count'}

    Returns
    -------
    users : pandas.Index of str, ascending
    weights : csr_array of float64, shape (users, tracks)
        Each row sums to 1.
    """
    columns = positions(train["track_id"], tracks)
    inside = columns >= 0
    if not inside.any():
        raise ValueError("Expected vectors of the train tracks, found none of them among the vectors; check the ids.")
    users = pd.Index(sorted_ids(train["user_id"][inside]))
    rows = positions(train["user_id"][inside], users)
    counts = train["count"].to_numpy(np.float64)[inside] if weighting == "count" else np.ones(len(rows))
    weights = sparse.csr_array((counts, (rows, columns[inside])), shape=(len(users), len(tracks)))
    if weighting == "uniform":
        weights.data[:] = 1  # a repeated pair is one track
    weights = sparse.diags_array(1 / np.asarray(weights.sum(axis=1)).ravel()) @ weights
    weights = sparse.csr_array(weights)
    weights.sort_indices()
    return users, weights


def usable_scalings(n_tracks: int, dim: int) -> list[str]:
    """The scalings that the data are large enough for, in the order in which ties are resolved."""
    try:
        scalings.components(n_tracks, dim)
    except ValueError:
        return [kind for kind in scalings.SCALINGS if kind != "whiten"]
    return list(scalings.SCALINGS)


def best_scaling(scores: dict[str, float]) -> str:
    """Key of the highest score; the first of those equal to nine decimals."""
    return max(scores, key=lambda kind: round(scores[kind], 9))


def unit_rows(values: np.ndarray, longest: float) -> np.ndarray:
    """Rows at unit length, of the same type; rows that vanish beside the longest vector become 0.

    Norms are float64, so that multiples of one vector come out equal.
    """
    norms = np.sqrt(np.einsum("ij,ij->i", values, values, dtype=np.float64))
    alive = norms > VANISHED * longest
    inverse = np.where(alive, 1 / np.where(alive, norms, 1.0), 0.0)
    return (values * inverse[:, None]).astype(values.dtype)


def swap_profiles(train: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Give every user the history of another one: the control that asks how much of a profile is personal.

    Parameters
    ----------
    train : DataFrame
        Pairs; at least two users.
    rng : numpy.random.Generator

    Returns
    -------
    DataFrame
        The pairs under exchanged user ids; nobody keeps their own.
    """
    users = sorted_ids(train["user_id"])
    if len(users) < 2:
        raise ValueError(f"Expected at least two users to exchange profiles, found {len(users)}.")
    order = rng.permutation(len(users))
    owner = np.empty(len(users), dtype=object)
    owner[order] = users[np.roll(order, 1)]  # one cycle through all users: no fixed point
    return train.assign(user_id=owner[positions(train["user_id"], pd.Index(users))])
