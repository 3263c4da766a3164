"""VibeNet: an EfficientNet-B0 that learned from a teacher how acoustic, danceable, energetic or cheerful a track is.

Read in place from the optional package `vibenet` 0.1.0 (GPL-3.0-or-later), which is neither imported nor copied: its
ONNX file runs in `onnxruntime`. The vector is the output of the 256 units that all seven ratings are read from. The
front end is our own from the published parameters: mel spectrogram in dB of frames of 40 ms every 20 ms.

It has no untrained twin: the file holds a finished graph, not a network that could be drawn anew.
"""

import functools

import numpy as np

from lib.backends.backend import Backend
from lib.backends.checkpoints import CheckpointError, digest, package_folder, package_module
from lib.backends.entries import Entry

FILE = "artifacts/efficientnet_model.onnx"
FRAME, HOP, N_FFT, N_MELS = 640, 320, 1024, 128
CHUNK_SECONDS = 60
_DECIBELS = 80  # below a clip's loudest point nothing is told apart
_LEAST_POWER = 1e-10
_HIDDEN, _RATINGS = "gelu", "out"  # the graph's names


ENTRIES = {
    "vibenet": Entry(
        label="VibeNet",
        colour="#aa6d49",
        marker=(3, 1, 0),
        dim=256,
        sample_rate=16000,
        licence="GPL-3.0-or-later",
        use="any use; who passes the package on does so under the GPL",
        citation="J. Shim, 'VibeNet', the package vibenet 0.1.0, 2025; M. Tan and Q. Le, 'EfficientNet', ICML 2019",
        training="a teacher's acousticness, danceability, energy, valence and three more of FMA tracks (distillation)",
        overlap="possible: the FMA is independent music, but its targets are ratings of the kind that Music4All's own "
        "metadata hold (danceability, energy, valence)",
        parameters=4.3,
        megabytes=19,
        architecture="EfficientNet-B0 over a mel spectrogram in dB",
        layer="the 256 units before the seven ratings",
        pooling="the network's own over a clip, parts of at most 60 s averaged",
        where="inside the optional package vibenet 0.1.0",
        traps=(
            "Its spectrogram ends 80 dB below a clip's loudest point: nothing fainter is told apart.",
            "It has no untrained twin: the file holds a finished graph, not a network that could be drawn anew.",
            "No paper uses it for recommendation: layer and pooling are this workbook's choice.",
        ),
        packages=("vibenet", "onnxruntime"),
        cpu_seconds=0.04,
    )
}


@functools.cache
def _mel_filters():
    import librosa

    return librosa.filters.mel(sr=16000, n_fft=N_FFT, n_mels=N_MELS, fmin=0.0, fmax=8000.0).astype(np.float32)


def log_mel(waveform):
    """Mel spectrogram as the network reads it.

    Parameters
    ----------
    waveform : numpy.ndarray
        float32, shape (samples >= 640,), 16 kHz mono, level untouched.

    Returns
    -------
    numpy.ndarray
        float32, shape (128, 1 + (samples - 640) // 320): dB, at most 80 below its maximum.

    Examples
    --------
    >>> log_mel(np.zeros(1600, np.float32)).shape
    (128, 4)
    """
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(waveform, FRAME)[::HOP] * window
    power = np.square(np.abs(np.fft.rfft(frames, N_FFT))).astype(np.float32)
    decibels = 10 * np.log10(np.maximum(_LEAST_POWER, _mel_filters() @ power.T))
    return np.maximum(decibels, decibels.max() - _DECIBELS).astype(np.float32)


class VibeNet(Backend):
    """The network as a backend.

    Parameters
    ----------
    path : Path
        The ONNX file.
    """

    name = "vibenet"
    checkpoint = "vibenet 0.1.0, efficientnet_model.onnx"
    layer = "256 units before the seven ratings"
    pooling = (
        f"as the network pools a whole clip; clips above {CHUNK_SECONDS} s in equal parts, whose vectors are averaged, "
        f"shorter clips than {FRAME} samples looped"
    )

    def __init__(self, path):
        runtime = package_module("onnxruntime", self.name)
        self.revision = digest(path)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        graph = path.read_bytes() + _also_returned(_HIDDEN)
        self._session = runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def _embed_features(self, features):
        return np.stack([self._clip(waveform) for waveform in features])

    def _clip(self, waveform):
        if len(waveform) < FRAME:
            waveform = np.resize(waveform, FRAME)
        parts = np.array_split(waveform, -(-len(waveform) // (CHUNK_SECONDS * self.sample_rate)))
        return np.mean([self.run(part)[0] for part in parts], axis=0)

    def run(self, waveform):
        """What the network says of one piece of a clip.

        Parameters
        ----------
        waveform : numpy.ndarray
            float32, shape (samples >= 640,), 16 kHz mono.

        Returns
        -------
        (numpy.ndarray, numpy.ndarray)
            Its 256 hidden units, and the seven ratings before they are clipped or squashed: acousticness, danceability,
            energy, instrumentalness, liveness, speechiness, valence.
        """
        hidden, ratings = self._session.run([_HIDDEN, _RATINGS], {"x": log_mel(waveform)[None]})
        return hidden[0], ratings[0]


def create(name):
    """Make the VibeNet backend; `name` is its id and there are no options.

    Raises
    ------
    CheckpointError
        If one of the two optional packages is missing, or the file is not in it.

    Examples
    --------
    >>> create("vibenet").dim  # doctest: +SKIP
    256
    """
    path = package_folder("vibenet", name) / FILE
    if not path.is_file():
        raise CheckpointError(
            f"Expected the network of {name} at {path}, found no such file; install the wheel with `make extras`."
        )
    return VibeNet(path)


def _also_returned(tensor):
    """Bytes that, appended to an ONNX file, make one more tensor of its graph an output.

    The file is a protobuf message, and messages merge when they are concatenated: this one is a model (field 7: graph)
    of a graph with nothing but an output (field 12) of that name (field 1).
    """
    message = tensor.encode()
    for field in (1, 12, 7):
        message = bytes([field << 3 | 2, len(message)]) + message
    return message
