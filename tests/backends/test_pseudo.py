"""Pseudo-backends: labels as vectors, true factors as vectors."""

import numpy as np
import pandas as pd
import pytest

from lib.backends import pseudo

TRACKS = pd.DataFrame({"track_id": list("abcd"), "artist": ["x", "y", "x", ""], "z0": [1.0, 0, 2, 1], "z1": 1.0})


def test_a_label_of_one_track_has_no_dimension_and_unknown_labels_are_no_label():
    vectors = pseudo.label_vectors(TRACKS, "artist")
    assert vectors.values.tolist() == [[1.0], [0.0], [1.0], [0.0]]


def test_a_missing_column_is_a_sentence():
    with pytest.raises(ValueError, match="column 'genre', found none: name another in label_columns"):
        pseudo.label_vectors(TRACKS, "genre")


def test_labels_that_are_all_different_are_a_sentence():
    with pytest.raises(ValueError, match="at least two tracks in the column 'track_id', found 0"):
        pseudo.label_vectors(TRACKS, "track_id")


def test_factors_are_unit_vectors_of_the_true_factors():
    vectors = pseudo.factor_vectors(TRACKS)
    assert np.allclose(np.linalg.norm(vectors.values, axis=1), 1)
    assert np.allclose(vectors.take(["a"])[0], np.array([1, 1]) / np.sqrt(2))


def test_random_vectors_know_nothing_of_the_real_ones(rng):
    real = pseudo.factor_vectors(TRACKS)
    drawn = pseudo.random_vectors(real, rng)
    assert drawn.values.shape == real.values.shape
    assert (drawn.ids == real.ids).all()
    assert not np.allclose(drawn.values, real.values)
