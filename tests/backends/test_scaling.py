import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf_shrinkage

from lib.backends import scaling


@pytest.fixture
def values():
    rng = np.random.default_rng(0)
    return (rng.standard_normal((300, 24)) @ rng.standard_normal((24, 24)) + 5).astype(np.float32)


def test_none_leaves_values_alone(values):
    assert np.array_equal(scaling.fit(values, "none").transform(values), values)


def test_centre_and_standardise_use_the_train_moments(values):
    new = values[:3] + 1
    centred = scaling.fit(values, "centre").transform(new)
    assert np.allclose(centred, new - values.mean(0), atol=1e-4)
    standardised = scaling.fit(values, "standardise").transform(new)
    assert np.allclose(standardised, (new - values.mean(0)) / values.std(0), atol=1e-4)
    assert standardised.dtype == np.float32


def test_a_dimension_constant_on_train_tracks_is_dropped():
    values = np.array([[0.1, 1.0], [0.1, 3.0]], np.float32)
    assert scaling.fit(values, "standardise").transform(np.array([[9.0, 3.0]])).tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize("shape", [(300, 24), (120, 200)])
def test_whitening_decorrelates_with_the_shrinkage_of_ledoit_and_wolf(shape):
    rng = np.random.default_rng(1)
    values = (rng.standard_normal(shape) * np.linspace(1, 4, shape[1])).astype(np.float32)
    n, dim = shape
    kept = min(dim, n // 10)
    whitened = scaling.fit(values, "whiten").transform(values)
    assert whitened.shape == (n, kept)
    centred = values.astype(float) - values.mean(0, dtype=float)
    covariance = centred.T @ centred / n
    shrinkage = ledoit_wolf_shrinkage(centred, assume_centered=True)
    top = np.linalg.eigvalsh(covariance)[::-1][:kept]
    expected = top / ((1 - shrinkage) * top + shrinkage * np.trace(covariance) / dim)
    found = np.cov(whitened.T, bias=True)
    assert np.allclose(np.sort(np.diagonal(found)), np.sort(expected), atol=1e-4)
    assert np.abs(found - np.diag(np.diagonal(found))).max() < 1e-4


def test_whitening_is_refused_below_ten_components(values):
    with pytest.raises(ValueError, match="at least 10 components, found 9"):
        scaling.fit(values[:95], "whiten")


def test_scaling_never_sees_other_tracks(values):
    scaler = scaling.fit(values[:200], "standardise")
    assert np.array_equal(scaler.mean, values[:200].mean(0, dtype=float))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda v: scaling.fit(v, "log"), "Expected a scaling among none"),
        (lambda v: scaling.fit(v[:0], "none"), "at least one train track"),
        (lambda v: scaling.fit(np.where(v == v[4, 2], np.nan, v), "centre"), "in row 4"),
        (lambda v: scaling.fit(v, "centre").transform(v[:, :3]), "vectors of 24 dimensions"),
    ],
)
def test_errors_are_sentences(values, call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call(values)
