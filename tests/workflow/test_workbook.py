"""A cluster's profile that cannot work is refused by a sentence before anything starts."""

import importlib.util

import pytest

from workflow import workbook


def test_a_profile_without_its_executor_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    sentence = "run `.venv/bin/pip install -c requirements.lock snakemake-executor-plugin-slurm`"
    with pytest.raises(ValueError, match=sentence):
        workbook.check_profile("slurm")


def test_a_profile_with_its_executor_is_taken(monkeypatch):
    asked = []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: asked.append(name) or object())
    workbook.check_profile("slurm")
    assert asked == ["snakemake_executor_plugin_slurm"]


def test_an_unknown_profile_says_which_there_are():
    with pytest.raises(ValueError, match="found none named 'moon'; there are slurm"):
        workbook.check_profile("moon")
