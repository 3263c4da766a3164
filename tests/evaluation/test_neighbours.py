"""What near tracks share, counted by hand; those of one recording are no neighbours of each other."""

import numpy as np
import pandas as pd
import pytest

from lib.backends.vectors import Vectors
from lib.evaluation import neighbours

IDS = list("abcdef")
VECTORS = Vectors.of(IDS, [[1, 0.1], [1, 0.2], [1, -0.1], [-1, 0.1], [-1, 0.2], [-1, -0.1]])  # two groups of three


def shared(**columns):
    tracks = pd.DataFrame({"mode": ["major"] * 3 + ["minor"] * 3, **columns}, index=IDS)
    found = neighbours.agreement(VECTORS, tracks, ["mode"], 2, np.random.default_rng(0), kind="none")
    return found.iloc[0]


def test_near_tracks_share_what_their_group_shares():
    row = shared()
    assert (row["shared"], row["ci_low"], row["ci_high"]) == (1, 1, 1)
    assert row["by_chance"] == pytest.approx(2 / 5)


def test_tracks_of_one_recording_are_no_neighbours():
    row = shared(score_id=["x", "x", "x", "y", "y", "y"])
    assert (row["shared"], row["by_chance"]) == (0, 0)


@pytest.mark.parametrize("nothing", [None, np.nan, ""])
def test_tracks_of_which_no_recording_is_known_are_their_own(nothing):
    row = shared(score_id=pd.Series([nothing] * 6, IDS, dtype=object))
    assert row["shared"] == 1
    assert row["by_chance"] == pytest.approx(2 / 5)
