"""What a recommender is held against: vectors that know nothing of the sound, or only the label on the sleeve."""

import numpy as np
import pandas as pd

from lib.vectors import Vectors

LABELS = {"artist": "artist", "genre": "collection"}  # pseudo-backend: column of tracks


def label_vectors(tracks, backend):
    """One-hot vectors of a label: what metadata alone can recommend, through the same recommender.

    Parameters
    ----------
    tracks : DataFrame
        ``track_id`` and the label's column.
    backend : {'artist', 'genre'}

    Returns
    -------
    Vectors
        Shape (n_tracks, number of distinct labels), ones and zeros.

    Examples
    --------
    >>> label_vectors(pd.DataFrame({"track_id": ["a", "b"], "artist": ["x", "y"]}), "artist").values.tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    column = LABELS[backend]
    if column not in tracks:
        raise ValueError(f"Expected tracks with a column {column!r} for the pseudo-backend {backend!r}, found none.")
    return Vectors.of(tracks["track_id"], pd.get_dummies(tracks[column], dtype=np.float32).to_numpy())


def random_vectors(vectors, rng):
    """Gaussian vectors of the same tracks and width, drawn in place and never stored."""
    return Vectors(vectors.ids, rng.standard_normal(vectors.values.shape, dtype=np.float32))
