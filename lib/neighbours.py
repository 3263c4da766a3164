"""Neighbours of tracks in a backend's space: who is near, what they share, and a map."""

import numpy as np
import pandas as pd

from lib import scaling


def nearest(vectors, query, k, kind="standardise"):
    """The k tracks nearest to one, by cosine of scaled vectors.

    Parameters
    ----------
    vectors : Vectors
    query : str
        Track id.
    k : int
    kind : str
        Scaling, as in ``lib.scaling.fit``.

    Returns
    -------
    DataFrame
        ``rank`` (from 1), ``track_id``, ``cosine`` in [-1, 1]; without the query itself.
    """
    cosine = _cosines(vectors, kind)[vectors.rows([query])[0]]
    order = np.argsort(-cosine, kind="stable")[:k]
    return pd.DataFrame({"rank": np.arange(1, len(order) + 1), "track_id": vectors.ids[order], "cosine": cosine[order]})


def agreement(vectors, tracks, labels, k, same_recording="score_id", kind="standardise"):
    """How often the k nearest share a label with the query, over all queries.

    Parameters
    ----------
    vectors : Vectors
    tracks : DataFrame
        Indexed by track id, with the columns `labels`.
    labels : list of str
    k : int
    same_recording : str
        Column, where there is one, that names a recording: its tracks are no neighbours of each other.
    kind : str
        Scaling.

    Returns
    -------
    DataFrame
        ``label, shared, by_chance``: shares in [0, 1]; by chance is the share of all allowed neighbours.
    """
    tracks = tracks.loc[vectors.ids]
    cosine = _cosines(vectors, kind)
    allowed = ~np.eye(len(tracks), dtype=bool)
    if same_recording in tracks:
        recording = tracks[same_recording].to_numpy()
        allowed &= recording[:, None] != recording[None, :]
    order = np.argsort(-np.where(allowed, cosine, -np.inf), axis=1, kind="stable")[:, :k]
    rows = []
    for label in labels:
        value = tracks[label].to_numpy()
        same = value[:, None] == value[None, :]
        shared = np.take_along_axis(same, order, axis=1).mean()
        rows.append((label, shared, same[allowed].mean()))
    return pd.DataFrame(rows, columns=["label", "shared", "by_chance"])


def draw(frame, labels, axes):
    """Bars of shares by label and backend, with what random vectors would share as dotted lines.

    Parameters
    ----------
    frame : DataFrame
        ``backend, label, shared, by_chance``.
    labels : list of str
        In the order of the bars.
    axes : Axes
    """
    import seaborn as sns

    from lib import figures

    order = figures.in_order(frame["backend"].unique())
    palette = [figures.COLOURS.get(name, figures.GREY) for name in order]
    sns.barplot(frame, x="label", y="shared", hue="backend", order=labels, hue_order=order, palette=palette, ax=axes)
    for place, label in enumerate(labels):
        level = frame.loc[frame["label"] == label, "by_chance"].iloc[0]
        named = "by chance" if place == 0 else None
        axes.plot([place - 0.42, place + 0.42], [level, level], color="black", lw=1, ls=":", label=named)
    axes.set_xticks(range(len(labels)), [label.replace("_", " ") for label in labels])
    axes.set(xlabel="", ylabel="share of the nearest", ylim=(0, 1))
    sns.move_legend(axes, "upper left", bbox_to_anchor=(1, 1), title="")


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
