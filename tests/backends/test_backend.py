"""The backends' contract, the log-mel frontend, frozen networks and their untrained twins."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lib.backends import LABELS, REGISTRY, UNTRAINED, Backend, backend, create, twins
from lib.backends.architectures import conformer, jukebox, muq_mulan, musicnn, waveform
from lib.backends.networks import mfcc
from lib.data import audio

TRAINED = ["musicnn_msd", "musicnn_mtt", "vgg_msd", "vgg_mtt"]
# those whose weights are in the repository; the others are tested at small size in files of their own
HERE = [name for name, entry in REGISTRY.items() if entry.adapter in ("mfcc", "musicnn")]


def noise(seconds, rate=16000, seed=0):
    rng = np.random.default_rng(seed)
    samples = np.arange(round(seconds * rate))
    swell = rng.standard_normal(len(samples)) * np.linspace(0.01, 0.1, len(samples))
    return (swell + 0.2 * np.sin(samples * (0.05 + 0.01 * seed))).astype(np.float32)


@pytest.fixture(scope="module")
def calibration():
    return [noise(7, seed=seed) for seed in range(3)]


@pytest.fixture(scope="module")
def made(calibration):
    return {
        name: create(name, calibration=calibration) if name.endswith("_untrained") else create(name) for name in HERE
    }


@pytest.mark.parametrize("name", HERE)
def test_contract(name, made):
    backend = made[name]
    rate = backend.sample_rate
    vectors = backend.embed([noise(4, rate), noise(7.3, rate, 1), noise(0.01, rate, 2)], sample_rate=rate)
    assert vectors.shape == (3, backend.dim)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    assert backend.name == name
    for attribute in ("checkpoint", "layer", "pooling", "licence", "citation", "training"):
        assert getattr(backend, attribute)
    assert backend.embed([]).shape == (0, backend.dim)
    assert name in LABELS


@pytest.mark.parametrize("name", HERE)
def test_a_clip_does_not_depend_on_its_batch(name, made):
    """Canary for a dropped last batch and for padding to the longest clip."""
    backend = made[name]
    clips = [noise(seconds, backend.sample_rate, seed) for seed, seconds in enumerate((3.2, 6.5, 4.0, 3.1, 1.0))]
    together = backend.embed(clips)
    assert len(together) == 5
    for clip, row in zip(clips, together, strict=True):
        np.testing.assert_array_equal(backend.embed([clip])[0], row)


@pytest.mark.parametrize("name", HERE)
def test_silence_is_finite_and_not_music(name, made):
    backend = made[name]
    silence = np.zeros(4 * backend.sample_rate, np.float32)
    vectors = backend.embed([silence, noise(4, backend.sample_rate)])
    assert np.isfinite(vectors).all()
    assert np.abs(vectors[0] - vectors[1]).max() > 0.1


@pytest.mark.parametrize("name", HERE)
def test_level_is_heard(name, made):
    backend = made[name]
    clip = noise(4, backend.sample_rate)
    loud, quiet = backend.embed([clip, 0.1 * clip])
    assert np.linalg.norm(loud - quiet) > 0.05 * np.linalg.norm(loud)


@pytest.mark.parametrize("name", HERE)
def test_bad_input_is_a_sentence(name, made):
    backend = made[name]
    clip = noise(4, backend.sample_rate)
    with pytest.raises(ValueError, match=rf"Expected waveforms at {backend.sample_rate} Hz for {name}, found 44100 Hz"):
        backend.embed([clip], sample_rate=44100)
    for wrong in (clip[None], clip[:0], np.zeros(9, np.int16)):
        with pytest.raises(ValueError, match="Expected a mono waveform of floating-point samples"):
            backend.embed([wrong])
    with pytest.raises(ValueError, match="found NaN or infinite"):
        backend.embed([np.where(np.arange(len(clip)) == 5, np.nan, clip)])


def test_what_leaves_is_checked(made, monkeypatch):
    backend = made["mfcc"]
    monkeypatch.setattr(backend, "_embed_features", lambda features: np.zeros((len(features), 59)))
    with pytest.raises(ValueError, match=r"Expected vectors of shape \(1, 60\) from mfcc, found \(1, 59\)"):
        backend.embed([noise(1, 22050)])
    monkeypatch.setattr(backend, "_embed_features", lambda features: np.full((len(features), 60), np.nan))
    with pytest.raises(ValueError, match=r"those of clips \[0\] of the batch"):
        backend.embed([noise(1, 22050)])


@pytest.mark.parametrize("name", [name for name in HERE if name != "mfcc"])
def test_networks_are_frozen(name, made):
    network = made[name].network
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    before = {key: value.clone() for key, value in network.state_dict().items()}
    made[name].embed([noise(4)])
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


@pytest.mark.parametrize("name", TRAINED)
def test_fast_network_equals_the_plain_one(name, made):
    patches = torch.from_numpy(musicnn.log_mel(noise(10))[: 3 * 187].reshape(3, 187, 96))
    with torch.inference_mode():
        plain = musicnn.network(name)(patches).numpy()
        fast = made[name].network(patches).numpy()
    np.testing.assert_allclose(fast, plain, atol=2e-5)


def test_log_mel_equals_librosa():
    librosa = pytest.importorskip("librosa")
    clip = noise(5)
    mel = librosa.feature.melspectrogram(y=clip, sr=16000, n_fft=512, hop_length=256, n_mels=96)
    np.testing.assert_allclose(musicnn.log_mel(clip), np.log10(10000 * mel + 1).T, atol=1e-4)
    np.testing.assert_allclose(musicnn.mel_filterbank(), librosa.filters.mel(sr=16000, n_fft=512, n_mels=96), atol=1e-7)


def test_frontend_is_shared_and_enough(made):
    assert {made[name].frontend for name in HERE if name != "mfcc"} == {"logmel_16k_512_256_96"}
    clip = noise(5)
    features = made["vgg_mtt"].features(clip, sample_rate=16000)
    assert features.shape == (1 + len(clip) // 256, 96)
    assert features.dtype == np.float32
    np.testing.assert_array_equal(made["musicnn_msd"].embed_features([features]), made["musicnn_msd"].embed([clip]))
    assert made["mfcc"].frontend is None
    np.testing.assert_array_equal(made["mfcc"].features(clip), clip)


def test_incomplete_tail_is_dropped_and_a_short_clip_is_looped(made):
    backend = made["musicnn_msd"]
    clip = noise(6)
    features = backend.features(clip)
    assert backend.patches(features).shape == (2, 200)
    np.testing.assert_array_equal(backend.embed_features([features]), backend.embed_features([features[: 2 * 187]]))
    short = clip[:16000]
    np.testing.assert_array_equal(backend.embed([short]), backend.embed([np.resize(short, 186 * 256)]))
    assert np.abs(backend.embed([short]) - backend.embed([np.pad(short, (0, 186 * 256 - 16000))])).max() > 0.1


def test_features_of_another_shape_are_a_sentence(made):
    for wrong in (np.zeros((186, 96)), np.zeros((187, 128)), np.zeros(16000)):
        with pytest.raises(ValueError, match=r"Expected log-mel features of shape \(at least 187, 96\)"):
            made["vgg_msd"].embed_features([wrong])


@pytest.mark.parametrize("twin", ["musicnn_untrained", "vgg_untrained"])
def test_twin_is_deterministic_and_its_seed_and_clips_are_in_its_fingerprint(twin, calibration, made):
    clip = noise(4, seed=9)
    again = create(twin, calibration=[made[twin].features(clip_) for clip_ in calibration])  # features serve as well
    np.testing.assert_array_equal(again.embed([clip]), made[twin].embed([clip]))
    assert again.fingerprint() == made[twin].fingerprint()
    other_seed = create(twin, calibration=calibration, seed=1)
    other_clips = create(twin, calibration=calibration[:2])
    assert len({b.fingerprint() for b in (again, other_seed, other_clips)}) == 3
    assert np.abs(other_seed.embed([clip]) - again.embed([clip])).max() > 0.1
    for trained, its_twin in UNTRAINED.items():
        if its_twin == twin:
            assert made[trained].dim == again.dim
            assert made[trained].layer == again.layer
            assert np.abs(made[trained].embed([clip]) - again.embed([clip])).max() > 0.1


def test_twin_has_unit_scale_on_its_calibration_clips(calibration, made):
    """Canary: without calibration the neutral statistics leave the penultimate layer far from unit scale."""
    backend = made["musicnn_untrained"]
    patches = np.concatenate([backend.patches(backend.features(clip)) for clip in calibration])
    alive = patches.std(axis=0) > 0
    assert alive.mean() > 0.5
    np.testing.assert_allclose(patches.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(np.median(patches[:, alive].std(axis=0)), 1, atol=0.1)
    raw = musicnn.MusiCNN().eval()
    raw.draw(np.random.default_rng(0))
    with torch.inference_mode():
        found = raw(musicnn._cut(backend.features(calibration[0]))).numpy()
    assert found.std(axis=0).max() < 0.5 or np.abs(found.mean(axis=0)).max() > 0.1


def test_each_norm_of_a_twin_is_calibrated_layer_by_layer(calibration):
    patches = musicnn._calibration_patches(calibration)
    net = musicnn.VGG().eval().requires_grad_(False)
    net.draw(np.random.default_rng(0))
    net.calibrate(patches)
    seen = []

    def run(layer, x):
        y = layer.activation(x)
        scale, shift = (v.view(1, -1, 1, 1) for v in layer.affine())
        seen.append((layer.variance, (y * scale + shift).transpose(0, 1).flatten(1)))
        return layer(x)

    with torch.inference_mode():
        net(patches, run)
    assert len(seen) == 6
    for variance, normalised in seen:
        assert normalised.mean(1).abs().max() < 1e-3
        expected = (variance / (variance + 1e-3)).sqrt()  # 1 but for TensorFlow's epsilon
        torch.testing.assert_close(normalised.std(1), expected, atol=1e-2, rtol=1e-2)
        assert normalised.std(1).median() > 0.8


def test_calibration_is_capped_evenly():
    patches = musicnn._calibration_patches([np.full((187 * 300, 96), 1.0, np.float32)])
    assert patches.shape == (musicnn.CALIBRATION_PATCHES, 187, 96)


def test_calibration_is_asked_for_and_refused():
    with pytest.raises(ValueError, match="Expected calibration clips for vgg_untrained, found none"):
        create("vgg_untrained")
    with pytest.raises(ValueError, match="Expected calibration clips for musicnn_untrained, found none"):
        create("musicnn_untrained", calibration=[])
    with pytest.raises(ValueError, match="Expected no calibration clips for vgg_msd"):
        create("vgg_msd", calibration=[noise(4)])


def test_fingerprints_differ_and_follow_the_code(made, monkeypatch):
    assert len({backend.fingerprint() for backend in made.values()}) == len(made)
    before = made["mfcc"].fingerprint()
    monkeypatch.setattr(type(made["mfcc"]), "code_digest", lambda self: "changed")
    assert made["mfcc"].fingerprint() != before


def test_a_twins_fingerprint_follows_how_it_is_calibrated_and_its_features_do_not(made, monkeypatch, tmp_path):
    trained, twin = made["musicnn_msd"], made["musicnn_untrained"]
    before = trained.fingerprint(), twin.fingerprint()
    changed = tmp_path / "twins.py"
    changed.write_text(Path(twins.__file__).read_text() + "# changed\n")
    monkeypatch.setattr(backend, "_TWINS", changed)
    assert trained.fingerprint() == before[0]
    assert twin.fingerprint() != before[1]
    assert trained.code_digest() == twin.code_digest()  # under which the cache keeps their features


FOLDER = Path(backend.__file__).parent
FRAMES = "architectures/frames.py"
REACHED = {
    "mfcc": (mfcc.MFCC, {"networks/mfcc.py"}),
    "vgg_mtt": (musicnn.PatchBackend, {"networks/musicnn.py", "architectures/musicnn.py"}),
    "mert_95m": (waveform.WaveformBackend, {"networks/mert.py", "architectures/waveform.py", FRAMES}),
    "music2vec": (waveform.WaveformBackend, {"networks/music2vec.py", "architectures/waveform.py", FRAMES}),
    "musicfm": (conformer.ConformerBackend, {"networks/musicfm.py", "architectures/conformer.py", FRAMES}),
    "jukebox": (jukebox.JukeboxBackend, {"networks/jukebox.py", "architectures/jukebox.py", FRAMES}),
    "muq_mulan": (
        muq_mulan.MuLanBackend,  # MuQ is its lower half; what is known of MuQ starts from MusicFM's entry
        {f"networks/{name}.py" for name in ("muq_mulan", "muq", "musicfm")}
        | {f"architectures/{name}.py" for name in ("muq_mulan", "conformer", "frames")},
    ),
}


@pytest.mark.parametrize("name", REACHED)
def test_the_digest_follows_the_files_that_compute_a_vector_and_no_others(name, monkeypatch):
    kind, expected = REACHED[name]
    one = kind.__new__(kind)
    one.name = name
    before, read = one.code_digest(), Path.read_bytes
    followed = set()
    for path in (*FOLDER.rglob("*.py"), Path(audio.__file__)):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_bytes", lambda file, path=path: read(file) + b"#" * (file == path))
            if one.code_digest() != before:
                followed.add(path.relative_to(FOLDER.parent).as_posix())
    assert followed == {f"backends/{path}" for path in expected} | {"data/audio.py"}
    assert one.code_digest() == before


def test_the_digest_follows_relative_imports_and_a_class_outside_the_registry(tmp_path):
    source = b"from ..architectures import crepe\nfrom .mfcc import MFCC\nimport lib.backends.networks.muq\nimport os\n"
    assert {path.relative_to(FOLDER).as_posix() for path in backend._imported(source)} == {
        "architectures/crepe.py", "networks/mfcc.py", "networks/muq.py",
    }  # fmt: skip

    class Other(Backend):
        name = "other"

        def _embed_features(self, features):
            return features

    assert len(Other().code_digest()) == 8


def test_calibration_takes_the_first_the_last_and_evenly_between():
    assert twins.evenly(50, 8).tolist() == [0, 7, 14, 21, 28, 35, 42, 49]
    assert twins.evenly(3, 8).tolist() == [0, 1, 2]
    assert twins.evenly(1, 8).tolist() == [0]


def test_missing_weights_name_the_converter(monkeypatch, tmp_path):
    monkeypatch.setattr(musicnn, "_WEIGHTS", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"Expected the weights of vgg_msd .*lib\.backends\.weights\.convert"):
        create("vgg_msd")
