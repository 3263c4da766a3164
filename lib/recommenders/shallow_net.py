"""Shallow Net: listeners and tracks through one shared layer, compared by cosine, trained by a hinge on negatives.

Each distinct listener and track of a batch is projected once, and the cosines of pairs are gathered from there: the
loss and gradients are those of a projection for each pair, for a small part of the work.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from lib.backends import scaling as scalings
from lib.backends.vectors import Vectors
from lib.recommenders import training
from lib.recommenders.base import Recommender, check_train, known_users
from lib.recommenders.knn import best_scaling, check_vectors, profile_weights, unit_rows, usable_scalings
from lib.recommenders.option_models import check
from lib.recommenders.pairs import Batch, Pairs
from lib.recommenders.ranking import rank_products
from lib.study.ids import positions, sorted_ids

TRIAL_EPOCHS = 5  # epochs after which the scalings of 'auto' are compared
DENSE_BELOW = 16  # a product of all pairs costs less a pair than gathering one: worth it up to so many times the pairs
SPARSE_DEVICES = ("cpu", "cuda")  # where torch multiplies sparse matrices
PAIRS_AT_ONCE = 2**18  # numbers gathered for pairs at one time: what stays in the cache


class ShallowNet(Recommender):
    """Cosine of ``ReLU(W x + b)`` of a listener's and a track's vector, W and b shared.

    For a pair with anchor a, positive p and negatives n the loss is the mean of
    ``weight * max(0, margin - cos(a, p) + cos(a, n))`` over pairs and negatives. Cold tracks are scored through their
    content vector. Tracks without a vector are left out; a listener without any gets no rows.

    Parameters
    ----------
    anchor : {'user', 'item'}
        Negatives are random train tracks for a listener, or, as published, random listeners for a track.
    user_init : {'mean', 'random'}
        Listeners' vectors begin as the mean of their tracks' (scaled) vectors, or Gaussian of the tracks' size.
    user_vectors : {'trainable', 'frozen'}
    item_vectors : {'frozen', 'finetuned', 'none'}
        ``none``: learned vectors without audio, so that cold tracks are not listed.
    width : int or 'native'
        Outputs of the layer; ``native``: as many as the vectors have dimensions, as published in 2026.
    scaling : {'none', 'centre', 'standardise', 'whiten', 'auto'}
        Of vectors, fitted on train tracks; ``auto`` compares all after 5 epochs on validation.
    n_negatives : int
    margin : float
    exclude_positives : bool
        Whether what the anchor is known with is kept out of its negatives (published: no).
    weighting : {'uniform', 'count'}
        ``count``: a pair weighs ``1 + 2 ln(1 + plays)``, as published as an option.
    l2 : float
        ``l2`` times the sum of all squared parameters is added to the loss.
    lr : float
        Of Adam.
    batch_size, max_epochs, patience : int
        Pairs a step; epochs; epochs without better validation before stopping.
    device : str

    Attributes
    ----------
    history_ : lib.recommenders.training.History
    scaling_ : str
    validation_ : dict
        Validation score of each scaling tried; empty unless ``auto``.

    Notes
    -----
    After Tamm and Aljanaki (2024), *Comparative Analysis of Pretrained Audio Representations in Music Recommender
    Systems*, arXiv 2409.08987.

    Examples
    --------
    >>> model = ShallowNet(scaling="none").fit(train, vectors, rng, validate=validate)  # doctest: +SKIP
    >>> model.recommend(["u1"], 10, vectors.ids, train)  # doctest: +SKIP
    """

    kind = "shallow_net"
    needs_vectors = True

    def __init__(
        self,
        anchor: str = "user",
        user_init: str = "mean",
        user_vectors: str = "trainable",
        item_vectors: str = "frozen",
        width: int | str = 128,
        scaling: str = "standardise",
        n_negatives: int = 20,
        margin: float = 0.2,
        exclude_positives: bool = True,
        weighting: str = "uniform",
        l2: float = 0.0,
        lr: float = 1e-2,
        batch_size: int = 4096,
        max_epochs: int = 100,
        patience: int = 5,
        device: str = "cpu",
    ):
        self.options = check("shallow_net", {name: value for name, value in locals().items() if name != "self"})
        self.needs_vectors = item_vectors != "none"
        self.scaling_: str | None = None
        self.validation_: dict[str, float] = {}
        self.history_: training.History | None = None
        self._network: Network | None = None
        self._users: pd.Index | None = None
        self._tracks: pd.Index | None = None
        self._profiles: np.ndarray | None = None
        self._unit: np.ndarray | None = None

    def fit(self, train, vectors, rng, *, validate=None, checkpoint=None, progress=None) -> ShallowNet:
        """Train; see `Recommender.fit`.

        Raises
        ------
        ValueError
            Without vectors (unless ``item_vectors='none'``), with one that is not finite (the track is named), where
            no train track has one, for ``scaling='auto'`` without validation, or where no negative can be drawn.
        """
        seed = int(rng.integers(2**31))
        check_train(train)
        if self.options["item_vectors"] == "none":
            vectors = self._learned(train, seed)
        check_vectors(vectors)
        scaling = "none" if self.options["item_vectors"] == "none" else self.options["scaling"]
        if scaling == "auto" and validate is None:
            raise ValueError("Scaling 'auto' is chosen on validation: pass validate=, or name one scaling.")
        self._tracks = pd.Index(np.asarray(vectors.ids, dtype=object))
        self._users, weights = profile_weights(train, self._tracks, "uniform")
        hot, pairs = _indexed(train, self._users, self._tracks, self.options)
        self.validation_ = {}

        def run(kind: str, epochs: int, folder) -> None:
            scaled = scalings.fit(vectors.values[hot], kind).transform(vectors.values)
            decides = self.options | {"kind": self.kind, "scaling": kind, "max_epochs": epochs}
            module = type(self).__module__
            state = training.fingerprint(decides, seed, train, vectors, module=module) if folder is not None else ""
            kept = {"max_epochs": epochs, "checkpoint": folder, "progress": progress, "state": state}
            self._train(scaled, hot, weights, pairs, seed, validate, kept)
            self.scaling_ = kind

        if scaling == "auto":
            trial = min(TRIAL_EPOCHS, self.options["max_epochs"])
            for kind in usable_scalings(len(hot), vectors.dim):
                run(kind, trial, None if checkpoint is None else Path(checkpoint) / kind)
                self.validation_[kind] = float(self.history_.frame["validation"].max())
            scaling = best_scaling(self.validation_)
        run(scaling, self.options["max_epochs"], checkpoint)
        return self

    def _learned(self, train, seed: int) -> Vectors:
        """Random vectors of the train tracks, from which learning without audio begins."""
        ids = sorted_ids(train["track_id"])
        drawn = np.random.default_rng([seed, 1]).standard_normal((len(ids), self.options["width"]), dtype=np.float32)
        return Vectors(ids.astype(str), drawn)

    def _train(self, scaled, hot, weights, pairs, seed, validate, kept: dict) -> None:
        """Make a network and train it; leaves the unit vectors of its best state."""
        options = self.options
        device = training.device_of(options["device"])
        users = (weights.astype(np.float32) @ scaled).astype(np.float32)
        if options["user_init"] == "random":
            size = np.sqrt(np.mean(np.square(scaled[hot], dtype=np.float64)))
            users = np.random.default_rng([seed, 2]).standard_normal(users.shape, dtype=np.float32) * np.float32(size)
        with training.seeded(seed):
            network = Network(users, scaled[hot], options).to(device)
        moving = [parameter for parameter in network.parameters() if parameter.requires_grad]
        # Adam's decay is added to the gradient, which of l2 * sum of squares is 2 * l2 * parameter
        optimiser = torch.optim.Adam(moving, options["lr"], weight_decay=2 * options["l2"], fused=device.type != "mps")
        self._network = network

        def step_epoch(epoch: int) -> float:
            total = 0.0
            for batch in pairs.batches(np.random.default_rng([seed, 3, epoch])):
                loss = network.loss(batch, options["margin"])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                total += loss.item() * len(batch.rows)
            return total / len(pairs.anchors)

        def validated() -> float:
            self._project(scaled, hot)
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
        self._project(scaled, hot)

    def _project(self, scaled: np.ndarray, hot: np.ndarray) -> None:
        """Unit vectors of all users and tracks, from the network as it is."""
        users, items = (table.detach().cpu().numpy() for table in (self._network.users, self._network.items))
        if self._network.items.requires_grad:
            scaled = scaled.copy()
            scaled[hot] = items
        profiles, items = self._network.project(users), self._network.project(scaled)
        longest = float(np.sqrt(max(np.square(part).sum(axis=1).max() for part in (profiles, items))))
        self._profiles, self._unit = unit_rows(profiles, longest), unit_rows(items, longest)

    def recommend(self, users, k: int, candidates, exclude: pd.DataFrame | None) -> pd.DataFrame:
        """List the nearest candidates that have a vector; see `Recommender.recommend`."""
        users, where = known_users(users, self._users)
        return rank_products(self._profiles[where], self._unit, self._tracks, users, k, candidates, exclude)


def _indexed(train: pd.DataFrame, users: pd.Index, tracks: pd.Index, options: dict) -> tuple[np.ndarray, Pairs]:
    """Rows of `tracks` that occur in train, and the pairs numbered by users and by place among those rows."""
    columns = positions(train["track_id"], tracks)
    inside = columns >= 0
    rows = positions(train["user_id"][inside], users)
    hot, items = np.unique(columns[inside], return_inverse=True)
    codes, pair = np.unique(rows * len(hot) + items, return_inverse=True)  # a repeated pair is one pair
    rows, items = np.divmod(codes, len(hot))
    weights = np.ones(len(codes), np.float32)
    if options["weighting"] == "count":
        plays = np.bincount(pair, weights=train["count"].to_numpy(np.float64)[inside])
        weights = (1 + 2 * np.log1p(plays)).astype(np.float32)
    if options["anchor"] == "user":
        return hot, Pairs(rows, items, weights, (len(users), len(hot)), options)
    return hot, Pairs(items, rows, weights, (len(hot), len(users)), options)


class Network(nn.Module):
    """Tables of users and train tracks, and the layer they share.

    Parameters
    ----------
    users, items : ndarray of float32, shape (n, dim)
    options : dict
        ``anchor, user_vectors, item_vectors, width``.
    """

    def __init__(self, users: np.ndarray, items: np.ndarray, options: dict):
        super().__init__()
        self.anchor = options["anchor"]
        dim = items.shape[1]
        self.layer = nn.Linear(dim, dim if options["width"] == "native" else options["width"])
        self._table("users", users, options["user_vectors"] == "trainable")
        self._table("items", items, options["item_vectors"] != "frozen")

    def _table(self, name: str, values: np.ndarray, trainable: bool) -> None:
        """A parameter, or what never changes and is not kept with the state."""
        values = torch.from_numpy(np.array(values, np.float32))
        if trainable:
            self.register_parameter(name, nn.Parameter(values))
        else:
            self.register_buffer(name, values, persistent=False)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """ReLU of the layer, shape (n, width), float32."""
        with training.autocast(vectors.device):
            return torch.relu_(self.layer(vectors)).float()

    def project(self, values: np.ndarray) -> np.ndarray:
        """`forward` of arrays, in blocks and without gradients."""
        device = self.layer.weight.device
        blocks = (values[start : start + 2**14] for start in range(0, len(values), 2**14))
        with torch.no_grad():
            return np.concatenate([self(torch.tensor(block, device=device)).cpu().numpy() for block in blocks])

    def loss(self, batch: Batch, margin: float) -> torch.Tensor:
        """Mean of ``weight * max(0, margin - positive cosine + negative cosine)`` over pairs and negatives."""
        device = self.layer.weight.device
        tables = (self.users, self.items) if self.anchor == "user" else (self.items, self.users)
        anchors, others = (
            self(table if len(rows) == len(table) else table.index_select(0, torch.from_numpy(rows).to(device)))
            for table, rows in zip(tables, (batch.anchors, batch.others), strict=True)
        )
        rows, columns = torch.from_numpy(batch.rows).to(device), torch.from_numpy(batch.columns).to(device)
        cosines = pair_cosines(anchors, others, rows, columns)
        weights = torch.from_numpy(batch.weights).to(device)
        return (torch.relu(margin - cosines[:, :1] + cosines[:, 1:]).mean(dim=1) * weights).mean()


def pair_cosines(anchors, others, rows, columns) -> torch.Tensor:
    """Cosines of chosen pairs of rows of two tables.

    Parameters
    ----------
    anchors, others : Tensor, shapes (a, width), (o, width)
    rows : Tensor of int64, shape (n,)
        Rows of `anchors`, ascending.
    columns : Tensor of int64, shape (n, m)
        Rows of `others`.

    Returns
    -------
    Tensor, shape (n, m)
        0 where a row is 0.

    Examples
    --------
    >>> one = torch.eye(2)
    >>> pair_cosines(one, one, torch.tensor([0]), torch.tensor([[0, 1]])).tolist()
    [[1.0, 0.0]]
    """
    if len(anchors) * len(others) <= DENSE_BELOW * columns.numel():
        every = nn.functional.normalize(anchors) @ nn.functional.normalize(others).T
        return every.view(-1).index_select(0, (rows[:, None] * len(others) + columns).view(-1)).view(columns.shape)
    return _PairCosines.apply(anchors, others, rows, columns)


class _PairCosines(torch.autograd.Function):
    """`pair_cosines` by gathering; the backward pass is two products with a sparse matrix of the gradients."""

    @staticmethod
    def forward(ctx, anchors, others, rows, columns):
        to_anchor, to_other = _inverse_norms(anchors), _inverse_norms(others)
        cosines = torch.empty(columns.shape, device=anchors.device)
        step = max(1, PAIRS_AT_ONCE // (columns.shape[1] * anchors.shape[1]))
        for start in range(0, len(columns), step):
            near, far = rows[start : start + step], columns[start : start + step]
            gathered = others.index_select(0, far.reshape(-1)).view(*far.shape, -1)
            cosines[start : start + step] = gathered.mul_(anchors.index_select(0, near)[:, None]).sum(2)
        cosines *= to_anchor[rows][:, None] * to_other[columns]
        ctx.save_for_backward(anchors, others, rows, columns, cosines, to_anchor, to_other)
        return cosines

    @staticmethod
    def backward(ctx, gradient):
        anchors, others, rows, columns, cosines, to_anchor, to_other = ctx.saved_tensors
        pairs, far = rows.repeat_interleave(columns.shape[1]), columns.reshape(-1)
        along = (gradient * cosines).reshape(-1)
        weights = (gradient * to_anchor[rows][:, None] * to_other[columns]).reshape(-1)
        order = torch.argsort(far, stable=True)
        from_anchors = _product(pairs, far, weights, others, len(anchors))
        from_others = _product(far[order], pairs[order], weights[order], anchors, len(others))
        # d cos(x, y) / dx = y / (|x| |y|) - cos(x, y) x / |x|^2
        shrink_anchors = torch.zeros(len(anchors), device=along.device).index_add_(0, pairs, along) * to_anchor**2
        shrink_others = torch.zeros(len(others), device=along.device).index_add_(0, far, along) * to_other**2
        from_anchors.addcmul_(anchors, shrink_anchors[:, None], value=-1)
        from_others.addcmul_(others, shrink_others[:, None], value=-1)
        return from_anchors, from_others, None, None


def _inverse_norms(vectors: torch.Tensor) -> torch.Tensor:
    """1 / length of each row, 0 for a row of zeros."""
    norms = torch.linalg.vector_norm(vectors, dim=1)
    return torch.where(norms > 0, 1 / norms, 0.0)


def _product(rows, columns, weights, dense, n_rows: int) -> torch.Tensor:
    """Sparse (n_rows, len(dense)) with `weights` at (rows, columns), rows ascending, times a dense matrix."""
    if dense.device.type not in SPARSE_DEVICES:
        added = torch.zeros(n_rows, dense.shape[1], device=dense.device)
        return added.index_add_(0, rows, dense.index_select(0, columns) * weights[:, None])
    starts = torch.zeros(n_rows + 1, dtype=torch.int64, device=rows.device)
    torch.cumsum(torch.bincount(rows, minlength=n_rows), 0, out=starts[1:])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")  # a product is all we ask
        sparse = torch.sparse_csr_tensor(starts, columns, weights, (n_rows, len(dense)), check_invariants=False)
    return sparse @ dense
