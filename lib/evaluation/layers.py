"""Every layer and pooling of a transformer at once: one pass a clip, one wide vector, probes of each part.

Public: `AllLayers` (a backend whose vector holds them all), `network`, `sample`, `separate`, `plans`, `probe_all`,
`means`, `compare`, `choice_table`, `heat_maps`, `curves`.
"""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from lib import backends, figures
from lib.backends import Backend, extraction
from lib.evaluation import probes, statistics
from lib.figures import looks
from lib.study import SMALL_RANDOM, devices

_KEPT = ("mean_std", "max", "first")  # mean is the first half of mean_std
POOLINGS = ("mean", "mean_std", "max", "first")
_LABELS = {"mean": "mean", "mean_std": "mean and std", "max": "maximum", "first": "first frame"}
_STYLES = {"mean": ("o", "-"), "mean_std": ("s", "--"), "max": ("^", "-."), "first": ("x", ":")}
_SHADES = {"mean": "#000000", "mean_std": "#009e73", "max": "#d55e00", "first": "#cc79a7"}


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
        `layers_backend`, and `layers_weights`: a folder, 'small_random' for a small random checkpoint in MERT's layout,
        empty for where `lib.backends.checkpoints.locate` looks.
    cache : Path
        Folder for that checkpoint.

    Returns
    -------
    FrameBackend

    Raises
    ------
    ValueError
        If the backend has no layers, or small_random is asked of another than mert_95m.
    """
    name, weights = parameters.layers_backend, parameters.layers_weights
    if "layer" not in backends.options(name):
        raise ValueError(f"Expected a backend with layers in layers_backend, found {name!r}; mert_95m is one.")
    if weights == SMALL_RANDOM:
        if name != "mert_95m":
            raise ValueError(f"Expected mert_95m with layers_weights small_random, found {name!r}; name a folder.")
        from lib.backends.small import mert_checkpoint

        folder = mert_checkpoint(Path(cache) / "checkpoints", parameters.untrained_seed)
        found = backends.create(name, weights=folder, device=devices.claim(parameters.device))
        found.checkpoint = f"random weights of a small size (seed {parameters.untrained_seed})"
        return found
    if weights:
        return backends.create(name, weights=weights, device=devices.claim(parameters.device))
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


def plans(tracks, labels, group, rng, n_folds):
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
            "luckiest": [f"{value:.3f} ({layer}, {_LABELS[pooling]})" for value, (layer, pooling) in luckiest],
            "chosen": choice["value"].map("{:.3f}".format),
            "most often": [f"{layer}, {_LABELS[pooling]} ({n}×)" for layer, pooling, n in choice["often"]],
            "chosen − published": figures.mean_with_interval(cells),
            "p, Holm": choice["p_adjusted"].map("{:.3f}".format),
            "verdict": choice["verdict"],
        }
    ).set_index("label")


def heat_maps(mean, published, text_width):
    """Layers by labels, one map a pooling: how far from chance (0) to perfect (1).

    The published choice is framed.

    Parameters
    ----------
    mean : DataFrame
        Rows of one backend from `means`.
    published : (int, str)
    text_width : float
        Inches.

    Returns
    -------
    Figure
    """
    import seaborn as sns
    from matplotlib.patches import Rectangle

    n_layers = int(mean["layer"].max()) + 1
    ratio = 0.3 + 0.055 * n_layers
    figure, grid = figures.panels(text_width, 2, 2, ratio=ratio, sharex=True, sharey=True)
    for axes, pooling in zip(grid.flat, POOLINGS, strict=True):
        wide = mean[mean["pooling"] == pooling].pivot(index="layer", columns="label", values="above")
        wide = wide[mean["label"].unique()].sort_index(ascending=False)
        shown = wide.map(lambda share: f"{share:.2f}".replace("0.", ".").replace("-.00", ".00").replace("-", "−"))
        sns.heatmap(
            wide, annot=shown, fmt="", vmin=0, vmax=1, cmap="Greys", ax=axes, cbar=False, linewidths=0.5,
            annot_kws={"size": 6},
        )  # fmt: skip
        if pooling == published[1]:
            corner = (0, n_layers - 1 - published[0])
            axes.add_patch(Rectangle(corner, wide.shape[1], 1, fill=False, ec="#d55e00", lw=1.6, clip_on=False))
        axes.set(xlabel="", ylabel="", title=_LABELS[pooling])
        axes.set_xticks(axes.get_xticks(), [name.replace("_", " ") for name in wide], rotation=40, ha="right")
        axes.tick_params(length=0)
        axes.set_yticks(np.arange(n_layers) + 0.5, wide.index, rotation=0)
    for axes in grid[:, 0]:
        axes.set_ylabel("layer")
    return figure


def curves(mean, baselines, published, text_width):
    """Score against layer, one panel a label and one line a pooling, with what simpler backends reach and chance.

    Parameters
    ----------
    mean : DataFrame
        Rows of one backend from `means`; bars are the intervals of the published pooling.
    baselines : DataFrame
        Rows of `means` of backends without layers.
    published : (int, str)
    text_width : float
        Inches.

    Returns
    -------
    Figure
    """
    from matplotlib.ticker import MaxNLocator

    labels = list(mean["label"].unique())
    n_columns = min(4, len(labels))
    n_rows = -(-len(labels) // n_columns)
    ratio = n_columns / 4 * (1.0 if n_rows > 1 else 1.5)  # the legend takes its room from a single row alone
    figure, grid = figures.panels(text_width, n_rows, n_columns, ratio=ratio, sharex=True, squeeze=False)
    for axes, label in zip(grid.flat, labels, strict=False):
        here = mean[mean["label"] == label]
        for pooling, of_pooling in here.groupby("pooling", sort=False):
            marker, line = _STYLES[pooling]
            style = {"color": _SHADES[pooling], "marker": marker, "ls": line, "ms": 3, "lw": 1}
            axes.plot(of_pooling["layer"], of_pooling["value"], label=_LABELS[pooling], **style)
            if pooling == published[1]:
                axes.fill_between(
                    of_pooling["layer"], of_pooling["ci_low"], of_pooling["ci_high"], color="#e4e4e4", lw=0
                )
        for row in baselines[baselines["label"] == label].itertuples():
            style = {"color": looks.look(row.backend).colour, "lw": 1.2, "zorder": 1}
            dashes = (0, (5, 1)) if row.backend == "mfcc" else (0, (8, 2, 1, 2))
            axes.axhline(row.value, ls=dashes, label=looks.named(row.backend), **style)
        axes.axhline(here["chance"].iloc[0], label="chance", **figures.CHANCE)
        score = probes.SCORES[here["task"].iloc[0]]
        axes.set_title(f"{label.replace('_', ' ')}\n{score}")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
    for axes in grid.flat[len(labels) :]:
        axes.set_axis_off()
    handles, names = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4)
    for axes in grid[-1]:
        axes.set_xlabel("layer")
    return figure
