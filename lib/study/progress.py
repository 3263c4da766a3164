"""Progress of long work, told where it does not flood a notebook or a log.

In a terminal and in JupyterLab this is a tqdm bar. Under papermill and nbval bars freeze and flood
(nteract/papermill#617, #765) and would be stored with the notebook, so the workflow names a log file in the environment
variable ``WORKBOOK_LOG`` and a line goes there at most every ``LOG_EVERY`` seconds.
"""

import os
import sys
import time

from tqdm.auto import tqdm

__all__ = ["progress"]


LOG_EVERY = 10.0  # seconds between two lines where there is no bar


def progress(iterable, *, total=None, label="", unit="it"):
    """Iterate and tell how far one is.

    Parameters
    ----------
    iterable : iterable
        What to go through.
    total : int, optional
        Number of items; taken from ``len(iterable)`` where that exists.
    label : str
        What is being done, in a word or two.
    unit : str
        What one item is called.

    Yields
    ------
    object
        The items of `iterable`, unchanged and in order.

    Examples
    --------
    >>> list(progress([1, 2], label="demo"))
    [1, 2]
    """
    if total is None and hasattr(iterable, "__len__"):
        total = len(iterable)
    if _has_bar():
        yield from tqdm(iterable, total=total, desc=label, unit=unit)
        return
    started = told = time.monotonic()
    for count, item in enumerate(iterable, 1):
        yield item
        now = time.monotonic()
        if now - told >= LOG_EVERY:
            told = now
            rate = count / (now - started)
            left = f", {(total - count) / rate:.0f} s left" if total else ""
            say(f"{label}: {count}{f'/{total}' if total else ''} {unit}, {rate:.1f} {unit}/s{left}")


def say(line):
    """Tell something that is not a result: to the workflow's log where there is one, else to standard error."""
    log = os.environ.get("WORKBOOK_LOG")
    if log:
        with open(log, "a") as file:
            file.write(line + "\n")
    else:
        print(line, file=sys.stderr, flush=True)


def _has_bar():
    in_jupyter = "ipykernel" in sys.modules
    return not os.environ.get("WORKBOOK_LOG") and (in_jupyter or sys.stderr.isatty())
