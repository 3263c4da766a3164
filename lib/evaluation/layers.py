"""Every layer and pooling of a transformer at once: one pass a clip, one wide vector, probes of each part.

Public: `AllLayers` (a backend whose vector holds them all), `network`, `sample`, `separate`, `plans`, `probe_all`,
`means`, `compare`, `choice_table`.
"""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from lib import backends
from lib.backends import Backend, extraction
from lib.evaluation import probes, statistics
from lib.study import SMALL_RANDOM, devices
from lib.study.text import mean_with_interval

__all__ = [
    "MOST_TRACKS",
    "POOLINGS",
    "AllLayers",
    "choice_table",
    "compare",
    "means",
    "network",
    "plans",
    "probe_all",
    "sample",
    "separate",
]


_KEPT = ("mean_std", "max", "first")  # mean is the first half of mean_std
MOST_TRACKS = 400  # of a study, drawn by whole recordings
POOLINGS = ("mean", "mean_std", "max", "first")
LABELS = {"mean": "mean", "mean_std": "mean and std", "max": "maximum", "first": "first frame"}


class AllLayers(Backend):
    """A transformer whose vector is every layer under every pooling, side by side; `separate` takes them apart.

    Parameters
    ----------
    backend : FrameBackend
        Its own layer and pooling do not matter.
    """

    def __init__(self, backend):
        self.backend = backend
        self.name, self.checkpoint, self.revision = backend.name, backend.checkpoint, backend.revision
        self.device = backend.device
        self.layer = f"0 to {backend.n_layers}"
        self.pooling = f"{', '.join(_KEPT)} side by side; as of: {backend.pooling}"

    @property
    def dim(self):
        """Numbers in a vector: four widths a layer."""
        return (self.backend.n_layers + 1) * 4 * self.backend.width

    @property
    def is_random(self):
        """Whether nothing was ever learned: a small random checkpoint, or an untrained twin."""
        return "random weights" in self.checkpoint

    @property
    def training(self):
        """What the network was trained on."""
        return "none: random weights" if self.is_random else self.backend.training

    @property
    def label(self):
        """How figures call it."""
        known = backends.LABELS.get(self.name, self.name)
        return f"{known}'s layout at random weights" if self.is_random else known

    def code_digest(self):
        """Digest of the code between a file and a vector."""
        return hashlib.sha256((self.backend.code_digest() + repr(_KEPT)).encode()).hexdigest()[:8]

    def _embed_features(self, features):
        layers = range(self.backend.n_layers + 1)
        found = self.backend.embed_layers(features, layers, _KEPT)
        return np.concatenate([found[layer, pooling] for layer in layers for pooling in _KEPT], axis=1)


def network(tracks, parameters, cache):
    """Make the transformer whose layers a study compares, at its published layer and pooling.

    Parameters
    ----------
    tracks : DataFrame
        ``track_id, path`` of clips that an untrained twin may be calibrated on.
    parameters : Parameters
        `layers_backend`: a backend, or 'small_random' for a small random checkpoint in MERT's layout.
    cache : Path
        Folder for that checkpoint.

    Returns
    -------
    FrameBackend

    Raises
    ------
    ValueError
        If the backend has no layers.
    """
    name = parameters.layers_backend
    if name == SMALL_RANDOM:
        from lib.backends.small import mert_checkpoint

        folder = mert_checkpoint(Path(cache) / "checkpoints", extraction.UNTRAINED_SEED)
        found = backends.create("mert_95m", weights=folder, device=devices.claim(parameters.device))
        found.checkpoint = f"random weights of a small size (seed {extraction.UNTRAINED_SEED})"
        return found
    if "layer" not in backends.options(name):
        raise ValueError(f"Expected a backend with layers in layers_backend, found {name!r}; mert_95m is one.")
    return extraction.network(name, tracks, parameters.model_copy(update={"layer": -1, "pooling": ""}))


def sample(tracks, group, most, rng):
    """Draw at most so many tracks by whole groups.

    Parameters
    ----------
    tracks : DataFrame
    group : str
        Column.
    most : int
    rng : numpy Generator

    Returns
    -------
    DataFrame
        Rows of `tracks` in their order.
    """
    groups = rng.permutation(tracks[group].unique())
    sizes = tracks[group].value_counts()[groups].cumsum()
    return tracks[tracks[group].isin(sizes.index[sizes <= most])]


def separate(values, n_layers):
    """Take vectors of `AllLayers` apart.

    Parameters
    ----------
    values : ndarray, shape (n, (n_layers + 1) * 4 * width)
    n_layers : int

    Returns
    -------
    dict of {(int, str): ndarray}
        By layer and pooling, in that order; (n, width), or twice the width for `mean_std`.

    Examples
    --------
    >>> separate(np.arange(8.0)[None], 1)[1, "max"]
    array([[6.]])
    """
    width = values.shape[1] // (n_layers + 1) // 4
    found = {}
    for layer in range(n_layers + 1):
        part = values[:, layer * 4 * width :]
        found[layer, "mean"] = part[:, :width]
        found[layer, "mean_std"] = part[:, : 2 * width]
        found[layer, "max"] = part[:, 2 * width : 3 * width]
        found[layer, "first"] = part[:, 3 * width : 4 * width]
    return found


def plans(tracks, labels, group, rng, n_folds=probes.FOLDS):
    """Plans of the labels that can be probed, and why the others cannot.

    Parameters
    ----------
    tracks : DataFrame
    labels : list of str
        Columns: numbers are regressed, all else is classified.
    group : str
        Column whose values are never on both sides.
    rng : numpy Generator
    n_folds : int

    Returns
    -------
    (dict of {str: Plan}, dict of {str: str})
    """
    found, refused = {}, {}
    for label in labels:
        if label not in tracks:
            refused[label] = "the tracks have no such column"
            continue
        task = "regression" if pd.api.types.is_float_dtype(tracks[label]) else "classification"
        try:
            found[label] = probes.plan(tracks[label], tracks[group], rng, task=task, n_folds=n_folds)
        except probes.ProbeError as error:
            refused[label] = str(error)
    return found, refused


def probe_all(spaces, planned, progress):
    """Probe every space for every label.

    Parameters
    ----------
    spaces : dict of {(str, int, str): ndarray}
        By backend, layer (-1 where there is none to choose) and pooling.
    planned : dict of {str: Plan}
    progress : callable
        As ``lib.study.progress.progress``.

    Returns
    -------
    DataFrame
        ``label, task, backend, layer, pooling`` and the columns of ``lib.evaluation.probes.score``.
    """
    rows = []
    for (backend, layer, pooling), values in progress(spaces.items(), total=len(spaces), label="probe", unit="space"):
        for label, plan in planned.items():
            told = {"label": label, "task": plan.task, "backend": backend, "layer": layer, "pooling": pooling}
            rows.append(probes.score(values, plan).assign(**told))
    found = pd.concat(rows, ignore_index=True)
    first = ["label", "task", "backend", "layer", "pooling"]
    return found[[*first, *(name for name in found if name not in first)]]


def means(tried, alpha):
    """Mean over folds of every probe, with its interval, chance, and the share of the way from chance to perfect.

    Parameters
    ----------
    tried : DataFrame
        As from `probe_all`.
    alpha : float
        1 less the intervals' coverage.

    Returns
    -------
    DataFrame
        ``label, task, backend, layer, pooling, value, se, ci_low, ci_high, n_folds, chance, above``.
    """
    keys = ["label", "task", "backend", "layer", "pooling"]
    rows = []
    for key, folds in tried.groupby(keys, sort=False):
        found = probes.summarise(folds, alpha)
        chance = folds["chance"].mean()
        found |= {"chance": chance, "above": (found["value"] - chance) / (1 - chance)}
        rows.append(dict(zip(keys, key, strict=True)) | found)
    return pd.DataFrame(rows).drop(columns="p")


def compare(tried, published, alpha):
    """Does the choice of layer and pooling matter? The published one against the best by luck and by an honest choice.

    Parameters
    ----------
    tried : DataFrame
        Rows of one backend from `probe_all`.
    published : (int, str)
        Layer and pooling.
    alpha : float
        Family-wise error over labels.

    Returns
    -------
    DataFrame
        One row a label: ``published`` and ``luckiest`` (the best of all by its own scores, a biased figure) with
        ``luckiest_choice``; ``value`` of what the training groups of each fold choose, judged on the others, with
        ``often`` (the commonest such choice and how often); ``diff, ci_low, ci_high, p, p_adjusted, n_folds`` of
        chosen less published (paired over folds, corrected t, Holm over labels) and ``verdict``.
    """
    rows = []
    for label, of_label in tried.groupby("label", sort=False):
        mean = of_label.groupby(["layer", "pooling"], sort=False)["score"].mean()
        usual = of_label[(of_label["layer"] == published[0]) & (of_label["pooling"] == published[1])]
        picked = probes.chosen(of_label, ["layer", "pooling"])
        found = probes.difference(picked, usual, alpha)
        common = picked[["layer", "pooling"]].value_counts()
        row = {"label": label, "published": mean[published], "luckiest": mean.max(), "luckiest_choice": mean.idxmax()}
        row |= {"value": picked["score"].mean(), "often": (*common.index[0], int(common.iloc[0]))}
        rows.append(row | {"diff": found.pop("value"), **found})
    table = pd.DataFrame(rows)
    table["p_adjusted"] = statistics.holm(table["p"].to_list())
    better = np.where(table["diff"] > 0, "the choice is better", "the published one is better")
    table["verdict"] = np.where(table["p_adjusted"] <= alpha, better, "undecided")
    return table


def choice_table(choice):
    """Cells of text of what `compare` found, one row a label, for reading and for the thesis."""
    cells = choice[["diff", "ci_low", "ci_high"]].rename(columns={"diff": "value"})
    luckiest = zip(choice["luckiest"], choice["luckiest_choice"], strict=True)
    return pd.DataFrame(
        {
            "label": choice["label"],
            "published": choice["published"].map("{:.3f}".format),
            "luckiest": [f"{value:.3f} ({layer}, {LABELS[pooling]})" for value, (layer, pooling) in luckiest],
            "chosen": choice["value"].map("{:.3f}".format),
            "most often": [f"{layer}, {LABELS[pooling]} ({n}×)" for layer, pooling, n in choice["often"]],
            "chosen − published": mean_with_interval(cells),
            "p, Holm": choice["p_adjusted"].map("{:.3f}".format),
            "verdict": choice["verdict"],
        }
    ).set_index("label")
