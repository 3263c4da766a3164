"""The frame of transformer backends: pooling under a mask, chunks, loops, batches, layers, provenance."""

import numpy as np
import pytest
import torch

from lib.backends.architectures import frames
from lib.backends.architectures.frames import POOLINGS, FrameBackend, before, draw, pool

RATE = 16000
HOP = 320


class Counter(torch.nn.Module):
    """Stands for a network: a frame is the mean and the maximum of 320 samples, a layer multiplies it by its number."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))


class Framed(FrameBackend):
    def __init__(self, *, layer=1, pooling="mean", **options):
        super().__init__(
            "music2vec", Counter(), layer=layer, pooling=pooling, n_layers=3, width=2, frame_rate=RATE / HOP,
            checkpoint="none", revision="0", **options,
        )  # fmt: skip
        self.calls = []

    def _hidden(self, waveforms, lengths):
        self.calls.append((tuple(waveforms.shape), lengths.tolist()))
        cut = waveforms[:, : waveforms.shape[1] // HOP * HOP].unflatten(1, (-1, HOP))
        hidden = torch.stack([cut.mean(2), cut.amax(2)], dim=2) * self.layer_index * self.network.scale
        return hidden, before(lengths // HOP, hidden.shape[1])


def clip(seconds, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, round(seconds * RATE)).astype(np.float32)


def by_hand(waveform, layer=1):
    """Frames of a waveform in numpy: (frames, 2)."""
    cut = waveform[: len(waveform) // HOP * HOP].reshape(-1, HOP)
    return layer * np.stack([cut.mean(1), cut.max(1)], axis=1)


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("mean", [[2, -1], [5, 0]]),
        ("max", [[3, -1], [9, 4]]),
        ("first", [[1, -1], [9, -4]]),
        ("mean_std", [[2, -1, 1, 0], [5, 0, 4, 4]]),
    ],
)
def test_pooling_by_hand(pooling, expected):
    """Canary for averaging over padding: the invalid frames hold what would show."""
    hidden = torch.tensor([[[1, -1], [3, -1], [99, 99]], [[9, -4], [float("nan"), float("inf")], [1, 4]]])
    valid = torch.tensor([[True, True, False], [True, False, True]])
    torch.testing.assert_close(pool(hidden, valid, pooling), torch.tensor(expected, dtype=torch.float32))


def test_first_is_the_first_valid_frame():
    hidden = torch.tensor([[[7.0], [8.0]]])
    assert pool(hidden, torch.tensor([[False, True]]), "first").tolist() == [[8.0]]


@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooled_over_time_not_over_the_width(pooling):
    """Canary for the published slip of averaging channels: 750 numbers from 750 frames of width 1,024."""
    pooled = pool(torch.randn(2, 750, 1024), torch.ones(2, 750, dtype=torch.bool), pooling)
    assert pooled.shape == (2, 2048 if pooling == "mean_std" else 1024)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_clip_is_pooled_as_by_hand_and_does_not_depend_on_its_batch(pooling):
    clips = [clip(2.5), clip(2.2, 1), clip(1, 2), clip(7.3, 3)]
    backend = Framed(pooling=pooling, layer=2)
    together = backend.embed(clips, sample_rate=RATE)
    assert together.shape == (4, backend.dim)
    for waveform, row in zip(clips, together, strict=True):
        states = by_hand(waveform, layer=2)
        expected = {
            "mean": states.mean(0),
            "max": states.max(0),
            "first": states[0],
            "mean_std": np.concatenate([states.mean(0), states.std(0)]),
        }[pooling]
        np.testing.assert_allclose(row, expected, atol=1e-6)
        np.testing.assert_allclose(backend.embed([waveform])[0], row, atol=1e-6)


def test_long_clips_go_in_chunks_and_count_as_one():
    waveform = clip(5.5)
    backend = Framed(chunk_seconds=2, pooling="mean_std")
    vector = backend.embed([waveform])[0]
    assert [shape for shape, _ in backend.calls] == [(1, 2 * RATE), (1, 2 * RATE), (1, 1.5 * RATE)]
    states = by_hand(waveform)
    np.testing.assert_allclose(vector, np.concatenate([states.mean(0), states.std(0)]), atol=1e-6)
    np.testing.assert_allclose(Framed(chunk_seconds=2, pooling="first").embed([waveform])[0], states[0], atol=1e-6)
    assert "clips above 2 s in chunks" in backend.pooling


def test_a_last_chunk_below_the_minimum_is_dropped():
    waveform = clip(4.5)
    vector = Framed(chunk_seconds=2).embed([waveform])[0]
    np.testing.assert_allclose(vector, by_hand(waveform[: 4 * RATE]).mean(0), atol=1e-6)


def test_short_clips_are_looped_not_padded():
    waveform = clip(0.01)
    vector = Framed(minimum_seconds=0.5).embed([waveform])[0]
    np.testing.assert_allclose(vector, by_hand(np.resize(waveform, RATE // 2)).mean(0), atol=1e-6)
    assert np.abs(vector - by_hand(np.pad(waveform, (0, RATE // 2 - len(waveform)))).mean(0)).max() > 0.1
    assert "shorter clips than 0.5 s looped" in Framed(minimum_seconds=0.5).pooling


def test_clips_of_equal_length_are_one_batch_and_unlike_ones_are_not_padded_much():
    backend = Framed()
    backend.embed([clip(3, seed) for seed in range(5)])
    assert [shape for shape, _ in backend.calls] == [(5, 3 * RATE)]
    backend.calls.clear()
    backend.embed([clip(seconds) for seconds in (1, 10, 9, 1.1)])
    assert sorted(shape for shape, _ in backend.calls) == [(2, 1.1 * RATE), (2, 10 * RATE)]
    assert sorted(lengths for _, lengths in backend.calls) == [[1.1 * RATE, RATE], [10 * RATE, 9 * RATE]]


def test_a_batch_is_never_wider_than_the_clips_that_were_handed_in():
    backend = Framed(chunk_seconds=1)
    backend.embed([clip(20), clip(20, 1)])
    assert {shape for shape, _ in backend.calls} == {(2, RATE)}


def test_layer_and_pooling_are_checked_and_decide_the_fingerprint():
    made = [Framed(layer=layer, pooling=pooling) for layer in range(4) for pooling in POOLINGS]
    assert len({backend.fingerprint() for backend in made}) == len(made)
    assert Framed(layer=0).layer == "0 of 3"
    assert np.abs(Framed(layer=0).embed([clip(1)])).max() == 0
    assert [Framed(pooling=pooling).dim for pooling in POOLINGS] == [2, 2, 4, 2]
    for wrong in (-1, 4, 1.0, "1", True):
        with pytest.raises(ValueError, match=r"Expected a layer of music2vec between 0 .* and 3"):
            Framed(layer=wrong)
    with pytest.raises(ValueError, match="Expected a pooling among mean, max, mean_std, first, found 'median'"):
        Framed(pooling="median")
    with pytest.raises(ValueError, match="Expected a pooling among"):
        pool(torch.zeros(1, 1, 1), torch.ones(1, 1, dtype=torch.bool), "median")


def test_the_network_is_frozen_and_no_gradient_is_kept(monkeypatch):
    backend = Framed()
    assert not backend.network.training
    assert not any(parameter.requires_grad for parameter in backend.network.parameters())
    backend.embed([clip(1)])
    seen = []
    monkeypatch.setattr(frames, "pool", lambda hidden, *rest: seen.append(hidden.is_inference()) or pool(hidden, *rest))
    backend.embed([clip(1)])
    assert seen == [True]


def test_another_rate_is_refused():
    with pytest.raises(ValueError, match="Expected waveforms at 16000 Hz for music2vec, found 24000 Hz"):
        Framed().embed([clip(1)], sample_rate=24000)


def test_random_weights_have_their_own_seed():
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first, again, other = (draw(lambda: torch.nn.Linear(4, 4), seed).weight for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
