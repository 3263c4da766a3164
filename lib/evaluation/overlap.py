"""Does a public collection fit one's own? Sizes and listening side by side, and overlap in a backend's space."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from lib.backends import scaling
from lib.backends.vectors import Vectors
from lib.data.realism import month_of, profile, summary
from lib.evaluation import results
from lib.study.tables import read_parquet

__all__ = ["described", "fit_table", "fit_words", "groups", "nearest_public", "overlap_words", "together", "told_apart"]


DRAWN = 2000  # public tracks that are asked for their neighbours, and drawn on the map
BLOCK = 500  # tracks compared at a time
FOLDS = 5
NONE = "no listeners yet"
_COLLECTION = ["tracks", "listeners", "pairs", "months", "tracks a listener, median", "tracks a listener, most"]
_MONTH = [
    "listeners",
    "tracks",
    "plays",
    "tracks a listener, q50",
    "tracks a listener, q90",
    "pairs played more than once",
]
_MONTH += [
    "plays of the top 10% of tracks",
    "Gini of plays over tracks",
    "gaps of 30 min or less",
    "gaps of a day or more",
]


class OverlapError(ValueError):
    """Two collections cannot be compared; the sentence says why."""


class TwoSamples(NamedTuple):
    """How well a classifier tells two collections apart, with a 95 % interval; .5 is not at all."""

    auc: float
    ci_low: float
    ci_high: float
    n_groups: int


def collection(tracks, train=None):
    """Sizes of a collection and of the listening before its test date.

    Parameters
    ----------
    tracks : DataFrame
    train : DataFrame, optional
        Pairs of the split; None without listeners.

    Returns
    -------
    dict of str to float
        Named as in ``about["collection"]`` of a profile.
    """
    sizes = {"tracks": len(tracks)}
    if train is None:
        return sizes
    histories = train.groupby("user_id").size()
    months = (train["timestamp"].max() - train["timestamp"].min()).days / 30.4
    return sizes | {
        "listeners": len(histories),
        "pairs": len(train),
        "months": round(months, 1),
        "tracks a listener, median": float(histories.median()),
        "tracks a listener, most": int(histories.max()),
    }


def described(study):
    """Sizes of a prepared study, and its month of listening.

    Parameters
    ----------
    study : Study

    Returns
    -------
    (dict, Profile or None)
        As `fit_table` takes them; the month is None without listeners.
    """
    tracks = read_parquet(study.path("data", "tracks.parquet"))
    if not study.has_listeners:
        return collection(tracks), None
    parts = results.parts(study)
    return collection(tracks, parts["train"]), profile(month_of(parts))


def fit_table(own, public):
    """One's own figures beside the public ones, with their ratio and what it means.

    Parameters
    ----------
    own : (dict, Profile or None)
        From `collection`, and of a month of listening where there is any.
    public : (dict, Profile)

    Returns
    -------
    DataFrame
        Index: part (collection, one month) and figure. ``own, public, ratio, verdict``; texts, except `ratio` (NaN
        where one side lacks the figure).

    Examples
    --------
    >>> from lib.data.realism import public_profile
    >>> month = public_profile()
    >>> table = fit_table(({"tracks": 300}, None), (month.about["collection"], month))
    >>> table.loc[("collection", "tracks"), "verdict"]
    'far fewer'
    """
    rows = []
    for part, mine, theirs, shown in (
        ("collection", own[0], public[0], _COLLECTION),
        ("one month", summary(own[1]) if own[1] else {}, summary(public[1]), _MONTH),
    ):
        for figure in shown:
            value = theirs[figure]
            if figure not in mine:
                rows.append((part, figure, NONE, _shown(value), np.nan, "public only"))
                continue
            ratio = mine[figure] / value if value else np.nan
            rows.append((part, figure, _shown(mine[figure]), _shown(value), ratio, _verdict(mine[figure], value)))
    frame = pd.DataFrame(rows, columns=["part", "figure", "own", "public", "ratio", "verdict"])
    return frame.set_index(["part", "figure"])


def fit_words(own, public):
    """Sentences on what the sizes mean for learning from the public set, or from one's own.

    Parameters
    ----------
    own : (dict, Profile or None)
    public : (dict, Profile)
        As for `fit_table`.

    Returns
    -------
    list of str
    """
    sizes, month = own
    supplied, real = public
    share = sizes["tracks"] / supplied["tracks"]
    said = [f"The own collection is {share:.1%} of the public one in tracks."]
    if month is None:
        return [
            *said,
            f"It has no listeners: the public set would supply {supplied['listeners']:,} with a median of "
            f"{supplied['tracks a listener, median']:.0f} tracks in {supplied['months']:g} months, who never heard it.",
        ]
    ratio = sizes["tracks a listener, median"] / supplied["tracks a listener, median"]
    said.append(
        f"It has {sizes['listeners']:,} listeners to the public {supplied['listeners']:,}, and histories whose median "
        f"is {sizes['tracks a listener, median']:.0f} tracks to {supplied['tracks a listener, median']:.0f}"
        + (": a recommender has less to go by." if ratio < 0.5 else ".")
    )
    top, theirs = month.top_share(0.1), real.top_share(0.1)
    verdict = "about as much" if abs(top - theirs) <= 0.1 else "more" if top > theirs else "less"
    said.append(
        f"Its listening is concentrated {verdict}: the top tenth of tracks gets {top:.0%} of plays to {theirs:.0%}."
    )
    return said


def groups(tracks):
    """What must not be told apart by itself: the score of a track, else its artist, else the track.

    Parameters
    ----------
    tracks : DataFrame
        Indexed by track id.

    Returns
    -------
    Series of str
    """
    known = pd.Series(tracks.index.astype(str), index=tracks.index).radd("track ")
    for name in ("artist", "score_id"):
        if name in tracks:
            label = tracks[name].fillna("").astype(str)
            known = known.mask(label != "", f"{name} " + label)
    return known


def nearest_public(own, public, own_groups, public_groups, rng):
    """Cosine of each own track to its nearest public track, and what public tracks have among themselves.

    Vectors are standardised on the public ones. On both sides a track's neighbours leave out its own group: an artist
    whom only the public side has twice would make that side look denser. As in KNN, a cosine knows directions: how far
    out a track lies is for `told_apart` to see.

    Parameters
    ----------
    own, public : Vectors
    own_groups, public_groups : sequence of str
        As from `groups`, in the order of the vectors.
    rng : numpy Generator
        Draws `DRAWN` public tracks where there are more.

    Returns
    -------
    (DataFrame, ndarray)
        ``track_id, nearest`` (a public track), ``cosine``, ``quantile`` (share of public tracks whose nearest is
        farther) of the own tracks; cosines of public tracks, ascending.

    Raises
    ------
    OverlapError
        Where the widths differ, or the public tracks are all of one group.
    """
    if own.dim != public.dim:
        raise OverlapError(
            f"Expected vectors of one backend, found {own.dim} and {public.dim} dimensions: extract both studies alike."
        )
    scaler = scaling.fit(public.values, "standardise")
    mine, theirs = (_unit(scaler.transform(vectors.values)) for vectors in (own, public))
    codes, names = pd.factorize(np.asarray(public_groups))
    if codes.max() == 0:
        raise OverlapError(
            "Expected public tracks of several artists or scores, found one: compare with another study."
        )
    asked = np.sort(rng.choice(len(theirs), min(DRAWN, len(theirs)), replace=False))
    among = np.sort(_nearest(theirs[asked], theirs, codes[asked], codes)[1])
    row, cosine = _nearest(mine, theirs, pd.Index(names).get_indexer(np.asarray(own_groups)), codes)
    frame = pd.DataFrame({"track_id": own.ids, "nearest": public.ids[row], "cosine": cosine})
    return frame.assign(quantile=np.searchsorted(among, cosine, side="left") / len(among)), among


def told_apart(own, public, own_groups, public_groups, rng, n_resamples=500):
    """Classifier two-sample test: how well a plane in the space divides own tracks from public ones.

    Logistic regression on at most 50 principal components, both sides weighing the same; every score comes from a fold
    whose groups the classifier has not seen (Lopez-Paz and Oquab, ICLR 2017). The interval resamples groups
    and takes the classifiers as they are, so it is a little narrow: where nothing divides the sides (100 and 400
    tracks), it held .5 in 27 of 30 draws, with AUCs of .50 ± .04.

    Parameters
    ----------
    own, public : Vectors
    own_groups, public_groups : sequence of str
        As from `groups`.
    rng : numpy Generator
    n_resamples : int

    Returns
    -------
    TwoSamples

    Raises
    ------
    OverlapError
        Where a side has fewer groups than folds.
    """
    sides = [np.unique(np.asarray(names)).size for names in (own_groups, public_groups)]
    if min(sides) < FOLDS:
        raise OverlapError(
            f"Expected at least {FOLDS} artists or scores on both sides, found {sides[0]} and {sides[1]}: "
            "name the artists of your tracks, or compare with a larger study."
        )
    kept = np.sort(rng.choice(len(public), min(DRAWN, len(public)), replace=False))
    values = np.concatenate([own.values, public.values[kept]])
    label = np.repeat([1, 0], [len(own), len(kept)])
    codes = pd.factorize(np.concatenate([np.asarray(own_groups), np.asarray(public_groups)[kept]]))[0]
    scores = _held_out_scores(values, label, codes, int(rng.integers(2**31)))
    drawn = [_auc(label, scores, _resampled(label, codes, rng)) for _ in range(n_resamples)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return TwoSamples(_auc(label, scores, np.ones(len(label))), float(low), float(high), int(codes.max()) + 1)


def overlap_words(nearest, among, apart):
    """One sentence on how far a public collection covers one's own tracks.

    Parameters
    ----------
    nearest : DataFrame
        From `nearest_public`.
    among : ndarray
        From `nearest_public`.
    apart : TwoSamples

    Returns
    -------
    str
    """
    inside = covered(nearest, among)
    told = "cannot be told from" if apart.ci_low <= 0.5 else "can hardly be told from"
    if apart.auc > 0.7:
        told = "are told at once from" if apart.auc > 0.9 else "can be told from"
    return (
        f"{inside:.0%} of the tracks lie as near to a public track as 95 % of the public tracks lie to another, and in "
        f"this space they {told} public ones (AUC {apart.auc:.2f} [{apart.ci_low:.2f}, {apart.ci_high:.2f}])."
    )


def covered(nearest, among):
    """Share of one's own tracks that lie as near to a public one as 95 % of the public tracks lie to another."""
    return float((nearest["cosine"] >= np.quantile(among, 0.05)).mean())


def together(own, public, rng):
    """Both sides as one, for a map: all own tracks and at most `DRAWN` public ones.

    Returns
    -------
    (Vectors, ndarray of bool)
        Whether a vector is one's own. Own ids get the prefix ``own/``, public ones ``public/``.
    """
    kept = np.sort(rng.choice(len(public), min(DRAWN, len(public)), replace=False))
    ids = [f"own/{name}" for name in own.ids] + [f"public/{name}" for name in public.ids[kept]]
    both = Vectors.of(ids, np.concatenate([own.values, public.values[kept]]))
    return both, np.char.startswith(both.ids.astype(str), "own/")


def _shown(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _verdict(own, public):
    if 0 < public < 1:  # a share
        similar = abs(own - public) <= 0.1 and public / 2 <= own <= public * 2
        return "similar" if similar else "higher" if own > public else "lower"
    ratio = own / public
    if 0.5 <= ratio <= 2:
        return "similar"
    return ("far " if ratio < 0.1 or ratio > 10 else "") + ("fewer" if ratio < 1 else "more")


def _unit(values):
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


def _nearest(asked, tracks, own_code, codes):
    """Row and cosine of the nearest track of another group."""
    rows, cosines = [], []
    for first in range(0, len(asked), BLOCK):
        block = asked[first : first + BLOCK] @ tracks.T
        block[own_code[first : first + BLOCK, None] == codes[None, :]] = -np.inf
        rows.append(block.argmax(axis=1))
        cosines.append(block.max(axis=1))
    return np.concatenate(rows), np.concatenate(cosines)


def _held_out_scores(values, label, codes, seed):
    """Scores of a classifier that has seen no track of the group."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    width = max(2, min(50, values.shape[1], len(values) // 10))
    components = PCA(width, random_state=seed, svd_solver="full")
    line = LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000)
    model = make_pipeline(StandardScaler(), components, StandardScaler(), line)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    return cross_val_predict(model, values, label, groups=codes, cv=folds, method="decision_function")


def _resampled(label, codes, rng):
    """Weights of the tracks when the groups of each side are drawn again."""
    weights = np.zeros(len(label))
    for side in (0, 1):
        mine = label == side
        found = np.unique(codes[mine])
        times = np.bincount(rng.choice(found, len(found)), minlength=codes.max() + 1)
        weights[mine] = times[codes[mine]]
    return weights


def _auc(label, scores, weights):
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(label, scores, sample_weight=weights))
