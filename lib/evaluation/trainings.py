"""Recommenders that are trained: every seed and control of a named one fitted, scored and saved, resumably.

A training depends on the study, the recommender's name, the control and the seed, never on the backend: with the same
draws everywhere, backends differ by their vectors alone.
"""

import pandas as pd

from lib import backends, evaluation, recommenders
from lib.backends import pseudo
from lib.backends.vectors import Vectors, VectorStore
from lib.evaluation import permutations, results
from lib.evaluation.results import Run
from lib.evaluation.statistics import labelled
from lib.study import devices
from lib.study.progress import progress as show
from lib.study.tables import read_parquet, upsert

__all__ = ["ID_ONLY", "convergence", "describe", "joined", "listen", "run", "run_all", "run_id_only"]


HISTORY_KEYS = ["recommender", "backend", "control"]
HISTORY_COLUMNS = [*HISTORY_KEYS, "seed", "epoch", "loss", "validation", "seconds", "stopped", "best_epoch", "scaling"]
ID_ONLY = "id_only"
PUBLISHED_LOSSES = {"bert4rec": "sequence_loss", "hybrid": "reconstruction_loss"}  # methods, of the validation pairs
STOPPED = {"early": "validation ceased to improve", "max_epochs": "for want of epochs"}


def listen(study, backend):
    """Vectors that a recommender learns from, under each control, from what a study has stored; see `spaces`."""
    store = VectorStore(study.path("vectors.lance"))
    return spaces(study, backend, pseudo.stored(study, backend), store)


def spaces(study, backend, vectors, store):
    """Vectors that a recommender learns from, under each control.

    Parameters
    ----------
    study : Study
        `n_seeds` and `n_trained_permutations` count.
    backend : str
        A backend, or a key of `label_columns`, which has no controls.
    vectors : Vectors
        The real ones.
    store : VectorStore
        Where the untrained twin's are.

    Returns
    -------
    dict of {str: list of Vectors}
        Control to one space a run: seeds for `real`, `untrained` and `random`, permutations for `shuffled`, each
        trained once (`lib.evaluation.statistics.trained_test` says what that costs).

    Examples
    --------
    >>> {control: len(runs) for control, runs in spaces(study, "mfcc", vectors, store).items()}  # doctest: +SKIP
    {'real': 3, 'shuffled': 5, 'random': 1}
    """
    p = study.parameters
    found = {"real": [vectors] * p.n_seeds}
    if backend in p.label_columns:
        return found
    if backend in backends.UNTRAINED:
        found["untrained"] = [store.read(backends.UNTRAINED[backend])] * p.n_seeds
    orders = [permutations.permutation(p.seed, number, len(vectors)) for number in range(p.n_trained_permutations)]
    found["shuffled"] = [Vectors(vectors.ids, vectors.values[order]) for order in orders]
    found["random"] = [pseudo.random_vectors(vectors, study.rng("random", backend))]
    return found


def describe(backend, by_control, named):
    """Say what will be trained on, and how often; gives the table of options, one line a recommender."""
    vectors = by_control["real"][0]
    often = ", ".join(f"{control} {len(runs)}" for control, runs in by_control.items())
    print(f"{backend}: {len(vectors)} tracks x {vectors.dim}; trainings of each: {often}")
    options = pd.DataFrame.from_dict(named, orient="index").astype(object)
    return options.where(options.notna(), "–")


def run(study, name, options, backend, by_control, todo, *, progress=show):
    """Train, score and save a named recommender under every control.

    Parameters
    ----------
    study : Study
    name : str
        In the table of params.
    options : dict
        Of the recommender, `kind` among them; of a variant also `of`, whose draws it shares, and `validate`: ``NDCG``
        or ``published``, the loss that ends its training.
    backend : str
        `results.NO_BACKEND` where there is no audio.
    by_control : dict of {str: list of Vectors or None}
        As `spaces` gives it.
    todo : dict of {str: Task}
    progress : callable

    Returns
    -------
    (DataFrame, DataFrame)
        Rows of ``metrics.parquet``, and of ``training.parquet`` (one an epoch; none of what needs no training).

    Examples
    --------
    >>> rows, history = run(study, "shallow_net", options, "mfcc", listen(study, "mfcc"), todo)  # doctest: +SKIP
    """
    jobs = [(control, number) for control, runs in by_control.items() for number in range(len(runs))]
    train = results.parts(study)["train"]
    scored, histories = {}, []
    for control, number in progress(jobs, label=f"{name} {backend}", unit="training"):
        model = _fitted(study, name, options, backend, control, number, train, by_control[control][number], todo)
        histories.append(_history(model, Run(name, backend, control), number))
        for split, task in _listed(model, todo).items():
            scored.setdefault((control, split), {})[number] = evaluation.recommend_and_score(model, task)
    rows = [_saved(study, Run(name, backend, control), split, runs) for (control, split), runs in scored.items()]
    history = pd.concat([frame for frame in histories if len(frame)] or [pd.DataFrame(columns=HISTORY_COLUMNS)])
    if len(history):
        upsert(study.path("training.parquet"), history, HISTORY_KEYS, ["seed", "epoch"])
    return pd.concat(rows, ignore_index=True), history


def run_all(study, named, backend, by_control, todo, *, progress=show):
    """Train, score and save several named recommenders.

    Parameters
    ----------
    named : dict of {str: dict}
        Name to options, as `Study.options` gives them; all else as for `run`.

    Returns
    -------
    (DataFrame, DataFrame)
        As from `run`, of all of them; None and an empty one for none.
    """
    fitted = [
        run(study, name, options, backend, by_control, todo, progress=progress) for name, options in named.items()
    ]
    return joined(fitted)


def run_id_only(study, name, options, todo, *, progress=show):
    """Train, score and save a named recommender that learns a vector of each train track from its listeners alone.

    What real vectors are held against on hot tracks: nothing of it depends on a backend, so it is saved once, under
    `results.NO_BACKEND`. Cold tracks have no such vector and are not scored.

    Parameters
    ----------
    study : Study
        `n_seeds` counts.
    name : str
        In the table of params.
    options : dict
        Of the recommender, `kind` among them, as for `run`; its `item_vectors` are put aside.
    todo : dict of {str: Task}
    progress : callable

    Returns
    -------
    (DataFrame, DataFrame)
        As from `run`.

    Raises
    ------
    ValueError
        Where another option makes sense with audio only, such as `targets` of cold tracks.

    Examples
    --------
    >>> rows, history = run_id_only(study, "hybrid", {"kind": "hybrid"}, todo)  # doctest: +SKIP
    """
    spaces_of = {ID_ONLY: [None] * study.parameters.n_seeds}
    return run(study, name, options | {"item_vectors": "none"}, results.NO_BACKEND, spaces_of, todo, progress=progress)


def _fitted(study, name, options, backend, control, number, train, vectors, todo):
    options = dict(options)
    draws, validate = options.pop("of", name), options.pop("validate", "NDCG")
    kind = options.pop("kind")
    if "device" in recommenders.options(kind):
        options = {"device": devices.claim(study.parameters.device)} | options
    model = recommenders.create(kind, **options)
    rng = study.rng(draws, control if control != "shuffled" else "real", str(number))
    # what ended a training is part of its name: the same options under another cut-off are another training
    judge = f"NDCG@{todo['val'].cutoffs[0]}" if validate == "NDCG" else validate
    folder = study.path("checkpoints", f"{name}.{backend}.{control}.{number}.{judge}")
    return model.fit(train, vectors, rng, validate=_validation(study, todo, validate, model), checkpoint=folder)


def _validation(study, todo, validate, model):
    """What ends a training: NDCG on validation listeners, or the published loss on what they played."""
    if validate == "NDCG":
        return evaluation.validator(todo["val"])
    if validate != "published" or model.kind not in PUBLISHED_LOSSES:
        raise ValueError(
            f"Expected validate NDCG or, of {' and '.join(PUBLISHED_LOSSES)}, published, found {validate!r} of "
            f"{model.kind}; check params."
        )
    val = results.parts(study)["val"]
    return lambda fitted: -getattr(fitted, PUBLISHED_LOSSES[model.kind])(val)


def _listed(model, todo):
    """What a model can list: those that know tracks by their listeners alone have nothing to say of cold ones."""
    cold = getattr(model, "scores_cold", model.needs_vectors)
    return {split: task for split, task in todo.items() if cold or "cold" not in split}


def _history(model, name, number):
    history = getattr(model, "history_", None)
    if history is None:
        return pd.DataFrame(columns=HISTORY_COLUMNS)
    frame = history.frame.assign(
        recommender=name.recommender,
        backend=name.backend,
        control=name.control,
        seed=number,
        stopped=history.stopped,
        best_epoch=history.best_epoch,
        scaling=getattr(model, "scaling_", None) or "none",
    )
    return frame[HISTORY_COLUMNS]


def _saved(study, name, split, by_seed):
    """Metrics of one control on one split; permutations keep no lists, as those of KNN."""
    if name.control == "shuffled":
        means = [_means(scores, number, split) for number, (_, scores) in by_seed.items()]
        results.save_permutations(study, name, pd.concat(means, ignore_index=True))
        by_seed = {0: (None, results.mean_of_seeds([scores for _, scores in by_seed.values()]))}
    return results.save_run(study, name, split, by_seed)


def _means(scores, number, split):
    means = scores.drop(columns="user_id").mean()
    return labelled(means.index, split=split, permutation=number, value=means.to_numpy())


def joined(fitted):
    """What several calls of `run` gave, as from one; None where there were none."""
    parts = []
    for frames in zip(*fitted, strict=True):
        parts.append(pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True))
    return tuple(parts) or (None, pd.DataFrame(columns=HISTORY_COLUMNS))


def histories(study):
    """Every epoch of every training so far, as in ``training.parquet``."""
    return read_parquet(study.path("training.parquet"), made_by="40_shallow_net or 50_bert4rec")


def convergence(history):
    """What trainings came to: one row a recommender, backend and control.

    Parameters
    ----------
    history : DataFrame
        Rows of ``training.parquet``.

    Returns
    -------
    DataFrame
        Trainings, the median epoch that was kept, epochs, seconds, the scalings used, why they stopped: a training
        that ran out of epochs might have become better.

    Examples
    --------
    >>> convergence(histories(study))["stopped"].unique()  # doctest: +SKIP
    array(['validation ceased to improve'], dtype=object)
    """
    each = history.groupby([*HISTORY_KEYS, "seed"], sort=False).agg(
        epochs=("epoch", "max"),
        seconds=("seconds", "sum"),
        best_epoch=("best_epoch", "first"),
        validation=("validation", "max"),
        scaling=("scaling", "first"),
        stopped=("stopped", "first"),
    )
    found = each.groupby(HISTORY_KEYS, sort=False).agg(
        trainings=("epochs", "size"),
        kept=("best_epoch", "median"),
        epochs=("epochs", "median"),
        seconds=("seconds", "sum"),
        validation=("validation", "mean"),
        scaling=("scaling", lambda kinds: ", ".join(sorted(set(kinds)))),
        stopped=("stopped", _stopped),
    )
    return found.round({"kept": 0, "epochs": 0, "seconds": 1, "validation": 3})


def _stopped(reasons):
    short = int((reasons == "max_epochs").sum())
    return STOPPED["early"] if not short else f"{short} of {len(reasons)} {STOPPED['max_epochs']}"
