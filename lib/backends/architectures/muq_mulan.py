"""MuQ-MuLan: MuQ with a transformer head, trained so that music and its description meet in one space.

H. Zhu et al., arXiv 2501.01108; the head is that of musiclm-pytorch. Only the audio tower is built: the latents of
crops of 10 s, each of length one, are averaged, the last crop filled up from the clip's beginning. The published
checkpoint is `pytorch_model.bin` beside `config.json`; it holds MuQ and the text tower too.
"""

import json
import re
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lib.backends.architectures import conformer
from lib.backends.architectures.frames import FrameBackend
from lib.backends.checkpoints import CheckpointError, load_state, load_strictly

WEIGHTS, CONFIG = "pytorch_model.bin", "config.json"
CROP_SECONDS = 10
_SCALE = 8.0  # of the logits of attention, whose queries and keys have length one
_NAMES = (
    (r"mulan\.audio\.model\.model\.", "tower."),
    (r"mulan\.audio\.transformer\.layers\.(\d+)\.0\.norm\.learned_gamma$", r"blocks.\1.attention_norm.weight"),
    (r"mulan\.audio\.transformer\.layers\.(\d+)\.0\.to_out\.0\.", r"blocks.\1.to_out."),
    (r"mulan\.audio\.transformer\.layers\.(\d+)\.0\.", r"blocks.\1."),
    (r"mulan\.audio\.transformer\.layers\.(\d+)\.1\.0\.learned_gamma$", r"blocks.\1.feed_norm.weight"),
    (r"mulan\.audio\.transformer\.layers\.(\d+)\.1\.1\.", r"blocks.\1.wide."),
    (r"mulan\.audio\.transformer\.layers\.(\d+)\.1\.4\.", r"blocks.\1.narrow."),
    (r"mulan\.audio\.proj\.", "project."),
    (r"mulan\.audio_to_latents\.", "to_latents."),
)
# The text tower, the contrastive loss, a layer average that is never called, and what MuQ's own reader leaves out.
NOT_NEEDED = (
    r"mulan\.text",
    r"mulan\.contrast\.",
    r"mulan\.audio\.aggregator\.",
    *(rf"tower\.{pattern}" for pattern in conformer.NOT_NEEDED),
)


@dataclass(frozen=True)
class HeadSizes:
    """Sizes of the transformer head and the state of MuQ it reads; the defaults are those of the published package."""

    width: int = 768
    depth: int = 8
    heads: int = 8
    head_width: int = 64
    latent: int = 512
    reads: int = -1


PUBLISHED = HeadSizes()


class Block(nn.Module):
    """Attention between queries and keys of length one, then a gated feed-forward; both normalise first."""

    def __init__(self, sizes):
        super().__init__()
        inner, hidden = sizes.heads * sizes.head_width, int(sizes.width * 8 / 3)
        self.heads = sizes.heads
        self.attention_norm = nn.LayerNorm(sizes.width, bias=False)
        self.to_q = nn.Linear(sizes.width, inner, bias=False)
        self.to_kv = nn.Linear(sizes.width, 2 * inner, bias=False)
        self.q_scale = nn.Parameter(torch.ones(sizes.head_width))
        self.k_scale = nn.Parameter(torch.ones(sizes.head_width))
        self.to_out = nn.Linear(inner, sizes.width, bias=False)
        self.feed_norm = nn.LayerNorm(sizes.width, bias=False)
        self.wide = nn.Linear(sizes.width, 2 * hidden, bias=False)
        self.narrow = nn.Linear(hidden, sizes.width, bias=False)

    def forward(self, x):
        """Hidden states (batch, frames, width) to the same."""
        normed = self.attention_norm(x)
        parts = (self.to_q(normed), *self.to_kv(normed).chunk(2, dim=-1))
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        q, k = F.normalize(q, dim=-1) * self.q_scale, F.normalize(k, dim=-1) * self.k_scale
        x = x + self.to_out(F.scaled_dot_product_attention(q, k, v, scale=_SCALE).transpose(1, 2).flatten(2))
        value, gate = self.wide(self.feed_norm(x)).chunk(2, dim=-1)
        return x + self.narrow(F.gelu(gate) * value)


class AudioTower(nn.Module):
    """MuQ, the head and the projection into the joint space; frozen, in evaluation mode.

    Parameters
    ----------
    sizes : lib.backends.architectures.conformer.Sizes
        Of MuQ.
    head : HeadSizes
        Of the rest.

    Examples
    --------
    >>> AudioTower(conformer.Sizes(16, 2, 2, 32, 4), HeadSizes(8, 1, 2, 4, 5)).latents(torch.zeros(1, 24000)).shape
    torch.Size([1, 5])
    """

    def __init__(self, sizes=conformer.PUBLISHED, head=PUBLISHED):
        super().__init__()
        self.tower = conformer.Conformer(sizes)
        self.project = nn.Linear(sizes.width, head.width)
        self.blocks = nn.Sequential(*(Block(head) for _ in range(head.depth)))
        self.to_latents = nn.Linear(head.width, head.latent)
        self.head = head
        self.layer = range(sizes.depth + 1)[head.reads]
        self.eval().requires_grad_(False)

    def latents(self, crops):
        """Crops (batch, samples) at 24 kHz to points of the joint space (batch, latent), each of length one."""
        states = self.blocks(self.project(self.tower.state(crops, self.layer)))
        return F.normalize(self.to_latents(states.mean(1)), dim=-1)


class MuLanBackend(FrameBackend):
    """The audio tower as a backend: what is pooled are the latents of a clip's crops."""

    def __init__(self, name, network, *, layer, pooling, **options):
        if layer is not None:
            raise ValueError(
                f"Expected no layer for {name}, whose one output is the joint latent, found {layer!r}; leave it out, "
                "or take the layers of muq."
            )
        pooling = "mean" if pooling is None else pooling
        super().__init__(
            name,
            network,
            layer=0,
            pooling=pooling,
            n_layers=0,
            width=network.head.latent,
            frame_rate=1 / CROP_SECONDS,
            chunk_seconds=CROP_SECONDS,
            minimum_seconds=CROP_SECONDS,
            **options,
        )
        self.layer = f"joint latent, from layer {network.layer} of {network.tower.sizes.depth}"
        self.pooling = (
            f"{pooling} over crops of {CROP_SECONDS} s, the last filled up from the clip's beginning, "
            f"shorter clips than {CROP_SECONDS} s looped"
        )

    def _prepared(self, waveform):
        crop = CROP_SECONDS * self.sample_rate
        return np.resize(waveform, -(-len(waveform) // crop) * crop)

    def _hidden(self, waveforms, lengths):
        latents = torch.stack([self.network.latents(waveform[None]) for waveform in waveforms])
        return latents, torch.ones(latents.shape[:2], dtype=torch.bool, device=latents.device)


def published(folder):
    """Read the audio tower from the folder of the published files."""
    state = {_present(key): value for key, value in load_state(folder / WEIGHTS).items()}
    network = AudioTower(conformer.PUBLISHED, _head(state, _reads(folder / CONFIG)))
    load_strictly(network, state, NOT_NEEDED)
    return network


def _present(key):
    """Name in our network of a published key; one without a counterpart keeps its own."""
    for pattern, replacement in _NAMES:
        renamed, count = re.subn(f"^{pattern}", replacement, key)
        if count:
            return renamed
    return key


def _head(state, reads):
    """Sizes of the head as its tensors have them, for the configuration may leave defaults out."""
    try:
        width, head_width = len(state["project.weight"]), len(state["blocks.0.q_scale"])
        depth = sum(key.endswith(".to_q.weight") for key in state if key.startswith("blocks."))
        heads = len(state["blocks.0.to_q.weight"]) // head_width
        return HeadSizes(width, depth, heads, head_width, len(state["to_latents.weight"]), reads)
    except KeyError:
        return PUBLISHED  # a tensor is missing: loading says which


def _reads(path):
    """Which state of MuQ the head reads, once the configuration is seen to have our rate and crops."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        found = {key: config["mulan"][key] for key in ("sr", "clip_secs")}
        reads = int(config["audio_model"].get("use_layer_idx", PUBLISHED.reads))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"Expected MuQ-MuLan's published configuration in {path}, found something else ({error}); fetch the file "
            "anew."
        ) from error
    expected = {"sr": conformer.SAMPLE_RATE, "clip_secs": CROP_SECONDS}
    if found != expected:
        raise CheckpointError(f"Expected {expected} in {path}, found {found}; it is of another network.")
    return reads
