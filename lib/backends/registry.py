"""Which backends there are: found in `lib.backends.networks`, listed and made by id; nothing heavy is imported.

Public: `REGISTRY`, `LABELS`, `UNTRAINED`, `PAPER_NAMES`, `discover`, `network_module`, `names`, `options`, `create`.
"""

import importlib
import inspect
from dataclasses import replace
from pathlib import Path

from lib.backends import networks

REGISTRY = {}  # id: Entry, in the order of tables and figures
LABELS = {}  # id: name in tables and figures
UNTRAINED = {}  # id: that of its twin with random weights
PAPER_NAMES = {}  # name in the papers: id


def discover():
    """Register the backends of all modules in `lib.backends.networks` that are not registered yet.

    Raises
    ------
    ValueError
        If an id is declared twice.
    """
    registered = {entry.adapter for entry in REGISTRY.values()}
    for stem in _stems():
        if stem not in registered:
            for name, entry in importlib.import_module(f"{networks.__name__}.{stem}").ENTRIES.items():
                _register(name, replace(entry, adapter=stem))


def network_module(name):
    """Return the module in `lib.backends.networks` that declares a backend."""
    if name not in REGISTRY:
        hint = f" Did you mean {PAPER_NAMES[name]!r}?" if name in PAPER_NAMES else ""
        raise ValueError(f"Expected a backend among {', '.join(REGISTRY)}, found {name!r}; choose one of them.{hint}")
    return importlib.import_module(f"{networks.__name__}.{REGISTRY[name].adapter}")


def names(*, twins=True):
    """List the ids that `create` knows.

    Parameters
    ----------
    twins : bool
        True lists the untrained twins too.

    Returns
    -------
    list of str
        In the fixed order of tables and figures.

    Examples
    --------
    >>> names(twins=False)[:3]
    ['mfcc', 'musicnn_msd', 'musicnn_mtt']
    """
    return [name for name in REGISTRY if twins or not name.endswith("_untrained")]


def options(name):
    """List the names of the options that `create` takes for a backend.

    Parameters
    ----------
    name : str
        One of `names()`.

    Returns
    -------
    list of str

    Examples
    --------
    >>> options("musicnn_untrained")
    ['calibration', 'seed']
    """
    return list(inspect.signature(network_module(name).create).parameters)[1:]


def create(name, **options):
    """Make a backend by its id.

    Parameters
    ----------
    name : str
        One of `names()`.
    **options
        What its module takes: `layer`, `pooling`, `weights`, `revision` and `device` where there is a choice. The
        untrained twins take `seed`, and those of networks with batch normalisations need `calibration` (waveforms or
        features of train clips).

    Returns
    -------
    Backend
        Frozen and ready.

    Raises
    ------
    ValueError
        If the id is unknown.

    Examples
    --------
    >>> create("mfcc").dim
    60
    """
    return network_module(name).create(name, **options)


def _stems():
    """Names of the modules in `networks`: in their fixed order, then those without a place in it."""
    found = {path.stem for folder in networks.__path__ for path in Path(folder).glob("*.py")} - {"__init__"}
    place = {stem: number for number, stem in enumerate(networks.ORDER)}
    return sorted(found, key=lambda stem: (place.get(stem, len(place)), stem))


def _register(name, entry):
    if name in REGISTRY:
        raise ValueError(
            f"Expected new ids of backends in {entry.adapter}.py, found {name!r}, which {REGISTRY[name].adapter}.py "
            "declares; rename it."
        )
    REGISTRY[name] = entry
    LABELS[name] = entry.label or name
    PAPER_NAMES.update(dict.fromkeys(entry.paper_names, name))
    if entry.untrained:
        UNTRAINED[name] = entry.untrained
