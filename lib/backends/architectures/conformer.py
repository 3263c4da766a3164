"""The conformer that MusicFM and MuQ share: log-mel front end, convolutional subsampling to 25 Hz, conformer blocks.

A waveform at 24 kHz becomes 128 log-mel bands at 100 Hz; two residual convolutions halve bands and time twice; the
blocks are those of `transformers` (Wav2Vec2Conformer with rotary positions). Parameters are named as in both published
checkpoints. Sources: M. Won et al., arXiv 2311.03318; H. Zhu et al., arXiv 2501.01108.
"""

import functools
import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from lib.backends import twins
from lib.backends.architectures.frames import FrameBackend, before
from lib.backends.checkpoints import digest, load_strictly, locate

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

    def calibrate(self, waveforms):
        """Give every batch normalisation the statistics of these waveforms, as `calibration_clips` cuts them."""
        twins.calibrate(self, lambda: self.state(waveforms, self.sizes.depth))


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
    >>> calibration_clips([np.zeros(99, np.float32)], "conformer_untrained").shape
    torch.Size([1, 120000])
    """
    twins.require(name, clips)
    chosen = twins.evenly(len(clips), CALIBRATION_CLIPS)
    length = CALIBRATION_SECONDS * SAMPLE_RATE
    return torch.from_numpy(np.stack([np.resize(np.asarray(clips[i], np.float32), length) for i in chosen]))


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
        states, valid = self._hidden_layers(waveforms, lengths, [self.layer_index])
        return states[self.layer_index], valid

    def _hidden_layers(self, waveforms, lengths, layers):
        # Row by row: a mask would not keep the convolutions from padding, and one clip of 30 s fills any device.
        rows = []
        for waveform, length in zip(waveforms, lengths.tolist(), strict=True):
            states = itertools.islice(self.network.hidden_states(waveform[None, :length]), max(layers) + 1)
            rows.append({layer: state[0] for layer, state in enumerate(states) if layer in layers})
        counts = torch.tensor([len(row[layers[0]]) for row in rows], device=waveforms.device)
        padded = {layer: nn.utils.rnn.pad_sequence([row[layer] for row in rows], batch_first=True) for layer in layers}
        return padded, before(counts, int(counts.max()))


def trained(name, read, *, layer=None, pooling=None, weights="", revision=None, device="cpu"):
    """Make the backend of a published checkpoint.

    Parameters
    ----------
    name : str
        Id in the registry.
    read : callable
        Takes the folder of the published files; gives the weights, named as the network's, their file and the
        statistics of the log-mel spectrogram.
    layer : int or None
        0 to 12; None: 12, after the final norm.
    pooling : str or None
        One of `lib.backends.architectures.frames.POOLINGS`; None: mean.
    weights : str or Path
        Folder with the published files; empty: as `lib.backends.checkpoints.locate` finds them.
    revision : str or None
        Another commit of the hub's repository than the pinned one.
    device : str
        As torch names it.

    Returns
    -------
    ConformerBackend
        Frozen.

    Raises
    ------
    ValueError
        If files are missing or do not fit, or the layer or pooling is unknown.

    Examples
    --------
    >>> trained("muq", read, weights="checkpoints/muq").dim  # doctest: +SKIP
    1024
    """
    state, path, statistics = read(locate(name, weights, revision))
    network = Conformer(PUBLISHED, statistics)
    load_strictly(network, state, NOT_NEEDED)
    identity = f"{digest(path)}, input less {statistics[0]:.6g} dB by {statistics[1]:.6g} dB"  # from a file of its own
    return ConformerBackend(
        name, network, layer=layer, pooling=pooling, checkpoint=path.name, revision=identity, device=device
    )


def twin_labels(seed, clips):
    """What identifies a twin: {`checkpoint`: the draw, `revision`: the calibration clips}, for the fingerprint."""
    return twins.identity(clips, f"clips of {CALIBRATION_SECONDS} s", "PyTorch's default draw", seed)
