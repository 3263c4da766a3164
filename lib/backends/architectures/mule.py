"""MULE: a normaliser-free convolutional network trained so that two excerpts of one recording are alike.

M. McCallum et al., 'Supervised and unsupervised learning of audio representations for music understanding', ISMIR 2022,
arXiv 2210.03799. Network and front end are those of the optional package `mule-torch` 0.2.0 (GPL-3.0-only), which is
used in place: windows of 3 s every 2 s, each brought to mean 0 and deviation 1, 1,728 numbers a window.

The twin has the package's initial weights, in which the gain of every residual branch starts at 0, as published: what
it computes are its stems, fusions and shortcuts.
"""

import torch

from lib.backends.architectures.frames import FrameBackend, before
from lib.backends.checkpoints import package_module

WINDOW_SECONDS, STEP_SECONDS = 3, 2
_BATCH = 4  # windows at a time


class MuleBackend(FrameBackend):
    """The network as a backend: what is pooled are the embeddings of a clip's windows.

    Parameters
    ----------
    name : str
    network : mule_torch.MuleModel
    layer : None
        There is the embedding alone.
    pooling : str or None
        None: the mean, as published.
    **options
        `checkpoint`, `revision`, `device`, as `FrameBackend` takes them.
    """

    def __init__(self, name, network, *, layer, pooling, **options):
        if layer is not None:
            raise ValueError(
                f"Expected no layer for {name}, whose one output is a window's embedding, found {layer!r}; leave it "
                "out."
            )
        pooling = "mean" if pooling is None else pooling
        super().__init__(
            name,
            network,
            layer=0,
            pooling=pooling,
            n_layers=0,
            width=network.embedding_dim,
            frame_rate=1 / STEP_SECONDS,
            minimum_seconds=WINDOW_SECONDS,
            **options,
        )
        self.layer = "embedding of a window"
        self.pooling = (
            f"{pooling} over windows of {WINDOW_SECONDS} s every {STEP_SECONDS} s, the last moved to a clip's end, "
            f"shorter clips than {WINDOW_SECONDS} s looped"
        )

    def _hidden(self, waveforms, lengths):
        rows = [self._windows(row[:length]) for row, length in zip(waveforms, lengths, strict=True)]
        counts = torch.tensor([len(row) for row in rows], device=waveforms.device)
        hidden = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        return hidden, before(counts, hidden.shape[1])

    def _windows(self, waveform):
        """Embeddings of one clip's windows, (windows, width); no window depends on its neighbours in a batch."""
        slice_mel = package_module("mule_torch.frontend", self.name).slice_mel
        windows = slice_mel(self.network.frontend(waveform[None])[0], self.network.config)
        return torch.cat([self.network.backbone(part) for part in windows.split(_BATCH)])
