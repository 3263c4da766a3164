"""A small checkpoint with random weights in a published layout: to run what reads the real files where there are none.

Public: `mert_checkpoint`, `SIZES`. It hears what a random network of its shape hears and says nothing of MERT's.
"""

import json
from pathlib import Path

import numpy as np

from lib.backends.networks.mert import network
from lib.study.tables import write_atomically

SIZES = {
    "hidden_size": 48,
    "num_hidden_layers": 6,
    "num_attention_heads": 2,
    "intermediate_size": 96,
    "conv_dim": [16] * 7,
    "num_conv_pos_embedding_groups": 4,
}
_RATE = 24000
_OLD_NAMES = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}


def mert_checkpoint(folder, seed=0):
    """Write a small MERT 95M with random weights, as the hub has it: key names, configuration, feature extractor.

    Parameters
    ----------
    folder : str or Path
        One of its own for each seed is made in it; writing it again gives the same bytes.
    seed : int
        Of the weights: gains near 1, offsets small, the rest scaled by its fan-in, so that no block is an identity.

    Returns
    -------
    Path
        A folder for ``lib.backends.create("mert_95m", weights=…)``.

    Examples
    --------
    >>> mert_checkpoint("runs/cache/checkpoints").name  # doctest: +SKIP
    'mert_small_random_0'
    """
    from safetensors.torch import save_file

    where = Path(folder) / f"mert_small_random_{seed}"
    state = _drawn(network(SIZES).state_dict(), np.random.default_rng(seed))
    files = {
        "config.json": SIZES | {"model_type": "mert_model", "feature_extractor_cqt": False, "deepnorm": False},
        "preprocessor_config.json": {"sampling_rate": _RATE, "do_normalize": True},
    }
    for name, content in files.items():
        with write_atomically(where / name) as beside:
            beside.write_text(json.dumps(content, indent=2) + "\n")
    with write_atomically(where / "model.safetensors") as beside:
        save_file(state, beside)
    return where


def _drawn(state, rng):
    import torch

    drawn = {}
    for key in sorted(state):
        shape = state[key].shape
        value = rng.standard_normal(shape)
        name = key
        for new, old in _OLD_NAMES.items():
            name = name.replace(new, old)
        if name.endswith("weight_g"):
            value = 1 + 0.1 * value
        elif len(shape) == 1:
            value = 0.1 * value + name.endswith("norm.weight")
        else:
            value /= np.sqrt(np.prod(shape[1:]))
        drawn[name] = torch.from_numpy(value.astype(np.float32))
    return drawn
