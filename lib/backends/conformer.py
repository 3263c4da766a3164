"""The conformer that MusicFM and MuQ share: log-mel front end, convolutional subsampling to 25 Hz, conformer blocks.

A waveform at 24 kHz becomes 128 log-mel bands at 100 Hz; two residual convolutions halve bands and time twice; the
blocks are those of `transformers` (Wav2Vec2Conformer with rotary positions). Parameters are named as in both published
checkpoints. Sources: M. Won et al., arXiv 2311.03318; H. Zhu et al., arXiv 2501.01108.
"""

import functools
import hashlib
import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from lib.backends.checkpoints import digest, load_strictly, locate
from lib.backends.frames import FrameBackend, draw

SAMPLE_RATE = 24000
N_FFT, HOP = 2048, 240
SUBSAMPLING = 4
FRAME_RATE = SAMPLE_RATE / HOP / SUBSAMPLING
CHUNK_SECONDS = 30.0  # both were trained on 30 s; attention grows with the square
MSD_STATISTICS = (6.768444971712967, 18.417922652295623)  # both models': mean and spread in dB over the MSD
CALIBRATION_CLIPS, CALIBRATION_SECONDS = 8, 5  # a cap: the first maps take 33 MB for 5 s
_FLOOR = 1e-10  # of the mel power: -100 dB

# In the published files, but not on the way from a waveform to a hidden state: targets and heads of pretraining, a
# positional convolution the blocks never call, and what the front end computes itself.
NOT_NEEDED = (
    r"quantizer_.*",
    r"rvq\..*",
    r"linear\..*",
    r"recon_proj\..*",
    r"cls_token",
    r"preprocessor_.*",
    r"conformer\.pos_conv_embed\..*",
)


@dataclass(frozen=True)
class Sizes:
    """Sizes of the network; the defaults are the published ones, of both models."""

    width: int = 1024
    depth: int = 12
    heads: int = 16
    inner: int = 4096
    channels: int = 512
    n_mels: int = 128


PUBLISHED = Sizes()


@functools.cache
def mel_filterbank(n_mels=PUBLISHED.n_mels, sample_rate=SAMPLE_RATE, n_fft=N_FFT):
    """Triangular mel filters on the scale of HTK, each of peak one.

    Parameters
    ----------
    n_mels, sample_rate, n_fft : int
        Number of bands from 0 Hz to half the rate, rate in Hz, length of the Fourier transform.

    Returns
    -------
    torch.Tensor
        float32, shape (n_fft // 2 + 1, n_mels). Source: S. Young et al., The HTK Book, section 5.4:
        mel = 2595 log10(1 + f / 700).

    Examples
    --------
    >>> mel_filterbank().shape
    torch.Size([1025, 128])
    """
    top = 2595 * np.log10(1 + sample_rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, n_mels + 2) / 2595) - 1)
    distances = edges[None, :] - np.fft.rfftfreq(n_fft, 1 / sample_rate)[:, None]
    widths = np.diff(edges)[None, :]
    rising, falling = -distances[:, :-2] / widths[:, :-1], distances[:, 2:] / widths[:, 1:]
    return torch.from_numpy(np.maximum(0, np.minimum(rising, falling)).astype(np.float32))


class LogMel(nn.Module):
    """Normalised log-mel spectrogram, as both models read it.

    Parameters
    ----------
    mean, spread : float
        Over the training set, in dB.
    n_mels : int
        Number of bands.
    """

    def __init__(self, mean, spread, n_mels):
        super().__init__()
        self.mean, self.spread = mean, spread
        self.register_buffer("window", torch.hann_window(N_FFT), persistent=False)
        self.register_buffer("filterbank", mel_filterbank(n_mels), persistent=False)

    def forward(self, waveforms):
        """Waveforms (batch, more than 1,024 samples) to (batch, bands, samples // 240): the last frame is left out."""
        spectrum = torch.stft(
            waveforms, N_FFT, HOP, window=self.window, center=True, pad_mode="reflect", return_complex=True
        )
        power = torch.view_as_real(spectrum[..., :-1]).square().sum(-1)
        decibels = 10 * (power.mT @ self.filterbank).clamp(min=_FLOOR).log10()
        return ((decibels - self.mean) / self.spread).mT


class ResidualConvolution(nn.Module):
    """Two 3 x 3 convolutions beside one, each normalised; bands and time are halved."""

    def __init__(self, channels_in, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=2, padding=1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels_in, channels, 3, stride=2, padding=1)
        self.bn3 = nn.BatchNorm2d(channels)

    def forward(self, x):
        """Maps (batch, channels_in, bands, time) to (batch, channels, bands / 2, time / 2), halves rounded up."""
        deep = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu_()))
        return deep.add_(self.bn3(self.conv3(x))).relu_()


class Subsampling(nn.Module):
    """Log-mel frames at 100 Hz to vectors at 25 Hz."""

    def __init__(self, sizes):
        super().__init__()
        self.conv = nn.Sequential(
            ResidualConvolution(1, sizes.channels), ResidualConvolution(sizes.channels, sizes.channels)
        )
        self.linear = nn.Linear(sizes.channels * sizes.n_mels // SUBSAMPLING, sizes.width)

    def forward(self, mel):
        """Spectrograms (batch, bands, time) to (batch, time / 4, width)."""
        return self.linear(self.conv(mel[:, None]).flatten(1, 2).mT)


class Conformer(nn.Module):
    """The whole network, in evaluation mode and frozen; weights are PyTorch's default draw until they are loaded.

    Parameters
    ----------
    sizes : Sizes
        Sizes of the network.
    statistics : tuple of float
        Mean and spread of the log-mel spectrogram over the training set, in dB.

    Examples
    --------
    >>> states = list(Conformer(Sizes(16, 2, 2, 32, 4)).hidden_states(torch.zeros(1, 24000)))
    >>> len(states), states[0].shape
    (3, torch.Size([1, 25, 16]))
    """

    def __init__(self, sizes=PUBLISHED, statistics=MSD_STATISTICS):
        super().__init__()
        from transformers.models.wav2vec2_conformer.modeling_wav2vec2_conformer import (
            Wav2Vec2ConformerConfig,
            Wav2Vec2ConformerEncoder,
        )

        config = Wav2Vec2ConformerConfig(
            hidden_size=sizes.width,
            num_hidden_layers=sizes.depth,
            num_attention_heads=sizes.heads,
            intermediate_size=sizes.inner,
            hidden_act="swish",
            position_embeddings_type="rotary",
            attn_implementation="sdpa",
        )
        self.sizes = sizes
        self.mel = LogMel(*statistics, sizes.n_mels)
        self.conv = Subsampling(sizes)
        self.conformer = Wav2Vec2ConformerEncoder(config)
        del self.conformer.pos_conv_embed  # no block uses it
        self.eval().requires_grad_(False)

    def hidden_states(self, waveforms):
        """Run the network state by state; who stops taking them saves the rest of the work.

        Parameters
        ----------
        waveforms : torch.Tensor
            float32, shape (batch, samples), 24 kHz mono, more than 1,024 samples, all of one length.

        Yields
        ------
        torch.Tensor
            depth + 1 times (batch, frames, width), frames = samples // 240 / 4, rounded up: what the first block reads,
            then what each block gives, the last after the final norm.
        """
        states = self.conv(self.mel(waveforms))
        positions = self.conformer.embed_positions(states)
        for block in self.conformer.layers:
            yield states
            states = block(states, relative_position_embeddings=positions)
        yield self.conformer.layer_norm(states)

    def state(self, waveforms, layer):
        """Hidden state of one layer, 0 to depth: (batch, samples) to (batch, frames, width)."""
        return next(itertools.islice(self.hidden_states(waveforms), layer, None))


def calibration_clips(clips, name):
    """Cut train clips to one length, at most `CALIBRATION_CLIPS` of them, evenly spaced over all.

    Parameters
    ----------
    clips : list of numpy.ndarray or None
        Waveforms (samples,) at 24 kHz; shorter ones are looped.
    name : str
        Whose twin is calibrated, for the sentence.

    Returns
    -------
    torch.Tensor
        float32, shape (clips, 120000).

    Raises
    ------
    ValueError
        If there are none.

    Examples
    --------
    >>> calibration_clips([np.zeros(99, np.float32)], "muq_untrained").shape
    torch.Size([1, 120000])
    """
    if clips is None or not len(clips):
        raise ValueError(
            f"Expected calibration clips for {name}, found none: its batch normalisations need the statistics of train "
            f'clips; call create("{name}", calibration=[waveforms of train clips], seed=0).'
        )
    chosen = np.linspace(0, len(clips) - 1, min(len(clips), CALIBRATION_CLIPS)).round().astype(int)
    length = CALIBRATION_SECONDS * SAMPLE_RATE
    return torch.from_numpy(np.stack([np.resize(np.asarray(clips[i], np.float32), length) for i in chosen]))


def calibrate(network, waveforms):
    """Set the statistics of every batch normalisation to those of its input, front to back in one pass.

    Parameters
    ----------
    network : Conformer
        Changed in place.
    waveforms : torch.Tensor
        float32, shape (clips, samples), as `calibration_clips` gives it.

    Examples
    --------
    >>> calibrate(Conformer(Sizes(16, 2, 2, 32, 4)), torch.randn(2, 24000))
    """

    def measure(norm, inputs):
        by_channel = inputs[0].transpose(0, 1).flatten(1)
        norm.running_mean.copy_(by_channel.mean(1))
        norm.running_var.copy_(by_channel.var(1, correction=0))

    kinds = (nn.BatchNorm1d, nn.BatchNorm2d)
    norms = [module for module in network.modules() if isinstance(module, kinds)]
    hooks = [norm.register_forward_pre_hook(measure) for norm in norms]
    try:
        with torch.inference_mode():
            network.state(waveforms, network.sizes.depth)
    finally:
        for hook in hooks:
            hook.remove()


class ConformerBackend(FrameBackend):
    """The network as a backend; `layer` None is the last, `pooling` None the mean, both as published."""

    def __init__(self, name, network, *, layer, pooling, **options):
        super().__init__(
            name,
            network,
            layer=network.sizes.depth if layer is None else layer,
            pooling="mean" if pooling is None else pooling,
            n_layers=network.sizes.depth,
            width=network.sizes.width,
            frame_rate=FRAME_RATE,
            chunk_seconds=CHUNK_SECONDS,
            **options,
        )

    def _hidden(self, waveforms, lengths):
        # Row by row: a mask would not keep the convolutions from padding, and one clip of 30 s fills any device.
        rows = [
            self.network.state(waveform[None, :length], self.layer_index)[0]
            for waveform, length in zip(waveforms, lengths.tolist(), strict=True)
        ]
        counts = torch.tensor([len(row) for row in rows], device=waveforms.device)
        hidden = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        return hidden, torch.arange(hidden.shape[1], device=hidden.device)[None] < counts[:, None]


def trained(name, read, *, weights, revision, calibration, **options):
    """Make the backend of a published checkpoint.

    Parameters
    ----------
    name : str
        Id in the registry.
    read : callable
        Takes the folder of the published files; gives the weights, named as the network's, their file and the
        statistics of the log-mel spectrogram.
    weights, revision
        As `lib.backends.checkpoints.locate` takes them.
    calibration : None
        Only twins take clips.
    **options
        `layer`, `pooling` and `device` of `ConformerBackend`.

    Returns
    -------
    ConformerBackend
        Frozen.

    Raises
    ------
    ValueError
        If files are missing or do not fit, the layer or pooling is unknown, or there are calibration clips.

    Examples
    --------
    >>> trained("muq", read, weights="", revision=None, calibration=None)  # doctest: +SKIP
    """
    refuse_calibration(name, calibration)
    state, path, statistics = read(locate(name, weights, revision))
    network = Conformer(PUBLISHED, statistics)
    load_strictly(network, state, NOT_NEEDED)
    identity = f"{digest(path)}, input less {statistics[0]:.6g} dB by {statistics[1]:.6g} dB"  # from a file of its own
    return ConformerBackend(name, network, checkpoint=path.name, revision=identity, **options)


def twin(name, *, seed, calibration, **options):
    """Make the untrained twin: random weights, published sizes and input, statistics of train clips.

    Parameters
    ----------
    name : str
        Id in the registry.
    seed : int
        Which draw of weights.
    calibration : list of numpy.ndarray
        As `calibration_clips` takes them.
    **options
        `layer`, `pooling` and `device` of `ConformerBackend`.

    Returns
    -------
    ConformerBackend
        Frozen.

    Raises
    ------
    ValueError
        If there are no calibration clips, or the layer or pooling is unknown.

    Examples
    --------
    >>> twin("muq_untrained", seed=0, calibration=clips, layer=None, pooling=None)  # doctest: +SKIP
    """
    clips = calibration_clips(calibration, name)
    network = draw(lambda: Conformer(PUBLISHED), seed)
    calibrate(network, clips)
    return ConformerBackend(name, network, **twin_labels(seed, clips), **options)


def twin_labels(seed, clips):
    """What identifies a twin: {`checkpoint`: the draw, `revision`: the calibration clips}, for the fingerprint."""
    found = hashlib.sha256(clips.numpy().tobytes()).hexdigest()[:12]
    return {
        "checkpoint": f"random weights (PyTorch's default draw, seed {seed})",
        "revision": f"calibrated on {len(clips)} clips of {CALIBRATION_SECONDS} s, sha256 {found}",
    }


def refuse_calibration(name, calibration):
    """Raise ValueError if a trained network gets calibration clips."""
    if calibration is not None:
        raise ValueError(f"Expected no calibration clips for {name}, which is trained; leave `calibration` out.")
