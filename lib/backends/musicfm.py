"""MusicFM: a conformer trained on the Million Song Dataset to predict randomly quantised mel patches.

M. Won, Y.-N. Hung and D. Le, 'A foundation model for music informatics', ICASSP 2024, arXiv 2311.03318. The published
checkpoint is `pretrained_msd.pt`, whose keys begin with ``model.``, beside `msd_stats.json`. Its README averages the
embedding over the last axis, the channels: 750 numbers of a 30 s clip; the mean over time has 1,024.
"""

import json

from lib.backends import conformer
from lib.backends.checkpoints import CheckpointError, load_state

WEIGHTS, STATISTICS = "pretrained_msd.pt", "msd_stats.json"


def create(name, *, layer=None, pooling=None, weights="", revision=None, device="cpu", seed=0, calibration=None):
    """Make MusicFM or its untrained twin.

    Parameters
    ----------
    name : str
        `musicfm` or `musicfm_untrained`.
    layer : int or None
        0 to 12; None: 12, after the final norm.
    pooling : str or None
        One of `lib.backends.frames.POOLINGS`; None: mean.
    weights : str or Path
        Folder with the published files; empty: as `lib.backends.checkpoints.locate` finds them.
    revision : str or None
        Another commit of the hub's repository than the pinned one.
    device : str
        As torch names it.
    seed : int
        For the twin: which draw of weights.
    calibration : list of numpy.ndarray or None
        For the twin only: waveforms (samples,) of train clips at 24 kHz.

    Returns
    -------
    ConformerBackend
        Frozen.

    Raises
    ------
    ValueError
        If files are missing or do not fit, or an option is none of the above.

    Examples
    --------
    >>> create("musicfm", weights="checkpoints/musicfm").dim  # doctest: +SKIP
    1024
    """
    options = {"layer": layer, "pooling": pooling, "device": device, "calibration": calibration}
    if name.endswith("_untrained"):
        return conformer.twin(name, seed=seed, **options)
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
