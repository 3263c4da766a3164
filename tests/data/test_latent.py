"""A catalogue without audio: its ids tell nothing, its factors follow genre and artist."""

import numpy as np
import pandas as pd

from lib.data.sources import latent
from lib.study.tables import check

TRACKS = latent.tracks(n_tracks=4000, seed=3)
FACTORS = TRACKS[[f"z{n}" for n in range(latent.N_FACTORS)]].to_numpy()


def variance_within(groups):
    means = pd.DataFrame(FACTORS).groupby(groups.to_numpy()).transform("mean").to_numpy()
    return ((FACTORS - means) ** 2).sum() / ((FACTORS - FACTORS.mean(axis=0)) ** 2).sum()


def test_it_is_a_tracks_table_and_the_same_for_the_same_seed():
    check(TRACKS, "tracks")
    assert TRACKS.equals(latent.tracks(n_tracks=4000, seed=3))
    assert not TRACKS.equals(latent.tracks(n_tracks=4000, seed=4))


def test_factors_follow_genre_and_artist():
    assert variance_within(TRACKS["artist"]) < variance_within(TRACKS["collection"]) < 0.6


def test_the_order_of_ids_tells_nothing_of_the_genre():
    same = (TRACKS["collection"].to_numpy()[1:] == TRACKS["collection"].to_numpy()[:-1]).mean()
    expected = (TRACKS["collection"].value_counts(normalize=True) ** 2).sum()
    assert abs(same - expected) < 4 * np.sqrt(expected * (1 - expected) / len(TRACKS))


def test_artists_are_of_very_different_sizes():
    sizes = TRACKS["artist"].value_counts()
    assert sizes.median() <= 3
    assert sizes.max() > 30


def test_every_id_is_there_once_and_has_sixteen_characters():
    assert TRACKS["track_id"].is_unique
    assert (TRACKS["track_id"].str.len() == 16).all()
