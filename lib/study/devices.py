"""Devices that networks run on: which there are, and one process a device.

Public: `claim`, `peak_share`, `is_out_of_memory`, `DeviceError`.
"""

import tempfile
import time
from pathlib import Path

from filelock import FileLock, Timeout

from lib.study.progress import say

__all__ = ["claim"]


_POLL_SECONDS = 1.0
_held = {}  # device: its lock, for as long as this process lives


class DeviceError(ValueError):
    """A device that does not exist, or is none that torch knows."""


def claim(name, folder=None):
    """Find a device and keep other processes of the workbook off it until this one ends.

    Two networks on one GPU take turns and share its memory, so a second process waits, and says so. The processor is
    never claimed: how many jobs share it is the workflow's choice.

    Parameters
    ----------
    name : str
        `cpu`, `mps`, `cuda` (the first one that is free), `cuda:<number>`, or `auto`: a GPU where there is one.
    folder : Path, optional
        Where the locks lie; the machine's temporary folder by default, so that all copies of the workbook share them.

    Returns
    -------
    str
        The device as torch names it, with its number.

    Raises
    ------
    DeviceError
        If there is none of that name.

    Examples
    --------
    >>> claim("cpu")
    'cpu'
    """
    wanted = _wanted(name)
    if wanted == ["cpu"]:
        return "cpu"
    for device in wanted:
        if device in _held:
            return device
    folder = Path(folder or tempfile.gettempdir())
    told = False
    while True:
        for device in wanted:
            lock = FileLock(folder / f"workbook-{device.replace(':', '-')}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            _held[device] = lock
            _compute_in_single_precision()
            return device
        if not told:
            say(f"waiting for {' or '.join(wanted)}, in use by another process of the workbook")
            told = True
        time.sleep(_POLL_SECONDS)


def _compute_in_single_precision():
    """Switch off TF32, which torch takes for convolutions and which moves vectors by some 1e-3."""
    import torch

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def _wanted(name):
    """Devices that would do, the best first; the processor needs no torch."""
    if name == "cpu":
        return ["cpu"]
    cards, apple = _accelerators()
    there = {
        "cuda": [f"cuda:{number}" for number in range(cards)],
        "mps": ["mps"] if apple else [],
    }
    there["auto"] = there["cuda"] or there["mps"] or ["cpu"]
    found = there.get(name, [name] if name in there["cuda"] else [])
    if not found:
        known = ", ".join(["cpu", *there["cuda"], *there["mps"]])
        raise DeviceError(f"Expected a device among {known}, or auto, found {name!r}; choose one of them as `device`.")
    return found


def _accelerators():
    """Number of CUDA devices, and whether there is Apple's."""
    import torch

    return torch.cuda.device_count(), torch.backends.mps.is_available()


def peak_share(device):
    """Largest share of a GPU's memory that this process has held; None where torch cannot tell.

    Parameters
    ----------
    device : str or torch.device

    Returns
    -------
    float or None
        0 to 1.

    Examples
    --------
    >>> peak_share("cpu") is None
    True
    """
    if not str(device).startswith("cuda"):
        return None
    import torch

    return torch.cuda.max_memory_reserved(device) / torch.cuda.mem_get_info(device)[1]


def is_out_of_memory(error):
    """Tell whether an error says that a device's memory, or the machine's, is full.

    Parameters
    ----------
    error : BaseException

    Returns
    -------
    bool

    Examples
    --------
    >>> is_out_of_memory(RuntimeError("MPS backend out of memory")), is_out_of_memory(ValueError("out of range"))
    (True, False)
    """
    if isinstance(error, MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
