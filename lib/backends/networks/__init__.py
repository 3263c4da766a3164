"""One module per network or family: `ENTRIES` says what is known of its backends, `create(name)` makes one.

A module here imports no heavy package before `create` is called; networks in torch are in `lib.backends.architectures`.
Files ``own_*.py`` are found beside the others and come last (docs/adding.md).
"""

ORDER = (  # of backends in tables and figures
    "mfcc", "musicnn", "mert", "music2vec", "musicfm", "encodecmae", "jukebox", "mule", "muq", "muq_mulan",
    "conformer", "crepe", "vibenet",
)  # fmt: skip
