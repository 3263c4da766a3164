"""EncodecMAE: a masked autoencoder over the hidden states of the codec EnCodec, trained on speech, music and sounds.

L. Pepino et al., 'EnCodecMAE: leveraging neural codecs for universal audio representation learning', 2023, arXiv
2309.07391, the base size of version 1.0.0. EnCodec's encoder is that of `transformers`; the blocks follow 'ResiDual',
S. Xie et al., 2023, arXiv 2304.14802: they carry a normalised and a plain sum, which meet at the end. All share one
feed-forward part. Only what makes the representation is built; the decoder and the head of pretraining are not.
"""

import math
import re
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from lib.backends import REGISTRY
from lib.backends.architectures.frames import FrameBackend, before
from lib.backends.checkpoints import load_state, load_strictly

WEIGHTS = "model.pt"
CHUNK_SECONDS = 4  # as it was trained and is published
_HOP = 320
_NAMES = (
    (r"^wav_encoder\.model\.model\.", "codec.layers."),
    (r"^(codec\..*)\.conv\.conv\.", r"\1.conv."),
    (r"^visible_encoder\.encoder_layers\.\d+\.ff_layer\.0\.", "wide."),
    (r"^visible_encoder\.encoder_layers\.\d+\.ff_layer\.2\.", "narrow."),
    (r"^visible_encoder\.encoder_layers\.(\d+)\.att_layer\.", r"blocks.\1."),
    (r"^visible_encoder\.encoder_layers\.(\d+)\.", r"blocks.\1."),
    (r"^visible_encoder\.final_norm\.", "final_norm."),
    (r"^feat_projector\.", "project."),
    (r"^positional_encoder\.scale$", "position_scale"),
)
NOT_NEEDED = (r"target_encoder\.", r"decoder\.", r"decoder_projector\.", r"head\.", r"extra_head\.")


@dataclass(frozen=True)
class Sizes:
    """Sizes of the network; the defaults are those of the published base model."""

    width: int = 768
    depth: int = 10
    heads: int = 12
    feed: int = 4096
    filters: int = 32


PUBLISHED = Sizes()


class Block(nn.Module):
    """Attention and the shared feed-forward part; the heads are interleaved in queries, keys and values."""

    def __init__(self, sizes):
        super().__init__()
        self.heads = sizes.heads
        for name in ("wq", "wk", "wv", "wo"):
            setattr(self, name, nn.Linear(sizes.width, sizes.width, bias=False))
        self.norm1, self.norm2 = nn.LayerNorm(sizes.width), nn.LayerNorm(sizes.width)

    def forward(self, normed, plain, feed, mask):
        """Both sums (batch, frames, width) to the same; `feed` is the shared part, `mask` marks frames to attend to."""
        attended = self._attention(normed, mask)
        normed = self.norm1(normed + attended)
        fed = feed(normed)
        return self.norm2(normed + fed), plain + attended + fed

    def _attention(self, x, mask):
        parts = (part(x).unflatten(2, (-1, self.heads)).permute(0, 3, 1, 2) for part in (self.wq, self.wk, self.wv))
        found = F.scaled_dot_product_attention(*parts, attn_mask=mask)
        return self.wo(found.permute(0, 2, 3, 1).flatten(2))


class EncodecMAE(nn.Module):
    """EnCodec's encoder, a projection, positions and the blocks.

    Parameters
    ----------
    sizes : Sizes

    Examples
    --------
    >>> EncodecMAE(Sizes(24, 2, 4, 32, 2)).entering(torch.zeros(1, 24000)).shape  # doctest: +SKIP
    torch.Size([1, 75, 24])
    """

    def __init__(self, sizes=PUBLISHED):
        super().__init__()
        from transformers import EncodecConfig
        from transformers.models.encodec.modeling_encodec import EncodecEncoder

        config = EncodecConfig(num_filters=sizes.filters)
        self.codec = EncodecEncoder(config)
        self.project = nn.Linear(config.hidden_size, sizes.width)
        self.position_scale = nn.Parameter(torch.tensor(1.0))
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.depth))
        self.wide, self.narrow = nn.Linear(sizes.width, sizes.feed), nn.Linear(sizes.feed, sizes.width)
        self.final_norm = nn.LayerNorm(sizes.width)

    def entering(self, waveforms):
        """What enters the first block: (batch, samples) at 24 kHz to (batch, frames, width)."""
        hidden = self.project(self.codec(waveforms[:, None]).transpose(1, 2))
        return hidden + self.position_scale * _positions(hidden.shape[1], hidden.shape[2], hidden.device)

    def feed(self, x):
        """Feed-forward part that all blocks share."""
        return self.narrow(F.relu(self.wide(x)))

    def state(self, hidden, mask, layer):
        """What leaves block `layer`, the last one's with both sums joined: (batch, frames, width) to the same."""
        plain = hidden
        for block in self.blocks[:layer]:
            hidden, plain = block(hidden, plain, self.feed, mask)
        return hidden + self.final_norm(plain) if layer == len(self.blocks) else hidden


class EncodecMAEBackend(FrameBackend):
    """The network as a backend; `layer` None is the last, `pooling` None the mean, both as published."""

    def __init__(self, name, network, *, layer, pooling, **options):
        depth = len(network.blocks)
        super().__init__(
            name,
            network,
            layer=depth if layer is None else layer,
            pooling="mean" if pooling is None else pooling,
            n_layers=depth,
            width=network.project.out_features,
            frame_rate=REGISTRY[name].sample_rate / _HOP,
            chunk_seconds=CHUNK_SECONDS,
            **options,
        )

    def _hidden(self, waveforms, lengths):
        frames = lengths // _HOP  # whole ones; the codec looks back only, so what follows does not matter
        hidden = self.network.entering(waveforms[:, : int(frames.max()) * _HOP])
        valid = before(frames, hidden.shape[1])
        mask = None if valid.all() else valid[:, None, None]
        return self.network.state(hidden, mask, self.layer_index), valid


def published(path):
    """Read the network from the published file, or from a `model.safetensors` made of it."""
    state = load_state(path)
    state = {_present(key): value for key, value in state.get("state_dict", state).items()}
    network = EncodecMAE(_sizes(state))
    load_strictly(network, state, NOT_NEEDED)
    return network


def _positions(frames, width, device):
    """Sines and cosines of A. Vaswani et al., 2017, interleaved: (frames, width)."""
    rates = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10000.0) / width))
    angles = torch.arange(frames, device=device)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)


def _present(key):
    """Name in our network of a published key; one without a counterpart keeps its own."""
    for pattern, replacement in _NAMES:
        key = re.sub(pattern, replacement, key)
    return key


def _sizes(state):
    """Sizes as the tensors have them, for the published configuration is a program; the heads are always 12."""
    try:
        feed, width = state["wide.weight"].shape
        depth = sum(re.fullmatch(r"blocks\.\d+\.wq\.weight", key) is not None for key in state)
        return Sizes(width, depth, PUBLISHED.heads, feed, len(state["codec.layers.0.conv.bias"]))
    except KeyError:
        return PUBLISHED  # a tensor is missing: loading says which
