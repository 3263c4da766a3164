"""The frame of networks that give hidden states over time: layer, pooling, chunks, batches under a mask.

Public: `POOLINGS`, `pool`, `before`, `draw` (random weights of an untrained twin), `FrameBackend` (a network fills in
one method).
"""

import copy
from abc import abstractmethod

import numpy as np
import torch

from lib.backends import Backend

POOLINGS = ("mean", "max", "mean_std", "first")
_LEAST_FILLED = 0.8  # of the longest in a batch: what is shorter goes into the next one, instead of padding it


def pool(hidden, valid, pooling):
    """Turn hidden states over time into one vector a clip.

    Parameters
    ----------
    hidden : torch.Tensor
        Shape (batch, frames, width).
    valid : torch.Tensor
        Boolean, shape (batch, frames); False is padding, which counts nowhere. Each row has a valid frame.
    pooling : str
        `mean`, `max`, `first` (the first valid frame) or `mean_std` (mean, then population standard deviation).

    Returns
    -------
    torch.Tensor
        Shape (batch, width), or (batch, 2 * width) for `mean_std`.

    Raises
    ------
    ValueError
        If the pooling is unknown.

    Examples
    --------
    >>> pool(torch.tensor([[[1.0], [3.0], [99.0]]]), torch.tensor([[True, True, False]]), "mean_std")
    tensor([[2., 1.]])
    """
    _check_pooling(pooling)
    mask = valid[..., None]
    if pooling == "max":
        return hidden.masked_fill(~mask, -torch.inf).amax(1)
    if pooling == "first":
        first = valid.to(torch.uint8).argmax(1)
        return hidden[torch.arange(len(hidden), device=hidden.device), first]
    count = mask.sum(1)
    mean = hidden.masked_fill(~mask, 0).sum(1) / count
    if pooling == "mean":
        return mean
    squares = (hidden - mean[:, None]).masked_fill(~mask, 0).square().sum(1)
    return torch.cat([mean, (squares / count).sqrt()], dim=1)


def before(lengths, frames):
    """Mark the frames before each row's length.

    Parameters
    ----------
    lengths : torch.Tensor
        int64, shape (batch,).
    frames : int

    Returns
    -------
    torch.Tensor
        Boolean, shape (batch, frames): True where there is no padding.

    Examples
    --------
    >>> before(torch.tensor([1, 2]), 2)
    tensor([[ True, False],
            [ True,  True]])
    """
    return torch.arange(frames, device=lengths.device)[None] < lengths[:, None]


def draw(build, seed):
    """Build a network with random weights from a seed of its own; torch's global generator stays as it was.

    Parameters
    ----------
    build : callable
        Returns the network; its initialisation draws from torch's generator.
    seed : int

    Returns
    -------
    torch.nn.Module

    Examples
    --------
    >>> draw(lambda: torch.nn.Linear(1, 1), seed=0).bias.shape
    torch.Size([1])
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


class FrameBackend(Backend):
    """A frozen network that gives hidden states over time; a vector is one layer of it, pooled over a clip's frames.

    A subclass computes `_hidden` of a padded batch, and may prepare each whole clip in `_prepared`. Long clips are cut
    into chunks, whose frames are pooled together; a last chunk shorter than `minimum_seconds` is dropped.

    Parameters
    ----------
    name : str
        Id in the registry.
    network : torch.nn.Module
    layer : int
        0 is what enters the first transformer block, i what leaves block i.
    pooling : str
        One of `POOLINGS`.
    n_layers, width : int
        Transformer blocks, and numbers in a hidden state.
    frame_rate : float
        Hidden states a second.
    checkpoint, revision : str
        Which weights, which version of them.
    chunk_seconds : float or None
        Longest piece that goes through the network at once; None: always the whole clip.
    minimum_seconds : float
        Shorter clips are looped up to it.
    device : str
        As torch names it.

    Raises
    ------
    ValueError
        If the layer or the pooling is unknown.
    """

    def __init__(
        self, name, network, *, layer, pooling, n_layers, width, frame_rate, checkpoint, revision,
        chunk_seconds=None, minimum_seconds=1.0, device="cpu",
    ):  # fmt: skip
        _check_pooling(pooling)
        self.name, self.checkpoint, self.revision = name, checkpoint, revision
        self.n_layers, self.width, self.frame_rate = n_layers, width, frame_rate
        self._check_layer(layer)
        self.network = network.eval().requires_grad_(False).to(device)
        self.device = torch.device(device)
        self.layer_index, self.pooling_name = layer, pooling
        self.layer = f"{layer} of {n_layers}"
        self.pooling = _rule(pooling, chunk_seconds, minimum_seconds)
        self._chunk = None if chunk_seconds is None else round(chunk_seconds * self.sample_rate)
        self._minimum = round(minimum_seconds * self.sample_rate)

    @property
    def dim(self):
        """Numbers in a vector: the width, twice it for `mean_std`."""
        return self.width * (2 if self.pooling_name == "mean_std" else 1)

    def _check_layer(self, layer):
        if isinstance(layer, bool) or not isinstance(layer, int) or not 0 <= layer <= self.n_layers:
            raise ValueError(
                f"Expected a layer of {self.name} between 0 (what enters the first block) and {self.n_layers} (what "
                f"leaves the last), found {layer!r}; choose one of them."
            )

    @abstractmethod
    def _hidden(self, waveforms, lengths):
        """Hidden states of the chosen layer.

        Parameters
        ----------
        waveforms : torch.Tensor
            float32, shape (batch, samples), zeros after each row's length.
        lengths : torch.Tensor
            int64, shape (batch,): samples of each row.

        Returns
        -------
        (torch.Tensor, torch.Tensor)
            Hidden states (batch, frames, width) and which of them are valid, boolean (batch, frames); no valid one
            depends on the other rows or on how far its own row is padded.
        """

    def _hidden_layers(self, waveforms, lengths, layers):
        """Hidden states of several layers: ({layer: as `_hidden`}, valid).

        Here each layer is a pass of its own; a network that meets all of them on its way overrides this.
        """
        states = {}
        for layer in layers:
            other = copy.copy(self)  # the network is shared
            other.layer_index = layer
            states[layer], valid = other._hidden(waveforms, lengths)
        return states, valid

    @torch.inference_mode()
    def embed_layers(self, features, layers, poolings):
        """Turn a list of what `features` returned into vectors of several layers and poolings at once.

        Clips go through one at a time, for all their layers are held: 90 MB for 30 s and the 13 of MERT 95M.

        Parameters
        ----------
        features : list of numpy.ndarray
            One array a clip.
        layers : sequence of int
            Of 0 to `n_layers`.
        poolings : sequence of str
            Of `POOLINGS`.

        Returns
        -------
        dict of {(int, str): numpy.ndarray}
            By layer and pooling: float32, what `embed_features` gives of a backend made with these two.

        Raises
        ------
        ValueError
            If a layer or a pooling is unknown.

        Examples
        --------
        >>> backend.embed_layers([waveform], [0, 12], ["mean"])[12, "mean"].shape  # doctest: +SKIP
        (1, 768)
        """
        for layer in layers:
            self._check_layer(layer)
        for pooling in poolings:
            _check_pooling(pooling)
        found = {(layer, pooling): [] for layer in layers for pooling in poolings}
        for waveform in features:
            clip = self._clip_layers(self._prepared(waveform), layers)
            valid = torch.ones(1, len(clip[layers[0]]), dtype=torch.bool, device=self.device)
            for layer, pooling in found:
                found[layer, pooling].append(pool(clip[layer][None], valid, pooling)[0].float().cpu().numpy())
        return {key: np.stack(vectors) for key, vectors in found.items()}

    def _clip_layers(self, waveform, layers):
        """Valid frames of one clip: {layer: (frames, width)}."""
        parts = {layer: [] for layer in layers}
        for piece in self._pieces(waveform):
            piece = torch.from_numpy(piece)[None].to(self.device)
            states, valid = self._hidden_layers(piece, torch.tensor([piece.shape[1]], device=self.device), layers)
            for layer in layers:
                parts[layer].append(states[layer][0][valid[0]])
        return {layer: torch.cat(of_layer) for layer, of_layer in parts.items()}

    def _prepared(self, waveform):
        """What is done to a whole clip before it is cut: float32 (samples,) to the same."""
        return waveform

    @torch.inference_mode()
    def _embed_features(self, features):
        pieces = [self._pieces(self._prepared(waveform)) for waveform in features]
        flat = [piece for clip in pieces for piece in clip]
        frames = iter(self._frames(flat, len(features)))
        clips = [torch.cat([next(frames) for _ in clip]) for clip in pieces]
        hidden = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
        lengths = torch.tensor([len(clip) for clip in clips], device=hidden.device)
        return pool(hidden, before(lengths, hidden.shape[1]), self.pooling_name).float().cpu().numpy()

    def _pieces(self, waveform):
        if len(waveform) < self._minimum:
            waveform = np.resize(waveform, self._minimum)
        if self._chunk is None or len(waveform) <= self._chunk:
            return [waveform]
        starts = range(0, len(waveform), self._chunk)
        return [waveform[i : i + self._chunk] for i in starts if len(waveform) - i >= self._minimum]

    def _frames(self, pieces, most):
        """Valid frames of each piece, (frames, width); at most `most` pieces of like length go in together."""
        order = sorted(range(len(pieces)), key=lambda i: -len(pieces[i]))
        found = [None] * len(pieces)
        while order:
            longest = len(pieces[order[0]])
            alike = [i for i in order[:most] if len(pieces[i]) >= _LEAST_FILLED * longest]
            order = order[len(alike) :]
            padded = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(pieces[i]) for i in alike], batch_first=True)
            lengths = torch.tensor([len(pieces[i]) for i in alike])
            hidden, valid = self._hidden(padded.to(self.device), lengths.to(self.device))
            for row, i in enumerate(alike):
                found[i] = hidden[row][valid[row]]
        return found


def _check_pooling(pooling):
    if pooling not in POOLINGS:
        raise ValueError(f"Expected a pooling among {', '.join(POOLINGS)}, found {pooling!r}; choose one of them.")


def _rule(pooling, chunk_seconds, minimum_seconds):
    what = {"mean_std": "mean and standard deviation", "first": "first"}.get(pooling, pooling)
    rule = f"{what} frame" if pooling == "first" else f"{what} over frames"
    if chunk_seconds is not None:
        rule += f", clips above {chunk_seconds:g} s in chunks of that length"
    return f"{rule}, shorter clips than {minimum_seconds:g} s looped"
