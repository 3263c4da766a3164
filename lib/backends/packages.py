"""Optional packages that a backend needs: a sentence where one is missing, and files that lie inside one.

Public: `folder`, `module`.
"""

import importlib
import importlib.util
from pathlib import Path

from lib.backends.checkpoints import CheckpointError


def folder(package, backend, install):
    """Find where a package is installed, without importing it or what it depends on.

    Parameters
    ----------
    package : str
        Name that is imported.
    backend : str
        Id in the registry, for the sentence.
    install : str
        Command that installs it.

    Returns
    -------
    Path

    Raises
    ------
    CheckpointError
        If it is not installed.

    Examples
    --------
    >>> folder("numpy", "mfcc", "pip install numpy").name
    'numpy'
    """
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise _missing(package, backend, install)
    return Path(next(iter(found.submodule_search_locations)))


def module(package, backend, install):
    """Import an optional package.

    Parameters
    ----------
    package, backend, install : str
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
    >>> module("numpy", "mfcc", "pip install numpy").float32(1)
    np.float32(1.0)
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise _missing(error.name or package, backend, install) from error


def _missing(package, backend, install):
    return CheckpointError(
        f"Expected the optional package {package} for {backend}, found it not installed; run `{install}`."
    )
