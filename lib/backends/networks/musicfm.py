"""MusicFM: a conformer trained on the Million Song Dataset to predict randomly quantised mel patches.

M. Won, Y.-N. Hung and D. Le, 'A foundation model for music informatics', ICASSP 2024, arXiv 2311.03318. The published
checkpoint is `pretrained_msd.pt`, whose keys begin with ``model.``, beside `msd_stats.json`. Published code of 2024
averages its states over the last axis, the channels: 750 numbers of a 30 s clip; the mean over time has 1,024.
"""

import json

from lib.backends.checkpoints import CheckpointError, load_state
from lib.backends.entries import FREE, MEAN, MILLION_SONGS, Entry

WEIGHTS, STATISTICS = "pretrained_msd.pt", "msd_stats.json"
ENTRIES = {
    "musicfm": Entry(
        label="MusicFM",
        colour="#613100",
        marker="p",
        paper_names=("musicfm", "MusicFM"),
        dim=1024,
        sample_rate=24000,
        licence="MIT",
        use=FREE,
        citation="M. Won, Y.-N. Hung and D. Le, 'A foundation model for music informatics', ICASSP 2024, arXiv "
        "2311.03318",
        training="masked prediction of randomly quantised mel patches (self-supervised), Million Song Dataset",
        overlap=MILLION_SONGS + "It heard the audio alone, no tag and no listener",
        untrained="conformer_untrained",
        hub="minzwon/MusicFM",
        revision="4513b38bc25ad1d227b1980819b9691ba97f4d87",
        files=(WEIGHTS, STATISTICS),
        parameters=316.3,
        megabytes=1317,
        frame_rate=25.0,
        architecture="log-mel spectrogram, two residual convolutions to 25 Hz, 12 conformer blocks of width 1,024",
        layer="last of 12 blocks, after the final norm",
        pooling=MEAN,
        traps=(
            "Published code of 2024 averages over channels, not time: 750 numbers of a 30 s clip, not 1,024.",
            "The same repository on the hub has weights trained on the FMA (pretrained_fma.pt); those on the MSD are "
            "read.",
        ),
        cpu_seconds=9.8,
    )
}


def create(name, *, layer=None, pooling=None, weights="", revision=None, device="cpu"):
    """Make MusicFM.

    Parameters
    ----------
    name : str
        `musicfm`.
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
    >>> create("musicfm", weights="checkpoints/musicfm").dim  # doctest: +SKIP
    1024
    """
    from lib.backends.architectures import conformer

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
