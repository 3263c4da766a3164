"""A study: its parameters, checked against one model, and the paths of its results."""

import ast
import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import pydantic
import yaml

ROOT = Path(__file__).resolve().parents[2]
TOY = "toy"  # whose values the cells of notebooks hold
INJECTED = "# Parameters"  # first line of a cell that papermill injects
MOCK, NO_LISTENERS = "mock", "none"  # values of listening_source besides data sets
SMALL_RANDOM = "small_random"  # layers_weights: a small checkpoint, random, in MERT's layout
LITERALS = (str, int, float, bool, list, dict, tuple, type(None))


class ParameterError(ValueError):
    """A parameter is unknown or ill-typed; the sentence names it and the nearest known one."""


class Parameters(pydantic.BaseModel):
    """Everything that can be set in ``params/*.yaml``, on the command line or in a parameters cell.

    What each means, with its unit, stands in ``params/base.yaml``.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)

    study_name: str = pydantic.Field(pattern=r"^[A-Za-z0-9_-]+$")
    runs_dir: str
    seed: int = pydantic.Field(ge=0)
    dataset: str
    dataset_folder: str
    n_tracks: int = pydantic.Field(ge=2)
    clip_seconds: float = pydantic.Field(gt=0)
    soundfont: str
    excerpt_step: float = pydantic.Field(gt=0)
    labels_table: str
    listening_source: str
    listening_folder: str
    log_file: str
    log_columns: dict[str, str]
    time_zone: str
    listening_habits: Literal["even", "published", "fitted"]
    public_log: str
    public_study: str
    n_users: int = pydantic.Field(ge=1)
    tracks_per_user: float = pydantic.Field(gt=0)
    content_strength: float = pydantic.Field(ge=0, le=1)
    factor_weights: dict[str, float]
    cold_share: float = pydantic.Field(ge=0, lt=1)
    positives: Literal["all", "completed"]
    split_preset: Literal["tamm2026", "tamm2024"]
    test_date: str = pydantic.Field(pattern=r"^(\d{4}-\d{2}-\d{2})?$")
    val_users: Literal["published", "all"]
    min_val_users: int = pydantic.Field(ge=1)
    backend_ids: list[str]
    backend: str
    label_columns: dict[str, str]
    layer: int = pydantic.Field(ge=-1)
    pooling: Literal["", "mean", "max", "mean_std", "first"]
    device: str
    batch_size: int = pydantic.Field(ge=1)
    feature_cache: bool
    calibration_clips: int = pydantic.Field(ge=1)
    untrained_seed: int = pydantic.Field(ge=0)
    layers_backend: str
    layers_weights: str
    layers_tracks: int = pydantic.Field(ge=2)
    probe_labels: list[str]
    probe_folds: int = pydantic.Field(ge=2)
    mir_labels: dict[str, Literal["class", "number", "key", "tags"]]
    mir_groups: list[str]
    mir_tracks: int = pydantic.Field(ge=2)
    recommender_table: dict[str, dict[str, Any]]
    tuning_grids: dict[str, dict[str, list[Any]]]
    variant_table: dict[str, dict[str, Any]]
    n_variant_seeds: int = pydantic.Field(ge=1)
    scarcity_recommenders: list[str]
    scarcity_backends: list[str]
    scarcity_shares: list[float]
    scarcity_draws: int = pydantic.Field(ge=1)
    scarcity_trainings: int = pydantic.Field(ge=1)
    trained_backends: list[str]
    hybrid_backends: list[str]
    n_seeds: int = pydantic.Field(ge=1)
    n_trained_permutations: int = pydantic.Field(ge=5)
    cutoffs_hot: list[int]
    cutoffs_cold: list[int]
    n_permutations: int = pydantic.Field(ge=19)
    n_bootstrap: int = pydantic.Field(ge=100)
    alpha: float = pydantic.Field(gt=0, lt=1)
    n_worlds: int = pydantic.Field(ge=1)
    delta_fraction: float = pydantic.Field(gt=0, lt=1)
    n_calibration_seeds: int = pydantic.Field(ge=1)
    n_calibration_null: int = pydantic.Field(ge=2)
    relevant_by: str
    same_recording: str
    list_separator: str
    tag_jaccard: float = pydantic.Field(gt=0, le=1)
    retrieval_scaling: Literal["none", "centre", "standardise", "whiten"]
    listener: str
    compare_recommender: str
    compare_backends: list[str] = pydantic.Field(max_length=2)
    text_width: float = pydantic.Field(gt=0)
    font_size: float = pydantic.Field(gt=0)
    font_family: str


def check_parameters(values, source):
    """Check a complete set of parameters.

    Parameters
    ----------
    values : dict
        Name to value.
    source : str
        Where they come from, for the sentence.

    Returns
    -------

    Parameters
    ----------

    Raises
    ------
    ParameterError
        Naming the first unknown, missing or ill-typed parameter.

    Examples
    --------
    >>> check_parameters({**load_parameters("toy").model_dump(), "n_user": 3}, "an example")
    Traceback (most recent call last):
    ...
    lib.study.ParameterError: Unknown parameter 'n_user' in an example; did you mean 'n_users'?
    """
    import difflib

    known = Parameters.model_fields
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}."
            raise ParameterError(f"Unknown parameter {name!r} in {source}; {hint}")
    try:
        return Parameters(**values)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        if first["type"] == "missing":
            raise ParameterError(f"Missing parameter {name!r} in {source}; params/base.yaml says what it is.") from None
        raise ParameterError(
            f"Parameter {name!r} in {source}: {first['msg'].lower()}, found {first['input']!r}; see params/base.yaml."
        ) from None


def load_parameters(study_name, overrides=None):
    """Parameters of a study: ``params/base.yaml`` < ``params/<study>.yaml`` < `overrides`.

    Parameters
    ----------
    study_name : str
        Name of a file in params/, without its ending.
    overrides : dict, optional
        Values given on a command line or in a notebook.

    Returns
    -------

    Parameters
    ----------

    Examples
    --------
    >>> load_parameters("toy").clip_seconds
    6.0
    """
    path = ROOT / "params" / f"{study_name}.yaml"
    if not path.is_file():
        found = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml") if p.stem != "base"))
        raise ParameterError(f"Expected params/{study_name}.yaml, found no such file; the studies are {found}.")
    merged = {}
    for file in (ROOT / "params" / "base.yaml", path):
        merged |= _read_yaml(file)
        check_parameters(merged, f"params/{file.name}")
    return check_parameters(merged | (overrides or {}), "the values given")


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
    return study


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
        from lib.evaluation import tuning

        table = self.parameters.recommender_table.items()
        fixed = {
            name: {option: value for option, value in options.items() if option != "kind"}
            for name, options in table
            if options.get("kind", name) == kind
        }
        tuned = {name: tuning.read(self.tuned, name, kind, options) for name, options in fixed.items()}
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


def parameters_digest(parameters, names):
    """Short digest of some parameters' values, for deciding what a change touches."""
    values = {name: value for name, value in parameters.model_dump().items() if name in names}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def resolve(path):
    """A path from a table or from params as one of this machine; relative ones count from the repository's root."""
    return ROOT / Path(path).expanduser()


def _read_yaml(path):
    try:
        values = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ParameterError(f"Expected YAML in params/{path.name}, found: {str(error).splitlines()[0]}.") from None
    if not isinstance(values, dict):
        raise ParameterError(f"Expected 'name: value' lines in params/{path.name}, found {type(values).__name__}.")
    return values


def _is_parameter(name, value):
    interactive = {"In", "Out", "quit", "exit", "get_ipython"}
    return not name.startswith("_") and name not in interactive and isinstance(value, LITERALS)
