"""Parameters of a study: one model checks all of them, nested tables too, before anything starts.

``params/base.yaml`` < ``params/<study>.yaml`` < ``params/tuned/<study>.json`` < command line or notebook. What each
means stands in ``params/base.yaml``; ``python -m lib.study.parameters`` writes the schema that editors read.
"""

import difflib
import functools
import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml

ROOT = Path(__file__).resolve().parents[2]
MOCK, NO_LISTENERS = "mock", "none"  # values of listening_source besides data sets
SMALL_RANDOM = "small_random"  # layers_backend: a small checkpoint, random, in MERT's layout
RESERVED = ("cache", "calibrate")  # folders beside those of studies
RENAMED = {  # dropped or renamed: what to do now
    "calibration_clips": "32 clips set an untrained twin's statistics",
    "compare_backends": "use compare: {backends: [...]}",
    "compare_recommender": "use compare: {recommender: ...}",
    "delta_fraction": "the smallest effect of interest is 5 % (lib.answers.claims.DELTA_FRACTION)",
    "feature_cache": "features are always kept; delete runs/cache/features to save room",
    "hybrid_backends": "make workbook runs hybrids on backend and artist, make extended on all",
    "layers_tracks": "22 takes at most 400 tracks",
    "layers_weights": "use layers_backend: small_random, or put the weights where docs/weights.md says",
    "list_separator": "declare the column as tags in mir_labels; its separator is found",
    "listener": "use compare: {listener: ...}",
    "n_calibration_null": "74 draws 20 worlds, make calibrate 2,000",
    "n_calibration_seeds": "74 draws 2 worlds per kind, make calibrate 40",
    "n_variant_seeds": "variants are trained n_seeds times",
    "probe_folds": "probes have 5 folds",
    "public_study": "12 compares with music4all_onion or onion_sample, whichever has run",
    "retrieval_scaling": "31 standardises vectors",
    "scarcity_backends": "73 trains on backend",
    "scarcity_draws": "73 draws 3 subsets per share",
    "scarcity_trainings": "73 trains on as many subsets as n_seeds, at most 3",
    "soundfont": "scores are rendered with the soundfont inside pretty_midi",
    "tag_jaccard": "lists are alike from a Jaccard similarity of .3 on",
    "untrained_seed": "untrained networks are drawn with seed 0",
}
Cutoff = Annotated[int, pydantic.Field(ge=0)]
Share = Annotated[float, pydantic.Field(gt=0, le=1)]


class ParameterError(ValueError):
    """A parameter is unknown or ill-typed; the sentence names it and the nearest known one."""


class Compare(pydantic.BaseModel):
    """What notebook 80 opposes: whose history, whose lists, on the vectors of which two backends."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)

    listener: str = ""
    recommender: str = "knn"
    backends: list[str] = pydantic.Field(default=[], max_length=2)


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
    excerpt_step: float = pydantic.Field(gt=0)
    labels_table: str
    listening_source: str
    listening_folder: str
    log_file: str
    log_columns: dict[str, str]
    time_zone: str
    listening_habits: Literal["even", "published", "fitted"]
    public_log: str
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
    layers_backend: str
    probe_labels: list[str]
    mir_labels: dict[str, Literal["class", "number", "key", "tags"]]
    mir_groups: list[str]
    mir_tracks: int = pydantic.Field(ge=2)
    recommender_table: dict[str, dict[str, Any]]
    tuning_grids: dict[str, dict[str, list[Any]]]
    variant_table: dict[str, dict[str, Any]]
    scarcity_recommenders: list[str]
    scarcity_shares: list[Share]
    trained_backends: list[str]
    n_seeds: int = pydantic.Field(ge=1)
    n_trained_permutations: int = pydantic.Field(ge=5)
    cutoffs_hot: list[Cutoff]
    cutoffs_cold: list[Cutoff]
    n_permutations: int = pydantic.Field(ge=19)
    n_bootstrap: int = pydantic.Field(ge=100)
    alpha: float = pydantic.Field(gt=0, lt=1)
    n_worlds: int = pydantic.Field(ge=1)
    relevant_by: str
    same_recording: str
    compare: Compare
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
    lib.study.Parameters

    Raises
    ------
    ParameterError
        Naming the first unknown, missing or ill-typed parameter.

    Examples
    --------
    >>> check_parameters({**load_parameters("toy").model_dump(), "n_user": 3}, "an example")
    Traceback (most recent call last):
    ...
    lib.study.parameters.ParameterError: Unknown parameter 'n_user' in an example; did you mean 'n_users'?
    """
    for name in values:
        if name not in Parameters.model_fields:
            raise ParameterError(f"Unknown parameter {name!r} in {source}; {_instead(name)}")
    try:
        parameters = Parameters(**values)
    except pydantic.ValidationError as error:
        raise ParameterError(_sentence(error.errors()[0], source)) from None
    try:
        _checked_tables()(parameters, _base_names())
    except ValueError as error:
        raise ParameterError(f"In {source}: {error}") from None
    return parameters


def _instead(name):
    """What to write in place of an unknown name."""
    if name in RENAMED:
        return f"it is no more: {RENAMED[name]}."
    near = difflib.get_close_matches(name, Parameters.model_fields, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(Parameters.model_fields)}."


def _sentence(first, source):
    """The first error of pydantic's as a sentence of ours."""
    name = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f"Missing parameter {name!r} in {source}; params/base.yaml says what it is."
    return f"Parameter {name!r} in {source}: {first['msg'].lower()}, found {first['input']!r}; see params/base.yaml."


def _checked_tables():
    """The hook through which nested tables are checked: the one place where the ground reaches up."""
    from lib.recommenders.table_checks import check_tables

    return check_tables


@functools.cache
def _base_names():
    """Recommenders and labels that params/base.yaml names: what a study inherits from there may speak of them."""
    base = _read_yaml(ROOT / "params" / "base.yaml")
    return (*base.get("recommender_table", {}), *base.get("label_columns", {}))


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
    lib.study.Parameters

    Examples
    --------
    >>> load_parameters("toy").clip_seconds
    6.0
    """
    path = ROOT / "params" / f"{study_name}.yaml"
    if not path.is_file():
        found = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml") if p.stem != "base"))
        raise ParameterError(f"Expected params/{study_name}.yaml, found no such file; the studies are {found}.")
    values = _read_yaml(path)
    found = values.get("study_name", "base")
    if found != study_name:
        raise ParameterError(
            f"Expected study_name: {study_name} in params/{path.name}, found {found!r}, whose results it would "
            "replace; a study bears the name of its file."
        )
    merged = _read_yaml(ROOT / "params" / "base.yaml") | values
    given = dict(overrides or {})
    other = given.get("study_name", study_name)
    if other in RESERVED or (other != study_name and (path.parent / f"{other}.yaml").is_file()):
        raise ParameterError(f"Expected a study_name of its own, found {other!r}, which is taken; choose another.")
    for name in merged:
        if name not in Parameters.model_fields:
            raise ParameterError(f"Unknown parameter {name!r} in params/{path.name}; {_instead(name)}")
    source = f"params/{path.name}" + (", with the values given" if given else "")
    return check_parameters(merged | given, source)


def parameters_digest(parameters, names):
    """Short digest of some parameters' values, for deciding what a change touches."""
    values = {name: value for name, value in parameters.model_dump().items() if name in names}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


class _Loader(yaml.SafeLoader):
    """YAML without what misleads: a key twice, and aliases, which can make a small file endless."""

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(None, None, f"an alias, *{event.anchor}: write it out", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for number, key in enumerate(keys):
            if key in keys[:number]:
                mark = node.value[number][0].start_mark
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} twice", mark)
        return super().construct_mapping(node, deep)


def _read_yaml(path):
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or str(error).splitlines()[0]
        line = f" in line {mark.line + 1}" if mark else ""
        raise ParameterError(f"Expected YAML in params/{path.name}, found{line}: {what}.") from None
    if not isinstance(values, dict):
        raise ParameterError(f"Expected 'name: value' lines in params/{path.name}, found {type(values).__name__}.")
    return values


def schema():
    """Return the JSON schema of parameters, with the options of every kind of recommender.

    Returns
    -------
    dict
    """
    from lib.recommenders.table_checks import options_schema

    found = Parameters.model_json_schema()
    found["title"] = "Parameters of a study"
    found.pop("required")  # a study's file holds what differs from base
    named = found["properties"]["recommender_table"]
    named["additionalProperties"], definitions = options_schema()
    found["$defs"] |= definitions
    return found


if __name__ == "__main__":
    from lib.study.provenance import write_json

    write_json(ROOT / "params" / "schema.json", schema())
