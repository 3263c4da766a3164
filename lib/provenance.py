"""Where results come from: fingerprints of data, versions, and the manifest of a study."""

import ast
import hashlib
import importlib.metadata
import json
import subprocess
from pathlib import Path

from filelock import FileLock

from lib.tables import write_atomically

PACKAGES = (
    "torch",
    "transformers",
    "numpy",
    "pandas",
    "scikit-learn",
    "lancedb",
    "librosa",
    "music21",
    "soxr",
    "papermill",
)
HERE = Path(__file__).resolve().parent
BY_JOB = ("seconds", "peak_megabytes")  # entries of a manifest that hold something of each job


def file_hash(path, length=16):
    """Hex SHA-256 of a file's bytes, cut to `length` characters."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:length]


def data_fingerprint(folder):
    """Fingerprint of a folder of Parquet tables: changes when any of them does; None where there are none."""
    files = sorted(Path(folder).glob("*.parquet"))
    if not files:
        return None
    return hashlib.sha256("".join(f.name + file_hash(f) for f in files).encode()).hexdigest()[:12]


def versions():
    """Versions of the packages that results depend on, as {name: version}."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def versions_line():
    """The versions a reader asks for first, in one line."""
    from lib import __version__

    shown = ("torch", "numpy", "pandas", "lancedb")
    return " · ".join(
        [f"lib {__version__}", *(f"{name} {version}" for name, version in versions().items() if name in shown)]
    )


def commit():
    """Abbreviated commit of the checkout, with '+' where files differ from it; 'unknown' outside git."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty=+"],
            cwd=HERE,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found.stdout.strip()


def imported_modules(sources):
    """Files of this library that some source texts import, directly or not.

    Parameters
    ----------
    sources : iterable of str
        Python source texts, a notebook's code cells for instance.

    Returns
    -------
    list of Path
        Sorted. Importing a package counts as importing its modules, since registries load adapters by name.
    """
    waiting, found = list(sources), set()
    while waiting:
        for name in _lib_names(waiting.pop()):
            for path in _files_of(name) - found:
                found.add(path)
                waiting.append(path.read_text())
    return sorted(found)


def code_digest(sources):
    """Short digest of source texts and of every module of this library that they import."""
    sources = list(sources)
    digest = hashlib.sha256("\0".join(sources).encode())
    for path in imported_modules(sources):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def write_manifest(path, entry):
    """Add an entry to a study's manifest.json: what it holds of each job is kept, all else is replaced; writers wait.

    Parameters
    ----------
    path : Path
    entry : dict
        JSON-able.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        old = json.loads(path.read_text()) if path.is_file() else {}
        by_job = {name: old.get(name, {}) | entry[name] for name in BY_JOB if name in entry}
        write_json(path, old | entry | by_job)


def write_json(path, value):
    """Write JSON atomically, keys sorted."""
    with write_atomically(path) as beside:
        beside.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def _lib_names(source):
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in names if name.split(".")[0] == HERE.name}


def _files_of(name):
    path = HERE.parent.joinpath(*name.split("."))
    if path == HERE:
        return set()  # a bare 'import lib' names no module
    if path.is_dir():
        return {f for f in path.glob("*.py")}
    return {path.with_suffix(".py")} if path.with_suffix(".py").is_file() else set()
