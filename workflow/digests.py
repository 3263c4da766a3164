"""What decides the results of a job, and what it wrote: digests that say which jobs run again."""

import ast
import functools
import hashlib
import json

from lib import backends, recommenders
from lib.data import sources
from lib.evaluation import results
from lib.study import MOCK, NO_LISTENERS, provenance, resolve
from lib.study.answers import read_answers
from lib.study.provenance import code_digest
from lib.study.tables import read_parquet
from workflow import dag

DRAWING = ("lib.figures",)  # an edit there runs no costly job again


@functools.cache
def code_cells(notebook):
    """Code cells of a notebook: (text, tags) of each."""
    cells = json.loads((dag.NOTEBOOKS / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    return tuple(("".join(cell["source"]), tuple(cell["metadata"].get("tags", ()))) for cell in code)


@functools.cache
def _code_digest(notebook, also, without):
    return code_digest([text for text, _ in code_cells(notebook)], also=also, without=without)


def digest(study, job, there=()):
    """What decides a job's results besides the results that it needs, as a short text.

    Code that its notebook reaches, parameters that its row reads, tuned options, the registry's entries of the backends
    that it names, and files that the study does not make. Of a costly job the code that draws is left out.

    Parameters
    ----------
    study : Study
    job : Job
    there : list of Job
        All jobs, for the one that gathers what the others made.

    Returns
    -------
    str
    """
    row = job.row
    parts = [
        _code_digest(row.notebook, _modules(study, job), DRAWING if row.costly else ()),
        _hash(read_values(study, row)),
        *([_hash(tuned)] if (tuned := _tuned(study, row)) else []),
        *([_hash(entries)] if (entries := _entries(study, job)) else []),
        *([sources_digest(study.parameters)] if row.sources else []),
    ]
    if row.notebook == "90_export_thesis":  # figures are drawn anew though scores are the same
        parts.append(_hash([digest(study, other) for other in there if other.row not in dag.ROWS[-2:]]))
    return "-".join(part for part in parts if part)


def drawn_by(study, job):
    """Digest of all code behind a costly job, drawing included, and of how its figures look; empty for other jobs."""
    if not job.row.costly:
        return ""
    looks = {name: getattr(study.parameters, name) for name in dag.LOOKS}
    return f"{_code_digest(job.row.notebook, _modules(study, job), ())}-{_hash(looks)}"


def read_values(study, row):
    """Values of the parameters that decide a row's results, as {name: value}."""
    names = [*row.reads, *dag.WORLD, *(() if row.costly else dag.LOOKS)]
    values = {name: getattr(study.parameters, name.removesuffix("?")) for name in names}
    return {name: bool(value) if name.endswith("?") else value for name, value in values.items()}


def cell_reads(notebook):
    """Names of a notebook's ``parameters`` cells that its other cells read."""
    cells = [(names_parameters(tags), ast.parse(text)) for text, tags in code_cells(notebook)]
    held = {node.target.id for own, tree in cells if own for node in tree.body if isinstance(node, ast.AnnAssign)}
    found = [node for own, tree in cells if not own for node in ast.walk(tree) if isinstance(node, ast.Name)]
    return {node.id for node in found if isinstance(node.ctx, ast.Load)} & held


def names_parameters(tags):
    """Whether a cell with these tags holds parameters: papermill's own, or one above it, where one is too many."""
    return any(tag.startswith("parameters") for tag in tags)


def undeclared(job, read):
    """Parameters that a job's cells, or the code that they call, have read and its row does not name, sorted."""
    read = {*read, *cell_reads(job.row.notebook)}
    allowed = {name.removesuffix("?") for name in job.row.reads} | {*dag.FREE, *(["backend"] if job.backend else [])}
    return sorted(read - allowed)


def _hash(value):
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=repr).encode()).hexdigest()[:12]


def _modules(study, job):
    """Modules that a job loads by name: networks of backends, and recommenders of one's own."""
    names = [name for name in job.row.networks(study, job.backend) if name in backends.REGISTRY]
    found = {f"lib.backends.networks.{backends.REGISTRY[name].adapter}" for name in names}
    if "recommender_table" in job.row.reads:
        own = [*recommenders.own(vectors=True), *recommenders.own(vectors=False)]
        found |= {recommenders.KINDS[kind][0] for kind in own}
    return tuple(sorted(found))


def _entries(study, job):
    """What the registry says of the backends that a job names: a costly one only asks which twin its backend has."""
    if job.row.networks(study, job.backend):
        return [repr(backends.REGISTRY.get(name)) for name in job.row.networks(study, job.backend)]
    if job.row.costly:
        return [backends.UNTRAINED.get(job.backend)] if job.backend else []
    named = {"backend", "backend_ids"} & set(job.row.reads)
    return [repr(backends.REGISTRY.get(name)) for name in dag.networks(study)] if named else []


def _tuned(study, row):
    """What a search chose for the kinds that a notebook names, or for all that it takes variants of."""
    if "recommender_table" not in row.reads or not study.tuned.is_file():
        return {}
    text = "".join(text for text, _ in code_cells(row.notebook))
    found = json.loads(study.tuned.read_text())
    return {
        name: one["winner"] for name, one in found.items() if f'"{one["kind"]}"' in text or "variants.table" in text
    }


def sources_digest(parameters):
    """What lies in the files that a study reads and does not make: their names, sizes and times of change.

    Parameters
    ----------
    parameters : Parameters

    Returns
    -------
    str
        Empty where there are none.
    """
    p = parameters
    folders = [p.dataset_folder] if p.dataset not in sources.GENERATED else []
    folders += [p.listening_folder] if p.listening_source not in (MOCK, NO_LISTENERS) else []
    files = [resolve(name) for name in (p.labels_table, p.public_log) if name]
    for folder in {resolve(folder) for folder in folders if folder}:
        files += [path for path in folder.rglob("*") if path.is_file()]
    seen = sorted((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files if path.is_file())
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:12] if seen else ""


def named_files(study, job, of=None):
    """Patterns of the files that a job writes (or of some of them), backend and names of recommenders filled in."""
    of = (*job.row.writes, *job.row.shares) if of is None else of
    names = list(job.row.makes(study)) if job.row.makes else ["*"]
    filled = [text.format(name=name, backend=job.backend or "*") for text in of for name in names]
    return list(dict.fromkeys(filled))


def made(study, job):
    """Fingerprints of what a job wrote: equal ones mean that nothing after it has to run again.

    Returns
    -------
    dict of {str: str}
        File, or file#part, to a hash of its content.
    """
    found = {}
    for pattern in named_files(study, job, job.row.writes):
        file, _, part = pattern.partition("#")
        if part:
            found[pattern] = _part(study, file, part)
            continue
        paths = sorted(path for path in study.path().glob(file) if path.is_file())
        found |= {path.relative_to(study.path()).as_posix(): provenance.file_hash(path) for path in paths}
    return found


def _part(study, file, part):
    """Hash of what one job wrote of a file that several write to."""
    if file == "vectors.lance":
        from lib.backends.vectors import VectorStore

        vectors = VectorStore(study.path(file)).read(part)
        return hashlib.sha256("".join(vectors.ids).encode() + vectors.values.tobytes()).hexdigest()[:16]
    if file == "answers.json":
        return _hash(read_answers(study)[part])
    if not study.path(file).is_file():
        return ""
    frame = read_parquet(study.path(file))
    own = results.of_backends(study, frame) == (part == "pairs")
    return hashlib.sha256(frame[own].to_csv(index=False).encode()).hexdigest()[:16]


def stale_pictures(study, there):
    """Costly jobs whose results stand and whose figures were drawn by other drawing code, or with other looks."""
    manifest = study.path("manifest.json")
    ran = json.loads(manifest.read_text()) if manifest.is_file() else {}
    drawn = [(job, ran.get("drawn_by", {}).get(job.name)) for job in there if job.row.costly]
    return [
        job
        for job, by in drawn
        if by not in (None, drawn_by(study, job))
        and dag.is_done(study, job.name)
        and ran["digest"].get(job.name) == digest(study, job)
    ]
