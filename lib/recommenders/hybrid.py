"""ELSA-style hybrid: a linear autoencoder of listeners' tracks whose weights are projected content.

What a track is reduced to is one unit vector, here as in the bimodal network: `TrackSpace` holds what both share.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from lib.backends import scaling as scalings
from lib.recommenders import training
from lib.recommenders.base import Recommender, check_train, known_users
from lib.recommenders.knn import best_scaling, check_vectors, profile_weights, unit_rows, usable_scalings
from lib.recommenders.option_models import check
from lib.recommenders.ranking import rank_products
from lib.study.ids import positions, sorted_ids

TRIAL_EPOCHS = 10  # epochs after which the scalings of 'auto' are compared
ROWS_AT_ONCE = 2**14  # vectors projected at one time when no gradient is needed
NOUGHT = 1e-12  # below it a squared length is rounding: its root would have an infinite gradient


class TrackSpace(Recommender):
    """What recommenders share that give every track a vector and every listener the mean of their tracks' vectors.

    Attributes
    ----------
    options : dict
    history_ : lib.recommenders.training.History
    scaling_ : str
    validation_ : dict
        Validation score of each scaling tried; empty unless ``auto``.
    """

    def __init__(self, options: dict):
        self.options = options
        self.needs_vectors = options["item_vectors"] != "none"
        self.history_: training.History | None = None
        self.scaling_: str | None = None
        self.validation_: dict[str, float] = {}
        self._network: nn.Module | None = None
        self._users: pd.Index | None = None
        self._tracks: pd.Index | None = None
        self._weights = None  # users x tracks; each row 1/n for the listener's n tracks
        self._hot: np.ndarray | None = None  # rows of the tracks that occur in train
        self._vectors: np.ndarray | None = None
        self._profiles: np.ndarray | None = None

    @abstractmethod
    def _train(self, scaled, seed: int, validate, kept: dict) -> None:
        """Train a network on scaled vectors (None without audio), leaving `history_`, `_vectors` and `_profiles`."""

    def fit(self, train, vectors, rng, *, validate=None, checkpoint=None, progress=None):
        """Train; see `Recommender.fit`.

        Raises
        ------
        ValueError
            Without vectors where they are needed, with one that is not finite (the track is named), where no train
            track has one, or for ``scaling='auto'`` without validation.
        """
        seed = int(rng.integers(2**31))
        self._index(train, vectors)
        values = vectors.values if self.needs_vectors else None
        scaling = self.options["scaling"] if self.needs_vectors else "none"
        if scaling == "auto" and validate is None:
            raise ValueError("Scaling 'auto' is chosen on validation: pass validate=, or name one scaling.")
        self.validation_ = {}
        self._before(train, seed, validate, checkpoint, progress)

        def run(kind: str, epochs: int, folder) -> None:
            scaled = None if values is None else scalings.fit(values[self._hot], kind).transform(values)
            decides = self.options | {"kind": self.kind, "scaling": kind, "max_epochs": epochs}
            decides["validated"] = validate is not None
            seen = vectors if self.needs_vectors else None
            module = type(self).__module__
            state = "" if folder is None else training.fingerprint(decides, seed, train, seen, module=module)
            self.scaling_ = kind
            self._train(
                scaled,
                seed,
                validate,
                {"max_epochs": epochs, "checkpoint": folder, "progress": progress, "state": state},
            )

        if scaling == "auto":
            for kind in usable_scalings(len(self._hot), values.shape[1]):
                folder = None if checkpoint is None else Path(checkpoint) / kind
                run(kind, min(TRIAL_EPOCHS, self.options["max_epochs"]), folder)
                self.validation_[kind] = float(validate(self))
            scaling = best_scaling(self.validation_)
        run(scaling, self.options["max_epochs"], checkpoint)
        return self

    def _before(self, train, seed: int, validate, checkpoint, progress) -> None:
        """What is trained once, whatever the scaling."""

    def _index(self, train: pd.DataFrame, vectors) -> None:
        """Number users and tracks, and note who heard what."""
        check_train(train)
        if self.needs_vectors:
            check_vectors(vectors)
        ids = vectors.ids if self.needs_vectors else sorted_ids(train["track_id"])
        self._tracks = pd.Index(np.asarray(ids, dtype=object))
        self._users, self._weights = profile_weights(train, self._tracks, "uniform")
        self._hot = np.unique(self._weights.indices)

    def _use(self, vectors: np.ndarray) -> None:
        """Take these vectors of all tracks (those that are not listed are 0), and the profiles that follow."""
        self._vectors = vectors
        self._profiles = (self._weights.astype(np.float32) @ vectors).astype(np.float32)

    def _listed(self) -> np.ndarray:
        """Whether each track can be listed."""
        return np.ones(len(self._tracks), bool)

    def _taken(self, where: np.ndarray, columns: np.ndarray):
        """Sparse users x candidates to take off the scores, or None."""
        return None

    def recommend(self, users, k: int, candidates, exclude: pd.DataFrame | None) -> pd.DataFrame:
        """List the candidates that score highest; see `Recommender.recommend`."""
        users, where = known_users(users, self._users)
        taken = functools.partial(self._taken, where)
        listed, profiles = self._listed(), self._profiles[where]
        return rank_products(
            profiles, self._vectors, self._tracks, users, k, candidates, exclude, listed=listed, taken=taken
        )


class Hybrid(TrackSpace):
    """ELSA whose weights are content: A holds the tracks' projected vectors at unit length, scores are ``xAA' - x``.

    x is 1 for each track a listener heard and 0 elsewhere; taking x off keeps a track from explaining itself. The
    loss is the squared distance of the rows of x and of the scores, both at unit length. Scores listed are divided
    by the number of the listener's tracks. Cold tracks are scored through their projected vector. Tracks without a
    vector are left out; a listener without any gets no rows.

    Parameters
    ----------
    item_vectors : {'frozen', 'finetuned', 'none'}
        ``finetuned``: the content of train tracks is trained with the projection. ``none``: ELSA as its authors
        have it, A learned without audio, so that cold tracks are not listed.
    width : int
        Columns of A.
    layers : {1, 2}
        Of the projection: linear, or, as published in 2026, two linear layers with a ReLU between them.
    targets : {'train', 'all'}
        Columns of x: train tracks, or, as published in 2026, cold tracks too, which training then pushes down.
    scaling : {'none', 'centre', 'standardise', 'whiten', 'auto'}
        Of vectors, fitted on train tracks; ``auto`` compares all after 10 epochs on validation.
    lr, weight_decay : float
        Of AdamW.
    batch_size, max_epochs, patience : int
        Listeners a step; epochs; epochs without better validation before stopping.
    device : str

    Notes
    -----
    After V. Vančura, R. Alves, P. Kasalický and P. Kordík (2022), *Scalable Linear Shallow Autoencoder for
    Collaborative Filtering*, RecSys, and Tamm and Aljanaki (2026), arXiv 2604.23077. With h = xA and G = A'A the
    loss of a listener with n tracks follows without the row of scores: ``|xAA' - x|^2 = hGh' - 2|h|^2 + n`` and
    ``x (xAA' - x)' = |h|^2 - n``.

    Examples
    --------
    >>> model = Hybrid(scaling="none").fit(train, vectors, rng, validate=validate)  # doctest: +SKIP
    >>> model.recommend(["u1"], 10, vectors.ids, train)  # doctest: +SKIP
    """

    kind = "hybrid"
    needs_vectors = True

    def __init__(
        self,
        item_vectors: str = "frozen",
        width: int = 128,
        layers: int = 2,
        targets: str = "train",
        scaling: str = "standardise",
        lr: float = 1e-2,
        weight_decay: float = 0.0,
        batch_size: int = 256,
        max_epochs: int = 100,
        patience: int = 10,
        device: str = "cpu",
    ):
        given = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        options = check("hybrid", given)
        super().__init__(options)

    def _train(self, scaled, seed: int, validate, kept: dict) -> None:
        options = self.options
        device = training.device_of(options["device"])
        rows = self._hot if options["targets"] == "train" else np.arange(len(self._tracks))
        heard = self._weights[:, rows].tocsr()  # columns of A, numbered by `rows`
        with training.seeded(seed):
            table = torch.randn(len(rows), options["width"]) / options["width"] ** 0.5 if scaled is None else None
            network = Tracks(table if scaled is None else torch.tensor(scaled[rows]), options).to(device)
        self._network = network
        moving = [parameter for parameter in network.parameters() if parameter.requires_grad]
        optimiser = torch.optim.AdamW(moving, options["lr"], weight_decay=options["weight_decay"])

        def step_epoch(epoch: int) -> float:
            order, total = np.random.default_rng([seed, epoch]).permutation(heard.shape[0]), 0.0
            for start in range(0, len(order), options["batch_size"]):
                batch = heard[order[start : start + options["batch_size"]]]
                loss = reconstruction(network(), batch)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                total += loss.item() * batch.shape[0]
            return total / len(order)

        def validated() -> float:
            self._use(self._read(scaled, rows))
            return validate(self)

        self.history_ = training.fit_epochs(
            network,
            step_epoch,
            optimiser=optimiser,
            validate=validated if validate else None,
            patience=options["patience"],
            device=device,
            **kept,
        )
        self._use(self._read(scaled, rows))

    def _read(self, scaled, rows: np.ndarray) -> np.ndarray:
        """A of all tracks, from the network as it is."""
        return unit(self._network.project(with_rows(scaled, rows, self._network.table)))

    def _taken(self, where, columns):
        """The x of ``xAA' - x``, divided as the scores are."""
        return self._weights[where][:, columns].astype(np.float32)

    @torch.no_grad()
    def reconstruction_loss(self, pairs: pd.DataFrame) -> float:
        """Mean loss of other pairs' rows reconstructed from themselves.

        Parameters
        ----------
        pairs : DataFrame
            ``user_id, track_id``; users need not be known, tracks that cannot be listed are left out.

        Returns
        -------
        float
            In [0, 4]. Published early stopping: ``validate=lambda model: -model.reconstruction_loss(val)``, where
            nothing is predicted.
        """
        _, weights = profile_weights(pairs, self._tracks, "uniform")
        return reconstruction(torch.from_numpy(self._vectors), weights).item()

    def track_vectors(self, tracks) -> np.ndarray:
        """Rows of A.

        Parameters
        ----------
        tracks : sequence of str, length n
            Tracks with a vector.

        Returns
        -------
        ndarray of float32, shape (n, width)
            Of unit length.
        """
        return self._vectors[positions(np.asarray(tracks, dtype=object), self._tracks)]


class Tracks(nn.Module):
    """A table of tracks and, for content, its projection.

    Parameters
    ----------
    table : Tensor of float32, shape (n, dim)
        Content, or with ``item_vectors='none'`` the vectors that learning begins with.
    options : dict
        ``item_vectors, width, layers``.
    """

    def __init__(self, table: torch.Tensor, options: dict):
        super().__init__()
        if options["item_vectors"] == "frozen":
            self.register_buffer("table", table, persistent=False)
        else:
            self.table = nn.Parameter(table)
        content = options["item_vectors"] != "none"
        self.tower = tower(table.shape[1], options["width"], options["layers"]) if content else nn.Identity()

    def forward(self) -> torch.Tensor:
        """A, shape (n, width): rows at unit length."""
        with training.autocast(self.table.device):
            projected = self.tower(self.table)
        return nn.functional.normalize(projected.float())

    def project(self, values: np.ndarray) -> np.ndarray:
        """Projections of content, not brought to unit length."""
        return project(self.tower, values, self.table.device)


def tower(dim: int, width: int, layers: int) -> nn.Module:
    """A linear layer, or two with a ReLU between them."""
    if layers == 1:
        return nn.Linear(dim, width)
    return nn.Sequential(nn.Linear(dim, width), nn.ReLU(), nn.Linear(width, width))


@torch.no_grad()
def project(module: nn.Module, values: np.ndarray, device) -> np.ndarray:
    """Outputs (float32) of a module for rows of an array, in blocks."""
    blocks = []
    for start in range(0, len(values), ROWS_AT_ONCE):
        with training.autocast(device):
            block = module(torch.tensor(values[start : start + ROWS_AT_ONCE], device=device))
        blocks.append(block.float().cpu().numpy())
    return np.concatenate(blocks)


def unit(values: np.ndarray) -> np.ndarray:
    """Rows at unit length; 0 where they vanish beside the longest."""
    return unit_rows(values, float(np.sqrt(np.square(values, dtype=np.float64).sum(axis=1).max())))


def with_rows(scaled, rows: np.ndarray, table: torch.Tensor) -> np.ndarray:
    """Content of all tracks with that of trained ones in place; without content, the trained rows themselves."""
    trained = table.detach().cpu().numpy()
    if scaled is None:
        return trained
    if table.requires_grad:
        scaled = scaled.copy()
        scaled[rows] = trained
    return scaled


def reconstruction(a: torch.Tensor, heard) -> torch.Tensor:
    """Mean over listeners of the squared distance between ``x`` and ``xAA' - x``, both at unit length.

    Parameters
    ----------
    a : Tensor of float32, shape (tracks, width)
        Rows at unit length.
    heard : csr_array, shape (listeners, tracks)
        What is stored counts as heard, whatever its value; no listener without a track.

    Returns
    -------
    Tensor
        2 - 2 cos, in [0, 4].

    Notes
    -----
    The mean over all numbers of both matrices, as published, is this divided by the number of tracks.
    """
    counts = np.diff(heard.indptr)
    rows = torch.from_numpy(np.repeat(np.arange(len(counts)), counts)).to(a.device)
    columns = torch.from_numpy(heard.indices.astype(np.int64)).to(a.device)
    hidden = torch.zeros(len(counts), a.shape[1], device=a.device)
    hidden = hidden.index_add(0, rows, a.index_select(0, columns))
    n = torch.from_numpy(counts.astype(np.float32)).to(a.device)
    energy = hidden.square().sum(1)
    squared = (hidden @ (a.T @ a) * hidden).sum(1) - 2 * energy + n
    cosine = (energy - n) / (n * squared.clamp(min=NOUGHT)).sqrt()
    return (2 - 2 * cosine).mean()
