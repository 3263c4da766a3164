"""What a backend needs besides this repository: optional packages, files that lie inside one, weights.

Public: `folder`, `module`, `missing`.
"""

import importlib
import importlib.util
from pathlib import Path

from lib.backends.checkpoints import CheckpointError, locate
from lib.backends.registry import REGISTRY


def folder(package, backend):
    """Find where a package is installed, without importing it or what it depends on.

    Parameters
    ----------
    package : str
        Name that is imported.
    backend : str
        Id in the registry, for the sentence.

    Returns
    -------
    Path

    Raises
    ------
    CheckpointError
        If it is not installed.

    Examples
    --------
    >>> folder("numpy", "mfcc").name
    'numpy'
    """
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise _missing(package, backend)
    return Path(next(iter(found.submodule_search_locations)))


def module(package, backend):
    """Import an optional package.

    Parameters
    ----------
    package, backend : str
        As in `folder`.

    Returns
    -------
    module

    Raises
    ------
    CheckpointError
        If it, or a package that it needs, is not installed.

    Examples
    --------
    >>> module("numpy", "mfcc").float32(1)
    np.float32(1.0)
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise _missing(error.name or package, backend) from error


def missing(backend, *, fetch=False):
    """Say what a backend needs that is not on this machine; no weights are read.

    Parameters
    ----------
    backend : str
        Id in the registry.
    fetch : bool
        Fetch weights that lie on a hub, where there is a connection, instead of missing them.

    Returns
    -------
    str or None
        A sentence; None where it can run.

    Examples
    --------
    >>> missing("mfcc") is None
    True
    """
    entry = REGISTRY[backend]
    try:
        for package in entry.packages:
            folder(package, backend)
        if entry.files:
            locate(backend, fetch=fetch)
    except CheckpointError as error:
        return str(error)
    return None


def _missing(package, backend):
    return CheckpointError(
        f"Expected the optional package {package} for {backend}, found it not installed; run `make extras`, or install "
        "it as requirements-extra.txt says."
    )
