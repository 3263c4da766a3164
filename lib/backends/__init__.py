"""Backends: frozen networks (and MFCC) that turn a waveform into one vector.

Each network or family is one module in `lib.backends.networks`, which declares in `ENTRIES` what is known of its
backends; it imports heavy packages when a backend is made. A backend of one's own is one file there,
``own_<name>.py`` (docs/adding.md).
"""

from lib.backends.backend import Backend
from lib.backends.entries import Entry
from lib.backends.registry import LABELS, PAPER_NAMES, REGISTRY, UNTRAINED, create, discover, names, options

__all__ = [
    "LABELS",
    "PAPER_NAMES",
    "REGISTRY",
    "UNTRAINED",
    "Backend",
    "Entry",
    "checkpoints",
    "create",
    "extraction",
    "imported",
    "names",
    "options",
    "pseudo",
    "scaling",
    "vectors",
]


discover()
