"""Transformers that read the waveform through strided convolutions: the layouts of HuBERT and of data2vec audio.

Public: `WaveformBackend`, `published_config`. Both layouts are built from parts of `transformers`, which this module
drives itself: convolutions and what follows them up to the first block see each clip alone (HuBERT's first
normalisation is over time, data2vec's positional convolutions spread padding), the blocks see a padded batch under a
mask, and blocks above the chosen layer are not run.
"""

import json
import math

import numpy as np
import torch

from lib.backends import REGISTRY
from lib.backends.architectures.frames import FrameBackend, before
from lib.backends.checkpoints import CheckpointError

_CHUNK_SECONDS = 60.0
_VARIANCE_FLOOR = 1e-7  # of the published feature extractor


def published_config(path, keys):
    """Read what decides an architecture from a published ``config.json``; its other entries need not be valid.

    Parameters
    ----------
    path : Path
    keys : sequence of str
        Entries that are taken where they are given.

    Returns
    -------
    dict

    Raises
    ------
    CheckpointError
        If the file is no JSON object.

    Examples
    --------
    >>> published_config(folder / "config.json", ["hidden_size"])  # doctest: +SKIP
    {'hidden_size': 768}
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {key: found[key] for key in keys if key in found}
    except (ValueError, TypeError) as error:
        raise CheckpointError(
            f"Expected a JSON object in {path}, found something else; fetch the file anew."
        ) from error


class WaveformBackend(FrameBackend):
    """A HuBERT or data2vec network as a backend.

    Parameters
    ----------
    name : str
    network : transformers.HubertModel or transformers.Data2VecAudioModel
    layer : int or None
        None: the last. Of pre-norm encoders it is read after the final normalisation, as published.
    pooling : str or None
        None: the mean.
    normalise : bool
        Bring each clip to mean 0 and variance 1 first, as the published feature extractors do.
    **options
        `checkpoint`, `revision`, `device`, as `FrameBackend` takes them.
    """

    def __init__(self, name, network, *, layer=None, pooling=None, normalise=True, **options):
        config = network.config
        n_layers = config.num_hidden_layers
        super().__init__(
            name,
            network,
            layer=n_layers if layer is None else layer,
            pooling=pooling or "mean",
            n_layers=n_layers,
            width=config.hidden_size,
            frame_rate=REGISTRY[name].sample_rate / math.prod(config.conv_stride),
            chunk_seconds=_CHUNK_SECONDS,
            **options,
        )
        self._normalise = normalise
        # post-norm encoders normalise before the first block, pre-norm ("stable") ones after the last
        self._pre_norm = getattr(config, "do_stable_layer_norm", False)

    def _prepared(self, waveform):
        if not self._normalise:
            return waveform
        centred = waveform - waveform.mean(dtype=np.float64)
        return (centred / np.sqrt(waveform.var(dtype=np.float64) + _VARIANCE_FLOOR)).astype(np.float32)

    def _hidden(self, waveforms, lengths):
        states, valid = self._hidden_layers(waveforms, lengths, [self.layer_index])
        return states[self.layer_index], valid

    def _hidden_layers(self, waveforms, lengths, layers):
        # one clip at a time: the first convolution's output is 300 times as large as the waveform a second
        entering = [self._entering(row[None, :length])[0] for row, length in zip(waveforms, lengths, strict=True)]
        hidden = torch.nn.utils.rnn.pad_sequence(entering, batch_first=True)
        frames = torch.tensor([len(clip) for clip in entering], device=hidden.device)
        valid = before(frames, hidden.shape[1])
        mask = None if valid.all() else valid[:, None, None]
        encoder = self.network.encoder
        states = {0: hidden} if 0 in layers else {}
        for layer, block in enumerate(encoder.layers[: max(layers)], start=1):
            hidden = block(hidden, attention_mask=mask)
            if layer in layers:
                states[layer] = hidden
        if self._pre_norm and self.n_layers in states:
            states[self.n_layers] = encoder.layer_norm(hidden)
        return states, valid

    def _entering(self, waveform):
        """What enters the first block: (1, samples) to (1, frames, width)."""
        network = self.network
        projected = network.feature_projection(network.feature_extractor(waveform).transpose(1, 2))
        projected = projected[0] if isinstance(projected, tuple) else projected
        hidden = projected + network.encoder.pos_conv_embed(projected)
        return hidden if self._pre_norm else network.encoder.layer_norm(hidden)
