"""What a backend needs from elsewhere: published weights, read without running their code, and optional packages.

Public: `locate`, `preferred`, `digest`, `load_state`, `load_strictly`, `package_folder`, `package_module`, `missing`,
`CheckpointError`.
"""

import contextlib
import hashlib
import importlib
import importlib.util
import os
import pickle
import re
import zipfile
from pathlib import Path

from lib.backends.registry import REGISTRY

__all__ = ["FOLDER_VARIABLE", "missing"]


FOLDER_VARIABLE = "WORKBOOK_WEIGHTS"
_MOST_NAMED = 5
# torch renamed the two halves of a weight normalisation; published checkpoints have the old names
_WEIGHT_NORM = {
    ".weight_g": ".parametrizations.weight.original0",
    ".weight_v": ".parametrizations.weight.original1",
}


class CheckpointError(ValueError):
    """Weights are missing or do not fit; the sentence says which and what to do."""


def locate(name, weights="", revision=None, files=None, *, fetch=True):
    """Find the folder that holds a backend's published files.

    Looked for in this order: `weights`; ``$WORKBOOK_WEIGHTS/<name>``; the hub's snapshot of the pinned revision, taken
    from the cache below HF_HOME and fetched into it unless HF_HUB_OFFLINE is set. Code of a hub is never run.

    Parameters
    ----------
    name : str
        Id in the registry, whose entry has the hub id and the revision.
    weights : str or Path
        A local folder; empty looks further.
    revision : str or None
        Another commit of the hub's repository than the pinned one.
    files : sequence of str or None
        Names that have to be there, those of the entry by default; instead of a pickled file a ``.safetensors`` of the
        same stem (or ``model.safetensors`` for ``pytorch_model.bin``) will do.
    fetch : bool
        Without, nothing is asked of the hub: what is not on this machine is missing.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    CheckpointError
        If the files are nowhere to be found.

    Examples
    --------
    >>> locate("mert_95m", "checkpoints/mert_95m")  # doctest: +SKIP
    PosixPath('checkpoints/mert_95m')
    """
    entry = REGISTRY[name]
    files = tuple(files or entry.files)
    folder = Path(weights) if weights else _own_folder(name)
    if folder is not None:
        absent = [file for file in files if not preferred(folder / file).is_file()]
        if absent:
            raise CheckpointError(
                f"Expected {_listed(files)} of {name} in {folder}, found no {_listed(absent)}; copy what is missing "
                f"there from {_source(entry, revision)}."
            )
        return folder
    if not entry.hub:
        raise CheckpointError(
            f"Expected {_listed(files)} of {name} in a local folder, found none; put them into "
            f"${FOLDER_VARIABLE}/{name}, or pass weights=FOLDER; they come from {_source(entry, revision)}."
        )
    return _snapshot(name, entry.hub, revision or entry.revision, files, fetch)


def preferred(path):
    """Choose the safetensors beside a pickled file, where there is one.

    Parameters
    ----------
    path : str or Path
        As it was published, `pytorch_model.bin` say.

    Returns
    -------
    Path

    Examples
    --------
    >>> preferred("nowhere/pytorch_model.bin").name
    'pytorch_model.bin'
    """
    path = Path(path)
    stem = "model" if path.name == "pytorch_model.bin" else path.stem
    safe = path.with_name(f"{stem}.safetensors")
    return safe if path.suffix in (".bin", ".pt", ".pth", ".ckpt", ".tar") and safe.is_file() else path


def digest(path):
    """Identify a file's content; it is the revision of weights, wherever they came from.

    Parameters
    ----------
    path : str or Path
        As it was published; the safetensors beside it counts where there is one.

    Returns
    -------
    str
        ``sha256`` and the first 12 hexadecimal digits.

    Examples
    --------
    >>> digest("model.safetensors")  # doctest: +SKIP
    'sha256 b5bb9d8014a0'
    """
    with open(preferred(path), "rb") as source:
        return f"sha256 {hashlib.file_digest(source, 'sha256').hexdigest()[:12]}"


def load_state(path):
    """Read tensors from a file: safetensors where there is one beside it, else torch's format without its code.

    They are mapped, not read, where the format allows it; that of torch before 1.6 does not.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    dict
        {key: tensor} on the CPU, nested as it was saved.

    Raises
    ------
    CheckpointError
        If the file is absent, damaged, or holds anything but tensors and plain containers.

    Examples
    --------
    >>> sorted(load_state("model.safetensors"))[0]  # doctest: +SKIP
    'encoder.layer_norm.bias'
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = preferred(path)
    if not path.is_file():
        raise CheckpointError(f"Expected weights at {path}, found no such file; put the published file there.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise CheckpointError(
            f"Expected tensors alone in {path}, found a file that torch and safetensors refuse "
            f"({type(error).__name__}); fetch it anew, or convert it to safetensors where it was made."
        ) from error


def load_strictly(network, state, ignore=()):
    """Copy weights into a network: every one it has, from every one there is.

    Parameters
    ----------
    network : torch.nn.Module
    state : dict of {str: torch.Tensor}
        Weight normalisations may have the names that torch gave them before 2.0 (`weight_g`, `weight_v`).
    ignore : sequence of str
        Regular expressions, matched from a key's start, of keys that are known not to be needed (heads of pretraining).

    Raises
    ------
    CheckpointError
        If a key is missing, left over or has another shape.

    Examples
    --------
    >>> import torch
    >>> load_strictly(torch.nn.Linear(1, 1), {"weight": torch.ones(1, 1), "bias": torch.ones(1), "head": 0}, ["head"])
    """
    wanted = network.state_dict()
    state = {_present_name(key, wanted): value for key, value in state.items() if not _any(ignore, key)}
    absent = sorted(set(wanted) - set(state))
    unexpected = sorted(set(state) - set(wanted))
    if absent or unexpected:
        raise CheckpointError(
            f"Expected a checkpoint with exactly the {len(wanted)} weights of {type(network).__name__}, found "
            f"{_listed(absent)} missing and {_listed(unexpected)} unexpected; it is of another network or version."
        )
    other = [key for key in wanted if wanted[key].shape != state[key].shape]
    if other:
        raise CheckpointError(
            f"Expected {other[0]} of shape {tuple(wanted[other[0]].shape)}, found {tuple(state[other[0]].shape)}"
            f" ({len(other)} such weights); the checkpoint is of another size."
        )
    network.load_state_dict(state, strict=True)


def package_folder(package, backend):
    """Find where a package is installed, without importing it or what it depends on.

    Parameters
    ----------
    package : str
        Name that is imported.
    backend : str
        Id, for the sentence.

    Returns
    -------
    Path

    Raises
    ------
    CheckpointError
        If it is not installed.

    Examples
    --------
    >>> package_folder("numpy", "mfcc").name
    'numpy'
    """
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise _not_installed(package, backend)
    return Path(next(iter(found.submodule_search_locations)))


def package_module(package, backend):
    """Import an optional package.

    Parameters
    ----------
    package, backend : str
        As in `package_folder`.

    Returns
    -------
    module

    Raises
    ------
    CheckpointError
        If it, or a package that it needs, is not installed.

    Examples
    --------
    >>> package_module("numpy", "mfcc").float32(1)
    np.float32(1.0)
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise _not_installed(error.name or package, backend) from error


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
            package_folder(package, backend)
        if entry.files:
            locate(backend, fetch=fetch)
    except CheckpointError as error:
        return str(error)
    return None


def _source(entry, revision):
    if not entry.hub:
        return entry.where
    return f"{entry.hub} on the Hugging Face hub, revision {revision or entry.revision or 'main'}"


def _own_folder(name):
    root = os.environ.get(FOLDER_VARIABLE)
    folder = Path(root) / name if root else None
    return folder if folder is not None and folder.is_dir() else None


def _snapshot(name, hub, revision, files, fetch):
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    absent = list(files)
    for cached_alone in (True, False) if fetch else (True,):  # a complete cache needs no connection
        with contextlib.suppress(HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError):
            found = snapshot_download(hub, revision=revision, allow_patterns=list(files), local_files_only=cached_alone)
            folder = Path(found)
            absent = [file for file in files if not (folder / file).is_file()]
        if not absent:
            return folder
    raise CheckpointError(
        f"Expected {_listed(absent)} of {name} in a local folder or from {hub} on the Hugging Face hub (revision "
        f"{revision or 'main'}), found neither; put them into ${FOLDER_VARIABLE}/{name}, pass weights=FOLDER, or run "
        "once with a connection, HF_HUB_OFFLINE unset and HF_HOME where the cache is to be."
    )


def _not_installed(package, backend):
    return CheckpointError(
        f"Expected the optional package {package} for {backend}, found it not installed; run `make extras`, or install "
        "it as requirements-extra.txt says."
    )


def _present_name(key, wanted):
    for old, new in _WEIGHT_NORM.items():
        if key.endswith(old) and key.removesuffix(old) + new in wanted:
            return key.removesuffix(old) + new
    return key


def _any(patterns, key):
    return any(re.match(pattern, key) for pattern in patterns)


def _listed(names):
    if not names:
        return "none"
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
