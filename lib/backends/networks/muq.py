"""MuQ: MusicFM's conformer, trained on the Million Song Dataset to predict residual codes of mel patches.

H. Zhu et al., 'MuQ: self-supervised music representation learning with mel residual vector quantization', 2025,
arXiv 2501.01108. The published checkpoint is `model.safetensors`, whose keys begin with ``model.``, beside
`config.json`, which also holds the statistics of the log-mel spectrogram.
"""

import json
from dataclasses import replace

from lib.backends.checkpoints import CheckpointError, load_state
from lib.backends.entries import NOT_FOR_MONEY
from lib.backends.networks import musicfm

WEIGHTS, CONFIG = "model.safetensors", "config.json"
_WRAPPED = {"position_embeddings_type": "rotary", "hidden_act": "swish"}
ENTRIES = {
    "muq": replace(  # the same network with other weights
        musicfm.ENTRIES["musicfm"],
        label="MuQ",
        colour="#3149b6",
        marker=">",
        paper_names=("muq_msd", "MuQ"),
        licence="CC BY-NC 4.0",
        use=NOT_FOR_MONEY,
        citation="H. Zhu et al., 'MuQ: self-supervised music representation learning with mel residual vector "
        "quantization', 2025, arXiv 2501.01108",
        training="masked prediction of residual codes of mel patches (self-supervised), Million Song Dataset",
        hub="OpenMuQ/MuQ-large-msd-iter",
        revision="0562a57814f6f8bbd9fdea0a25921a2fce1a841a",
        files=(CONFIG, WEIGHTS),
        megabytes=1334,
        traps=(
            "It is MusicFM's network with other weights, and no tensor's shape tells them apart: the configuration is "
            "checked.",
            "config.json holds the mean and spread of its log-mel spectrogram: the weights alone do not make the "
            "model.",
        ),
    )
}


def create(name, *, layer=None, pooling=None, weights="", revision=None, device="cpu"):
    """Make MuQ.

    Parameters
    ----------
    name : str
        `muq`.
    layer, pooling, weights, revision, device
        As `lib.backends.architectures.conformer.trained` takes them.

    Returns
    -------
    ConformerBackend
        Frozen.

    Raises
    ------
    ValueError
        As there.

    Examples
    --------
    >>> create("muq", weights="checkpoints/muq").dim  # doctest: +SKIP
    1024
    """
    from lib.backends.architectures import conformer

    options = {"layer": layer, "pooling": pooling, "device": device}
    return conformer.trained(name, _read, weights=weights, revision=revision, **options)


def _read(folder):
    path = folder / WEIGHTS
    state = {key.removeprefix("model."): value for key, value in load_state(path).items()}
    return state, path, _statistics(folder / CONFIG)


def _statistics(path):
    """Mean and spread from the configuration, once it is seen to be of this network: no tensor tells these apart."""
    from lib.backends.architectures import conformer

    expected = _WRAPPED | {"label_rate": conformer.FRAME_RATE}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        found = {key: config["w2v2_config"][key] for key in _WRAPPED} | {"label_rate": config["label_rate"]}
        statistics = float(config["stat"]["melspec_2048_mean"]), float(config["stat"]["melspec_2048_std"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"Expected MuQ's published configuration in {path}, found something else ({error}); fetch the file anew."
        ) from error
    if found != expected:
        raise CheckpointError(f"Expected {expected} in {path}, found {found}; it is of another network than MuQ-large.")
    return statistics
