"""Neighbours of tracks in a backend's space: who is near, what they share, and a map."""

import numpy as np
import pandas as pd

from lib.backends import scaling
from lib.evaluation import retrieval
from lib.evaluation.statistics import RESAMPLES

__all__ = ["agreement", "layout", "nearest"]


def nearest(vectors, query, k, kind="standardise"):
    """The k tracks nearest to one, by cosine of scaled vectors.

    Parameters
    ----------
    vectors : Vectors
    query : str
        Track id.
    k : int
    kind : str
        Scaling, as in ``lib.backends.scaling.fit``.

    Returns
    -------
    DataFrame
        ``rank`` (from 1), ``track_id``, ``cosine`` in [-1, 1]; without the query itself.
    """
    cosine = _cosines(vectors, kind)[vectors.rows([query])[0]]
    order = np.argsort(-cosine, kind="stable")[:k]
    return pd.DataFrame({"rank": np.arange(1, len(order) + 1), "track_id": vectors.ids[order], "cosine": cosine[order]})


def agreement(vectors, tracks, labels, k, rng, same_recording="score_id", kind="standardise"):
    """How often the k nearest share a label with the query, over all queries.

    Parameters
    ----------
    vectors : Vectors
    tracks : DataFrame
        Indexed by track id, with the columns `labels`.
    labels : list of str
    k : int
    rng : numpy.random.Generator
        Of the resamples behind the intervals.
    same_recording : str
        Column, where there is one, that names a recording: its tracks are no neighbours of each other. Where it says
        nothing of a track, the track is its own.
    kind : str
        Scaling.

    Returns
    -------
    DataFrame
        ``label, shared, by_chance, ci_low, ci_high``: shares in [0, 1]; by chance is the share of all allowed
        neighbours; 95 % intervals over recordings, whose tracks are drawn together.
    """
    tracks = tracks.loc[vectors.ids]
    cosine = _cosines(vectors, kind)
    recording = retrieval.recordings(tracks, same_recording)
    allowed = recording[:, None] != recording[None, :]
    order = np.argsort(-np.where(allowed, cosine, -np.inf), axis=1, kind="stable")[:, :k]
    rows = []
    for label in labels:
        value = tracks[label].to_numpy()
        same = value[:, None] == value[None, :]
        shared = np.take_along_axis(same, order, axis=1).mean(axis=1)
        rows.append((label, shared.mean(), same[allowed].mean(), *_interval(shared, recording, rng)))
    return pd.DataFrame(rows, columns=["label", "shared", "by_chance", "ci_low", "ci_high"])


def _interval(values, recording, rng):
    """95 % percentile interval of a mean over tracks, by resampling recordings."""
    sums, counts = np.bincount(recording, values), np.bincount(recording)
    drawn = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=RESAMPLES)
    return np.quantile(drawn @ sums / (drawn @ counts), [0.025, 0.975])


def layout(vectors, seed, kind="standardise"):
    """A map of tracks: t-SNE of scaled vectors, the same for the same seed and machine.

    Returns
    -------
    DataFrame
        ``track_id, x, y``.
    """
    from sklearn.manifold import TSNE

    scaled = scaling.fit(vectors.values, kind).transform(vectors.values)
    perplexity = min(30.0, (len(scaled) - 1) / 3)
    placed = TSNE(perplexity=perplexity, init="pca", random_state=seed, metric="cosine").fit_transform(scaled)
    return pd.DataFrame({"track_id": vectors.ids, "x": placed[:, 0], "y": placed[:, 1]})


def _cosines(vectors, kind):
    scaled = scaling.fit(vectors.values, kind).transform(vectors.values)
    unit = scaled / np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-12)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -np.inf)
    return cosine
