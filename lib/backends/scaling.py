"""Scaling of track vectors before they are compared by cosine, fitted on train tracks alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

__all__ = ["SCALINGS"]


SCALINGS = ("none", "centre", "standardise", "whiten")
MIN_COMPONENTS = 10  # whitening to fewer components keeps too little of a vector to compare tracks by
TRACKS_PER_COMPONENT = 10
CONSTANT = 1e-6  # a dimension that varies less than this share of its mean carries only rounding


@dataclass(frozen=True)
class Scaler:
    """A fitted scaling: ``(values - mean) @ matrix``, or ``(values - mean) * matrix`` where it is a vector.

    Attributes
    ----------
    kind : str
        One of `SCALINGS`.
    mean : ndarray of float64, shape (dim,)
        Zeros for ``none``.
    matrix : ndarray of float64, shape (dim,) or (dim, components)
        Factor of each dimension, or the whitening projection.
    """

    kind: str
    mean: np.ndarray
    matrix: np.ndarray

    def transform(self, values: np.ndarray) -> np.ndarray:
        """Scale vectors.

        Parameters
        ----------
        values : array, shape (n, dim)

        Returns
        -------
        ndarray of float32, shape (n, dim) or (n, components)
        """
        values = np.asarray(values, dtype=np.float32)
        if values.ndim != 2 or values.shape[1] != len(self.mean):
            raise ValueError(
                f"Expected vectors of {len(self.mean)} dimensions, the width this scaling was fitted on, "
                f"found an array of shape {values.shape}; fit a scaling for each backend."
            )
        if self.kind == "none":
            return values
        centred = values - self.mean.astype(np.float32)
        matrix = self.matrix.astype(np.float32)
        return centred * matrix if matrix.ndim == 1 else centred @ matrix


def fit(values: np.ndarray, kind: str) -> Scaler:
    """Fit a scaling.

    Parameters
    ----------
    values : array, shape (n, dim)
        Finite vectors of the *train* tracks, one row a track.
    kind : {'none', 'centre', 'standardise', 'whiten'}
        ``centre`` subtracts the mean; ``standardise`` also divides by the standard deviation of each dimension
        (dimensions that are constant over the train tracks are dropped: set to 0); ``whiten`` projects on the first
        ``min(dim, n // 10)`` principal components and divides by the square root of their variances, which are
        shrunk towards their mean by the coefficient of Ledoit and Wolf (2004).

    Returns
    -------
    Scaler

    Raises
    ------
    ValueError
        For an unknown kind, no rows, values that are not finite, or whitening below 10 components.

    Examples
    --------
    >>> fit(np.array([[0.0, 2.0], [2.0, 6.0]]), "standardise").transform(np.array([[2.0, 6.0]]))
    array([[1., 1.]], dtype=float32)
    """
    if kind not in SCALINGS:
        raise ValueError(f"Expected a scaling among {', '.join(SCALINGS)}, found {kind!r}.")
    values = np.asarray(values, dtype=np.float32)
    if values.ndim != 2 or not len(values):
        raise ValueError(
            f"Expected the vectors of at least one train track as rows, found an array of shape {values.shape}."
        )
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise ValueError(f"Expected finite vectors, found NaN or infinity in row {row}; extract that track again.")
    n, dim = values.shape
    if kind == "none":
        return Scaler(kind, np.zeros(dim), np.ones(dim))
    mean = values.mean(axis=0, dtype=np.float64)
    if kind == "centre":
        return Scaler(kind, mean, np.ones(dim))
    if kind == "standardise":
        return Scaler(kind, mean, inverse_deviation(mean, values.std(axis=0, dtype=np.float64)))
    return Scaler(kind, mean, _whitening(values - mean, components(n, dim)))


def components(n_tracks: int, dim: int) -> int:
    """Number of components that whitening keeps, ``min(dim, n_tracks // 10)``; refused below 10.

    Raises
    ------
    ValueError
        Where fewer than 10 components would remain.

    Examples
    --------
    >>> components(300, 256)
    30
    """
    kept = min(dim, n_tracks // TRACKS_PER_COMPONENT)
    if kept < MIN_COMPONENTS:
        raise ValueError(
            f"Whitening needs at least {MIN_COMPONENTS} components, found {kept} (the smaller of {dim} dimensions and "
            f"a tenth of {n_tracks} train tracks); choose none, centre or standardise, or use more tracks."
        )
    return kept


def inverse_deviation(mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """1 / deviation, and 0 where a dimension is constant up to rounding (arrays of shape (dim,))."""
    varies = deviation > CONSTANT * np.abs(mean)
    return np.where(varies, 1.0 / np.where(varies, deviation, 1.0), 0.0)


def whitening_factors(
    gram: np.ndarray, squared_norms: np.ndarray, n_tracks: int, dim: int, kept: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Leading eigenvectors of a centred Gram or scatter matrix with their shrunk variances.

    Parameters
    ----------
    gram : array, shape (m, m)
        ``X @ X.T`` (m = tracks) or ``X.T @ X`` (m = dimensions) of the centred train vectors X: both have the same
        eigenvalues, so the smaller one will do.
    squared_norms : array, shape (n_tracks,)
        Squared length of each row of X.
    n_tracks, dim : int
        Shape of X.
    kept : int
        Components wanted.

    Returns
    -------
    eigenvalues, eigenvectors, variances : ndarray
        Shapes (r,), (m, r), (r,), r <= kept: components without variance are left out.

    Notes
    -----
    Ledoit and Wolf (2004), *A well-conditioned estimator for large-dimensional covariance matrices*: with
    S = X'X / n and mean variance m = tr(S) / dim, the shrunk covariance is (1 - s) S + s m I, where
    s = min(b2, d2) / d2, d2 = |S - m I|^2 and b2 = (sum_k |x_k|^4 / n - |S|^2) / n. It has the eigenvectors of S.
    """
    mean_variance = squared_norms.sum() / (n_tracks * dim)
    scatter = np.square(gram).sum() / n_tracks**2
    spread = scatter - dim * mean_variance**2
    noise = (np.square(squared_norms).sum() / n_tracks - scatter) / n_tracks
    shrinkage = 1.0 if spread <= 0 else min(max(noise, 0.0), spread) / spread
    size = len(gram)
    eigenvalues, vectors = linalg.eigh(
        gram, subset_by_index=[max(size - kept, 0), size - 1], check_finite=False, driver="evr"
    )
    alive = eigenvalues > 1e-9 * max(eigenvalues[-1], np.finfo(float).tiny)
    eigenvalues, vectors = eigenvalues[alive], vectors[:, alive]
    variances = (1 - shrinkage) * eigenvalues / n_tracks + shrinkage * mean_variance
    return eigenvalues, vectors, variances


def _whitening(centred: np.ndarray, kept: int) -> np.ndarray:
    """Projection (dim, r) that turns centred vectors (float64) into whitened ones."""
    n, dim = centred.shape
    squared_norms = np.einsum("ij,ij->i", centred, centred)
    if dim <= n:
        _, vectors, variances = whitening_factors(centred.T @ centred, squared_norms, n, dim, kept)
        return vectors / np.sqrt(variances)
    values, vectors, variances = whitening_factors(centred @ centred.T, squared_norms, n, dim, kept)
    return (centred.T @ vectors) / np.sqrt(values * variances)
