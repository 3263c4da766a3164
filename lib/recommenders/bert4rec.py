"""BERT4Rec: what a bidirectional transformer puts in place of a hidden track of a listener's sequence."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import torch

from lib.backends import scaling as scalings
from lib.recommenders import cloze
from lib.recommenders.base import Recommender, check_train, known_users
from lib.recommenders.knn import best_scaling, check_vectors, usable_scalings
from lib.recommenders.option_models import check
from lib.recommenders.ranking import RESOLUTION, rank_products
from lib.recommenders.training import History, autocast, device_of, fingerprint, fit_epochs, seeded
from lib.recommenders.transformer import ItemVectors, Network
from lib.study.ids import sorted_ids

TRIAL = 5  # scaling 'auto' tries each scaling for a fifth of the epochs
PREDICTION_BATCH = 128  # sequences at a time
SCORE_STEP = 16 * RESOLUTION  # scores, unlike cosines, reach 10 and more


@dataclass(eq=False)
class Bert4Rec(Recommender):
    """BERT4Rec (Sun et al., 2019) on transformers' BertModel, over vectors of tracks, ids, or both.

    A listener's tracks in order of first play, the last `length` of them, are one row an epoch with a fresh Cloze
    mask; to recommend, a mask follows the history. Tracks without a vector are left out of sequences and of lists.

    Parameters
    ----------
    item_vectors : {'frozen', 'finetuned', 'none'}
        Whether the tracks' vectors stay as they are or are trained too; ``none`` learns vectors of ids alone, which
        cold tracks do not have.
    ids : bool
        Add learned vectors of ids to the projected ones: what ids know beside the audio. Cold tracks are scored by
        their content alone.
    head : {'tied', 'separate'}
        Compare with the projected vectors, or with vectors of the head's own, which cold tracks do not have.
    softmax : {'train', 'all'}
        Train tracks, or, as published, cold tracks too, which training then only ever pushes down.
    exclude_heard : bool
        Whether the softmax of a hidden track goes without the rest of its row (published: no; no part of gBCE). What a
        listener has heard is never listed; a tied head that has to push it away pushes away what is like it.
    loss : {'softmax', 'gbce'}
        Over all tracks, or over `n_negatives` drawn ones with gBCE (Petrov and Macdonald, 2023) for huge catalogues.
    n_negatives : int
        For a masked position; for gBCE.
    calibration : float
        t of gBCE, in [0, 1].
    width : int
        Of the transformer, a multiple of `heads`; 0 takes the dimension of the vectors, unprojected, as published.
    layers, heads : int
    length : int
        Tracks of a sequence, with the mask in prediction.
    prediction_length : int
        The same in prediction; 0 is `length`. Published: 50 after training on 200.
    positions : bool
        Whether order counts, beside what a history holds.
    mask_share : float
        Share of the positions that are masked, at least one a row.
    dropout : float
    scaling : {'none', 'centre', 'standardise', 'whiten', 'auto'}
        Fitted on the train tracks; ``auto`` trains a fifth of the epochs with each and keeps the best on validation.
    lr, weight_decay : float
        Of AdamW.
    batch_size : int
        Sequences a step.
    max_epochs, patience : int
    device : str

    Notes
    -----
    Where this differs from the paper: positions count from the newest track, biases start at the popularity of tracks,
    the head bends states by one linear layer instead of one with GELU, what a listener has heard is left out of the
    softmax, and weights start so that a hidden track is at first the mean of what is around it, in the space in which
    the head compares: the nearest tracks by content (see `lib.recommenders.transformer`). Starting as BERT does,
    networks of width 64 stopped at popularity on the demo's 978 listeners.

    Attributes
    ----------
    history_ : History
        Loss and validation of every epoch, and why training stopped.
    scaling_ : str
        The scaling in use.
    validation_ : dict
        Validation score of each scaling tried; empty unless ``auto``.

    Examples
    --------
    >>> model = Bert4Rec(width=32).fit(train, vectors, rng, validate=validate)  # doctest: +SKIP
    >>> model.recommend(["u1"], 10, vectors.ids, train)  # doctest: +SKIP
    """

    item_vectors: str = "frozen"
    ids: bool = False
    head: str = "tied"
    softmax: str = "train"
    exclude_heard: bool = True
    loss: str = "softmax"
    n_negatives: int = 256
    calibration: float = 0.75
    width: int = 64
    layers: int = 2
    heads: int = 2
    length: int = 200
    prediction_length: int = 0
    positions: bool = True
    mask_share: float = 0.2
    dropout: float = 0.1
    scaling: str = "standardise"
    lr: float = 1e-3
    weight_decay: float = 0.01
    batch_size: int = 16
    max_epochs: int = 200
    patience: int = 10
    device: str = "cpu"

    kind = "bert4rec"
    needs_vectors = True

    def __post_init__(self):
        check("bert4rec", asdict(self))
        self.needs_vectors = self.item_vectors != "none"
        self.history_: History | None = None
        self.scaling_ = "none"
        self.validation_: dict[str, float] = {}

    @property
    def scores_cold(self) -> bool:
        """Whether tracks outside train can be listed: with content vectors and a tied head."""
        return self.needs_vectors and self.head == "tied"

    def fit(self, train, vectors, rng, *, validate=None, checkpoint=None, progress=None) -> Bert4Rec:
        """Train until validation ceases to improve; see `Recommender.fit`.

        Raises
        ------
        ValueError
            Without vectors where they are needed, with a vector that is not finite (the track is named), for a
            width that the heads do not divide, or for scaling ``auto`` without validation.
        """
        check_train(train)
        seed = int(rng.integers(2**31))
        if self.needs_vectors:
            if vectors is None or not len(vectors.ids):
                raise ValueError(
                    "BERT4Rec with item_vectors 'frozen' or 'finetuned' needs vectors of tracks, found none; run "
                    "20_extract_embeddings first, or set item_vectors to 'none'."
                )
            check_vectors(vectors)
        self._index(train, vectors)
        self.validation_ = {}
        seen = vectors if self.needs_vectors else None
        state = fingerprint({"kind": self.kind} | asdict(self), seed, train, seen, module=type(self).__module__)
        run = {"seed": seed, "validate": validate, "progress": progress, "state": state}
        kind = self.scaling if self.needs_vectors else "none"
        if kind == "auto":
            if validate is None:
                raise ValueError("Scaling 'auto' is chosen on validation: pass validate=, or name one scaling.")
            for tried in usable_scalings(self._n_train, vectors.values.shape[1]):
                folder = None if checkpoint is None else checkpoint / tried
                self._train(vectors, tried, max(1, self.max_epochs // TRIAL), folder, **run)
                self.validation_[tried] = float(self.history_.frame["validation"].max())
            kind = best_scaling(self.validation_)
        self._train(vectors, kind, self.max_epochs, checkpoint, **run)
        return self

    def _index(self, train: pd.DataFrame, vectors) -> None:
        """Number the tracks, those of train first, and put the plays of every user in order."""
        heard = sorted_ids(train["track_id"])
        rest = np.empty(0, dtype=object)
        if self.needs_vectors:
            everything = np.asarray(vectors.ids, dtype=object)
            known = pd.Index(heard)
            heard = everything[known.get_indexer(pd.Index(everything)) >= 0]
            rest = everything[known.get_indexer(pd.Index(everything)) < 0]
        if not len(heard):
            raise ValueError("Expected vectors of the train tracks, found none of them; check the ids.")
        self._n_train = len(heard)
        if self.loss == "gbce" and not self.n_negatives < self._n_train:
            raise ValueError(
                f"Expected n_negatives below the number of train tracks, {self._n_train}, found {self.n_negatives}; "
                "use fewer, or the full softmax."
            )
        self._tracks = pd.Index(np.concatenate([heard, rest]))
        inside = train[train["track_id"].isin(heard)]
        self._users = pd.Index(sorted_ids(inside["user_id"]))
        self._plays = cloze.sequences(inside, self._users, pd.Index(heard))

    def _content(self, vectors, kind: str) -> torch.Tensor | None:
        """Scaled vectors in the order of the numbers of tracks."""
        self.scaling_ = kind
        if not self.needs_vectors:
            return None
        rows = pd.Index(np.asarray(vectors.ids, dtype=object)).get_indexer(self._tracks)
        scaler = scalings.fit(vectors.values[rows[: self._n_train]], kind)
        return torch.from_numpy(scaler.transform(vectors.values[rows]))

    def _network(self, content: torch.Tensor | None) -> Network:
        """A network with fresh weights; torch's generators must be seeded."""
        width = self.width or content.shape[1]
        if width % self.heads:
            raise ValueError(f"Expected a width that {self.heads} heads divide, found {width}; change heads or width.")
        ids = self.ids or not self.needs_vectors
        finetuned = self.item_vectors == "finetuned"
        items = ItemVectors(content, self._n_train, self.width, finetuned=finetuned, ids=ids)
        n_scored = len(self._tracks) if self.softmax == "all" else self._n_train
        plays = np.bincount(self._plays.tokens, minlength=n_scored) + 1.0  # a cold track counts as one play
        prior = torch.from_numpy(np.log(plays / plays.mean()).astype(np.float32))
        shape = (width, self.layers, self.heads, self.length)
        return Network(items, *shape, self.dropout, prior, tied=self.head == "tied", positions=self.positions)

    def _train(self, vectors, kind, max_epochs, checkpoint, *, seed, validate, progress, state) -> None:
        """Train one network with one scaling."""
        self._device = device_of(self.device)
        with seeded(seed):
            self._net = self._network(self._content(vectors, kind)).to(self._device)
        trained = [weights for weights in self._net.parameters() if weights.requires_grad]
        optimiser = torch.optim.AdamW(trained, lr=self.lr, weight_decay=self.weight_decay)

        def step_epoch(epoch: int) -> float:
            total, count = 0.0, 0
            rng = np.random.default_rng([seed, epoch])
            with seeded(seed, epoch):
                for loss, n in self._losses(self._plays, rng):
                    optimiser.zero_grad()
                    loss.backward()
                    optimiser.step()
                    total, count = total + float(loss.detach()) * n, count + n
            return total / count

        self.history_ = fit_epochs(
            self._net,
            step_epoch,
            optimiser=optimiser,
            validate=None if validate is None else lambda: validate(self),
            max_epochs=max_epochs,
            patience=self.patience,
            checkpoint=checkpoint,
            progress=progress,
            device=self._device,
            state=f"{state}.{kind}.{max_epochs}",
        )

    def _losses(self, plays: cloze.Sequences, rng: np.random.Generator):
        """Loss and number of masked positions of each batch of an epoch."""
        present = np.flatnonzero(np.diff(plays.starts))
        lengths = np.minimum(np.diff(plays.starts)[present], self.length)
        for rows in cloze.batches(lengths, self.batch_size, rng):
            tokens, held = plays.last(present[rows], self.length)
            masked = cloze.cloze_mask(rng.random(len(tokens)), held, self.mask_share)
            targets, negatives, exponent, left_out = tokens[masked], None, 1.0, None
            if self.exclude_heard and self.loss == "softmax":
                left_out = tuple(self._tensor(found) for found in cloze.others(tokens, held, masked))
            if self.loss == "gbce":
                n = self._net.n_scored
                negatives = self._tensor(cloze.draw_negatives(targets, n, self.n_negatives, rng))
                exponent = cloze.gbce_exponent(self.n_negatives, n, self.calibration)
            with autocast(self._device):
                states = self._net(self._tensor(tokens), self._tensor(masked), self._tensor(held))
                yield self._net.loss(states, self._tensor(targets), negatives, exponent, left_out), len(targets)

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values).to(self._device)

    @torch.no_grad()
    def sequence_loss(self, pairs: pd.DataFrame) -> float:
        """Mean Cloze loss on the sequences of other pairs, with the same masks every time.

        Parameters
        ----------
        pairs : DataFrame
            ``user_id, track_id, timestamp``; users need not be known, tracks outside train are left out.

        Returns
        -------
        float
            In nats. Published early stopping: ``validate=lambda model: -model.sequence_loss(val)``, which sees the
            test month without the history before it.
        """
        users = pd.Index(sorted_ids(pairs["user_id"]))
        plays = cloze.sequences(pairs, users, self._tracks[: self._n_train])
        if not len(plays.tokens):
            raise ValueError("Expected pairs with at least one train track, found none; check the split.")
        found = [(float(loss), n) for loss, n in self._losses(plays, np.random.default_rng(0))]
        return float(np.average([loss for loss, _ in found], weights=[n for _, n in found]))

    @torch.no_grad()
    def profiles(self, users) -> tuple[np.ndarray, np.ndarray]:
        """What the transformer expects after the history of each user known to train.

        Returns
        -------
        users : ndarray of str, shape (n,)
        states : ndarray of float32, shape (n, width)
        """
        users, where = known_users(users, self._users)
        states = np.empty((len(users), self._net.transform.out_features), np.float32)
        room = (self.prediction_length or self.length) - 1
        order = np.argsort(np.diff(self._plays.starts)[where], kind="stable")
        for start in range(0, len(order), PREDICTION_BATCH):
            rows = order[start : start + PREDICTION_BATCH]
            tokens, held = self._plays.last(where[rows], room)
            tokens = np.insert(tokens, np.cumsum(held), 0)  # the mask stands at the end of each history
            masked = np.zeros(len(tokens), bool)
            masked[np.cumsum(held + 1) - 1] = True
            with autocast(self._device):
                found = self._net(self._tensor(tokens), self._tensor(masked), self._tensor(held + 1))
            states[rows] = found.float().cpu().numpy()
        return users, states

    @torch.no_grad()
    def recommend(self, users, k: int, candidates, exclude: pd.DataFrame | None) -> pd.DataFrame:
        """List the candidates that score highest; see `Recommender.recommend`.

        Tracks without a vector are not listed, nor, unless `scores_cold`, tracks outside train.
        """
        users, states = self.profiles(users)
        vectors, biases = (tensor.float().cpu().numpy() for tensor in self._net.scoring())
        vectors = np.column_stack([vectors, biases])  # one product adds the bias on its way
        states = np.column_stack([states, np.ones(len(states), np.float32)])
        tracks = self._tracks[: len(vectors)]
        return rank_products(states, vectors, tracks, users, k, candidates, exclude, resolution=SCORE_STEP)
