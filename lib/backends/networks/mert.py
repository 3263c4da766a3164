"""MERT 95M and 330M: HuBERT encoders trained on music at 24 kHz, 75 hidden states a second.

The published code adds nothing to HuBERT at inference: its constant-Q input is switched off in both checkpoints, its
deep normalisation stands only in an encoder that they do not use, and its relaxed attention shifts logits by a constant
before a softmax. So `transformers.HubertModel` reads both, and no code of the hub is run. Y. Li et al., ICLR 2024.
"""

from dataclasses import replace

from lib.backends.checkpoints import CheckpointError, digest, load_state, load_strictly, locate
from lib.backends.entries import LEVEL_REMOVED, MEAN, NOT_FOR_MONEY, RANDOM, UNLISTED, Entry, untrained_twin
from lib.backends.registry import REGISTRY

_TASK = "masked prediction of EnCodec codes and a constant-Q spectrogram (self-supervised), {} hours of music"
_MERT_95M = Entry(
    label="MERT 95M",
    colour="#b6ce92",
    marker="lying",
    dim=768,
    sample_rate=24000,
    licence="CC BY-NC 4.0",
    use=NOT_FOR_MONEY,
    citation="Y. Li et al., 'MERT: acoustic music understanding model with large-scale self-supervised training', ICLR "
    "2024, arXiv 2306.00107",
    training=_TASK.format("20,000"),
    overlap=UNLISTED,
    untrained="mert_95m_untrained",
    hub="m-a-p/MERT-v1-95M",
    revision="12af15fef9d0ac838c3f475bfbbf26d2060dd4f5",
    files=("config.json", "preprocessor_config.json", "pytorch_model.bin"),
    parameters=94.4,
    megabytes=378,
    frame_rate=75.0,
    architecture="HuBERT: seven strided convolutions over the waveform, 12 transformer blocks of width 768",
    layer="last of 12 blocks",
    pooling=MEAN,
    traps=(
        "It reads 24 kHz, where HuBERT of speech reads 16 kHz; the rate in the feature extractor's file is checked.",
        "Its published code has a deep normalisation and a constant-Q input; both are off in the v1 files, and files "
        "with either on are refused.",
        'The papers\' "MERT" is the 330M checkpoint.',
        LEVEL_REMOVED,
    ),
    cpu_seconds=8.2,
)
_MERT_330M = replace(
    _MERT_95M,
    label="MERT 330M",
    colour="#001879",
    marker="standing",
    paper_names=("mert", "MERT"),
    dim=1024,
    training=_TASK.format("160,000"),
    untrained="mert_330m_untrained",
    hub="m-a-p/MERT-v1-330M",
    revision="5240c2708a5acaee1007f43fb9735c7dcd0b78c9",
    parameters=315.4,
    megabytes=1262,
    architecture="HuBERT: seven strided convolutions over the waveform, 24 transformer blocks of width 1,024",
    layer="last of 24 blocks, after the final norm",
    cpu_seconds=21,
)
ENTRIES = {
    "mert_95m": _MERT_95M,
    "mert_330m": _MERT_330M,
    "mert_95m_untrained": untrained_twin(_MERT_95M, "MERT 95M (untrained)", RANDOM),
    "mert_330m_untrained": untrained_twin(_MERT_330M, "MERT 330M (untrained)", RANDOM),
}

# What differs from transformers' defaults in the published configurations.
_SIZES = {
    "mert_95m": {},
    "mert_330m": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "do_stable_layer_norm": True,
    },
}
_KEYS = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act", "layer_norm_eps",
    "feat_extract_norm", "feat_extract_activation", "feat_proj_layer_norm", "conv_dim", "conv_stride", "conv_kernel",
    "conv_bias", "num_conv_pos_embeddings", "num_conv_pos_embedding_groups", "do_stable_layer_norm",
)  # fmt: skip
_IN_TRAINING_ALONE = ("masked_spec_embed$",)


def network(config):
    """Build the network with random weights.

    Parameters
    ----------
    config : dict
        Entries of the published ``config.json`` that differ from HuBERT's base size.

    Returns
    -------
    transformers.HubertModel

    Examples
    --------
    >>> network({"num_hidden_layers": 1}).config.hidden_size  # doctest: +SKIP
    768
    """
    from transformers import HubertConfig, HubertModel

    return HubertModel(HubertConfig(**config, mask_time_prob=0.0, attn_implementation="sdpa"))


def create(name, *, layer=None, pooling=None, weights="", revision=None, device="cpu", seed=0):
    """Make a MERT backend, or its twin with random weights.

    Parameters
    ----------
    name : str
        `mert_95m`, `mert_330m`, `mert_95m_untrained` or `mert_330m_untrained`.
    layer : int or None
        0 to 12 (95M) or 24 (330M); None: the last, as published.
    pooling : str or None
        One of `lib.backends.architectures.frames.POOLINGS`; None: the mean, as published.
    weights : str or Path
        Folder of the published files; empty looks where `lib.backends.checkpoints.locate` says.
    revision : str or None
        Another commit of the hub's repository than the pinned one.
    device : str
        As torch names it.
    seed : int
        Of a twin's weights.

    Returns
    -------
    WaveformBackend

    Raises
    ------
    CheckpointError
        If the files are missing or not those of HuBERT at 24 kHz.
    ValueError
        If the layer or the pooling is unknown.

    Examples
    --------
    >>> create("mert_95m", weights="checkpoints/mert_95m", layer=7).dim  # doctest: +SKIP
    768
    """
    from lib.backends.architectures.frames import draw
    from lib.backends.architectures.waveform import WaveformBackend, published_config

    options = {"layer": layer, "pooling": pooling, "device": device}
    if name.endswith("_untrained"):
        net = draw(lambda: network(_SIZES[name.removesuffix("_untrained")]), seed)
        return WaveformBackend(name, net, checkpoint=f"random weights (seed {seed})", revision="", **options)
    folder = locate(name, weights, revision)
    config = published_config(folder / "config.json", (*_KEYS, "feature_extractor_cqt", "deepnorm"))
    if config.pop("feature_extractor_cqt", False) or config.pop("deepnorm", False):
        raise CheckpointError(
            f"Expected a MERT whose layers are HuBERT's in {folder}, found one with a constant-Q input or deep "
            "normalisation in its config.json; use the published v1 checkpoints."
        )
    net = network(config)
    load_strictly(net, load_state(folder / "pytorch_model.bin"), ignore=_IN_TRAINING_ALONE)
    return WaveformBackend(
        name,
        net,
        normalise=_extractor(folder / "preprocessor_config.json", REGISTRY[name].sample_rate),
        checkpoint=REGISTRY[name].hub,
        revision=digest(folder / "pytorch_model.bin"),
        **options,
    )


def _extractor(path, sample_rate):
    """Tell whether clips are normalised, from the published feature extractor's file, and check its rate."""
    from lib.backends.architectures.waveform import published_config

    found = published_config(path, ("sampling_rate", "do_normalize"))
    if found.get("sampling_rate") != sample_rate:
        raise CheckpointError(
            f"Expected a sampling_rate of {sample_rate} Hz in {path}, found {found.get('sampling_rate')}; the folder "
            "holds another network's files."
        )
    return bool(found.get("do_normalize", True))
