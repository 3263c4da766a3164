"""Probes: how well a small model reads a label off frozen vectors, on recordings it has not seen.

Standard errors over folds follow C. Nadeau and Y. Bengio, 'Inference for the generalization error', Machine Learning
52, 2003: folds share training tracks, so that sd / sqrt(folds) is too small.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from lib.evaluation import keys

__all__ = ["FOLDS", "SCORES", "chosen"]


SCORES = {
    "classification": "balanced accuracy",
    "regression": "R²",
    "key": "MIREX-weighted score",
    "tags": "mean ROC AUC",
}
_RIDGE = (10.0, 100.0, 1000.0, 10000.0)
STRENGTHS = {
    "classification": (0.003, 0.03, 0.3),  # C of the logistic regression
    "regression": _RIDGE,  # alpha
    "key": (0.003, 0.03, 0.3),
    "tags": _RIDGE,
}
FOLDS = 5  # of groups; each is judged by what the others taught
MODELS = ("linear", "mlp")
MLP_STRENGTHS = (10.0, 100.0)  # alpha
MLP_WIDTH = 32
_MOST_STEPS = 200
_MLP_STEPS = 40


class ProbeError(ValueError):
    """A label cannot be probed; the sentence says why."""


class Fold(NamedTuple):
    """Rows of one outer fold.

    Attributes
    ----------
    train, test : ndarray of int
    inner : tuple of (ndarray, ndarray)
        Rows to learn from and to judge by where the strength is chosen; all of them among `train`.
    chance : float
        Score on `test` of what ignores the vectors: the commonest class, or the mean, of `train`.
    """

    train: np.ndarray
    test: np.ndarray
    inner: tuple
    chance: float


class Plan(NamedTuple):
    """What is asked and of whom, the same for every space.

    Attributes
    ----------
    task : {'classification', 'regression', 'key', 'tags'}
    labels : ndarray
        One a row of the vectors, of tags a row of 0 and 1; those of rows that are in no fold count nowhere.
    folds : tuple of Fold
    left_out : int
        Rows without a label, or of a class in fewer groups than there are folds.
    """

    task: str
    labels: np.ndarray
    folds: tuple
    left_out: int


def plan(labels, groups, rng, *, task="classification", n_folds=FOLDS, n_inner=3):
    """Draw the folds of a probe.

    Parameters
    ----------
    labels : sequence, shape (n,)
        Classes, or numbers for a regression; None, NaN and the empty text are no label. Keys as in
        ``lib.evaluation.keys.NAMES``; tags as from `lib.evaluation.tags.tag_matrix`, a row without any is unlabelled.
    groups : sequence, shape (n,)
        Recording or artist: rows of one group are never on both sides, in outer and in inner folds.
    rng : numpy Generator
    task : {'classification', 'regression', 'key', 'tags'}
        Folds of classes and keys also have like shares of them.
    n_folds, n_inner : int
        Outer folds to judge by, inner ones to choose by; at least 2.

    Returns
    -------
    Plan

    Raises
    ------
    ProbeError
        If the task is unknown, there are fewer groups than folds need, or nothing is left to tell apart.

    Examples
    --------
    >>> len(plan(list("ab") * 10, range(20), np.random.default_rng(0)).folds)
    5
    """
    if task not in SCORES:
        raise ProbeError(f"Expected a task among {', '.join(SCORES)}, found {task!r}; choose one of them.")
    groups = pd.factorize(np.asarray(groups).astype(str))[0]
    if len(labels) != len(groups):
        raise ProbeError(f"Expected a group for each of {len(labels)} labels, found {len(groups)}; give one a row.")
    if task == "tags":
        target = np.asarray(labels, dtype=float)
        rows = _tagged(target, groups, n_folds)
    else:
        values = pd.Series(labels).reset_index(drop=True)
        rows = _usable(values, groups, task, n_folds)
        target = values.to_numpy(dtype=float) if task == "regression" else values.astype(str).to_numpy(dtype=str)
    folds = []
    for train, test in _split(rows, target, groups, rng, task, n_folds):
        inner = tuple(_split(train, target, groups, rng, task, n_inner))
        folds.append(Fold(train, test, inner, _chance(target, train, test, task)))
    return Plan(task, target, tuple(folds), len(groups) - len(rows))


def score(vectors, drawn, model="linear"):
    """Judge one space by a plan: standardise, choose the strength on inner folds, learn on all of train, judge.

    Parameters
    ----------
    vectors : ndarray, shape (n, dim)
        Rows as the labels of the plan.
    drawn : Plan
    model : {'linear', 'mlp'}
        Logistic regression, or ridge regression for numbers and tags; or a network of one hidden layer of 32 units,
        which starts from the same weights each time and chooses its strength on the first inner fold alone: time.

    Returns
    -------
    DataFrame
        One row an outer fold: ``fold, score, inner, chance, strength, n_train, n_test``. Scores are as `SCORES` says;
        predicted numbers are held within the range of the labels seen: a dimension that hardly varies in train would
        throw them far off. `inner` is the mean over inner folds at the strength that was chosen by it. Of keys there
        is also ``exact``: balanced accuracy over the classes, as if no other key were any good.

    Raises
    ------
    ProbeError
        If there are not as many vectors as labels.

    Examples
    --------
    >>> drawn = plan(list("ab") * 10, range(20), np.random.default_rng(0))
    >>> score(np.eye(2)[[0, 1] * 10], drawn)["score"].tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    import sklearn

    vectors = np.asarray(vectors, dtype=np.float64)
    if vectors.ndim != 2 or len(vectors) != len(drawn.labels):
        raise ProbeError(
            f"Expected a row of vectors for each of {len(drawn.labels)} labels, found an array of shape "
            f"{vectors.shape}; take the vectors of the same tracks in the same order."
        )
    strengths = STRENGTHS[drawn.task] if model == "linear" else MLP_STRENGTHS
    rows = []
    with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
        for number, fold in enumerate(drawn.folds):
            inner = fold.inner if model == "linear" else fold.inner[:1]
            tried = np.mean([_path(vectors, drawn, *split, strengths, model)[0] for split in inner], axis=0)
            best = int(tried.argmax())
            strength = strengths[best]
            found, exact = _path(vectors, drawn, fold.train, fold.test, (strength,), model)
            rows.append((number, found[0], tried[best], fold.chance, strength, len(fold.train), len(fold.test), *exact))
    columns = ["fold", "score", "inner", "chance", "strength", "n_train", "n_test"]
    return pd.DataFrame(rows, columns=[*columns, *(("exact",) if drawn.task == "key" else ())])


def probe(vectors, labels, groups, rng, *, task="classification", n_folds=FOLDS, n_inner=3):
    """Draw folds and judge one space by them: `score` of `plan`, whose parameters and errors it has.

    Returns
    -------
    DataFrame
        As from `score`.

    Examples
    --------
    >>> float(probe(np.eye(2)[[0, 1] * 10], list("ab") * 10, range(20), np.random.default_rng(0))["chance"].mean())
    0.5
    """
    return score(vectors, plan(labels, groups, rng, task=task, n_folds=n_folds, n_inner=n_inner))


def together(tracks, columns):
    """Groups of tracks that share a value of any of some columns, directly or by way of others.

    Parameters
    ----------
    tracks : DataFrame
    columns : list of str
        Those that are not there are passed over; missing and empty values join nothing.

    Returns
    -------
    ndarray of int, shape (n,)
        A number a row, equal within a group.

    Examples
    --------
    >>> tracks = pd.DataFrame({"score": ["a", "a", "b", "c"], "artist": ["x", "y", "y", ""]})
    >>> together(tracks, ["score", "artist"]).tolist()
    [0, 0, 0, 1]
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n = len(tracks)
    rows, nodes, first_free = [np.arange(n)], [np.arange(n)], n
    for column in (name for name in columns if name in tracks):
        codes = pd.factorize(tracks[column].replace("", np.nan))[0]
        known = np.flatnonzero(codes >= 0)
        rows.append(known)
        nodes.append(first_free + codes[known])
        first_free += codes.max(initial=-1) + 1
    rows, nodes = np.concatenate(rows), np.concatenate(nodes)
    links = coo_matrix((np.ones(len(rows)), (rows, nodes)), shape=(first_free, first_free))
    return connected_components(links, directed=False)[1][:n]


def summarise(folds, alpha=0.05):
    """Mean over folds with its standard error and interval.

    Parameters
    ----------
    folds : DataFrame
        ``score, n_train, n_test`` of one probe, as from `score`.
    alpha : float
        1 less the interval's coverage.

    Returns
    -------
    dict
        ``value, se, ci_low, ci_high, p, n_folds``: corrected standard error, t interval with folds - 1 degrees of
        freedom, two-sided p of a mean of 0.

    Examples
    --------
    >>> round(float(summarise(pd.DataFrame({"score": [1.0, 3.0], "n_train": 10, "n_test": 10}))["se"]), 3)
    1.732
    """
    from scipy import stats

    scores, n = folds["score"].to_numpy(), len(folds)
    value = scores.mean()
    se = scores.std(ddof=1) * np.sqrt(1 / n + (folds["n_test"] / folds["n_train"]).mean())
    half = stats.t.ppf(1 - alpha / 2, n - 1) * se
    p = 2 * stats.t.sf(abs(value) / se, n - 1) if se > 0 else float(value == 0)
    return {"value": value, "se": se, "ci_low": value - half, "ci_high": value + half, "p": p, "n_folds": n}


def chosen(tried, names):
    """Choose among spaces in every fold by its training groups alone, and take the score on the groups held out.

    The best of many spaces by their scores is too good by luck; what is chosen here is judged on groups that had no
    part in the choice.

    Parameters
    ----------
    tried : DataFrame
        Rows as from `score` of several spaces under one plan.
    names : list of str
        Columns that name a space.

    Returns
    -------
    DataFrame
        One row a fold: that of the space with the best `inner`; of equal ones the first.

    Examples
    --------
    >>> rows = pd.DataFrame({"space": ["a", "b"], "fold": 0, "inner": [0.9, 0.1], "score": [0.4, 0.8]})
    >>> chosen(rows, ["space"])["score"].tolist()
    [0.4]
    """
    best = tried.groupby("fold", sort=True)["inner"].idxmax()
    return tried.loc[best, [*names, *(name for name in tried if name not in names)]].reset_index(drop=True)


def difference(folds, other, alpha=0.05):
    """Mean paired difference of two probes under one plan.

    Parameters
    ----------
    folds, other : DataFrame
        As from `score` or `chosen`.
    alpha : float
        1 less the interval's coverage.

    Returns
    -------
    dict
        As from `summarise`, of `folds` less `other`.

    Raises
    ------
    ProbeError
        If the two are not of the same folds.

    Examples
    --------
    >>> rows = pd.DataFrame({"fold": [0, 1], "score": [0.5, 0.7], "n_train": 8, "n_test": 2})
    >>> difference(rows, rows)["p"]
    1.0
    """
    same = ["fold", "n_train", "n_test"]
    left, right = (frame.sort_values("fold", ignore_index=True) for frame in (folds, other))
    if not left[same].equals(right[same]):
        raise ProbeError("Expected two probes under one plan, found other folds; score both with the same plan.")
    return summarise(left.assign(score=left["score"] - right["score"]), alpha)


def _usable(values, groups, task, n_folds):
    known = values.notna() & (values.astype(str) != "")
    if task != "regression":
        per_class = pd.Series(groups)[known].groupby(values[known].astype(str)).nunique()
        known &= values.astype(str).map(per_class).fillna(0) >= n_folds
    rows = np.flatnonzero(known)
    distinct = values[known].nunique()
    if len(set(groups[rows])) < n_folds or distinct < 2:
        raise ProbeError(
            f"Expected at least two values, each class in {n_folds} groups or more, found {distinct} such among "
            f"{len(set(groups[rows]))} groups; leave the label out, or ask for fewer folds."
        )
    return rows


def _tagged(target, groups, n_folds):
    rows = np.flatnonzero(target.any(axis=1))
    n_groups = len(set(groups[rows]))
    if n_groups < n_folds or target.shape[1] < 1:
        raise ProbeError(
            f"Expected tags of {n_folds} groups or more, found {target.shape[1]} tags among {n_groups} groups; leave "
            "the label out, or ask for fewer folds."
        )
    return rows


def _split(rows, target, groups, rng, task, n_folds):
    """Pairs of rows (train, test) that share no group."""
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    by_class = task in ("classification", "key")
    kind = StratifiedGroupKFold if by_class else GroupKFold
    folds = kind(n_folds, shuffle=True, random_state=int(rng.integers(2**31)))
    for train, test in folds.split(rows, target[rows] if by_class else None, groups[rows]):
        if len(np.unique(target[rows[train]])) < 2:
            raise ProbeError("Expected two classes in every training set, found one; ask for fewer folds.")
        yield rows[train], rows[test]


def _path(vectors, drawn, train, test, strengths, model):
    """Scores on `test` of models learned on `train`, one a strength; and of keys also how many are exact."""
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(vectors[train])
    seen, unseen = scaler.transform(vectors[train]), scaler.transform(vectors[test])
    learned, true = drawn.labels[train], drawn.labels[test]
    learn = _linear if model == "linear" else _mlp
    predicted = [learn(seen, learned, unseen, drawn.task, strength) for strength in strengths]
    if drawn.task == "regression":
        predicted = np.clip(predicted, learned.min(), learned.max())
    exact = [_judge(true, found, "classification") for found in predicted] if drawn.task == "key" else []
    return [_judge(true, found, drawn.task) for found in predicted], exact


def _linear(seen, learned, unseen, task, strength):
    from sklearn.linear_model import LogisticRegression, Ridge

    if task in ("regression", "tags"):
        return Ridge(alpha=strength).fit(seen, learned).predict(unseen)
    model = LogisticRegression(C=strength, class_weight="balanced", tol=1e-3, max_iter=_MOST_STEPS)
    return model.fit(seen, learned).predict(unseen)


def _mlp(seen, learned, unseen, task, strength):
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.utils.class_weight import compute_sample_weight

    options = {"hidden_layer_sizes": (MLP_WIDTH,), "solver": "lbfgs", "alpha": strength, "max_iter": _MLP_STEPS}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # few steps are part of how it is held back
        if task == "regression":
            mean, spread = learned.mean(), learned.std()
            return (
                MLPRegressor(random_state=0, **options).fit(seen, (learned - mean) / spread).predict(unseen) * spread
                + mean
            )
        model = MLPClassifier(random_state=0, **options)
        if task == "tags":
            return model.fit(seen, learned).predict_proba(unseen)
        return model.fit(seen, learned, sample_weight=compute_sample_weight("balanced", learned)).predict(unseen)


def _judge(true, predicted, task):
    if task == "regression":
        spread = ((true - true.mean()) ** 2).sum()
        return 1 - ((true - predicted) ** 2).sum() / spread if spread else np.nan
    if task == "key":
        return keys.mirex_score(true, predicted).mean()
    if task == "tags":
        return _mean_auc(true, predicted)
    codes = np.unique(true, return_inverse=True)[1]
    return (np.bincount(codes, weights=predicted == true) / np.bincount(codes)).mean()


def _mean_auc(true, predicted):
    """Mean area under the ROC curve over the tags that some tracks have and some have not; ties count half."""
    from scipy import stats

    n, positive = len(true), true.sum(axis=0)
    asked = (positive > 0) & (positive < n)
    if not asked.any():
        return np.nan
    ranks = stats.rankdata(predicted[:, asked], axis=0)
    true, positive = true[:, asked], positive[asked]
    return float((((ranks * true).sum(axis=0) - positive * (positive + 1) / 2) / (positive * (n - positive))).mean())


def _chance(target, train, test, task):
    from sklearn.dummy import DummyClassifier, DummyRegressor

    if task == "tags":
        return 0.5
    if task == "key":  # the best that one key for all can do, as far as train tells
        guesses = {
            name: keys.mirex_score(target[train], [name] * len(train)).mean() for name in np.unique(target[train])
        }
        best = max(guesses, key=guesses.get)
        return _judge(target[test], [best] * len(test), task)
    dummy = DummyRegressor() if task == "regression" else DummyClassifier(strategy="most_frequent")
    nothing = np.zeros((len(target), 1))
    return _judge(target[test], dummy.fit(nothing[train], target[train]).predict(nothing[test]), task)
