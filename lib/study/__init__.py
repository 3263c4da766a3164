"""What is asked, where results lie, how they are written: parameters, paths, tables, progress, provenance."""

from lib.study.parameters import (
    MOCK,
    NO_LISTENERS,
    ROOT,
    SMALL_RANDOM,
    ParameterError,
    Parameters,
    check_parameters,
    load_parameters,
    parameters_digest,
)
from lib.study.study import Study, on_open, open_study, resolve

__all__ = [
    "MOCK",
    "NO_LISTENERS",
    "ROOT",
    "SMALL_RANDOM",
    "ParameterError",
    "Parameters",
    "Study",
    "answers",
    "check_parameters",
    "devices",
    "folder",
    "load_parameters",
    "on_open",
    "open_study",
    "parameters_digest",
    "progress",
    "provenance",
    "resolve",
    "study",
    "tables",
    "text",
]
