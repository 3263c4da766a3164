"""Worlds whose right answer is known, for asking whether the workbook finds it.

A world has tracks without audio, whose labels are their true factors; synthetic backends, which hear every factor
through a blur of its own; and mock listeners (`lib.data.mock.listeners`), whose taste follows one factor, all of them,
or none. Tracks are split, recommended and scored by the code that a study uses. What the workbook should then say is
known: which MIR task predicts recommendation, and which backend is best.

Blur is drawn independently for every factor. With one blur a backend, a backend that hears keys well would hear tempo
well, every task would correlate with recommendation whatever taste follows, and no test could tell which one does.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from lib import evaluation
from lib.backends.vectors import Vectors
from lib.data import splits
from lib.data.mock import listeners
from lib.data.mock.taste import factor_block
from lib.evaluation.permutations import permute_knn
from lib.recommenders.knn import KNN

__all__ = [
    "LOOK_NULL",
    "LOOK_SEEDS",
    "NULL",
    "PLANTED",
    "TASKS",
    "WORLDS",
    "catalogue",
    "draw_blur",
    "embed",
    "measure",
    "probe_scores",
]


TASKS = {  # true factors, each a MIR task, and how `lib.evaluation.probes` judges it
    "instrument_family": "classification",
    "tempo": "regression",
    "key": "classification",
    "density": "regression",
}
WORLDS = {  # what taste follows
    "instrument_family": ("instrument_family",),
    "tempo": ("tempo",),
    "key": ("key",),
    "everything": tuple(TASKS),
    "nothing": (),
}
CLASSES = {"instrument_family": 6, "key": 12}
TRACKS_AN_ARTIST = 8
BLUR = (0.5, 4.0)  # noise over signal, standard deviations: from most of a factor to next to nothing of it
BLUR_OF_BEST = 0.125
KNN_OPTIONS = {"scaling": "standardise"}
SPLITS = {"cold_test": "cold", "hot_test": "hot"}  # the first is the primary one
N_FOLDS = 5
RIDGE = 10.0
TEST_DATE = "2019-02-01"
COLD_SHARE = 0.25


class Size(NamedTuple):
    """How large a world is."""

    n_tracks: int
    n_users: int
    tracks_per_user: float
    n_backends: int


PLANTED = Size(400, 1000, 40, 24)
LOOK_SEEDS, LOOK_NULL = 2, 20  # worlds of each planted kind, and with nothing, that notebook 74 draws itself
NULL = Size(200, 150, 30, 24)


class World(NamedTuple):
    """Tracks, backends and listeners.

    Attributes
    ----------
    tracks : DataFrame
        track_id (ascending), artist and a column for each of `TASKS`.
    blur : ndarray, shape (n_backends, n_tasks)
    vectors : ndarray of float32, shape (n_backends, n_tracks, dim)
    train : DataFrame
        Pairs of train.
    tasks : dict of {str: lib.evaluation.Task}
        What there is to recommend: keys of `SPLITS`.
    """

    tracks: pd.DataFrame
    blur: np.ndarray
    vectors: np.ndarray
    train: pd.DataFrame
    tasks: dict


def catalogue(n_tracks, rng):
    """Tracks with labels that are independent of each other and of the artist.

    Parameters
    ----------
    n_tracks : int
    rng : numpy.random.Generator

    Returns
    -------
    DataFrame
        track_id (ascending, tells nothing), artist, instrument_family and key (classes of equal size up to one),
        tempo (beats a minute, log-normal around 110) and density (notes a second, Gamma).

    Examples
    --------
    >>> catalogue(12, np.random.default_rng(0))["key"].nunique()
    12
    """
    frame = pd.DataFrame({"track_id": [f"{number:08x}" for number in rng.choice(2**32, n_tracks, replace=False)]})
    frame["artist"] = rng.integers(max(2, n_tracks // TRACKS_AN_ARTIST), size=n_tracks).astype(str)
    for name, n_classes in CLASSES.items():
        frame[name] = [f"{name} {number:02d}" for number in rng.permutation(np.arange(n_tracks) % n_classes)]
    frame["tempo"] = 110 * rng.lognormal(0, 0.3, n_tracks)
    frame["density"] = rng.gamma(4, 1, n_tracks)
    return frame.sort_values("track_id", ignore_index=True)


def draw_blur(n_backends, rng, *, best_at=()):
    """Blur of every factor in every backend: log-uniform on `BLUR`, independent of the other factors.

    Parameters
    ----------
    n_backends : int
    rng : numpy.random.Generator
    best_at : sequence of str
        Factors that the first backend hears best of all, blurred by `BLUR_OF_BEST`.

    Returns
    -------
    ndarray, shape (n_backends, n_tasks)
        Standard deviation of the noise over that of the factor, in the order of `TASKS`.

    Examples
    --------
    >>> draw_blur(3, np.random.default_rng(0), best_at=["key"])[0, 2].tolist()
    0.125
    """
    blur = np.exp(rng.uniform(*np.log(BLUR), (n_backends, len(TASKS))))
    blur[0, [list(TASKS).index(name) for name in best_at]] = BLUR_OF_BEST
    return blur


def embed(tracks, blur, rng):
    """Vectors of synthetic backends: every factor under noise, each of variance 1 in all, in a rotated space.

    How much of a factor a vector holds depends on the blur of this factor alone: what blurs another one takes no room
    from it. The rotation is a backend's own, so that no dimension stands for a factor.

    Parameters
    ----------
    tracks : DataFrame
        With the columns of `TASKS`.
    blur : array, shape (n_backends, n_tasks)
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float32, shape (n_backends, n_tracks, dim)

    Examples
    --------
    >>> embed(catalogue(24, np.random.default_rng(0)), np.ones((2, 4)), np.random.default_rng(1)).shape
    (2, 24, 20)
    """
    blocks = [factor_block(tracks, name) for name in TASKS]
    vectors = []
    for blurs in np.asarray(blur):
        parts = [
            (block + much * rng.standard_normal(block.shape) / np.sqrt(block.shape[1])) / np.sqrt(1 + much**2)
            for block, much in zip(blocks, blurs, strict=True)
        ]
        heard = np.hstack(parts)
        rotation, _ = np.linalg.qr(rng.standard_normal((heard.shape[1], heard.shape[1])))
        vectors.append(heard @ rotation)
    return np.array(vectors, np.float32)


def make(world, strength, size, rng):
    """Draw a world.

    Parameters
    ----------
    world : str
        A key of `WORLDS`.
    strength : float
        Share of taste that follows the factors of the world, in [0, 1]; `nothing` has none whatever it is.
    size : Size
    rng : numpy.random.Generator

    Returns
    -------
    World

    Raises
    ------
    ValueError
        For an unknown world, or one too small to be split into parts that can be ranked.

    Examples
    --------
    >>> make("key", 1.0, Size(80, 60, 12, 3), np.random.default_rng(0)).vectors.shape
    (3, 80, 20)
    """
    if world not in WORLDS:
        raise ValueError(f"Expected a world of {', '.join(WORLDS)}, found {world!r}; choose one of these.")
    followed = WORLDS[world]
    tracks = catalogue(size.n_tracks, rng)
    blur = draw_blur(size.n_backends, rng, best_at=followed)
    vectors = embed(tracks, blur, rng)
    events = listeners.simulate(
        tracks,
        n_users=size.n_users,
        tracks_per_user=size.tracks_per_user,
        content_strength=strength if followed else 0.0,
        factor_weights={name: float(name in followed or not followed) for name in TASKS},
        cold_share=COLD_SHARE,
        test_date=TEST_DATE,
        rng=rng,
    )
    parts = splits.split(events, test_date=TEST_DATE)
    tasks = evaluation.tasks(**parts._asdict())
    missing = [split for split in SPLITS if split not in tasks]
    if missing:
        raise ValueError(
            f"Expected hot and cold pairs to test on, found none for {', '.join(missing)} among {size.n_tracks} tracks "
            f"and {size.n_users} listeners; make the world larger."
        )
    return World(tracks, blur, vectors, parts.train, {split: tasks[split] for split in SPLITS})


def probe_scores(tracks, vectors, rng):
    """How well a linear model reads each factor off each backend, all backends at once.

    Five folds of tracks, ridge regression in closed form: of numbers R², as in `lib.evaluation.probes`; of classes the
    share told right (they are of equal size) by the highest of one regression a class. Against the logistic regression
    with a nested choice of strength in `lib.evaluation.probes` it orders backends alike and is a thousand times faster;
    a test compares the two.

    Parameters
    ----------
    tracks : DataFrame
        With the columns of `TASKS`.
    vectors : array, shape (n_backends, n_tracks, dim)
    rng : numpy.random.Generator
        Draws the folds, the same for all backends.

    Returns
    -------
    ndarray, shape (n_backends, n_tasks)
        Mean over folds, in the order of `TASKS`.

    Examples
    --------
    >>> tracks = catalogue(120, np.random.default_rng(0))
    >>> vectors = embed(tracks, np.full((1, 4), 1e-9), np.random.default_rng(1))
    >>> probe_scores(tracks, vectors, np.random.default_rng(2))[0, [0, 2]].tolist()
    [1.0, 1.0]
    """
    vectors = np.asarray(vectors, np.float64)
    targets = [_target(tracks[name], kind) for name, kind in TASKS.items()]
    columns = np.cumsum([0, *(target.shape[1] for target in targets)])
    everything = np.hstack(targets)
    fold_of = rng.permutation(np.arange(len(tracks)) % N_FOLDS)
    scores = np.zeros((len(vectors), len(TASKS)))
    for fold in range(N_FOLDS):
        predicted = _ridge(vectors, everything, fold_of != fold, fold_of == fold)
        for place, kind in enumerate(TASKS.values()):
            part = slice(columns[place], columns[place + 1])
            scores[:, place] += _score(everything[fold_of == fold, part], predicted[..., part], kind) / N_FOLDS
    return scores


def _target(labels, kind):
    """What is regressed on: numbers as a column, classes as one column each."""
    return labels.to_numpy(float)[:, None] if kind == "regression" else pd.get_dummies(labels).to_numpy(float)


def _ridge(vectors, targets, train, test):
    """Predictions for the test rows, shape (n_backends, n_test, n_columns), from standardised vectors."""
    seen, unseen = vectors[:, train], vectors[:, test]
    middle, spread = seen.mean(axis=1, keepdims=True), seen.std(axis=1, keepdims=True)
    seen, unseen = (seen - middle) / spread, (unseen - middle) / spread
    level = targets[train].mean(axis=0)
    gram = seen.transpose(0, 2, 1) @ seen + RIDGE * np.eye(vectors.shape[2])
    return unseen @ np.linalg.solve(gram, seen.transpose(0, 2, 1) @ (targets[train] - level)) + level


def _score(true, predicted, kind):
    """One number a backend."""
    if kind == "classification":
        return (predicted.argmax(axis=2) == true.argmax(axis=1)).mean(axis=1)
    return 1 - ((true - predicted) ** 2).sum(axis=(1, 2)) / ((true - true.mean()) ** 2).sum()


def recommend(drawn):
    """Scores a user of KNN on every backend of a world.

    Parameters
    ----------
    drawn : World

    Returns
    -------
    dict of {str: DataFrame}
        For `cold` and `hot` the NDCG at the default cut-off: one row a user, one column a backend (its number).
    """
    per_user = {name: {} for name in SPLITS.values()}
    for number, values in enumerate(drawn.vectors):
        model = KNN(**KNN_OPTIONS).fit(drawn.train, _with_ids(drawn, values), np.random.default_rng(0))
        for split, name in SPLITS.items():
            task = drawn.tasks[split]
            scores = evaluation.recommend_and_score(model, task)[1]
            per_user[name][number] = scores.set_index("user_id")[f"NDCG@{task.cutoffs[0]}"]
    return {name: pd.DataFrame(columns) for name, columns in per_user.items()}


def permuted(drawn, n_permutations, seed):
    """NDCG of KNN with vectors permuted over tracks, one permutation for all backends at once.

    Parameters
    ----------
    drawn : World
    n_permutations : int
    seed : int
        Of the permutations.

    Returns
    -------
    DataFrame
        permutation, backend, cold, hot.
    """
    rows = []
    for number, values in enumerate(drawn.vectors):
        frame, _ = permute_knn(
            drawn.train,
            _with_ids(drawn, values),
            drawn.tasks,
            KNN_OPTIONS,
            n_permutations=n_permutations,
            rng_seed=seed,
        )
        wide = frame[frame["metric"] == "NDCG"].pivot(index="permutation", columns="split", values="value")
        rows.append(wide.rename(columns=SPLITS).reset_index().assign(backend=number))
    return pd.concat(rows, ignore_index=True)[["permutation", "backend", *SPLITS.values()]]


class Measured(NamedTuple):
    """What is known of the backends of a world, the truth beside it.

    Attributes
    ----------
    backends : DataFrame
        world, strength, seed, n_backends (of the world), permutation (−1: the real arrangement), backend,
        ``blur_<task>`` (truth), ``score_<task>`` (of probes), cold and hot (NDCG of KNN, mean over users).
    users : DataFrame
        world, strength, seed, split, user_id and a column for the NDCG of each backend, ``b00``, ``b01``, …
    """

    backends: pd.DataFrame
    users: pd.DataFrame


def measure(world, strength, seed, size, *, n_permutations=0):
    """Draw a world and measure every backend in it, as notebooks 30 and 72 would.

    Parameters
    ----------
    world, strength, size
        As for `make`.
    seed : int
        With the world's name, strength and size it decides all draws.
    n_permutations : int
        Of tracks, beside the real arrangement.

    Returns
    -------
    Measured

    Examples
    --------
    >>> len(measure("key", 1.0, 0, Size(80, 60, 12, 3)).backends)
    3
    """
    rng = np.random.default_rng([seed, list(WORLDS).index(world), round(1000 * strength), *map(int, size)])
    drawn = make(world, strength, size, rng)
    named = {"world": world, "strength": strength, "seed": seed}
    backends = pd.DataFrame(named | {"n_backends": size.n_backends, "backend": range(size.n_backends)})
    scores = probe_scores(drawn.tracks, drawn.vectors, rng)
    for place, name in enumerate(TASKS):
        backends[f"blur_{name}"], backends[f"score_{name}"] = drawn.blur[:, place], scores[:, place]
    per_user = recommend(drawn)
    found = pd.DataFrame({split: frame.mean() for split, frame in per_user.items()})
    found = found.rename_axis("backend").reset_index().assign(permutation=-1)
    if n_permutations:
        found = pd.concat([found, permuted(drawn, n_permutations, seed)], ignore_index=True)
    users = [frame.rename(columns="b{:02d}".format).assign(split=split) for split, frame in per_user.items()]
    users = pd.concat(users).reset_index().assign(**named)
    return Measured(
        backends.merge(found, on="backend").sort_values(["permutation", "backend"], ignore_index=True), users
    )


def _with_ids(drawn, values):
    return Vectors(drawn.tracks["track_id"].to_numpy(object), values)
