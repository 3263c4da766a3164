"""A study: its parameters, checked against one model, and the paths of its results."""

import ast
import functools
import hashlib
import os
from pathlib import Path

from lib.study.parameters import MOCK, NO_LISTENERS, ROOT, Parameters, load_parameters
from lib.study.tuned import read_tuned

__all__ = ["READS"]


TOY = "toy"  # whose values the cells of notebooks hold
INJECTED = "# Parameters"  # first line of a cell that papermill injects
READS = "WORKBOOK_READS"  # environment variable: a file that takes the name of every parameter that a notebook reads
LITERALS = (str, int, float, bool, list, dict, tuple, type(None))


_OPENED = {}  # functions that are called when a notebook opens its study, by name


def on_open(function):
    """Call a function with every study that a notebook opens: so figures take its style without being imported here.

    Parameters
    ----------
    function : callable
        ``function(study)``; a later one of the same name takes its place.

    Returns
    -------
    callable
        The function itself.
    """
    _OPENED[function.__qualname__] = function
    return function


def open_study(namespace):
    """Open the study that a notebook's parameters describe, set its style and seeds, and say what runs.

    A parameter is what an executed ``parameters`` cell assigns (the one that names the study) or a cell that papermill
    has injected. Where the cell names another study than toy, a value that is still toy's is the cell's default and no
    choice: it does not override that study. What the notebook does not name comes from params/.

    Parameters
    ----------
    namespace : dict
        ``globals()`` of the notebook, right after its parameters cell.

    Returns
    -------
    Study

    Raises
    ------
    ParameterError
        For an unknown or ill-typed parameter.
    """
    given = _given(namespace)
    parameters = load_parameters(given.get("study_name", TOY), given)
    study = Study(parameters)
    print(study.describe())
    usual = load_parameters(study.name).model_dump()
    changed = {name: value for name, value in parameters.model_dump().items() if value != usual[name]}
    if changed:
        print(f"differs from params/{study.name}.yaml: " + ", ".join(f"{n}={v!r}" for n, v in changed.items()))
    _seed(parameters.seed)
    for function in _OPENED.values():
        function(study)
    return Study(_Noted(**parameters.model_dump())) if READS in os.environ else study


class _Noted(Parameters):
    """Parameters whose reads are noted: ``workflow/execute.py`` holds them against ``workflow/dag.py``."""

    def __getattribute__(self, name):
        if name in Parameters.model_fields:
            _note(name)
        return super().__getattribute__(name)


@functools.cache
def _note(name):
    with open(os.environ[READS], "a") as file:
        file.write(f"{name}\n")


def _given(namespace):
    """Parameters that a notebook sets: all that papermill injects, and what its own cell sets otherwise than toy."""
    cells = [cell for cell in namespace.get("In", []) if _names_study(cell) or _is_injected(cell)]
    injected = {name for cell in cells if _is_injected(cell) for name in _assigned(cell)}
    names = {name for cell in cells for name in _assigned(cell)}
    if not cells:  # not in a kernel: every literal, but for those that later cells leave
        found = [name for name, value in namespace.items() if _is_parameter(name, value)]
        first = namespace.setdefault("_parameters_at_first", found)
        return {name: namespace[name] for name in found if name in first or name in Parameters.model_fields}
    given = {name: namespace[name] for name in names if name in namespace}
    if given.get("study_name", TOY) == TOY:
        return given
    usual = load_parameters(TOY).model_dump()
    return {
        name: value
        for name, value in given.items()
        if name in injected or name not in usual or name == "study_name" or value != usual[name]
    }


def _assigned(cell):
    """Names that a cell assigns at its top level."""
    try:
        body = ast.parse(cell).body
    except SyntaxError:  # of IPython's own
        return []
    targets = [node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None) for node in body]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _names_study(cell):
    return "study_name" in _assigned(cell)


def _is_injected(cell):
    return cell.startswith(INJECTED)


def _seed(seed):
    """Seed the global generators; all draws that results depend on come from `Study.rng`."""
    import random

    import numpy as np

    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002


class Study:
    """Paths and parameters of one study.

    Parameters
    ----------
    parameters : Parameters

    Examples
    --------
    >>> Study(load_parameters("toy")).path("data", "tracks.parquet").name
    'tracks.parquet'
    """

    def __init__(self, parameters):
        self.parameters = parameters
        self.name = parameters.study_name
        self.runs = ROOT / parameters.runs_dir  # an absolute runs_dir stays as it is

    def path(self, *parts):
        """A path in the study's folder of results, ``<runs_dir>/<study_name>/…``."""
        return self.runs.joinpath(self.name, *parts)

    def cache(self, *parts):
        """A path in the cache that studies share, ``<runs_dir>/cache/…``; keyed by content, safe to delete."""
        return self.runs.joinpath("cache", *parts)

    def rng(self, *stream):
        """A generator for one purpose: the study's seed and the words and numbers of `stream` decide its draws."""
        import numpy as np

        words = [int.from_bytes(hashlib.sha256(str(word).encode()).digest()[:4], "little") for word in stream]
        return np.random.default_rng([self.parameters.seed, *words])

    @property
    def world(self):
        """'mock' where listeners are simulated, else 'real'."""
        return "mock" if self.parameters.listening_source == MOCK else "real"

    @property
    def listeners(self):
        """Whose listening it is, in words: 'simulated listeners', 'real listeners' or 'no listeners'."""
        return {"mock": "simulated", "real": "real" if self.has_listeners else "no"}[self.world] + " listeners"

    @property
    def trained_on(self):
        """Backends and labels whose vectors recommenders are trained on."""
        everything = [*self.parameters.backend_ids, *self.parameters.label_columns]
        return [name for name in everything if name in (self.parameters.trained_backends or everything)]

    @property
    def one_backend(self):
        """What a notebook on one backend is about: `backend` where the study has it, else its first, or nothing."""
        ids = self.parameters.backend_ids
        known = [*ids, *self.parameters.label_columns]
        return self.parameters.backend if self.parameters.backend in known else (ids[0] if ids else "")

    @property
    def has_listeners(self):
        """Whether there is any listening, simulated or real."""
        return self.parameters.listening_source != NO_LISTENERS

    @property
    def tuned(self):
        """Where options that a search chose are kept, ``params/tuned/<study>.json``; not there for most studies."""
        return ROOT / "params" / "tuned" / f"{self.name}.json"

    def options(self, *kinds):
        """Named recommenders of some kinds with all their options, `kind` among them, as {name: options}."""
        return {name: {"kind": kind, **options} for kind in kinds for name, options in self.named(kind).items()}

    def named(self, kind):
        """Named recommenders of one kind, as {name: options}: of the table, and what it leaves open as it was tuned.

        What ``recommender_table`` names explicitly is decided: no tuned option replaces it, and what was tuned when it
        named other options is passed over. What was not tuned itself takes what won for the recommender named like its
        kind, so that the two differ by what the table says alone.
        """
        table = self.parameters.recommender_table.items()
        fixed = {
            name: {option: value for option, value in options.items() if option != "kind"}
            for name, options in table
            if options.get("kind", name) == kind
        }
        tuned = {name: read_tuned(self.tuned, name, kind, options) for name, options in fixed.items()}
        return {name: (tuned[name] or tuned.get(kind, {})) | options for name, options in fixed.items()}

    def relative(self, path):
        """`path` as it is stored in tables: relative to the repository where it lies inside, else absolute."""
        path = Path(path).resolve()
        return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.as_posix()

    def describe(self):
        """What runs, in a line or two: study, world, versions, data fingerprint."""
        from lib.study import provenance

        p = self.parameters
        real = "real listening" if self.has_listeners else "no listeners"
        world = f"mock listening, content strength {p.content_strength}" if self.world == "mock" else real
        data = provenance.data_fingerprint(self.path("data")) or "not prepared yet"
        return f"study {self.name} · {world} · seed {p.seed} · data {data}\n{provenance.versions_line()}"


def resolve(path):
    """A path from a table or from params as one of this machine; relative ones count from the repository's root."""
    return ROOT / Path(path).expanduser()


def _is_parameter(name, value):
    interactive = {"In", "Out", "quit", "exit", "get_ipython"}
    return not name.startswith("_") and name not in interactive and isinstance(value, LITERALS)
