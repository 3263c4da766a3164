"""Which notebook is which stage of a study: shared by the Snakefile, the runner of one job and the plan."""

import ast
import hashlib
import json
from pathlib import Path

import nbformat
import yaml

from lib import backends, recommenders
from lib.backends import checkpoints, pseudo
from lib.backends.imported import is_ready_made
from lib.data import sources
from lib.study import MOCK, NO_LISTENERS, ROOT, Study, load_parameters, parameters_digest, resolve
from lib.study.provenance import code_digest
from lib.study.tables import read_parquet

NOTEBOOKS = ROOT / "notebooks"
TRAINING = ("40_shallow_net", "50_bert4rec", "61_hybrids")  # on the vectors of one backend
# beside hybrids on all backends
EXTENDED = ("22_layers_and_pooling", "62_published_vs_corrected", "63_tuning", "73_data_scarcity")
PER_BACKEND = ("20_extract_embeddings", "30_knn", *TRAINING)


def parameters_of(study, overrides):
    """Checked parameters of a study, as a ``Parameters``."""
    return load_parameters(study, overrides)


def parse_overrides(words):
    """``['n_users=300', …]`` as a dict, values read as YAML."""
    pairs = [word.split("=", 1) for word in words]
    for pair in pairs:
        if len(pair) != 2:
            raise ValueError(f"Expected name=value, found {pair[0]!r}; for example SET='n_users=300 seed=7'.")
    try:
        return {name: yaml.safe_load(value) for name, value in pairs}
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"Expected YAML after name=, found {words}: {str(error).splitlines()[0]}.") from None


def twins(parameters):
    """Untrained twins of a study's backends, each once."""
    return sorted({backends.UNTRAINED[name] for name in parameters.backend_ids if name in backends.UNTRAINED})


def extracted(parameters):
    """Those of a study's backends that have vectors to extract or to import."""
    return [name for name in parameters.backend_ids if name != pseudo.FACTORS]


def trainings(parameters, extended):
    """(notebook, backend) of the jobs that train on vectors, where the table names a recommender for them.

    Hybrids on all backends are for ``make extended``; where they are there, ``make workbook`` keeps them up to date.
    """
    study = Study(parameters)
    bert4rec = study.options("bert4rec").values()
    named = {
        "40_shallow_net": study.options("shallow_net", *recommenders.own(vectors=True)),
        "50_bert4rec": [options for options in bert4rec if not options.get("ids")],
        "61_hybrids": [*study.options("hybrid", "bimodal"), *(options for options in bert4rec if options.get("ids"))],
    }
    jobs = [(name, backend) for name in TRAINING if named[name] for backend in study.trained_on]
    few = (study.one_backend, "artist")
    return [
        job for job in jobs if job[0] != "61_hybrids" or extended or job[1] in few or _is_done(study, job_name(*job))
    ]


def _is_done(study, job):
    return study.path("done", f"{job}.done.json").is_file()


def last_notebooks(parameters, extended):
    """The notebooks that a study ends in, before the index: what its audio and its listeners allow.

    What only ``make extended`` runs is kept up to date by ``make workbook`` once it is there.
    """
    study = Study(parameters)
    listeners = study.has_listeners
    compared = listeners and bool(parameters.backend_ids)
    more = {name: extended or _is_done(study, name) for name in EXTENDED}
    wanted = {
        "11_listening_realism": listeners,
        "12_fit_to_public": parameters.dataset == "recordings",
        "21_inspect_embeddings": bool(extracted(parameters)),
        "22_layers_and_pooling": more["22_layers_and_pooling"] and bool(parameters.layers_backend),
        "31_item_retrieval": bool(extracted(parameters)),
        "60_baselines": listeners,
        "62_published_vs_corrected": more["62_published_vs_corrected"]
        and compared
        and bool(parameters.variant_table)
        and study.one_backend in study.trained_on,
        "63_tuning": more["63_tuning"] and listeners and bool(parameters.tuning_grids),
        "64_beyond_accuracy": listeners,
        "70_rq1_viability": compared,
        "71_rq2_backends": compared,
        "72_rq3_mir_correlation": compared,
        "73_data_scarcity": more["73_data_scarcity"] and compared and bool(parameters.scarcity_recommenders),
        "74_does_it_measure": compared and study.world == "mock",
        "80_listen": listeners or bool(extracted(parameters)),
    }
    return [name for name, holds in wanted.items() if holds]


def check_backends(parameters):
    """Refuse a study with a backend that does not exist, before anything starts."""
    known = [*backends.names(twins=False), pseudo.FACTORS]
    unknown = [name for name in parameters.backend_ids if name not in known and not is_ready_made(name)]
    if unknown:
        raise ValueError(
            f"Unknown backend {unknown[0]!r} in backend_ids; known are {', '.join(known)}, and onion_<feature> for "
            "the files of Music4All-Onion."
        )
    layered = parameters.layers_backend
    if layered and (layered not in backends.names() or "layer" not in backends.options(layered)):
        raise ValueError(f"Expected a backend with layers in layers_backend, found {layered!r}; mert_95m is one.")


def check_weights(parameters):
    """Refuse a study with a network that cannot run here, before anything starts; what a hub has is fetched now."""
    for name in networks(parameters):
        sentence = checkpoints.missing(name, fetch=True) if name in backends.REGISTRY else None
        if sentence:
            raise ValueError(sentence)


def networks(parameters):
    """All that a study extracts or imports, untrained twins too."""
    return [*extracted(parameters), *twins(parameters)]


def forget_missing_audio(study):
    """Let data be prepared again where a clip that its tracks name is gone (its cache was deleted, say)."""
    tracks = study.path("data", "tracks.parquet")
    if tracks.is_file() and not all(resolve(path).is_file() for path in read_parquet(tracks)["path"] if path):
        study.path("done", "10_prepare_data.done.json").unlink(missing_ok=True)


def job_name(notebook, backend=None):
    """Name of a job, as in its executed copy and its done file."""
    return f"{notebook}.{backend}" if backend else notebook


def names_parameters(cell):
    """Whether a cell holds parameters: papermill's own, or one above it, where there are too many for one cell."""
    return any(tag.startswith("parameters") for tag in cell.metadata.get("tags", []))


def digest(notebook, parameters):
    """What a job's result depends on besides its inputs: notebook, imported library, parameters, tuned options."""
    cells = nbformat.read(NOTEBOOKS / f"{notebook}.ipynb", as_version=4).cells
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    named = "\n".join(cell.source for cell in cells if names_parameters(cell))
    names = [node.target.id for node in ast.parse(named).body]
    names = [name for name in names if not (name == "backend" and notebook in PER_BACKEND)]
    names += (
        ["recommender_table"] if notebook >= "30" or notebook == "00_index" else []
    )  # too nested for a parameters cell
    names += ["variant_table"] if notebook == "62_published_vs_corrected" else []
    return f"{code_digest(code)}-{parameters_digest(parameters, names)}{_tuned_digest(code, parameters)}"


def digest_of_all(notebooks, parameters):
    """What the results of several jobs depend on, as one digest."""
    return hashlib.sha256("".join(digest(name, parameters) for name in notebooks).encode()).hexdigest()[:12]


def _tuned_digest(code, parameters):
    """What a search chose for the kinds that a notebook names, or for all that it takes variants of."""
    code = "".join(code)
    tuned = read_json(Study(parameters).tuned)
    named = {name: found for name, found in tuned.items() if f'"{found["kind"]}"' in code or "variants.table" in code}
    used = {name: found["winner"] for name, found in named.items()}
    return "-" + hashlib.sha256(json.dumps(used, sort_keys=True).encode()).hexdigest()[:8] if used else ""


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


def read_json(path):
    """A small JSON file, or an empty dict where it is missing."""
    path = Path(path)
    return json.loads(path.read_text()) if path.is_file() else {}
