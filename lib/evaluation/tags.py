"""Tags: labels of which a track has several, as text with a separator."""

import numpy as np
import pandas as pd

from lib.evaluation.probes import FOLDS

__all__ = ["separator_of"]


MOST_TAGS = 50


def separator_of(lists):
    """What separates the labels of lists: the first of ``;``, ``|`` and ``,`` that occurs in any, else a comma.

    Examples
    --------
    >>> separator_of(["rock; live, loud", "rock"])
    ';'
    """
    text = "".join(pd.Series(lists).dropna().astype(str))
    return next((mark for mark in ";|," if mark in text), ",")


def tag_matrix(lists, groups, separator=",", *, n_folds=FOLDS):
    """Which track has which tag, of the commonest tags.

    Parameters
    ----------
    lists : sequence of str, shape (n,)
        Tags of a track; the empty text is none.
    groups : sequence, shape (n,)
        As for `plan`.
    separator : str
    n_folds : int
        A tag has to be in twice as many groups, to be on both sides of every fold.

    Returns
    -------
    DataFrame
        0 and 1, one column a tag, commonest first, at most 50.

    Examples
    --------
    >>> tag_matrix(["rock, live", "rock"], [0, 1], n_folds=1).columns.tolist()
    ['rock']
    """
    long = pd.Series(lists).fillna("").astype(str).reset_index(drop=True).str.split(separator).explode().str.strip()
    long = long[long != ""].rename("tag").rename_axis("row").reset_index().drop_duplicates()
    groups = pd.factorize(np.asarray(groups).astype(str))[0]
    spread = long.assign(group=groups[long["row"]]).groupby("tag")["group"].nunique()
    counts = long["tag"].value_counts()
    common = sorted(spread.index[spread >= 2 * n_folds], key=lambda tag: (-counts[tag], tag))[:MOST_TAGS]
    wide = pd.crosstab(long["row"], long["tag"]).reindex(index=range(len(groups)), columns=common, fill_value=0)
    return wide.rename_axis(index=None, columns=None)
