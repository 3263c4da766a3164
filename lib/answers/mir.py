"""What the vectors that are recommended from know of music: probes of MIR tasks, and which of them tell backends apart.

Public: `questions` (tasks as params ask them), `measured` (every fold of every probe, kept and resumed), `scores`,
`informative`, `mean_z`, `common`, `spaces`. What follows for recommendation is in `lib.answers.rq3`.
"""

import hashlib

import numpy as np
import pandas as pd

from lib import backends
from lib.evaluation import probes
from lib.evaluation.tags import separator_of, tag_matrix
from lib.study.provenance import file_hash
from lib.study.tables import upsert

__all__ = ["MEAN_Z", "common", "informative", "mean_z", "measured", "questions", "scores", "spaces"]


KINDS = {"class": "classification", "number": "regression", "key": "key", "tags": "tags"}
MEAN_Z = "mean z"
TIMES_SE = 2  # a probe is informative where backends spread by more than so many of its standard errors
_MADE = ["backend", "question", "made_of"]
_SPACE = ["label", "task", "model", "backend", "untrained"]


def questions(study, tracks):
    """Draw the folds of every task that params ask and the tracks have labels for.

    Parameters
    ----------
    study : Study
        `mir_labels` says which columns and of what kind (class, number, key, tags), `mir_groups` which columns are
        never on both sides of a fold.
    tracks : DataFrame

    Returns
    -------
    (dict of {str: Plan}, dict of {str: str})
        Those that can be asked, and why the others cannot.

    Examples
    --------
    >>> planned, refused = questions(study, tracks)  # doctest: +SKIP
    """
    p = study.parameters
    groups = probes.together(tracks, p.mir_groups)
    planned, refused = {}, {}
    for label, kind in p.mir_labels.items():
        if label not in tracks:
            refused[label] = "The tracks have no such column."
            continue
        values = tracks[label]
        if kind == "key":
            values = _keys(tracks, label)
        elif kind == "tags":
            values = tag_matrix(values, groups, separator_of(values))
        rng = study.rng("mir", label)
        try:
            planned[label] = probes.plan(values, groups, rng, task=KINDS[kind])
        except probes.ProbeError as error:
            refused[label] = str(error)
    return planned, refused


def spaces(study, store):
    """Backends whose vectors are probed: those of the study and their untrained twins, as {name: untrained}."""
    there = store.names()
    own = [name for name in study.parameters.backend_ids if name in there]
    twins = dict.fromkeys(backends.UNTRAINED[name] for name in own if name in backends.UNTRAINED)
    return dict.fromkeys(own, False) | {name: True for name in twins if name in there}


def measured(study, store, tracks, planned, progress):
    """Probe every backend and twin for every task, by a linear model and a small network.

    What was measured before on the same vectors, folds and code is read from ``mir_probes.parquet``; each backend is
    kept as soon as it is done.

    Parameters
    ----------
    study : Study
    store : VectorStore
    tracks : DataFrame
        Those of the plans, in their order; all have a vector of every backend.
    planned : dict of {str: Plan}
        From `questions`.
    progress : callable
        As ``lib.study.progress.progress``.

    Returns
    -------
    DataFrame
        ``label, task, model, backend, untrained`` and the columns of ``lib.evaluation.probes.score``; of a key two
        labels: `key` by balanced accuracy over classes and `key_mirex` by credit for near ones.
    """
    path = study.path("mir_probes.parquet")
    known = pd.read_parquet(path) if path.is_file() else pd.DataFrame(columns=_MADE)
    known = dict(list(known.groupby(_MADE)))
    untrained = spaces(study, store)
    todo = [(name, label) for name in untrained for label in planned]
    found, last = [], (None, None)
    for name, label in progress(todo, total=len(todo), label="probe", unit="probes"):
        if name != last[0]:
            last = (name, store.read(name).take(tracks["track_id"]))
        made_of = _made_of(last[1], planned[label])
        rows = known.get((name, label, made_of))
        if rows is None:
            rows = _probe(last[1], label, planned[label])
            rows = rows.assign(backend=name, untrained=untrained[name], question=label, made_of=made_of)
            upsert(path, rows, ["label", "model", "backend"], ["fold"])
        found.append(rows)
    columns = [*_SPACE, "fold", "score", "inner", "chance", "strength", "n_train", "n_test"]
    return pd.concat(found, ignore_index=True)[columns] if found else pd.DataFrame(columns=columns)


def scores(folds, alpha=0.05):
    """Mean over folds of every probe, with interval and chance.

    Parameters
    ----------
    folds : DataFrame
        As from `measured`.
    alpha : float
        1 less the intervals' coverage.

    Returns
    -------
    DataFrame
        ``label, task, model, backend, untrained, value, se, ci_low, ci_high, n_folds, chance``; standard errors
        corrected for folds that share training tracks.
    """
    rows = [
        dict(zip(_SPACE, key, strict=True)) | probes.summarise(of_space, alpha) | {"chance": of_space["chance"].mean()}
        for key, of_space in folds.groupby(_SPACE, sort=False)
    ]
    columns = [*_SPACE, "value", "se", "ci_low", "ci_high", "n_folds", "chance"]
    return pd.DataFrame(rows, columns=columns)


def informative(folds):
    """Which probes tell backends apart: spread over backends against the standard error behind it.

    All backends are judged on the same folds, and a fold that is hard for all of them spreads none: the error that
    counts is that of a backend's distance to the mean of all, fold by fold.

    Parameters
    ----------
    folds : DataFrame
        From `measured`; untrained twins do not count.

    Returns
    -------
    DataFrame
        ``label, task, model, n, spread, se, ratio, informative``: standard deviation over n backends; standard error of
        a backend's distance to their mean (root mean square over backends, corrected for folds that share training
        tracks as in ``lib.evaluation.probes.summarise``); and whether the first exceeds `TIMES_SE` times the second.

    Examples
    --------
    >>> told = {"label": "tempo", "task": "regression", "model": "linear", "untrained": False}
    >>> told |= {"n_train": 8, "n_test": 2}
    >>> rows = pd.DataFrame({"backend": ["a", "a", "b", "b"], "fold": [0, 1, 0, 1], "score": [0.1, 0.2, 0.8, 0.9]})
    >>> informative(rows.assign(**told))["informative"].tolist()
    [True]
    """
    rows = []
    own = folds[~folds["untrained"].astype(bool)]
    for key, of_probe in own.groupby(["label", "task", "model"], sort=False):
        wide = of_probe.pivot(index="fold", columns="backend", values="score")
        n = wide.shape[1]
        spread = float(wide.mean().std(ddof=1)) if n > 1 else np.nan
        one = of_probe.drop_duplicates("fold")
        shared = np.sqrt(1 / len(wide) + (one["n_test"] / one["n_train"]).mean())
        variances = wide.sub(wide.mean(axis=1), axis=0).var(ddof=1)
        se = float(shared * np.sqrt(variances.mean() * n / (n - 1))) if n > 1 else np.nan
        ratio = spread / se if se > 1e-12 else np.inf if spread > 1e-12 else np.nan
        rows.append((*key, n, spread, se, ratio, bool(ratio > TIMES_SE)))
    return pd.DataFrame(rows, columns=["label", "task", "model", "n", "spread", "se", "ratio", "informative"])


def mean_z(folds, told, alpha=0.05, model="linear"):
    """Mean over informative probes of how many standard deviations a backend lies above the mean backend.

    Each fold's scores are put on the scale of the backends' means and averaged over the probes; the folds are then
    summarised as those of one probe. Folds of two labels are drawn apart: which is averaged with which is arbitrary.

    Parameters
    ----------
    folds : DataFrame
        From `measured`.
    told : DataFrame
        From `informative`.
    alpha : float
        1 less the intervals' coverage.
    model : {'linear', 'mlp'}

    Returns
    -------
    DataFrame
        As from `scores`, label `MEAN_Z`; untrained twins on the scale of the backends. Intervals as of
        ``lib.evaluation.probes.summarise``; what mean and spread of so few backends err by is not in them. Empty where
        no probe is informative.
    """
    labels = told.loc[told["informative"].astype(bool) & (told["model"] == model), "label"]
    labels = [label for label in labels if f"{label}_mirex" not in set(labels)]  # a key counts once
    own = folds[(folds["model"] == model) & folds["label"].isin(labels)]
    if own.empty:
        return scores(own, alpha)
    real = own[~own["untrained"].astype(bool)].groupby(["label", "backend"])["score"].mean().groupby(level="label")
    mean, spread = own["label"].map(real.mean()), own["label"].map(real.std(ddof=1))
    own = own.assign(score=(own["score"] - mean) / spread, label=MEAN_Z, task="z", chance=np.nan)
    values = ["score", "chance", "n_train", "n_test"]
    return scores(own.groupby([*_SPACE, "fold"], sort=False)[values].mean().reset_index(), alpha)


def common(study, store, tracks):
    """Tracks with a vector of every backend that is probed, at most `mir_tracks` of them, drawn by whole groups."""
    for name in spaces(study, store):
        tracks = tracks[tracks["track_id"].isin(store.ids(name))]
    most = study.parameters.mir_tracks
    if len(tracks) > most:
        from lib.evaluation.layers import sample

        grouped = tracks.assign(_group=probes.together(tracks, study.parameters.mir_groups))
        tracks = sample(grouped, "_group", most, study.rng("mir tracks")).drop(columns="_group")
    return tracks.reset_index(drop=True)


def _keys(tracks, label):
    """Names of the 24 keys from columns of tonic and mode; missing where either is."""
    full = tracks[label].astype(str) + " " + tracks["mode"].astype(str) if "mode" in tracks else tracks[label]
    return full.where(full.isin(probes.keys.NAMES))


def _probe(vectors, label, plan):
    parts = []
    for model in probes.MODELS:
        rows = probes.score(vectors, plan, model).assign(label=label, task=plan.task, model=model)
        if plan.task == "key":
            classes = [len(np.unique(plan.labels[fold.test])) for fold in plan.folds]
            exact = rows.assign(task="classification", score=rows["exact"], chance=1 / np.array(classes))
            rows = pd.concat([exact, rows.assign(label=f"{label}_mirex")])
        parts.append(rows)
    rows = pd.concat(parts, ignore_index=True).drop(columns="exact", errors="ignore")
    return rows.sort_values(["label", "model", "fold"], ignore_index=True)  # as the file has them


def _made_of(vectors, plan):
    """Digest of the vectors, the labels, the folds and the code of the probes."""
    digest = hashlib.sha256(np.ascontiguousarray(vectors).tobytes())
    digest.update(repr((plan.task, plan.labels.shape, [fold.test.tolist() for fold in plan.folds])).encode())
    digest.update(np.ascontiguousarray(plan.labels).tobytes())
    digest.update((file_hash(probes.__file__) + file_hash(__file__)).encode())
    return digest.hexdigest()[:16]
