"""MULE: a normaliser-free convolutional network trained so that two excerpts of one recording are alike."""

import json

from lib.backends.checkpoints import CheckpointError, digest, load_state, load_strictly, locate, package_module
from lib.backends.entries import NOT_FOR_MONEY, RANDOM, UNLISTED, Entry, untrained_twin
from lib.backends.registry import REGISTRY

WEIGHTS, CONFIG = "model.safetensors", "config.json"
_COMPUTED = "frontend.stft."  # tables of sines: some published files leave them out
_MULE = Entry(
    label="MULE",
    colour="#182449",
    marker="<",
    paper_names=("mule", "MULE"),
    dim=1728,
    sample_rate=16000,
    licence="CC BY-NC 4.0 (the package's code: GPL-3.0-only)",
    use=NOT_FOR_MONEY,
    citation="M. McCallum et al., 'Supervised and unsupervised learning of audio representations for music "
    "understanding', ISMIR 2022, arXiv 2210.03799",
    training="contrast of excerpts of a recording with those of others (self-supervised, SimCLR), Musicset, the "
    "authors' own collection of music",
    overlap=UNLISTED,
    untrained="mule_untrained",
    hub="matteospanio/mule",
    files=(CONFIG, WEIGHTS),
    parameters=62.3,
    megabytes=267,
    frame_rate=0.5,
    architecture="SF-NFNet-F0: a convolutional network without normalisations, a slow and a fast path, over log-mel "
    "windows",
    layer="embedding of a window",
    pooling="mean over windows of 3 s every 2 s",
    traps=(
        "Each window is brought to mean 0 and deviation 1, so its level is not heard.",
        "The weights are those of the authors' Keras model as another author converted them.",
        "In the untrained twin the gain of every residual branch is 0, as published: what it computes are its stems, "
        "fusions and shortcuts.",
    ),
    packages=("mule_torch",),
    cpu_seconds=2.8,
)
ENTRIES = {
    "mule": _MULE,
    "mule_untrained": untrained_twin(_MULE, "MULE (untrained)", RANDOM, packages=_MULE.packages),
}


def create(name, *, layer=None, pooling=None, weights="", revision=None, device="cpu", seed=0):
    """Make the MULE backend, or its twin with random weights.

    Parameters
    ----------
    name : str
        `mule` or `mule_untrained`.
    layer : None
        There is the embedding of a window alone.
    pooling : str or None
        One of `lib.backends.architectures.frames.POOLINGS`, over windows; None: the mean, as published.
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
    from lib.backends.architectures import mule
    from lib.backends.architectures.frames import draw

    package = package_module("mule_torch", name)
    code = f"mule-torch {package.__version__}"  # part of the fingerprint: network and front end are its
    options = {"layer": layer, "pooling": pooling, "device": device}
    if name.endswith("_untrained"):
        network = draw(package.MuleModel, seed)
        return mule.MuleBackend(name, network, checkpoint=f"random weights (seed {seed})", revision=code, **options)
    folder = locate(name, weights, revision)
    state = load_state(folder / WEIGHTS)
    config = _config(folder / CONFIG, package, (mule.WINDOW_SECONDS, mule.STEP_SECONDS))
    network = package.MuleModel(config, state.get("frontend.mel_fb"))
    computed = {key: value for key, value in network.state_dict().items() if key.startswith(_COMPUTED)}
    load_strictly(network, computed | state)
    return mule.MuleBackend(
        name, network, checkpoint=REGISTRY[name].hub, revision=f"{code}, {digest(folder / WEIGHTS)}", **options
    )


def _config(path, package, windows):
    """Published configuration, once it is seen to have our rate and windows."""
    try:
        config = package.MuleConfig.from_dict(json.loads(path.read_text(encoding="utf-8")))
        rate = config.sample_rate
        seconds = [count * config.hop_length / rate for count in (config.slice_width, config.slice_hop)]
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"Expected MULE's published configuration in {path}, found something else ({error}); fetch the file anew."
        ) from error
    expected = [REGISTRY["mule"].sample_rate, *windows]
    if [rate, *seconds] != expected:
        raise CheckpointError(
            f"Expected a rate, window and step of {expected} (Hz, s, s) in {path}, found {[rate, *seconds]}; it is of "
            "another network."
        )
    return config
