"""Sources of tracks and listening: one module a source, all with the same verbs.

``describe()``, ``licence()`` and ``cite()`` give text; ``validate(folder)`` gives a list of problems as sentences;
``tracks(folder, ...)`` gives the frame of tracks and ``events(...)`` the listening log, or None where a source has no
listeners.
"""

import importlib

DATASETS = {"scores": "lib.datasets.scores"}


def source(name):
    """Import a data set's module by its name.

    Parameters
    ----------
    name : str
        A key of ``DATASETS``.

    Returns
    -------
    module
        With the verbs named above.

    Raises
    ------
    ValueError
        For an unknown name; the sentence lists the known ones.

    Examples
    --------
    >>> source("scores").__name__
    'lib.datasets.scores'
    """
    if name not in DATASETS:
        raise ValueError(
            f"Expected a data set among {', '.join(sorted(DATASETS))}, found {name!r}: correct the name in params."
        )
    return importlib.import_module(DATASETS[name])
