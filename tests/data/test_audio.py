"""Decoding, mixing down, resampling and cutting; every bad file ends in one sentence."""

import sys

import numpy as np
import pytest
import soundfile

from lib.data import audio
from lib.data.audio import AudioError, audio_hash, load


def tone(rate, seconds=1.0, frequency=440.0):
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate)


@pytest.fixture
def write(tmp_path):
    def write(samples, rate, name="clip.wav", subtype="FLOAT"):
        path = tmp_path / name
        soundfile.write(path, samples, rate, subtype=subtype)
        return path

    return write


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 96000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_any_rate_and_any_channels_become_mono_at_the_wanted_rate(write, rate, channels):
    path = write(np.tile(tone(rate)[:, None], (1, channels)), rate)
    found = load(path, 16000)
    assert found.dtype == np.float32
    assert found.shape == (16000,)
    inner = slice(1000, -1000)  # the resampler rings at the edges
    np.testing.assert_allclose(found[inner], tone(16000)[inner], atol=2e-3)


def test_channels_are_averaged_not_picked_or_summed(write):
    path = write(np.column_stack([tone(16000), np.zeros(16000)]), 16000)
    np.testing.assert_allclose(load(path, 16000), 0.5 * tone(16000), atol=1e-6)


def test_nothing_above_half_the_rate_folds_down(write):
    """Canary: dropping samples instead of resampling would turn 11 kHz into an audible 5 kHz."""
    found = load(write(tone(96000, frequency=11000), 96000), 16000)
    assert np.abs(found[1000:-1000]).max() < 1e-3


def test_level_is_kept(write):
    loud, quiet = (load(write(gain * tone(44100), 44100, f"{gain}.wav"), 16000) for gain in (1.0, 0.1))
    np.testing.assert_allclose(quiet, 0.1 * loud, atol=1e-6)


def test_start_and_seconds_are_of_the_file(write):
    path = write(np.arange(3000) / 3000, 1000)
    np.testing.assert_allclose(load(path, 1000, start=1.0, seconds=0.5), np.arange(1000, 1500) / 3000, atol=1e-6)
    assert len(load(path, 1000, start=2.5, seconds=9)) == 500
    with pytest.raises(AudioError, match=r"holds no samples from 3 s on"):
        load(path, 1000, start=3.0)


def test_missing_file(tmp_path):
    with pytest.raises(AudioError, match=r"Expected an audio file at .*none\.wav, found nothing; check the"):
        load(tmp_path / "none.wav", 16000)
    with pytest.raises(AudioError, match="found a folder"):
        load(tmp_path, 16000)
    with pytest.raises(AudioError, match="found nothing"):
        audio_hash(tmp_path / "none.wav")


def test_zero_length_file(tmp_path):
    path = tmp_path / "empty.mp3"
    path.touch()
    with pytest.raises(AudioError, match=r"empty\.mp3, found a zero-length file"):
        load(path, 16000)


def test_text_named_mp3(tmp_path):
    path = tmp_path / "notes.mp3"
    path.write_text("This is not music.\n" * 100)
    with pytest.raises(AudioError, match=r"Expected audio \(WAV, .*FFmpeg reads\) in .*notes\.mp3"):
        load(path, 16000)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_not_finite(write, bad):
    samples = tone(16000)
    samples[7] = bad
    with pytest.raises(AudioError, match="1 of 16000 are NaN or infinite"):
        load(write(samples, 16000), 16000)


def test_no_samples(write):
    with pytest.raises(AudioError, match="holds no samples; replace the file"):
        load(write(np.zeros(0), 16000), 16000)
    with pytest.raises(AudioError, match="leave no samples at 16000 Hz"):
        load(write(np.zeros(1), 96000), 16000)


def test_errors_are_value_errors_of_one_line(tmp_path):
    with pytest.raises(ValueError, match="Expected") as caught:
        load(tmp_path / "none.wav", 16000)
    assert "\n" not in str(caught.value)


def test_hash_is_of_the_bytes(write):
    first, same = (write(tone(8000), 8000, name) for name in ("a.wav", "b.wav"))
    other = write(tone(9000), 9000, "c.wav")
    assert audio_hash(first) == audio_hash(same) != audio_hash(other)
    assert len(audio_hash(first)) == 64


def test_mp3_decodes(write, tmp_path):
    path = tmp_path / "clip.mp3"
    soundfile.write(path, tone(44100), 44100, format="MP3")
    found = load(path, 16000)
    assert abs(len(found) - 16000) < 2500  # the coder pads
    assert 0.3 < np.abs(found).max() < 0.7


# what libsndfile does not know


def encode(path, wave, rate, codec, *, channels=1, pictures=0, **options):
    """Write a wave with FFmpeg, beside it a picture a second."""
    import av

    layout = {1: "mono", 2: "stereo"}[channels]
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        film = container.add_stream("mpeg4", rate=1, width=32, height=32, pix_fmt="yuv420p") if pictures else None
        frame = av.AudioFrame.from_ndarray(np.tile(wave, (channels, 1)).astype(np.float32), "fltp", layout)
        frame.sample_rate, frame.pts = rate, 0
        size = stream.frame_size or 1024
        cut = av.AudioResampler(format=stream.format, layout=layout, rate=rate, frame_size=size)
        for part in (*cut.resample(frame), *cut.resample(None)):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
        for _ in range(pictures):
            container.mux(film.encode(av.VideoFrame(32, 32, "yuv420p")))
        if film:
            container.mux(film.encode(None))
    return path


@pytest.fixture(scope="module")
def m4a(tmp_path_factory):
    """Twelve seconds of AAC in MP4, stereo, 32 kHz: 440 Hz for six seconds, then 880 Hz."""
    path, rate = tmp_path_factory.mktemp("aac") / "tones.m4a", 32000
    pitch = np.where(np.arange(12 * rate) < 6 * rate, 440.0, 880.0)
    return encode(path, 0.3 * np.sin(2 * np.pi * np.cumsum(pitch) / rate), rate, "aac", channels=2)


def pitch_of(samples, rate):
    return np.argmax(np.abs(np.fft.rfft(samples * np.hanning(len(samples))))) * rate / len(samples)


def test_ffmpeg_decodes_what_libsndfile_does_not_know(m4a):
    samples = load(m4a, 16000)
    assert len(samples) == pytest.approx(12 * 16000, abs=2048)
    assert pitch_of(samples[16000:64000], 16000) == pytest.approx(440, abs=1)
    assert np.sqrt(np.mean(samples[16000:64000] ** 2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.02)


def test_ffmpeg_decodes_a_span_alone(m4a):
    samples = load(m4a, 16000, start=7.0, seconds=2.0)
    assert len(samples) == pytest.approx(32000, abs=2)
    assert pitch_of(samples, 16000) == pytest.approx(880, abs=1)
    whole = load(m4a, 16000)[7 * 16000 : 9 * 16000]
    assert np.corrcoef(whole[:32000], samples[:32000])[0, 1] > 0.999


def test_durations_come_from_headers(m4a, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(12345), 8000)
    assert audio.duration(tmp_path / "a.wav") == pytest.approx(12345 / 8000)
    assert audio.duration(m4a) == pytest.approx(12, abs=0.1)
    (tmp_path / "text.m4a").write_text("no music")
    with pytest.raises(AudioError, match="none of these or is damaged"):
        audio.duration(tmp_path / "text.m4a")


def test_a_span_after_the_end_is_a_sentence(m4a):
    with pytest.raises(AudioError, match="holds no samples from 60 s on"):
        load(m4a, 16000, start=60.0)


def test_a_span_sounds_as_it_does_in_the_whole(tmp_path):
    """Canary: decoding from the span on, not from a little before, gives 0.15 s of other sound."""
    wave = 0.1 * np.random.default_rng(0).standard_normal(8 * 48000)
    path = encode(tmp_path / "noise.mp4", wave, 48000, "libopus")
    whole, span = load(path, 48000)[5 * 48000 : 6 * 48000], load(path, 48000, start=5.0, seconds=1.0)
    np.testing.assert_allclose(span, whole, atol=1e-3)


def test_duration_is_of_the_audio_where_pictures_last_longer(tmp_path):
    path = encode(tmp_path / "film.mp4", tone(32000, 4), 32000, "aac", pictures=9)
    assert audio.duration(path) == pytest.approx(4, abs=0.1)


def test_a_stream_saved_without_its_duration(tmp_path):
    path = encode(tmp_path / "live.webm", tone(48000, 3), 48000, "libopus", live="1")
    assert audio.duration(path) == pytest.approx(3, abs=0.05)
    assert len(load(path, 16000)) == pytest.approx(48000, abs=800)


def test_without_ffmpeg_the_sentence_says_what_to_install(m4a, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    for use in (audio.duration, audio.read):
        with pytest.raises(AudioError, match=r"Expected the package av to read .*m4a.* install requirements\.txt"):
            use(m4a)
