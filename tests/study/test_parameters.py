"""What is wrong in a file of params stops with one sentence before anything starts; nothing heavy is loaded for it."""

import json
import subprocess
import sys
import time

import pytest

from lib.study import ROOT, ParameterError, Parameters, load_parameters
from lib.study import parameters as module

WRONG = [
    ("recommender_table: {knn: {kind: knn, scalling: none}}", r"'knn': Unknown option 'scalling'.*'scaling'"),
    ("recommender_table: {x: {kind: nonsense}}", r"'x': Unknown kind of recommender 'nonsense'"),
    ("recommender_table: {bert4rec: {positions: n}}", r"'bert4rec': Expected positions to be true or false, found 'n'"),
    ("recommender_table: {bpr: {lr: x}}", r"'bpr': Expected lr to be a number, found 'x'"),
    ("recommender_table: {bpr: {lr: 1e-3}}", r"YAML reads 1e-3 as text: write 0.001"),
    ("recommender_table: {bpr: {width: 0}}", r"Expected width of at least 1, found 0"),
    ("trained_backends: [nope]", r"trained_backends.*unknown name 'nope'"),
    ("backend_ids: [musicn_msd]", r"backend_ids: unknown name 'musicn_msd'; did you mean 'musicnn_msd'"),
    ("tuning_grids: {ease: {l22: [1]}}", r"tuning_grids, 'ease': Unknown option 'l22'.*'l2'"),
    ("tuning_grids: {ease: {l2: [x]}}", r"tuning_grids, 'ease': Expected l2 to be a number, found 'x'"),
    ("variant_table: {v: {of: nett}}", r"variant_table, 'v': of: unknown name 'nett'"),
    ("variant_table: {v: {of: knn, scaling: log}}", r"variant_table, 'v': Expected scaling among"),
    ("scarcity_recommenders: [kn]", r"unknown name 'kn'; did you mean 'knn'"),
    ("compare: {recommender: nobody}", r"compare: unknown name 'nobody'"),
    ("compare: {recomender: knn}", r"'compare.recomender'"),
    ("listening_source: spotify", r"unknown name 'spotify'"),
    ("cutoffs_hot: [-1]", r"'cutoffs_hot.0'"),
    ("layers_backend: mfcc", r"a backend with layers, found 'mfcc'"),
    ("n_users: 3\nn_users: 4", r"line 3: the key 'n_users' twice"),
    ("recommender_table: {knn: {scaling: none, scaling: auto}}", r"the key 'scaling' twice"),
    ("mir_groups: &a [x]\nprobe_labels: *a", r"an alias, \*a: write it out"),
    ("feature_cache: false", r"'feature_cache'.*it is no more: features are always kept"),
]


@pytest.fixture
def with_params(tmp_path, monkeypatch):
    """A repository whose params/ holds base, toy and what a test writes."""
    (tmp_path / "params").mkdir()
    for name in ("base", "toy"):
        (tmp_path / "params" / f"{name}.yaml").write_text((ROOT / "params" / f"{name}.yaml").read_text())
    monkeypatch.setattr(module, "ROOT", tmp_path)

    def write(text, name="odd"):
        (tmp_path / "params" / f"{name}.yaml").write_text(text)
        return name

    return write


@pytest.mark.parametrize(("text", "sentence"), WRONG)
def test_what_cannot_be_is_one_sentence(with_params, text, sentence):
    with pytest.raises(ParameterError, match=sentence) as caught:
        load_parameters(with_params(f"study_name: odd\n{text}\n"))
    assert "params/odd.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_copy_under_another_name_cannot_replace_a_study(with_params):
    with pytest.raises(ParameterError, match=r"Expected study_name: odd in params/odd.yaml, found 'toy'"):
        load_parameters(with_params("study_name: toy\n"))
    with pytest.raises(ParameterError, match=r"found 'toy', which is taken"):
        load_parameters(with_params("study_name: odd\n"), {"study_name": "toy"})


@pytest.mark.parametrize("name", module.RESERVED)
def test_folders_beside_studies_are_no_names_of_studies(with_params, name):
    with pytest.raises(ParameterError, match="which is taken"):
        load_parameters(with_params(f"study_name: {name}\n", name))


def test_a_dropped_name_is_no_parameter():
    assert not set(module.RENAMED) & set(Parameters.model_fields)
    assert len(Parameters.model_fields) <= 58


def test_parameters_are_checked_within_two_seconds_and_without_anything_heavy():
    heavy = ["torch", "transformers", "recbole", "matplotlib", "lancedb", "librosa"]
    loaded = f"[name for name in {heavy} if name in sys.modules]"
    code = f"import sys\nfrom lib.study import load_parameters\nload_parameters('demo')\nprint({loaded})"
    started = time.process_time()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
    assert time.process_time() - started < 2


def test_a_wrong_table_stops_a_plan_and_makes_nothing(tmp_path):
    runs = tmp_path / "runs"
    table = "recommender_table={knn: {kind: knn, scalling: none}}"
    command = [sys.executable, "workflow/workbook.py", "toy", "--plan", "--set", table, f"runs_dir={runs}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert "Unknown option 'scalling'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not runs.exists()


def test_the_schema_for_editors_is_that_of_the_model():
    assert json.loads((ROOT / "params" / "schema.json").read_text()) == json.loads(json.dumps(module.schema())), (
        "run python -m lib.study.parameters"
    )
    for path in (ROOT / "params").glob("*.yaml"):
        assert path.read_text().startswith("# yaml-language-server: $schema=schema.json\n"), path.name
