"""Results of a study on disk: lists, scores a user, metrics, comparisons, answers. One place knows their names."""

from dataclasses import dataclass

import pandas as pd
from filelock import FileLock

from lib import evaluation
from lib.study.tables import read_parquet, remove, upsert, write_parquet
from lib.study.text import mean_with_interval

__all__ = [
    "MEAN_OF_SEEDS",
    "METRIC_COLUMNS",
    "NO_BACKEND",
    "TEST_SPLITS",
    "Run",
    "at_primary",
    "current",
    "forget",
    "judged",
    "of_backends",
    "parts",
    "per_user",
    "run",
    "save_comparisons",
    "save_permutations",
    "save_run",
    "table",
    "tasks",
]


RUN_KEYS = ["split", "recommender", "backend", "control"]  # what is saved anew replaces all there was of it
METRIC_COLUMNS = ["study", *RUN_KEYS, "seed", "metric", "k", "value", "ci_low", "ci_high", "n_users"]
NO_BACKEND = "none"
MEAN_OF_SEEDS = -1
TEST_SPLITS = ("hot_test", "cold_test")


@dataclass(frozen=True)
class Run:
    """What made some lists: a named recommender on a backend's vectors under a control.

    Attributes
    ----------
    recommender : str
        A name from the table in params.
    backend : str
        'none' where there is no audio.
    control : {'real', 'shuffled', 'random', 'id_only', 'untrained', 'profile_swap'}
    """

    recommender: str
    backend: str = NO_BACKEND
    control: str = "real"

    def file(self, seed, split):
        """Name of the Parquet file of one seed and split."""
        return f"{self.recommender}.{self.backend}.{self.control}.seed{seed}.{split}.parquet"


PARTS = ("train", "val", "cold_val", "hot_test", "cold_test")


def parts(study):
    """The parts of a study's split, as {name: DataFrame}."""
    return {name: read_parquet(study.path("data", f"{name}.parquet")) for name in PARTS}


def tasks(study):
    """What there is to recommend in a study: {split: lib.evaluation.Task}, cut-offs as its parameters say."""
    p = study.parameters
    return evaluation.tasks(**parts(study), cutoffs_hot=tuple(p.cutoffs_hot), cutoffs_cold=tuple(p.cutoffs_cold))


def judged(todo):
    """Splits on which a study with the tasks `todo` is judged: hot tracks, and cold ones where it has any."""
    return [split for split in TEST_SPLITS if split in todo]


def at_primary(frame, todo):
    """Rows of the primary metric: NDCG at the first cut-off of each split.

    Parameters
    ----------
    frame : DataFrame
        ``split, metric, k`` and any others.
    todo : dict of {str: Task}

    Returns
    -------
    DataFrame
        Rows of splits that `todo` has, all columns.
    """
    k = frame["split"].map({split: task.cutoffs[0] for split, task in todo.items()})
    return frame[(frame["metric"] == "NDCG") & (frame["k"] == k)]


def run(study, name, model, todo):
    """Score a fitted, deterministic model on every task and save all of it.

    Parameters
    ----------
    study : Study
    name : Run
    model : Recommender
        Fitted.
    todo : dict of {str: Task}

    Returns
    -------
    DataFrame
        Rows of ``metrics.parquet``.
    """
    scored = {split: {0: evaluation.recommend_and_score(model, task)} for split, task in todo.items()}
    return pd.concat([save_run(study, name, split, by_seed) for split, by_seed in scored.items()], ignore_index=True)


def save_run(study, run, split, by_seed):
    """Save lists, scores a user and metrics of a run on one split, in place of all that was there of it.

    Parameters
    ----------
    study : Study
    run : Run
    split : str
    by_seed : dict of {int: (DataFrame or None, DataFrame)}
        Seed to (lists, scores a user). Lists are None for what has none: permutations, and exact chance.

    Returns
    -------
    DataFrame
        The rows of ``metrics.parquet`` of this run, the mean over seeds (averaged per user) as seed -1. Intervals are
        of the same resamples of users in all runs on a split.
    """
    _forget_files(study, run, split, keep=by_seed)
    rng = study.rng("bootstrap", split)
    rows = []
    for seed, (lists, per_user) in by_seed.items():
        if lists is not None:
            write_parquet(lists, study.path("recommendations", run.file(seed, split)))
        write_parquet(per_user, study.path("per_user", run.file(seed, split)))
        rows.append(_metric_rows(study, run, split, seed, per_user, rng))
    rows.append(_metric_rows(study, run, split, MEAN_OF_SEEDS, mean_of_seeds([p for _, p in by_seed.values()]), rng))
    rows = pd.concat(rows, ignore_index=True)
    upsert(study.path("metrics.parquet"), rows, RUN_KEYS, ["seed", "metric", "k"])
    return rows


def forget(study, run):
    """Remove all that there is of a run which can no longer be made, so that nothing is compared with it."""
    _forget_files(study, run, "*")
    for name in ("metrics", "training"):
        path = study.path(f"{name}.parquet")
        remove(path, recommender=run.recommender, backend=run.backend, control=run.control)


def _forget_files(study, run, split, keep=()):
    for folder in ("recommendations", "per_user"):
        kept = {run.file(seed, split) for seed in keep}
        for path in study.path(folder).glob(run.file("*", split)):
            if path.name not in kept:
                path.unlink()


def mean_of_seeds(frames):
    """Scores averaged over seeds within each user, so that seeds never count as users."""
    return pd.concat(frames).groupby("user_id", as_index=False).mean()


def per_user(study, run, split):
    """Scores a user of a run, averaged over its seeds.

    Returns
    -------
    DataFrame
        ``user_id`` and columns like ``NDCG@50``; None where the run is not there.
    """
    files = sorted(study.path("per_user").glob(run.file("*", split)))
    return mean_of_seeds([pd.read_parquet(file) for file in files]) if files else None


def per_seed(study, run, split):
    """Scores a user and seed of a run: ``user_id, seed`` and columns like ``NDCG@50``; None where it is not there."""
    files = {path.name.split(".")[3]: path for path in sorted(study.path("per_user").glob(run.file("*", split)))}
    frames = [pd.read_parquet(path).assign(seed=int(seed.removeprefix("seed"))) for seed, path in files.items()]
    return pd.concat(frames, ignore_index=True) if frames else None


def metrics(study):
    """All metrics of a study so far, as in ``metrics.parquet``."""
    return read_parquet(study.path("metrics.parquet"), made_by="30_knn or 60_baselines")


def current(study):
    """Metrics of what a study's parameters name now: what an earlier table or list of backends left is passed over.

    Parameters
    ----------
    study : Study

    Returns
    -------
    DataFrame
        Rows of ``metrics.parquet`` of recommenders of the table and of chance, on backends and labels of the study, of
        trained ones on those they are trained on.
    """
    p, frame = study.parameters, metrics(study)
    heard = [*p.backend_ids, *p.label_columns, NO_BACKEND]
    on = [NO_BACKEND, *study.trained_on]
    named = frame["recommender"].isin([*p.recommender_table, "chance"]) & frame["backend"].isin(heard)
    return frame[named & (frame["recommender"].isin(study.named("knn")) | frame["backend"].isin(on))]


def save_permutations(study, run, frame):
    """Add a run's metrics under every permutation to ``permutations.parquet``."""
    frame = frame.assign(recommender=run.recommender, backend=run.backend)
    order = ["recommender", "backend", "split", "permutation", "metric", "k", "value"]
    upsert(study.path("permutations.parquet"), frame[order], ["recommender", "backend", "split"], order[3:6])


def read_permutations(study):
    """Metrics under every permutation, as in ``permutations.parquet``."""
    return read_parquet(study.path("permutations.parquet"), made_by="30_knn, 40_shallow_net or 50_bert4rec")


def table(rows, index):
    """Means with intervals as text, the way tables of the workbook show them.

    Parameters
    ----------
    rows : DataFrame
        Rows of ``metrics.parquet``, of which the test splits and the means over seeds are shown.
    index : list of str
        Columns that name a line after split and cut-off.

    Returns
    -------
    DataFrame
        One column a metric.
    """
    shown = rows[rows["split"].isin(TEST_SPLITS) & (rows["seed"] == MEAN_OF_SEEDS)]
    shown = shown.assign(tracks=shown["split"].str.removesuffix("_test"), cell=mean_with_interval(shown))
    wide = shown.pivot(index=["tracks", "k", *index], columns="metric", values="cell")
    return wide[[name for name in evaluation.METRICS if name in wide]].rename(columns="{}@k".format)


def save_comparisons(study, frame):
    """Write comparisons of a study (see docs: contracts) in place of all there were of their kind, and give them back.

    Pairs of backends are one kind, a backend against its controls and references the other; other writers wait.
    """
    order = [
        *("study", "split", "recommender", "metric", "k", "backend_a", "control_a", "backend_b", "control_b"),
        *("diff", "ci_low", "ci_high", "p", "p_adjusted", "test", "n_users", "n_seeds", "n_permutations"),
    ]
    frame = frame.assign(study=study.name)[order].sort_values(order[:9], ignore_index=True)
    path = study.path("comparisons.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        kept = read_parquet(path) if path.is_file() else frame.head(0)
        kept = kept[of_backends(study, kept) != of_backends(study, frame).all()]
        both = pd.concat([part for part in (kept, frame) if len(part)], ignore_index=True)
        write_parquet(both.sort_values(order[:9], ignore_index=True), path)
    return frame


def of_backends(study, frame):
    """Tell which comparisons are of two backends, real vectors both, as a Series of bool."""
    return frame["backend_b"].isin(study.parameters.backend_ids) & (frame["control_b"] == "real")


def permuted(rows, recommender, split, metric, k):
    """Permuted runs of one recommender on one split, one row a permutation, one column a backend.

    Parameters
    ----------
    rows : DataFrame
        From `read_permutations`.
    recommender, split, metric : str
    k : int

    Returns
    -------
    DataFrame

    Examples
    --------
    >>> one = {"recommender": "knn", "split": "hot_test", "metric": "NDCG", "k": 5, "backend": "mfcc"}
    >>> rows = pd.DataFrame([one | {"permutation": 0, "value": 0.1}, one | {"permutation": 1, "value": 0.2}])
    >>> permuted(rows, "knn", "hot_test", "NDCG", 5)["mfcc"].tolist()
    [0.1, 0.2]
    """
    own = (rows["recommender"] == recommender) & (rows["split"] == split)
    own &= (rows["metric"] == metric) & (rows["k"] == k)
    return rows[own].pivot(index="permutation", columns="backend", values="value")


def _metric_rows(study, run, split, seed, scores, rng):
    rows = evaluation.summarise(scores, rng, n_resamples=study.parameters.n_bootstrap)
    rows = rows.assign(
        study=study.name, split=split, recommender=run.recommender, backend=run.backend, control=run.control, seed=seed
    )
    return rows[METRIC_COLUMNS]
