"""Hostile audio through every backend: a finite vector, or a counted failure with one sentence.

All combinations would be some 15 lengths x 9 rates x 3 channel counts x 11 formats x 9 signals. Instead each length,
each rate, each channel count, each format and each signal occurs in at least one clip, lengths crossed with other
formats and rates from one to the next.

musicnn, vgg, crepe_tiny and vibenet are the real ones. The others are made at small size: from checkpoints in the
published layout (those of their own tests), twins with their sizes replaced; what is tested here does not hang on the
width.
"""

import dataclasses
import functools
import importlib.util
import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import soundfile
import soxr
import torch

from lib import backends
from lib.backends import REGISTRY, extraction
from lib.backends.architectures import conformer, crepe, encodecmae, jukebox, muq_mulan
from lib.backends.networks import mert, music2vec
from lib.backends.vectors import VectorStore

PACKAGES = {"crepe": ["torchcrepe"], "vibenet": ["vibenet", "onnxruntime"], "mule": ["mule_torch"]}
EVERY = pytest.mark.parametrize("name", REGISTRY)
RATES = {"mfcc": 22050, "mert": 24000, "musicfm": 24000, "muq": 24000, "muq_mulan": 24000, "conformer": 24000,
         "encodecmae": 24000, "jukebox": 44100}  # fmt: skip
PUBLISHED_RATE = {name: RATES.get(entry.adapter, 16000) for name, entry in REGISTRY.items()}  # by their publications
OFFSET_BLIND = ("mert", "music2vec", "crepe")  # adapters that take the mean out of each clip or window
LEVEL_BLIND = (*OFFSET_BLIND, "jukebox")  # and divide by the deviation, or the peak

# Relative distance of vectors that counts as heard. Random weights shrink what enters EnCodec's many convolutions until
# their offsets outweigh it: music and silence are 6e-5 apart, at the published size too.
HEARD = {name: 1e-3 for name in REGISTRY} | {"encodecmae_untrained": 1e-6}


class Clip(NamedTuple):
    """What a file holds: seconds, rate, channels, kind of file, signal."""

    seconds: float
    rate: int = 44100
    channels: int = 2
    kind: str = "wav PCM_16"
    signal: str = "music"


SHORT = {
    "0.1 s": Clip(0.1, 8000, 1, "wav PCM_U8"),
    "0.3 s": Clip(0.3, 11025, 2, "flac PCM_16"),
    "0.5 s": Clip(0.5, 16000, 6, "wav PCM_24"),
    "1 s": Clip(1, 22050, 1, "ogg VORBIS"),
    "2.99 s": Clip(2.99, 24000, 2, "mp3 MPEG_LAYER_III"),
    "3 s": Clip(3, 32000, 1, "wav PCM_32"),
    "3.01 s": Clip(3.01, 44100, 6, "wav FLOAT"),
    "10 s": Clip(10, 48000, 2, "ogg OPUS"),
    "96 kHz": Clip(1, 96000, 2, "wav DOUBLE"),
    "silence": Clip(1, signal="silence"),
    "clipped": Clip(1, 44100, 1, "flac PCM_24", "square"),
    "offset": Clip(1, 16000, 2, "wav FLOAT", "offset"),
    "constant": Clip(1, 16000, 1, "wav FLOAT", "constant"),
    "anti-phase": Clip(1, kind="wav FLOAT", signal="anti-phase"),
    "last bit": Clip(1, 16000, 1, signal="last bit"),
    "impulse": Clip(1, 16000, 1, signal="impulse"),
    "one sample": Clip(1 / 8000, 8000, 1),
    "integers as floats": Clip(1, 32000, 1, "wav FLOAT", "integers"),
    "as wav": Clip(1, 32000, 2, "wav PCM_24"),
    "as flac": Clip(1, 32000, 2, "flac PCM_24"),
}
LONG = {
    "29.9 s": Clip(29.9, 22050, 2, "mp3 MPEG_LAYER_III"),
    "30 s": Clip(30, 44100, 1, "flac PCM_16"),
    "30.1 s": Clip(30.1, 16000, 2, "wav PCM_16"),
    "60 s": Clip(60, 24000, 1, "ogg VORBIS"),
    "61 s": Clip(61, 8000, 1, "wav PCM_U8"),
    "200 s": Clip(200, 48000, 2, "mp3 MPEG_LAYER_III"),
    "600 s": Clip(600, 44100, 2, "flac PCM_16"),
}
REFUSED = {
    "one NaN": "1 of 32000 are NaN or infinite",
    "no frames": "holds no samples",
    "header alone": "its content is none of these or is damaged|holds no samples",
    "text": "its content is none of these or is damaged",
    "too few samples": "leave no samples at",
    "enormous": r"Expected samples between -1 and 1 in .*, found one of \d.*e\+\d\d",
    "zero bytes": "found a zero-length file",
}
EITHER = ("cut wav", "cut flac", "cut mp3")  # what is left may be read, or refused


def sound(clip, seed=0):
    """Samples (frames, channels), each channel another mixture of tones and noise that swell."""
    frames = max(1, round(clip.seconds * clip.rate))
    rng = np.random.default_rng(seed)
    if clip.signal in ("silence", "constant"):
        return np.full((frames, clip.channels), 0.5 if clip.signal == "constant" else 0.0)
    if clip.signal == "last bit":
        return rng.integers(-1, 2, (frames, clip.channels)) / 2**15
    if clip.signal == "impulse":
        return np.eye(1, frames, frames // 2).T
    time = np.arange(frames)[:, None] / clip.rate
    tones = np.sin(2 * np.pi * time * (220 + 55 * np.arange(clip.channels))) * (0.1 + 0.3 * time / time.max(initial=1))
    music = tones + 0.05 * rng.standard_normal(tones.shape)
    changed = {
        "square": lambda: np.sign(np.sin(2 * np.pi * 220 * time)),
        "offset": lambda: 0.5 + music,
        "integers": lambda: np.round(2**31 * music),
        "anti-phase": lambda: np.column_stack([music[:, 0], -music[:, 0]]),
    }
    return changed[clip.signal]() if clip.signal in changed else music


def written(clips, folder):
    """Write clips; a frame ``track_id, path``."""
    rows = []
    for seed, (name, clip) in enumerate(clips.items()):
        kind, subtype = clip.kind.split()
        path = folder / f"{name.replace(' ', '_')}.{kind}"
        with soundfile.SoundFile(path, "w", clip.rate, clip.channels, subtype) as file:
            samples = sound(clip, 0 if name.startswith("as ") else seed)
            if subtype == "PCM_24":  # rounded here: the encoders of WAV and FLAC do it each in their way
                samples = np.round(samples * 2**23).clip(-(2**23), 2**23 - 1).astype(np.int32) * 2**8
            for part in np.array_split(samples, 1 + int(clip.seconds // 5)):
                file.write(part)  # in parts: the encoder of Vorbis overflows its stack on long ones
        rows.append((name, str(path)))
    return pd.DataFrame(rows, columns=["track_id", "path"])


def spoilt(folder):
    """Write the files of `REFUSED` and `EITHER`; a frame ``track_id, path``."""
    music = sound(Clip(2, 16000, 1))
    with_nan = music.copy()
    with_nan[777] = np.nan
    soundfile.write(folder / "one_NaN.wav", with_nan, 16000, subtype="FLOAT")
    soundfile.write(folder / "no_frames.wav", music[:0], 16000)
    soundfile.write(folder / "too_few_samples.wav", music[:1], 96000)
    soundfile.write(folder / "enormous.wav", 1e30 * music, 16000, subtype="FLOAT")
    for kind in ("wav", "flac", "mp3"):
        soundfile.write(folder / f"cut_{kind}.{kind}", music, 16000)
        whole = (folder / f"cut_{kind}.{kind}").read_bytes()
        (folder / f"cut_{kind}.{kind}").write_bytes(whole[: len(whole) // 2])
    (folder / "header_alone.wav").write_bytes((folder / "cut_wav.wav").read_bytes()[:30])
    (folder / "text.wav").write_text("This is not music.\n" * 100)
    (folder / "zero_bytes.wav").touch()
    paths = {path.stem.replace("_", " "): str(path) for path in folder.iterdir()}
    return pd.DataFrame([(name, paths[name]) for name in (*REFUSED, *EITHER)], columns=["track_id", "path"])


def beside(name):
    """Another test module of this folder: how the small checkpoints are made is said there."""
    spec = importlib.util.spec_from_file_location(
        f"published_{name}", next(Path(__file__).parents[1].rglob(f"test_{name}.py"))
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", autouse=True)
def small():
    """Sizes of the tests beside this one in place of the published ones; crepe_tiny, musicnn and vibenet are real."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conformer, "PUBLISHED", beside("conformer").SMALL)
        patch.setattr(muq_mulan, "PUBLISHED", beside("conformer").HEAD)
        patch.setattr(jukebox, "PUBLISHED", beside("jukebox").SMALL)
        patch.setattr(encodecmae.EncodecMAE.__init__, "__defaults__", (encodecmae.Sizes(24, 3, 12, 32, 4),))
        for name in ("mert_95m", "mert_330m"):
            patch.setitem(mert._SIZES, name, beside("mert").SMALL | {"do_stable_layer_norm": name == "mert_330m"})
        build, sizes = music2vec.network, beside("music2vec").SMALL
        patch.setattr(music2vec, "network", lambda config: build(config or sizes))
        for name in ("crepe", "crepe_untrained"):
            patch.setitem(REGISTRY, name, dataclasses.replace(REGISTRY[name], dim=256))
        if not missing("mule"):
            import mule_torch

            model, config = mule_torch.MuleModel, mule_torch.MuleConfig(**beside("mule").SMALL)
            patch.setattr(mule_torch, "MuleModel", lambda given=config, *rest: model(given, *rest))
        yield


def publish(name, folder):
    """Write a small checkpoint where the registry says weights are fetched, and give its folder."""
    tests = beside(REGISTRY[name].adapter if name not in ("musicfm", "muq", "muq_mulan") else "conformer")
    if REGISTRY[name].adapter == "mert":
        return tests.publish(folder, name)
    if name == "music2vec":
        return tests.publish(folder)
    if name == "encodecmae":
        return tests.saved(folder, tests.published_state())
    if name == "jukebox":
        shapes = json.loads(str(np.load(tests.GOLDEN)["shapes"]))
        return tests.saved(folder, {part: tests.drawn(of_part) for part, of_part in shapes.items()})
    if name == "mule":
        tests.original().save_pretrained(folder)
        return folder
    if name == "crepe":
        torch.save(tests.published_state(), folder / "full.pth")
        return folder
    reference = dict(np.load(tests.GOLDEN / f"{name}_reference.npz"))
    return tests.write(name, folder, tests.drawn(name, reference))


def missing(adapter):
    return [package for package in PACKAGES.get(adapter, []) if importlib.util.find_spec(package) is None]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make a backend, once."""

    @functools.cache
    def make(name):
        entry = REGISTRY[name]
        if missing(entry.adapter):
            pytest.skip(f"optional packages are not installed: {missing(entry.adapter)}")
        options = {}
        if entry.hub or name in ("crepe", "jukebox"):
            options["weights"] = publish(name, tmp_path_factory.mktemp(name))
        if "calibration" in backends.options(name) and name.endswith("_untrained"):
            options["calibration"] = [sound(Clip(3, entry.sample_rate, 1), seed)[:, 0] for seed in range(3)]
        with pytest.MonkeyPatch.context() as patch:
            if name in ("crepe", "crepe_untrained"):
                patch.setattr(crepe, "_FULL", tuple(count // 8 for count in crepe._FULL))
            return backends.create(name, **options)

    return make


@pytest.fixture(scope="module")
def embedded(made, tmp_path_factory):
    """Extract a frame of tracks with a backend: {track: vector} and {track: reason} of the others."""
    cache = tmp_path_factory.mktemp("cache")

    def extract(tracks, name):
        store = VectorStore(tmp_path_factory.mktemp("store") / "vectors.lance")
        done = extraction.extract(tracks, made(name), store, cache, batch_size=4, progress=lambda rows, **_: rows)
        vectors, failed = store.read(name), dict(zip(done.failed["track_id"], done.failed["reason"], strict=True))
        assert done.embedded + done.reused + len(failed) == len(tracks)
        assert sorted([*vectors.ids, *failed]) == sorted(tracks["track_id"])
        assert vectors.dim == made(name).dim
        assert np.isfinite(vectors.values).all()
        return dict(zip(vectors.ids, vectors.values, strict=True)), failed

    return extract


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    return written(SHORT, tmp_path_factory.mktemp("short"))


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    return written(LONG, tmp_path_factory.mktemp("long"))


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    return spoilt(tmp_path_factory.mktemp("bad"))


def assert_one_sentence(reason):
    assert re.fullmatch(r"Expected [^\n]+\.", reason), reason


def distance(one, other):
    return np.linalg.norm(one - other) / np.linalg.norm(other)


@EVERY
def test_each_clip_has_a_finite_vector_and_each_spoilt_file_a_sentence(name, short, bad, embedded):
    vectors, failed = embedded(pd.concat([short, bad]), name)
    for reason in failed.values():
        assert_one_sentence(reason)
    assert set(SHORT) <= set(vectors)
    assert set(REFUSED) <= set(failed) <= {*REFUSED, *EITHER}
    for track, reason in REFUSED.items():
        assert re.search(reason, failed[track]), failed[track]
    # what the file calls itself does not matter, and nothing is left of two channels that cancel each other
    for one, same in (("as wav", "as flac"), ("anti-phase", "silence")):
        np.testing.assert_allclose(vectors[one], vectors[same], atol=1e-6 * np.abs(vectors[same]).max())
    for one in ("silence", "clipped"):
        assert distance(vectors[one], vectors["as wav"]) > HEARD[name]


@EVERY
def test_the_network_hears_a_file_at_the_published_rate(name, short, made, embedded):
    """Canary for the published slip of 24 kHz read as 16 kHz, against soundfile and soxr alone."""
    track = short[short["track_id"] == "as wav"]
    samples, rate = soundfile.read(track["path"].item(), dtype="float32")
    right, wrong = (
        made(name).embed([soxr.resample(samples.mean(axis=1), rate, PUBLISHED_RATE[name] * factor, "HQ")])[0]
        for factor in (1, 1.5)
    )
    (found,) = embedded(track, name)[0].values()
    assert distance(found, right) < 0.1 * distance(wrong, right)


@pytest.mark.slow
@EVERY
def test_clips_of_half_a_minute_to_ten_minutes_have_finite_vectors_of_their_own(name, long, embedded):
    vectors, failed = embedded(long, name)
    assert failed == {}
    rows = np.stack([vectors[track] for track in LONG])
    apart = np.abs(rows[:, None] - rows[None]).max(2)[np.triu_indices(len(rows), 1)]
    assert apart.min() > 0


@EVERY
def test_level_is_heard_where_no_variance_is_divided_out(name, made):
    """The cards say which; a tenth of the level, 20 dB, is between loud and soft recordings."""
    backend = made(name)
    music = sound(Clip(3, backend.sample_rate, 1))[:, 0].astype(np.float32)
    loud, soft = backend.embed([music, 0.1 * music])
    if REGISTRY[name].adapter in LEVEL_BLIND:
        assert distance(soft, loud) < 1e-3
    else:
        assert distance(soft, loud) > HEARD[name]


@EVERY
def test_silence_is_finite_an_offset_too_and_a_burst_is_heard(name, made):
    """Canary: a deviation of 0 divides to NaN, and what rounding leaves of an offset can be blown up to noise."""
    backend = made(name)
    samples = 3 * backend.sample_rate
    silence, constant = np.zeros(samples, np.float32), np.full(samples, 0.3, np.float32)
    burst = silence.copy()  # of 0.1 s: what is shorter may leave the codes of Jukebox as they are
    burst[samples // 2 : samples // 2 + backend.sample_rate // 10] = sound(Clip(0.1, backend.sample_rate, 1))[:, 0]
    silent, flat, struck = backend.embed([silence, constant, burst])
    assert np.isfinite([silent, flat, struck]).all()
    assert distance(silent, struck) > HEARD[name] / 10
    if REGISTRY[name].adapter in OFFSET_BLIND:
        assert np.linalg.norm(flat - silent) < 1e-3 * np.linalg.norm(struck)
