"""Bimodal network: what a track sounds like and who listens to it, brought into one space by contrast."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from lib.recommenders import training
from lib.recommenders.hybrid import Hybrid, TrackSpace, project, tower, unit, with_rows
from lib.recommenders.option_models import check

READINGS = ("content", "collaborative", "averaged")


class Bimodal(TrackSpace):
    """A content and a collaborative tower whose outputs for one track are alike, and unlike those of other tracks.

    The collaborative tower sees the vectors that ELSA (`Hybrid` with ``item_vectors='none'``) learns first from the
    same train pairs; they stay as they are. Each tower is two linear layers with a ReLU between them. The loss is the
    decoupled contrastive loss, from content to collaborative and back, over batches of train tracks. A listener is
    the mean of their tracks' vectors, compared by cosine.

    Cold tracks have no collaborative vector: the reading ``collaborative`` does not list them, and ``averaged`` takes
    their content alone. Tracks without a content vector are left out; a listener without any gets no rows.

    Parameters
    ----------
    reading : {'content', 'collaborative', 'averaged'}
        The output of which tower is a track's vector, or the mean of both.
    norms : {'unit', 'raw'}
        Outputs are read at unit length, as they are trained, or, as published, as they are: then the mean mixes
        their lengths, and scores are inner products (divided by the longest vector's squared length).
    stopping : {'validation', 'train_loss'}
        When training ends: once validation ceases to improve or, as published, the loss on train tracks; then ELSA
        runs for all its epochs.
    item_vectors : {'frozen', 'finetuned'}
        ``finetuned``: the content of train tracks is trained with the towers. For ids alone see `Hybrid`.
    width : int
        Of both towers.
    temperature : float
    collaborative_width, collaborative_epochs : int
        Of ELSA. The default suits hundreds of tracks; published, for 55,262: 768, and 10 epochs.
    scaling : {'none', 'centre', 'standardise', 'whiten', 'auto'}
        Of content, fitted on train tracks; ``auto`` compares all after 10 epochs on validation.
    lr, weight_decay : float
        Of AdamW.
    batch_size, max_epochs, patience : int
        Tracks a step (at least 2); epochs; epochs without improvement before stopping.
    device : str

    Attributes
    ----------
    collaborative_ : Hybrid
        ELSA, fitted.

    Notes
    -----
    After Tamm and Aljanaki (2026), *Adopting State-of-the-Art Pretrained Audio Representations for Music Recommender
    Systems*, arXiv 2604.23077, and C.-H. Yeh et al. (2022), *Decoupled Contrastive Learning*, ECCV.

    Examples
    --------
    >>> model = Bimodal(scaling="none").fit(train, vectors, rng, validate=validate)  # doctest: +SKIP
    >>> model.recommend(["u1"], 10, vectors.ids, train)  # doctest: +SKIP
    """

    kind = "bimodal"
    needs_vectors = True

    def __init__(
        self,
        reading: str = "averaged",
        norms: str = "unit",
        stopping: str = "validation",
        item_vectors: str = "frozen",
        width: int = 128,
        temperature: float = 0.1,
        collaborative_width: int = 32,
        collaborative_epochs: int = 100,
        scaling: str = "standardise",
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        batch_size: int = 64,
        max_epochs: int = 200,
        patience: int = 20,
        device: str = "cpu",
    ):
        given = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        options = check("bimodal", given)
        super().__init__(options)
        self.collaborative_: Hybrid | None = None

    def _before(self, train, seed: int, validate, checkpoint, progress) -> None:
        """Train ELSA on the train tracks that have a content vector."""
        if len(self._hot) < 2:
            raise ValueError(
                "Expected at least two train tracks with a vector, of which one can be unlike the other, found "
                f"{len(self._hot)}; check the ids."
            )
        options = self.options
        elsa = Hybrid(
            item_vectors="none",
            width=options["collaborative_width"],
            max_epochs=options["collaborative_epochs"],
            device=options["device"],
        )
        known = train[train["track_id"].isin(self._tracks[self._hot])]
        self.collaborative_ = elsa.fit(
            known.reset_index(drop=True),
            None,
            np.random.default_rng([seed, 1]),
            validate=validate if options["stopping"] == "validation" else None,
            checkpoint=None if checkpoint is None else Path(checkpoint) / "collaborative",
            progress=progress,
        )

    def _train(self, scaled, seed: int, validate, kept: dict) -> None:
        options, hot = self.options, self._hot
        device = training.device_of(options["device"])
        ids = self.collaborative_.track_vectors(self._tracks[hot])
        with training.seeded(seed):
            network = Towers(torch.tensor(scaled[hot]), torch.from_numpy(ids), options).to(device)
        self._network = network
        moving = [parameter for parameter in network.parameters() if parameter.requires_grad]
        optimiser = torch.optim.AdamW(moving, options["lr"], weight_decay=options["weight_decay"])
        n_batches = min(-(-len(hot) // options["batch_size"]), len(hot) // 2)  # a track alone has nothing to contrast
        losses = []

        def step_epoch(epoch: int) -> float:
            total = 0.0
            order = np.random.default_rng([seed, 2, epoch]).permutation(len(hot))
            for rows in np.array_split(order, n_batches):
                content, ids = network(torch.from_numpy(rows).to(device))
                loss = decoupled(content, ids, options["temperature"])
                loss = loss + decoupled(ids, content, options["temperature"])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                total += loss.item() * len(rows)
            losses.append(total / len(hot))
            return losses[-1]

        def validated() -> float:
            self._use(self._read(scaled))
            return validate(self)

        by_loss = options["stopping"] == "train_loss"
        self.history_ = training.fit_epochs(
            network,
            step_epoch,
            optimiser=optimiser,
            validate=(lambda: -losses[-1]) if by_loss else validated if validate else None,
            patience=options["patience"],
            device=device,
            **kept,
        )
        self._use(self._read(scaled))

    def _read(self, scaled: np.ndarray) -> np.ndarray:
        """Vectors of all tracks in the chosen reading, from the network as it is."""
        network, hot, reading = self._network, self._hot, self.options["reading"]
        device, raw = network.ids.device, self.options["norms"] == "raw"
        vectors = np.zeros((len(self._tracks), self.options["width"]), np.float32)
        if reading != "collaborative":
            vectors = project(network.content_tower, with_rows(scaled, hot, network.content), device)
            vectors = vectors if raw else unit(vectors)
        if reading != "content":
            ids = project(network.ids_tower, network.ids.cpu().numpy(), device)
            ids = ids if raw else unit(ids)
            vectors[hot] = ids if reading == "collaborative" else (vectors[hot] + ids) / 2
        if not raw:
            return unit(vectors)  # the mean of two unit vectors is shorter the less they agree
        longest = np.sqrt(np.square(vectors, dtype=np.float64).sum(axis=1).max())
        return vectors / np.float32(longest or 1)

    @property
    def scores_cold(self) -> bool:
        """Whether tracks outside train can be listed: not where they are known by their listeners alone."""
        return self.options["reading"] != "collaborative"

    def _use(self, vectors: np.ndarray) -> None:
        super()._use(vectors)
        if self.options["norms"] == "unit":
            self._profiles = unit(self._profiles)

    def _listed(self) -> np.ndarray:
        if self.options["reading"] != "collaborative":
            return super()._listed()
        listed = np.zeros(len(self._tracks), bool)
        listed[self._hot] = True
        return listed


class Towers(nn.Module):
    """Tables of content and ELSA vectors, and a tower for each.

    Parameters
    ----------
    content, ids : Tensor of float32, shapes (n, dim), (n, collaborative_width)
    options : dict
        ``item_vectors, width``.
    """

    def __init__(self, content: torch.Tensor, ids: torch.Tensor, options: dict):
        super().__init__()
        if options["item_vectors"] == "finetuned":
            self.content = nn.Parameter(content)
        else:
            self.register_buffer("content", content, persistent=False)
        self.register_buffer("ids", ids, persistent=False)
        self.content_tower = tower(content.shape[1], options["width"], layers=2)
        self.ids_tower = tower(ids.shape[1], options["width"], layers=2)

    def forward(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Outputs of both towers for these rows, shape (len(rows), width), at unit length."""
        with training.autocast(rows.device):
            content = self.content_tower(self.content.index_select(0, rows))
            ids = self.ids_tower(self.ids.index_select(0, rows))
        return nn.functional.normalize(content.float()), nn.functional.normalize(ids.float())


def decoupled(anchors: torch.Tensor, others: torch.Tensor, temperature: float) -> torch.Tensor:
    """Decoupled contrastive loss: the positive of an anchor is left out of the denominator.

    Parameters
    ----------
    anchors, others : Tensor, shape (n, width), n >= 2
        Two views of the same tracks, row by row, at unit length.
    temperature : float

    Returns
    -------
    Tensor
        Mean over i of ``-a_i b_i / t + log sum_{j != i} (exp(a_i a_j / t) + exp(a_i b_j / t))``.

    Examples
    --------
    >>> round(decoupled(torch.eye(2), torch.eye(2), 1.0).item(), 4)  # -1 + log 2
    -0.3069
    """
    across = anchors @ others.T / temperature
    both = torch.stack([anchors @ anchors.T / temperature, across])
    itself = torch.eye(len(anchors), dtype=torch.bool, device=anchors.device)
    return (both.masked_fill(itself, -torch.inf).logsumexp(dim=(0, 2)) - across.diagonal()).mean()
