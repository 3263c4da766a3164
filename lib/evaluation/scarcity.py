"""What is left of each recommender when there is less to learn from: shorter histories, or a smaller known catalogue.

Two axes, each a share of what train holds:

- ``history``: of each listener's train tracks a random share is kept, at least one, whatever their age: histories get
  shorter and nothing else changes.
- ``catalogue``: a random share of the train tracks is known; every pair with another track is taken away, and histories
  shrink with it. A listener who loses all counts 0, with every recommender.

Subsets are nested: what 10 % keeps, 25 % keeps too. What is judged never changes: the same listeners, the same pairs to
be found, the same candidates, and what a listener heard in the whole of train is listed in no cell.

Every cell (axis, share, draw, run) is kept as a small file in the study's ``scarcity/``: what was interrupted goes on
from there.
"""

import hashlib
import itertools
import json
from dataclasses import astuple

import numpy as np
import pandas as pd

from lib import evaluation, recommenders
from lib.backends import pseudo
from lib.backends.vectors import VectorStore
from lib.evaluation import results
from lib.evaluation.results import NO_BACKEND, Run
from lib.study import devices, provenance
from lib.study.ids import sorted_ids
from lib.study.progress import progress as show
from lib.study.tables import read_parquet, write_parquet

__all__ = ["collect", "hears_alone", "primary_backends", "sizes"]


AXES = ("history", "catalogue")
DRAWS = 3  # random subsets of each share
DRAWLESS = ("knn", "mostpop", "itemknn", "pop", "recbole_itemknn", "ease")  # kinds in which nothing is drawn: cheap
BY_VECTORS = ("knn", "shallow_net", "bert4rec")  # kinds to which a track is its vector, unless ids stand beside it
METRIC = "NDCG"
CELL = ["axis", "share", "draw", "recommender", "backend"]
COLUMNS = [*CELL, "split", "k", "user_id", "value"]
CHANCE = "chance"


def kept(train, axis, share, rng):
    """The pairs that a share of histories, or of the catalogue, leaves.

    Parameters
    ----------
    train : DataFrame
        Pairs ``user_id, track_id``, one row a user and track.
    axis : {'history', 'catalogue'}
    share : float
        In (0, 1].
    rng : numpy.random.Generator
        From the same state a smaller share keeps part of what a larger one does.

    Returns
    -------
    DataFrame
        Rows of `train`, in its order. At least one of each user, or of one track.

    Raises
    ------
    ValueError
        For an unknown axis, or a share outside (0, 1].

    Examples
    --------
    >>> train = pd.DataFrame({"user_id": ["u", "u", "u", "v"], "track_id": ["a", "b", "c", "a"]})
    >>> kept(train, "history", 0.05, np.random.default_rng(0))["user_id"].tolist()
    ['u', 'v']
    """
    if axis not in AXES:
        raise ValueError(f"Expected an axis among {', '.join(AXES)}, found {axis!r}.")
    if not 0 < share <= 1:
        raise ValueError(f"Expected a share above 0 and up to 1, found {share}; check scarcity_shares.")
    if axis == "history":
        drawn = pd.Series(rng.permutation(len(train)), index=train.index)
        by_user = drawn.groupby(train["user_id"].to_numpy())
        return train[by_user.rank(method="first") <= _rounded(share * by_user.transform("size"))]
    tracks = sorted_ids(train["track_id"])
    known = rng.permutation(tracks)[: int(_rounded(share * len(tracks)))]
    return train[train["track_id"].isin(known)]


def _rounded(numbers):
    """To the nearest whole number, halves up, and never to none."""
    return np.maximum(1, np.floor(numbers + 0.5))


def subset(study, train, axis, share, draw):
    """What `kept` leaves of a study's train in one draw; equal for all recommenders."""
    return kept(train, axis, share, study.rng("scarcity", axis, draw))


def sizes(study, axes=AXES):
    """What every share leaves to learn from, in the first draw.

    Parameters
    ----------
    study : Study
    axes : sequence of str

    Returns
    -------
    DataFrame
        ``axis, share, pairs, tracks, history, emptied``: pairs and distinct tracks of train, the median number of train
        tracks a judged listener keeps, and how many judged listeners keep none.
    """
    train, todo = results.parts(study)["train"], results.tasks(study)
    judged = np.unique(np.concatenate([todo[split].users for split in results.judged(todo)]))
    rows = []
    for axis in axes:
        for share in shares(study):
            left = subset(study, train, axis, share, 0)
            lengths = left["user_id"].value_counts().reindex(judged, fill_value=0)
            tracks = left["track_id"].nunique()
            rows.append((axis, share, len(left), tracks, float(lengths.median()), int((lengths == 0).sum())))
    return pd.DataFrame(rows, columns=["axis", "share", "pairs", "tracks", "history", "emptied"])


def shares(study):
    """Shares of a study in falling order, all of it first."""
    return sorted({1.0, *study.parameters.scarcity_shares}, reverse=True)


def runs(study):
    """What is tried at every share: named recommenders, each on its vectors.

    Parameters
    ----------
    study : Study
        `scarcity_recommenders` names them. KNN has all backends and labels, what is trained on vectors the one backend
        of the study.

    Returns
    -------
    dict of {Run: dict}
        Run to the options of its recommender, `kind` among them.

    """
    p, found = study.parameters, {}
    for name in p.scarcity_recommenders:
        if name not in p.recommender_table:
            continue  # inherited from base: this study has none of that name
        kind = p.recommender_table[name].get("kind", name)
        options = study.options(kind)[name]
        if kind == "knn":
            spaces = [*p.backend_ids, *p.label_columns]
        elif recommenders.needs_vectors(kind):
            spaces = [study.one_backend]
        else:
            spaces = [NO_BACKEND]
        found |= {Run(name, backend): options for backend in spaces if backend}
    return found


def primary_backends(study):
    """What one figure of all recommenders shows: the one backend of the study, and those that have none."""
    return [study.one_backend, NO_BACKEND]


def hears_alone(study, name):
    """Whether a named recommender knows tracks by their vectors alone, and by no listener of theirs."""
    options = study.parameters.recommender_table[name]
    return options.get("kind", name) in BY_VECTORS and not options.get("ids")


def n_draws(study, options):
    """How often each share is drawn for a recommender: one that is trained costs more, and is drawn less often."""
    return DRAWS if options["kind"] in DRAWLESS else min(DRAWS, study.parameters.n_seeds)


def collect(study, *, progress=show):
    """Scores of every listener in every cell: read where they are there, else fitted and kept.

    Parameters
    ----------
    study : Study
        At a share of 1 its own results are taken, where it has them.
    progress : callable

    Returns
    -------
    scores : DataFrame
        ``axis, share, draw, recommender, backend, split, k, user_id, value``: NDCG at the first cut-off of each test
        split, chance among the recommenders. Draw d of a share is of the same pairs for all; at a share of 1 draws are
        trainings, and all the same of what is not trained.
    left_out : dict of {str: str}
        Run to the sentence that says why it could not be fitted in some cell; it has no scores there.

    Examples
    --------
    >>> scores, left_out = collect(study)  # doctest: +SKIP
    """
    todo = results.tasks(study)
    parts = {"train": results.parts(study)["train"], "data": provenance.data_fingerprint(study.path("data"))}
    tracks = read_parquet(study.path("data", "tracks.parquet"))
    store = VectorStore(study.path("vectors.lance"))
    frames, left_out, spaces = [_chance(study, todo)], {}, {NO_BACKEND: None}
    jobs = [
        (run, options, axis, share, draw)
        for run, options in runs(study).items()
        for axis in AXES
        for share in shares(study)
        for draw in range(n_draws(study, options))
    ]
    for run, options, axis, share, draw in progress(jobs, label="scarcity", unit="cell"):
        seed = 0 if options["kind"] in DRAWLESS else draw
        whole = _of_study(study, run, seed, todo) if share == 1 else None
        if whole is None:
            if run.backend not in spaces:
                spaces[run.backend] = pseudo.vectors(study, tracks, store, run.backend)
            try:
                whole = _cell(study, run, options, axis, share, draw, spaces[run.backend], todo, parts)
            except recommenders.CannotFitError as sentence:
                left_out[f"{run.recommender} at {share:.0%} of the {axis}"] = str(sentence)
                continue
        cell = dict(zip(CELL, (axis, share, draw, run.recommender, run.backend), strict=True))
        frames.append(whole.assign(**cell)[COLUMNS])
    return pd.concat(frames, ignore_index=True), left_out


def _of_study(study, run, seed, todo):
    """Scores that the study itself has of a run, or None: a share of 1 is the study."""
    frames = []
    for split in results.judged(todo):
        path = study.path("per_user", run.file(seed, split))
        if not path.is_file() and (split == "hot_test" or _scores_cold(study, run)):
            return None
        frames += [_primary(pd.read_parquet(path), todo[split])] if path.is_file() else []
    return pd.concat(frames, ignore_index=True) if frames else None


def _scores_cold(study, run):
    return recommenders.needs_vectors(study.parameters.recommender_table[run.recommender].get("kind", run.recommender))


def _primary(scores, task):
    k = task.cutoffs[0]
    if f"{METRIC}@{k}" not in scores:
        raise ValueError(f"Expected {METRIC}@{k} among the study's scores on {task.name}, found none; run it again.")
    return pd.DataFrame({"split": task.name, "k": k, "user_id": scores["user_id"], "value": scores[f"{METRIC}@{k}"]})


def _chance(study, todo):
    """Exact chance, which no share and no draw changes."""
    frames = []
    for split in results.judged(todo):
        own = _primary(evaluation.chance(todo[split], todo[split].cutoffs[0]), todo[split])
        for axis in AXES:
            cells = itertools.product(shares(study), range(DRAWS))
            frames += [own.assign(axis=axis, share=share, draw=draw) for share, draw in cells]
    return pd.concat(frames, ignore_index=True).assign(recommender=CHANCE, backend=NO_BACKEND)[COLUMNS]


def _cell(study, run, options, axis, share, draw, vectors, todo, parts):
    """One cell, from its file if that was made of the same data, vectors and options."""
    path = study.path("scarcity", f"{axis}.{share:g}.draw{draw}", f"{run.recommender}.{run.backend}.parquet")
    of = _digest(study, run, options, vectors, todo, parts["data"])
    if path.is_file():
        found = pd.read_parquet(path)
        if found.attrs.get("made_of") == of:
            return found
    model = _fitted(study, run, options, draw, subset(study, parts["train"], axis, share, draw), vectors, todo)
    listed = getattr(model, "scores_cold", model.needs_vectors)
    splits = [split for split in results.judged(todo) if listed or split == "hot_test"]
    scored = [_primary(evaluation.recommend_and_score(model, todo[split])[1], todo[split]) for split in splits]
    found = pd.concat(scored, ignore_index=True)
    found.attrs["made_of"] = of
    write_parquet(found, path)
    return found


def _fitted(study, run, options, draw, train, vectors, todo):
    options = dict(options)
    kind = options.pop("kind")
    if "device" in recommenders.options(kind):
        options = {"device": devices.claim(study.parameters.device)} | options
    validate = evaluation.validator(todo["val"]) if "val" in todo else None
    # the draws of the study's own training: at a share of 1 the two are one
    rng = study.rng(run.recommender, "real", str(draw))
    return recommenders.create(kind, **options).fit(train, vectors, rng, validate=validate)


def _digest(study, run, options, vectors, todo, data):
    cutoffs = {split: task.cutoffs for split, task in todo.items()}
    words = json.dumps([astuple(run), options, study.parameters.seed, cutoffs, data], sort_keys=True)
    digest = hashlib.sha256(words.encode())
    if vectors is not None:
        digest.update(np.ascontiguousarray(vectors.values).view(np.uint8))
        digest.update("\0".join(vectors.ids).encode())
    return digest.hexdigest()[:16]
