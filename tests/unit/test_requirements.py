"""pip's and conda's routes ask for the same, and the lock holds all of it."""

import re

import pytest
import yaml

from lib.study import ROOT


def asked(name):
    lines = (ROOT / name).read_text().splitlines()
    return {re.sub(r"\s+#.*", "", line).strip() for line in lines if line.strip() and not line.startswith("#")}


def project(requirement):
    return re.match(r"[A-Za-z0-9_.-]+", requirement)[0].lower().replace("_", "-")


@pytest.fixture(scope="module")
def conda():
    return yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]


@pytest.fixture(scope="module")
def lock():
    return {project(line): line.split("==")[1] for line in asked("requirements.lock") if "==" in line}


def test_conda_and_pip_ask_for_the_same(conda):
    pip = set(next(entry["pip"] for entry in conda if isinstance(entry, dict)))
    apart = {"tinysoundfont==0.3.7", "--editable ."}  # installed by the Makefile in steps of their own
    assert apart <= pip
    assert pip - apart == asked("requirements.txt") | asked("requirements-test.txt")


def test_conda_brings_what_pip_cannot_leave_out(conda):
    assert {"python=3.11", "portaudio", "pyaudio"} <= {entry for entry in conda if isinstance(entry, str)}


def test_the_makefile_installs_tinysoundfont_without_its_dependencies(lock):
    assert "--no-deps -c requirements.lock tinysoundfont" in (ROOT / "Makefile").read_text()
    assert lock["tinysoundfont"] == "0.3.7"


def test_the_lock_holds_everything_asked_for_within_its_bounds(lock):
    from packaging.requirements import Requirement

    for line in asked("requirements.txt") | asked("requirements-test.txt"):
        requirement = Requirement(line)
        assert requirement.specifier.contains(lock[project(line)]), line


def test_optional_backends_come_without_their_dependencies_and_are_locked(lock):
    assert "--no-deps -c requirements.lock -r requirements-extra.txt" in (ROOT / "Makefile").read_text()
    optional = {project(line) for line in asked("requirements-extra.txt")}
    assert {"torchcrepe", "vibenet", "mule-torch"} <= optional <= set(lock)
    assert not optional & {project(line) for line in asked("requirements.txt")}


def test_the_owners_packages_are_asked_for():
    wanted = {"jupyterlab", "papermill", "torch", "transformers", "pandas", "seaborn"}
    wanted |= {"scikit-learn", "recbole", "nbval"}
    assert wanted <= {project(line) for line in asked("requirements.txt")}


def test_no_address_of_a_registry_is_in_the_lock():
    assert not [line for line in asked("requirements.lock") if "@" in line or "://" in line]
