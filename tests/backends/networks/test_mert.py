"""MERT: the published layout loads, hidden states equal the published code's, clips do not touch each other.

`tests/golden/mert_reference.npz` comes from the published remote code (`MERTModel` of yizhilll/MERT, commit 391062e)
under transformers 4.36.2, whose `Wav2Vec2FeatureExtractor` (24 kHz, do_normalize) prepared `waveform()`. The network
had the published configurations (mert_base.json, mert_large.json with attention_relax 32) at the sizes of `SMALL`, and
the weights of `drawn()`, in the order of the sorted published keys. `*_mean` is the mean over frames of each of the
five hidden states, `*_first` are the first 8 frames of the last one, `*_keys` the published keys.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.backends import REGISTRY, UNTRAINED, create
from lib.backends.architectures.frames import POOLINGS
from lib.backends.checkpoints import CheckpointError
from lib.backends.networks import mert

RATE = 24000
GOLDEN = Path(__file__).parents[2] / "golden" / "mert_reference.npz"
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "conv_dim": [16] * 7,
    "num_conv_pos_embedding_groups": 4,
}
PUBLISHED = {
    "mert_95m": {"model_type": "mert_model", "do_stable_layer_norm": False, "attention_relax": -1.0, "deepnorm": False},
    "mert_330m": {"model_type": "mert_model", "do_stable_layer_norm": True, "attention_relax": 32.0, "deepnorm": False},
}
BOTH = pytest.mark.parametrize("name", PUBLISHED)


def waveform(seconds=1.3, seed=1):
    t = np.arange(round(seconds * RATE))
    swell = 0.1 * np.random.default_rng(seed).standard_normal(len(t)) * np.linspace(0.1, 1, len(t))
    return (0.05 + swell + 0.2 * np.sin(t * 0.05)).astype(np.float32)


def drawn(shapes):
    """Weights by published key, from one generator: gains near 1, vectors small, the rest scaled by its fan-in."""
    rng, state = np.random.default_rng(0), {}
    for key in sorted(shapes):
        value = rng.standard_normal(shapes[key])
        if key.endswith("weight_g"):
            value = 1 + 0.1 * value
        elif len(shapes[key]) == 1:
            value = 0.1 * value + key.endswith("norm.weight")
        else:
            value = value / np.sqrt(np.prod(shapes[key][1:]))
        state[key] = torch.from_numpy(value.astype(np.float32))
    return state


def published_shapes(network):
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    shapes = {}
    for key, value in network.state_dict().items():
        for new, old in names.items():
            key = key.replace(new, old)
        shapes[key] = tuple(value.shape)
    return shapes


def publish(folder, name, **changes):
    """A small checkpoint as it is on the hub: config, feature extractor, pickled weights under their old names."""
    config = SMALL | PUBLISHED[name] | {"feature_extractor_cqt": False, "mask_time_prob": 0.05} | changes
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "modeling_MERT.MERTModel"}}))
    (folder / "preprocessor_config.json").write_text(json.dumps({"sampling_rate": RATE, "do_normalize": True}))
    network = mert.network(SMALL | {"do_stable_layer_norm": config["do_stable_layer_norm"]})
    shapes = published_shapes(network) | {"masked_spec_embed": (config["hidden_size"],)}
    torch.save(drawn(shapes), folder / "pytorch_model.bin")
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("published")
    return {name: publish(root / name, name) for name in PUBLISHED}


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN, allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.mark.proof
@BOTH
def test_published_keys_are_the_ones_that_load(name, folders, golden, proof):
    state = torch.load(folders[name] / "pytorch_model.bin", weights_only=True)
    assert sorted(state) == golden[f"{name.removeprefix('mert_')}_keys"].tolist()
    assert "encoder.pos_conv_embed.conv.weight_g" in state
    backend = create(name, weights=folders[name])
    assert backend.n_layers == 4
    assert backend.checkpoint == REGISTRY[name].hub
    assert backend.revision.startswith("sha256 ")
    proof(name, loads=f"{len(state)} of {len(state)} keys, 4 of 4 blocks")


@pytest.mark.proof
@BOTH
@pytest.mark.parametrize("layer", range(5))
def test_parity_with_the_published_code(name, layer, folders, golden, proof):
    size = name.removeprefix("mert_")
    backend = create(name, weights=folders[name], layer=layer)
    expected = golden[f"{size}_mean"][layer]
    found = backend.embed([waveform()])[0]
    assert proof(name, distance=(found, expected), against="the published code, small, each layer") <= 1e-4


@BOTH
def test_frames_and_default_layer_are_the_published_ones(name, folders, golden):
    size = name.removeprefix("mert_")
    backend = create(name, weights=folders[name])
    assert backend.layer == "4 of 4"
    assert backend.pooling.startswith("mean over frames")
    clip = torch.from_numpy(backend._prepared(waveform()))[None]
    with torch.inference_mode():
        hidden, valid = backend._hidden(clip, torch.tensor([clip.shape[1]]))
    assert valid.all()
    assert hidden.shape == (1, int(golden[f"{size}_frames"]), 32)
    np.testing.assert_allclose(hidden[0, :8].numpy(), golden[f"{size}_first"], rtol=1e-4, atol=1e-4)
    assert backend.frame_rate == 75


@BOTH
def test_all_hidden_states_equal_those_of_transformers(name, folders):
    backends = [create(name, weights=folders[name], layer=layer) for layer in range(5)]
    clip = waveform(1.7, 5)
    with torch.inference_mode():
        prepared = torch.from_numpy(backends[0]._prepared(clip))[None]
        states = backends[0].network(prepared, output_hidden_states=True)
    assert len(states.hidden_states) == 5
    for backend, state in zip(backends, [*states.hidden_states[:4], states.last_hidden_state], strict=True):
        found = backend.embed([clip])[0]
        np.testing.assert_allclose(found, state[0].mean(0).numpy(), atol=2e-5)


@BOTH
@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_clip_does_not_depend_on_its_batch(name, pooling, folders):
    """Canary for padding that is heard: in the first normalisation (over time), in attention, in the mean."""
    backend = create(name, weights=folders[name], pooling=pooling)
    clips = [waveform(seconds, seed) for seed, seconds in enumerate((2.0, 1.7, 1.9, 1.61, 0.2))]
    together = backend.embed(clips)
    for clip, row in zip(clips, together, strict=True):
        np.testing.assert_allclose(backend.embed([clip])[0], row, rtol=1e-5, atol=1e-5)


def test_level_and_offset_are_normalised_per_clip_as_published(folders):
    backend = create("mert_95m", weights=folders["mert_95m"])
    clip = waveform()
    plain, louder = backend.embed([clip, 3 * clip - 0.2])
    np.testing.assert_allclose(plain, louder, atol=1e-4)
    prepared = backend._prepared(clip)
    assert prepared.dtype == np.float32
    np.testing.assert_allclose([prepared.mean(), prepared.std()], [0, 1], atol=1e-4)
    (folder := folders["mert_95m"].parent / "raw").mkdir()
    for file in folders["mert_95m"].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "preprocessor_config.json").write_text('{"sampling_rate": 24000, "do_normalize": false}')
    raw = create("mert_95m", weights=folder)
    np.testing.assert_array_equal(raw._prepared(clip), clip)


@pytest.mark.parametrize("seconds", [0.0001, 0.1, 1.0, 61.5])
@pytest.mark.parametrize("kind", ["noise", "silence", "offset", "clipped"])
def test_every_length_and_kind_gives_finite_numbers(seconds, kind, folders):
    backend = create("mert_95m", weights=folders["mert_95m"], pooling="mean_std")
    clip = waveform(seconds)
    clip = {"noise": clip, "silence": 0 * clip, "offset": 0 * clip + 1, "clipped": np.sign(clip)}[kind]
    found = backend.embed([clip])
    assert found.shape == (1, 64)
    assert np.isfinite(found).all()


@BOTH
def test_a_key_too_few_or_too_many_is_a_sentence(name, folders, tmp_path):
    folder = publish(tmp_path / "changed", name)
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    bias = state.pop("encoder.layers.2.attention.k_proj.bias")
    torch.save(state, folder / "pytorch_model.bin")
    with pytest.raises(
        CheckpointError, match=r"encoder\.layers\.2\.attention\.k_proj\.bias missing and none unexpected"
    ):
        create(name, weights=folder)
    torch.save(state | {"encoder.layers.2.attention.k_proj.bias": bias, "post_cqt": bias}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="none missing and post_cqt unexpected"):
        create(name, weights=folder)


@pytest.mark.parametrize("change", [{"feature_extractor_cqt": True}, {"deepnorm": True}])
def test_a_variant_that_is_not_hubert_is_refused(change, tmp_path):
    folder = publish(tmp_path, "mert_95m", **change)
    with pytest.raises(CheckpointError, match="constant-Q input or deep normalisation"):
        create("mert_95m", weights=folder)


def test_the_published_rate_is_checked_and_another_refused(tmp_path, folders):
    backend = create("mert_330m", weights=folders["mert_330m"])
    with pytest.raises(ValueError, match="Expected waveforms at 24000 Hz for mert_330m, found 16000 Hz"):
        backend.embed([waveform()], sample_rate=16000)
    folder = publish(tmp_path, "mert_95m")
    (folder / "preprocessor_config.json").write_text('{"sampling_rate": 16000}')
    with pytest.raises(CheckpointError, match="Expected a sampling_rate of 24000 Hz"):
        create("mert_95m", weights=folder)
    (folder / "config.json").write_text("not JSON")
    with pytest.raises(CheckpointError, match="Expected a JSON object"):
        create("mert_95m", weights=folder)


def test_twins_have_the_published_sizes_without_being_built(monkeypatch):
    """On the meta device: parameters, layers and widths at true size, without their 1.6 GB."""
    for name, million, layers, width in (("mert_95m", 94.4, 12, 768), ("mert_330m", 315.4, 24, 1024)):
        with torch.device("meta"):
            network = mert.network(mert._SIZES[name])
        count = sum(parameter.numel() for parameter in network.parameters()) / 1e6
        assert round(count, 1) == million == REGISTRY[name].parameters == REGISTRY[UNTRAINED[name]].parameters
        assert len(network.encoder.layers) == layers
        assert network.config.hidden_size == width == REGISTRY[name].dim == REGISTRY[UNTRAINED[name]].dim
        assert network.config.conv_bias is False
        assert network.config.feat_extract_norm == "group"


def test_a_twin_follows_its_seed_alone(monkeypatch):
    monkeypatch.setitem(mert._SIZES, "mert_95m", SMALL)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, again, other = (create("mert_95m_untrained", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    clip = waveform()
    found = [backend.embed([clip])[0] for backend in (first, again, other)]
    np.testing.assert_array_equal(found[0], found[1])
    assert np.abs(found[0] - found[2]).max() > 0.1
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
