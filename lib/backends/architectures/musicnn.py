"""MusiCNN and VGG: convolutional music taggers of 2019, in torch, with an untrained twin of each.

Both read log-mel patches of 187 frames x 96 bands (3 s at 16 kHz) and were trained on MSD or MTT tags. The embedding of
a clip is the mean over its whole patches: of the penultimate layer (MusiCNN, 200 numbers) or of the last pooling (VGG,
2 times x 128 channels = 256 numbers). Architectures: Pons & Serra, 'musicnn: pre-trained convolutional neural networks
for music audio tagging', 2019, arXiv 1909.06654.

Batch normalisation stands after the ReLU. Since max-pooling follows and an affine map per channel keeps or reverses
order, `Layer.folded` pools first and rectifies, scales and shifts the few numbers that are left; that, channels-last
memory and one patch at a time make the networks fast. The plain order stays, for calibration and as the tests' oracle.
"""

import copy
import functools
import hashlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from lib.backends import Backend, twins

SAMPLE_RATE = 16000
N_FFT, HOP, N_MELS = 512, 256, 96
PATCH_FRAMES = 187
FRONTEND = f"logmel_16k_{N_FFT}_{HOP}_{N_MELS}"
CALIBRATION_PATCHES = 128  # a cap: VGG's first maps take 2.3 MB a patch
_EPSILON = 1e-3  # of TensorFlow's batch normalisation
_WEIGHTS = Path(__file__).parents[1] / "weights"


@functools.cache
def mel_filterbank(sample_rate=SAMPLE_RATE, n_fft=N_FFT, n_mels=N_MELS):
    """Triangular mel filters on Slaney's scale, each of unit area.

    Parameters
    ----------
    sample_rate, n_fft, n_mels : int
        Rate in Hz, length of the Fourier transform, number of bands from 0 Hz to half the rate.

    Returns
    -------
    numpy.ndarray
        float32, shape (n_mels, n_fft // 2 + 1); the default of `librosa.filters.mel`, which takes seconds to import.
        Source: M. Slaney, Auditory Toolbox, 1998 (linear to 1 kHz, 27 steps per factor 6.4 above).

    Examples
    --------
    >>> mel_filterbank().shape
    (96, 257)
    """
    linear_step, knee, log_step = 200 / 3, 1000.0, np.log(6.4) / 27
    top = sample_rate / 2
    top_mel = top / linear_step if top < knee else knee / linear_step + np.log(top / knee) / log_step
    mels = np.linspace(0, top_mel, n_mels + 2)
    edges = np.where(
        mels < knee / linear_step, mels * linear_step, knee * np.exp(log_step * (mels - knee / linear_step))
    )
    ramps = edges[:, None] - np.fft.rfftfreq(n_fft, 1 / sample_rate)[None, :]
    widths = np.diff(edges)[:, None]
    triangles = np.maximum(0, np.minimum(-ramps[:-2] / widths[:-1], ramps[2:] / widths[1:]))
    return (triangles * (2 / (edges[2:] - edges[:-2]))[:, None]).astype(np.float32)


def log_mel(waveform):
    """Log-mel spectrogram as both networks read it.

    Parameters
    ----------
    waveform : numpy.ndarray
        float32, shape (samples,), 16 kHz mono, level untouched.

    Returns
    -------
    numpy.ndarray
        float32, shape (1 + samples // 256, 96): log10(10000 mel + 1), so >= 0. The original rounds the mel power to
        float16 first, which overflows under NumPy 2.

    Examples
    --------
    >>> log_mel(np.zeros(16000, np.float32)).shape
    (63, 96)
    """
    with torch.inference_mode():
        spectrum = torch.stft(
            torch.from_numpy(waveform), N_FFT, HOP, window=torch.hann_window(N_FFT), center=True,
            pad_mode="constant", return_complex=True,
        )  # fmt: skip
        power = torch.view_as_real(spectrum).square_().sum(-1)
        mel = power.T @ torch.from_numpy(mel_filterbank()).T
        return mel.mul_(10000).add_(1).log10_().numpy()


def patch_features(waveform):
    """Log-mel spectrogram of at least one patch; a shorter waveform is looped to the length of one.

    Parameters
    ----------
    waveform : numpy.ndarray
        float32, shape (samples,), 16 kHz mono.

    Returns
    -------
    numpy.ndarray
        float32, shape (frames >= 187, 96).

    Examples
    --------
    >>> patch_features(np.zeros(100, np.float32)).shape
    (187, 96)
    """
    needed = (PATCH_FRAMES - 1) * HOP  # a centred transform gives one frame more than whole hops
    return log_mel(waveform if len(waveform) >= needed else np.resize(waveform, needed))


class Layer(torch.nn.Module):
    """Padding, convolution or dense product, ReLU, batch normalisation, max-pooling; or normalisation alone.

    Zero padding over time is TensorFlow's 'same': (k - 1) // 2 before and k // 2 after; a 3 x 3 kernel pads frequency
    too, the others span it or leave it.

    Parameters
    ----------
    shape : tuple of int or None
        Of the weight: (out, in, time, frequency), (out, in, time) or (out, in). None: normalisation alone.
    width : int
        Channels that are normalised; `shape[0]` where there is a weight.
    pool : tuple or None
        Max-pooling: ((time, frequency) of the window, (time, frequency) of the stride).
    """

    def __init__(self, shape=None, width=None, *, pool=None):
        super().__init__()
        width = shape[0] if shape else width
        self.pool, self.kernel = pool, tuple(shape[2:]) if shape else ()
        if shape:
            self.register_parameter("weight", torch.nn.Parameter(torch.zeros(shape)))
            self.register_parameter("bias", torch.nn.Parameter(torch.zeros(width)))
        for name, value in (("gamma", 1.0), ("beta", 0.0), ("mean", 0.0), ("variance", 1.0)):
            self.register_buffer(name, torch.full((width,), value))

    def product(self, x, stride=1):
        """Padding and convolution, or dense product; the input itself where there is no weight."""
        if not hasattr(self, "weight"):
            return x
        if not self.kernel:
            return F.linear(x, self.weight, self.bias)
        padding = ((self.kernel[0] - 1) // 2, 1 if self.kernel == (3, 3) else 0)[: len(self.kernel)]
        if self.kernel[0] % 2 == 0:  # an even kernel pads one more after than before
            x = F.pad(x, (0, 0, padding[0], padding[0] + 1))
            padding = (0, 0)
        convolve = F.conv2d if len(self.kernel) == 2 else F.conv1d
        return convolve(x, self.weight, self.bias, stride, padding)

    def affine(self):
        """Scale and shift of the normalisation, each of shape (channels,)."""
        scale = self.gamma / torch.sqrt(self.variance + _EPSILON)
        return scale, self.beta - self.mean * scale

    def activation(self, x):
        """What is normalised."""
        y = self.product(x)
        return y.relu_() if hasattr(self, "weight") else y

    def forward(self, x):
        """The plain order, as the networks are described."""
        y = self.activation(x)
        scale, shift = (_broadcast(v, y) for v in self.affine())
        y = y * scale + shift
        return y if self.pool is None else F.max_pool2d(y, *self.pool)

    def calibrate(self, x):
        """Set the normalisation's statistics to those of all of `x`, patch by patch."""
        count, total, squares = 0, 0.0, 0.0
        for patch in x.split(1):
            y = self.activation(patch).transpose(0, 1).flatten(1).double()
            count, total, squares = count + y.shape[1], total + y.sum(1), squares + y.square().sum(1)
        mean = total / count
        self.mean.copy_(mean)
        self.variance.copy_((squares / count - mean.square()).clamp_min(0))

    def folded(self):
        """The same layer, rearranged for speed."""
        over_time_alone = len(self.kernel) == 2 and self.kernel[1] == 1
        return (_FoldedTemporalLayer if over_time_alone else _FoldedLayer)(self)


class _FoldedLayer(torch.nn.Module):
    """A `Layer` that pools before it rectifies and normalises: equal but for rounding, much less memory touched.

    Where a channel's scale is negative, its weights change sign, so that the maximum of what is convolved is minus the
    minimum; the ReLU becomes a ceiling at 0 there. An axis whose pooling window is 1 needs only every stride-th output.
    """

    def __init__(self, layer):
        super().__init__()
        self.layer = copy.deepcopy(layer)
        scale, shift = layer.affine()
        sign = torch.where(scale < 0, -1.0, 1.0)
        infinity = torch.full_like(sign, torch.inf)
        self.weighted = hasattr(layer, "weight")
        if self.weighted:
            weight = layer.weight * sign.view(-1, *[1] * (layer.weight.dim() - 1))
            if weight.dim() == 4:
                # not .contiguous(), which leaves the strides of a one-channel weight and costs a factor of two
                weight = weight.to(memory_format=torch.channels_last)
            self.layer.weight.data, self.layer.bias.data = weight, layer.bias * sign
            scale = scale.abs()
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)
        self.register_buffer("low", torch.where(sign > 0, 0.0, -infinity))
        self.register_buffer("high", torch.where(sign > 0, infinity, 0.0))
        self.stride, self.pool = (1, 1), layer.pool
        if layer.pool is not None:
            windows, steps = layer.pool
            self.stride = tuple(step if window == 1 else 1 for window, step in zip(windows, steps, strict=True))
            self.pool = windows, tuple(step // kept for step, kept in zip(steps, self.stride, strict=True))

    def forward(self, x):
        if not self.weighted:
            return x * _broadcast(self.scale, x) + _broadcast(self.shift, x)
        y = self._pooled_product(x)
        low, high, scale, shift = (_broadcast(v, y) for v in (self.low, self.high, self.scale, self.shift))
        return torch.addcmul(shift, torch.clamp(y, low, high), scale)

    def _pooled_product(self, x):
        y = self._product(x)
        return y if self.pool is None else F.max_pool2d(y, *self.pool)

    def _product(self, x):
        if self.layer.kernel != (3, 3) or x.shape[1] != 1:
            return self.layer.product(x, self.stride if len(self.layer.kernel) == 2 else 1)
        # torch convolves one small one-channel image slowly and forgets the channels-last order: a product does not
        windows = F.unfold(x, 3, padding=1, stride=self.stride).transpose(1, 2)
        y = F.linear(windows, self.layer.weight.flatten(1), self.layer.bias)
        height, width = ((size - 1) // step + 1 for size, step in zip(x.shape[2:], self.stride, strict=True))
        return y.unflatten(1, (height, width)).permute(0, 3, 1, 2)


class _FoldedTemporalLayer(_FoldedLayer):
    """A folded layer of filters over time alone, which computes four frames as four times the channels.

    51 channels leave a fifth of a processor's vector registers empty, 204 hardly any; the wider filters (three taps
    more, zeros) cost less than that.
    """

    frames = 4

    def __init__(self, layer):
        super().__init__(layer)
        channels, _, taps, _ = layer.weight.shape
        wide = torch.zeros(self.frames, channels, 1, taps + self.frames - 1, 1)
        for i in range(self.frames):
            wide[i, :, :, i : i + taps] = self.layer.weight
        self.register_buffer("wide", wide.flatten(0, 1).to(memory_format=torch.channels_last))
        self.register_buffer("wide_bias", self.layer.bias.repeat(self.frames))
        self.before, self.after = (taps - 1) // 2, taps // 2

    def _pooled_product(self, x):
        length = x.shape[2]
        x = F.pad(x, (0, 0, self.before, self.after + -length % self.frames))
        y = F.max_pool2d(F.conv2d(x, self.wide, self.wide_bias, (self.frames, 1)), *self.pool)
        y = y.unflatten(1, (self.frames, -1)).permute(0, 2, 3, 1, 4)  # (n, channels, steps, frames, 1)
        return y.flatten(2, 3)[:, :, :length]


def _broadcast(vector, like):
    """View a vector over channels (axis 1) so that it meets an array of any rank."""
    return vector.view(1, -1, *[1] * (like.dim() - 2))


class _Network(torch.nn.Module):
    """Layers by name and one way through them; `run(layer, x)` lets the same way serve calibration."""

    def folded(self):
        """A copy in which every layer is rearranged for speed."""
        fast = copy.deepcopy(self)
        for name, layer in self.named_children():
            setattr(fast, name, layer.folded())
        return fast.eval().requires_grad_(False)

    def calibrate(self, patches):
        """Set all normalisation statistics, layer after layer, to those of `patches` (n, 187, 96)."""

        def run(layer, x):
            layer.calibrate(x)
            return torch.cat([layer(patch) for patch in x.split(1)])

        with torch.inference_mode():
            self(patches, run)

    def draw(self, rng):
        """Draw every weight from Glorot's uniform distribution; biases are 0, normalisations neutral."""
        for layer in self.children():
            if hasattr(layer, "weight"):
                shape = tuple(layer.weight.shape)
                out, inputs, field = shape[0], shape[1], int(np.prod(shape[2:]))
                if len(shape) == 3:  # TensorFlow sees features as an axis of the image: one channel, a wider field
                    inputs, field = 1, field * shape[1]
                limit = np.sqrt(6 / ((inputs + out) * field))
                layer.weight.data = torch.from_numpy(rng.uniform(-limit, limit, shape).astype(np.float32))


class MusiCNN(_Network):
    """Timbral and temporal filters of several sizes, three layers over time, max and mean over the patch, dense."""

    dim = 200

    def __init__(self):
        super().__init__()
        self.input = Layer(width=1)
        self.timbral38 = Layer((204, 1, 7, 38), pool=((1, 59), (1, 59)))
        self.timbral67 = Layer((204, 1, 7, 67), pool=((1, 30), (1, 30)))
        for frames in (128, 64, 32):
            setattr(self, f"temporal{frames}", Layer((51, 1, frames, 1), pool=((1, 96), (1, 96))))
        self.mid1 = Layer((64, 561, 7))
        self.mid2 = Layer((64, 64, 7))
        self.mid3 = Layer((64, 64, 7))
        self.pooled = Layer(width=1506)
        self.dense = Layer((200, 1506))

    def pool_over_time(self, patches, run=lambda layer, x: layer(x)):
        """Features before the dense layer: (n, 753, 2), the maximum and the mean over time of each."""
        x = run(self.input, patches[:, None])
        bank = (self.timbral38, self.timbral67, self.temporal128, self.temporal64, self.temporal32)
        front = torch.cat([run(layer, x).squeeze(3) for layer in bank], dim=1)
        first = run(self.mid1, front)
        second = first + run(self.mid2, first)
        third = second + run(self.mid3, second)
        features = torch.cat([front, first, second, third], dim=1)
        return torch.stack([features.amax(2), features.mean(2)], dim=2)

    def forward(self, patches, run=lambda layer, x: layer(x)):
        """Penultimate layer of each patch: (n, 187, 96) to (n, 200)."""
        pooled = run(self.pooled, self.pool_over_time(patches, run).flatten(1))
        return run(self.dense, pooled)


class VGG(_Network):
    """Five 3 x 3 convolutions of 128 channels, each followed by max-pooling."""

    dim = 256

    def __init__(self):
        super().__init__()
        self.input = Layer(width=1)
        pools = (((4, 1), (2, 2)), ((2, 2), (2, 2)), ((2, 2), (2, 2)), ((2, 2), (2, 2)), ((4, 4), (4, 4)))
        for i, pool in enumerate(pools):
            setattr(self, f"conv{i + 1}", Layer((128, 128 if i else 1, 3, 3), pool=pool))

    def forward(self, patches, run=lambda layer, x: layer(x)):
        """Last pooling of each patch, (time, channel) flattened: (n, 187, 96) to (n, 256)."""
        x = run(self.input, patches[:, None])
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4, self.conv5):
            x = run(layer, x)
        return x.squeeze(3).transpose(1, 2).flatten(1)


def network(name):
    """Load a trained network, in the plain order.

    Parameters
    ----------
    name : str
        `musicnn_msd`, `musicnn_mtt`, `vgg_msd` or `vgg_mtt`.

    Returns
    -------
    MusiCNN or VGG
        Frozen, in evaluation mode; `.folded()` is the fast one.

    Raises
    ------
    FileNotFoundError
        If the weights are missing; the sentence names the converter.

    Examples
    --------
    >>> network("vgg_msd").dim
    256
    """
    from safetensors.torch import load_file

    net = VGG() if name.startswith("vgg") else MusiCNN()
    net.load_state_dict(load_file(_weights_path(name)), strict=True)
    return net.eval().requires_grad_(False)


class PatchBackend(Backend):
    """A patch network as a backend; the untrained twins are made by `untrained`."""

    frontend = FRONTEND

    def __init__(self, name, net, *, checkpoint, revision):
        self.name, self.checkpoint, self.revision = name, checkpoint, revision
        self.layer = "pool5" if isinstance(net, VGG) else "penultimate"
        self.pooling = f"mean over patches of {PATCH_FRAMES} frames, incomplete tail dropped, shorter clips looped"
        self.network = net.folded()

    def _features(self, waveform):
        return patch_features(waveform)

    def _embed_features(self, features):
        return np.stack([self.patches(clip).mean(axis=0) for clip in features])

    def patches(self, features):
        """Embedding of every whole patch of one clip: (frames, 96) to (patches, dim)."""
        with torch.inference_mode():  # one patch at a time: its maps stay in the processor's cache
            return torch.cat([self.network(patch[None]) for patch in _cut(features)]).numpy()


def trained(name):
    """Make the backend of a trained network."""
    digest = hashlib.sha256(_weights_path(name).read_bytes()).hexdigest()
    return PatchBackend(
        name,
        network(name),
        checkpoint=f"{name.split('_')[1].upper()}_{name.split('_')[0]}",
        revision=f"musicnn 0.1.0, sha256 {digest[:12]}",
    )


def untrained(name, clips, seed):
    """Make a twin: random weights, normalisation statistics of patches of the clips."""
    net = (VGG() if name.startswith("vgg") else MusiCNN()).eval().requires_grad_(False)
    net.draw(np.random.default_rng(seed))
    patches = _calibration_patches(clips)
    net.calibrate(patches)
    return PatchBackend(name, net, **twins.identity(patches, "patches", "Glorot uniform", seed))


def _weights_path(name):
    path = _WEIGHTS / f"{name}.safetensors"
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected the weights of {name} at {path}, found nothing; restore them from the repository or run "
            "`python -m lib.backends.weights.convert WHEEL --out lib/backends/weights`."
        )
    return path


def _calibration_patches(clips):
    """Whole patches of all clips, thinned evenly to what calibration takes: tensor (n, 187, 96)."""
    features = [patch_features(np.asarray(clip, np.float32)) if np.ndim(clip) == 1 else clip for clip in clips]
    patches = torch.cat([_cut(clip) for clip in features])
    chosen = twins.evenly(len(patches), CALIBRATION_PATCHES)
    return patches[torch.from_numpy(chosen)].contiguous()


def _cut(features):
    """Cut one clip's features into whole patches: tensor (patches, 187, 96)."""
    features = np.ascontiguousarray(features, dtype=np.float32)
    if features.ndim != 2 or features.shape[1] != N_MELS or len(features) < PATCH_FRAMES:
        raise ValueError(
            f"Expected log-mel features of shape (at least {PATCH_FRAMES}, {N_MELS}), found {features.shape}; "
            "make them with `backend.features(waveform)`."
        )
    count = len(features) // PATCH_FRAMES
    return torch.from_numpy(features[: count * PATCH_FRAMES]).view(count, PATCH_FRAMES, N_MELS)
