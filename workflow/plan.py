"""What a run of a study would do, before anything starts."""

import subprocess

import numpy as np
import pandas as pd

from lib.vectors import VectorStore
from workflow import stages

# Measured on two cores, one thread a job, 30 s clips (benchmarks/musicnn_speed.md and the manifest of a demo run);
# only for the plan's estimate.
SECONDS_A_CLIP = {"mfcc": 0.3, "musicnn": 0.45, "vgg": 0.45}
SECONDS_A_NOTEBOOK = 10.0
SECONDS_A_RENDERED_CLIP = 0.4
MEGABYTES_A_SECOND = {"audio": 0.05, "features": 0.024}


def describe(study, snakemake):
    """Jobs, hours, disk and missing inputs of a study as a few lines of text.

    Parameters
    ----------
    study : Study
    snakemake : list of str
        The command that would run; it is asked which jobs are still to do.
    """
    jobs = _jobs(snakemake)
    p = study.parameters
    table = pd.DataFrame({"jobs": pd.Series(jobs, dtype=int)})
    table["cpu minutes, about"] = [round(_seconds(rule, count, study) / 60, 1) for rule, count in jobs.items()]
    minutes = table["cpu minutes, about"].sum()
    megabytes = (
        p.n_tracks
        * p.clip_seconds
        * sum(MEGABYTES_A_SECOND.values() if p.feature_cache else [MEGABYTES_A_SECOND["audio"]])
    )
    lines = [
        f"study {study.name}: {p.n_tracks} tracks of {p.clip_seconds:g} s, {p.n_users} listeners ({study.world}), "
        f"{len(p.backend_ids)} backends",
        table.to_string() if jobs else "nothing to do: every result is there and up to date",
        f"in all about {minutes:.0f} cpu minutes ({minutes / 2:.0f} on two cores); "
        f"disk when complete about {megabytes + 100:.0f} MB in {study.relative(study.runs)}/",
        *_already(study),
        "missing: nothing; this study renders its own audio and simulates its listeners",
    ]
    return "\n".join(lines)


def spoken(snakemake):
    """The same command without what silences it."""
    return [word for word in snakemake if word not in ("--quiet", "all")]


def _jobs(snakemake):
    found = subprocess.run([*spoken(snakemake), "--dry-run", "--quiet", "rules"], capture_output=True, text=True)
    if found.returncode:
        raise RuntimeError(found.stderr.strip() or found.stdout.strip())
    rows = [line.split() for line in (found.stdout + found.stderr).splitlines()]
    names = {"prepare_data", "extract_embeddings", "inspect_embeddings", "knn", "baselines", "rq1_viability", "index"}
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[0] in names and row[1].isdigit()}


def _seconds(rule, count, study):
    p = study.parameters
    fixed = count * SECONDS_A_NOTEBOOK
    if rule == "prepare_data":
        return fixed + p.n_tracks * SECONDS_A_RENDERED_CLIP
    if rule == "extract_embeddings":
        each = [SECONDS_A_CLIP[name.split("_")[0]] for name in [*p.backend_ids, *stages.twins(p)]]
        return fixed + np.mean(each) * count * p.n_tracks * p.clip_seconds / 30
    if rule == "knn":
        return fixed + count * p.n_permutations * p.n_users * p.n_tracks * 3e-7
    return fixed


def _already(study):
    store = VectorStore(study.path("vectors.lance"))
    ready = [f"{name} ({len(store.ids(name))})" for name in store.names()]
    return [f"vectors there already: {', '.join(ready)}"] if ready else []
