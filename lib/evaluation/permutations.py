"""The permutation test's many refits of KNN, made cheap.

Under each permutation the *whole* pipeline is done again: vectors are permuted over tracks, scalings are fitted on
what now lies on the train tracks, the scaling is chosen on validation, users are averaged, candidates ranked. Choosing
the scaling with the real vectors alone would favour the real arrangement and bias the test.

All of that needs the vectors only through their scalar products. With K the Gram matrix of the scaled vectors, W the
weights of users over train tracks and T the vectors that lie on the train tracks, the cosines of user u are
``(W K[T])_ui / sqrt(K_ii (W K[T,T] W')_uu)``. `none` and `centre` take K from one Gram matrix by subtraction,
`standardise` needs one product, `whiten` the leading eigenvectors of K[T,T]. Metrics follow from the ranks of the
relevant tracks, so nothing is sorted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lib.backends import scaling as scalings
from lib.backends.vectors import Vectors
from lib.evaluation.metrics import Task, recommend_and_score, score_ranks, validator
from lib.evaluation.statistics import labelled
from lib.recommenders.knn import KNN, VANISHED, best_scaling, check_vectors, profile_weights, usable_scalings
from lib.recommenders.ranking import RESOLUTION, distinct_rows
from lib.study.ids import pair_positions

__all__ = ["permute_knn"]


GRAM_LIMIT = 4000  # tracks; beyond, matrices of tracks x tracks cost more than they save and KNN is refitted
COMPARISONS = 2**22  # relevant pairs x candidates compared at one time


def permutation(seed: int, number: int, n_tracks: int) -> np.ndarray:
    """Permutation `number` of n tracks in ascending order of id: track i takes the vector of track ``order[i]``.

    It depends on these three numbers alone, so it is the same for every backend.

    Examples
    --------
    >>> permutation(0, 0, 3).tolist()
    [2, 0, 1]
    """
    return np.random.default_rng([seed, number]).permutation(n_tracks)


def permute_knn(
    train: pd.DataFrame,
    vectors: Vectors,
    tasks: dict[str, Task],
    options: dict | None = None,
    *,
    n_permutations: int,
    rng_seed: int,
    validate_task: Task | None = None,
    progress=None,
    gram_limit: int = GRAM_LIMIT,
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Fit and score KNN with vectors permuted over tracks.

    Parameters
    ----------
    train : DataFrame
        Pairs of train.
    vectors : Vectors
        Vectors of train and cold tracks. For one permutation of all backends at once, pass each backend's vectors
        restricted to the *same* ids (``vectors.select(common)``).
    tasks : dict of str to Task
        What to score.
    options : dict
        Options of KNN.
    n_permutations : int
        P.
    rng_seed : int
        Permutation b is drawn from ``default_rng([rng_seed, b])``, b = 0 .. P - 1.
    validate_task : Task, optional
        On which scaling ``auto`` chooses, by NDCG at its primary cut-off; by default ``tasks["val"]``.
    progress : callable, optional
        Wraps an iterable to show how far it is.
    gram_limit : int
        Above so many tracks KNN is refitted from the start each time: the same numbers, slower.

    Returns
    -------
    metrics : DataFrame
        ``split, permutation, metric, k, value``: means over users.
    users : dict of str to DataFrame
        For each split, per-user scores averaged over permutations.

    Raises
    ------
    ValueError
        As KNN does, and where ``auto`` has nothing to choose on.

    Examples
    --------
    >>> frame, users = permute_knn(train, vectors, tasks, n_permutations=999, rng_seed=1)  # doctest: +SKIP
    """
    if n_permutations < 1:
        raise ValueError(f"Expected at least one permutation, found {n_permutations}.")
    score = _scorer(train, vectors, tasks, options or {}, validate_task or tasks.get("val"), gram_limit)
    numbers = range(n_permutations)
    if progress:
        numbers = progress(numbers, label="permutations", unit="permutation")
    orders = ((number, permutation(rng_seed, number, len(vectors))) for number in numbers)
    return _collect(((number, *result) for number, order in orders for result in score(order)), n_permutations)


def _scorer(train, vectors, tasks, options, validate_task, gram_limit):
    """What scores all tasks under an order of the vectors, by the way that the number of tracks allows."""
    model = KNN(**options)
    check_vectors(vectors)
    if model.scaling == "auto" and validate_task is None:
        raise ValueError("Scaling 'auto' is chosen on validation: pass validate_task=, or name one scaling.")
    if len(vectors) > gram_limit:
        return _Refit(train, vectors, tasks, options, validate_task)
    return _Gram(train, vectors, tasks, model, validate_task)


def _collect(results: Iterator[tuple[int, str, pd.DataFrame]], n_permutations: int):
    """Means over users for each permutation, and means over permutations for each user."""
    rows, totals, users = [], {}, {}
    for number, split, scores in results:
        values = scores.drop(columns="user_id")
        rows.append(labelled(values.columns, split=split, permutation=number, value=values.to_numpy().mean(axis=0)))
        totals[split] = totals.get(split, 0.0) + values
        users[split] = scores["user_id"]
    metrics = pd.concat(rows, ignore_index=True)[["split", "permutation", "metric", "k", "value"]]
    means = {split: total / n_permutations for split, total in totals.items()}
    for split, mean in means.items():
        mean.insert(0, "user_id", users[split])
    return metrics, means


@dataclass(frozen=True)
class _Refit:
    """KNN fitted anew under a permutation; the definition that `_Gram` must reproduce."""

    train: pd.DataFrame
    vectors: Vectors
    tasks: dict[str, Task]
    options: dict
    validate_task: Task | None

    def __call__(self, order: np.ndarray) -> Iterator[tuple[str, pd.DataFrame]]:
        permuted = Vectors(self.vectors.ids, self.vectors.values[order])
        validate = validator(self.validate_task) if self.validate_task is not None else None
        model = KNN(**self.options).fit(self.train, permuted, np.random.default_rng(0), validate=validate)
        for name, task in self.tasks.items():
            yield name, recommend_and_score(model, task)[1]


class _Ranker:
    """What does not change with a permutation when one task is scored: who, what for, among which tracks."""

    def __init__(self, task: Task, known: pd.Index, tracks: pd.Index):
        users = pd.Index(task.users)
        where = known.get_indexer(users)
        self.users, self.cutoffs = task.users, task.cutoffs
        self.rows = np.flatnonzero(where >= 0)  # users with a profile, as rows of the task
        self.profiles = where[self.rows]  # and as rows of the weights
        columns = tracks.get_indexer(pd.Index(task.candidates))
        self.columns = columns[columns >= 0]  # candidates with a vector, ascending by id
        profiled = users[self.rows]
        candidates = tracks[self.columns]
        self.seen = pair_positions(task.history, profiled, candidates)
        truth = task.truth.drop_duplicates(["user_id", "track_id"])
        self.n_relevant = truth.groupby("user_id").size().reindex(users).to_numpy()
        rows, relevant = pair_positions(truth, profiled, candidates)
        seen = pd.MultiIndex.from_arrays(self.seen)
        unseen = ~pd.MultiIndex.from_arrays([rows, relevant]).isin(seen)
        self.pair_rows, self.pair_columns = rows[unseen], relevant[unseen]
        small = len(self.columns) < 2**9  # 2**20 steps of the grid, both signs, times the candidates
        self.key_type = np.int32 if small else np.int64

    def __call__(self, cosines: np.ndarray, vector_of: np.ndarray, cutoffs=None) -> pd.DataFrame:
        """Per-user scores.

        `cosines` has a row for each of `profiles` and a column for each vector; ``vector_of[track]`` is the vector
        that a track has under the permutation.
        """
        ranks = self._ranks(cosines[:, vector_of[self.columns]])
        return score_ranks(self.users, self.n_relevant, self.rows[self.pair_rows], ranks, cutoffs or self.cutoffs)

    def _ranks(self, scores: np.ndarray) -> np.ndarray:
        """Rank of each relevant pair among the user's candidates; equal scores by ascending id."""
        n = scores.shape[1]
        # one integer a candidate: score on the grid first, then the earlier id
        keys = np.rint(scores / RESOLUTION).astype(self.key_type) * n - np.arange(n, dtype=self.key_type)
        keys[self.seen] = np.iinfo(self.key_type).min
        ranks = np.empty(len(self.pair_rows), np.int64)
        step = max(1, COMPARISONS // max(n, 1))
        for start in range(0, len(ranks), step):
            part = slice(start, start + step)
            own = keys[self.pair_rows[part], self.pair_columns[part]]
            ranks[part] = np.count_nonzero(keys[self.pair_rows[part]] > own[:, None], axis=1) + 1
        return ranks


@dataclass(frozen=True)
class _Kernel:
    """Products of the scaled vectors with those on the train tracks, and the inverse lengths of all."""

    train: np.ndarray  # (train tracks, tracks)
    on_train: np.ndarray  # the vectors that lie on the train tracks
    inverse: np.ndarray  # (tracks,), 0 for vectors that vanish
    longest: float

    @classmethod
    def of(cls, rows: np.ndarray, diagonal: np.ndarray, on_train: np.ndarray) -> _Kernel:
        """From products of train vectors with all, and each vector's with itself."""
        longest = float(diagonal.max())
        alive = diagonal > VANISHED**2 * longest
        inverse = np.where(alive, 1 / np.sqrt(np.where(alive, diagonal, 1.0)), 0.0)
        return cls(rows, on_train, inverse, longest)

    def cosines(self, weights: np.ndarray) -> np.ndarray:
        """Cosine of every profile to every vector, shape (users, tracks)."""
        products = weights @ self.train
        lengths = np.einsum("ut,ut->u", products[:, self.on_train], weights)
        alive = lengths > VANISHED**2 * self.longest
        inverse = np.where(alive, 1 / np.sqrt(np.where(alive, lengths, 1.0)), 0.0)
        products *= self.inverse
        products *= inverse[:, None]
        return products


class _Gram:
    """Scores of KNN under permutations, from Gram matrices in the order of the unpermuted vectors."""

    def __init__(self, train: pd.DataFrame, vectors: Vectors, tasks: dict[str, Task], model: KNN, validate_task):
        tracks = pd.Index(np.asarray(vectors.ids, dtype=object))
        known, weights = profile_weights(train, tracks, model.weighting)
        self.train_tracks = np.unique(weights.indices)
        self.weights = weights[:, self.train_tracks].toarray()
        self.tasks = {name: _Ranker(task, known, tracks) for name, task in tasks.items()}
        self.values = vectors.values.astype(np.float64)
        _, copies = distinct_rows(vectors.values)
        self.copies = np.arange(len(vectors))
        if copies is not None:  # equal vectors are all read from one column, so that their ties are exact
            self.copies = np.unique(copies, return_index=True)[1][copies]
        self.raw = self.values @ self.values.T
        self.centred_values = self.values - self.values.mean(axis=0)
        self.centred = self.centred_values @ self.centred_values.T
        self.kinds = [model.scaling]
        if model.scaling == "auto":
            self.kinds = usable_scalings(len(self.train_tracks), vectors.dim)
            self.validation = _Ranker(validate_task, known, tracks)
        if model.scaling == "whiten":
            scalings.components(len(self.train_tracks), vectors.dim)

    def __call__(self, order: np.ndarray) -> Iterator[tuple[str, pd.DataFrame]]:
        on_train = order[self.train_tracks]
        moments = self.centred[:, on_train].mean(axis=1)
        shifted = self.centred - moments[:, None] - moments[None, :] + moments[on_train].mean()
        kernels = {kind: getattr(self, f"_{kind}")(on_train, shifted) for kind in self.kinds}
        vector_of = self.copies[order]
        kind = self.kinds[0]
        if len(self.kinds) > 1:
            kind = best_scaling({name: self._validate(kernel, vector_of) for name, kernel in kernels.items()})
        cosines = kernels[kind].cosines(self.weights)
        for name, ranker in self.tasks.items():
            yield name, ranker(cosines[ranker.profiles], vector_of)

    def _validate(self, kernel: _Kernel, vector_of: np.ndarray) -> float:
        """NDCG on validation, as `lib.evaluation.validator` gives it."""
        primary = self.validation.cutoffs[0]
        cosines = kernel.cosines(self.weights[self.validation.profiles])
        return float(self.validation(cosines, vector_of, (primary,))[f"NDCG@{primary}"].mean())

    def _none(self, on_train, shifted) -> _Kernel:
        return _Kernel.of(self.raw[on_train], np.diagonal(self.raw), on_train)

    def _centre(self, on_train, shifted) -> _Kernel:
        return _Kernel.of(shifted[on_train], np.diagonal(shifted), on_train)

    def _standardise(self, on_train, shifted) -> _Kernel:
        chosen = self.values[on_train]
        mean = chosen.mean(axis=0)
        factor = scalings.inverse_deviation(mean, chosen.std(axis=0))
        scaled = (self.values - mean) * factor
        diagonal = np.einsum("ij,ij->i", scaled, scaled)
        return _Kernel.of(scaled[on_train] @ scaled.T, diagonal, on_train)

    def _whiten(self, on_train, shifted) -> _Kernel:
        n, dim = len(on_train), self.values.shape[1]
        gram = shifted[np.ix_(on_train, on_train)]
        values, directions, variances = scalings.whitening_factors(
            gram, np.diagonal(gram), n, dim, scalings.components(n, dim)
        )
        scaled = shifted[:, on_train] @ (directions / np.sqrt(values * variances))
        diagonal = np.einsum("ij,ij->i", scaled, scaled)
        return _Kernel.of(scaled[on_train] @ scaled.T, diagonal, on_train)
