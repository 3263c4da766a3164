"""Recommenders: one contract, one module each, looked up by kind.

One's own is one file here, ``own_<name>.py``, with a class that fulfils the contract (docs/adding.md).
"""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

from lib.recommenders import option_models
from lib.recommenders.base import CannotFitError, Recommender
from lib.recommenders.option_models import OptionError
from lib.recommenders.ranking import top_k

__all__ = [
    "KINDS",
    "CannotFitError",
    "OptionError",
    "Recommender",
    "check",
    "create",
    "knn",
    "needs_vectors",
    "options",
    "own",
    "top_k",
]


# Modules are imported when asked for: some will need torch, which takes seconds to load.
KINDS = {
    "knn": ("lib.recommenders.knn", "KNN"),
    "mostpop": ("lib.recommenders.mostpop", "MostPop"),
    "itemknn": ("lib.recommenders.itemknn", "ItemKNN"),
    "pop": ("lib.recommenders.recbole.models", "Pop"),
    "recbole_itemknn": ("lib.recommenders.recbole.models", "RecBoleItemKNN"),
    "ease": ("lib.recommenders.recbole.models", "EASE"),
    "bpr": ("lib.recommenders.recbole.models", "BPR"),
    "lightgcn": ("lib.recommenders.recbole.models", "LightGCN"),
    "sasrec": ("lib.recommenders.recbole.sequential", "SASRec"),
    "recbole_bert4rec": ("lib.recommenders.recbole.sequential", "BERT4Rec"),
    "bert4rec": ("lib.recommenders.bert4rec", "Bert4Rec"),
    "shallow_net": ("lib.recommenders.shallow_net", "ShallowNet"),
    "bimodal": ("lib.recommenders.bimodal", "Bimodal"),
    "hybrid": ("lib.recommenders.hybrid", "Hybrid"),
}


def options(kind: str) -> dict:
    """Options of a kind of recommender, and what they are where nobody names them.

    Parameters
    ----------
    kind : str
        A key of `KINDS`.

    Returns
    -------
    dict
        Name to default.

    Raises
    ------
    ValueError
        For an unknown kind.

    Examples
    --------
    >>> options("knn")
    {'weighting': 'uniform', 'scaling': 'auto'}
    """
    if kind in option_models.OPTIONS:
        return option_models.defaults(kind)
    return {name: parameter.default for name, parameter in inspect.signature(_class(kind)).parameters.items()}


def needs_vectors(kind: str) -> bool:
    """Whether a kind of recommender learns from vectors of tracks.

    Examples
    --------
    >>> needs_vectors("knn"), needs_vectors("mostpop")
    (True, False)
    """
    return _class(kind).needs_vectors


def own(*, vectors: bool) -> list[str]:
    """Kinds that files ``own_*.py`` have added.

    Parameters
    ----------
    vectors : bool
        True lists those that learn from vectors of tracks, False the others.

    Returns
    -------
    list of str

    Examples
    --------
    >>> own(vectors=True)
    []
    """
    added = [kind for kind, (module, _) in KINDS.items() if module.rpartition(".")[2].startswith("own_")]
    return [kind for kind in added if needs_vectors(kind) == vectors]


def _class(kind: str):
    if kind not in KINDS:
        raise ValueError(f"Expected a recommender among {', '.join(KINDS)}, found {kind!r}; check params.")
    module, name = KINDS[kind]
    return getattr(importlib.import_module(module), name)


def check(kind: str, options: dict) -> None:
    """Check the options of a kind of recommender; of kinds of one's own their names alone, where they have no model.

    Parameters
    ----------
    kind : str
        A key of `KINDS`.
    options : dict

    Raises
    ------
    OptionError
        For an unknown kind, option or value.
    """
    if kind in option_models.OPTIONS or kind not in KINDS:
        option_models.check(kind, options)
        return
    known = list(inspect.signature(_class(kind)).parameters)
    unknown = sorted(set(options) - set(known))
    if unknown:
        takes = f"only {', '.join(known)}" if known else "no options"
        raise OptionError(f"Recommender {kind!r} takes {takes}; found {', '.join(unknown)}; check params.")


def create(kind: str, **options) -> Recommender:
    """Make a recommender.

    Parameters
    ----------
    kind : str
        A key of `KINDS`.
    **options
        Options of that recommender.

    Returns
    -------
    Recommender
        Not yet fitted.

    Raises
    ------
    ValueError
        For an unknown kind, option or value of an option.

    Examples
    --------
    >>> create("knn", scaling="standardise").scaling
    'standardise'
    """
    check(kind, options)
    return _class(kind)(**options)


def _register_own() -> None:
    """Add the recommenders of all files ``own_*.py`` beside this one to `KINDS`."""
    for path in sorted(path for folder in __path__ for path in Path(folder).glob("own_*.py")):
        module = importlib.import_module(f"{__name__}.{path.stem}")
        for found in vars(module).values():
            if not (inspect.isclass(found) and issubclass(found, Recommender) and found.__module__ == module.__name__):
                continue
            if not found.kind or found.kind in KINDS:
                raise ValueError(f"Expected a new kind of recommender in {path.name}, found {found.kind!r}; rename it.")
            KINDS[found.kind] = (module.__name__, found.__name__)
            if "Options" in vars(found):
                option_models.OPTIONS[found.kind] = found.Options


_register_own()
