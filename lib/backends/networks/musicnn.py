"""MusiCNN and VGG: convolutional music taggers of 2019, trained on MSD or MTT tags, with an untrained twin of each."""

from dataclasses import replace

from lib.backends import twins
from lib.backends.entries import CALIBRATED, FREE, MILLION_SONGS, Entry, untrained_twin

_MUSICNN = Entry(
    label="MusiCNN (MSD)",
    colour="#0072b2",
    marker="s",
    paper_names=("musicnn", "MusiCNN"),
    dim=200,
    sample_rate=16000,
    licence="ISC",
    use=FREE,
    citation="J. Pons and X. Serra, 'musicnn: pre-trained convolutional neural networks for music audio tagging', "
    "ISMIR late-breaking demo, 2019, arXiv 1909.06654",
    training="top-50 Last.fm tags of the Million Song Dataset (supervised)",
    overlap=MILLION_SONGS + "Its targets are tags by Last.fm's users, whose plays Music4All's listening is: what it "
    "learned of a song may come from the people it is judged on",
    untrained="musicnn_untrained",
    parameters=0.8,
    megabytes=3,
    architecture="timbral and temporal convolutions of several sizes over log-mel patches, three convolutions over "
    "time, maximum and mean over the patch, a dense layer",
    layer="penultimate",
    pooling="mean over whole patches of 187 frames (3 s)",
    where="in this repository (lib/backends/weights), converted from the package musicnn 0.1.0",
    traps=(
        "The level is part of what it hears: never normalise it (at a gain of 0.1, MusiCNN's vector has a cosine of "
        "0.7 to that of the same clip).",
        "The package musicnn 0.1.0 repeats the first patch for the whole clip: a cosine of 0.70 to 0.89 to the true "
        "mean.",
        "The package rounds the mel power to float16, which overflows under NumPy 2; here it stays float32.",
        "The incomplete patch at a clip's end is dropped.",
    ),
    cpu_seconds=0.15,
)
_VGG = replace(
    _MUSICNN,
    label="VGG (MSD)",
    colour="#d55e00",
    marker="^",
    paper_names=(),
    dim=256,
    untrained="vgg_untrained",
    parameters=0.6,
    megabytes=2,
    architecture="five 3 x 3 convolutions with max-pooling over log-mel patches",
    layer="pool5, the last pooling",
    cpu_seconds=0.1,
)
_MTT = {
    "paper_names": (),
    "training": "top-50 tags of MagnaTagATune (supervised)",
    "overlap": "unlikely: MagnaTagATune is music of one small label (Magnatune), tagged by players of a game and by no "
    "listener",
}
ENTRIES = {
    "musicnn_msd": _MUSICNN,
    "musicnn_mtt": replace(_MUSICNN, label="MusiCNN (MTT)", colour="#56b4e9", marker="D", **_MTT),
    "vgg_msd": _VGG,
    "vgg_mtt": replace(_VGG, label="VGG (MTT)", colour="#e69f00", marker="v", **_MTT),
    "musicnn_untrained": untrained_twin(_MUSICNN, "MusiCNN (untrained)", CALIBRATED),
    "vgg_untrained": untrained_twin(_VGG, "VGG (untrained)", CALIBRATED),
}


def create(name, *, calibration=None, seed=0):
    """Make a trained network's backend, or an untrained twin.

    Parameters
    ----------
    name : str
        `musicnn_msd`, `musicnn_mtt`, `vgg_msd`, `vgg_mtt`, `musicnn_untrained` or `vgg_untrained`.
    calibration : list of numpy.ndarray or None
        For the twins only: waveforms (samples,) at 16 kHz or features (frames, 96) of train clips. At most
        128 patches, evenly spaced over all, set the normalisation statistics.
    seed : int
        For the twins: which draw of weights.

    Returns
    -------
    PatchBackend
        Frozen.

    Raises
    ------
    ValueError
        If a twin gets no calibration clips, or a trained network gets some.

    Examples
    --------
    >>> create("musicnn_msd").dim
    200
    """
    from lib.backends.architectures import musicnn

    if name.endswith("_untrained"):
        twins.require(name, calibration)
        return musicnn.untrained(name, calibration, seed)
    twins.refuse(name, calibration)
    return musicnn.trained(name)
