"""All layers in one pass: equal to each by itself, taken apart rightly, resumable, honest about random weights."""

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from lib.backends import create, extraction, small
from lib.backends.architectures import conformer, waveform
from lib.backends.architectures.frames import POOLINGS, FrameBackend
from lib.backends.architectures.waveform import WaveformBackend
from lib.backends.networks import mert
from lib.backends.vectors import VectorStore
from lib.evaluation import layers
from lib.study import Study, load_parameters
from workflow import dag

RATE = 24000
TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": [8] * 7,
    "num_conv_pos_embedding_groups": 4,
}


def clip(seconds, seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * RATE)).astype(np.float32)


def seeded(build):
    torch.manual_seed(0)
    return build()


def hubert(pre_norm):
    network = seeded(lambda: mert.network(TINY | {"do_stable_layer_norm": pre_norm}))

    def make(layer=None, pooling=None):
        return WaveformBackend(
            "mert_95m", network, layer=layer, pooling=pooling, checkpoint="random weights", revision=""
        )

    return make


def conformed(network_of=lambda: conformer.Conformer(conformer.Sizes(16, 3, 2, 32, 4))):
    network = seeded(network_of)

    def make(layer=None, pooling=None):
        return conformer.ConformerBackend(
            "muq", network, layer=layer, pooling=pooling, checkpoint="random weights", revision=""
        )

    return make


def one_at_a_time(_):
    """An adapter that has no way of its own to give all layers: the frame's."""

    class Plain(WaveformBackend):
        _hidden_layers = FrameBackend._hidden_layers

        def _hidden(self, waveforms, lengths):
            states, valid = WaveformBackend._hidden_layers(self, waveforms, lengths, [self.layer_index])
            return states[self.layer_index], valid

    network = seeded(lambda: mert.network(TINY))
    return lambda layer=None, pooling=None: Plain(
        "mert_95m", network, layer=layer, pooling=pooling, checkpoint="random weights", revision=""
    )


KINDS = {
    "post-norm": lambda: hubert(False),
    "pre-norm": lambda: hubert(True),
    "conformer": conformed,
    "frame": lambda: one_at_a_time(None),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_and_pooling_equals_the_single_one(kind, monkeypatch):
    """Canary for a missing final normalisation and for layers counted from 1; one clip is long enough for chunks."""
    monkeypatch.setattr(waveform, "_CHUNK_SECONDS", 2.0)
    monkeypatch.setattr(conformer, "CHUNK_SECONDS", 2.0)
    make = KINDS[kind]()
    clips = [clip(1.3), clip(0.4, 1), clip(3.2, 2)]
    found = make().embed_layers(clips, range(4), POOLINGS)
    assert set(found) == {(layer, pooling) for layer in range(4) for pooling in POOLINGS}
    for (layer, pooling), vectors in found.items():
        expected = make(layer, pooling).embed(clips)
        np.testing.assert_allclose(vectors, expected, rtol=1e-3, atol=1e-5, err_msg=f"layer {layer}, {pooling}")
    assert not np.allclose(found[0, "mean"], found[3, "mean"], atol=1e-3)


def test_one_pass_runs_every_block_once():
    make, calls = hubert(False), []
    backend = make()
    for block in backend.network.encoder.layers:
        block.register_forward_hook(lambda *_: calls.append(1))
    backend.embed_layers([clip(1)], range(4), POOLINGS)
    assert len(calls) == 3
    backend.embed_layers([clip(1)], [1], ["mean"])
    assert len(calls) == 4  # blocks above the last layer asked for are not run


def test_unknown_layer_or_pooling_is_a_sentence():
    backend = hubert(False)()
    with pytest.raises(ValueError, match=r"between 0 .* and 3 .* found 4"):
        backend.embed_layers([clip(1)], [4], ["mean"])
    with pytest.raises(ValueError, match="found 'median'"):
        backend.embed_layers([clip(1)], [0], ["median"])


def test_the_wide_vector_comes_apart_again():
    make = hubert(False)
    wide = layers.AllLayers(make())
    values = wide.embed([clip(1), clip(1, 1)])
    assert values.shape == (2, wide.dim) == (2, 4 * 4 * 16)
    parts = layers.separate(values, 3)
    assert list(parts)[:5] == [(0, "mean"), (0, "mean_std"), (0, "max"), (0, "first"), (1, "mean")]
    for (layer, pooling), vectors in parts.items():
        np.testing.assert_allclose(vectors, make(layer, pooling).embed([clip(1), clip(1, 1)]), rtol=1e-3, atol=1e-5)


def test_small_checkpoint_loads_as_published_and_is_the_same_each_time(tmp_path):
    first, again = small.mert_checkpoint(tmp_path / "a"), small.mert_checkpoint(tmp_path / "b")
    other = small.mert_checkpoint(tmp_path / "a", seed=1)
    weights = [(folder / "model.safetensors").read_bytes() for folder in (first, again, other)]
    assert weights[0] == weights[1] != weights[2]
    backend = create("mert_95m", weights=first)
    assert (backend.n_layers, backend.width) == (small.SIZES["num_hidden_layers"], small.SIZES["hidden_size"])
    found = backend.embed_layers([clip(1), clip(1, 1)], range(backend.n_layers + 1), ["mean"])
    for layer in range(backend.n_layers):  # no block is an identity, no clip like another
        assert np.corrcoef(found[layer, "mean"][0], found[layer + 1, "mean"][0])[0, 1] < 0.999
        assert np.abs(found[layer, "mean"][0] - found[layer, "mean"][1]).max() > 1e-4


def parameters(**changes):
    return load_parameters("toy", changes)


def test_random_weights_are_called_so_everywhere(tmp_path):
    """Canary: nothing that random weights gave may be stored or drawn under the name of the trained network alone."""
    wide = layers.AllLayers(layers.network(None, parameters(), tmp_path))
    assert wide.is_random
    assert wide.label == "MERT 95M's layout at random weights"
    assert wide.metadata()["training"] == "none: random weights"
    assert "random weights" in wide.metadata()["checkpoint"]
    real = hubert(False)()
    real.checkpoint = "m-a-p/MERT-v1-95M"
    assert layers.AllLayers(real).label == "MERT 95M"


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"layers_backend": "mfcc"}, "backend with layers")],
)
def test_a_backend_without_layers_is_a_sentence(tmp_path, changes, words):
    with pytest.raises(ValueError, match=words):
        layers.network(None, parameters(**changes), tmp_path)


def test_the_stage_runs_where_a_transformer_is_named(tmp_path):
    def runs(extended, **changes):  # where make extended has not run
        found = dag.jobs(Study(parameters(runs_dir=str(tmp_path), **changes)), extended)
        return "22_layers_and_pooling" in {job.name for job in found}

    assert runs(True)
    assert not runs(False)
    assert not runs(True, layers_backend="")
    with pytest.raises(ValueError, match="with layers, found 'mfcc'"):
        parameters(layers_backend="mfcc")


def test_extraction_goes_on_where_it_was(tmp_path):
    paths = [tmp_path / f"{number}.wav" for number in range(5)]
    for number, path in enumerate(paths):
        soundfile.write(path, clip(1, number), RATE)
    tracks = pd.DataFrame({"track_id": [path.stem for path in paths], "path": [str(path) for path in paths]})
    wide = layers.AllLayers(hubert(False)())
    store = VectorStore(tmp_path / "layers.lance")
    first = extraction.extract(tracks.head(3), wide, store, tmp_path / "cache", batch_size=2)
    second = extraction.extract(tracks, wide, store, tmp_path / "cache", batch_size=2)
    assert (first.embedded, second.embedded, second.reused) == (3, 2, 3)
    expected = wide.embed([clip(1, number) for number in range(5)])
    np.testing.assert_allclose(store.read("mert_95m").values, expected, atol=2e-3)  # 16-bit files


def test_a_sample_takes_whole_recordings():
    tracks = pd.DataFrame({"track_id": range(20), "score_id": np.repeat(range(10), 2)})
    found = layers.sample(tracks, "score_id", 7, np.random.default_rng(0))
    assert len(found) == 6
    assert (found["score_id"].value_counts() == 2).all()
    assert layers.sample(tracks, "score_id", 20, np.random.default_rng(0)).equals(tracks)


def probed(better):
    """Scores of two layers in five folds, layer 1 better by `better` in the held-out and the inner part."""
    rows = []
    for label, gain in better.items():
        for fold in range(5):
            for layer in (0, 1):
                score = 0.5 + 0.01 * fold + gain * layer + 0.001 * fold * layer
                row = {"label": label, "layer": layer, "pooling": "mean", "fold": fold, "score": score}
                rows.append(row | {"inner": score, "chance": 0.25, "n_train": 80, "n_test": 20})
    return pd.DataFrame(rows).assign(task="classification", backend="mert_95m", strength=0.03)


def test_whether_the_choice_matters():
    found = layers.compare(probed({"key": 0.2, "mode": 0.0}), (0, "mean"), alpha=0.05).set_index("label")
    assert found.loc["key", "diff"] == pytest.approx(0.202)
    assert found.loc["key", "verdict"] == "the choice is better"
    assert found.loc["key", "often"] == (1, "mean", 5)
    assert found.loc["mode", "luckiest"] == pytest.approx(0.522)
    assert (found["p_adjusted"] >= found["p"]).all()
    text = layers.choice_table(found.reset_index())
    assert text.loc["key", "most often"] == "1, mean (5×)"


def test_above_is_the_share_of_the_way_from_chance_to_perfect():
    means = layers.means(probed({"key": 0.2}), alpha=0.05).set_index("layer")
    assert means.loc[0, "value"] == pytest.approx(0.52)
    assert means.loc[0, "above"] == pytest.approx((0.52 - 0.25) / 0.75)


def test_a_label_that_cannot_be_probed_is_named():
    tracks = pd.DataFrame({"score_id": range(30), "mode": ["major"] * 30, "tempo": np.linspace(60, 90, 30)})
    planned, refused = layers.plans(tracks, ["mode", "tempo", "valence"], "score_id", np.random.default_rng(0), 5)
    assert list(planned) == ["tempo"]
    assert planned["tempo"].task == "regression"
    assert "two values" in refused["mode"]
    assert refused["valence"] == "the tracks have no such column"
