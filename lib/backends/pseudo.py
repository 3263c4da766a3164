"""What a recommender is held against: vectors that know nothing of the sound, or only the label on the sleeve.

Pseudo-backends have no table in the vector store: one-hot labels (the parameter `label_columns` says which), and
`factors`, the true factors of a mock world: what a perfect ear would hear.
"""

import numpy as np
import pandas as pd

from lib.backends.vectors import Vectors, VectorStore
from lib.data.mock.taste import true_factors
from lib.study.tables import read_parquet

__all__ = ["FACTORS", "random_vectors", "stored"]


FACTORS = "factors"
MOST_LABELS = 8192


def label_vectors(tracks, column):
    """One-hot vectors of a label: what metadata alone can recommend, through the same recommender.

    Parameters
    ----------
    tracks : DataFrame
        ``track_id`` and the label's column.
    column : str
        Whose distinct values are the dimensions; a track without one has a vector of zeros.

    Returns
    -------
    Vectors
        Shape (n_tracks, number of distinct labels), ones and zeros. A label of a single track has no dimension: it
        recommends nothing.

    Raises
    ------
    ValueError
        Where the column is not there, no label has two tracks, or there are more labels than fit.

    Examples
    --------
    >>> label_vectors(pd.DataFrame({"track_id": list("abc"), "artist": ["x", "y", "x"]}), "artist").values.tolist()
    [[1.0], [0.0], [1.0]]
    """
    if column not in tracks:
        raise ValueError(
            f"Expected tracks with a column {column!r}, found none: name another in label_columns, or leave it out."
        )
    counts = tracks.loc[tracks[column] != "", column].value_counts()
    shared = counts.index[counts > 1]
    if not 1 <= len(shared) <= MOST_LABELS:
        raise ValueError(
            f"Expected between 1 and {MOST_LABELS} labels of at least two tracks in the column {column!r}, found "
            f"{len(shared)}: name another column in label_columns, or leave it out."
        )
    labels = pd.Categorical(tracks[column], categories=sorted(shared))
    return Vectors.of(tracks["track_id"], pd.get_dummies(labels, dtype=np.float32).to_numpy())


def vectors(study, tracks, store, backend):
    """Vectors of a backend from the study's store, or of a pseudo-backend made here.

    Parameters
    ----------
    study : Study
    tracks : DataFrame
        The study's.
    store : VectorStore
    backend : str
        A backend with a table in the store, a key of the parameter `label_columns`, or `FACTORS`.

    Returns
    -------
    Vectors
    """
    labels = study.parameters.label_columns
    if backend in labels:
        return label_vectors(tracks, labels[backend])
    if backend == FACTORS:
        return factor_vectors(tracks, study.parameters.factor_weights or None)
    return store.read(backend)


def stored(study, backend):
    """As `vectors`, from the tracks and the store of a study."""
    tracks = read_parquet(study.path("data", "tracks.parquet"))
    return vectors(study, tracks, VectorStore(study.path("vectors.lance")), backend)


def factor_vectors(tracks, weights=None):
    """True factors of the tracks of a mock world as vectors; `weights` as in `lib.data.mock.taste.true_factors`."""
    return Vectors.of(tracks["track_id"], true_factors(tracks, weights))


def random_vectors(vectors, rng):
    """Gaussian vectors of the same tracks and width, drawn in place and never stored."""
    return Vectors(vectors.ids, rng.standard_normal(vectors.values.shape, dtype=np.float32))
