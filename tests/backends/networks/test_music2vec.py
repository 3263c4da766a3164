"""Music2Vec: the published layout loads, hidden states equal another version's, 16 kHz alone is read.

`tests/golden/music2vec_reference.npz` comes from `Data2VecAudioModel` of transformers 4.36.2, driven as the model's
card says (`Wav2Vec2FeatureExtractor` at 16 kHz with do_normalize, then the mean over time of each hidden state), on
`waveform()`, at the sizes of `SMALL` and with the weights of `drawn()` in the order of the sorted keys. `mean` is the
mean over frames of each of the five hidden states, `first` are the first 8 frames of the last one.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.backends import REGISTRY, create
from lib.backends.architectures.frames import POOLINGS
from lib.backends.checkpoints import CheckpointError
from lib.backends.networks import music2vec

RATE = 16000
GOLDEN = Path(__file__).parents[2] / "golden" / "music2vec_reference.npz"
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "conv_dim": [16] * 7,
    "num_conv_pos_embedding_groups": 4,
}


def waveform(seconds=1.3, seed=1):
    t = np.arange(round(seconds * RATE))
    swell = 0.1 * np.random.default_rng(seed).standard_normal(len(t)) * np.linspace(0.1, 1, len(t))
    return (0.05 + swell + 0.2 * np.sin(t * 0.05)).astype(np.float32)


def drawn(shapes):
    """Weights by published key, from one generator: vectors small, gains near 1, the rest scaled by its fan-in."""
    rng, state = np.random.default_rng(0), {}
    for key in sorted(shapes):
        value = rng.standard_normal(shapes[key])
        if len(shapes[key]) == 1:
            value = 0.1 * value + key.endswith("norm.weight")
        else:
            value = value / np.sqrt(np.prod(shapes[key][1:]))
        state[key] = torch.from_numpy(value.astype(np.float32))
    return state


def publish(folder, prefix=""):
    """A small checkpoint as it is on the hub; the published file has a path where the vocabulary's size should be."""
    folder.mkdir(exist_ok=True)
    config = SMALL | {"model_type": "data2vec-audio", "vocab_size": "a/path/dict.txt", "mask_time_prob": 0.05}
    (folder / "config.json").write_text(json.dumps(config))
    shapes = {key: tuple(value.shape) for key, value in music2vec.network(SMALL).state_dict().items()}
    state = drawn(shapes | {"masked_spec_embed": (32,)})
    torch.save({prefix + key: value for key, value in state.items()}, folder / "pytorch_model.bin")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return publish(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN, allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.mark.proof
def test_the_published_layout_loads(folder, golden, tmp_path, proof):
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    assert sorted(state) == golden["keys"].tolist()
    backend = create("music2vec", weights=folder)
    assert backend.layer == "4 of 4"
    assert backend.frame_rate == 50
    assert backend.sample_rate == RATE
    assert backend.checkpoint == "m-a-p/music2vec-v1"
    proof("music2vec", loads=f"{len(state)} of {len(state)} keys, 4 of 4 blocks")
    prefixed = create("music2vec", weights=publish(tmp_path / "prefixed", "data2vec_audio."))
    np.testing.assert_array_equal(prefixed.embed([waveform()]), backend.embed([waveform()]))


@pytest.mark.proof
@pytest.mark.parametrize("layer", range(5))
def test_parity_with_another_version_driven_as_its_card_says(layer, folder, golden, proof):
    found = create("music2vec", weights=folder, layer=layer).embed([waveform()])[0]
    expected = golden["mean"][layer]
    against = "transformers 4.36.2 as its card says, small, each layer"
    assert proof("music2vec", distance=(found, expected), against=against) <= 1e-4


def test_frames_are_the_published_ones(folder, golden):
    backend = create("music2vec", weights=folder)
    clip = torch.from_numpy(backend._prepared(waveform()))[None]
    with torch.inference_mode():
        hidden, valid = backend._hidden(clip, torch.tensor([clip.shape[1]]))
    assert valid.all()
    assert hidden.shape == (1, int(golden["frames"]), 32)
    np.testing.assert_allclose(hidden[0, :8].numpy(), golden["first"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_clip_does_not_depend_on_its_batch(pooling, folder):
    """Canary: the five positional convolutions would carry padding into the last second of a clip."""
    backend = create("music2vec", weights=folder, pooling=pooling)
    clips = [waveform(seconds, seed) for seed, seconds in enumerate((2.0, 1.7, 1.9, 1.61, 0.2))]
    for clip, row in zip(clips, backend.embed(clips), strict=True):
        np.testing.assert_allclose(backend.embed([clip])[0], row, rtol=1e-5, atol=1e-5)


def test_audio_at_24_khz_is_refused_and_would_have_shown(folder):
    """Canary for the published slip: 24 kHz audio read as 16 kHz is slower and lower music."""
    import soxr

    backend = create("music2vec", weights=folder)
    right = waveform(3)
    wrong = soxr.resample(right, RATE, 24000)
    with pytest.raises(ValueError, match="Expected waveforms at 16000 Hz for music2vec, found 24000 Hz"):
        backend.embed([wrong], sample_rate=24000)
    heard, slip = backend.embed([right, wrong])
    assert np.linalg.norm(heard - slip) > 0.05 * np.linalg.norm(heard)


def test_a_key_too_few_or_too_many_is_a_sentence(folder, tmp_path):
    changed = publish(tmp_path)
    state = torch.load(changed / "pytorch_model.bin", weights_only=True)
    torch.save(state | {"lm_head.weight": torch.ones(1)}, changed / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"none missing and lm_head\.weight unexpected"):
        create("music2vec", weights=changed)
    del state["encoder.pos_conv_embed.layers.4.conv.weight"]
    torch.save(state, changed / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"encoder\.pos_conv_embed\.layers\.4\.conv\.weight missing"):
        create("music2vec", weights=changed)


def test_the_twin_has_the_published_size_and_follows_its_seed(monkeypatch):
    with torch.device("meta"):
        network = music2vec.network({})
    count = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert round(count, 1) == 93.2 == REGISTRY["music2vec"].parameters == REGISTRY["music2vec_untrained"].parameters
    assert (len(network.encoder.layers), network.config.hidden_size) == (12, REGISTRY["music2vec"].dim)
    build = music2vec.network
    monkeypatch.setattr(music2vec, "network", lambda config: build(SMALL))
    first, again, other = (create("music2vec_untrained", seed=seed) for seed in (0, 0, 1))
    found = [backend.embed([waveform()])[0] for backend in (first, again, other)]
    np.testing.assert_array_equal(found[0], found[1])
    assert np.abs(found[0] - found[2]).max() > 0.1
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
