"""Sources of a study: what goes together, what is refused before anything starts, what ends up in data/."""

import ast

import numpy as np
import pandas as pd
import pytest

from lib.data import preparation
from lib.evaluation import results
from lib.study import ROOT, Parameters, Study, load_parameters
from lib.study.answers import read_answers
from workflow import dag, digests


def study_of(tmp_path, name="toy", **overrides):
    return Study(load_parameters(name, {"runs_dir": str(tmp_path)} | overrides))


def test_every_parameter_that_preparation_reads_is_named_by_its_row():
    # the workflow prepares again when a parameter changes that the row names
    texts = [ROOT / "lib" / "data" / "preparation.py", *(ROOT / "lib" / "data" / "sources").rglob("*.py")]
    nodes = [node for path in texts for node in ast.walk(ast.parse(path.read_text()))]
    read = {node.attr for node in nodes if isinstance(node, ast.Attribute)}  # and what verbs of data sets ask for
    read |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    assert digests.undeclared(dag.Job(dag.ROW["10"]), read & set(Parameters.model_fields)) == []


def test_an_unknown_source_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"unknown name 'spotify'; known are scores"):
        preparation.check_sources(study_of(tmp_path, dataset="spotify"))


def test_a_folder_that_is_not_there_is_refused_and_told_how_to_get(tmp_path):
    study = study_of(tmp_path, dataset="music4all_onion", dataset_folder=str(tmp_path / "none"))
    with pytest.raises(preparation.PreparationError, match=r"no folder at .*none.*Zenodo records"):
        preparation.check_sources(study)


def test_listening_that_is_not_there_is_refused(tmp_path):
    study = study_of(tmp_path, listening_source="music4all_onion", listening_folder=str(tmp_path))
    with pytest.raises((ValueError, FileNotFoundError), match=r"Expected"):
        preparation.check_sources(study)


def test_a_study_without_listeners_has_tracks_alone(tmp_path):
    study = study_of(tmp_path, dataset="latent", n_tracks=50, listening_source="none")
    tracks = preparation.tracks(study)
    assert preparation.prepare(study, tracks) is None
    preparation.save(study, tracks, None)
    assert [path.name for path in study.path("data").glob("*.parquet")] == ["tracks.parquet"]
    assert read_answers(study)["rq1"]["statement"].startswith("Not asked: this study has no listeners")


def test_a_latent_world_goes_from_tracks_to_parts(tmp_path):
    study = study_of(tmp_path, dataset="latent", n_tracks=120, factor_weights={})
    tracks = preparation.tracks(study)
    prepared = preparation.prepare(study, tracks)
    preparation.save(study, tracks, prepared)
    parts = results.parts(study)
    assert len(parts["train"]) > 500
    assert set(parts["train"]["track_id"]) <= set(tracks["track_id"])
    events = pd.read_parquet(study.path("data", "events.parquet"))
    heard = events[events["event"] != "skip"].groupby(["user_id", "track_id"]).ngroups
    assert heard == len(pd.read_parquet(study.path("data", "interactions.parquet")))
    assert not list(study.path("data", "new").glob("*"))


def test_too_few_validation_listeners_write_nothing(tmp_path):
    study = study_of(tmp_path, dataset="latent", n_tracks=120, factor_weights={}, min_val_users=10_000)
    tracks = preparation.tracks(study)
    with pytest.raises(ValueError, match="at least 10000 validation listeners"):
        preparation.save(study, tracks, preparation.prepare(study, tracks))
    assert not list(study.path("data").glob("*.parquet"))


def test_real_records_become_a_study(tmp_path, shared_data):
    folder = str(shared_data / "music4all-onion-sample")
    study = study_of(tmp_path, "onion_sample", dataset_folder=folder)
    preparation.check_sources(study)
    assert preparation.tracks(study) is None
    prepared = preparation.prepare(study, None)
    tracks = preparation.heard_tracks(study)
    preparation.save(study, tracks, prepared)
    assert len(tracks) == 23_625
    log = pd.read_csv(f"{folder}/userid_trackid_timestamp.tsv", sep="\t")
    late = log["timestamp"] >= "2019-02-22"
    known = log["user_id"].isin(log.loc[~late, "user_id"])
    parts = results.parts(study)
    assert len(parts["train"]) == (~late).sum()
    assert sum(len(parts[name]) for name in results.PARTS[1:]) == (late & known).sum()


def test_edited_sources_change_what_the_workflow_goes_by(tmp_path):

    (tmp_path / "plays.csv").write_text("user_id,track_id,timestamp\n")
    study = study_of(tmp_path, dataset="recordings", dataset_folder=str(tmp_path), listening_source="recordings")
    before = digests.sources_digest(study.parameters)
    assert before == digests.sources_digest(study.parameters)
    (tmp_path / "plays.csv").write_text("user_id,track_id,timestamp\nu,t,2024-01-01\n")
    assert digests.sources_digest(study.parameters) != before
    assert digests.sources_digest(load_parameters("toy")) == ""


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"test_date": "2024-02-30"}, "found '2024-02-30'"),
        ({"labels_table": "none.csv"}, r"table of labels at 'none.csv', found no such file"),
    ],
)
def test_what_can_only_fail_later_is_refused_at_once(tmp_path, overrides, message):
    with pytest.raises(ValueError, match=message):
        preparation.check_sources(study_of(tmp_path, **overrides))


def test_published_logs_take_no_columns_of_ones_own(tmp_path, shared_data):
    folder = str(shared_data / "music4all-onion-sample")
    study = study_of(tmp_path, "onion_sample", dataset_folder=folder, time_zone="Europe/Berlin")
    with pytest.raises(preparation.PreparationError, match=r"no time_zone for music4all_onion, .*'Europe/Berlin'"):
        preparation.check_sources(study)


def test_a_public_log_of_a_month_alone_is_taken_as_it_is(tmp_path, shared_data):
    log = str(shared_data / "music4all-onion-sample" / "userid_trackid_timestamp.tsv")
    found = preparation.public_profile(study_of(tmp_path, public_log=log))
    assert found.pairs == 48_787
    assert found.source == log
    public = preparation.public_profile(study_of(tmp_path))
    assert found.quantile("tracks_a_user", 0.5) == public.quantile("tracks_a_user", 0.5) == 11


def test_a_longer_public_log_gives_its_published_month_or_its_last(tmp_path):
    from lib.data.mock import listeners
    from lib.data.sources import latent

    for date in ("2019-02-01", "2010-06-01"):
        log = listeners.simulate(
            latent.tracks(n_tracks=200, seed=0),
            n_users=60,
            tracks_per_user=30,
            content_strength=0.3,
            cold_share=0.0,
            test_date=date,
            rng=np.random.default_rng(0),
        )
        log.to_parquet(tmp_path / "log.parquet")
        found = preparation.public_profile(study_of(tmp_path, public_log=str(tmp_path / "log.parquet")))
        assert 10 < found.listeners <= 60
        assert found.pairs < log.drop_duplicates(["user_id", "track_id"]).shape[0] / 2
