"""Jukebox: a language model of music's codes, read half way up as R. Castellon et al. chose.

P. Dhariwal et al., 'Jukebox: a generative model for music', 2020, arXiv 2005.00341: the top level of its VQ-VAE gives
one of 2,048 codes every 128 samples at 44.1 kHz, and the '5b' prior of 72 blocks reads them. R. Castellon, C. Donahue
and P. Liang, 'Codified audio language modeling learns useful representations for music information retrieval', ISMIR
2021, take what leaves block 36, averaged over time, of a clip brought to peak 1, whose artist and genre are 'unknown'
and which is said to begin a recording of 62 s. Blocks above that are never built.

The 8,192 codes of 23.8 s are one chunk. The published code hears 25 s and reads its first 8,192 codes alone; so does
the first chunk here, and 24 s give the published vector. What lies beyond is read in further chunks. Attention looks
back only, so a shorter clip needs no filling: it has fewer hidden states.

Weights stay in the precision of the file (half, for the most part); all is computed in single precision.
"""

import re
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lib.backends import REGISTRY
from lib.backends.architectures.frames import FrameBackend, before
from lib.backends.checkpoints import load_state, load_strictly

CODEC, PRIOR = "vqvae.pth.tar", "prior_level_2.pth.tar"
DEPTH, LAYER = 72, 36  # blocks there are; the highest that is built, which is the published choice
HOP = 128
_HALVINGS = (3, 2, 2)  # of the rate, in the three stages of the top level's encoder
_BEYOND = 25 * 44100 - 8192 * HOP  # samples that the codec hears after a chunk: the published code encodes 25 s
_ROWS = 128  # into which attention folds the context
_RECORDING = 62 * 44100 // HOP * HOP  # samples of the recording that the clip is said to begin
_SHORTEST, _LONGEST = 60 * 44100, 600 * 44100  # recordings that the prior was trained on
_SCALE = 0.1  # of the prior's first weights, as published


@dataclass(frozen=True)
class Sizes:
    """Sizes of codec and prior; the defaults are the published ones."""

    channels: int = 32
    residuals: int = 4
    code_width: int = 64
    codes: int = 2048
    width: int = 4800
    heads: int = 8
    context: int = 8192
    genres: int = 120
    artists: int = 4111
    times: int = 128


PUBLISHED = Sizes()


class Chain(nn.Module):
    """Layers one after the other, under the name `model` that they have in the published file."""

    def __init__(self, *layers, residual=False):
        super().__init__()
        self.model = nn.Sequential(*layers)
        self.residual = residual

    def forward(self, x):
        """(batch, channels, time) to the same, at another rate where a layer strides."""
        return x + self.model(x) if self.residual else self.model(x)


class Codec(nn.Module):
    """Encoder and codebook of the VQ-VAE's top level.

    Parameters
    ----------
    sizes : Sizes

    Examples
    --------
    >>> Codec(Sizes(channels=4, residuals=1))(torch.zeros(1280)).shape
    torch.Size([10])
    """

    def __init__(self, sizes=PUBLISHED):
        super().__init__()
        inputs = [1] + [sizes.code_width] * (len(_HALVINGS) - 1)
        stages = [_stage(count, halvings, sizes) for count, halvings in zip(inputs, _HALVINGS, strict=True)]
        self.encoders = nn.ModuleDict({"2": nn.ModuleDict({"level_blocks": nn.ModuleList(stages)})})
        book = nn.Module()
        book.register_buffer("k", torch.zeros(sizes.codes, sizes.code_width))
        self.bottleneck = nn.ModuleDict({"level_blocks": nn.ModuleDict({"2": book})})

    @property
    def book(self):
        """Codebook, (codes, code width)."""
        return self.bottleneck["level_blocks"]["2"].k

    def encoded(self, waveform):
        """Encoder's answer, (samples,) to (samples // 128, code width)."""
        x = waveform[None, None]
        for stage in self.encoders["2"]["level_blocks"]:
            x = stage(x)
        return x[0].T

    def forward(self, waveform):
        """Code nearest to each answer, (samples,) to int64 (samples // 128,)."""
        # differences, not products: these lose digits where answers are alike
        return torch.cdist(self.encoded(waveform), self.book, compute_mode="donot_use_mm_for_euclid_dist").argmin(1)


class Projection(nn.Module):
    """Affine map with weights (inputs, outputs), stored in half or single precision."""

    def __init__(self, inputs, outputs, stored):
        super().__init__()
        self.w = nn.Parameter(torch.empty(inputs, outputs, dtype=stored))
        self.b = nn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        """(tokens, inputs) to (tokens, outputs), in the precision of x."""
        return torch.addmm(self.b.to(x.dtype), x, self.w.to(x.dtype))


class Block(nn.Module):
    """Factored attention and a feed-forward part (R. Child et al., 2019, arXiv 1904.10509).

    Tokens fill the rows of a table. By turns, a block attends to what comes before a token in its row, in its column,
    or to all of the row above, in place of which the first row has zeros.
    """

    def __init__(self, sizes, place, stored):
        super().__init__()
        self.heads, self.turn = sizes.heads, place % 3
        width, state = sizes.width, sizes.width // 4
        self.attn = nn.ModuleDict(
            {"c_attn": Projection(width, 3 * state, stored), "c_proj": Projection(state, width, stored)}
        )
        self.mlp = nn.ModuleDict({"c_fc": Projection(width, width, stored), "c_proj": Projection(width, width, stored)})
        self.ln_0, self.ln_1 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x, columns):
        """(tokens, width) to the same, `tokens` a multiple of `columns`."""
        attended = self.attn["c_proj"](self._attention(self.attn["c_attn"](self.ln_0(x)), columns))
        wide = self.mlp["c_fc"](self.ln_1(x + attended))
        return x + attended + self.mlp["c_proj"](wide * torch.sigmoid(1.702 * wide))

    def _attention(self, x, columns):
        table = x.unflatten(0, (-1, columns)).unflatten(2, (3, self.heads, -1))
        # (rows, columns, 3, heads, part) to three of (sequences, heads, places, part)
        order = (2, 1, 3, 0, 4) if self.turn == 1 else (2, 0, 3, 1, 4)
        query, key, value = table.permute(order)
        if self.turn == 2:
            key, value = (F.pad(part[:-1], (0, 0, 0, 0, 0, 0, 1, 0)) for part in (key, value))
        found = F.scaled_dot_product_attention(query, key, value, is_causal=self.turn != 2)
        found = found.permute(2, 0, 1, 3) if self.turn == 1 else found.permute(0, 2, 1, 3)
        return found.flatten(2).flatten(0, 1)


class Prior(nn.Module):
    """Embeddings and the first blocks of the top level's prior.

    Parameters
    ----------
    sizes : Sizes
    depth : int
        Blocks to build.
    stored : torch.dtype
        Of the blocks' matrices, which are left as the memory holds them.

    Examples
    --------
    >>> Prior(Sizes(width=32, context=256), 0)(torch.arange(5), [0])[0].shape
    torch.Size([5, 32])
    """

    def __init__(self, sizes=PUBLISHED, depth=LAYER, stored=torch.float16):
        super().__init__()
        self.columns = sizes.context // _ROWS
        blocks = nn.ModuleList(Block(sizes, place, stored) for place in range(depth))
        self.prior = nn.ModuleDict(
            {
                "x_emb": nn.Embedding(sizes.codes, sizes.width),
                "pos_emb": nn.ParameterDict({"pos_emb": torch.zeros(sizes.context, sizes.width)}),
                "transformer": nn.ModuleDict({"_attn_mods": blocks}),
            }
        )
        counts = {"bow_genre_emb": sizes.genres, "artist_emb": sizes.artists}
        counts |= dict.fromkeys(("total_length_emb", "absolute_pos_emb", "relative_pos_emb"), sizes.times)
        self.y_emb = nn.ModuleDict(
            {name: nn.ModuleDict({"emb": nn.Embedding(count, sizes.width)}) for name, count in counts.items()}
        )

    def entering(self, codes):
        """What enters the first block, int64 (tokens,) to (tokens, width): each token stands for the code before it."""
        told = {name: part["emb"].weight for name, part in self.y_emb.items()}
        begin = told["bow_genre_emb"][:1] + told["artist_emb"][:1]  # 'unknown' is the first of both
        place = self.prior["pos_emb"]["pos_emb"]
        length, absolute, relative = _times(len(place), len(told["absolute_pos_emb"]), codes.device)
        when = (
            told["total_length_emb"][length] + told["absolute_pos_emb"][absolute] + told["relative_pos_emb"][relative]
        )
        return torch.cat([begin, self.prior["x_emb"](codes[:-1])]) + (place + when)[: len(codes)]

    def forward(self, codes, layers):
        """Hidden states of some layers, int64 (tokens,) to {layer: (tokens, width)}; at most `context` tokens."""
        x = F.pad(self.entering(codes), (0, 0, 0, -len(codes) % self.columns))  # nothing attends to what follows it
        states = {0: x[: len(codes)]} if 0 in layers else {}
        for layer, block in enumerate(self.prior["transformer"]["_attn_mods"][: max(layers)], start=1):
            x = block(x, self.columns)
            if layer in layers:
                states[layer] = x[: len(codes)]
        return states


class Jukebox(nn.Module):
    """Codec and prior.

    Parameters
    ----------
    codec : Codec
    prior : Prior

    Examples
    --------
    >>> sizes = Sizes(channels=4, residuals=1, width=32, context=256)
    >>> Jukebox(Codec(sizes), Prior(sizes, 0))(torch.zeros(22050), 22050, [0])[0].shape
    torch.Size([172, 32])
    """

    def __init__(self, codec, prior):
        super().__init__()
        self.codec, self.prior = codec, prior
        self.context, self.width = prior.prior["pos_emb"]["pos_emb"].shape

    def forward(self, waveform, least, layers):
        """Hidden states of a clip, (samples,) to {layer: (tokens, width)}, chunk after chunk.

        A last chunk of fewer than `least` samples is dropped, unless it is the first.
        """
        chunk = self.context * HOP
        starts = [i for i in range(0, len(waveform), chunk) if i == 0 or len(waveform) - i >= least]
        chunks = [self.prior(self.codec(waveform[i : i + chunk + _BEYOND])[: self.context], layers) for i in starts]
        return {layer: torch.cat([states[layer] for states in chunks]) for layer in layers}


class JukeboxBackend(FrameBackend):
    """The network as a backend; `pooling` None is the mean, as published."""

    def __init__(self, name, network, *, layer, pooling, **options):
        pooling = "mean" if pooling is None else pooling
        rate = REGISTRY[name].sample_rate
        super().__init__(
            name,
            network,
            layer=layer,
            pooling=pooling,
            n_layers=layer,
            width=network.width,
            frame_rate=rate / HOP,
            **options,
        )
        self.layer = f"{layer} of {DEPTH}"
        seconds = network.context * HOP / rate
        self.pooling = f"{self.pooling}, clips brought to peak 1, those above {seconds:.4g} s in chunks of that length"

    def _prepared(self, waveform):
        peak = abs(waveform).max()
        return waveform / peak if peak > 0 else waveform

    def _embed_features(self, features):
        """One clip at a time: its hidden states are 160 MB."""
        embed = super()._embed_features
        return np.concatenate([embed([waveform]) for waveform in features])

    def _hidden(self, waveforms, lengths):
        states, valid = self._hidden_layers(waveforms, lengths, [self.layer_index])
        return states[self.layer_index], valid

    def _hidden_layers(self, waveforms, lengths, layers):
        rows = [
            self.network(row[:length], self._minimum, layers)
            for row, length in zip(waveforms, lengths.tolist(), strict=True)
        ]
        counts = torch.tensor([len(row[layers[0]]) for row in rows], device=waveforms.device)
        states = {
            layer: torch.nn.utils.rnn.pad_sequence([row[layer] for row in rows], batch_first=True) for layer in layers
        }
        return states, before(counts, int(counts.max()))


def random_network(sizes, depth):
    """Build the network with the random weights that its training began with, drawn from torch's generator.

    The codebook holds the encoder's answers to noise, as training began with its answers to music.

    Parameters
    ----------
    sizes : Sizes
    depth : int
        Blocks to build.

    Returns
    -------
    Jukebox

    Examples
    --------
    >>> random_network(Sizes(channels=4, residuals=1, codes=9, width=32, context=256), 1).width
    32
    """
    codec, prior = Codec(sizes), Prior(sizes, depth)
    with torch.no_grad():
        codec.book.copy_(codec.encoded(2 * torch.rand(sizes.codes * HOP) - 1))
        for key, value in prior.named_parameters():
            if key.endswith(".w"):
                value.copy_(torch.randn(value.shape).mul_(0.02 * _SCALE))
            elif key.startswith(("prior.pos_emb", "y_emb")):
                value.normal_(std=0.01 * _SCALE)
            elif key.startswith("prior.x_emb"):
                value.normal_(std=0.02 * _SCALE)
    return Jukebox(codec, prior)


def _stage(inputs, halvings, sizes):
    """Stage of the encoder: (batch, inputs, time) to (batch, code width, time // 2 ** halvings)."""
    channels, layers = sizes.channels, []
    for i in range(halvings):
        residuals = [_residual(channels, 3**depth) for depth in range(sizes.residuals)]
        halving = nn.Conv1d(channels if i else inputs, channels, 4, stride=2, padding=1)
        layers.append(nn.Sequential(halving, Chain(*residuals)))
    return Chain(*layers, nn.Conv1d(channels, sizes.code_width, 3, padding=1))


def _residual(channels, dilation):
    wide = nn.Conv1d(channels, channels, 3, padding=dilation, dilation=dilation)
    return Chain(nn.ReLU(), wide, nn.ReLU(), nn.Conv1d(channels, channels, 1), residual=True)


def _times(context, count, device):
    """Which of `count` times stand for the recording's length, and for each token's absolute and relative place."""
    share = torch.arange(context, dtype=torch.float32, device=device) / context
    end = torch.tensor(context * HOP, dtype=torch.float32, device=device)
    length = int(count * (_RECORDING - _SHORTEST) / (_LONGEST - _SHORTEST))
    absolute = (count * (end * share / _LONGEST)).floor().long()
    relative = (count * (end / _RECORDING * share)).floor().long()
    return length, absolute, relative


def published(folder, depth):
    """Read codec and prior from the folder of the published files, with the blocks up to `depth`."""
    above = "|".join(str(place) for place in range(depth, DEPTH))
    codec_state = _tensors(folder / CODEC, r"encoders\.[01]\.|decoders\.|bottleneck\.level_blocks\.[01]\.")
    prior_state = _tensors(folder / PRIOR, rf"prior\.x_out\.|prior\.transformer\._attn_mods\.({above})\.")
    sizes, stored = _sizes(codec_state, prior_state)
    codec = Codec(sizes)
    load_strictly(codec, codec_state)
    prior = Prior(sizes, depth, stored)
    load_strictly(prior, prior_state)
    return Jukebox(codec, prior)


def _tensors(path, unused):
    """Weights of a published file by their keys, without the unused.

    The publisher's are of the format before torch 1.6, which cannot be mapped: memory holds all of it for a while.
    """
    found = load_state(path)
    state = {key.removeprefix("module."): value for key, value in found.get("model", found).items()}
    return {key: value for key, value in state.items() if not re.match(unused, key)}


def _sizes(codec, prior):
    """Sizes as the tensors have them, and the precision of the blocks' matrices; the heads are always 8."""
    try:
        residuals = [key for key in codec if key.startswith("encoders.2.level_blocks.0.model.0.1.model.")]
        sizes = Sizes(
            channels=len(codec["encoders.2.level_blocks.0.model.0.0.bias"]),
            residuals=len(residuals) // 4,
            code_width=codec["bottleneck.level_blocks.2.k"].shape[1],
            codes=len(prior["prior.x_emb.weight"]),
            width=prior["prior.x_emb.weight"].shape[1],
            context=len(prior["prior.pos_emb.pos_emb"]),
            genres=len(prior["y_emb.bow_genre_emb.emb.weight"]),
            artists=len(prior["y_emb.artist_emb.emb.weight"]),
            times=len(prior["y_emb.total_length_emb.emb.weight"]),
        )
        matrix = prior.get("prior.transformer._attn_mods.0.attn.c_attn.w")  # absent where no block is asked for
        return sizes, torch.float16 if matrix is None else matrix.dtype
    except KeyError:
        return PUBLISHED, torch.float16  # a tensor is missing: loading says which
