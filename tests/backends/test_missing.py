"""What a backend needs besides this repository is told in a sentence, before anything starts."""

import importlib.util

import pytest

from lib.backends import REGISTRY, checkpoints
from lib.backends.checkpoints import CheckpointError
from lib.study import Study, load_parameters
from workflow import workbook


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("WORKBOOK_WEIGHTS", raising=False)


@pytest.mark.parametrize("name", ["mfcc", "musicnn_msd", "musicnn_untrained", "mert_95m_untrained"])
def test_what_is_in_the_repository_or_drawn_is_never_missing(name):
    assert checkpoints.missing(name) is None


@pytest.mark.parametrize("name", [name for name, entry in REGISTRY.items() if entry.files])
def test_published_files_are_missed_until_they_are_in_their_folder(name, monkeypatch, tmp_path):
    sentence = checkpoints.missing(name)
    assert REGISTRY[name].files[-1] in sentence
    assert f"$WORKBOOK_WEIGHTS/{name}" in sentence
    monkeypatch.setenv("WORKBOOK_WEIGHTS", str(tmp_path))
    (tmp_path / name).mkdir()
    assert f"found no {', '.join(REGISTRY[name].files)}" in checkpoints.missing(name).replace(" and no ", ", ")
    for file in REGISTRY[name].files:
        (tmp_path / name / file).touch()
    monkeypatch.setattr(checkpoints, "package_folder", lambda *_: tmp_path)
    assert checkpoints.missing(name) is None


@pytest.mark.parametrize("name", [name for name, entry in REGISTRY.items() if entry.packages])
def test_a_missing_package_is_named(name, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    assert f"optional package {REGISTRY[name].packages[0]} for {name}" in checkpoints.missing(name)
    assert "run `make extras`" in checkpoints.missing(name)


def test_a_package_that_is_there_but_does_not_import_is_a_sentence():
    with pytest.raises(CheckpointError, match="optional package no_such_package for mule, found it not installed"):
        checkpoints.package_module("no_such_package", "mule")
    assert checkpoints.package_module("numpy", "mfcc").float32(1) == 1


def test_a_study_whose_network_cannot_run_is_refused_before_it_starts():
    workbook.check_weights(Study(load_parameters("toy")))
    with pytest.raises(ValueError, match=r"of mert_95m in a local folder or from m-a-p/MERT-v1-95M"):
        workbook.check_weights(Study(load_parameters("toy", {"backend_ids": ["mfcc", "mert_95m"]})))


def test_the_plan_knows_what_every_network_costs():
    from workflow import dag

    assert all(dag.seconds_per_clip(name) > dag.SECONDS_PER["decoded clip"] for name in REGISTRY)
    assert dag.seconds_per_clip("onion_musicnn") < 0.01
