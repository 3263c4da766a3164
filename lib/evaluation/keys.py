"""Keys: the 24 names, and how near a wrong one is, as MIREX judges it."""

import numpy as np

from lib.data.sources.scores.corpus import KEYS

NAMES = tuple(f"{tonic} {mode}" for mode in ("major", "minor") for tonic in KEYS)


def mirex_score(true, estimated):
    """Credit of estimated keys: 1 the same, .5 a perfect fifth above, .3 relative, .2 parallel, else 0.

    Parameters
    ----------
    true, estimated : sequence of str, shape (n,)
        Of `NAMES`, such as ``C# minor``.

    Returns
    -------
    ndarray, shape (n,)
        0 to 1.

    Raises
    ------
    ValueError
        For a name that is none of the 24.

    Notes
    -----
    As in MIREX's audio key detection and ``mir_eval.key.weighted_score`` (Raffel et al., ISMIR 2014), which gives .5
    to the fifth above only, in the same mode.

    Examples
    --------
    >>> mirex_score(["C major"] * 5, ["C major", "G major", "A minor", "C minor", "F major"]).tolist()
    [1.0, 0.5, 0.3, 0.2, 0.0]
    """
    return _CREDIT[_numbers(true), _numbers(estimated)]


def _numbers(names):
    places = {name: number for number, name in enumerate(NAMES)}
    unknown = sorted({str(name) for name in names} - set(places))
    if unknown:
        raise ValueError(f"Expected keys like {NAMES[0]!r} or 'A# minor', found {unknown[0]!r}; map them first.")
    return np.array([places[str(name)] for name in names], dtype=int)


def _credits():
    """Credit by number of the true key (row) and of the estimated one."""
    found = np.eye(24)
    for tonic in range(12):
        fifth = (tonic + 7) % 12
        found[tonic, fifth] = found[12 + tonic, 12 + fifth] = 0.5
        relative = 12 + (tonic + 9) % 12  # of C major, A minor
        found[tonic, relative] = found[relative, tonic] = 0.3
        found[tonic, 12 + tonic] = found[12 + tonic, tonic] = 0.2
    return found


_CREDIT = _credits()
