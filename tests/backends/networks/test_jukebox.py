"""Jukebox: the published layout, the original's codes and numbers at every kind of layer, chunks, its twin."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lib.backends import LABELS, REGISTRY, create
from lib.backends.architectures import jukebox
from lib.backends.checkpoints import CheckpointError

RATE, HOP, WIDTH = 44100, 128, 32
GOLDEN = Path(__file__).parents[2] / "golden" / "jukebox_reference.npz"
SMALL = jukebox.Sizes(channels=4, residuals=2, code_width=4, codes=64, width=32, context=512, genres=3, artists=5)


@pytest.fixture(scope="module")
def golden():
    """What jukebox-infer 0.1.2 gave at small sizes and random weights, run once, on torch 2.13 with `python -O`.

    (Its assertions want CUDA tensors.) Its VQ-VAE with 8 channels, 2 residual layers, 512 codes of width 4, and its
    prior `prior_5b` with width 32, 38 blocks, 3 genres and 5 artists, both filled by `drawn`; context (8,192 codes),
    strides and all else as published. As jukemir has it: `clip()` at peak 1, its first 25 s encoded, 8,192 codes read,
    labels unknown, a recording of 62 s. Kept are the codes, the means over time of layers 0 (what enters the first
    block), 1, 2, 3, 6 and 36 and some of their states (`kept` says which); `short_…` are those of `clip(2.3, 1)`, read
    as jukemirlib reads short clips (`sample=True`). `shapes` are keys and shapes of its two state dictionaries.
    """
    return dict(np.load(GOLDEN))


def drawn(shapes):
    """Weights of {key: shape}, each from a generator of its own, seeded by its key."""
    state = {}
    for key, shape in shapes.items():
        values = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape)
        if ".ln_" in key and key.endswith("weight"):
            values = np.exp(0.3 * values)
        elif key.endswith(".w"):
            values = values / np.sqrt(shape[0])
        elif key.endswith("weight") and "emb" not in key and len(shape) == 3:
            values = values / np.sqrt(shape[1] * shape[2])
        elif key.endswith(".k"):
            values = 2 * values
        elif key.endswith((".b", "bias")):
            values = 0.1 * values
        state[key] = torch.from_numpy(values.astype(np.float32))
    return state


def clip(seconds=24.0, seed=0):
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    tones = np.sin(2 * np.pi * (110 + 110 * seed) * time * (1 + 0.1 * time)) * np.linspace(0.05, 0.4, len(time))
    return (tones + 0.05 * rng.standard_normal(len(time))).astype(np.float32)


def close(found, expected):
    """Relative to the largest number: 1e-4."""
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max(), rtol=0)


@pytest.fixture(scope="module")
def states(golden):
    """The two published state dictionaries at the small sizes of the reference."""
    return {part: drawn(shapes) for part, shapes in json.loads(str(golden["shapes"])).items()}


def saved(folder, states, **changes):
    """Both files as they are published; a change is (keys to leave out, tensors to put in)."""
    for part, file in (("codec", jukebox.CODEC), ("prior", jukebox.PRIOR)):
        gone, more = changes.get(part, ((), {}))
        model = {key: value for key, value in states[part].items() if key not in gone} | more
        torch.save({"model": model, "step": 7, "opt": None}, folder / file)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory, states):
    return saved(tmp_path_factory.mktemp("jukebox"), states)


@pytest.fixture(scope="module")
def backend(folder):
    return create("jukebox", weights=folder)


@pytest.mark.proof
def test_codes_and_layers_equal_to_the_original(backend, golden, proof, states):
    """A clip of 24 s: the codec hears all of it, 8,192 codes are read and the last 0.2 s are dropped."""
    waveform = clip()
    with torch.inference_mode():
        codes = backend.network.codec(torch.from_numpy(waveform / np.abs(waveform).max()))
    np.testing.assert_array_equal(codes[:8192], golden["codes"])
    assert len(np.unique(codes)) > 20
    layers = [0, 1, 2, 3, 6, 36]
    found = backend.embed_layers([waveform], layers, ["mean", "first"])
    for layer in layers:
        close(found[layer, "mean"][0], golden[f"mean_{layer}"])
        close(found[layer, "first"][0], golden[f"frames_{layer}"][0])
        assert proof("jukebox", distance=(found[layer, "mean"][0], golden[f"mean_{layer}"])) <= 1e-4
    keys = sum(map(len, states.values()))
    proof("jukebox", loads=f"{keys} keys, 36 of 38 blocks", against="jukebox-infer 0.1.2, small, six layers")
    np.testing.assert_array_equal(backend.embed([waveform], sample_rate=RATE), found[36, "mean"])


@pytest.mark.parametrize("layer", [0, 1, 2, 3, 36])
def test_hidden_states_equal_to_the_original(layer, backend, golden):
    """Canary for the borders of rows and of the times told: states on both sides of them."""
    with torch.inference_mode():
        states = backend.network.prior(torch.from_numpy(golden["codes"].astype(np.int64)), [layer])[layer]
    close(states[golden["kept"]].numpy(), golden[f"frames_{layer}"])


def test_short_clips_equal_to_the_original(backend, golden):
    waveform = clip(2.3, 1)
    with torch.inference_mode():
        codes = backend.network.codec(torch.from_numpy(waveform / np.abs(waveform).max()))
        np.testing.assert_array_equal(codes, golden["short_codes"])
        states = backend.network.prior(codes, [1, 2, 3, 36])
    assert len(codes) == 792
    for layer, found in states.items():
        close(found[[0, 1, 64, 128, 791]].numpy(), golden[f"short_{layer}"])
    close(backend.embed([waveform])[0], golden["short_mean_36"])


def test_half_precision_of_the_file_is_kept_and_computed_in_single(backend, states, tmp_path, golden):
    """The published matrices are stored in half precision."""
    halved = {key: value.half() for key, value in states["prior"].items() if key.endswith(".w")}
    stored = create("jukebox", weights=saved(tmp_path, states, prior=((), halved)))
    weights = stored.network.prior.state_dict()
    for key, value in halved.items():
        if key in weights:
            assert weights[key].dtype == torch.float16
            assert torch.equal(weights[key], value)
    rounded = {key: value.float() for key, value in halved.items()}
    plain = create("jukebox", weights=saved(tmp_path, states, prior=((), rounded)))
    vector = stored.embed([clip(2.3, 1)])
    np.testing.assert_array_equal(vector, plain.embed([clip(2.3, 1)]))
    scale = np.abs(golden["short_mean_36"]).max()
    assert 1e-6 * scale < np.abs(vector - backend.embed([clip(2.3, 1)])).max() < 0.05 * scale


@pytest.mark.parametrize("depth", [0, 3, 36])
def test_no_block_above_the_layer_is_built(depth, folder):
    made = create("jukebox", weights=folder, layer=depth)
    assert len(made.network.prior.prior["transformer"]["_attn_mods"]) == depth
    assert made.layer == f"{depth} of 72"
    with pytest.raises(ValueError, match=f"Expected a layer of jukebox between 0 .* and {depth} "):
        made.embed_layers([clip(1)], [depth + 1], ["mean"])


@pytest.mark.parametrize("layer", [-1, 37, 72, True, 2.0])
def test_other_layers_and_poolings_are_sentences(layer, folder):
    with pytest.raises(ValueError, match=f"Expected a layer of jukebox between 0 .* and 36 .*, found {layer}; choose"):
        create("jukebox", weights=folder, layer=layer)
    with pytest.raises(ValueError, match="Expected a pooling among mean, max, mean_std, first, found 'median'"):
        create("jukebox", weights=folder, pooling="median")


def test_weights_that_do_not_fit_are_a_sentence(states, tmp_path):
    for part, gone in (
        ("codec", "encoders.2.level_blocks.1.model.0.0.bias"),
        ("codec", "bottleneck.level_blocks.2.k"),
        ("prior", "prior.transformer._attn_mods.35.mlp.c_proj.w"),
        ("prior", "y_emb.relative_pos_emb.emb.weight"),
    ):
        with pytest.raises(CheckpointError, match=rf"{gone}.* missing"):
            create("jukebox", weights=saved(tmp_path, states, **{part: ([gone], {})}))
    for part, more in (
        ("codec", "bottleneck.level_blocks.3.k"),
        ("prior", "prior.transformer._attn_mods.72.ln_0.bias"),
        ("prior", "prior.start_token"),
    ):
        with pytest.raises(CheckpointError, match=rf"none missing and {more} unexpected"):
            create("jukebox", weights=saved(tmp_path, states, **{part: ((), {more: torch.zeros(1)})}))
    other = {"prior.transformer._attn_mods.4.attn.c_attn.w": torch.zeros(WIDTH, 99)}
    with pytest.raises(CheckpointError, match=r"_attn_mods.4.attn.c_attn.w of shape \(32, 24\), found \(32, 99\)"):
        create("jukebox", weights=saved(tmp_path, states, prior=((), other)))


def test_files_of_every_kind_are_read(backend, states, tmp_path):
    """Names of a parallel training; the format of torch before 1.6, as the publisher's; safetensors beside it."""
    for part, file in (("codec", jukebox.CODEC), ("prior", jukebox.PRIOR)):
        model = {f"module.{key}": value for key, value in states[part].items()}
        torch.save({"model": model}, tmp_path / file, _use_new_zipfile_serialization=False)
    old = create("jukebox", weights=tmp_path)
    np.testing.assert_array_equal(old.embed([clip(1)]), backend.embed([clip(1)]))
    assert old.revision != backend.revision
    for part, file in (("codec", jukebox.CODEC), ("prior", jukebox.PRIOR)):
        (tmp_path / file).unlink()
        save_file(states[part], (tmp_path / file).with_suffix(".safetensors"))
    np.testing.assert_array_equal(create("jukebox", weights=tmp_path).embed([clip(1)]), backend.embed([clip(1)]))


class Harmful:
    """Runs code where it is unpickled."""

    def __reduce__(self):
        return pytest.fail, ("code of a checkpoint was run",)


@pytest.mark.parametrize("as_zip", [True, False])
def test_code_in_a_file_is_never_run(as_zip, states, tmp_path):
    saved(tmp_path, states)
    spoilt = {"model": states["codec"], "hps": Harmful()}
    torch.save(spoilt, tmp_path / jukebox.CODEC, _use_new_zipfile_serialization=as_zip)
    with pytest.raises(CheckpointError, match=r"Expected tensors alone in .*vqvae\.pth\.tar"):
        create("jukebox", weights=tmp_path)


def test_missing_files_are_a_sentence(tmp_path, monkeypatch, folder, backend):
    monkeypatch.delenv("WORKBOOK_WEIGHTS", raising=False)
    with pytest.raises(
        CheckpointError,
        match=r"Expected vqvae\.pth\.tar, prior_level_2\.pth\.tar of jukebox in a local folder, found none; .* "
        r"\$WORKBOOK_WEIGHTS/jukebox.*weights=FOLDER.*https://.*jukebox/models/5b/",
    ):
        create("jukebox")
    (tmp_path / jukebox.CODEC).write_bytes(b"")
    with pytest.raises(
        CheckpointError,
        match=rf"in {tmp_path}, found no prior_level_2\.pth\.tar; copy what is missing there from its publisher",
    ):
        create("jukebox", weights=tmp_path)
    (tmp_path / "jukebox").symlink_to(folder)
    monkeypatch.setenv("WORKBOOK_WEIGHTS", str(tmp_path))
    assert create("jukebox").fingerprint() == backend.fingerprint()


@pytest.fixture(scope="module")
def twin():
    """A small twin: a chunk has 512 codes, 1.486 s."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jukebox, "PUBLISHED", SMALL)
        return create("jukebox_untrained", layer=4)


def test_chunks(twin):
    """Chunk after chunk, each heard beyond its end; a last one shorter than 1 s is dropped."""
    chunk, beyond = 512 * HOP, 25 * RATE - 8192 * HOP
    waveform = torch.from_numpy(clip(4.0))
    hidden, valid = twin._hidden(waveform[None], torch.tensor([len(waveform)]))
    assert hidden.shape == (1, 512 + 512 + (4 * RATE - 2 * chunk) // HOP, WIDTH)
    assert valid.all()
    for i in range(3):
        codes = twin.network.codec(waveform[i * chunk : (i + 1) * chunk + beyond])[:512]
        np.testing.assert_array_equal(hidden[0, 512 * i : 512 * (i + 1)], twin.network.prior(codes, [4])[4])
    shorter, _ = twin._hidden(waveform[None, : round(3.9 * RATE)], torch.tensor([round(3.9 * RATE)]))
    np.testing.assert_array_equal(shorter[0], hidden[0, :1024])
    assert "those above 1.486 s in chunks" in twin.pooling


@pytest.mark.parametrize(("pooling", "over"), [("mean", np.mean), ("max", np.max)])
def test_pooled_over_time_of_all_chunks(pooling, over, monkeypatch, twin):
    """Canary for a mean over the wrong axis, and for padding of shorter rows that counts."""
    monkeypatch.setattr(jukebox, "PUBLISHED", SMALL)
    made = create("jukebox_untrained", layer=4, pooling=pooling)
    clips = [clip(seconds, seed) for seed, seconds in enumerate((3.2, 2.7, 1.1))]
    for waveform, row in zip(clips, made.embed(clips), strict=True):
        peaked = torch.from_numpy(waveform / np.abs(waveform).max())
        hidden = twin._hidden(peaked[None], torch.tensor([len(peaked)]))[0][0]
        expected = over(hidden.numpy(), axis=0)
        assert np.abs(row - expected).max() <= 1e-4 * np.abs(expected).max()


def test_a_clip_does_not_depend_on_its_batch(twin):
    clips = [clip(seconds, seed) for seed, seconds in enumerate((3.2, 2.0, 3.1, 1.2, 0.4))]
    together = twin.embed(clips, sample_rate=RATE)
    assert together.shape == (5, WIDTH)
    assert together.dtype == np.float32
    for one, row in zip(clips, together, strict=True):
        np.testing.assert_array_equal(twin.embed([one])[0], row)


def test_level_is_not_heard_but_the_peak_of_the_whole_clip_is(twin):
    waveform = clip(2.9)
    quiet = 0.25 * waveform
    np.testing.assert_array_equal(twin.embed([quiet]), twin.embed([waveform]))
    quiet[-1] = 1.0
    assert np.abs(twin.embed([quiet]) - twin.embed([waveform])).max() > 1e-3


def test_short_clips_are_looped_and_hard_input_is_finite(twin):
    short = clip(0.3)
    np.testing.assert_array_equal(twin.embed([short]), twin.embed([np.resize(short, RATE)]))
    silent, constant, clipped = twin.embed(
        [np.zeros(RATE, np.float32), np.full(RATE, 0.5, np.float32), np.clip(99 * clip(1), -1, 1)]
    )
    assert np.isfinite([silent, constant, clipped]).all()
    assert np.abs(silent - clipped).max() > 1e-3
    with pytest.raises(ValueError, match="Expected waveforms at 44100 Hz for jukebox_untrained, found 24000 Hz"):
        twin.embed([short], sample_rate=24000)


@pytest.mark.parametrize("turn", [0, 1, 2])
def test_attention_by_hand(turn):
    """Pair by pair, in numpy: which tokens of a table of 5 rows and 4 columns a token attends to."""
    rng = np.random.default_rng(turn)
    tokens, heads, part = 20, 8, 1
    block = jukebox.Block(SMALL, turn, torch.float32)
    mixed = rng.standard_normal((tokens, 3, heads, part))
    found = block._attention(torch.from_numpy(mixed.reshape(tokens, -1)), 4).numpy()
    for i in range(tokens):
        row, column = divmod(i, 4)
        before = [j for j in range(i + 1) if (j // 4 == row, j % 4 == column, j // 4 == row - 1)[turn]]
        for head in range(heads):
            logits = [mixed[i, 0, head] @ mixed[j, 1, head] / np.sqrt(part) for j in before]
            shares = np.exp(logits) / np.exp(logits).sum() if before else []
            expected = sum((s * mixed[j, 2, head] for s, j in zip(shares, before, strict=True)), np.zeros(part))
            np.testing.assert_allclose(found[i, head * part : (head + 1) * part], expected, atol=1e-12)


def test_nothing_attends_to_what_follows(backend, golden):
    codes = torch.from_numpy(golden["codes"][:700].astype(np.int64))
    other = torch.cat([codes[:300], (codes[300:] + 5) % 512])
    with torch.inference_mode():
        one, two = (backend.network.prior(some, [36])[36] for some in (codes, other))
    np.testing.assert_allclose(one[:301], two[:301], atol=1e-5)  # a state knows the codes before its own
    assert np.abs(one[301:] - two[301:]).max() > 0.1


def test_times_told_by_hand():
    """A clip of 23.777 s at the start of one of 61.997 s: 128 times for 600 s, and for the whole of it."""
    length, absolute, relative = jukebox._times(8192, 128, "cpu")
    assert length == 0  # 62 s is in the first of the times between 60 s and 600 s
    samples = 128 * np.arange(8192)
    np.testing.assert_array_equal(absolute, 128 * samples // (600 * 44100))
    np.testing.assert_array_equal(relative, 128 * samples // (21360 * 128))  # token 1,335 k is on a border
    assert (absolute[-1], relative[-1]) == (5, 49)


def test_twin(monkeypatch, twin):
    monkeypatch.setattr(jukebox, "PUBLISHED", SMALL)
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    again, other = create("jukebox_untrained", layer=4), create("jukebox_untrained", layer=4, seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    vector = twin.embed([clip(1.2)])
    np.testing.assert_array_equal(again.embed([clip(1.2)]), vector)
    assert again.fingerprint() == twin.fingerprint() != other.fingerprint()
    assert np.abs(other.embed([clip(1.2)]) - vector).max() > 1e-3
    assert not twin.network.training
    assert not any(parameter.requires_grad for parameter in twin.network.parameters())
    with torch.inference_mode():
        assert len(twin.network.codec(torch.from_numpy(clip(3))).unique()) > 10
    for key, weight in twin.network.prior.named_parameters():
        if key.endswith(".w"):
            assert weight.dtype == torch.float16
            assert weight.float().std().item() == pytest.approx(0.002, rel=0.1)


def test_sizes_of_the_registry():
    """By hand, for the prior would fill memory: 36 blocks; codes, places, genres, artists and 3 x 128 times."""
    width = 4800
    attention = (width + 1) * 3 * width // 4 + (width // 4 + 1) * width
    block = attention + 2 * (width + 1) * width + 2 * 2 * width
    embeddings = (2048 + 8192 + 120 + 4111 + 3 * 128) * width
    codec = sum(parameter.numel() for parameter in jukebox.Codec().parameters())
    millions = (36 * block + embeddings + codec) / 1e6
    for name in ("jukebox", "jukebox_untrained"):
        entry = REGISTRY[name]
        assert entry.parameters == pytest.approx(millions, abs=0.05)
        assert (entry.dim, entry.sample_rate) == (width, RATE)
        assert entry.frame_rate == pytest.approx(RATE / HOP, abs=0.05)
    assert REGISTRY["jukebox"].untrained == "jukebox_untrained"
    assert REGISTRY["jukebox"].files == (jukebox.CODEC, jukebox.PRIOR)
    assert {"jukebox", "jukebox_untrained"} <= set(LABELS)
