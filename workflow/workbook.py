"""Run a study from data to answers: ``python workflow/workbook.py STUDY`` (``make workbook`` calls this).

Checks every parameter before anything starts, takes the study's lock, and hands over to Snakemake.
"""

import argparse
import fcntl
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import yaml

from lib.data import preparation
from lib.study import Study
from lib.study.provenance import write_json
from lib.study.tables import sweep
from workflow import stages
from workflow.plan import describe, spoken

SNAKEFILE = Path(__file__).resolve().parent / "Snakefile"
PROFILES = SNAKEFILE.parent / "profiles"


def main():
    """Check, lock, run; exit code 2 for a parameter that is not right, 1 when a notebook failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="name of a file in params/")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="parameters over those of the study")
    parser.add_argument("--plan", action="store_true", help="print jobs, time, disk and what is missing; run nothing")
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="jobs at a time (default: %(default)s)")
    parser.add_argument("--tune", action="store_true", help="only search the options that params leave open")
    parser.add_argument("--extended", action="store_true", help="add hybrids on all backends, layers, variants …")
    parser.add_argument("--profile", help="a folder in workflow/profiles, for a cluster")
    options = parser.parse_args()
    try:
        overrides = stages.parse_overrides(options.set)
        study = Study(stages.parameters_of(options.study, overrides))
        stages.check_backends(study.parameters)
        preparation.check_sources(study)
        check_profile(options.profile)
        if not options.plan:
            stages.check_weights(study.parameters)
    except (ValueError, FileNotFoundError) as error:
        print(f"make workbook: {error}", file=sys.stderr)
        return 2
    command = snakemake(study, options, overrides)
    if options.plan:
        print(describe(study, command))
        return 0
    return run(study, command)


def check_profile(name):
    """Refuse a profile that is not there, or whose executor is not installed; None is this machine.

    Raises
    ------
    ValueError
        With a sentence that says what to install.

    Examples
    --------
    >>> check_profile(None)
    """
    if name is None:
        return
    config = PROFILES / name / "config.yaml"
    if not config.is_file():
        found = ", ".join(sorted(path.parent.name for path in PROFILES.glob("*/config.yaml")))
        raise ValueError(f"Expected a profile in workflow/profiles, found none named {name!r}; there are {found}.")
    plugin = f"snakemake-executor-plugin-{yaml.safe_load(config.read_text())['executor']}"
    if importlib.util.find_spec(plugin.replace("-", "_")) is None:
        raise ValueError(
            f"Expected the package {plugin} for the profile {name}, found it not installed; run "
            f"`.venv/bin/pip install -c requirements.lock {plugin}`."
        )


def snakemake(study, options, overrides):
    """The Snakemake command line of a study; results and Snakemake's own records lie in the study's folder."""
    config = study.path(".workflow.json")  # not --config: that reads the numbers inside a JSON value as words
    write_json(config, {"study": options.study, "overrides": overrides, "extended": options.extended})
    where = ["--profile", str(PROFILES / options.profile)] if options.profile else ["--cores", str(options.cores)]
    target = ["done/63_tuning.done.json"] if options.tune else []
    return [
        *(sys.executable, "-m", "snakemake", *target, "--snakefile", str(SNAKEFILE), "--directory", str(study.path())),
        *(*where, "--rerun-incomplete", "--rerun-triggers", "mtime", "params", "input", "--quiet", "all"),
        *("--configfile", str(config)),
    ]


def run(study, command):
    """Run Snakemake under the study's lock.

    The lock is the kernel's and dies with the process, so whoever holds it knows that a lock file of Snakemake's is
    stale. Snakemake inherits it: the lock lives as long as either does.
    """
    lock = os.open(study.path(".workflow.lock"), os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"make workbook: study {study.name} is already running; wait for it or stop it first.", file=sys.stderr)
        return 1
    sweep(study.runs)
    stages.forget_missing_audio(study)
    if any(study.path(".snakemake", "locks").glob("*")):
        subprocess.run([*command, "--unlock"], check=True, capture_output=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}  # one thread a job: two cost more than one here
    child = subprocess.Popen(command, pass_fds=(lock,), env=environment)
    while True:
        try:
            code = child.wait()
            break
        except KeyboardInterrupt:  # Snakemake got it too and stops its jobs
            continue
    if code:
        print(f"make workbook: stopped; {last_words(study, command)}", file=sys.stderr)
    return 1 if code else 0


def last_words(study, command):
    """Where Snakemake's log of the last run is, and its error where it could not even begin."""
    trial = subprocess.run([*spoken(command), "--dry-run"], capture_output=True, text=True)
    if trial.returncode:
        return "\n" + trial.stderr.strip()
    logs = sorted(study.path(".snakemake", "log").glob("*.log"))
    return f"what is above says why; Snakemake's own words are in {study.relative(logs[-1])}"


if __name__ == "__main__":
    sys.exit(main())
