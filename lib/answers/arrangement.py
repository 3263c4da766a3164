"""Test whether a correlation over backends is more than the luck of one arrangement of tracks.

Backends that hear alike share this luck, so they are not independent units, and a test that pairs their scores at
random may find something where there is no content at all (docs/calibration.md says how often). This test permutes
vectors over tracks for all backends at once, as RQ1 does; for KNN `permutations.parquet` holds all that it needs.
"""

import numpy as np
import pandas as pd
from scipy import stats

from lib.evaluation.statistics import max_t


def arrangement_test(scores, real, permuted):
    """Test rank correlations of tasks with recommendation over permutations of tracks, two-sided.

    Parameters
    ----------
    scores : array, shape (tasks, B)
        Scores of every task for B backends, none of them all equal.
    real : array, shape (B,)
        What recommenders reach with real vectors.
    permuted : array, shape (P, B)
        The same under P permutations of tracks, each the same for all backends.

    Returns
    -------
    DataFrame
        rho (Spearman), p (of each task, exact at any P: (1 + count) / (1 + P)) and p_adjusted (step-down max-T over the
        tasks), one row a task.

    Notes ----- The null is that vectors say nothing of what is listened to. Where they do, but no more for what a task
    measures than for anything else, p may be too small: claim a correlation only if `lib.evaluation.correlation`
    rejects as well.

    Examples
    --------
    >>> permuted = [[1, 3, 2, 4], [4, 1, 3, 2], [2, 1, 4, 3], [3, 4, 1, 2]]
    >>> arrangement_test([[0.1, 0.2, 0.3, 0.4]], [0.5, 0.6, 0.7, 0.8], permuted).round(2).values.tolist()
    [[1.0, 0.2, 0.2]]
    """
    tasks, everything = np.atleast_2d(scores), np.vstack([real, permuted])
    sides = [stats.rankdata(side, axis=1) for side in (tasks, everything)]
    sides = [side - side.mean(axis=1, keepdims=True) for side in sides]
    sides = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in sides]
    rho = sides[1] @ sides[0].T
    tested = max_t(np.abs(rho[0]), np.abs(rho[1:]))
    return pd.DataFrame({"rho": rho[0], "p": tested["p"], "p_adjusted": tested["p_adjusted"]})
