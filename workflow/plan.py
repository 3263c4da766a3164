"""What a run of a study would do, before anything starts."""

import subprocess

import numpy as np
import pandas as pd

from lib.backends import REGISTRY, checkpoints
from lib.backends.vectors import VectorStore
from lib.data import sources
from lib.data.sources.recordings import SUFFIXES
from lib.study import MOCK, NO_LISTENERS, SMALL_RANDOM, resolve
from lib.study.tables import read_parquet
from workflow import stages

# Measured on two cores, one thread a job, 30 s clips (the manifest of a demo run); only for the plan's estimate. What a
# network takes is in the registry.
SECONDS_A_DECODED_CLIP = 0.02
SECONDS_AN_IMPORTED_VECTOR = 0.001
SECONDS_A_PROBED_CLIP = 0.3
SECONDS_A_NOTEBOOK = 10.0
SECONDS_A_RENDERED_CLIP = 0.4
# a pair of listener and track: of one training, and of all those of the baselines and of the variants for one seed
SECONDS_A_PAIR = {
    "shallow_net": 0.6e-4,
    "bert4rec": 2.5e-4,
    "hybrids": 4.3e-4,
    "baselines": 7.5e-4,
    "published_vs_corrected": 3e-3,
    "tuning": 6e-3,
}
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
    kept = list(MEGABYTES_A_SECOND)
    megabytes = _clips(study) * p.clip_seconds * sum(MEGABYTES_A_SECOND[name] for name in kept)
    lines = [
        f"study {study.name}: {_tracks(study)}, {_listeners(study)}, {len(p.backend_ids)} backends",
        table.to_string() if jobs else "nothing to do: every result is there and up to date",
        f"in all about {minutes:.0f} cpu minutes ({minutes / 2:.0f} on two cores); "
        f"disk when complete about {megabytes + 100:.0f} MB in {study.relative(study.runs)}/",
        *_already(study),
        *_missing(study),
    ]
    return "\n".join(lines)


def _missing(study):
    """What the study's sources say is not there, or is not as published."""
    p = study.parameters
    needed = [checkpoints.missing(name) for name in stages.networks(p) if name in REGISTRY]
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
    count = _n_tracks(study)
    return f"{count} tracks" if count else f"tracks of {study.parameters.dataset} (counted by 10_prepare_data)"


def _listeners(study):
    p = study.parameters
    if p.listening_source == MOCK:
        return f"{p.n_users} mock listeners"
    return f"listening from {p.listening_source}" if study.has_listeners else "no listeners"


def _clips(study):
    """Clips to embed, as far as they can be told: made ones by their number, others once they are prepared."""
    if not stages.extracted(study.parameters):
        return 0
    return _n_tracks(study)


def _n_tracks(study):
    """Tracks: made ones by their number, prepared ones as counted, others by the sound files in their folder."""
    p = study.parameters
    if p.dataset in sources.GENERATED:
        return p.n_tracks
    tracks = study.path("data", "tracks.parquet")
    if tracks.is_file():
        return len(read_parquet(tracks))
    return sum(path.suffix.lower() in SUFFIXES for path in resolve(p.dataset_folder).rglob("*"))


def spoken(snakemake):
    """The same command without what silences it."""
    return [word for word in snakemake if word not in ("--quiet", "all")]


def _jobs(snakemake):
    found = subprocess.run([*spoken(snakemake), "--dry-run", "--quiet", "rules"], capture_output=True, text=True)
    if found.returncode:
        raise RuntimeError(found.stderr.strip() or found.stdout.strip())
    rows = [line.split() for line in (found.stdout + found.stderr).splitlines()]
    counted = {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}
    return {rule: count for rule, count in counted.items() if rule not in ("total", "all")}


def _seconds(rule, count, study):
    p = study.parameters
    fixed = count * SECONDS_A_NOTEBOOK
    if rule == "prepare_data":
        return fixed + (p.n_tracks * SECONDS_A_RENDERED_CLIP if p.dataset == "scores" else 0)
    if rule == "extract_embeddings":
        each = [_seconds_a_clip(name) for name in stages.networks(p)]
        return fixed + np.mean(each) * count * _clips(study) * p.clip_seconds / 30
    if rule == "layers_and_pooling":
        passing = 0 if p.layers_backend == SMALL_RANDOM else _seconds_a_clip(p.layers_backend) * p.clip_seconds / 30
        return fixed + _clips(study) * (passing + SECONDS_A_PROBED_CLIP)
    if rule == "knn":
        return fixed + count * p.n_permutations * p.n_users * min(_n_tracks(study), 2000) * 7.5e-8
    if rule in SECONDS_A_PAIR:
        return fixed + count * _trainings(rule, study) * p.n_users * p.tracks_per_user * SECONDS_A_PAIR[rule]
    return fixed


def _trainings(rule, study):
    """Of each recommender in a job: seeds, as many with the twin, permutations, random vectors; with labels seeds."""
    p = study.parameters
    if rule == "tuning":
        return 1
    if rule in ("baselines", "published_vs_corrected"):
        return p.n_seeds
    heard = 2 * p.n_seeds + p.n_trained_permutations + 1
    return np.mean([p.n_seeds if name in p.label_columns else heard for name in study.trained_on])


def _seconds_a_clip(name):
    return REGISTRY[name].cpu_seconds + SECONDS_A_DECODED_CLIP if name in REGISTRY else SECONDS_AN_IMPORTED_VECTOR


def _already(study):
    store = VectorStore(study.path("vectors.lance"))
    ready = [f"{name} ({len(store.ids(name))})" for name in store.names()]
    return [f"vectors there already: {', '.join(ready)}"] if ready else []
