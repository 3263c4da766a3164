"""VibeNet: the package's own numbers, the tensor before its heads, and what happens without the package."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from lib.backends import LABELS, REGISTRY, UNTRAINED, checkpoints, create
from lib.backends.checkpoints import CheckpointError
from lib.backends.networks import vibenet

RATE = 16000
GOLDEN = Path(__file__).parents[2] / "golden" / "vibenet_reference.npz"
MISSING = [package for package in ("vibenet", "onnxruntime") if importlib.util.find_spec(package) is None]
needs_packages = pytest.mark.skipif(bool(MISSING), reason=f"optional packages are not installed: {MISSING}")


def clip(seconds=3.0, seed=0):
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    beats = (np.sin(2 * np.pi * 2 * time) > 0.8) * rng.standard_normal(len(time)) * 0.2
    return (0.3 * np.sin(2 * np.pi * 330 * time * (1 + seed)) + beats).astype(np.float32)


@pytest.fixture(scope="module")
def backend():
    return create("vibenet")


def test_mel_equals_the_original():
    """`vibenet.core.extract_mel(clip(), 16000)` of vibenet 0.1.0, run once; every 25th frame was kept."""
    found = vibenet.log_mel(clip())
    assert found.shape == (128, 149)
    np.testing.assert_allclose(found[:, ::25], np.load(GOLDEN)["mel"], atol=1e-3)


def test_mel_equals_librosa():
    librosa = pytest.importorskip("librosa")
    waveform = clip()
    # librosa centres the window of 640 in a frame of 1,024: 192 samples of padding put it at the start
    shifted = librosa.feature.melspectrogram(
        y=np.pad(waveform, 192), sr=RATE, n_fft=1024, hop_length=320, win_length=640, center=False, n_mels=128
    )
    expected = librosa.power_to_db(shifted, top_db=80)
    np.testing.assert_allclose(vibenet.log_mel(waveform)[:, 1:-1], expected[:, 1:148], atol=1e-2)


@pytest.mark.proof
@needs_packages
def test_network_equals_the_original(backend, proof):
    """Ratings as the package's own session gives them for `clip()`.

    The 256 numbers before them are what `onnxruntime` gave after the tool `onnx` had added the tensor to the outputs;
    times the seven heads' weights they were those ratings to 5e-7.
    """
    golden = np.load(GOLDEN)
    hidden, ratings = backend.run(clip())
    np.testing.assert_allclose(ratings, golden["ratings"], atol=1e-4 * np.abs(golden["ratings"]).max())
    proof("vibenet", loads="the package's own file", against="its own session, real weights")
    assert proof("vibenet", distance=(hidden, golden["hidden"])) <= 1e-4
    np.testing.assert_array_equal(backend.embed([clip()], sample_rate=RATE)[0], hidden)


def test_the_added_output_by_hand():
    """Protobuf's wire format: field 7 of 8 bytes, in it field 12 of 6, in it field 1 of 4."""
    assert vibenet._also_returned("gelu") == b"\x3a\x08\x62\x06\x0a\x04gelu"


@needs_packages
def test_a_clip_does_not_depend_on_its_batch(backend):
    clips = [clip(seconds, seed) for seed, seconds in enumerate((2.1, 0.3, 1.0, 0.01))]
    together = backend.embed(clips)
    assert together.shape == (4, 256)
    assert together.dtype == np.float32
    for one, row in zip(clips, together, strict=True):
        np.testing.assert_array_equal(backend.embed([one])[0], row)


@needs_packages
def test_long_clips_in_equal_parts_and_short_ones_looped(backend):
    waveform = np.resize(clip(7.3), 90 * RATE)
    halves = [backend.run(part)[0] for part in (waveform[: 45 * RATE], waveform[45 * RATE :])]
    np.testing.assert_allclose(backend.embed([waveform])[0], np.mean(halves, axis=0), atol=1e-6)
    short = waveform[:300]
    np.testing.assert_array_equal(backend.embed([short]), backend.embed([np.resize(short, 640)]))


@needs_packages
def test_hard_input_is_finite_and_level_is_heard(backend):
    waveform = clip()
    silent, constant, clipped, loud, quiet = backend.embed(
        [np.zeros(RATE, np.float32), np.full(RATE, 0.5, np.float32), np.clip(99 * waveform, -1, 1), waveform,
         0.03 * waveform]
    )  # fmt: skip
    for one, other in ((silent, loud), (constant, loud), (clipped, loud), (quiet, loud)):
        assert np.abs(one - other).max() > 0.01


@needs_packages
def test_another_rate_is_a_sentence(backend):
    with pytest.raises(ValueError, match="Expected waveforms at 16000 Hz for vibenet, found 22050 Hz"):
        backend.embed([clip()], sample_rate=22050)


def test_missing_packages_are_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(vibenet, "package_folder", lambda *_: tmp_path)
    with pytest.raises(
        CheckpointError, match=r"Expected the network of vibenet at .*; install the wheel with `make extras`"
    ):
        create("vibenet")
    (tmp_path / "artifacts").mkdir()
    (tmp_path / vibenet.FILE).write_bytes(b"")
    monkeypatch.setattr(
        vibenet, "package_module", lambda *names: checkpoints.package_module("no_such_runtime", *names[1:])
    )
    with pytest.raises(CheckpointError, match="Expected the optional package no_such_runtime for vibenet, found it"):
        create("vibenet")
    monkeypatch.undo()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match=r"package vibenet for vibenet, .*run `make extras`"):
        create("vibenet")


def test_registry():
    assert REGISTRY["vibenet"].licence.startswith("GPL-3")
    assert "vibenet" in LABELS
    assert "vibenet" not in UNTRAINED
