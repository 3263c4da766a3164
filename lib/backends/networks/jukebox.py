"""Jukebox: a language model of music's codes, read half way up as R. Castellon et al. chose."""

from lib.backends.checkpoints import digest, locate
from lib.backends.entries import MEAN, RANDOM, Entry, untrained_twin

_JUKEBOX = Entry(
    label="Jukebox",
    colour="#49180c",
    marker="*",
    paper_names=("jukemir", "Jukebox"),
    dim=4800,
    sample_rate=44100,
    licence="Noncommercial Use License of OpenAI (2020)",
    use="no commercial use of the weights or of what is made with them; the licence's notice goes along",
    citation="P. Dhariwal et al., 'Jukebox: a generative model for music', 2020, arXiv 2005.00341; R. Castellon, C. "
    "Donahue and P. Liang, 'Codified audio language modeling learns useful representations for music information "
    "retrieval', ISMIR 2021, arXiv 2107.05677",
    training="prediction of the next code of a VQ-VAE, given artist, genre and time (self-supervised), 1.2 million "
    "songs",
    overlap="likely: 1.2 million songs crawled from the web; not listed. It read artist and genre beside the audio, no "
    "listener",
    untrained="jukebox_untrained",
    files=("vqvae.pth.tar", "prior_level_2.pth.tar"),
    parameters=2561.1,
    frame_rate=344.5,
    architecture="the top level of a convolutional VQ-VAE, one of 2,048 codes every 128 samples, then the first 36 of "
    "72 transformer blocks of width 4,800 with factored attention over 8,192 codes (23.8 s)",
    layer="36 of 72 blocks",
    pooling=MEAN,
    where="its publisher's server, https://openaipublic.azureedge.net/jukebox/models/5b/, about 10 GB",
    traps=(
        "The clip is brought to peak 1, so its level is not heard; the peak is that of the clip as it was cut.",
        "Published code (jukemir) reads the first 23.8 s alone and refuses shorter clips; here longer ones are read "
        "in chunks of 23.8 s, a last one below 1 s dropped: 24 s give the published vector.",
        "The code of the paper of 2024 computes in half precision; here matrices stay as the file has them, and all "
        "is computed in single precision.",
        "Of the publisher's files, in the format before torch 1.6, memory holds all 10 GB for a while.",
    ),
    cpu_seconds=509,
)
ENTRIES = {
    "jukebox": _JUKEBOX,
    "jukebox_untrained": untrained_twin(_JUKEBOX, "Jukebox (untrained)", RANDOM),
}


def create(name, *, layer=None, pooling=None, weights="", device="cpu", seed=0):
    """Make the Jukebox backend, or its twin with random weights.

    Parameters
    ----------
    name : str
        `jukebox` or `jukebox_untrained`.
    layer : int or None
        0 to 36; None: 36, as published. No block above it is read.
    pooling : str or None
        One of `lib.backends.architectures.frames.POOLINGS`; None: the mean, as published.
    weights : str or Path
        Folder with the published `vqvae.pth.tar` and `prior_level_2.pth.tar` of the model 5b; empty:
        ``$WORKBOOK_WEIGHTS/<name>``.
    device : str
        As torch names it.
    seed : int
        Of a twin's weights.

    Returns
    -------
    JukeboxBackend

    Raises
    ------
    CheckpointError
        If the files are missing or not those of Jukebox.
    ValueError
        If the layer or the pooling is unknown.

    Examples
    --------
    >>> create("jukebox", weights="checkpoints/jukebox").dim  # doctest: +SKIP
    4800
    """
    from lib.backends.architectures import jukebox
    from lib.backends.architectures.frames import draw

    layer = jukebox.LAYER if layer is None else layer
    if isinstance(layer, bool) or not isinstance(layer, int) or not 0 <= layer <= jukebox.LAYER:
        raise ValueError(
            f"Expected a layer of {name} between 0 (what enters the first block) and {jukebox.LAYER} (the published "
            f"choice, above which nothing is read), found {layer!r}; choose one of them."
        )
    options = {"layer": layer, "pooling": pooling, "device": device}
    if name.endswith("_untrained"):
        network = draw(lambda: jukebox.random_network(jukebox.PUBLISHED, layer), seed)
        labels = {"checkpoint": f"random weights (seed {seed})", "revision": ""}
        return jukebox.JukeboxBackend(name, network, **labels, **options)
    folder = locate(name, weights)
    network = jukebox.published(folder, layer)
    revision = ", ".join(f"{file} {digest(folder / file)}" for file in (jukebox.CODEC, jukebox.PRIOR))
    return jukebox.JukeboxBackend(name, network, checkpoint="OpenAI Jukebox 5b", revision=revision, **options)
