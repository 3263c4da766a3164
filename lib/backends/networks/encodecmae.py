"""EncodecMAE: a masked autoencoder over the hidden states of the codec EnCodec, trained on speech, music and sounds."""

from lib.backends.checkpoints import digest, locate
from lib.backends.entries import FREE, MEAN, RANDOM, Entry, untrained_twin
from lib.backends.registry import REGISTRY

_ENCODECMAE = Entry(
    label="EncodecMAE",
    colour="#c2aa55",
    marker="h",
    paper_names=("encodecmae", "EncodecMAE"),
    dim=768,
    sample_rate=24000,
    licence="MIT",
    use=FREE,
    citation="L. Pepino, P. Riera and L. Ferrer, 'EnCodecMAE: leveraging neural codecs for universal audio "
    "representation learning', 2023, arXiv 2309.07391",
    training="masked prediction of EnCodec codes (self-supervised), AudioSet, FMA (large) and 6,000 hours of "
    "Libri-Light",
    overlap="possible: AudioSet's videos hold commercial music, in clips of 10 s; the FMA is independent music and "
    "Libri-Light is speech",
    untrained="encodecmae_untrained",
    hub="lpepino/encodecmae-base",
    revision="fb9f5ef8146aee2a0f952d9987cf6beed0d037a9",
    files=("model.pt",),
    parameters=37.4,
    megabytes=220,
    frame_rate=75.0,
    architecture="EnCodec's convolutional encoder, then 10 transformer blocks of width 768 that share one feed-forward "
    "part",
    layer="last of 10 blocks",
    pooling=MEAN,
    traps=(
        "It was trained on and reads chunks of 4 s: a clip in one piece gives other vectors.",
        "Models of 2024 by the same authors have other layouts; this is the base model of version 1.0.0, that of the "
        "papers.",
        "Speech and everyday sounds are part of what it was trained on, not music alone.",
        "Its untrained twin tells clips apart by 3e-5 of a vector's length: only scaled vectors of it say anything.",
    ),
    cpu_seconds=5.8,
)
ENTRIES = {
    "encodecmae": _ENCODECMAE,
    "encodecmae_untrained": untrained_twin(_ENCODECMAE, "EncodecMAE (untrained)", RANDOM),
}


def create(name, *, layer=None, pooling=None, weights="", revision=None, device="cpu", seed=0):
    """Make the EncodecMAE backend, or its twin with random weights.

    Parameters
    ----------
    name : str
        `encodecmae` or `encodecmae_untrained`.
    layer : int or None
        0 to 10; None: the last, as published.
    pooling : str or None
        One of `lib.backends.architectures.frames.POOLINGS`; None: the mean, as published.
    weights : str or Path
        Folder with the published `model.pt`, or a `model.safetensors` made of it; empty looks where
        `lib.backends.checkpoints.locate` says.
    revision : str or None
        Another commit of the hub's repository than the pinned one.
    device : str
        As torch names it.
    seed : int
        Of a twin's weights.

    Returns
    -------
    EncodecMAEBackend

    Raises
    ------
    CheckpointError
        If the file is missing or not that of EncodecMAE 1.0.0.
    ValueError
        If the layer or the pooling is unknown.

    Examples
    --------
    >>> create("encodecmae_untrained", layer=5).layer  # doctest: +SKIP
    '5 of 10'
    """
    from lib.backends.architectures import encodecmae
    from lib.backends.architectures.frames import draw

    options = {"layer": layer, "pooling": pooling, "device": device}
    if name.endswith("_untrained"):
        labels = {"checkpoint": f"random weights (seed {seed})", "revision": ""}
        return encodecmae.EncodecMAEBackend(name, draw(encodecmae.EncodecMAE, seed), **labels, **options)
    path = locate(name, weights, revision) / encodecmae.WEIGHTS
    labels = {"checkpoint": REGISTRY[name].hub, "revision": digest(path)}
    return encodecmae.EncodecMAEBackend(name, encodecmae.published(path), **labels, **options)
