"""The data set of rendered scores: the same bytes every time, nothing half there, no forbidden score, true labels."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lib.data.sources import source
from lib.data.sources.scores import accompaniment, arrangements, corpus, rendering
from lib.data.sources.scores import collection as scores

SMALL = {"n_tracks": 4, "clip_seconds": 1.5, "seed": 7, "workers": 1}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scores")
    return folder, scores.tracks(folder, **SMALL)


def samples(path):
    return soundfile.read(path, dtype="int16")[0]


def one_note(pitch, seconds=1.0):
    return rendering.schedule([[0, 1, pitch, 90, 0]], 1, 60, 0, seconds)


def test_unknown_source_is_a_sentence_that_names_the_known_ones():
    assert source("scores") is scores
    with pytest.raises(ValueError, match=r"Expected a data set among .*scores.*, found 'score'"):
        source("score")


def test_pairs_share_a_score_and_differ_in_every_factor(rendered):
    _, frame = rendered
    factors = ["instrument_family", "programs", "tempo_factor", "transposition", "room", "arrangement", "artist", "key"]
    by_score = frame.groupby("score_id")
    assert len(frame) == 4
    assert (by_score.size() == 2).all()
    assert (by_score[factors].nunique() == 2).all().all()
    assert (by_score[["title", "collection", "mode", "meter"]].nunique() == 1).all().all()
    assert frame["track_id"].is_monotonic_increasing
    assert frame["track_id"].is_unique


def test_same_samples_in_another_folder_and_another_process(rendered, tmp_path):
    _, frame = rendered
    given = f"sys.argv[1], **{SMALL!r}"
    imported = "import sys; from lib.data.sources.scores import collection"
    code = f"{imported}; print(' '.join(collection.tracks({given}).track_id))"
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.split() == list(frame["track_id"])
    for name, path in zip(frame["track_id"], frame["path"], strict=True):
        np.testing.assert_array_equal(samples(path), samples(tmp_path / "audio" / f"{name}.flac"))


def test_two_workers_give_the_bytes_of_one(rendered, tmp_path):
    _, frame = rendered
    again = scores.tracks(tmp_path, **{**SMALL, "workers": 2})
    assert list(again["track_id"]) == list(frame["track_id"])
    for one, other in zip(frame["path"], again["path"], strict=True):
        assert rendering.file_hash(one) == rendering.file_hash(other)


def test_a_second_run_reads_no_score_and_renders_only_what_is_missing(rendered, monkeypatch):
    folder, frame = rendered
    lost = frame["track_id"].iloc[2]
    before = samples(frame["path"].iloc[2])
    (folder / "audio" / f"{lost}.flac").unlink()
    written = []
    write = rendering.write_clip
    monkeypatch.setattr(
        rendering, "write_clip", lambda path, *a, **k: written.append(path.stem) or write(path, *a, **k)
    )
    monkeypatch.setattr(corpus, "_parse", lambda *_: pytest.fail("a score was parsed again"))
    # one worker in this process, so that the patched function is the one called
    monkeypatch.setattr("joblib.Parallel", lambda **_: lambda tasks: (f(*a, **k) for f, a, k in tasks))
    again = scores.tracks(folder, **SMALL)
    assert written == [lost]
    assert again.equals(frame)
    np.testing.assert_array_equal(before, samples(folder / "audio" / f"{lost}.flac"))


def test_an_interrupted_run_leaves_no_half_file_and_is_resumed(tmp_path):
    def interrupt(items, label="", **_):
        for count, item in enumerate(items):
            yield item
            if label == "rendering clips" and count == 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scores.tracks(tmp_path, **SMALL, progress=interrupt)
    audio = tmp_path / "audio"
    assert 1 < len(list(audio.iterdir())) <= 4
    assert not list(audio.glob(".*"))
    done = {path: path.stat().st_mtime_ns for path in audio.iterdir()}
    frame = scores.tracks(tmp_path, **SMALL)
    assert all(path.stat().st_mtime_ns == time for path, time in done.items())
    assert {path.stem for path in audio.iterdir()} == set(frame["track_id"])


def test_validate_names_missing_and_damaged_clips_and_tracks_mends_them(tmp_path):
    assert "found none" in scores.validate(tmp_path)[0]
    frame = scores.tracks(tmp_path, **SMALL)
    assert scores.validate(tmp_path) == []
    cut, gone = Path(frame["path"].iloc[0]), frame["path"].iloc[1]
    whole = cut.read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    (tmp_path / "audio" / f"{frame['track_id'].iloc[1]}.flac").unlink()
    problems = scores.validate(tmp_path)
    assert len(problems) == 2
    assert any(frame["track_id"].iloc[0] in one and "other bytes" in one for one in problems)
    assert any(frame["track_id"].iloc[1] in one and "no such file" in one for one in problems)
    scores.tracks(tmp_path, **SMALL)
    assert scores.validate(tmp_path) == []
    assert cut.read_bytes() == whole
    assert gone == str(tmp_path / "audio" / f"{frame['track_id'].iloc[1]}.flac")


def test_clips_are_sound_of_the_right_length_without_clipping(rendered):
    _, frame = rendered
    for path, duration in zip(frame["path"], frame["duration"], strict=True):
        wave, rate = soundfile.read(path)
        assert rate == 44_100
        assert wave.ndim == 1
        assert len(wave) == round(1.5 * 44_100) == round(duration * rate)
        assert np.isfinite(wave).all()
        assert np.abs(wave).max() <= rendering.PEAK + 1e-4
        if np.abs(wave).max() < rendering.PEAK - 0.01:
            assert abs(rendering.loudness(wave) - rendering.LOUDNESS) < 1


@pytest.mark.parametrize(("pitch", "program"), [(69, 73), (60, 19), (72, 40)])
def test_a_note_sounds_at_its_pitch(pitch, program):
    """Bytes read as if they were numbers also have a length and a loudness, but no pitch."""
    wave = rendering.render(one_note(pitch), (program, program), "studio", 0.0, 1.0, rendering.soundfont_path())
    assert len(wave) == 44_100
    spectrum = np.abs(np.fft.rfft(wave[4_410:].astype(float)))
    power = {offset: 0.0 for offset in range(-5, 7)}
    resolution = 44_100 / (len(wave) - 4_410)
    for offset in power:
        for harmonic in (1, 2, 4):
            centre = harmonic * 440 * 2 ** ((pitch + offset - 69) / 12) / resolution
            power[offset] += spectrum[round(centre * 0.98) : round(centre * 1.02) + 1].max() ** 2
    assert max(power, key=power.get) == 0


@pytest.mark.parametrize("seconds", [0.01, 0.2, 0.4, 0.41])
def test_very_short_clips_are_rendered(seconds):
    wave = rendering.render(one_note(60, seconds), (0, 40), "hall", 2.0, seconds, rendering.soundfont_path())
    assert len(wave) == round(seconds * 44_100)
    assert np.abs(wave).max() > 0


def test_short_pieces_start_again_and_tempo_and_transposition_count():
    events = rendering.schedule([[2, 1, 60, 80, 0], [3, 1, 64, 80, 1]], 4, 120, -3, 5.0)
    np.testing.assert_allclose(events[:, 0], [0, 0.5, 2, 2.5, 4, 4.5])
    assert set(events[:, 2]) == {57, 61}
    assert events[0, 1] == 0.5


def test_ids_follow_the_specification(rendered, tmp_path):
    _, frame = rendered
    for change in ({"seed": 8}, {"clip_seconds": 1.0}):
        other = scores.tracks(tmp_path, **{**SMALL, **change, "n_tracks": 2})
        assert not set(other["track_id"]) & set(frame["track_id"])
    base = {"programs": [1, 2], "room": "hall", "renderer": "1/a"}
    ids = {
        rendering.track_id({**base, **one})
        for one in ({}, {"room": "studio"}, {"renderer": "1/b"}, {"programs": [2, 1]})
    }
    assert len(ids) == 4
    assert all(len(one) == 16 and set(one) <= set("0123456789abcdef") for one in ids)


def test_only_free_collections_and_no_tune_twice():
    catalogue = corpus.catalogue()
    every = [score for book in catalogue.values() for score in book]
    assert len(catalogue) >= 8
    assert len({score.score_id for score in every}) == len(every)
    assert not [score.path for score in every if score.path.split("/")[0] in corpus.FORBIDDEN]
    assert not [score.path for score in every if score.path.endswith(".rntxt")]
    assert all(len(catalogue[name]) > capacity for name, capacity in corpus.CAPACITY.items())


def test_notes_are_free_of_grace_notes_and_chord_symbols(tmp_path, monkeypatch):
    tune = 'X:1\nT:A tune\nM:2/4\nL:1/8\nK:Ador\n"Am"{g}A2 [CE]2|A2-A2|' + "A B c d|" * 5 + "A4|]\n"
    (tmp_path / "book.abc").write_text(tune)
    facts = corpus._abc_facts(corpus._abc_header(tune))
    score = corpus.Score("one", "airds_airs", "book.abc", 1, **facts)
    content = corpus.notes(score, tmp_path / "notes", corpus=tmp_path)
    assert (content["tonic"], content["mode"], content["meter"]) == (9, "minor", "2/4")
    onsets, lengths, pitches = zip(*[event[:3] for event in content["notes"]], strict=True)
    assert pitches[:4] == (69, 60, 64, 69)  # A, the chord C E as two notes, A
    assert lengths[3] == 2  # tied
    assert onsets[:5] == (0, 1, 1, 2, 4)
    (tmp_path / "notes" / "one.json").write_text('{"version"')  # damaged: parsed again
    assert corpus.notes(score, tmp_path / "notes", corpus=tmp_path) == content
    assert json.loads((tmp_path / "notes" / "one.json").read_text()) == content


@pytest.mark.parametrize(("mode", "third"), [("major", 4), ("minor", 3)])
def test_accompaniments_keep_to_the_key_and_to_the_bars(mode, third):
    scale = accompaniment._SCALES[mode]
    melody = [[0, 1, 62, 84, 0]] + [[1 + i, 1, 62 + scale[i % 7], 96 if i % 3 == 0 else 84, 0] for i in range(12)]
    tune = {"notes": melody, "quarters": 13, "tonic": 2, "mode": mode, "meter": "3/4"}
    for collection in accompaniment.MANNERS:
        added = [note for note in accompaniment.accompany(tune, collection) if note[4] == 1]
        assert added
        assert {(note[2] - 2) % 12 for note in added} <= set(scale)
        assert all(0 <= note[0] < 13 and note[1] > 0 and 24 <= note[2] <= 84 for note in added)
    drone = [note for note in accompaniment.accompany(tune, "northumbrian") if note[4] == 1]
    assert sorted({note[0] for note in drone}) == [1, 4, 7, 10]  # after the upbeat
    chords = {(note[2] - 2) % 12 for note in accompaniment.accompany(tune, "ryans_mammoth") if note[4] == 1}
    assert chords == {0, third, 7}
    two_parts = {**tune, "notes": [*melody, [0, 1, 50, 84, 1]]}
    assert accompaniment.accompany(two_parts, "airds_airs") == two_parts["notes"]
    assert accompaniment.accompany(tune, "oneills_airs") == melody


def test_a_larger_set_begins_with_the_smaller():
    small, large = scores.quotas(60), scores.quotas(200)
    assert (sum(small.values()), sum(large.values())) == (60, 200)
    assert all(small[name] <= large[name] for name in small)
    few, many = (arrangements.arrange(n, np.random.default_rng(3)) for n in (5, 30))
    assert many[:5] == few
    with pytest.raises(ValueError, match="lower n_tracks"):
        scores.quotas(10**6)


def test_every_family_meets_every_ensemble():
    drawn = [one for pair in arrangements.arrange(200, np.random.default_rng(0)) for one in pair]
    assert {one.family for one in drawn} == set(arrangements.FAMILIES)
    assert len({one.programs[0] for one in drawn}) >= 24
    for ensemble, leaning in arrangements.ENSEMBLES.items():
        share = np.mean([one.family in leaning for one in drawn if one.ensemble == ensemble])
        assert 0.6 < share < 0.8
    low, high = arrangements.TRANSPOSITIONS
    assert all(low <= one.transposition <= high and 0.8 <= one.tempo_factor <= 1.25 for one in drawn)


def test_missing_soundfont_and_impossible_sizes_are_sentences(tmp_path):
    with pytest.raises(ValueError, match="Expected a soundfont at"):
        scores.tracks(tmp_path, **SMALL, soundfont=tmp_path / "no.sf2")
    with pytest.raises(ValueError, match="Expected n_tracks >= 2"):
        scores.tracks(tmp_path, n_tracks=1, clip_seconds=1, seed=0)
    assert not list(tmp_path.iterdir())
