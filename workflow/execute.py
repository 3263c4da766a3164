"""Run one notebook of a study through papermill: an executed copy, a log, and a small done file with fingerprints."""

import argparse
import contextlib
import hashlib
import json
import logging
import os
import resource
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib import recommenders
from lib.study import Study, provenance
from lib.study.tables import write_atomically
from workflow import stages


def main():
    """Run the job that the command line names; exit code 1 with one sentence when a cell fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebook", help="stem of a file in notebooks/")
    parser.add_argument("--study", required=True)
    parser.add_argument("--backend")
    parser.add_argument("--overrides", default="{}", help="parameters as JSON, over those of the study")
    options = parser.parse_args()
    study = Study(stages.parameters_of(options.study, json.loads(options.overrides)))
    job = stages.job_name(options.notebook, options.backend)
    started = time.monotonic()
    own_stderr(study.path("logs", f"{job}.kernel.log"))
    try:
        with echoed(study.path("logs", f"{job}.log"), job) as log:
            execute(study, options.notebook, job, options.backend, log)
    except RuntimeError as error:
        print(f"✗ {job}: {error}", file=sys.stderr, flush=True)
        return 1
    seconds = round(time.monotonic() - started, 1)
    provenance.write_json(
        study.path("done", f"{job}.done.json"), fingerprints(study, options.notebook, options.backend)
    )
    megabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024  # the kernel's; Linux counts in KiB
    provenance.write_manifest(study.path("manifest.json"), manifest(study, job, seconds, megabytes))
    print(f"✓ {job}  {seconds:.0f} s, {megabytes} MB at most", flush=True)
    return 0


def execute(study, notebook, job, backend, log):
    """Execute a copy under ``executed/``; a failing one is kept as ``.failed.ipynb`` for reading."""
    import papermill

    logging.getLogger("papermill").setLevel(
        logging.ERROR
    )  # it warns of parameters a notebook does not name; all are checked
    os.environ |= {"WORKBOOK_LOG": str(log), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    parameters = study.parameters.model_dump() | ({"backend": backend} if backend else {})
    failed = study.path("executed", f"{job}.failed.ipynb")
    failed.unlink(missing_ok=True)
    with write_atomically(study.path("executed", f"{job}.ipynb")) as beside:
        try:
            papermill.execute_notebook(
                stages.NOTEBOOKS / f"{notebook}.ipynb",
                beside,
                parameters=parameters,
                kernel_name="python3",
                progress_bar=False,
                cwd=stages.NOTEBOOKS,
            )
        except papermill.PapermillExecutionError as error:
            os.replace(beside, failed)
            raise RuntimeError(
                f"{error.ename}: {error.evalue} (cell {error.exec_count}; see {study.relative(failed)})"
            ) from None


def own_stderr(path):
    """Keep standard error for what this program says; what kernel and engine write to it goes to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    with open(path, "w") as file:
        os.dup2(file.fileno(), 2)


@contextlib.contextmanager
def echoed(log, job):
    """A log file whose lines also appear here, as they come."""
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("")
    stop = threading.Event()

    def follow():
        with open(log) as lines:
            while not stop.wait(0.5):
                for line in lines:
                    print(f"  {job}: {line.rstrip()}", file=sys.stderr, flush=True)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield log
    finally:
        stop.set()
        thread.join()


def fingerprints(study, notebook, backend):
    """Content of what a job made: equal files mean that nothing downstream has to run again."""

    def scores_of(*kinds):
        return [f"per_user/{name}.{backend}.*.parquet" for kind in kinds for name in study.named(kind)]

    patterns = {
        "10_prepare_data": ["data/*.parquet"],
        "20_extract_embeddings": [],
        "30_knn": scores_of("knn"),
        "40_shallow_net": scores_of("shallow_net", *recommenders.own(vectors=True)),
        "50_bert4rec": scores_of("bert4rec"),
        "61_hybrids": scores_of("hybrid", "bimodal", "bert4rec"),
        "63_tuning": ["tuned.json"],
        "22_layers_and_pooling": ["layers.parquet"],
        "31_item_retrieval": ["item_retrieval.parquet"],
        "60_baselines": ["per_user/*.none.*.parquet"],
        "70_rq1_viability": ["comparisons.parquet"],
        "71_rq2_backends": ["backend_comparisons.parquet", "worlds.parquet"],
        "72_rq3_mir_correlation": ["mir_probes.parquet"],
        "73_data_scarcity": ["scarcity/*.parquet"],
    }.get(notebook, [])
    files = sorted(file for pattern in patterns for file in study.path().glob(pattern))
    found = {file.relative_to(study.path()).as_posix(): provenance.file_hash(file) for file in files}
    if notebook == "20_extract_embeddings":
        from lib.backends.vectors import VectorStore

        vectors = VectorStore(study.path("vectors.lance")).read(backend)
        content = hashlib.sha256("".join(vectors.ids).encode() + vectors.values.tobytes()).hexdigest()[:16]
        found[f"vectors.lance/{backend}"] = content
    return {"notebook": notebook, "backend": backend, "made": found}


def manifest(study, job, seconds, megabytes):
    """What a study's manifest says of a job and of the machine it ran on."""
    return {
        "study": study.name,
        "world": study.world,
        "parameters": study.parameters.model_dump(),
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "data": provenance.data_fingerprint(study.path("data")),
        "seconds": {job: seconds},
        "peak_megabytes": {job: megabytes},
    }


if __name__ == "__main__":
    sys.exit(main())
