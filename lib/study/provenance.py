"""Where results come from: fingerprints of data, versions, and the manifest of a study."""

import ast
import functools
import hashlib
import importlib.metadata
import json
import re
import subprocess
from pathlib import Path

from filelock import FileLock

from lib.study.tables import write_atomically

__all__ = ["code_digest", "commit", "data_fingerprint", "file_hash", "versions", "write_json", "write_manifest"]


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
NAME = __name__.split(".")[0]
TREE = Path(__file__).resolve().parents[__name__.count(".")]  # the folder that holds the library
_MODULE = re.compile(rf"{NAME}(\.\w+)+")
BY_JOB = ("seconds", "peak_megabytes", "digest", "drawn_by")  # entries of a manifest that hold something of each job


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
            cwd=TREE,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found.stdout.strip()


def reached_files(sources, *, also=(), without=(), tree=TREE):
    """List the files of this library that source texts reach, resolved name by name.

    ``from lib.a import b`` reaches the file that defines ``b``, however many ``__init__`` files hand it on, and no
    other module of ``lib.a``. A module that is reached counts whole, with what it imports anywhere in its text. A text
    that names a module in a string ("lib.a.b", as registries do) reaches it too, and so does one that names a data
    file or a folder of data files beside it.

    Parameters
    ----------
    sources : iterable of str
        Python source texts, such as the code cells of a notebook.
    also : iterable of str
        Dotted names of modules that are loaded by a computed name.
    without : iterable of str
        Dotted names of modules or packages that are left out, and not followed.
    tree : Path
        Folder that holds ``lib/``.

    Returns
    -------
    list of Path
        Sorted.

    Raises
    ------
    ModuleNotFoundError
        If a name in `also` is no module of this library.

    Examples
    --------
    >>> [path.name for path in reached_files(["from lib.study.progress import say"])]
    ['progress.py']
    """
    tree = Path(tree)
    waiting = list(_uses_in("\n".join(sources), "", tree))  # cells of a notebook share their names
    for name in also:
        if _file_of(name, tree) is None:
            raise ModuleNotFoundError(f"Expected a module of the library, found {name!r}, which is none.")
        waiting.append((name, None))
    done, found = set(), set()
    while waiting:
        use = waiting.pop()
        if use in done or _is_below(use[0], without):
            continue
        done.add(use)
        files, more = _resolve(*use, tree)
        found |= files
        waiting += more
    return sorted(found)


def code_digest(sources, *, also=(), without=(), tree=TREE):
    """Return a short digest of source texts and of the library's files that they reach.

    Parameters
    ----------
    sources, also, without, tree
        As for `reached_files`.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    sources = list(sources)
    digest = hashlib.sha256("\0".join(sources).encode())
    for path in reached_files(sources, also=also, without=without, tree=tree):
        digest.update(path.relative_to(tree).as_posix().encode() + b"\0" + path.read_bytes())
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


def _resolve(module, name, tree):
    """Files that a use (module, name) reaches by itself, and the further uses that these files make."""
    path = _file_of(module, tree)
    if path is None:  # a name defined in a module, or a package of somebody else
        return set(), []
    if path.name != "__init__.py":
        return _whole(path, module, tree)
    if name is None:  # a package as such: its modules may be loaded by name
        files, uses = _whole(path, module, tree)
        below = [file for file in path.parent.iterdir() if file != path and _is_module(file)]
        return files, [*uses, *((f"{module}.{file.stem}", None) for file in below)]
    if _file_of(f"{module}.{name}", tree):
        return set(), [(f"{module}.{name}", None)]
    origin = _reexports(path.read_text(), module).get(name)
    return (set(), [origin]) if origin else _whole(path, module, tree)


def _whole(path, module, tree):
    """A module's file, the data files it names, and the uses in its text."""
    source = path.read_text()
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    data = {file for text in _strings(source) for file in _data_files(path.parent, text)}
    return {path} | data, _uses_in(source, package, tree)


@functools.lru_cache(maxsize=512)
def _uses_in(source, package, tree):
    """Uses (module, name) of this library in a source text; name is None where the module as such is used."""
    nodes = list(ast.walk(ast.parse(source)))
    uses = [(text, None) for text in _strings(source) if _MODULE.fullmatch(text)]
    for node in nodes:
        if isinstance(node, ast.Import):
            uses += [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            for alias in node.names:
                uses += [(base, None)] if alias.name == "*" else _uses_of(nodes, base, alias, tree)
    return [use for use in uses if use[0].split(".")[0] == NAME]


def _uses_of(nodes, base, alias, tree):
    """Uses that an imported name makes: of a package, the attributes it is asked for; of all else, the name."""
    module = f"{base}.{alias.name}"
    file = _file_of(module, tree)
    if file is None or file.name != "__init__.py":
        return [(base, alias.name)]
    bound = alias.asname or alias.name
    named = {id(node) for node in nodes if isinstance(node, ast.Name) and node.id == bound}
    asked = [node.attr for node in nodes if isinstance(node, ast.Attribute) and id(node.value) in named]
    return [(module, attribute) for attribute in asked] if len(asked) == len(named) else [(module, None)]


@functools.lru_cache(maxsize=64)
def _reexports(source, module):
    """Names that an ``__init__`` hands on, as {name: (module, name there)}."""
    return {
        alias.asname or alias.name: (_absolute(node, module), alias.name)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def _absolute(node, package):
    """Dotted name of the module that an ``ImportFrom`` in a module of `package` names."""
    if not node.level:
        return node.module
    above = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*above, *([node.module] if node.module else [])])


@functools.lru_cache(maxsize=512)
def _strings(source):
    return {
        node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant) and _is_word(node.value)
    }


def _is_word(value):
    return isinstance(value, str) and 2 < len(value) < 80 and re.fullmatch(r"[\w./-]+", value) is not None


def _data_files(folder, text):
    """Files beside a module that a string in it names: one file, or a folder of files that is no package."""
    path = folder / text
    if ".." in text or text.startswith("/") or path == folder:
        return set()
    if path.is_dir() and not any(path.glob("**/*.py")):
        return {file for file in path.rglob("*") if file.is_file() and not file.name.startswith(".")}
    return {path} if path.is_file() and path.suffix not in (".py", "") else set()


def _file_of(module, tree):
    path = tree.joinpath(*module.split("."))
    files = (path / "__init__.py", path.with_suffix(".py") if path.name else path)
    return next((file for file in files if file.is_file()), None)


def _is_module(path):
    return path.suffix == ".py" or (path / "__init__.py").is_file()


def _is_below(module, packages):
    return any(module == package or module.startswith(f"{package}.") for package in packages)
