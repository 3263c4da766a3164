"""Music2Vec: a data2vec encoder trained on music at 16 kHz, 50 hidden states a second. Y. Li et al., ISMIR LBD 2022.

Its input is normalised by the feature extractor of data2vec's speech checkpoint, as the model's card says. Published
code of one paper fed it audio at 24 kHz; here `features` refuses every rate but 16 kHz.
"""

from lib.backends.checkpoints import digest, load_state, load_strictly, locate
from lib.backends.entries import LEVEL_REMOVED, MEAN, NOT_FOR_MONEY, RANDOM, UNLISTED, Entry, untrained_twin
from lib.backends.registry import REGISTRY

_MUSIC2VEC = Entry(
    label="Music2Vec",
    colour="#9286aa",
    marker="d",
    paper_names=("music2vec", "Music2Vec"),
    dim=768,
    sample_rate=16000,
    licence="CC BY-NC 4.0",
    use=NOT_FOR_MONEY,
    citation="Y. Li et al., 'MAP-Music2Vec: a simple and effective baseline for self-supervised music audio "
    "representation learning', ISMIR late-breaking demo, 2022, arXiv 2212.02508",
    training="masked prediction of a teacher's hidden states (self-supervised), 1,000 hours of music",
    overlap=UNLISTED,
    untrained="music2vec_untrained",
    hub="m-a-p/music2vec-v1",
    revision="99b5bfbd4de814b5a44b0e3a3244f737b23c7983",
    files=("config.json", "pytorch_model.bin"),
    parameters=93.2,
    megabytes=373,
    frame_rate=50.0,
    architecture="data2vec audio: seven strided convolutions over the waveform, 12 transformer blocks of width 768",
    layer="last of 12 blocks",
    pooling=MEAN,
    traps=(
        "It reads 16 kHz; published code of 2024 gave it audio at 24 kHz, which it hears 1.5 times slower and a fifth "
        "lower.",
        "The published config.json has a path where the size of a vocabulary belongs, so it is read by its keys.",
        LEVEL_REMOVED,
    ),
    cpu_seconds=6,
)
ENTRIES = {
    "music2vec": _MUSIC2VEC,
    "music2vec_untrained": untrained_twin(_MUSIC2VEC, "Music2Vec (untrained)", RANDOM),
}
_KEYS = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act", "layer_norm_eps",
    "feat_extract_activation", "conv_dim", "conv_stride", "conv_kernel", "conv_bias", "num_conv_pos_embeddings",
    "num_conv_pos_embedding_groups", "conv_pos_kernel_size",
)  # fmt: skip
_IN_TRAINING_ALONE = ("masked_spec_embed$",)


def network(config):
    """Build the network with random weights.

    Parameters
    ----------
    config : dict
        Entries of the published ``config.json`` that differ from data2vec's base size.

    Returns
    -------
    transformers.Data2VecAudioModel

    Examples
    --------
    >>> network({"num_hidden_layers": 1}).config.hidden_size  # doctest: +SKIP
    768
    """
    from transformers import Data2VecAudioConfig, Data2VecAudioModel

    return Data2VecAudioModel(Data2VecAudioConfig(**config, mask_time_prob=0.0, attn_implementation="sdpa"))


def create(name, *, layer=None, pooling=None, weights="", revision=None, device="cpu", seed=0):
    """Make the Music2Vec backend, or its twin with random weights.

    Parameters
    ----------
    name : str
        `music2vec` or `music2vec_untrained`.
    layer, pooling, weights, revision, device, seed
        As `lib.backends.networks.mert.create` takes them; there are 12 blocks.

    Returns
    -------
    WaveformBackend

    Raises
    ------
    CheckpointError
        If the files are missing or not those of a data2vec audio encoder.
    ValueError
        If the layer or the pooling is unknown.

    Examples
    --------
    >>> create("music2vec_untrained", layer=6).layer  # doctest: +SKIP
    '6 of 12'
    """
    from lib.backends.architectures.frames import draw
    from lib.backends.architectures.waveform import WaveformBackend, published_config

    options = {"layer": layer, "pooling": pooling, "device": device}
    if name.endswith("_untrained"):
        net = draw(lambda: network({}), seed)
        return WaveformBackend(name, net, checkpoint=f"random weights (seed {seed})", revision="", **options)
    folder = locate(name, weights, revision)
    # by keys: the published file has a path for a vocabulary's size, which transformers refuses
    net = network(published_config(folder / "config.json", _KEYS))
    state = load_state(folder / "pytorch_model.bin")
    state = {key.removeprefix("data2vec_audio."): value for key, value in state.items()}
    load_strictly(net, state, ignore=_IN_TRAINING_ALONE)
    return WaveformBackend(
        name, net, checkpoint=REGISTRY[name].hub, revision=digest(folder / "pytorch_model.bin"), **options
    )
