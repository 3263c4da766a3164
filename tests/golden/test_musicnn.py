"""The torch port against what the original TensorFlow code returned for one synthetic signal (12 s, four patches)."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.backends import create
from lib.backends.architectures import musicnn
from lib.backends.weights import convert
from lib.data import audio

HERE = Path(__file__).parent
KEYS = {
    "musicnn_msd": "MSD_musicnn/penultimate",
    "musicnn_mtt": "MTT_musicnn/penultimate",
    "vgg_msd": "MSD_vgg/pool5",
    "vgg_mtt": "MTT_vgg/pool5",
}


@pytest.fixture(scope="module")
def reference():
    with np.load(HERE / "musicnn_reference.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def waveform():
    return audio.load(HERE / "musicnn_reference.wav", 16000)


def cosine(a, b):
    return (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))


@pytest.mark.proof
@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("order", ["plain", "fast"])
def test_first_patch_from_the_stored_log_mel(name, order, reference, proof):
    net = musicnn.network(name)
    net = net.folded() if order == "fast" else net
    with torch.inference_mode():
        found = net(torch.from_numpy(reference["log_mel"])[None]).numpy()[0]
    expected = reference[KEYS[name]].reshape(4, -1)[0]
    assert np.abs(found - expected).max() < 1e-4
    proof(name, loads="converted table, every variable", against="the corrected package, its own weights")
    assert proof(name, distance=(found, expected)) <= 1e-4


@pytest.mark.parametrize("name", KEYS)
def test_every_patch_from_the_recording(name, reference, waveform):
    backend = create(name)
    found = backend.patches(backend.features(waveform, sample_rate=16000))
    expected = reference[KEYS[name]].reshape(4, -1)  # VGG stores two rows (times) a patch
    assert found.shape == expected.shape
    assert cosine(found, expected).min() >= 0.9999


@pytest.mark.parametrize("name", ["musicnn_msd", "musicnn_mtt"])
def test_pooled_features_interleave_max_and_mean(name, reference, waveform):
    features = musicnn.log_mel(waveform)[: 4 * 187].reshape(4, 187, 96)
    with torch.inference_mode():
        pooled = musicnn.network(name).pool_over_time(torch.from_numpy(features)).numpy()
    folder = KEYS[name].split("/")[0]
    np.testing.assert_allclose(pooled[:, :, 0], reference[f"{folder}/max_pool"], atol=2e-2, rtol=1e-3)
    np.testing.assert_allclose(pooled[:, :, 1], reference[f"{folder}/mean_pool"], atol=2e-2, rtol=1e-3)


@pytest.mark.parametrize("name", KEYS)
def test_clip_vector_is_the_mean_over_patches_not_the_first_patch(name, reference, waveform):
    """The package on PyPI repeats the first patch for the whole clip: that vector must be told apart."""
    vector = create(name).embed([waveform], sample_rate=16000)[0]
    patches = reference[KEYS[name]].reshape(4, -1)
    mean, first = patches.mean(axis=0), patches[0]
    assert cosine(vector, mean) > 0.9999
    assert np.linalg.norm(vector - mean) < 0.02 * np.linalg.norm(vector - first)


def test_first_log_mel_patch_up_to_the_originals_float16(reference, waveform):
    difference = np.abs(musicnn.log_mel(waveform)[:187] - reference["log_mel"])
    assert difference.max() < 2e-3
    assert difference.mean() < 2e-4


@pytest.mark.parametrize("name", ["musicnn_msd", "vgg_msd"])
def test_symmetric_padding_and_norm_before_relu_would_be_noticed(name, reference):
    """Canary: the two usual slips of a port move the embedding by far more than the tolerance."""
    net = musicnn.network(name)
    patch = torch.from_numpy(reference["log_mel"])[None]
    expected = reference[KEYS[name]].reshape(4, -1)[0]
    layer = net.temporal128 if name.startswith("musicnn") else net.conv3
    if name.startswith("musicnn"):  # 64 before and 63 after, as torch's habit would have it
        layer.product = lambda x: torch.nn.functional.conv2d(
            torch.nn.functional.pad(x, (0, 0, 64, 63)), layer.weight, layer.bias
        )
    else:  # normalised before the ReLU
        scale, shift = (v.view(1, -1, 1, 1) for v in layer.affine())
        layer.forward = lambda x: torch.nn.functional.max_pool2d((layer.product(x) * scale + shift).relu(), 2)
    with torch.inference_mode():
        assert np.abs(net(patch).numpy()[0] - expected).max() > 1e-3


WHEEL = os.environ.get("MUSICNN_WHEEL", "")


@pytest.mark.skipif(not WHEEL, reason="MUSICNN_WHEEL does not name musicnn-0.1.0-py3-none-any.whl")
def test_converter_makes_the_committed_weights_again(tmp_path):
    for path in convert.convert_wheel(WHEEL, tmp_path):
        committed = Path(convert.__file__).parent / path.name
        assert path.read_bytes() == committed.read_bytes(), path.name


def test_converter_refuses_another_file_and_writes_nothing(tmp_path, capsys):
    wheel = tmp_path / "musicnn-0.1.0-py3-none-any.whl"
    wheel.write_bytes(b"PK not the wheel")
    assert convert.main([str(wheel), "--out", str(tmp_path / "out")]) == 1
    assert "Expected the wheel musicnn 0.1.0 with SHA-256" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert convert.main([str(tmp_path / "none.whl"), "--out", str(tmp_path / "out")]) == 1
    assert "found no file" in capsys.readouterr().err


def test_converter_reads_a_table_only():
    with pytest.raises(ValueError, match="magic number"):
        convert.read_checkpoint(b"x" * 100, b"")
