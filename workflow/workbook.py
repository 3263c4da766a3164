"""Run a study from data to answers: ``python workflow/workbook.py STUDY`` (``make workbook`` calls this).

Checks every parameter before anything starts, takes the study's lock, and hands over to Snakemake.
"""

import argparse
import fcntl
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import yaml

from lib import backends
from lib.backends import checkpoints
from lib.study import Study, folder, load_parameters, resolve
from lib.study.provenance import write_json
from lib.study.tables import read_parquet, sweep
from workflow import dag, digests
from workflow.plan import describe, spoken

SNAKEFILE = Path(__file__).resolve().parent / "Snakefile"
PROFILES = SNAKEFILE.parent / "profiles"
ADDED = ".backends.json"  # in a study's folder: backends that BACKEND= has added


def main():
    """Check, lock, run; exit code 2 for a parameter that is not right, 1 when a notebook failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="name of a file in params/")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="parameters over those of the study")
    parser.add_argument("--backend", nargs="*", default=[], metavar="NAME", help="backends to add to the study's")
    parser.add_argument("--plan", action="store_true", help="print jobs, time, disk and what is missing; run nothing")
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="jobs at a time (default: %(default)s)")
    parser.add_argument("--tune", action="store_true", help="only search the options that params leave open")
    parser.add_argument("--extended", action="store_true", help="add hybrids on all backends, layers, variants …")
    parser.add_argument("--redraw", action="store_true", help="draw figures anew that earlier drawing code has drawn")
    parser.add_argument("--profile", help="a folder in workflow/profiles, for a cluster")
    options = parser.parse_args()
    try:
        study, overrides = opened(options.study, options.set, options.backend)
        from lib.data import preparation  # half a second; what is misspelt is said before

        preparation.check_sources(study)
        check_profile(options.profile)
        if not options.plan:
            check_weights(study)
    except (ValueError, FileNotFoundError) as error:
        print(f"make workbook: {error}", file=sys.stderr)
        return 2
    command = snakemake(study, options, overrides)
    said = list(notes(study, options))
    if options.plan:
        anew = ["--forceall"] * folder.is_of_earlier_layout(study)
        print("\n".join([*said, describe(study, command + anew)]))
        return 0
    return run(study, command, options, said)


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


def opened(name, words, new=()):
    """Open a study with the parameters of a command line and the backends that were added to it.

    Parameters
    ----------
    name : str
        Of a file in params/.
    words : list of str
        ``name=value``.
    new : list of str
        Backends to add now. They stay with the study's results (`ADDED`) until that file is deleted.

    Returns
    -------
    (Study, dict)
        The study, and all that differs from its files in params/.
    """
    overrides = parse_overrides(words)
    study = Study(load_parameters(name, overrides))
    if "backend_ids" in overrides:
        if new:
            raise ValueError("Expected BACKEND= or backend_ids in SET=, found both; leave one out.")
        return study, overrides
    ids, record = study.parameters.backend_ids, study.path(ADDED)
    more = dict.fromkeys([*(json.loads(record.read_text()) if record.is_file() else []), *new])
    if set(more) - set(ids):
        overrides |= {"backend_ids": list(dict.fromkeys([*ids, *more]))}
    return Study(load_parameters(name, overrides)), overrides


def check_weights(study):
    """Refuse a study with a network that cannot run here, before anything starts; what a hub has is fetched now."""
    for name in dag.networks(study):
        sentence = checkpoints.missing(name, fetch=True) if name in backends.REGISTRY else None
        if sentence:
            raise ValueError(sentence)


def notes(study, options):
    """What to know before a run: backends that were added, results of an earlier layout, figures drawn earlier."""
    usual = load_parameters(options.study).backend_ids
    added = [name for name in study.parameters.backend_ids if name not in usual]
    if added and not any(word.startswith("backend_ids=") for word in options.set):
        yield (
            f"with {', '.join(added)}, added by BACKEND=, in this run and in every later one until "
            f"{study.relative(study.path(ADDED))} is deleted; for notebooks opened by hand name it in backend_ids of "
            f"params/{options.study}.yaml."
        )
    if folder.is_of_earlier_layout(study):
        extended = [row.notebook for row in dag.ROWS if row.extended and dag.is_done(study, row.notebook)]
        again = f" What make extended made ({', '.join(extended)}) needs make extended again." if extended else ""
        yield (
            f"The results of study {study.name} are of an earlier layout of the workbook: all jobs run again; vectors "
            f"and trainings are taken over where their own digest agrees.{again}"
        )
        return
    stale = digests.stale_pictures(study, dag.jobs(study, options.extended))
    if stale:
        first = ", ".join(job.name for job in stale[:3]) + (", …" if len(stale) > 3 else "")
        how = "they are drawn anew." if options.redraw else f"make workbook STUDY={options.study} REDRAW=1 draws anew."
        yield f"Figures of {len(stale)} jobs ({first}) were drawn by earlier drawing code; numbers stand, {how}"


def forget_missing_audio(study):
    """Let data be prepared again where a clip that its tracks name is gone (its cache was deleted, say)."""
    tracks = study.path("data", "tracks.parquet")
    if tracks.is_file() and not all(resolve(path).is_file() for path in read_parquet(tracks)["path"] if path):
        study.path("done", "10_prepare_data.done.json").unlink(missing_ok=True)


def make_ready(study, options):
    """Delete what this run must not reuse, and note what later runs have to know."""
    sweep(study.runs)
    if folder.is_of_earlier_layout(study):
        folder.forget_results(study, keep=("checkpoints", "layers.lance"))  # each with a digest of its own
    folder.note_layout(study)
    if options.backend:
        record = study.path(ADDED)
        before = json.loads(record.read_text()) if record.is_file() else []
        write_json(record, list(dict.fromkeys([*before, *options.backend])))
    forget_missing_audio(study)
    if options.redraw:
        for job in digests.stale_pictures(study, dag.jobs(study, options.extended)):
            study.path("done", f"{job.name}.done.json").unlink()


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
    write_json(config, {"study": options.study, "overrides": overrides, "extended": options.extended or options.tune})
    where = ["--profile", str(PROFILES / options.profile)] if options.profile else ["--cores", str(options.cores)]
    target = ["done/63_tuning.done.json"] if options.tune else []
    return [
        *(sys.executable, "-m", "snakemake", *target, "--snakefile", str(SNAKEFILE), "--directory", str(study.path())),
        *(*where, "--rerun-incomplete", "--rerun-triggers", "mtime", "params", "input", "--quiet", "all"),
        *("--configfile", str(config)),
    ]


def run(study, command, options, said):
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
    print("".join(f"workbook: {sentence}\n" for sentence in said), end="", flush=True)
    make_ready(study, options)
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
