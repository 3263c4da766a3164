"""Sources of tracks and listening: one module a source, all with the same verbs.

``describe()``, ``licence()`` and ``cite()`` give text; ``validate(folder)`` gives a list of problems as sentences;
``tracks(...)`` gives the frame of tracks, or None where they are those of the log; ``events(...)`` gives the listening
log as an iterator of batches (`lib.data.logs.batches`), or None where a source has no listeners. What these two take is
filled in by name from a study (`lib.data.preparation`).
"""

import importlib

__all__ = ["GENERATED", "recordings", "source"]


DATASETS = {
    "scores": "lib.data.sources.scores.collection",
    "recordings": "lib.data.sources.recordings",
    "music4all_onion": "lib.data.sources.music4all_onion",
    "latent": "lib.data.sources.latent",
    "yambda": "lib.data.sources.yambda",
    "lastfm_1k": "lib.data.sources.lastfm_1k",
}
GENERATED = ("scores", "latent")  # need no folder of one's own


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
    'lib.data.sources.scores.collection'
    """
    if name not in DATASETS:
        raise ValueError(
            f"Expected a data set among {', '.join(sorted(DATASETS))}, found {name!r}: correct the name in params."
        )
    return importlib.import_module(DATASETS[name])
