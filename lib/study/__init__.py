"""What is asked, where results lie, how they are written: parameters, paths, tables, progress, provenance."""

from lib.study.study import (
    MOCK,
    NO_LISTENERS,
    ROOT,
    SMALL_RANDOM,
    ParameterError,
    Parameters,
    Study,
    check_parameters,
    load_parameters,
    on_open,
    open_study,
    parameters_digest,
    resolve,
)

__all__ = [
    "MOCK",
    "NO_LISTENERS",
    "ROOT",
    "SMALL_RANDOM",
    "ParameterError",
    "Parameters",
    "Study",
    "check_parameters",
    "load_parameters",
    "on_open",
    "open_study",
    "parameters_digest",
    "resolve",
]
