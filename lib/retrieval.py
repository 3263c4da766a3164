"""Item retrieval, for an archive without listeners: whether the tracks nearest to a track are relevant to it.

Every track is a query. A track is relevant to another if they share a label (gain 1), or, where labels are lists
separated by commas, by the Jaccard similarity of these if it reaches a threshold. The query's own recording is neither
ranked nor relevant. NDCG@k with these gains; the ideal list is the best that the candidates allow. Queries without a
relevant candidate are left out and counted.

Excerpts of one recording are no independent observations. So the permutation test moves the labels of whole recordings
(of any to any where all excerpts of a recording share their label, else among recordings of equal size), and intervals
resample recordings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from lib import scaling, statistics
from lib.evaluation import discounts
from lib.recommenders.knn import unit_rows
from lib.recommenders.ranking import RESOLUTION, top_k

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

    def arranged(self, order):
        """The same with the labels of other tracks: track i gets those of track ``order[i]``."""
        return Relevance(self.labels[order], self.graded, self.threshold, self.recording)

    def ideal(self, largest):
        """Best gains and what there is to gain by chance.

        Returns
        -------
        best : ndarray of float, shape (tracks, largest)
            Falling gains of the best list of each query.
        mean : ndarray of float, shape (tracks,)
            Mean gain of a candidate.
        """
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
            return best, relevant / np.maximum(candidates, 1)
        best, total = np.zeros((n, largest)), np.zeros(n)
        size = np.asarray(self.labels.sum(axis=1)).ravel()
        for start in range(0, n, step := max(1, BLOCK_BYTES // (8 * n))):
            rows = slice(start, min(start + step, n))
            shared = (self.labels[rows] @ self.labels.T).toarray()
            union = size[rows, None] + size[None, :] - shared
            gain = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
            gain[(gain < self.threshold) | (self.recording[rows, None] == self.recording[None, :])] = 0
            total[rows] = gain.sum(axis=1)
            cut = min(largest, n)
            best[rows, :cut] = -np.sort(-np.partition(gain, n - cut, axis=1)[:, n - cut :], axis=1)
        return best, total / np.maximum(candidates, 1)


def relevance(tracks, relevant_by, same_recording, threshold):
    """Read from the labels of tracks what is relevant to what.

    Parameters
    ----------
    tracks : DataFrame
        One row a track, in the order of the vectors.
    relevant_by : str
        Column of labels; where any holds a comma, all are lists.
    same_recording : str
        Column that names a recording; where there is none, every track is its own.
    threshold : float
        Least Jaccard similarity of lists, in (0, 1].

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
    text = tracks[relevant_by].fillna("").astype(str)
    graded = bool(text.str.contains(",").any())
    lists = text.map(lambda value: sorted({part.strip() for part in (value.split(",") if graded else [value])} - {""}))
    names, codes = np.unique([name for one in lists for name in one], return_inverse=True)
    rows = np.repeat(np.arange(len(lists)), lists.map(len))
    labels = sparse.csr_array((np.ones(len(rows)), (rows, codes)), shape=(len(lists), max(len(names), 1)))
    column = tracks[same_recording] if same_recording in tracks else pd.Series(np.arange(len(tracks)))
    made = Relevance(labels, graded, threshold, pd.factorize(column)[0])
    if not made.ideal(1)[0].any():
        raise RetrievalError(
            f"Expected recordings that share a value of {relevant_by!r}, found none among {len(tracks)} tracks: name "
            "another column as relevant_by."
        )
    return made


def nearest(vectors, recording, largest=LARGEST, kind="standardise"):
    """The nearest tracks of every track by the cosine of scaled vectors, exact, without those of its own recording.

    Parameters
    ----------
    vectors : Vectors
    recording : ndarray of int, shape (tracks,)
    largest : int
        Length of the lists.
    kind : str
        Scaling, as in `lib.scaling.fit`.

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
    rows = np.repeat(np.arange(len(lists)), lists.shape[1])
    columns = lists.ravel()
    gains = np.zeros(len(rows))
    there = columns >= 0
    gains[there] = relevant.gains(rows[there], columns[there])
    return _scores(gains.reshape(lists.shape), relevant, cutoffs)


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


def arrangements(relevant, n, rng):
    """Orders that move the labels of whole recordings.

    Parameters
    ----------
    relevant : Relevance
    n : int
    rng : numpy.random.Generator

    Yields
    ------
    ndarray of int, shape (tracks,)
        For `Relevance.arranged`.
    """
    tracks = pd.Series(np.arange(len(relevant.recording))).groupby(relevant.recording).agg(list).tolist()
    first = np.array([of[0] for of in tracks])[relevant.recording]
    alike = (abs(relevant.labels - relevant.labels[first])).sum() == 0
    sizes = np.array([len(of) for of in tracks])
    groups = [np.arange(len(tracks))] if alike else [np.flatnonzero(sizes == size) for size in np.unique(sizes)]
    for _ in range(n):
        order = np.arange(len(relevant.recording))
        for group in groups:
            for to, source in zip(group, rng.permutation(group), strict=True):
                order[tracks[to]] = tracks[source][0] if alike else tracks[source]
        yield order


def beats_shuffled(lists, relevant, n_permutations, rng, k=LARGEST):
    """One-sided permutation test of mean NDCG@k, one arrangement for all backends at once, family-wise by max-T.

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
        ``backend, NDCG, shuffled (mean over permutations), p, p_adjusted``.
    """
    name = f"NDCG@{k}"
    real = [ndcg(of, relevant, (k,))[name].mean() for of in lists.values()]
    permuted = []
    for order in arrangements(relevant, n_permutations, rng):
        other = relevant.arranged(order)
        permuted.append([ndcg(of, other, (k,))[name].mean() for of in lists.values()])
    tested = statistics.max_t(real, permuted)
    found = pd.DataFrame({"backend": list(lists), "NDCG": real, "shuffled": np.mean(permuted, axis=0)})
    return found.join(tested[["p", "p_adjusted"]])


def by_recording(scores, relevant):
    """Means over the queries of each recording, which is the unit of intervals and paired tests.

    Returns
    -------
    DataFrame
        ``user_id`` (the recording's number, as `lib.statistics` calls its units) and the columns of `scores`.
    """
    means = scores.groupby(relevant.recording[scores.index]).mean()
    return means.rename_axis("user_id").reset_index()
