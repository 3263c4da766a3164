"""RecBole's models of sequences behind our contract: what a user hears next, by the order of the train tracks."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import pandas as pd

from lib.recommenders.option_models import check
from lib.recommenders.recbole import files
from lib.recommenders.recbole.models import RecBoleError, Sizes, TrainedModel

TOKEN_BYTES = 300  # of a pair, and of a place in a sequence while RecBole reads its file (measured: 290)


class SequentialModel(TrainedModel):
    """Models of what comes next in a user's tracks, in order of time."""

    _columns = ("user_id", "item_id_list", "item_id")

    def __init__(self, width, layers, heads, dropout, max_length, lr, batch_size, max_epochs, patience, device):
        super().__init__(lr, batch_size, max_epochs, patience, device)
        self.width = width
        self.layers = layers
        self.heads = heads
        self.dropout = dropout
        self.max_length = max_length
        self._sequences: np.ndarray | None = None
        self._lengths: np.ndarray | None = None

    def _options(self):
        return super()._options() | {
            "hidden_size": self.width,
            "inner_size": 4 * self.width,
            "n_layers": self.layers,
            "n_heads": self.heads,
            "hidden_dropout_prob": self.dropout,
            "attn_dropout_prob": self.dropout,
            "MAX_ITEM_LIST_LENGTH": self.max_length,
            "alias_of_item_id": ["item_id_list"],
            "loss_type": "CE",
        }

    def _check(self, train):
        if "timestamp" not in train.columns:
            raise RecBoleError(f"Expected the column timestamp in train, by which {self.kind} orders tracks; add it.")
        super()._check(train)

    def _needed(self, sizes: Sizes, tokens: np.ndarray, places: int) -> float:
        """Bytes of the sequences, and of a batch's scores of all tracks with their softmax and gradient."""
        return TOKEN_BYTES * float(tokens.sum() + sizes.pairs) + 3 * 4.0 * self.batch_size * places * sizes.tracks

    @abstractmethod
    def _rows(self, user: str, history: list) -> list[tuple[str, list, str]]:
        """What is learned from a history."""

    def _write(self, folder, train):
        rows = [row for user, history in files.histories(train).items() for row in self._rows(user, history)]
        if not rows:
            raise RecBoleError(
                f"Expected a user with two train tracks at least, from which {self.kind} learns an order, found none; "
                "use a longer train period."
            )
        files.write_sequences(folder, train, rows)

    def _learn(self, training, loader, seed, train, **how):
        history = files.histories(train)
        self._users = pd.Index(history.index)  # also those with one track
        sequences = [self._place(self._tracks.get_indexer(pd.Index(tracks)) + 1) for tracks in history]
        self._lengths = np.array([len(ids) for ids in sequences])
        self._sequences = np.zeros((len(history), self._lengths.max()), np.int64)
        self._sequences[np.arange(self._lengths.max()) < self._lengths[:, None]] = np.concatenate(sequences)
        super()._learn(training, loader, seed, train, **how)

    def _place(self, ids: np.ndarray) -> np.ndarray:
        """The part of a history a list follows from."""
        return ids[-self.max_length :]

    def _query(self, where):
        return {"item_id_list": self._sequences[where], "item_length": self._lengths[where]}


class SASRec(SequentialModel):
    """Self-attention over what was heard before (Kang and McAuley 2018), with a full softmax over all train tracks.

    RecBole foretells the last track of a row only, so each of a user's latest tracks has a row of its own.

    Parameters
    ----------
    width, layers, heads : int
        Of the transformer.
    dropout : float
    max_length : int
        Latest tracks it looks at.
    targets_per_user : int
        Latest tracks of a user that are foretold, each a row an epoch.
    lr : float
        Of Adam.
    batch_size : int
        Rows a step.
    max_epochs, patience : int
        At most so many epochs, and so many without improvement on validation.
    device : str
    """

    kind = "sasrec"
    _model = "SASRec"

    def __init__(
        self,
        width: int = 64,
        layers: int = 2,
        heads: int = 2,
        dropout: float = 0.5,
        max_length: int = 50,
        targets_per_user: int = 10,
        lr: float = 1e-3,
        batch_size: int = 256,
        max_epochs: int = 100,
        patience: int = 10,
        device: str = "cpu",
    ):
        check(self.kind, {name: value for name, value in locals().items() if name not in ("self", "__class__")})
        super().__init__(width, layers, heads, dropout, max_length, lr, batch_size, max_epochs, patience, device)
        self.targets_per_user = targets_per_user

    def _memory(self, sizes):
        first = np.maximum(1, sizes.heard - self.targets_per_user)
        tokens = _places(sizes.heard - 1, self.max_length) - _places(first - 1, self.max_length)
        return self._needed(sizes, tokens, 1), "the rows", "lower targets_per_user or max_length"

    def _rows(self, user, history):
        return [(user, *row) for row in files.prefixes(history, self.max_length, self.targets_per_user)]


class BERT4Rec(SequentialModel):
    """RecBole's BERT4Rec (Sun et al. 2019), to be compared with ours: one row a user, masked places foretold.

    Parameters
    ----------
    width, layers, heads : int
        Of the transformer.
    dropout : float
    max_length : int
        Latest tracks it looks at, one place of which is the mask when lists are made.
    mask_share : float
        Chance of a place to be masked.
    last_share : float
        Share of the steps in which the last place alone is masked, as in lists.
    lr : float
        Of Adam.
    batch_size : int
        Users a step.
    max_epochs, patience : int
        At most so many epochs, and so many without improvement on validation.
    device : str
    """

    kind = "recbole_bert4rec"
    _model = "BERT4Rec"

    def __init__(
        self,
        width: int = 64,
        layers: int = 2,
        heads: int = 2,
        dropout: float = 0.2,
        max_length: int = 50,
        mask_share: float = 0.2,
        last_share: float = 0.5,
        lr: float = 1e-3,
        batch_size: int = 256,
        max_epochs: int = 200,
        patience: int = 20,
        device: str = "cpu",
    ):
        check(self.kind, {name: value for name, value in locals().items() if name not in ("self", "__class__")})
        super().__init__(width, layers, heads, dropout, max_length, lr, batch_size, max_epochs, patience, device)
        self.mask_share = mask_share
        self.last_share = last_share

    def _options(self):
        own = {"mask_ratio": self.mask_share, "ft_ratio": self.last_share, "transform": "mask_itemseq"}
        return super()._options() | own

    def _memory(self, sizes):
        tokens = np.minimum(sizes.heard, self.max_length)
        needed = self._needed(sizes, tokens, int(self.mask_share * self.max_length))
        return needed, "the softmax over all tracks", "lower batch_size or max_length"

    def _rows(self, user, history):
        # RecBole never foretells the first place, whose number 0 marks padding: one track alone teaches nothing
        return [(user, history[-self.max_length :], history[-1])] if len(history) > 1 else []

    def _learn(self, training, loader, seed, train, **how):
        loss = self._net.calculate_loss

        def guarded(rows):
            """The loss; where chance masked nothing in a batch, 0 in place of RecBole's 0 / 0."""
            if (rows[self._net.MASK_INDEX] > 0).any():
                return loss(rows)
            return 0.0 * self._net.item_embedding.weight.sum()

        self._net.calculate_loss = guarded
        # negatives, which the softmax does not use, are sought for ever where a row holds all tracks
        loader.transform._neg_sample = lambda heard, n_items: 1
        super()._learn(training, loader, seed, train, **how)

    def _place(self, ids):
        # RecBole appends the mask and then drops the first place, even where there is room: give it one to drop
        return np.concatenate([[0], ids[-(self.max_length - 1) :]])


def _places(n: np.ndarray, most: int) -> np.ndarray:
    """Sum of min(p, most) over p = 1 .. n."""
    short = np.minimum(n, most)
    return short * (short + 1) // 2 + (n - short) * most
