"""MusicFM, MuQ and MuQ-MuLan against what their published code returned, and their traps.

``tests/golden/{musicfm,muq,muq_mulan}_reference.npz`` come from the public repositories minzwon/musicfm and
tencent-ailab/MuQ, run unchanged with transformers 4.57.1 and torchaudio 2.11.0 at the sizes below: the names, shapes
and kinds of all tensors of the published layout, the pooled and single hidden states of every layer, a slice of the
spectrogram in dB, the latents of three lengths. Weights and waveforms are not stored: `drawn` and `tune` are the rule
by which both sides made them (numpy's default_rng(0), tensors in the order of their names).
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lib.backends import REGISTRY, UNTRAINED, create, options
from lib.backends.architectures import conformer, frames, muq_mulan
from lib.backends.checkpoints import CheckpointError

GOLDEN = Path(__file__).parents[2] / "golden"
SMALL = conformer.Sizes(width=64, depth=3, heads=4, inner=128, channels=8)
HEAD = muq_mulan.HeadSizes(width=48, depth=2, heads=4, head_width=16, latent=32)
MEAN, SPREAD = 6.5, 18.25
NAMES = ("musicfm", "muq", "muq_mulan")
TWINS = {name: UNTRAINED[name] for name in NAMES}
UNUSED = (
    "quantizer_", "rvq.", "linear.", "cls_token", "preprocessor_", "conformer.pos_conv_embed.",
    "mulan.text", "mulan.contrast", "mulan.audio.aggregator",
)  # fmt: skip


def tune(samples, seed=0):
    rng = np.random.default_rng(seed)
    time = np.arange(samples) / 24000
    tones = sum(np.sin(2 * np.pi * f * time + f) / k for k, f in enumerate((110, 331, 995, 3010, 8000), 1))
    return (0.1 * tones * np.linspace(0.1, 1, samples) + 0.01 * rng.standard_normal(samples)).astype(np.float32)


def values(key, shape, rng):
    if key.endswith("running_var"):
        return rng.uniform(0.5, 1.5, shape)
    if len(shape) > 1:
        return rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
    return 0.1 * rng.standard_normal(shape) + (1.0 if key.endswith(("weight", "gamma", "scale")) else 0.0)


def drawn(name, reference):
    """A checkpoint in the published layout."""
    rng = np.random.default_rng(0)
    state = {}
    layout = zip(reference["keys"].tolist(), reference["shapes"].tolist(), reference["dtypes"].tolist(), strict=True)
    for key, shape, kind in sorted(layout):
        shape = tuple(int(size) for size in shape.split(",") if size)
        inner = key.removeprefix("mulan.audio.model.").removeprefix("model.")
        if key.endswith("inv_freq"):
            state[key] = 10000.0 ** (-torch.arange(shape[0]) / shape[0])
        elif kind != "float32" or inner.startswith(UNUSED):
            state[key] = torch.zeros(shape)  # counters of batches are floats in MusicFM's file
        else:
            state[key] = torch.from_numpy(values(inner, shape, rng).astype(np.float32))
    if name == "musicfm":  # saved by a training loop, with torch's old names
        old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
        for new, was in old.items():
            key = f"conformer.pos_conv_embed.conv.{new}"
            state[key.replace(new, was)] = state.pop(key)
        return {f"model.{key}": value for key, value in state.items()}
    return state


def write(name, folder, state):
    statistics = {"melspec_2048_mean": MEAN, "melspec_2048_std": SPREAD}
    folder.mkdir(exist_ok=True)
    if name == "musicfm":
        torch.save({"state_dict": state}, folder / "pretrained_msd.pt")
        (folder / "msd_stats.json").write_text(json.dumps(statistics))
    elif name == "muq":
        save_file(state, folder / "model.safetensors")
        wrapped = {"position_embeddings_type": "rotary", "hidden_act": "swish"}
        (folder / "config.json").write_text(json.dumps({"stat": statistics, "w2v2_config": wrapped, "label_rate": 25}))
    else:
        torch.save(state, folder / "pytorch_model.bin")
        config = {"mulan": {"sr": 24000, "clip_secs": 10}, "audio_model": {"use_layer_idx": -1}}
        (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module", autouse=True)
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conformer, "PUBLISHED", SMALL)
        patch.setattr(conformer, "CALIBRATION_SECONDS", 1)
        patch.setattr(muq_mulan, "PUBLISHED", HEAD)
        yield


@pytest.fixture(scope="module")
def references():
    return {name: dict(np.load(GOLDEN / f"{name}_reference.npz")) for name in NAMES}


@pytest.fixture(scope="module")
def folders(references, tmp_path_factory):
    root = tmp_path_factory.mktemp("weights")
    return {name: write(name, root / name, drawn(name, references[name])) for name in NAMES}


def close(found, expected):
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.proof
@pytest.mark.parametrize("name", ["musicfm", "muq"])
def test_every_layer_equals_the_published_code(name, references, folders, proof):
    reference = references[name]
    assert len(reference["mean"]) == SMALL.depth + 1
    for layer in range(SMALL.depth + 1):
        for pooling in ("mean", "first"):
            backend = create(name, weights=folders[name], layer=layer, pooling=pooling)
            found = backend.embed([tune(70000)])[0]
            close(found, reference[pooling][layer])
            assert proof(name, distance=(found, reference[pooling][layer])) <= 1e-4
    keys = len(drawn(name, reference))
    proof(name, loads=f"{keys} keys, 3 of 3 blocks", against="the published code, small, each layer")
    states = list(backend.network.hidden_states(torch.from_numpy(tune(70000))[None]))
    assert len(states) == SMALL.depth + 1
    assert all(state.shape == (1, 73, SMALL.width) for state in states)
    for state, expected in zip(states, reference["last"], strict=True):
        close(state[0, -1].numpy(), expected)
    default = create(name, weights=folders[name])
    assert default.layer == "3 of 3"
    assert default.pooling.startswith("mean over frames")
    close(default.embed([tune(70000)])[0], reference["mean"][-1])


@pytest.mark.proof
def test_latents_equal_the_published_code(references, folders, proof):
    backend = create("muq_mulan", weights=folders["muq_mulan"])
    vectors = backend.embed([tune(24000 * 6), tune(24000 * 10), tune(round(24000 * 25.3))])
    expected = np.stack([references["muq_mulan"][f"latent_{seconds}"] for seconds in ("6", "10", "25_3")])
    close(vectors, expected)
    proof("muq_mulan", loads=f"{len(drawn('muq_mulan', references['muq_mulan']))} keys, 3 of 3 blocks")
    assert proof("muq_mulan", distance=(vectors, expected), against="the published code, small") <= 1e-4


def test_spectrogram_equals_torchaudio(references):
    mel = conformer.LogMel(MEAN, SPREAD, 128)(torch.from_numpy(tune(70000))[None])
    assert mel.shape == (1, 128, 291)  # of 292: the last frame is left out
    decibels = mel[0, ::4, ::16].numpy() * SPREAD + MEAN
    np.testing.assert_allclose(decibels, references["musicfm"]["mel"], atol=5e-4)


def test_spectrogram_equals_librosa():
    librosa = pytest.importorskip("librosa")
    power = librosa.feature.melspectrogram(
        y=tune(30000), sr=24000, n_fft=2048, hop_length=240, n_mels=128, htk=True, norm=None, pad_mode="reflect"
    )
    found = conformer.LogMel(0, 1, 128)(torch.from_numpy(tune(30000))[None])[0].numpy()
    np.testing.assert_allclose(found, 10 * np.log10(np.maximum(power, 1e-10))[:, :-1], atol=2e-3)
    filters = librosa.filters.mel(sr=24000, n_fft=2048, n_mels=128, htk=True, norm=None)
    np.testing.assert_allclose(conformer.mel_filterbank(128).T, filters, atol=1e-5)
    silence = conformer.LogMel(0, 1, 128)(torch.zeros(1, 24000))
    assert (silence == -100).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_key_too_few_or_too_many_is_a_sentence(name, references, tmp_path):
    whole = drawn(name, references[name])
    lost = next(key for key in whole if key.endswith("layers.1.ffn2.output_dense.bias"))
    write(name, tmp_path / "few", {key: value for key, value in whole.items() if key != lost})
    with pytest.raises(CheckpointError, match=r"layers\.1\.ffn2\.output_dense\.bias missing and none unexpected"):
        create(name, weights=tmp_path / "few")
    write(name, tmp_path / "many", whole | {"model.adapter.weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"none missing and (model\.)?adapter\.weight unexpected"):
        create(name, weights=tmp_path / "many")


def test_a_head_without_its_projection_is_a_sentence(references, tmp_path):
    whole = drawn("muq_mulan", references["muq_mulan"])
    write("muq_mulan", tmp_path, {key: value for key, value in whole.items() if key != "mulan.audio.proj.weight"})
    with pytest.raises(CheckpointError, match=r"project\.weight missing"):
        create("muq_mulan", weights=tmp_path)


def test_another_size_and_other_files_are_sentences(references, folders, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conformer, "PUBLISHED", conformer.Sizes(32, 3, 4, 128, 8))
        with pytest.raises(CheckpointError, match="is of another size"):
            create("muq", weights=folders["muq"])
    with pytest.raises(CheckpointError, match=r"found no pretrained_msd\.pt, msd_stats\.json"):
        create("musicfm", weights=tmp_path)
    write("musicfm", tmp_path, drawn("musicfm", references["musicfm"]))
    for text in ("{}", "nothing", '{"melspec_2048_mean": null, "melspec_2048_std": 1}'):
        (tmp_path / "msd_stats.json").write_text(text)
        with pytest.raises(CheckpointError, match="Expected numbers melspec_2048_mean and melspec_2048_std"):
            create("musicfm", weights=tmp_path)


def test_statistics_reach_the_spectrogram_and_the_fingerprint(references, folders, tmp_path):
    write("musicfm", tmp_path, drawn("musicfm", references["musicfm"]))
    made = create("musicfm", weights=folders["musicfm"])
    assert made.fingerprint() == create("musicfm", weights=tmp_path).fingerprint()
    (tmp_path / "msd_stats.json").write_text('{"melspec_2048_mean": 6.5, "melspec_2048_std": 20}')
    other = create("musicfm", weights=tmp_path)
    assert other.fingerprint() != made.fingerprint()
    assert other.network.mel.spread == 20


@pytest.mark.parametrize("name", ["muq", "muq_mulan"])
def test_another_configuration_is_a_sentence(name, references, tmp_path):
    write(name, tmp_path, drawn(name, references[name]))
    path = tmp_path / "config.json"
    text = path.read_text()
    path.write_text(text.replace("rotary", "relative").replace('"clip_secs": 10', '"clip_secs": 30'))
    with pytest.raises(CheckpointError, match="it is of another network"):
        create(name, weights=tmp_path)
    for text in ("{}", "[]", "nothing"):
        path.write_text(text)
        with pytest.raises(CheckpointError, match=r"published configuration in .*, found something else"):
            create(name, weights=tmp_path)


def test_the_head_reads_the_state_that_the_configuration_names(folders):
    backend = create("muq_mulan", weights=folders["muq_mulan"])
    path = folders["muq_mulan"] / "config.json"
    text = path.read_text()
    try:
        path.write_text(text.replace("-1", "3"))
        same = create("muq_mulan", weights=folders["muq_mulan"])
        path.write_text(text.replace("-1", "1"))
        other = create("muq_mulan", weights=folders["muq_mulan"])
    finally:
        path.write_text(text)
    assert (same.layer, other.layer) == ("joint latent, from layer 3 of 3", "joint latent, from layer 1 of 3")
    assert same.fingerprint() == backend.fingerprint() != other.fingerprint()
    clip = tune(240000)
    np.testing.assert_array_equal(same.embed([clip]), backend.embed([clip]))
    assert np.abs(other.embed([clip]) - backend.embed([clip])).max() > 0.01


def test_the_mean_is_over_time():
    """Canary: the published README averages the last axis, 750 numbers of a 30 s clip."""
    network = conformer.Conformer(conformer.Sizes(1024, 1, 16, 64, 4))
    backend = conformer.ConformerBackend(
        "musicfm", network, layer=None, pooling=None, checkpoint="none", revision="none"
    )
    clip = tune(30 * 24000)
    state = network.state(torch.from_numpy(clip)[None], 1)
    assert state.shape == (1, 750, 1024)
    vector = backend.embed([clip], sample_rate=24000)
    assert vector.shape == (1, 1024)
    np.testing.assert_allclose(vector[0], state[0].mean(0).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_another_rate_is_refused(name, folders):
    with pytest.raises(ValueError, match=rf"Expected waveforms at 24000 Hz for {name}, found 16000 Hz"):
        create(name, weights=folders[name]).embed([tune(48000)], sample_rate=16000)


@pytest.mark.parametrize("name", NAMES)
def test_a_clip_does_not_depend_on_its_batch(name, folders):
    backend = create(name, weights=folders[name])
    clips = [tune(samples, seed) for seed, samples in enumerate((48000, 47000, 60001, 9000, 48000, 100000))]
    together = backend.embed(clips)
    assert together.shape == (6, backend.dim)
    for clip, row in zip(clips, together, strict=True):
        np.testing.assert_array_equal(backend.embed([clip])[0], row)


@pytest.mark.parametrize("name", NAMES)
def test_every_length_and_silence_are_finite(name, folders):
    backend = create(name, weights=folders[name], pooling="mean_std")
    for clip in (tune(1), tune(24), tune(2400), np.zeros(24000, np.float32), tune(750001)):
        vectors = backend.embed([clip])
        assert vectors.shape == (1, backend.dim)
        assert np.isfinite(vectors).all()


def test_long_clips_are_chunked_and_short_ones_looped(folders):
    backend = create("musicfm", weights=folders["musicfm"])
    clip = tune(35 * 24000)
    first, rest = backend.embed([clip[: 30 * 24000]]), backend.embed([clip[30 * 24000 :]])
    np.testing.assert_allclose(backend.embed([clip]), (750 * first + 125 * rest) / 875, rtol=1e-4, atol=1e-5)
    short = clip[-9000:]
    np.testing.assert_array_equal(backend.embed([short]), backend.embed([np.resize(short, 24000)]))


def test_crops_are_of_ten_seconds_and_the_last_is_filled_from_the_beginning(folders):
    backend = create("muq_mulan", weights=folders["muq_mulan"])
    clip = tune(24 * 24000)
    crops = [clip[:240000], clip[240000:480000], np.concatenate([clip[480000:], clip[:144000]])]
    latents = np.concatenate([backend.embed([crop]) for crop in crops])
    np.testing.assert_allclose(np.linalg.norm(latents, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(backend.embed([clip])[0], latents.mean(axis=0), rtol=1e-4, atol=1e-6)
    largest = create("muq_mulan", weights=folders["muq_mulan"], pooling="max")
    np.testing.assert_allclose(largest.embed([clip])[0], latents.max(axis=0), rtol=1e-4, atol=1e-6)
    assert "crops of 10 s" in backend.pooling


@pytest.mark.parametrize("twin", sorted(set(TWINS.values())))
def test_twin_is_drawn_from_its_seed_and_calibrated(twin):
    clips = [tune(samples, seed) for seed, samples in enumerate((30000, 24000, 9000))]
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    backend = create(twin, calibration=clips, seed=1)
    assert torch.equal(before, torch.random.get_rng_state())
    again = create(twin, calibration=clips, seed=1)
    other = create(twin, calibration=clips, seed=2)
    elsewhere = create(twin, calibration=clips[:2], seed=1)
    clip = tune(40000, seed=9)
    np.testing.assert_array_equal(again.embed([clip]), backend.embed([clip]))
    assert np.abs(other.embed([clip]) - backend.embed([clip])).max() > 0.01
    assert again.fingerprint() == backend.fingerprint()
    assert len({made.fingerprint() for made in (backend, other, elsewhere)}) == 3
    assert not backend.network.training
    assert not any(parameter.requires_grad for parameter in backend.network.parameters())


def test_every_norm_of_a_twin_has_the_statistics_of_its_input():
    """Canary: the neutral statistics of a fresh network leave channels far from unit scale."""
    clips = conformer.calibration_clips([tune(24000, seed) for seed in range(3)], "conformer_untrained")
    network = frames.draw(lambda: conformer.Conformer(SMALL), 0)
    seen = {}

    def look(module, inputs, output):
        seen[module] = output.transpose(0, 1).flatten(1)

    norms = [m for m in network.modules() if isinstance(m, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d))]
    assert len(norms) == 6 + SMALL.depth
    hooks = [norm.register_forward_hook(look) for norm in norms]
    network.state(clips, SMALL.depth)
    assert min(float(found.std(1).median()) for found in seen.values()) < 0.5
    network.calibrate(clips)
    network.state(clips, SMALL.depth)
    for norm, found in seen.items():
        assert found.mean(1).abs().max() < 1e-3
        expected = (norm.running_var / (norm.running_var + norm.eps)).sqrt()
        torch.testing.assert_close(found.std(1, correction=0), expected, atol=1e-2, rtol=1e-2)
    for hook in hooks:
        hook.remove()


def test_calibration_is_capped_evenly():
    clips = [np.full(24000, value, np.float32) for value in range(50)]
    assert conformer.calibration_clips(clips, "conformer_untrained")[:, 0].tolist() == [0, 7, 14, 21, 28, 35, 42, 49]


@pytest.mark.parametrize("name", NAMES)
def test_wrong_options_are_sentences(name, folders):
    with pytest.raises(ValueError, match=f"Expected calibration clips for {TWINS[name]}, found none"):
        create(TWINS[name])
    with pytest.raises(ValueError, match="Expected a pooling among mean, max, mean_std, first, found 'median'"):
        create(name, weights=folders[name], pooling="median")
    with pytest.raises(ValueError, match=r"Expected (a layer|no layer) .*found 4"):
        create(name, weights=folders[name], layer=4)


def test_only_a_twin_takes_calibration_clips(folders):
    with pytest.raises(ValueError, match="Expected no calibration clips for muq_mulan, which is trained"):
        create("muq_mulan", weights=folders["muq_mulan"], calibration=[tune(9)])
    takes = {name: "calibration" in options(name) for name in ("musicfm", "muq", "conformer_untrained")}
    assert takes == {"musicfm": False, "muq": False, "conformer_untrained": True}


def test_musicfm_and_muq_have_one_twin_because_they_are_one_network(folders):
    """At the same weights and spectrogram their states are equal, and so they are at the same random weights."""
    assert TWINS["musicfm"] == TWINS["muq"] == "conformer_untrained"
    networks = [create(name, weights=folders[name]).network for name in ("musicfm", "muq")]
    networks[0].load_state_dict(networks[1].state_dict())
    musicfm, muq = (network.state(torch.from_numpy(tune(48000))[None], SMALL.depth) for network in networks)
    assert torch.equal(musicfm, muq)


@pytest.mark.parametrize("name", NAMES)
def test_the_published_sizes_are_those_of_the_registry(name):
    """The defaults, on no memory: `Sizes()` and `HeadSizes()` are not patched."""
    with torch.device("meta"):
        if name == "muq_mulan":
            network = muq_mulan.AudioTower(conformer.Sizes(), muq_mulan.HeadSizes())
            width = network.head.latent
        else:
            network = conformer.Conformer(conformer.Sizes())
            width = network.sizes.width
    for entry in (REGISTRY[name], REGISTRY[TWINS[name]]):
        assert entry.dim == width
        assert entry.parameters == round(sum(p.numel() for p in network.parameters()) / 1e6, 1)
