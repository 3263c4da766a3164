"""One colour, one marker, one name and one place in every figure for each backend, recommender, control and label.

Colours stay apart for normal, deuteranopic and protanopic eyes (tests/unit/test_looks.py measures it); what comes close
in grey has another marker. Order is that of the tables below; a backend's module in lib/backends/networks says how it
looks.
"""

import zlib
from typing import Any, NamedTuple

from matplotlib.path import Path

from lib.backends import LABELS, REGISTRY

__all__ = ["look", "named"]


GREY = "#8a8a8a"
LABEL_PALETTE = [
    "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9",  # Okabe and Ito, without black and yellow
    "#312400", "#550049", "#9ece79", "#6d5524", "#3d5549", "#ffaab6",  # the farthest from those and from each other
]  # fmt: skip
LABEL_MARKERS = ["o", "s", "^", "D", "v", "P", "X", "d", "<", (4, 1, 0), ">", "*"]


class Look(NamedTuple):
    """How a thing is drawn: the fill is white where vectors are of an untrained network."""

    colour: str
    marker: Any
    fill: str

    def line(self, **more):
        """Keywords of ``Axes.plot``."""
        return {"color": self.colour, "marker": self.marker, "mfc": self.fill, **more}


def _bar(width, height):
    """A rectangle as marker."""
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]
    return Path([(width * x, height * y) for x, y in corners], closed=True)


_FOUR, _TURNED, _THREE = (4, 1, 0), (4, 1, 45), (3, 1, 0)  # stars of so many rays
_LYING, _STANDING = _bar(1, 0.4), _bar(0.4, 1)
_BARS = {"lying": _LYING, "standing": _STANDING}
BACKENDS = {
    name: (entry.colour, _BARS.get(entry.marker, entry.marker)) for name, entry in REGISTRY.items() if entry.colour
} | {
    "artist": ("#000000", "P"),
    "genre": ("#444444", "X"),
    "factors": ("#615579", "H"),
}
RECOMMENDERS = {
    "knn": ("#0072b2", "o"),
    "knn_raw": ("#56b4e9", "h"),
    "mostpop": ("#000000", "s"),
    "itemknn": ("#009e73", "D"),
    "pop": ("#553d3d", "H"),
    "recbole_itemknn": ("#79db86", "d"),
    "ease": ("#d55e00", "^"),
    "bpr": ("#cc79a7", "v"),
    "lightgcn": ("#e69f00", "P"),
    "sasrec": ("#924979", "X"),
    "shallow_net": ("#001886", "<"),
    "bert4rec": ("#0079f3", ">"),
    "bert4rec_ids": ("#619eff", "*"),
    "hybrid": ("#6d2400", _FOUR),
    "bimodal": ("#b65531", _STANDING),
    "bimodal_content": ("#f38655", _TURNED),
    "bimodal_collaborative": ("#3d2455", _THREE),
}
CONTROLS = {
    "real": ("#0072b2", "o"),
    "untrained": ("#e69f00", "s"),
    "shuffled": ("#6e6e6e", "X"),
    "random": ("#b0b0b0", "v"),
    "profile_swap": ("#7d0a52", "^"),
    "id_only": ("#00a676", "P"),
    "chance": (GREY, "D"),
}
CONTROL_LINES = {"untrained": "--", "shuffled": (0, (1, 1)), "random": "-.", "id_only": (0, (4, 1, 1, 1, 1, 1))}
_TABLES = (BACKENDS, RECOMMENDERS, CONTROLS)
_NAMES = {
    "factors": "true factors",
    "knn": "KNN",
    "knn_raw": "KNN raw",
    "mostpop": "MostPop",
    "itemknn": "ItemKNN",
    "pop": "Pop (RecBole)",
    "recbole_itemknn": "ItemKNN (RecBole)",
    "ease": "EASE",
    "bpr": "BPR",
    "lightgcn": "LightGCN",
    "sasrec": "SASRec",
    "shallow_net": "Shallow Net",
    "bert4rec": "BERT4Rec",
    "bert4rec_ids": "BERT4Rec with ids",
    "hybrid": "Hybrid",
    "bimodal": "Bimodal",
    "bimodal_content": "Bimodal, content",
    "bimodal_collaborative": "Bimodal, listening",
    "id_only": "ids alone",
}


def named(name):
    """What figures call a backend, a recommender, a control or a variant of one, words in brackets kept.

    Examples
    --------
    >>> named("musicnn_msd"), named("bert4rec (ids alone)"), named("profile_swap"), named("hybrid_cold_in")
    ('MusiCNN (MSD)', 'BERT4Rec (ids alone)', 'profile swap', 'Hybrid: cold in')
    """
    if name in LABELS or name in _NAMES:
        return LABELS.get(name) or _NAMES[name]
    base, bracket, rest = name.partition(" (")
    if bracket:
        return named(base) + bracket + rest
    known = _known(name, RECOMMENDERS)
    if known:
        return f"{_NAMES[known]}: {name[len(known) + 1 :].replace('_', ' ')}"
    return name.replace("_", " ")


def look(name):
    """Colour, marker and fill of a backend, a recommender or a control.

    A variant looks like what it is of, an untrained network like the trained one, hollow. A name of one's own is grey,
    with a marker that is always the same.

    Examples
    --------
    >>> look("knn").colour, look("vgg_untrained").fill, look("my_own").colour
    ('#0072b2', 'white', '#8a8a8a')
    """
    base = name.partition(" (")[0]
    for table in _TABLES:
        if base in table:
            colour, marker = table[base]
            return Look(colour, marker, colour)
    if base.endswith("_untrained"):
        stem = base.removesuffix("_untrained")
        trained = next((own for own in BACKENDS if own == stem or own.startswith(f"{stem}_")), stem)
        return look(trained)._replace(fill="white")
    known = _known(base, RECOMMENDERS)
    if known:
        return look(known)
    return Look(GREY, LABEL_MARKERS[zlib.crc32(base.encode()) % len(LABEL_MARKERS)], GREY)


def in_order(names):
    """Backends or recommenders in the fixed order of figures, those without a place in it last, by name.

    Examples
    --------
    >>> in_order(["vgg_msd", "own", "mfcc"]), in_order(["ease", "knn"])
    (['mfcc', 'vgg_msd', 'own'], ['knn', 'ease'])
    """
    known = [name for table in _TABLES for name in table]
    return sorted(names, key=lambda name: (known.index(name) if name in known else len(known), name))


def label_looks(values):
    """Colours and markers for the values of a label, in their order: up to twelve are told apart.

    Parameters
    ----------
    values : list of str

    Returns
    -------
    dict of {str: (str, str or tuple)}
        Colour and marker. From the thirteenth value on colours come again with another marker.

    Examples
    --------
    >>> label_looks(["organ", "voice"])
    {'organ': ('#0072b2', 'o'), 'voice': ('#e69f00', 's')}
    """
    n = len(LABEL_PALETTE)
    return {
        value: (LABEL_PALETTE[place % n], LABEL_MARKERS[(place + place // n) % n]) for place, value in enumerate(values)
    }


def _known(name, table):
    """The longest entry that a name begins with, or None."""
    return max((own for own in table if name.startswith(f"{own}_")), key=len, default=None)
