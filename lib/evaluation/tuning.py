"""Hyper-parameters chosen on validation, and kept where every later run finds them.

A search writes ``tuned.json`` among the study's results; ``make extended`` then copies it to
``params/tuned/<study>.json``, which ``make workbook`` reads. That file is part of the repository, like the rest of
params: it holds no times and no paths, so the same search writes the same bytes.

What the table of recommenders names is decided: it is never searched, and nothing that was found replaces it. What
was found holds for the options it was found beside: once the table names others, it is passed over.
"""

from __future__ import annotations

import itertools
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock

from lib.study.tables import write_atomically
from lib.study.tuned import TuningError, read_file

__all__ = ["close_calls", "keep", "noise", "searches", "tune", "write"]


VALIDATION = ("val", "cold_val")
DECIMALS = 9  # scores equal to so many decimals are equal: the first in the grid wins


def search(make, grid: dict, fit, validate, *, progress=None) -> tuple[pd.DataFrame, dict]:
    """Try every combination of a grid and keep the best on validation.

    Parameters
    ----------
    make : callable
        ``make(**options) -> model``, not yet fitted.
    grid : dict of str to list
        Values of each option, of JSON types; all combinations are tried, the last option varying fastest.
    fit : callable
        ``fit(model)``; draws, if any, from a generator it seeds the same each time.
    validate : callable
        ``validate(model) -> float``, higher is better.
    progress : callable, optional
        Wraps the combinations.

    Returns
    -------
    table : DataFrame
        One row a combination, in order: the options, ``validation`` (NaN where it could not be tried), ``seconds``
        and ``refused``, the sentence with which it was refused, else empty.
    winner : dict
        Options of the best; of equal ones the first.

    Raises
    ------
    TuningError
        For an empty grid, a validation that is not finite, or where every combination was refused.

    Examples
    --------
    >>> table, winner = search(dict, {"a": [1, 3, 2]}, lambda model: None, lambda model: model["a"])
    >>> winner
    {'a': 3}
    """
    combinations = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    if not grid or not combinations:
        raise TuningError(f"Expected a grid with values for each option, found {grid}; name some.")
    rows = []
    for options in progress(combinations) if progress else combinations:
        start = time.perf_counter()
        try:
            model = make(**options)
            fit(model)
        except ValueError as error:  # two options that do not go together, or too little memory
            rows.append([*options.values(), float("nan"), time.perf_counter() - start, str(error)])
            continue
        value = float(validate(model))
        if not np.isfinite(value):
            raise TuningError(f"Expected a finite validation, found {value} for {options}; check the validation users.")
        rows.append([*options.values(), value, time.perf_counter() - start, ""])
    table = pd.DataFrame(rows, columns=[*grid, "validation", "seconds", "refused"])
    if table["validation"].isna().all():
        raise TuningError(f"Expected a combination that can be tried, found none; the first: {rows[0][-1]}")
    return table, combinations[winner_row(table)]


@dataclass(frozen=True)
class Search:
    """What is to be searched for one named recommender.

    Attributes
    ----------
    name, kind : str
    fixed : dict
        Options that the table names.
    grid : dict of {str: list}
        Those to choose.
    """

    name: str
    kind: str
    fixed: dict
    grid: dict


def searches(table: dict, grids: dict, audio: bool) -> tuple[list[Search], list[str]]:
    """What is left to search, where the table of recommenders has not decided it.

    Parameters
    ----------
    table, grids : dict
        ``recommender_table`` and ``tuning_grids`` of params.
    audio : bool
        Whether there are vectors; without, what listens is left out.

    Returns
    -------
    list of Search
        In the order of `grids`.
    list of str
        A sentence for everything in `grids` that is not searched.

    Examples
    --------
    >>> searches({"ease": {"kind": "ease"}}, {"ease": {"l2": [1, 10]}}, audio=False)[0]
    [Search(name='ease', kind='ease', fixed={}, grid={'l2': [1, 10]})]
    """
    from lib.recommenders import create

    found, left_out = [], []
    for name, grid in grids.items():
        if name not in table:
            left_out.append(f"{name} is not in recommender_table.")
            continue
        kind = table[name].get("kind", name)
        fixed = {option: value for option, value in table[name].items() if option != "kind"}
        left_out += [f"{name}: recommender_table decides {option}." for option in grid if option in fixed]
        grid = {option: values for option, values in grid.items() if option not in fixed}
        if not audio and create(kind, **fixed).needs_vectors:
            left_out.append(f"{name}: there are no vectors.")
        elif grid:
            found.append(Search(name, kind, fixed, grid))
    return found, left_out


def tune(wanted: Search, train, spaces, task, seed: int, *, device: str = "cpu", progress=None):
    """Search for the options of a recommender on a validation task.

    Parameters
    ----------
    wanted : Search
    train : DataFrame
        Pairs to learn from.
    spaces : list of Vectors
        One a backend. What listens is fitted on each and judged by its mean over them, so that no backend gets the
        options that suit it best.
    task : lib.evaluation.Task
        ``val`` or ``cold_val``: test users are never asked.
    seed : int
        Every combination starts from it.
    device : str
        Where what is trained by torch is trained, unless the table names another; see `lib.study.devices.claim`.
    progress : callable, optional

    Returns
    -------
    table, winner
        As from `search`.
    scores : DataFrame
        NDCG at the primary cut-off: one row a user of the task, one column a combination that could be tried, named
        by its row in `table`.

    Raises
    ------
    TuningError
        For a test task, and as from `search`.

    Examples
    --------
    >>> tune(Search("ease", "ease", {}, {"l2": [100, 300]}), train, [], tasks["val"], 42)[1]  # doctest: +SKIP
    {'l2': 300}
    """
    from lib.evaluation.metrics import recommend_and_score, validator
    from lib.recommenders import create, options

    _check_search(wanted, task)
    validate, metric = validator(task), f"NDCG@{task.cutoffs[0]}"
    per_user = []
    fixed = {"device": device} | wanted.fixed if "device" in options(wanted.kind) else wanted.fixed
    spaces = spaces if create(wanted.kind, **fixed).needs_vectors else [None]

    def fit(models):
        for model, vectors in zip(models, spaces, strict=True):
            model.fit(train, vectors, np.random.default_rng(seed), validate=validate)

    def judge(models):
        found = [recommend_and_score(model, task)[1].set_index("user_id")[metric] for model in models]
        per_user.append(sum(found) / len(found))
        return per_user[-1].mean()

    def make(**tried):
        return [create(wanted.kind, **fixed | tried) for _ in spaces]

    table, winner = search(make, wanted.grid, fit, judge, progress=progress)
    return table, winner, pd.concat(per_user, axis=1, keys=table.index[table["refused"] == ""])


def _check_search(wanted, task):
    if task.name not in VALIDATION:
        raise TuningError(
            f"Expected the task {' or '.join(VALIDATION)}, found {task.name}; options are never chosen on test users."
        )
    both = sorted(set(wanted.fixed) & set(wanted.grid))
    if both:
        raise TuningError(f"Expected options either fixed or in the grid, found {', '.join(both)} in both; drop one.")


def winner_row(table: pd.DataFrame) -> int:
    """Row of the best combination in the table of `search`; of equal ones the first."""
    return int(table["validation"].round(DECIMALS).argmax())


def noise(table: pd.DataFrame, scores: pd.DataFrame, rng: np.random.Generator, *, n_resamples: int) -> pd.DataFrame:
    """How sure the choice is, had other users been there to validate on.

    Parameters
    ----------
    table, scores : DataFrame
        From `tune`.
    rng : numpy Generator
    n_resamples : int
        Bootstrap resamples of users.

    Returns
    -------
    DataFrame
        `table` with ``behind`` (the winner's validation less this one's), its 95 % interval ``ci_low, ci_high`` (BCa,
        paired by user) and ``wins``, the share of resamples in which this combination would have won. NaN where it
        could not be tried. All of it is noise of users; that of training seeds is not in it.

    Examples
    --------
    >>> table = pd.DataFrame({"a": [1, 2], "validation": [0.1, 0.2]})
    >>> scores = pd.DataFrame([[0.1, 0.2], [0.1, 0.2]])
    >>> noise(table, scores, np.random.default_rng(0), n_resamples=100)["wins"].tolist()
    [0.0, 1.0]
    """
    from lib.evaluation.statistics import bootstrap_means

    behind = -scores.sub(scores[winner_row(table)], axis=0)
    low, high = bootstrap_means(behind.to_numpy(), rng, n_resamples=n_resamples)
    values = scores.to_numpy()
    won = np.zeros(len(scores.columns))
    for _ in range(n_resamples):
        times = np.bincount(rng.integers(len(values), size=len(values)), minlength=len(values))
        won[np.argmax((times @ values / len(values)).round(DECIMALS))] += 1
    found = {"behind": behind.mean().to_numpy(), "ci_low": low, "ci_high": high, "wins": won / n_resamples}
    return table.join(pd.DataFrame(found, index=scores.columns))


def close_calls(judged: dict[str, pd.DataFrame], grids: dict[str, dict]) -> pd.DataFrame:
    """Winner and runner-up of every search.

    Parameters
    ----------
    judged : dict of {str: DataFrame}
        Name to table, from `noise`.
    grids : dict of {str: dict}
        Name to what was searched.

    Returns
    -------
    DataFrame
        Indexed by name: ``trials`` that the winner was chosen from, ``winner`` with its ``validation`` and share of
        ``wins``, ``runner_up`` and how far it is ``behind``, with its interval; ``edge`` names options whose least or
        largest of several numbers won: better ones may lie beyond.
    """
    rows = []
    for name, table in judged.items():
        tried = table.dropna(subset="validation")
        best = tried.loc[winner_row(table)]
        others = tried.drop(index=best.name)
        second = others.loc[others["validation"].idxmax()] if len(others) else None
        options = list(grids[name])
        rows.append(
            {
                "recommender": name,
                "trials": len(tried),
                "winner": in_words(best[options]),
                "validation": round(best["validation"], 3),
                "wins": round(best["wins"], 2),
                "runner_up": "–" if second is None else in_words(second[options]),
                "edge": ", ".join(option for option in options if _at_edge(grids[name][option], best[option])) or "–",
                "behind": "–" if second is None else "{behind:.3f} [{ci_low:.3f}, {ci_high:.3f}]".format(**second),
            }
        )
    return pd.DataFrame(rows).set_index("recommender")


def _at_edge(values, value) -> bool:
    ordered = all(isinstance(each, int | float) for each in values)  # words have no edge
    return ordered and len(values) > 2 and value in (min(values), max(values))


def write(path, wanted: Search, table: pd.DataFrame, winner: dict, seed: int) -> None:
    """Keep what a search found under the name of a recommender, in place of its last one; those of others stay.

    Parameters
    ----------
    path : Path
        ``runs/<study>/tuned.json``.
    wanted : Search
    table : DataFrame
        From `tune`; its seconds are not kept.
    winner : dict
    seed : int
    """
    path = Path(path)
    values = table["validation"].round(DECIMALS)  # in the order of the grid, which is therefore never sorted
    entry = {
        "kind": wanted.kind,
        "fixed": wanted.fixed,
        "grid": wanted.grid,
        "validation": [None if np.isnan(value) else value for value in values.tolist()],
        "winner": winner,
        "seed": seed,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        kept = dict(sorted((read_file(path) | {wanted.name: entry}).items()))
        with write_atomically(path) as beside:
            beside.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def keep(study) -> Path:
    """Copy what a study's search found to ``params/tuned/``, in place of what was there.

    Parameters
    ----------
    study : Study

    Returns
    -------
    Path
        ``params/tuned/<study>.json``.

    Raises
    ------
    TuningError
        Where the study has not searched.
    """
    found = study.path("tuned.json")
    if not found.is_file():
        raise TuningError(f"Expected a search of study {study.name}, found none; run 63_tuning first.")
    with write_atomically(study.tuned) as beside:
        shutil.copyfile(found, beside)
    return study.tuned


def in_words(options) -> str:
    """Options and their values, as text."""
    return ", ".join(f"{option} {word(value)}" for option, value in options.items())


def word(value) -> str:
    """A value as text, floats in their shortest form."""
    return f"{value:g}" if isinstance(value, float) else str(value)
