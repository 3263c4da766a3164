"""MusicFM: a conformer trained on the Million Song Dataset to predict randomly quantised mel patches.

M. Won, Y.-N. Hung and D. Le, 'A foundation model for music informatics', ICASSP 2024, arXiv 2311.03318. The published
checkpoint is `pretrained_msd.pt`, whose keys begin with ``model.``, beside `msd_stats.json`. Published code of 2024
averages its states over the last axis, the channels: 750 numbers of a 30 s clip; the mean over time has 1,024.
"""

import json

from lib.backends import conformer
from lib.backends.checkpoints import CheckpointError, load_state

WEIGHTS, STATISTICS = "pretrained_msd.pt", "msd_stats.json"


def create(name, *, layer=None, pooling=None, weights="", revision=None, device="cpu"):
    """Make MusicFM.

    Parameters
    ----------
    name : str
        `musicfm`.
    layer, pooling, weights, revision, device
        As `lib.backends.conformer.trained` takes them.

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
    >>> create("musicfm", weights="checkpoints/musicfm").dim  # doctest: +SKIP
    1024
    """
    options = {"layer": layer, "pooling": pooling, "device": device}
    return conformer.trained(name, _read, weights=weights, revision=revision, **options)


def _read(folder):
    path = folder / WEIGHTS
    found = load_state(path)
    state = {key.removeprefix("model."): value for key, value in found.get("state_dict", found).items()}
    try:
        statistics = json.loads((folder / STATISTICS).read_text(encoding="utf-8"))
        return state, path, (float(statistics["melspec_2048_mean"]), float(statistics["melspec_2048_std"]))
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"Expected numbers melspec_2048_mean and melspec_2048_std in {folder / STATISTICS}, found none; "
            "fetch the file anew."
        ) from error
