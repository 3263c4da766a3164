"""Run one notebook of a study through papermill: an executed copy, a log, and a small done file with fingerprints."""

import argparse
import contextlib
import json
import logging
import os
import resource
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.study import Study, load_parameters, provenance
from lib.study.study import READS
from lib.study.tables import write_atomically
from workflow import dag, digests


def main():
    """Run the job that the command line names; exit code 1 with one sentence when it fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebook", help="stem of a file in notebooks/")
    parser.add_argument("--study", required=True)
    parser.add_argument("--backend")
    parser.add_argument("--overrides", default="{}", help="parameters as JSON, over those of the study")
    options = parser.parse_args()
    study = Study(load_parameters(options.study, json.loads(options.overrides)))
    job = dag.Job(dag.ROW[options.notebook], options.backend)
    started = time.monotonic()
    code = {"digest": {job.name: digests.digest(study, job)}, "drawn_by": {job.name: digests.drawn_by(study, job)}}
    own_stderr(study.path("logs", f"{job.name}.kernel.log"))
    try:
        with echoed(study.path("logs", f"{job.name}.log"), job.name) as log:
            execute(study, job, log)
    except RuntimeError as error:
        print(f"✗ {job.name}: {error}", file=sys.stderr, flush=True)
        return 1
    seconds = round(time.monotonic() - started, 1)
    megabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024  # the kernel's; Linux counts in KiB
    done = {"notebook": options.notebook, "backend": options.backend, "made": digests.made(study, job)}
    provenance.write_manifest(study.path("manifest.json"), manifest(study, job.name, seconds, megabytes) | code)
    provenance.write_json(study.path("done", f"{job.name}.done.json"), done)
    print(f"✓ {job.name}  {seconds:.0f} s, {megabytes} MB at most", flush=True)
    return 0


def execute(study, job, log):
    """Execute a copy under ``executed/``; a failing one is kept as ``.failed.ipynb`` for reading.

    Raises
    ------
    RuntimeError
        When a cell fails, or reads a parameter that the job's row does not name.
    """
    import papermill

    logging.getLogger("papermill").setLevel(
        logging.ERROR
    )  # it warns of parameters a notebook does not name; all are checked
    read = log.with_suffix(".reads")
    read.write_text("")
    os.environ |= {"WORKBOOK_LOG": str(log), READS: str(read), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    parameters = study.parameters.model_dump() | ({"backend": job.backend} if job.backend else {})
    failed = study.path("executed", f"{job.name}.failed.ipynb")
    failed.unlink(missing_ok=True)
    with write_atomically(study.path("executed", f"{job.name}.ipynb")) as beside:
        try:
            papermill.execute_notebook(
                dag.NOTEBOOKS / f"{job.row.notebook}.ipynb",
                beside,
                parameters=parameters,
                kernel_name="python3",
                progress_bar=False,
                cwd=dag.NOTEBOOKS,
            )
        except papermill.PapermillExecutionError as error:
            os.replace(beside, failed)
            raise RuntimeError(
                f"{error.ename}: {error.evalue} (cell {error.exec_count}; see {study.relative(failed)})"
            ) from None
    undeclared = digests.undeclared(job, read.read_text().split())
    if undeclared:
        raise RuntimeError(
            f"{job.row.notebook} read the parameter {undeclared[0]!r}, which its row does not name, so that a change "
            "of it would run nothing again: add it to reads in workflow/dag.py."
        )


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
