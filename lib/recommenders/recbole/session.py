"""What RecBole 1.2.1 needs beside NumPy 2 and today's scipy, and what it would change for the whole process.

All of it holds inside `recbole_session` only. ``recbole.quick_start`` is never imported: it alone wants ray.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import sys
import warnings
from pathlib import Path

import numpy as np

_MISSING = object()
# what NumPy 2 has no more and Config asks for
_GONE = {"float_": np.float64, "complex_": np.complex128, "unicode_": np.str_}
# what Config sets in NumPy, over names that exist too
_SET = ("bool", "int", "float", "complex", "object", "str", "long", "unicode")


@contextlib.contextmanager
def recbole_session(seed: int):
    """Inside, RecBole works, and every global generator follows from `seed`; afterwards the process is as it was.

    Parameters
    ----------
    seed : int
        In 0 .. 2**31 - 1.

    Examples
    --------
    >>> with recbole_session(0):
    ...     first = np.random.random()  # noqa: NPY002
    >>> with recbole_session(0):
    ...     bool(np.random.random() == first)  # noqa: NPY002
    True
    """
    with contextlib.ExitStack() as stack:
        for change in (_generators, _numpy_names, _anomaly_mode, _dictionary_of_keys, _silence, _configuration):
            stack.enter_context(change())
        reseed(seed)
        yield


def reseed(seed: int) -> None:
    """Set the global generators of Python, NumPy and torch, from all of which RecBole draws; inside a session only."""
    import torch

    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - RecBole draws negatives from it
    torch.manual_seed(seed)


def trainer(config, model):
    """RecBole's Trainer for a model, which would otherwise open ``log_tensorboard/`` in the working directory."""
    from recbole.trainer import trainer as module
    from recbole.utils import get_trainer

    kind = get_trainer(config["MODEL_TYPE"], config["model"])
    with _attribute(module, "get_tensorboard", lambda logger: None):  # only Trainer.fit writes to it; we use its epochs
        return kind(config, model)


@contextlib.contextmanager
def _generators():
    import torch

    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global one, which RecBole uses
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


@contextlib.contextmanager
def _numpy_names():
    with contextlib.ExitStack() as stack:
        for name, value in _GONE.items():
            stack.enter_context(_attribute(np, name, value))
        for name in _SET:  # at their own values, to be put back after Config has set them
            stack.enter_context(_attribute(np, name, np.__dict__.get(name, _MISSING)))
        yield


@contextlib.contextmanager
def _anomaly_mode():
    """Importing the sequential models (sine.py) switches torch's slow anomaly detection on for the whole process."""
    import torch

    was, check = torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()
    try:
        import recbole.model.sequential_recommender  # noqa: F401 - now, so that training is not under it either

        torch.autograd.set_detect_anomaly(was, check)
        yield
    finally:
        torch.autograd.set_detect_anomaly(was, check)


@contextlib.contextmanager
def _dictionary_of_keys():
    """LightGCN fills its graph through ``dok_matrix._update``, which scipy took out."""
    from scipy.sparse import dok_matrix

    with _attribute(dok_matrix, "_update", lambda matrix, values: matrix._dict.update(values)):
        yield


@contextlib.contextmanager
def _silence():
    """RecBole logs to the root logger, and on pandas and torch it raises a crowd of warnings nobody here can act on."""

    def ours(record):
        return "recbole" not in Path(record.pathname).parts

    logging.root.addFilter(ours)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.root.removeFilter(ours)


@contextlib.contextmanager
def _configuration():
    """Config reads ``--name=value`` from the command line, sets CUDA_VISIBLE_DEVICES and changes YAML's loader."""
    import yaml

    argv, visible = sys.argv, os.environ.get("CUDA_VISIBLE_DEVICES")
    # replaced by a copy: the loader's own table is changed in place, and may be that of its parent
    resolvers = {sign: list(rules) for sign, rules in yaml.FullLoader.yaml_implicit_resolvers.items()}
    sys.argv = argv[:1]
    try:
        with _attribute(yaml.FullLoader, "yaml_implicit_resolvers", resolvers):
            yield
    finally:
        sys.argv = argv
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        if visible is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = visible


@contextlib.contextmanager
def _attribute(owner, name, value):
    """Set an attribute; afterwards it is what it was, or gone."""
    was = vars(owner).get(name, _MISSING)
    if value is not _MISSING:
        setattr(owner, name, value)
    try:
        yield
    finally:
        if was is not _MISSING:
            setattr(owner, name, was)
        elif name in vars(owner):
            delattr(owner, name)
