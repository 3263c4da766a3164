"""MuQ-MuLan: MuQ with a transformer head, trained so that music and its description meet in one space."""

from lib.backends import twins
from lib.backends.checkpoints import digest, locate
from lib.backends.entries import CALIBRATED, NOT_FOR_MONEY, Entry, untrained_twin
from lib.backends.networks import muq

_MULAN = Entry(
    label="MuQ-MuLan",
    colour="#1886ff",
    marker=(4, 1, 0),
    paper_names=("muq_mulan", "MuQ-MuLan"),
    dim=512,
    sample_rate=24000,
    licence="CC BY-NC 4.0",
    use=NOT_FOR_MONEY,
    citation=muq.ENTRIES["muq"].citation,
    training="contrast of music and its descriptions, from MuQ on (weakly supervised), music-text pairs",
    overlap="likely: it goes on from MuQ, which heard the Million Song Dataset, with pairs of music and descriptions "
    "that are not listed",
    untrained="muq_mulan_untrained",
    hub="OpenMuQ/MuQ-MuLan-large",
    revision="2e01c796b71dca71b45251384c04cd7b237c9020",
    files=("config.json", "pytorch_model.bin"),
    parameters=367.9,
    megabytes=2855,
    frame_rate=0.1,
    architecture="MuQ, a transformer of 8 blocks of width 768 and a projection into the space that music shares with "
    "text; only the audio tower is built",
    layer="joint latent",
    pooling="mean over crops of 10 s",
    traps=(
        "It hears crops of 10 s: each gives a latent of length one, and a clip's mean of several is shorter.",
        "The last crop is filled up from the clip's beginning.",
        "The file is large because it holds the text tower too, which is not read.",
    ),
    cpu_seconds=10.4,
)
ENTRIES = {
    "muq_mulan": _MULAN,
    "muq_mulan_untrained": untrained_twin(_MULAN, "MuQ-MuLan (untrained)", CALIBRATED),
}


def create(name, *, layer=None, pooling=None, weights="", revision=None, device="cpu", seed=0, calibration=None):
    """Make MuQ-MuLan's audio tower or its untrained twin.

    Parameters
    ----------
    name : str
        `muq_mulan` or `muq_mulan_untrained`.
    layer : None
        There is the joint latent alone.
    pooling : str or None
        One of `lib.backends.architectures.frames.POOLINGS`, over crops; None: mean.
    weights, revision, device
        As `lib.backends.architectures.conformer.trained` takes them.
    seed, calibration
        For the twin only: as `lib.backends.networks.conformer.create` takes them.

    Returns
    -------
    MuLanBackend
        Frozen.

    Raises
    ------
    ValueError
        If files are missing or do not fit, or an option is none of the above.

    Examples
    --------
    >>> create("muq_mulan", weights="checkpoints/muq_mulan").dim  # doctest: +SKIP
    512
    """
    from lib.backends.architectures import conformer, muq_mulan
    from lib.backends.architectures.frames import draw

    options = {"layer": layer, "pooling": pooling, "device": device}
    if name.endswith("_untrained"):
        clips = conformer.calibration_clips(calibration, name)
        network = draw(lambda: muq_mulan.AudioTower(conformer.PUBLISHED, muq_mulan.PUBLISHED), seed)
        network.tower.calibrate(clips)
        return muq_mulan.MuLanBackend(name, network, **conformer.twin_labels(seed, clips), **options)
    twins.refuse(name, calibration)
    folder = locate(name, weights, revision)
    labels = {"checkpoint": muq_mulan.WEIGHTS, "revision": digest(folder / muq_mulan.WEIGHTS)}
    return muq_mulan.MuLanBackend(name, muq_mulan.published(folder), **labels, **options)
