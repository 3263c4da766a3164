"""The library without notebooks: files, sentences and exit codes."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import soundfile

from lib import backends
from lib.__main__ import main
from lib.study import ROOT


@pytest.fixture
def tones(tmp_path):
    paths = []
    for name, hertz in (("b", 220), ("a", 440)):
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, 0.3 * np.sin(2 * np.pi * hertz * np.arange(16000 * 4) / 16000), 16000)
        paths.append(str(path))
    return paths


@pytest.fixture
def log(tmp_path):
    rows = [("1", "x", "2018-06-01 00:00:00"), ("1", "y", "2019-02-03 10:00:00"), ("2", "y", "2018-07-01 00:00:00")]
    path = tmp_path / "log.tsv"
    pd.DataFrame(rows, columns=["user_id", "track_id", "timestamp"]).to_csv(path, sep="\t", index=False)
    return path


@pytest.mark.parametrize("verb", [[], ["embed"], ["split"], ["evaluate"]])
def test_help_says_what_there_is(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*verb, "--help"])
    assert stop.value.code == 0
    assert "usage" in capsys.readouterr().out


def test_help_of_embed_lists_every_backend_with_what_it_needs_and_its_licence(capsys):
    with pytest.raises(SystemExit):
        main(["embed", "--help"])
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    for name in backends.names(twins=False):
        assert lines[name].endswith(backends.REGISTRY[name].licence)
    assert "needs make extras" in lines["crepe"]
    assert "needs published weights" in lines["mert_95m"]
    assert "needs" not in lines["mfcc"].split("none needed")[0]


@pytest.mark.parametrize("words", [[], ["embed"], ["sing"], ["evaluate", "a", "b", "--k", "many"]])
def test_wrong_usage_is_exit_code_2(words):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2


def test_embed_keeps_the_order_of_its_arguments(tones, tmp_path):
    out = tmp_path / "v.parquet"
    assert main(["embed", "musicnn_msd", *tones, "--out", str(out)]) == 0
    frame = pd.read_parquet(out)
    assert frame["track_id"].tolist() == ["b", "a"]
    assert {len(vector) for vector in frame["vector"]} == {200}
    assert frame["vector"][0].dtype == np.float32


def test_embed_reports_a_bad_file_and_goes_on(tones, tmp_path, capsys):
    bad = tmp_path / "words.mp3"
    bad.write_text("not sound")
    out = tmp_path / "v.parquet"
    assert main(["embed", "mfcc", str(bad), tones[0], "--out", str(out)]) == 0
    assert pd.read_parquet(out)["track_id"].tolist() == ["b"]
    assert f"failed {bad}" in capsys.readouterr().err


def test_embed_writes_nothing_when_nothing_succeeds(tmp_path, capsys):
    out = tmp_path / "v.parquet"
    assert main(["embed", "mfcc", str(tmp_path / "none.wav"), "--out", str(out)]) == 1
    assert not out.exists()
    assert "none.wav" in capsys.readouterr().err


def test_embed_refuses_equal_stems_and_unknown_backends(tones, tmp_path, capsys):
    assert main(["embed", "mfcc", tones[0], tones[0], "--out", str(tmp_path / "v.parquet")]) == 1
    assert "more than once" in capsys.readouterr().err
    assert main(["embed", "musicn", tones[0], "--out", str(tmp_path / "v.parquet")]) == 1
    assert "found 'musicn'" in capsys.readouterr().err


def test_split_writes_the_four_parts(log, tmp_path, capsys):
    assert main(["split", str(log), "--test-date", "2019-02-01", "--out", str(tmp_path / "parts")]) == 0
    parts = {path.stem: len(pd.read_parquet(path)) for path in (tmp_path / "parts").glob("*.parquet")}
    assert set(parts) == {"train", "val", "hot_test", "cold_test"}
    assert parts["train"] == 2
    assert "train: 2 pairs, 2 users, 2 tracks" in capsys.readouterr().out


def test_split_of_a_bad_log_is_a_sentence_and_writes_nothing(log, tmp_path, capsys):
    log.write_text(log.read_text().replace("2019-02-03 10:00:00", "yesterday"))
    assert main(["split", str(log), "--test-date", "2019-02-01", "--out", str(tmp_path / "parts")]) == 1
    assert "yesterday" in capsys.readouterr().err
    assert not (tmp_path / "parts").exists()


def test_evaluate_prints_one_json_line_in_which_every_truth_user_counts(tmp_path, capsys):
    lists = pd.DataFrame(
        {"user_id": ["u"] * 3, "rank": [1, 2, 3], "track_id": ["a", "b", "c"], "score": [3.0, 2.0, 1.0]}
    )
    truth = pd.DataFrame({"user_id": ["u", "v"], "track_id": ["b", "z"]})
    lists.to_parquet(tmp_path / "lists.parquet")
    truth.to_parquet(tmp_path / "truth.parquet")
    words = ["evaluate", str(tmp_path / "lists.parquet"), str(tmp_path / "truth.parquet"), "--k", "2"]
    assert main([*words, "--out", str(tmp_path / "users.parquet")]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 1
    found = json.loads(lines[0])
    assert found["n_users"] == 2
    assert found["HitRate@2"]["value"] == 0.5
    assert found["NDCG@2"]["value"] == pytest.approx(0.5 / np.log2(3))
    assert set(found["Recall@2"]) == {"value", "ci_low", "ci_high"}
    assert pd.read_parquet(tmp_path / "users.parquet")["user_id"].tolist() == ["u", "v"]


def test_the_module_runs_from_a_shell():
    found = subprocess.run(
        [sys.executable, "-m", "lib", "split", "nothing.tsv", "--test-date", "2019-02-01", "--out", "x"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert found.returncode == 1
    assert len(found.stderr.strip().splitlines()) == 1


def test_vectors_of_others_go_in_and_come_out(tmp_path, monkeypatch, capsys):
    from lib import study as studies
    from lib.backends import imported
    from lib.backends.vectors import VectorStore

    study = studies.Study(studies.load_parameters("toy", {"runs_dir": str(tmp_path)}))
    monkeypatch.setattr(studies, "Study", lambda parameters: study)
    np.save(tmp_path / "x.npy", np.arange(6.0).reshape(3, 2))
    (tmp_path / "trackid_sorted.csv").write_text(",trackid\n0,c\n1,a\n2,b\n")
    words = ["import", "toy", "given_mine", str(tmp_path / "x.npy"), "--ids", str(tmp_path / "trackid_sorted.csv")]
    assert main(words) == 0
    assert "3 x 2" in capsys.readouterr().out
    tracks = pd.DataFrame({"track_id": ["a", "b", "z"], "path": ""})
    missing = imported.fill(study, "given_mine", VectorStore(study.path("vectors.lance")), tracks)
    assert missing["track_id"].tolist() == ["z"]
    assert main(["export", "toy", "given_mine", str(tmp_path / "out.parquet")]) == 0
    out = pd.read_parquet(tmp_path / "out.parquet")
    assert dict(zip(out["track_id"], map(list, out["vector"]), strict=True)) == {"a": [2.0, 3.0], "b": [4.0, 5.0]}
    assert main(["import", "toy", "mine", str(tmp_path / "x.npy")]) == 1
    assert "begins with given_" in capsys.readouterr().err
    assert main(["export", "toy", "given_mine", str(tmp_path / "out.pkl")]) == 1
    with pytest.raises(FileNotFoundError, match="run 'python -m lib import toy given_other FILE' first"):
        imported.fill(study, "given_other", VectorStore(study.path("vectors.lance")), tracks)
