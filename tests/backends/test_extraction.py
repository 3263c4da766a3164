"""Extraction keeps what is done, leaves out what fails, and never replaces it silently."""

import time

import numpy as np
import pandas as pd
import pytest
import soundfile

from lib.backends import extraction
from lib.backends.vectors import VectorStore
from lib.data import audio
from lib.study import load_parameters


class Loudness:
    """A stand-in backend: mean and deviation of the samples. Counts what it computes."""

    name, sample_rate, frontend, dim = "loudness", 8000, "mean_std", 2

    def __init__(self, fails=()):
        self.fails = fails
        self.heard, self.batches = 0, []

    def features(self, waveform):
        self.heard += 1
        return np.array([waveform.mean(), waveform.std()], dtype=np.float32)

    def embed_features(self, features):
        self.batches.append(len(features))
        if any(abs(found[0] - bad) < 1e-3 for found in features for bad in self.fails):
            raise ValueError("Expected finite vectors, found NaN.")
        return np.stack(features)

    def fingerprint(self):
        return "f0"

    def code_digest(self):
        return "c0"

    def metadata(self):
        return {"layer": "none"}


@pytest.fixture
def tracks(tmp_path):
    rows = []
    for number in range(7):
        path = tmp_path / f"t{number}.wav"
        soundfile.write(path, np.full(800, number / 10), 8000, subtype="FLOAT")
        rows.append((f"t{number}", str(path)))
    return pd.DataFrame(rows, columns=["track_id", "path"])


@pytest.fixture
def store(tmp_path):
    return VectorStore(tmp_path / "vectors.lance")


def run(tracks, store, tmp_path, backend=None, **options):
    backend = backend or Loudness()
    return backend, extraction.extract(tracks, backend, store, tmp_path / "cache", progress=lambda i, **_: i, **options)


def test_every_clip_gets_its_own_vector_last_partial_batch_included(tracks, store, tmp_path):
    backend, done = run(tracks, store, tmp_path, batch_size=3)
    assert (done.embedded, done.reused, len(done.failed)) == (7, 0, 0)
    assert sorted(backend.batches) == [1, 3, 3]
    np.testing.assert_allclose(store.read("loudness").take(tracks["track_id"])[:, 0], np.arange(7) / 10, atol=1e-6)


def test_a_recording_that_is_there_twice_has_two_tracks(tracks, store, tmp_path):
    twice = pd.concat([tracks, tracks.assign(track_id="x" + tracks["track_id"])])
    _, done = run(twice, store, tmp_path, batch_size=20)
    assert len(done.failed) == 0
    values = store.read("loudness").take(twice["track_id"])[:, 0]
    np.testing.assert_allclose(values, np.tile(np.arange(7) / 10, 2), atol=1e-6)


def test_a_second_run_computes_nothing(tracks, store, tmp_path):
    run(tracks, store, tmp_path)
    backend, done = run(tracks, store, tmp_path)
    assert (backend.heard, done.reused) == (0, 7)


def test_another_study_with_the_same_audio_reuses_it(tracks, store, tmp_path):
    run(tracks, store, tmp_path)
    other = VectorStore(tmp_path / "other.lance")
    backend, _ = run(tracks.assign(track_id="x" + tracks["track_id"]), other, tmp_path)
    assert backend.heard == 0
    assert other.ids("loudness").tolist() == [f"xt{n}" for n in range(7)]


def test_networks_with_one_front_end_share_features(tracks, store, tmp_path):
    run(tracks, store, tmp_path)
    second = Loudness()
    second.fingerprint = lambda: "another"
    run(tracks, store, tmp_path, backend=second)
    assert second.heard == 0
    assert sum(second.batches) == 7


def test_features_are_not_kept_where_that_is_not_wanted(tracks, store, tmp_path):
    run(tracks, store, tmp_path, keep_features=False)
    assert not (tmp_path / "cache" / "features").exists()


def test_bad_files_are_reported_and_left_out(tracks, store, tmp_path):
    (tmp_path / "t1.wav").write_bytes(b"")
    (tmp_path / "t2.wav").write_text("this is not sound")
    (tmp_path / "t3.wav").unlink()
    soundfile.write(tmp_path / "t4.wav", np.array([0.1, np.nan, 0.2]), 8000, subtype="FLOAT")
    _, done = run(tracks, store, tmp_path, batch_size=2)
    assert done.failed["track_id"].tolist() == ["t1", "t2", "t3", "t4"]
    assert store.ids("loudness").tolist() == ["t0", "t5", "t6"]
    np.testing.assert_allclose(store.read("loudness").values[:, 0], [0, 0.5, 0.6], atol=1e-6)


def test_one_clip_that_the_network_refuses_does_not_spoil_its_batch(tracks, store, tmp_path):
    _, done = run(tracks, store, tmp_path, backend=Loudness(fails=[0.3]), batch_size=7)
    assert done.failed["track_id"].tolist() == ["t3"]
    assert len(store.ids("loudness")) == 6


def test_nothing_at_all_is_an_error_and_writes_no_table(tracks, store, tmp_path):
    for path in tracks["path"]:
        open(path, "w").close()
    with pytest.raises(ValueError, match="at least one clip that loudness can embed, found none of 7"):
        run(tracks, store, tmp_path)
    assert store.names() == []


def test_after_an_interruption_only_the_batch_in_flight_is_computed_again(tracks, store, tmp_path):
    class Killed(Loudness):
        def features(self, waveform):
            if self.heard == 5:
                raise KeyboardInterrupt
            return super().features(waveform)

    killed = Killed()
    with pytest.raises(KeyboardInterrupt):
        run(tracks, store, tmp_path, backend=killed, batch_size=2, keep_features=False)
    backend, done = run(tracks, store, tmp_path, batch_size=2, keep_features=False)
    assert backend.heard == 3  # 7 less the two batches that were written
    assert done.reused == 4
    assert store.ids("loudness").tolist() == tracks["track_id"].tolist()


class Small(Loudness):
    """A stand-in for a device that holds two clips, and none of more than 800 samples."""

    device = "cuda:0"

    def __init__(self, holds=2):
        super().__init__()
        self.holds, self.tried = holds, []

    def embed_features(self, features):
        self.tried.append(len(features))
        if len(features) > self.holds or any(found[0] > 0.55 for found in features):
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().embed_features(features)


@pytest.fixture
def card(monkeypatch):
    """A GPU whose memory is as full as `card["share"]` says."""
    full = {"share": 0.9}
    monkeypatch.setattr(extraction.devices, "peak_share", lambda device: full["share"])
    return full


def test_batches_are_halved_where_memory_is_full_and_stay_so(tracks, store, tmp_path, card):
    backend, done = run(tracks.iloc[:6], store, tmp_path, backend=Small(), batch_size=4)
    assert done.failed.empty
    assert len(store.ids("loudness")) == 6
    assert backend.tried[:3] == [4, 2, 2]
    assert max(backend.tried[1:]) == 2


def test_a_clip_that_alone_is_too_large_is_counted(tracks, store, tmp_path, card):
    _, done = run(tracks, store, tmp_path, backend=Small(holds=9), batch_size=7)
    assert done.failed["track_id"].tolist() == ["t6"]
    assert "fits into the memory of cuda:0" in done.failed["reason"].iloc[0]
    assert len(store.ids("loudness")) == 6


def test_batches_grow_on_a_gpu_with_room_and_not_on_the_processor(card):
    size = extraction.BatchSize(8, "cuda:0")
    size.worked(8)
    assert size.now == 8  # memory is full
    card["share"] = 0.1
    size.worked(5)
    assert size.now == 8  # a batch that was not full says nothing
    for _ in range(5):
        size.worked(size.now)
    assert size.now == extraction.MOST_CLIPS
    size.failed(64)
    size.worked(32)
    assert size.now == 32  # once it was too much, it stays
    card["share"] = None
    size = extraction.BatchSize(8, "cpu")
    size.worked(8)
    assert size.now == 8


def test_an_error_of_the_network_itself_is_counted_as_a_failure(tracks, store, tmp_path):
    class Fragile(Loudness):
        def embed_features(self, features):
            if any(abs(found[0] - 0.3) < 1e-3 for found in features):
                raise RuntimeError("Kernel size can't be greater than actual input size")
            return super().embed_features(features)

    _, done = run(tracks, store, tmp_path, backend=Fragile(), batch_size=4)
    assert done.failed["track_id"].tolist() == ["t3"]


def test_many_failures_are_summed_up(tracks, store, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(extraction, "say", said.append)
    monkeypatch.setattr(extraction, "TOLD", 2)
    for path in tracks["path"][1:]:
        open(path, "w").close()
    _, done = run(tracks, store, tmp_path)
    assert len(done.failed) == 6
    assert [line[:11] for line in said] == ["left out t1", "left out t2", "left out 4 "]


def test_files_with_equal_stems_are_refused(tmp_path):
    with pytest.raises(ValueError, match="different stems, found 'a' more than once"):
        extraction.embed_files([tmp_path / "x" / "a.wav", tmp_path / "y" / "a.wav"], Loudness())


def test_embedding_files_keeps_their_order_and_names_failures(tracks, tmp_path):
    paths = [*tracks["path"][::-1], str(tmp_path / "none.wav")]
    frame, failures = extraction.embed_files(paths, Loudness())
    assert frame["track_id"].tolist() == [f"t{n}" for n in range(6, -1, -1)]
    assert list(failures) == [str(tmp_path / "none.wav")]


def test_the_stand_in_hears_what_audio_loads(tracks):
    assert audio.load(tracks["path"][3], 8000) == pytest.approx(0.3, abs=1e-3)


def test_clips_of_one_length_fill_a_batch_and_others_are_batched_by_length():
    lengths = {"a": 5, "b": 9, "c": 5, "d": 1, "e": 8, "f": 2}
    decoded = [(name, np.zeros(length, np.float32)) for name, length in lengths.items()]
    failures = {}
    batches = list(
        extraction._batches([*decoded, ("g", ValueError("broken"))], extraction.BatchSize(2, "cpu"), failures)
    )
    assert [list(batch) for batch in batches] == [["a", "c"], ["d", "f"], ["e", "b"]]
    assert failures == {"g": "broken"}


def test_long_clips_are_not_all_held_in_memory(monkeypatch):
    monkeypatch.setattr(extraction, "HELD_BYTES", 100)
    decoded = ((str(n), np.zeros(30 + n, np.float32)) for n in range(6))
    held = [list(batch) for batch in extraction._batches(decoded, extraction.BatchSize(4, "cpu"), {})]
    assert held == [["0"], ["1"], ["2"], ["3"], ["4"], ["5"]]


def test_clips_are_decoded_while_the_network_is_busy():
    decoded = []
    stream = extraction._ahead([str(n) for n in range(40)], lambda track: decoded.append(track) or np.zeros(1), 1)
    assert next(stream)[0] == "0"
    deadline = time.monotonic() + 5
    while len(decoded) < extraction.CLIPS_AHEAD and time.monotonic() < deadline:
        time.sleep(0.01)
    assert extraction.CLIPS_AHEAD <= len(decoded) <= extraction.CLIPS_AHEAD + 1
    stream.close()


def test_a_network_gets_the_options_it_takes_and_no_others(tracks):
    parameters = load_parameters("toy")
    assert extraction.network("mfcc", tracks, parameters).name == "mfcc"
    twin = extraction.network("musicnn_untrained", tracks, parameters)
    assert "calibrated on" in twin.revision
    assert "seed 0" in twin.checkpoint


def test_calibration_reads_waveforms_at_the_twins_rate_and_passes_over_what_it_cannot_read(tracks):
    open(tracks["path"][0], "w").close()
    clips = extraction.calibration(tracks, "musicnn_untrained", 7)
    assert len(clips) == 6
    assert all(len(clip) == 1600 for clip in clips)  # a tenth of a second at 16 kHz


def test_an_extraction_says_what_it_did_in_one_sentence():
    done = extraction.Extraction(3, 2, pd.DataFrame({"track_id": ["a"]}))
    assert done.in_words() == "3 clips embedded now, 2 were there already, 1 failed and are left out"
