"""Variants of the named recommenders: the published settings one at a time, and every scaling, each against its own.

A variant shares the draws of the recommender it is a variant of, so that first weights and order are no difference.
"""

import numpy as np
import pandas as pd

from lib import recommenders
from lib.backends import scaling
from lib.evaluation import results, statistics, trainings
from lib.evaluation.results import Run
from lib.recommenders.knn import usable_scalings
from lib.study.progress import progress as show

__all__ = ["by_scaling", "effects", "run", "scaled", "table", "wrong_rows"]


DETERMINISTIC = ("knn",)  # kinds that one run tells all about


def table(study):
    """Variants of ``variant_table`` and the recommenders they belong to, with all their options.

    Parameters
    ----------
    study : Study

    Returns
    -------
    dict of {str: dict}
        Name to options, each recommender before its variants. A variant has those of the recommender it names as
        ``of``, except where it says otherwise.

    Raises
    ------
    ValueError
        Where a variant is of an unknown recommender, or has the name of one and other options.

    Examples
    --------
    >>> table(study)["shallow_net_item_anchor"]  # doctest: +SKIP
    {'kind': 'shallow_net', 'scaling': 'standardise', 'of': 'shallow_net', 'anchor': 'item'}
    """
    named = study.parameters.recommender_table
    found = {}
    for name, options in study.parameters.variant_table.items():
        of = options.get("of")
        if of not in named:
            raise ValueError(
                f"Expected variant {name!r} to be of a recommender among {', '.join(named)}, found {of!r}; "
                "check variant_table."
            )
        corrected = study.options(named[of].get("kind", of))[of]
        merged = corrected | options
        if name in named and merged != study.options(merged["kind"]).get(name, {}) | {"of": of}:
            raise ValueError(
                f"Expected variant {name!r} as it stands in recommender_table, found other options; rename it."
            )
        found |= {of: corrected, name: merged}
    of_each = list(dict.fromkeys(options.get("of", name) for name, options in found.items()))
    return {name: found[name] for of in of_each for name in found if found[name].get("of", name) == of}


def scaled(study, table, dim):
    """Every scaling of the recommenders of a table, as variants; those that scale nothing are passed over.

    Parameters
    ----------
    study : Study
    table : dict of {str: dict}
        As from `table`; its variants are passed over.
    dim : int
        Of the vectors.

    Returns
    -------
    dict of {str: dict}
        ``<name>_<scaling>`` to options, or the name alone for the scaling that the recommender has, by name, by search
        or by default; a scaling for which there are too few train tracks is left out.
    """
    usable = usable_scalings(results.parts(study)["train"]["track_id"].nunique(), dim)
    own = {name: recommenders.options(options["kind"]) | options for name, options in table.items()}
    return {
        name if full["scaling"] == kind else f"{name}_{kind}": table[name] | {"of": name, "scaling": kind}
        for name, full in own.items()
        if "of" not in full and "scaling" in full
        for kind in usable
    }


def run(study, table, backend, vectors, todo, n_runs, *, progress=show):
    """Train, score and save all of a table; what has been trained already is read from its checkpoint.

    Parameters
    ----------
    study : Study
    table : dict of {str: dict}
        As from `table` or `scaled`.
    backend : str
    vectors : Vectors
    todo : dict of {str: Task}
    n_runs : int
        Trainings of each variant; what they are variants of is trained `n_seeds` times, as in its own notebook.
    progress : callable

    Returns
    -------
    (DataFrame, DataFrame)
        Rows of ``metrics.parquet`` and of ``training.parquet``.
    """
    fitted = []
    for name, options in table.items():
        runs = n_runs if "of" in options else study.parameters.n_seeds
        runs = 1 if options["kind"] in DETERMINISTIC else runs
        fitted.append(trainings.run(study, name, options, backend, {"real": [vectors] * runs}, todo, progress=progress))
    return trainings.joined(fitted)


def effects(study, table, backend, todo, n_runs, *, metric="NDCG"):
    """What each variant scores more or less than the recommender it is of, on the test splits.

    Parameters
    ----------
    study : Study
        `n_bootstrap` counts.
    table : dict of {str: dict}
        As from `table`, all run.
    backend : str
    todo : dict of {str: Task}
        The first cut-off of each split is compared.
    n_runs : int
        As in `run`; older runs of more seeds are passed over.
    metric : str

    Returns
    -------
    DataFrame
        ``variant, of, split, backend, k, corrected, diff, ci_low, ci_high, lowest, highest, p, p_adjusted, n_users``.
        Scores are averaged within a listener over the seeds that both have; ``lowest`` and ``highest`` are the
        differences of single seeds. p: paired randomisation over listeners, Holm over all rows; the luck of the
        seeds is not in it.
    """
    rows = []
    for split in results.judged(todo):
        k = todo[split].cutoffs[0]
        for name, of in ((name, options["of"]) for name, options in table.items() if "of" in options):
            seeds = [_per_seed(study, Run(one, backend), split, f"{metric}@{k}", n_runs) for one in (name, of)]
            rows.append(
                _effect(study, list(zip(*seeds, strict=False)), split)
                | {"variant": name, "of": of, "split": split, "backend": backend}
            )
    frame = pd.DataFrame(rows).assign(p_adjusted=lambda found: statistics.holm(found["p"]))
    order = ["variant", "of", "split", "backend", "k", "corrected", "diff", "ci_low", "ci_high", "lowest", "highest"]
    return frame[[*order, "p", "p_adjusted", "n_users"]]


def _per_seed(study, run, split, label, n_runs):
    """Scores of the first seeds, each with a row a user."""
    files = [study.path("per_user", run.file(seed, split)) for seed in range(n_runs)]
    files = [file for file in files if file.is_file()]
    if not files:
        raise ValueError(f"Expected scores of {run.recommender} on {split}, found none; run it first.")
    return [pd.read_parquet(file)[["user_id", label]] for file in files]


def _effect(study, seeds, split):
    """Comparison of (variant, corrected) scores of each seed."""
    variant, corrected = (results.mean_of_seeds(frames) for frames in zip(*seeds, strict=True))
    label = corrected.columns[-1]
    rng = study.rng("variants", split)
    found = statistics.paired_difference(variant, corrected, rng, n_resamples=study.parameters.n_bootstrap).iloc[0]
    single = [ours[label].mean() - theirs[label].mean() for ours, theirs in seeds]
    return found.drop("metric").to_dict() | {
        "corrected": corrected[label].mean(),
        "lowest": min(single),
        "highest": max(single),
        "p": statistics.randomisation_p(variant, corrected, rng)[label],
    }


def by_scaling(rows, table, todo, *, metric="NDCG"):
    """Scores of every scaling on validation and test, first seed, and which one is best on validation here.

    Here: on this backend alone. KNN's ``auto`` chooses so; `lib.evaluation.tuning.tune` chooses by the mean over
    backends.

    Parameters
    ----------
    rows : DataFrame
        Rows of ``metrics.parquet`` from `run`.
    table : dict of {str: dict}
        As from `scaled`.
    todo : dict of {str: Task}
    metric : str

    Returns
    -------
    DataFrame
        Indexed by recommender and scaling, one column a split, and ``best``: whether validation is best here.
    """
    splits = ["val", *results.judged(todo)]
    keep = (rows["seed"] == 0) & (rows["metric"] == metric) & rows["split"].isin(splits)
    keep &= rows["k"] == rows["split"].map({split: todo[split].cutoffs[0] for split in splits})
    found = rows[keep & rows["recommender"].isin(table)].pivot(index="recommender", columns="split", values="value")
    named = [(options["of"], options["scaling"]) for options in (table[name] for name in found.index)]
    found.index = pd.MultiIndex.from_tuples(named, names=["recommender", "scaling"])
    order = [
        (name, kind) for name in dict.fromkeys(options["of"] for options in table.values()) for kind in scaling.SCALINGS
    ]
    found = found.loc[[key for key in order if key in found.index], splits]
    best = found.groupby("recommender")["val"].transform("max")
    return found.rename_axis(columns=None).assign(best=found["val"] == best)


def wrong_rows(train, vectors):
    """The pairs with every track replaced by the one whose row the published code looked up instead.

    It numbers tracks in one order and finds their vectors under these numbers in a table of another order.

    Parameters
    ----------
    train : DataFrame
        Pairs.
    vectors : Vectors
        Of more tracks than train holds, or as many.

    Returns
    -------
    DataFrame
        For the profiles of KNN; lists are of the right tracks.

    Examples
    --------
    >>> from lib.backends.vectors import Vectors
    >>> train = pd.DataFrame({"user_id": ["u", "u"], "track_id": ["c", "a"]})
    >>> wrong_rows(train, Vectors(np.array(["a", "b", "c"]), np.eye(3, dtype="float32")))["track_id"].tolist()
    ['a', 'b']
    """
    known = train[train["track_id"].isin(vectors.ids)]
    return known.assign(track_id=np.asarray(vectors.ids, dtype=object)[pd.factorize(known["track_id"])[0]])
