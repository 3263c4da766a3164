"""The untrained twin of MusicFM and MuQ, which are one network with other weights."""

from lib.backends.entries import CALIBRATED, untrained_twin
from lib.backends.networks import musicfm

ENTRIES = {
    "conformer_untrained": untrained_twin(musicfm.ENTRIES["musicfm"], "MusicFM and MuQ (untrained)", CALIBRATED),
}


def create(name, *, layer=None, pooling=None, device="cpu", seed=0, calibration=None):
    """Make the untrained twin of MusicFM and MuQ: random weights, published sizes and input, statistics of train clips.

    Parameters
    ----------
    name : str
        `conformer_untrained`.
    layer, pooling, device
        As `lib.backends.architectures.conformer.trained` takes them.
    seed : int
        Which draw of weights.
    calibration : list of numpy.ndarray
        Waveforms (samples,) of train clips at 24 kHz, as `lib.backends.architectures.conformer.calibration_clips`
        takes them.

    Returns
    -------
    ConformerBackend
        Frozen.

    Raises
    ------
    ValueError
        If there are no calibration clips, or the layer or pooling is unknown.

    Examples
    --------
    >>> create("conformer_untrained", calibration=clips).dim  # doctest: +SKIP
    1024
    """
    from lib.backends.architectures import conformer
    from lib.backends.architectures.frames import draw

    clips = conformer.calibration_clips(calibration, name)
    network = draw(lambda: conformer.Conformer(conformer.PUBLISHED), seed)
    network.calibrate(clips)
    labels = conformer.twin_labels(seed, clips)
    return conformer.ConformerBackend(name, network, layer=layer, pooling=pooling, device=device, **labels)
