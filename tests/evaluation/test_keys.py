"""Keys: credit as MIREX gives it, by hand from mir_eval's documentation."""

import numpy as np
import pytest

from lib.evaluation import keys


@pytest.mark.parametrize(
    ("true", "estimated", "credit"),
    [
        ("C major", "C major", 1.0),
        ("C major", "G major", 0.5),  # a fifth above
        ("C major", "F major", 0.0),  # a fifth below is no fifth above
        ("A minor", "E minor", 0.5),
        ("C major", "G minor", 0.0),
        ("C major", "A minor", 0.3),  # relative
        ("A minor", "C major", 0.3),
        ("D# major", "C minor", 0.3),
        ("C major", "C minor", 0.2),  # parallel
        ("F# minor", "F# major", 0.2),
        ("C major", "C# major", 0.0),
    ],
)
def test_credit(true, estimated, credit):
    assert keys.mirex_score([true], [estimated]).tolist() == [credit]


def test_every_key_gives_two_credits_in_all():
    """1 + .5 + .3 + .2 over the 24 estimates, whatever the true key."""
    for true in keys.NAMES:
        assert keys.mirex_score([true] * 24, keys.NAMES).sum() == pytest.approx(2.0)
    assert len(set(keys.NAMES)) == 24


def test_an_unknown_name_is_a_sentence():
    with pytest.raises(ValueError, match="Expected keys like 'C major'"):
        keys.mirex_score(np.array(["C major"]), np.array(["H dur"]))
