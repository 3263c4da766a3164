"""What a run of a study would do, before anything starts."""

import re
import subprocess

import pandas as pd

from lib import backends
from lib.backends import checkpoints
from lib.backends.vectors import VectorStore
from lib.data import sources
from lib.study import MOCK, NO_LISTENERS, resolve
from workflow import dag

MEGABYTES_PER_SECOND = {"audio": 0.05, "features": 0.024}  # of a clip


def describe(study, snakemake):
    """Jobs, hours, memory, disk and missing inputs of a study as a few lines of text.

    Parameters
    ----------
    study : Study
    snakemake : list of str
        The command that would run; it is asked which jobs are still to do.
    """
    jobs = _jobs(study, snakemake)
    p = study.parameters
    table = pd.DataFrame(
        {
            "notebook": [job.row.notebook for job in jobs],
            "jobs": 1,
            "cpu minutes, about": [dag.seconds(study, job) / 60 for job in jobs],
            "MB per job in demo": [job.row.megabytes for job in jobs],
        }
    )
    by_notebook = table.groupby("notebook").agg({"jobs": "sum", table.columns[2]: "sum", table.columns[3]: "max"})
    minutes = table["cpu minutes, about"].sum()
    clips = dag.n_tracks(study) if dag.networks(study) else 0
    megabytes = clips * p.clip_seconds * sum(MEGABYTES_PER_SECOND.values())
    lines = [
        f"study {study.name}: {_tracks(study)}, {_listeners(study)}, {len(p.backend_ids)} backends",
        by_notebook.round(1).to_string() if jobs else "nothing to do: every result is there and up to date",
        f"in all about {minutes:.0f} cpu minutes ({minutes / 2:.0f} on two cores); "
        f"disk when complete about {megabytes + 100:.0f} MB in {study.relative(study.runs)}/",
        *_already(study),
        *_missing(study),
    ]
    return "\n".join(lines)


def _missing(study):
    """What the study's sources say is not there, or is not as published."""
    p = study.parameters
    needed = [checkpoints.missing(name) for name in dag.networks(study) if name in backends.REGISTRY]
    found = [sentence for sentence in needed if sentence]
    if p.dataset in sources.GENERATED and p.listening_source in (MOCK, NO_LISTENERS) and not found:
        return ["missing: nothing; this study makes what it needs"]
    real = study.has_listeners and p.listening_source != MOCK
    if p.dataset not in sources.GENERATED:
        source = sources.source(p.dataset)
        alone = real and p.listening_folder and p.listening_source == p.dataset
        check = getattr(source, "validate_base", source.validate) if alone else source.validate
        found += check(resolve(p.dataset_folder))
    if real and p.listening_folder:
        source = sources.source(p.listening_source)
        found += getattr(source, "validate_log", source.validate)(resolve(p.listening_folder))
    return [f"noticed: {sentence}" for sentence in found] or ["missing: nothing"]


def _tracks(study):
    count = dag.n_tracks(study)
    return f"{count} tracks" if count else f"tracks of {study.parameters.dataset} (counted by 10_prepare_data)"


def _listeners(study):
    p = study.parameters
    if p.listening_source == MOCK:
        return f"{p.n_users} mock listeners"
    return f"listening from {p.listening_source}" if study.has_listeners else "no listeners"


def spoken(snakemake):
    """The same command without what silences it."""
    return [word for word in snakemake if word not in ("--quiet", "all")]


def _jobs(study, snakemake):
    """Jobs that Snakemake would run."""
    found = subprocess.run([*spoken(snakemake), "--dry-run"], capture_output=True, text=True)
    if found.returncode:
        raise RuntimeError(found.stderr.strip() or found.stdout.strip())
    named = set(re.findall(r"output: done/(\S+)\.done\.json", found.stdout + found.stderr))
    return [job for job in dag.jobs(study, extended=True) if job.name in named]


def _already(study):
    store = VectorStore(study.path("vectors.lance"))
    ready = [f"{name} ({len(store.ids(name))})" for name in store.names()]
    return [f"vectors there already: {', '.join(ready)}"] if ready else []
