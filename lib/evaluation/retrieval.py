"""Item retrieval, for an archive without listeners: whether the tracks nearest to a track are relevant to it.

Every track is a query. A track is relevant to another if they share a label (gain 1), or, where labels are lists, by
the Jaccard similarity of these if it reaches a threshold. The query's own recording is neither ranked nor relevant.
NDCG@k with these gains; the ideal list is the best that the candidates allow. Queries without a relevant candidate are
left out and counted.

Excerpts of one recording are no independent observations. So the permutation test moves the labels of whole recordings,
among those of equal length: its null hypothesis is that labels are exchangeable between recordings with as many
excerpts. Were they moved between unequal ones, a label that goes with length (symphonies of one composer, songs of
another) would be found in vectors that know nothing of it. Intervals resample recordings.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import sparse, stats

from lib.backends import scaling
from lib.evaluation import statistics
from lib.evaluation.metrics import discounts
from lib.recommenders.knn import unit_rows
from lib.recommenders.ranking import RESOLUTION, top_k

__all__ = [
    "CUTOFFS",
    "LARGEST",
    "RetrievalError",
    "beats_shuffled",
    "by_recording",
    "hits",
    "movable",
    "ndcg",
    "nearest",
    "relevance",
]


CUTOFFS = (5, 10)
LARGEST = 10
BLOCK_BYTES = 2**27  # of similarities, or gains, at a time


class RetrievalError(ValueError):
    """There is nothing to retrieve by; the sentence says why."""


@dataclass(frozen=True)
class Relevance:
    """What is relevant to what.

    Attributes
    ----------
    labels : csr_array of float64, shape (tracks, labels)
        Ones where a track has a label.
    graded : bool
        Gains are Jaccard similarities (True), or 1 for a shared label.
    threshold : float
        Least Jaccard similarity that counts.
    recording : ndarray of int, shape (tracks,)
    """

    labels: sparse.csr_array
    graded: bool
    threshold: float
    recording: np.ndarray

    def gains(self, one, other):
        """Gain of each pair of tracks, given by two arrays of row numbers."""
        shared = np.asarray(self.labels[one].multiply(self.labels[other]).sum(axis=1)).ravel()
        if not self.graded:
            return (shared > 0).astype(float)
        size = np.asarray(self.labels.sum(axis=1)).ravel()
        union = size[one] + size[other] - shared
        jaccard = np.divide(shared, union, out=np.zeros(len(shared)), where=union > 0)
        return np.where(jaccard >= self.threshold, jaccard, 0.0)

    def ideal(self, largest):
        """Best gains and what there is to gain by chance.

        Returns
        -------
        best : ndarray of float, shape (tracks, largest)
            Falling gains of the best list of each query.
        mean : ndarray of float, shape (tracks,)
            Mean gain of a candidate.
        """
        if largest > LARGEST:
            return self._ideal(largest)[:2]
        best, mean, _ = self._ideal_of_cutoffs
        return best[:, :largest], mean

    def counts(self):
        """How many candidates are relevant to each track, shape (tracks,)."""
        return self._ideal_of_cutoffs[2]

    @cached_property
    def _ideal_of_cutoffs(self):
        return self._ideal(LARGEST)  # all pairs of tracks: once a study, not once a space

    def _ideal(self, largest):
        n = len(self.recording)
        of_recording = np.bincount(self.recording)[self.recording]
        candidates = n - of_recording
        if not self.graded:
            label = np.asarray(self.labels.argmax(axis=1)).ravel()
            known = np.asarray(self.labels.sum(axis=1)).ravel() > 0
            _, own = np.unique(np.stack([self.recording, np.where(known, label, -1)]), axis=1, return_inverse=True)
            relevant = np.bincount(label[known], minlength=self.labels.shape[1])[label] - np.bincount(own)[own]
            relevant = np.where(known, relevant, 0)
            best = (np.arange(largest) < relevant[:, None]).astype(float)
            return best, relevant / np.maximum(candidates, 1), relevant
        best, total, count = np.zeros((n, largest)), np.zeros(n), np.zeros(n, dtype=int)
        size = np.asarray(self.labels.sum(axis=1)).ravel()
        for start in range(0, n, step := max(1, BLOCK_BYTES // (8 * n))):
            rows = slice(start, min(start + step, n))
            shared = (self.labels[rows] @ self.labels.T).toarray()
            union = size[rows, None] + size[None, :] - shared
            gain = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
            gain[(gain < self.threshold) | (self.recording[rows, None] == self.recording[None, :])] = 0
            total[rows], count[rows] = gain.sum(axis=1), np.count_nonzero(gain, axis=1)
            cut = min(largest, n)
            best[rows, :cut] = -np.sort(-np.partition(gain, n - cut, axis=1)[:, n - cut :], axis=1)
        return best, total / np.maximum(candidates, 1), count


def relevance(tracks, relevant_by, same_recording, threshold=0.3, separator=""):
    """Read from the labels of tracks what is relevant to what.

    Parameters
    ----------
    tracks : DataFrame
        One row a track, in the order of the vectors.
    relevant_by : str
        Column of labels.
    same_recording : str
        Column that names a recording; where there is none, or it says nothing of a track, the track is its own.
    threshold : float
        Least Jaccard similarity of lists, in (0, 1].
    separator : str
        What separates the labels of a list; empty where a value is one label ('Bach, C. P. E.' is no list).

    Returns
    -------
    Relevance

    Raises
    ------
    RetrievalError
        Where the column is not there, or no two recordings share a label.
    """
    if relevant_by not in tracks:
        known = [name for name in tracks.columns if tracks[name].dtype == object and name not in ("path", "track_id")]
        raise RetrievalError(
            f"Expected tracks with a column {relevant_by!r} that says what is relevant, found none (there are "
            f"{', '.join(known) or 'no labels'}): name one as relevant_by, or give a labels_table."
        )
    text = _text(tracks[relevant_by])
    graded = bool(separator)
    parts = text.map(lambda value: value.split(separator) if graded else [value])
    lists = parts.map(lambda values: sorted({part.strip() for part in values} - {""}))
    names, codes = np.unique([name for one in lists for name in one], return_inverse=True)
    rows = np.repeat(np.arange(len(lists)), lists.map(len))
    labels = sparse.csr_array((np.ones(len(rows)), (rows, codes)), shape=(len(lists), max(len(names), 1)))
    made = Relevance(labels, graded, threshold, recordings(tracks, same_recording))
    if not made.ideal(1)[0].any():
        raise RetrievalError(
            f"Expected recordings that share a value of {relevant_by!r}, found none among {len(tracks)} tracks: name "
            "another column as relevant_by."
        )
    return made


def _text(column):
    """Values as text, '' where there is none."""
    return column.astype(object).where(column.notna(), "").astype(str)


def recordings(tracks, same_recording):
    """Number of each track's recording.

    Parameters
    ----------
    tracks : DataFrame
    same_recording : str
        Column that names a recording; where there is none, or it says nothing of a track, the track is its own.

    Returns
    -------
    ndarray of int, shape (tracks,)

    Examples
    --------
    >>> recordings(pd.DataFrame({"score_id": ["a", None, "a", None]}), "score_id").tolist()
    [0, 1, 0, 2]
    """
    alone = pd.Series([("track", row) for row in range(len(tracks))], dtype=object)
    if same_recording not in tracks:
        return pd.factorize(alone)[0]
    named = _text(tracks[same_recording]).reset_index(drop=True)
    return pd.factorize(named.where(named != "", alone))[0]


def nearest(vectors, recording, largest=LARGEST, kind="standardise"):
    """The nearest tracks of every track by the cosine of scaled vectors, exact, without those of its own recording.

    Parameters
    ----------
    vectors : Vectors
    recording : ndarray of int, shape (tracks,)
    largest : int
        Length of the lists.
    kind : str
        Scaling, as in `lib.backends.scaling.fit`.

    Returns
    -------
    ndarray of int, shape (tracks, largest)
        Row numbers, nearest first, equal cosines in ascending order of id; −1 where there are no more candidates.
    """
    scaled = scaling.fit(vectors.values, kind).transform(vectors.values)
    unit = unit_rows(scaled, float(np.linalg.norm(scaled, axis=1).max(initial=0.0)))
    n = len(unit)
    lists = np.full((n, largest), -1)
    for start in range(0, n, step := max(1, BLOCK_BYTES // (4 * n))):
        cosine = unit[start : start + step] @ unit.T
        cosine[recording[start : start + step, None] == recording[None, :]] = -np.inf
        rows, ranks, columns, _ = top_k(np.ascontiguousarray(cosine), largest, resolution=RESOLUTION)
        lists[rows + start, ranks - 1] = columns
    return lists


def ndcg(lists, relevant, cutoffs=CUTOFFS):
    """NDCG of every query that has a relevant candidate.

    Parameters
    ----------
    lists : ndarray of int, shape (tracks, largest)
        From `nearest`.
    relevant : Relevance
    cutoffs : sequence of int

    Returns
    -------
    DataFrame
        Indexed by row number of the query: ``NDCG@k`` and ``chance@k`` (exact expectation of a random order).
    """
    return _scores(_gains(lists, relevant, np.arange(len(lists))), relevant, cutoffs)


def hits(lists, relevant, cutoffs=CUTOFFS):
    """HitRate and Recall of every query that has a relevant candidate; relevant is what has a gain.

    Parameters
    ----------
    lists : ndarray of int, shape (tracks, largest)
        From `nearest`.
    relevant : Relevance
    cutoffs : sequence of int

    Returns
    -------
    DataFrame
        Indexed as from `ndcg`: ``HitRate@k, Recall@k`` as in `lib.evaluation`, and their exact expectations in a random
        order ``chance HitRate@k, chance Recall@k``.
    """
    count = relevant.counts()
    queries = np.flatnonzero(count > 0)
    n_candidates = (len(lists) - np.bincount(relevant.recording)[relevant.recording])[queries]
    found = _gains(lists, relevant, np.arange(len(lists)))[queries] > 0
    scores = {}
    for k in cutoffs:
        n_hits, places = found[:, :k].sum(axis=1), np.minimum(k, n_candidates)
        scores[f"HitRate@{k}"] = (n_hits > 0).astype(float)
        scores[f"Recall@{k}"] = n_hits / count[queries]
        scores[f"chance HitRate@{k}"] = stats.hypergeom.sf(0, n_candidates, count[queries], places)
        scores[f"chance Recall@{k}"] = places / n_candidates
    return pd.DataFrame(scores, index=queries)


def _gains(lists, relevant, order):
    """Gain of every listed track, 0 where a list is shorter, with the labels of track ``order[i]`` for track i."""
    gains = np.zeros(lists.shape)
    rows, ranks = np.nonzero(lists >= 0)
    gains[rows, ranks] = relevant.gains(order[rows], order[lists[rows, ranks]])
    return gains


def _scores(gains, relevant, cutoffs):
    best, mean = relevant.ideal(max(cutoffs))
    queries = np.flatnonzero(best[:, 0] > 0)
    n_candidates = len(gains) - np.bincount(relevant.recording)[relevant.recording][queries]
    found = {}
    for k in cutoffs:
        weights = discounts(k)
        ideal = best[queries, :k] @ weights
        found[f"NDCG@{k}"] = gains[queries, :k] @ weights / ideal
        places = np.concatenate([[0.0], np.cumsum(weights)])[np.minimum(k, n_candidates)]
        found[f"chance@{k}"] = mean[queries] * places / ideal
    return pd.DataFrame(found, index=queries)


def _of_equal_length(recording):
    """Row numbers of the tracks of each recording, in one array (recordings, length) a length."""
    order = np.argsort(recording, kind="stable")
    length = np.bincount(recording)
    starts = np.cumsum(length) - length
    return [order[starts[length == n][:, None] + np.arange(n)] for n in np.unique(length[length > 0])]


def movable(relevant):
    """How many recordings share their length with another: the others keep their labels in the permutation test."""
    return sum(len(group) for group in _of_equal_length(relevant.recording) if len(group) > 1)


def arrangements(relevant, n, rng):
    """Orders that move whole recordings among those of equal length.

    Parameters
    ----------
    relevant : Relevance
    n : int
    rng : numpy.random.Generator

    Yields
    ------
    ndarray of int, shape (tracks,)
        Track i gets the labels of track ``order[i]``.
    """
    groups = _of_equal_length(relevant.recording)
    for _ in range(n):
        order = np.empty(len(relevant.recording), dtype=int)
        for group in groups:
            order[group] = group[rng.permutation(len(group))]
        yield order


def beats_shuffled(lists, relevant, n_permutations, rng, k=LARGEST):
    """One-sided permutation test of NDCG@k, one arrangement for all backends at once, family-wise by max-T.

    Parameters
    ----------
    lists : dict of str to ndarray
        Backend to its lists.
    relevant : Relevance
    n_permutations : int
    rng : numpy.random.Generator
    k : int

    Returns
    -------
    DataFrame
        ``backend, NDCG (mean over recordings of the mean over their queries), shuffled (mean over permutations), p,
        p_adjusted``. p is 1 where no two recordings have the same length (see `movable`).

    Notes
    -----
    A recording moves as a whole to one of its length. So the labels around a query, less those of its recording, are
    the same wherever it goes: its ideal list goes with it and is found once.
    """
    best, _ = relevant.ideal(k)
    queries = best[:, 0] > 0
    of_recording = np.bincount(relevant.recording, queries)
    weight = queries / np.maximum(of_recording, 1)[relevant.recording] / np.count_nonzero(of_recording)
    per_gain = np.divide(weight, best @ discounts(k), out=np.zeros(len(best)), where=queries)

    def mean_ndcg(of, order):
        return float(_gains(of[:, :k], relevant, order) @ discounts(k) @ per_gain[order])

    real = [mean_ndcg(of, np.arange(len(of))) for of in lists.values()]
    permuted = [
        [mean_ndcg(of, order) for of in lists.values()] for order in arrangements(relevant, n_permutations, rng)
    ]
    tested = statistics.max_t(real, permuted)
    found = pd.DataFrame({"backend": list(lists), "NDCG": real, "shuffled": np.mean(permuted, axis=0)})
    return found.join(tested[["p", "p_adjusted"]])


def by_recording(scores, relevant):
    """Means over the queries of each recording, which is the unit of intervals and paired tests.

    Returns
    -------
    DataFrame
        ``user_id`` (the recording's number, as `lib.evaluation.statistics` calls its units) and the columns of
        `scores`.
    """
    means = scores.groupby(relevant.recording[scores.index]).mean()
    return means.rename_axis("user_id").reset_index()
