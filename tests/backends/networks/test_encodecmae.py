"""EncodecMAE: the published layout, the original's numbers at every layer, chunks, masks, its twin."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lib.backends import LABELS, REGISTRY, create
from lib.backends.architectures import encodecmae
from lib.backends.checkpoints import CheckpointError

RATE, HOP = 24000, 320
GOLDEN = Path(__file__).parents[2] / "golden" / "encodecmae_reference.npz"
WIDTH, DEPTH, FEED, FILTERS = 24, 3, 32, 4


def clip(seconds=5.5, seed=0):
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    tones = np.sin(2 * np.pi * (220 + 110 * seed) * time * (1 + 0.05 * time)) * np.linspace(0.05, 0.4, len(time))
    return (tones + 0.02 * rng.standard_normal(len(time))).astype(np.float32)


def published_shapes():
    """Keys of a small model's `state_dict` in the package's layout, those of pretraining too."""
    shapes = {}

    def convolution(place, inputs, outputs, kernel):
        place = f"wav_encoder.model.model.{place}.conv.conv."
        shapes[place + "weight_g"], shapes[place + "bias"] = (outputs, 1, 1), (outputs,)
        shapes[place + "weight_v"] = (outputs, inputs, kernel)

    convolution(0, 1, FILTERS, 7)
    channels = FILTERS
    for i, ratio in enumerate((2, 4, 5, 8)):
        convolution(f"{3 * i + 1}.block.1", channels, channels // 2, 3)
        convolution(f"{3 * i + 1}.block.3", channels // 2, channels, 1)
        convolution(f"{3 * i + 1}.shortcut", channels, channels, 1)
        convolution(3 * i + 3, channels, 2 * channels, 2 * ratio)
        channels *= 2
    for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        for i in range(2):
            shape = (4 * channels, channels) if part.startswith("weight") else (4 * channels,)
            shapes[f"wav_encoder.model.model.13.lstm.{part}_l{i}"] = shape
    convolution(15, channels, 128, 7)
    shapes["feat_projector.weight"], shapes["feat_projector.bias"] = (WIDTH, 128), (WIDTH,)
    shapes["positional_encoder.scale"] = ()
    for i in range(DEPTH):
        place = f"visible_encoder.encoder_layers.{i}."
        for part in ("wq", "wk", "wv", "wo"):
            shapes[f"{place}att_layer.{part}.weight"] = (WIDTH, WIDTH)
        for part in ("norm1", "norm2"):
            shapes[f"{place}{part}.weight"], shapes[f"{place}{part}.bias"] = (WIDTH,), (WIDTH,)
    for part in ("weight", "bias"):
        shapes[f"visible_encoder.final_norm.{part}"] = (WIDTH,)
    return shapes


def published_state(seed=0):
    """Weights of that layout, drawn in the order of sorted keys; the blocks share one feed-forward part."""
    rng = np.random.default_rng(seed)

    def draw(key, shape):
        values = rng.standard_normal(shape)
        if key.endswith(("weight_g", "norm1.weight", "norm2.weight", "final_norm.weight", ".scale")):
            values = np.exp(0.3 * values)
        else:
            values = values / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.1 * values
        return torch.from_numpy(np.asarray(values, dtype=np.float32))

    shapes = published_shapes()
    state = {key: draw(key, shapes[key]) for key in sorted(shapes)}
    feed = {"0.bias": (FEED,), "0.weight": (FEED, WIDTH), "2.bias": (WIDTH,), "2.weight": (WIDTH, FEED)}
    for part in sorted(feed):
        values = draw(part, feed[part])
        state |= {f"visible_encoder.encoder_layers.{i}.ff_layer.{part}": values for i in range(DEPTH)}
    return state


def saved(folder, state):
    of_pretraining = {"decoder.final_norm.bias": torch.zeros(1), "head.layers.weight": torch.zeros(1)}
    torch.save({"state_dict": state | of_pretraining}, folder / "model.pt")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("encodecmae"), published_state())


@pytest.fixture(scope="module")
def backend(folder):
    return create("encodecmae", weights=folder)


def close(found, expected):
    """Relative to the largest number: 1e-4."""
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max(), rtol=0)


@pytest.mark.proof
@pytest.mark.parametrize("layer", [1, 2, 3])
def test_equal_to_the_original_at_random_weights(layer, folder, proof):
    """What encodecmae 1.0.0 gave for `published_state()` and `clip()`, 5.5 s: a chunk of 4 s and one of 1.5 s.

    Its `extract_features_from_array(clip(), layer=layer - 1)`, and `layer=-1` for the last, run once; kept are the
    mean over the 412 whole frames and the first 3 frames. The 413th, of half a hop, is left out here.
    """
    golden = np.load(GOLDEN)
    found = create("encodecmae", weights=folder, layer=layer).embed([clip()], sample_rate=RATE)[0]
    close(found, golden[f"mean_{layer}"])
    against = "encodecmae 1.0.0, small, each block"
    assert proof("encodecmae", distance=(found, golden[f"mean_{layer}"]), against=against) <= 1e-4
    first = create("encodecmae", weights=folder, layer=layer, pooling="first").embed([clip()])[0]
    close(first, golden[f"frames_{layer}"][0])


@pytest.mark.proof
def test_layout_layers_and_frames(backend, proof):
    proof("encodecmae", loads=f"{len(published_state())} keys, 3 of 3 blocks")
    assert backend.layer == "3 of 3"
    assert backend.dim == WIDTH
    hidden, valid = backend._hidden(torch.from_numpy(clip(2))[None], torch.tensor([2 * RATE]))
    assert hidden.shape == (1, 150, WIDTH)
    assert valid.all()
    assert backend.frame_rate == 75


def test_layer_0_is_what_enters_the_first_block(folder, backend):
    zeroth = create("encodecmae", weights=folder, layer=0).embed([clip(2)])[0]
    with torch.inference_mode():
        entering = backend.network.entering(torch.from_numpy(clip(2))[None])
    close(zeroth, entering[0].mean(0).numpy())
    with pytest.raises(ValueError, match="Expected a layer of encodecmae between 0"):
        create("encodecmae", weights=folder, layer=4)


def test_positions_by_hand():
    found = encodecmae._positions(3, 4, "cpu").numpy()
    expected = [[np.sin(t), np.cos(t), np.sin(t / 100), np.cos(t / 100)] for t in range(3)]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_clip_does_not_depend_on_its_batch(backend):
    """Canary for padding that is attended to: lengths that share a batch under a mask."""
    clips = [clip(seconds, seed) for seed, seconds in enumerate((3.9, 3.5, 3.2, 5.5, 0.4))]
    together = backend.embed(clips)
    assert together.shape == (5, WIDTH)
    for one, row in zip(clips, together, strict=True):
        close(row, backend.embed([one])[0])


def test_what_follows_a_frame_in_its_padding_does_not_matter(backend):
    row = torch.from_numpy(clip(2))
    noise = torch.randn(1, RATE, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([2 * RATE])
    alone, _ = backend._hidden(row[None], lengths)
    padded, valid = backend._hidden(torch.cat([row[None], noise], dim=1), lengths)
    assert valid.sum() == 150
    close(padded[valid].numpy(), alone[0].numpy())


def test_chunks_are_pooled_together_and_short_clips_looped(backend):
    waveform = clip(9)
    parts = [waveform[: 4 * RATE], waveform[4 * RATE : 8 * RATE], waveform[8 * RATE :]]
    means = backend.embed(parts)
    close(backend.embed([waveform])[0], (300 * means[0] + 300 * means[1] + 75 * means[2]) / 675)
    short = clip(0.3)
    np.testing.assert_array_equal(backend.embed([short]), backend.embed([np.resize(short, RATE)]))


def test_hard_input_is_finite_and_another_rate_a_sentence(backend):
    silent, constant, clipped = backend.embed(
        [np.zeros(RATE, np.float32), np.full(RATE, 0.5, np.float32), np.clip(99 * clip(1), -1, 1)]
    )
    assert np.abs(silent - clipped).max() > 0.01
    assert np.abs(constant - clipped).max() > 0.01
    with pytest.raises(ValueError, match="Expected waveforms at 24000 Hz for encodecmae, found 16000 Hz"):
        backend.embed([clip()], sample_rate=16000)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda state: state.pop("visible_encoder.encoder_layers.1.norm2.bias"),
            r"blocks\.1\.norm2\.bias missing and none",
        ),
        (
            lambda state: state.pop("wav_encoder.model.model.4.shortcut.conv.conv.weight_g"),
            r"codec\.layers\.4\.shortcut\.conv\.parametrizations\.weight\.original0 missing and none",
        ),
        (lambda state: state.update({"extra.weight": torch.zeros(1)}), r"none missing and extra\.weight unexpected"),
    ],
)
def test_weights_that_do_not_fit_are_a_sentence(change, sentence, tmp_path):
    state = published_state()
    change(state)
    with pytest.raises(CheckpointError, match=sentence):
        create("encodecmae", weights=saved(tmp_path, state))


def test_missing_files_are_a_sentence(tmp_path):
    with pytest.raises(CheckpointError, match=r"Expected model\.pt of encodecmae in .*lpepino/encodecmae-base"):
        create("encodecmae", weights=tmp_path)


def test_twin_at_published_size():
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    twin = create("encodecmae_untrained")
    assert torch.equal(torch.random.get_rng_state(), state)
    parameters = sum(parameter.numel() for parameter in twin.network.parameters())
    assert parameters / 1e6 == pytest.approx(REGISTRY["encodecmae"].parameters, abs=0.05)
    vector = twin.embed([clip(1)])
    assert vector.shape == (1, REGISTRY["encodecmae"].dim)
    np.testing.assert_array_equal(create("encodecmae_untrained").embed([clip(1)]), vector)
    other = create("encodecmae_untrained", seed=1)
    assert other.fingerprint() != twin.fingerprint()
    assert np.abs(other.embed([clip(1)]) - vector).max() > 0.01
    assert not twin.network.training
    assert not any(parameter.requires_grad for parameter in twin.network.parameters())
    assert {"encodecmae", "encodecmae_untrained"} <= set(LABELS)
