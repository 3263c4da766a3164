"""MULE: a normaliser-free convolutional network trained so that two excerpts of one recording are alike.

M. McCallum et al., 'Supervised and unsupervised learning of audio representations for music understanding', ISMIR 2022,
arXiv 2210.03799. Network and front end are those of the optional package `mule-torch` 0.2.0 (GPL-3.0-only), which is
used in place: windows of 3 s every 2 s, each brought to mean 0 and deviation 1, 1,728 numbers a window.

The twin has the package's initial weights, in which the gain of every residual branch starts at 0, as published: what
it computes are its stems, fusions and shortcuts.
"""

import json

import torch

from lib.backends import REGISTRY
from lib.backends.checkpoints import CheckpointError, digest, load_state, load_strictly, locate
from lib.backends.frames import FrameBackend, before, draw
from lib.backends.packages import module

WEIGHTS, CONFIG = "model.safetensors", "config.json"
WINDOW_SECONDS, STEP_SECONDS = 3, 2
_BATCH = 4  # windows at a time
_COMPUTED = "frontend.stft."  # tables of sines: some published files leave them out


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
        slice_mel = module("mule_torch.frontend", self.name).slice_mel
        windows = slice_mel(self.network.frontend(waveform[None])[0], self.network.config)
        return torch.cat([self.network.backbone(part) for part in windows.split(_BATCH)])


def create(name, *, layer=None, pooling=None, weights="", revision=None, device="cpu", seed=0):
    """Make the MULE backend, or its twin with random weights.

    Parameters
    ----------
    name : str
        `mule` or `mule_untrained`.
    layer : None
        There is the embedding of a window alone.
    pooling : str or None
        One of `lib.backends.frames.POOLINGS`, over windows; None: the mean, as published.
    weights : str or Path
        Folder of the published files; empty looks where `lib.backends.checkpoints.locate` says.
    revision : str or None
        A commit of the hub's repository; none is pinned.
    device : str
        As torch names it.
    seed : int
        Of a twin's weights.

    Returns
    -------
    MuleBackend

    Raises
    ------
    CheckpointError
        If the package or files are missing, or the files are not those of MULE.
    ValueError
        If there is a layer, or the pooling is unknown.

    Examples
    --------
    >>> create("mule_untrained").dim  # doctest: +SKIP
    1728
    """
    package = module("mule_torch", name)
    code = f"mule-torch {package.__version__}"  # part of the fingerprint: network and front end are its
    options = {"layer": layer, "pooling": pooling, "device": device}
    if name.endswith("_untrained"):
        network = draw(package.MuleModel, seed)
        return MuleBackend(name, network, checkpoint=f"random weights (seed {seed})", revision=code, **options)
    folder = locate(name, weights, revision)
    state = load_state(folder / WEIGHTS)
    network = package.MuleModel(_config(folder / CONFIG, package), state.get("frontend.mel_fb"))
    computed = {key: value for key, value in network.state_dict().items() if key.startswith(_COMPUTED)}
    load_strictly(network, computed | state)
    return MuleBackend(
        name, network, checkpoint=REGISTRY[name].hub, revision=f"{code}, {digest(folder / WEIGHTS)}", **options
    )


def _config(path, package):
    """Published configuration, once it is seen to have our rate and windows."""
    try:
        config = package.MuleConfig.from_dict(json.loads(path.read_text(encoding="utf-8")))
        rate = config.sample_rate
        seconds = [count * config.hop_length / rate for count in (config.slice_width, config.slice_hop)]
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"Expected MULE's published configuration in {path}, found something else ({error}); fetch the file anew."
        ) from error
    expected = [REGISTRY["mule"].sample_rate, WINDOW_SECONDS, STEP_SECONDS]
    if [rate, *seconds] != expected:
        raise CheckpointError(
            f"Expected a rate, window and step of {expected} (Hz, s, s) in {path}, found {[rate, *seconds]}; it is of "
            "another network."
        )
    return config
