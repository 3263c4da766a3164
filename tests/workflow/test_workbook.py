"""Before a run: what cannot work is refused, what must not be reused goes, and a sentence says so."""

import argparse
import importlib.util
import json

import pytest

from workflow import dag, digests, workbook


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


def study_at(tmp_path, *more):
    return workbook.opened("toy", [f"runs_dir={tmp_path}", *more])[0]


def options(**given):
    return argparse.Namespace(**{"study": "toy", "set": [], "backend": [], "extended": False, "redraw": False} | given)


def fill(study, *names):
    for name in names:
        path = study.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")


def shown(study):
    return {path.name for path in study.path().glob("[!.]*")}


def test_a_backend_that_is_added_stays_with_the_study(tmp_path):
    ids = study_at(tmp_path).parameters.backend_ids
    study, overrides = workbook.opened("toy", [f"runs_dir={tmp_path}"], ["crepe_tiny"])
    assert study.parameters.backend_ids == [*ids, "crepe_tiny"] == overrides["backend_ids"]
    assert study_at(tmp_path).parameters.backend_ids == ids  # it was only looked at: make plan
    study.path().mkdir()
    workbook.make_ready(study, options(backend=["crepe_tiny"]))
    later = study_at(tmp_path)
    assert later.parameters.backend_ids == [*ids, "crepe_tiny"]
    (sentence,) = workbook.notes(later, options())
    assert "with crepe_tiny, added by BACKEND=" in sentence
    assert study_at(tmp_path, "backend_ids=[mfcc]").parameters.backend_ids == ["mfcc"]
    study.path(workbook.ADDED).unlink()
    assert study_at(tmp_path).parameters.backend_ids == ids


def test_a_backend_that_is_added_runs_its_own_jobs_and_what_compares_backends(tmp_path):
    one = study_at(tmp_path)
    more = workbook.opened("toy", [f"runs_dir={tmp_path}"], ["crepe_tiny"])[0]
    before = {job.name: digests.digest(one, job) for job in dag.jobs(one)}
    again = {job.name for job in dag.jobs(more) if digests.digest(more, job) != before.get(job.name)}
    new = {"20_extract_embeddings.crepe_tiny", "20_extract_embeddings.crepe_tiny_untrained", "30_knn.crepe_tiny"}
    assert new <= again
    assert {"70_rq1_viability", "71_rq2_backends", "72_rq3_mir_correlation"} <= again
    costly = {name for name in again if dag.ROW[name.partition(".")[0]].costly}
    assert {name for name in costly if "crepe_tiny" not in name} == set()
    assert "10_prepare_data" not in again


def test_an_unknown_backend_is_refused_by_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="backend_ids: unknown name 'crep'; did you mean 'crepe'"):
        workbook.opened("toy", [f"runs_dir={tmp_path}"], ["crep"])
    with pytest.raises(ValueError, match="Expected BACKEND= or backend_ids in SET=, found both"):
        workbook.opened("toy", [f"runs_dir={tmp_path}", "backend_ids=[mfcc]"], ["crepe"])


def test_results_of_an_earlier_layout_are_made_anew_with_a_sentence(tmp_path):
    study = study_at(tmp_path)
    kept = ("data/train.parquet", "vectors.lance/x", "checkpoints/x", "given/x.parquet", "manifest.json", "logs/x")
    old = ("done/62_published_vs_corrected.done.json", "done/30_knn.mfcc.done.json", "metrics.parquet", "scarcity/x")
    fill(study, *kept, *old, "figures/gone.png", "item_retrieval.parquet")
    (sentence,) = workbook.notes(study, options())
    assert "of an earlier layout of the workbook: all jobs run again" in sentence
    assert "62_published_vs_corrected" in sentence
    workbook.make_ready(study, options())
    assert shown(study) == {name.partition("/")[0] for name in kept}
    assert list(workbook.notes(study, options())) == []
    fill(study, *old)
    workbook.make_ready(study, options())  # results of today's layout stay
    assert study.path("metrics.parquet").is_file()


def test_a_new_study_has_no_earlier_layout(tmp_path):
    assert list(workbook.notes(study_at(tmp_path), options())) == []


def test_figures_of_earlier_drawing_code_are_named_and_drawn_anew_on_demand(tmp_path):
    study, name = study_at(tmp_path), "40_shallow_net.mfcc"
    study.path().mkdir()
    workbook.make_ready(study, options())
    job = dag.Job(dag.ROW["40"], "mfcc")
    fill(study, f"done/{name}.done.json")
    ran = {"digest": {name: digests.digest(study, job)}, "drawn_by": {name: "earlier"}}
    study.path("manifest.json").write_text(json.dumps(ran))
    (sentence,) = workbook.notes(study, options())
    assert f"Figures of 1 jobs ({name}) were drawn by earlier drawing code" in sentence
    assert "REDRAW=1" in sentence
    workbook.make_ready(study, options(redraw=True))
    assert not dag.is_done(study, name)
