"""MERT 95M and 330M: HuBERT encoders trained on music at 24 kHz, 75 hidden states a second.

The published code adds nothing to HuBERT at inference: its constant-Q input is switched off in both checkpoints, its
deep normalisation stands only in an encoder that they do not use, and its relaxed attention shifts logits by a constant
before a softmax. So `transformers.HubertModel` reads both, and no code of the hub is run. Y. Li et al., ICLR 2024.
"""

from lib.backends import REGISTRY
from lib.backends.checkpoints import CheckpointError, digest, load_state, load_strictly, locate
from lib.backends.frames import draw
from lib.backends.waveform import WaveformBackend, published_config

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
        One of `lib.backends.frames.POOLINGS`; None: the mean, as published.
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
    found = published_config(path, ("sampling_rate", "do_normalize"))
    if found.get("sampling_rate") != sample_rate:
        raise CheckpointError(
            f"Expected a sampling_rate of {sample_rate} Hz in {path}, found {found.get('sampling_rate')}; the folder "
            "holds another network's files."
        )
    return bool(found.get("do_normalize", True))
