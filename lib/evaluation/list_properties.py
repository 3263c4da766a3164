"""The lists of every named recommender side by side: which there are, and what accuracy alone does not tell of them.

A line of these tables is what made some lists: a `lib.evaluation.results.Run`. Lines stand in the order of
``recommender_table``, ids alone after what learns from vectors. Lists are those of the first seed; scores are averaged
over seeds, as in all other tables. Measures are those of `lib.evaluation.beyond`.
"""

from dataclasses import astuple

import pandas as pd

from lib.evaluation import beyond, results
from lib.evaluation.results import NO_BACKEND, Run
from lib.evaluation.trainings import ID_ONLY
from lib.study.tables import read_parquet
from lib.study.text import mean_with_interval

__all__ = ["beyond_accuracy", "by_history", "by_popularity", "overview", "table"]


MEASURES = ("NDCG", "Coverage", "Gini", "Novelty", "PopularityLift", "Diversity", "KnownArtist")
OF_PLAYS = ("Novelty", "PopularityLift")  # the same for all cold tracks, which nobody has played
VECTORS, IDS, LISTENING = "vectors", "ids alone", "listening alone"
LINE = ["split", "recommender", "backend", "control", "line", "source"]
INTERVAL = ["k", "value", "ci_low", "ci_high", "n_users"]


def runs(study, backend, split):
    """What has lists of a split: on the real vectors of a backend, on none, and on ids in place of vectors.

    Parameters
    ----------
    study : Study
    backend : str
        A backend, or a key of `label_columns`.
    split : str

    Returns
    -------
    list of Run
        Of the named recommenders, in the order of ``recommender_table``; what the study's parameters no longer name
        is passed over.

    Examples
    --------
    >>> [label(run) for run in runs(study, "mfcc", "hot_test")]  # doctest: +SKIP
    ['knn', 'mostpop', 'shallow_net', 'shallow_net (ids alone)']
    """
    rows = results.current(study)
    rows = rows[rows["split"] == split]
    known = set(zip(rows["recommender"], rows["backend"], rows["control"], strict=True))
    return [
        run
        for name in study.parameters.recommender_table
        for run in (Run(name, backend), Run(name), Run(name, NO_BACKEND, ID_ONLY))
        if astuple(run) in known and study.path("recommendations", run.file(0, split)).is_file()
    ]


def label(run):
    """Name of a line: the recommender's, with a word on those that learn from ids alone.

    Examples
    --------
    >>> label(Run("hybrid", "none", "id_only"))
    'hybrid (ids alone)'
    """
    return f"{run.recommender} ({IDS})" if run.control == ID_ONLY else run.recommender


def overview(study, backend, splits):
    """Which lists there are of each named recommender.

    Parameters
    ----------
    study : Study
    backend : str
    splits : list of str

    Returns
    -------
    DataFrame
        Indexed by line; its kind, what it learns from, and for each split whether it has lists. A recommender
        without any has a line too.
    """
    listed = {split: runs(study, backend, split) for split in splits}
    rows = []
    for name, options in study.parameters.recommender_table.items():
        own = dict.fromkeys(run for found in listed.values() for run in found if run.recommender == name)
        kind = options.get("kind", name)
        rows += [
            {"line": label(run), "kind": kind, "learns from": _source(run)} | {s: run in listed[s] for s in splits}
            for run in own
        ] or [{"line": name, "kind": kind, "learns from": "–"} | dict.fromkeys(splits, False)]
    return pd.DataFrame(rows).set_index("line")


def beyond_accuracy(study, backend, todo, vectors, tracks):
    """Accuracy, coverage, popularity, diversity and the like of the lists of every line.

    Parameters
    ----------
    study : Study
        `n_bootstrap` counts.
    backend : str
    todo : dict of {str: Task}
        The first cut-off of each test split is used.
    vectors : Vectors or None
        Of the space in which diversity is measured, one for all; without it there is no diversity.
    tracks : DataFrame
        ``track_id, artist``; an empty artist is unknown, and where all are, nothing is said of known artists.

    Returns
    -------
    DataFrame
        ``split, recommender, backend, control, line, source, metric, k, value, ci_low, ci_high, n_users``, measures in
        the order of `MEASURES`, those of `OF_PLAYS` on hot tracks alone. Intervals as from
        `lib.evaluation.beyond.summarise`.

    Raises
    ------
    ValueError
        Where there are no lists at all.
    """
    train = results.parts(study)["train"]
    artists = tracks.set_index("track_id")["artist"].replace("", None).dropna()
    artists = artists if len(artists) else None
    metrics = results.current(study)
    metrics = metrics[(metrics["metric"] == "NDCG") & (metrics["seed"] == results.MEAN_OF_SEEDS)]

    def measured(run, split):
        task, k, rng = todo[split], todo[split].cutoffs[0], study.rng("bootstrap", split)
        lists = _lists(study, run, split)
        each = beyond.per_user(lists, train, k, vectors=vectors, artists=artists)
        found = beyond.summarise(lists, each, task.candidates, k, rng, n_resamples=study.parameters.n_bootstrap)
        of_run = metrics[["recommender", "backend", "control", "split", "k"]] == [*astuple(run), split, k]
        found = pd.concat([metrics[of_run.all(axis=1)], found])
        shown = [name for name in MEASURES if not (name in OF_PLAYS and "cold" in split)]
        found = found[found["metric"].isin(shown)]
        return found.sort_values("metric", key=lambda names: names.map(shown.index))

    return _of_all(study, backend, results.judged(todo), measured)[[*LINE, "metric", *INTERVAL]]


def by_history(study, backend, todo):
    """NDCG of every line for quarters of listeners by how many tracks they have in train.

    Parameters
    ----------
    study : Study
        `n_bootstrap` counts.
    backend : str
    todo : dict of {str: Task}
        The first cut-off of each test split is used.

    Returns
    -------
    DataFrame
        As from `beyond_accuracy`, with ``stratum`` in place of ``metric``: as from `lib.evaluation.beyond.by_history`.
    """
    train = results.parts(study)["train"]

    def measured(run, split):
        scores = results.per_user(study, run, split)[["user_id", f"NDCG@{todo[split].cutoffs[0]}"]]
        return beyond.by_history(scores, train, study.rng("bootstrap", split), n_resamples=study.parameters.n_bootstrap)

    return _of_all(study, backend, results.judged(todo), measured)[[*LINE, "stratum", *INTERVAL]]


def by_popularity(study, backend, todo):
    """NDCG of every line where only popular, or only unpopular, hot tracks count as what is to be found.

    Parameters
    ----------
    study, backend, todo
        As for `by_history`.

    Returns
    -------
    DataFrame
        As from `by_history`, strata as from `lib.evaluation.beyond.by_popularity`. Cold tracks have no plays to divide
        them by.
    """
    train, task = results.parts(study)["train"], todo["hot_test"]

    def measured(run, split):
        lists, rng = _lists(study, run, split), study.rng("bootstrap", split)
        found = beyond.by_popularity(
            lists, task.truth, train, task.cutoffs[:1], rng, n_resamples=study.parameters.n_bootstrap
        )
        return found[found["metric"] == "NDCG"]

    return _of_all(study, backend, [task.name], measured)[[*LINE, "stratum", *INTERVAL]]


def table(frame, column):
    """Values with their intervals as text: one row a line, one column a measure or stratum.

    Parameters
    ----------
    frame : DataFrame
        One split of what the functions above give.
    column : {'metric', 'stratum'}

    Returns
    -------
    DataFrame
        Rows and columns in the order in which they come; ``–`` where a line lacks a value.
    """
    wide = frame.assign(cell=mean_with_interval(frame)).pivot(index="line", columns=column, values="cell")
    wide = wide.loc[frame["line"].unique(), frame[column].unique()]
    return wide.fillna("–").rename_axis(index="recommender", columns=None)


def _of_all(study, backend, splits, measured):
    """What `measured` finds of every line on every split, with the columns that name the line."""
    frames = [
        measured(run, split).assign(
            split=split,
            recommender=run.recommender,
            backend=run.backend,
            control=run.control,
            line=label(run),
            source=_source(run),
        )
        for split in splits
        for run in runs(study, backend, split)
    ]
    if not frames:
        raise ValueError(
            f"Expected lists of named recommenders on {' or '.join(splits)}, found none; run 30_knn or 60_baselines."
        )
    return pd.concat(frames, ignore_index=True)


def _source(run):
    if run.control == ID_ONLY:
        return IDS
    return LISTENING if run.backend == NO_BACKEND else VECTORS


def _lists(study, run, split):
    return read_parquet(study.path("recommendations", run.file(0, split)))
