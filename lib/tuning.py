"""Hyper-parameters chosen on validation, and kept where every later run finds them.

``make extended`` searches and writes ``params/tuned/<study>.json``; ``make workbook`` reads it. The file is part of the
repository, like the rest of params: it holds no times and no paths, so the same search writes the same bytes.
"""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock

from lib.tables import write_atomically

VALIDATION = ("val", "cold_val")
DECIMALS = 9  # scores equal to so many decimals are equal: the first in the grid wins


class TuningError(ValueError):
    """A search cannot be made or read; the sentence says why."""


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
    return table, combinations[int(table["validation"].round(DECIMALS).argmax())]


def tune(kind: str, fixed: dict, grid: dict, train, vectors, task, seed: int, *, progress=None):
    """Search for the options of a recommender on a validation task.

    Parameters
    ----------
    kind : str
        A key of `lib.recommenders.KINDS`.
    fixed : dict
        Options that stay the same.
    grid : dict of str to list
    train : DataFrame
        Pairs to learn from.
    vectors : Vectors or None
    task : lib.evaluation.Task
        ``val`` or ``cold_val``: test users are never asked.
    seed : int
        Every combination starts from it.
    progress : callable, optional

    Returns
    -------
    table, winner
        As from `search`.

    Raises
    ------
    TuningError
        For a test task, and as from `search`.

    Examples
    --------
    >>> tune("ease", {}, {"l2": [100, 300]}, train, None, tasks["val"], 42)[1]  # doctest: +SKIP
    {'l2': 300}
    """
    from lib.evaluation import validator
    from lib.recommenders import create

    if task.name not in VALIDATION:
        raise TuningError(
            f"Expected the task {' or '.join(VALIDATION)}, found {task.name}; options are never chosen on test users."
        )
    both = sorted(set(fixed) & set(grid))
    if both:
        raise TuningError(f"Expected options either fixed or in the grid, found {', '.join(both)} in both; drop one.")
    validate = validator(task)

    def fit(model):
        model.fit(train, vectors, np.random.default_rng(seed), validate=validate)

    return search(lambda **options: create(kind, **fixed, **options), grid, fit, validate, progress=progress)


def write(path, name: str, kind: str, fixed: dict, grid: dict, table: pd.DataFrame, winner: dict, seed: int) -> None:
    """Keep a search under the name of a recommender, in place of its last one; those of others stay.

    Parameters
    ----------
    path : Path
        ``params/tuned/<study>.json``.
    name : str
        Of the recommender in ``recommender_table``.
    kind : str
    fixed, grid, winner : dict
    table : DataFrame
        From `search`; its seconds are not kept.
    seed : int
    """
    path = Path(path)
    values = table["validation"].round(DECIMALS)
    entry = {
        "kind": kind,
        "fixed": fixed,
        "grid": grid,
        "validation": [None if np.isnan(value) else value for value in values.tolist()],
        "winner": winner,
        "seed": seed,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        kept = _read(path) | {name: entry}
        with write_atomically(path) as beside:
            beside.write_text(json.dumps(kept, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def read(path, name: str, kind: str) -> dict:
    """Options a recommender was found to be best with; none where nobody has searched.

    Parameters
    ----------
    path : Path
        ``params/tuned/<study>.json``; it need not exist.
    name : str
    kind : str
        Of the recommender now.

    Returns
    -------
    dict
        Fixed options and those of the winner, for `lib.recommenders.create`.

    Raises
    ------
    TuningError
        For a damaged file, and where the name stood for another kind when it was tuned.

    Examples
    --------
    >>> read("no such file", "bpr", "bpr")
    {}
    """
    path = Path(path)
    entry = _read(path).get(name)
    if entry is None:
        return {}
    if entry["kind"] != kind:
        raise TuningError(
            f"Expected {name!r} in {path.name} to be of kind {kind}, found {entry['kind']}; run make extended again."
        )
    return entry["fixed"] | entry["winner"]


def _read(path: Path) -> dict:
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TuningError(f"Expected JSON in {path.name}, found: {error}; delete it and run make extended.") from None
