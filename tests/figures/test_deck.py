"""Slides: every number is a result's, another study gives others, and nothing outgrows its slide."""

import json
import re

import pandas as pd
import pytest

from lib.evaluation import results
from lib.figures import deck
from lib.study import Study, load_parameters

TABLE = {name: {"kind": name} for name in ("knn", "shallow_net", "bert4rec", "hybrid", "mostpop")}
BACKENDS = ["mfcc", "musicnn_msd", "vgg_mtt"]


def scores(value, backends, split="hot_test", k=7):
    seen = {"split": split, "control": "real", "seed": -1, "metric": "NDCG", "k": k, "n_users": 31}
    seen |= {"ci_low": value - 0.01, "ci_high": value + 0.02}
    rows = [
        seen | {"recommender": name, "backend": backend, "value": value + place / 1000}
        for name in ("knn", "shallow_net", "bert4rec", "hybrid")
        for place, backend in enumerate(backends)
    ]
    alone = [seen | {"recommender": name, "backend": "none", "value": value / 2} for name in ("mostpop", "chance")]
    return pd.DataFrame(rows + alone)


def answer(estimate, statement):
    numbers = {"n": 31, "test": "a test", "estimate": estimate, "ci": [estimate - 0.01, estimate + 0.01], "p": 0.0123}
    return {"status": "decided", "verdict": "instrument_works", "statement": statement} | numbers


@pytest.fixture
def make_study(tmp_path):
    """A study with results of its own: ``make_study(value, backends)``."""

    def made(value=0.234, backends=BACKENDS, **changed):
        settings = {"runs_dir": str(tmp_path), "backend_ids": backends, "recommender_table": TABLE, "cutoffs_hot": [7]}
        study = Study(load_parameters("toy", settings | changed))
        folder = study.path("data")
        folder.mkdir(parents=True, exist_ok=True)
        pairs = pd.DataFrame({"user_id": ["a", "b", "c"], "track_id": ["x", "y", "z"], "count": [1, 1, 1]})
        pairs["timestamp"] = pd.Timestamp("2020-01-01", tz="UTC")
        tracks = [f"t{number:02d}" for number in range(40)]
        train = pd.DataFrame(
            {"user_id": ["a"] * 40, "track_id": tracks, "count": 1, "timestamp": pairs["timestamp"][0]}
        )
        hot = pairs.assign(track_id=tracks[:3], user_id="b")
        parts = {"train": train, "hot_test": hot, "val": hot.assign(user_id="c")}
        for name in results.PARTS:
            parts.get(name, pairs.head(0)).to_parquet(folder / f"{name}.parquet")
        pd.DataFrame({"track_id": tracks}).to_parquet(folder / "tracks.parquet")
        scores(value, backends).assign(study="toy").to_parquet(study.path("metrics.parquet"))
        sentence = f"In a simulated world, lists beat others (mean {value:+.3f}; 2 of 3 backends). Decided: it works."
        found = {key: answer(value, sentence) for key in ("rq1", "rq2", "rq3")}
        study.path("answers.json").write_text(json.dumps(found | {"world": "mock", "content_strength": 1.0}))
        ran = {"commit": "abc", "data": "def", "seconds": {"30_knn": 600.0}, "versions": {"torch": "2.13.0"}}
        study.path("manifest.json").write_text(json.dumps(ran | {"parameters": {"seed": 42}}))
        study.path("figures").mkdir(exist_ok=True)
        for name in ("rq1", "rq2-pairs", "map"):
            study.path("figures", f"{name}--toy-mock.png").write_bytes(b"picture")
        return study

    return made


def body(text):
    return text.split("\n---\n", 1)[1]


def numbers_in(text):
    """Numbers that are said: not the marks of lists, of questions and of slides' parts, nor names of files."""
    text = re.sub(
        r"^1\. \*\*|^[123]\. |RQ[123]|\(\d/\d\)|!\[.*?\]\(.*?\)|make .*|95 %|<!--.*?-->", " ", text, flags=re.M
    )
    return set(re.findall(r"\d+(?:\.\d+)?", text.replace("\\", "")))


def known_numbers(study):
    frame = pd.read_parquet(study.path("metrics.parquet"))
    words = [f"{number:.3f}" for column in ("value", "ci_low", "ci_high") for number in frame[column]]
    words += [study.path("answers.json").read_text(), study.path("manifest.json").read_text(), "7 31 10 1"]
    found = json.loads(study.path("answers.json").read_text())["rq1"]
    words += [f"{number:g}" for number in (found["estimate"], *found["ci"], found["p"])]
    for path in study.path("data").glob("*.parquet"):
        part = pd.read_parquet(path)
        words += [str(len(part)), *[str(part[name].nunique()) for name in ("user_id", "track_id") if name in part]]
    p = study.parameters
    words += map(str, (len(p.backend_ids), len(TABLE), p.n_permutations, p.alpha, f"{p.clip_seconds:g}", "100"))
    names = "30_knn bert4rec rq1 4"  # "4": bert4rec's own digit
    return set(re.findall(r"\d+(?:\.\d+)?", " ".join([*words, names])))


def test_every_number_on_the_slides_is_a_result(make_study):
    study = make_study()
    assert numbers_in(body(deck.deck(study, "").markdown)) <= known_numbers(study)


def test_the_check_of_numbers_finds_one_that_is_typed(make_study):
    study = make_study()
    assert numbers_in(body(deck.deck(study, "").markdown) + "\n0.777") - known_numbers(study) == {"0.777"}


def test_another_study_gives_other_numbers(make_study):
    first = deck.deck(make_study(0.234), "").markdown
    other = deck.deck(make_study(0.345), "").markdown
    assert "0.234 [0.224, 0.254]" in first
    assert "0.234" not in other
    assert "0.345 [0.335, 0.365]" in other


def test_equal_results_give_equal_bytes(make_study):
    assert deck.deck(make_study(), "a {}") == deck.deck(make_study(), "a {}")


def test_the_best_of_a_column_is_bold_and_references_stand_below(make_study):
    text = deck.deck(make_study(0.2), "").markdown
    assert "| VGG (MTT) | **0.202 [0.190, 0.220]** |" in text
    assert "Without audio: most played 0.100, chance 0.100." in text


def test_no_table_outgrows_its_slide(make_study):
    many = [*BACKENDS, *("musicnn_mtt", "vgg_msd", "mert_95m", "mert_330m", "muq", "mule", "musicfm", "jukebox")]
    tables = [
        [line for line in slide.splitlines() if line.startswith("|")]
        for slide in deck.deck(make_study(backends=many), "").markdown.split("\n---\n")
    ]
    tables = [table for table in tables if table]
    assert max(len(table) - 2 for table in tables) <= deck.MAX_ROWS
    assert max(line.count("|") - 2 for table in tables for line in table) <= deck.MAX_COLUMNS
    shown = {line.split("|")[1].strip() for table in tables for line in table}
    assert {"VGG (MTT)", "Jukebox"} <= shown  # what is cut off goes on


def test_a_long_statement_goes_on_without_a_word_lost():
    text = " ".join(f"Sentence {number} says that (one; two) holds." for number in range(80))
    parts = deck.in_parts(text)
    assert len(parts) > 2
    assert " ".join(piece for part in parts for piece in part) == text
    assert all(sum(len(piece) for piece in part) <= deck.MAX_LETTERS for part in parts)


def test_pictures_that_the_study_has_are_shown_and_no_others(make_study):
    made = deck.deck(make_study(), "")
    assert set(made.pictures) == {"rq1--toy-mock.png", "rq2-pairs--toy-mock.png", "map--toy-mock.png"}
    assert set(re.findall(r"!\[.*?\]\((.*?)\)", made.markdown)) == set(made.pictures)


def test_words_of_results_are_no_markdown(make_study):
    study = make_study()
    found = json.loads(study.path("answers.json").read_text())
    found["rq1"]["statement"] = "Vectors of *id_only* beat [0, 1]."
    study.path("answers.json").write_text(json.dumps(found))
    assert r"Vectors of \*id\_only\* beat \[0, 1\]." in deck.deck(study, "").markdown


def test_a_question_that_was_not_run_has_words_and_no_verdict(make_study):
    study = make_study()
    found = json.loads(study.path("answers.json").read_text())
    found["rq3"] = dict.fromkeys(found["rq3"]) | {"status": "not_run", "statement": "Not run yet."}
    study.path("answers.json").write_text(json.dumps(found))
    text = deck.deck(study, "").markdown
    assert "Not asked or not run: RQ3." in text
    assert "- Not run yet." in text


def test_a_mock_world_is_named_on_every_slide_and_among_the_limits(make_study):
    text = deck.deck(make_study(), "").markdown
    assert "footer: 'study toy · simulated listeners, content strength 1'" in text
    assert "It says nothing of real listeners." in text


def test_a_study_that_has_not_run_is_a_sentence(tmp_path):
    study = Study(load_parameters("toy", {"runs_dir": str(tmp_path)}))
    with pytest.raises(
        FileNotFoundError, match="Expected answers of study toy, found none: run 'make workbook STUDY=toy'"
    ):
        deck.deck(study, "")


def test_a_study_without_audio_has_slides(make_study):
    text = deck.deck(make_study(backends=[]), "").markdown
    assert "0 backends" in text
    assert "| vectors |" not in text


def test_a_study_without_listeners_has_slides(make_study):
    study = make_study(listening_source="none")
    study.path("metrics.parquet").unlink()
    not_run = {"status": "not_run", "verdict": None, "statement": "Not asked.", "n": None, "estimate": None}
    study.path("answers.json").write_text(json.dumps(dict.fromkeys(("rq1", "rq2", "rq3"), not_run)))
    text = deck.deck(study, "").markdown
    assert "footer: 'study toy · no listeners'" in text
    assert "Not asked or not run: RQ1, RQ2, RQ3." in text
    assert "NDCG" not in text
