"""What runs in a study follows from its parameters, of every study in params/."""

import pytest
import yaml

from lib import recommenders
from lib.evaluation import tuning, variants
from lib.study import ROOT, Study, load_parameters
from workflow import stages

STUDIES = sorted(path.stem for path in (ROOT / "params").glob("*.yaml") if path.stem != "base")


def parameters(tmp_path, study="toy", **changes):
    return load_parameters(study, {"runs_dir": str(tmp_path)} | changes)


def jobs(notebook, *args):
    return [backend for name, backend in stages.trainings(*args) if name == notebook]


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_names_recommenders_variants_and_grids_that_exist(name):
    study = Study(load_parameters(name))
    for named, options in study.parameters.recommender_table.items():
        kind = options.get("kind", named)
        recommenders.create(kind, **study.named(kind)[named])
    assert set(study.parameters.variant_table) <= set(variants.table(study))
    found, left_out = tuning.searches(study.parameters.recommender_table, study.parameters.tuning_grids, audio=True)
    assert not left_out
    assert {search.name for search in found} == set(study.parameters.tuning_grids)


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_trains_what_its_table_names(name):
    study = Study(load_parameters(name))
    kinds = {options.get("kind", named) for named, options in study.parameters.recommender_table.items()}
    asked = {notebook for notebook, _ in stages.trainings(study.parameters, extended=True)}
    expected = {"40_shallow_net": {"shallow_net"}, "50_bert4rec": {"bert4rec"}, "61_hybrids": {"hybrid", "bimodal"}}
    wanted = {notebook for notebook, own in expected.items() if own & kinds and study.trained_on}
    assert asked == wanted


def test_hybrids_on_all_backends_are_extended_and_kept_up_to_date(tmp_path):
    p = parameters(tmp_path, hybrid_backends=["mfcc"])
    assert jobs("61_hybrids", p, False) == ["mfcc"]
    assert jobs("61_hybrids", p, True) == ["mfcc", "musicnn_msd", "artist"]
    assert jobs("40_shallow_net", p, False) == ["mfcc", "musicnn_msd", "artist"]
    done = tmp_path / "toy" / "done" / "61_hybrids.artist.done.json"
    done.parent.mkdir(parents=True)
    done.write_text("{}")
    assert jobs("61_hybrids", p, False) == ["mfcc", "artist"]


def test_what_make_extended_adds_stays(tmp_path):
    p, name = parameters(tmp_path), "62_published_vs_corrected"
    assert name in stages.last_notebooks(p, True)
    assert name not in stages.last_notebooks(p, False)
    done = tmp_path / "toy" / "done" / f"{name}.done.json"
    done.parent.mkdir(parents=True)
    done.write_text("{}")
    assert name in stages.last_notebooks(p, False)
    for changes in ({"variant_table": {}}, {"backend_ids": ["vgg_mtt"]}, {"listening_source": "none"}):
        assert name not in stages.last_notebooks(parameters(tmp_path, **changes), True)


def test_a_notebook_depends_on_the_table_and_on_what_it_names(tmp_path):
    def digests(**changes):
        p = parameters(tmp_path, **changes)
        return {
            name: stages.digest(name, p) for name in ("10_prepare_data", "40_shallow_net", "62_published_vs_corrected")
        }

    def changed(**changes):
        before, after = digests(), digests(**changes)
        return {name[:2] for name in before if before[name] != after[name]}

    table = yaml.safe_load((ROOT / "params" / "toy.yaml").read_text())["recommender_table"]
    assert changed(recommender_table=table | {"more": {"kind": "mostpop"}}) == {"40", "62"}
    assert changed(variant_table={}) == {"62"}
    assert changed(backend="mfcc") == {"62"}  # each job of 40 has a backend of its own
    assert changed(n_tracks=99) == {"10"}


@pytest.mark.parametrize("changed", [{"n_tracks": 60}, {"n_users": 60}])
def test_preparation_is_made_again_for_a_parameter_of_either_of_its_cells(tmp_path, changed):
    before, after = (stages.digest("10_prepare_data", parameters(tmp_path, **one)) for one in ({}, changed))
    assert before != after
