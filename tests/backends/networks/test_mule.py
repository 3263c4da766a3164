"""MULE: the package's own numbers, the published layout, the pooling over windows, its twin."""

import importlib.util
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lib.backends import LABELS, REGISTRY, checkpoints, create
from lib.backends.checkpoints import CheckpointError
from lib.backends.networks import mule

RATE = 16000
needs_package = pytest.mark.skipif(
    importlib.util.find_spec("mule_torch") is None, reason="the optional package mule-torch is not installed"
)
SMALL = {
    "embedding_dim": 24, "slow_stem_channels": (2, 2, 4, 8), "fast_stem_channels": (2, 2, 2, 4),
    "slow_stage_in": (16, 24, 24, 32), "slow_stage_out": (16, 16, 16, 16), "fast_stage_in": (4, 8, 8, 8),
    "fast_stage_out": (8, 8, 8, 8), "slow_group_size": 4, "fast_group_size": 2,
    "fusion_input_channels": (4, 4, 4, 4), "fusion_output_channels": (8, 8, 8, 16),
}  # fmt: skip


def clip(seconds=8.0, seed=0):
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    swell = rng.standard_normal(len(time)) * np.linspace(0.01, 0.1, len(time))
    return (swell + 0.2 * np.sin(2 * np.pi * (300 + 200 * seed) * time)).astype(np.float32)


def original():
    """A small network of the package, random everywhere: its own draw leaves every residual branch at zero."""
    import mule_torch

    network = mule_torch.MuleModel(mule_torch.MuleConfig(**SMALL))
    generator = torch.Generator().manual_seed(0)
    for key, value in network.state_dict().items():
        if key.startswith("backbone."):
            value.copy_(torch.randn(value.shape, generator=generator) * 0.3 + key.endswith("gain"))
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A checkpoint that the package itself wrote."""
    folder = tmp_path_factory.mktemp("mule")
    original().save_pretrained(folder)
    return folder


@pytest.fixture
def copied(published, tmp_path):
    """The same, to be spoilt."""
    for file in published.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


@pytest.fixture(scope="module")
def backend(published):
    return create("mule", weights=published)


@pytest.mark.proof
@needs_package
@pytest.mark.parametrize("seconds", [3.0, 4.7, 8.0, 10.3])
def test_equal_to_the_package_at_random_weights(backend, seconds, proof):
    waveform = clip(seconds)
    expected = original()(torch.from_numpy(waveform)[None])[0].numpy()
    found = backend.embed([waveform], sample_rate=RATE)
    assert found.shape == (1, 24)
    proof("mule", loads=f"{len(original().state_dict())} keys", against="the package mule-torch 0.2.0, small")
    assert proof("mule", distance=(found[0], expected)) <= 1e-4


@needs_package
@pytest.mark.parametrize(
    ("pooling", "over"), [("max", np.max), ("mean", np.mean), ("first", lambda rows, axis: rows[0])]
)
def test_pooled_over_windows(published, pooling, over):
    """Canary for a mean over the wrong axis; a window every 2 s, the last moved to the end."""
    timeline = original().embed_timeline(torch.from_numpy(clip()))[0].numpy()
    assert timeline.shape == (4, 24)
    found = create("mule", weights=published, pooling=pooling).embed([clip()])[0]
    np.testing.assert_allclose(found, over(timeline, axis=0), atol=1e-4 * np.abs(timeline).max())


@needs_package
def test_a_clip_does_not_depend_on_its_batch(backend):
    clips = [clip(seconds, seed) for seed, seconds in enumerate((8.0, 4.0, 12.3, 7.9, 0.5))]
    together = backend.embed(clips)
    assert together.dtype == np.float32
    for one, row in zip(clips, together, strict=True):
        np.testing.assert_array_equal(backend.embed([one])[0], row)


@needs_package
def test_short_clips_are_looped_and_hard_input_is_finite(backend):
    short = clip(0.7)
    np.testing.assert_array_equal(backend.embed([short]), backend.embed([np.resize(short, 3 * RATE)]))
    silent, constant, clipped = backend.embed(
        [np.zeros(RATE, np.float32), np.full(RATE, 0.5, np.float32), np.clip(99 * clip(), -1, 1)]
    )
    assert np.abs(silent - clipped).max() > 0.01
    assert np.abs(constant - clipped).max() > 0.01


@needs_package
def test_another_rate_and_a_layer_are_sentences(backend, published):
    assert backend.revision.startswith("mule-torch 0.2.")
    with pytest.raises(ValueError, match="Expected waveforms at 16000 Hz for mule, found 24000 Hz"):
        backend.embed([clip()], sample_rate=24000)
    with pytest.raises(ValueError, match=r"Expected no layer for mule, whose one output .* found 3"):
        create("mule", weights=published, layer=3)
    with pytest.raises(ValueError, match="Expected a pooling among mean, max, mean_std, first, found 'median'"):
        create("mule", weights=published, pooling="median")


@needs_package
def test_weights_that_do_not_fit_are_a_sentence(copied):
    state = load_file(copied / mule.WEIGHTS)
    gone = "backbone.fast_stages.0.blocks.0.skip_gain"
    save_file({key: value for key, value in state.items() if key != gone}, copied / mule.WEIGHTS)
    with pytest.raises(CheckpointError, match=rf"{gone} missing and none unexpected"):
        create("mule", weights=copied)
    save_file(state | {"head.weight": torch.zeros(1)}, copied / mule.WEIGHTS)
    with pytest.raises(CheckpointError, match=r"none missing and head\.weight unexpected"):
        create("mule", weights=copied)


@needs_package
def test_tables_of_sines_may_be_left_out(copied, backend):
    state = load_file(copied / mule.WEIGHTS)
    save_file({key: value for key, value in state.items() if ".stft." not in key}, copied / mule.WEIGHTS)
    np.testing.assert_array_equal(create("mule", weights=copied).embed([clip()]), backend.embed([clip()]))


@needs_package
def test_a_configuration_of_another_network_is_a_sentence(copied):
    config = json.loads((copied / mule.CONFIG).read_text())
    (copied / mule.CONFIG).write_text(json.dumps(config | {"sample_rate": 24000}))
    with pytest.raises(CheckpointError, match=r"Expected a rate, window and step of \[16000, 3, 2\]"):
        create("mule", weights=copied)
    (copied / mule.CONFIG).write_text("[]")
    with pytest.raises(CheckpointError, match="Expected MULE's published configuration"):
        create("mule", weights=copied)


@needs_package
def test_missing_files_are_a_sentence(tmp_path):
    with pytest.raises(
        CheckpointError, match=r"Expected config\.json, model\.safetensors of mule in .*matteospanio/mule"
    ):
        create("mule", weights=tmp_path)


def test_missing_package_is_a_sentence(monkeypatch):
    monkeypatch.setattr(
        mule, "package_module", lambda *names: checkpoints.package_module("no_such_package", *names[1:])
    )
    for name in ("mule", "mule_untrained"):
        with pytest.raises(CheckpointError, match=rf"no_such_package for {name}, .*run `make extras`"):
            create(name)


@needs_package
def test_twin_at_published_size():
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    twin = create("mule_untrained")
    assert torch.equal(torch.random.get_rng_state(), state)
    parameters = sum(parameter.numel() for parameter in twin.network.parameters())
    assert parameters / 1e6 == pytest.approx(REGISTRY["mule"].parameters, abs=0.05)
    vector = twin.embed([clip(3)])
    assert vector.shape == (1, REGISTRY["mule"].dim)
    np.testing.assert_array_equal(create("mule_untrained").embed([clip(3)]), vector)
    other = create("mule_untrained", seed=1)
    assert other.fingerprint() != twin.fingerprint()
    assert np.abs(other.embed([clip(3)]) - vector).max() > 0.01
    assert not twin.network.training
    assert not any(parameter.requires_grad for parameter in twin.network.parameters())
    assert {"mule", "mule_untrained"} <= set(LABELS)
