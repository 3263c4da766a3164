"""Collaborative baselines of RecBole behind our contract: its models and Trainer, our split, validation and lists.

They know the tracks of train only: a cold track is never listed, and a list of cold candidates is empty, which the
evaluator counts as 0.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from lib.recommenders.base import CannotFitError, Recommender, check_train, known_users
from lib.recommenders.option_models import check
from lib.recommenders.ranking import block_size, check_k, rank_blocks
from lib.recommenders.recbole import files
from lib.recommenders.recbole.session import recbole_session, reseed, trainer
from lib.study.ids import sorted_ids

USERS_AT_ONCE = 256  # whose scores for all tracks, or sequences through a transformer, exist at one time
# measured peaks, rounded up: 300,000 pairs, 3 million scores, 8,000 tracks
PAIR_BYTES = 900  # of each pair while RecBole reads its file and keeps a set of tracks a user
GRAPH_BYTES = 400  # of each pair in LightGCN's dictionary and the copies made of it
ENTRY_BYTES = 100  # of a score in ItemKNN's table of Python lists
CELL_BYTES = 38  # of tracks x tracks in EASE: NumPy inverts single precision in double, with copies


class RecBoleError(CannotFitError):
    """RecBole cannot be trained on these data, or not on this machine; the sentence says why and what to do."""


@dataclass(frozen=True)
class Sizes:
    """How much there is to learn from.

    Attributes
    ----------
    users, tracks : int
    heard : ndarray of int, shape (users,)
        Tracks of each user.
    """

    users: int
    tracks: int
    heard: np.ndarray

    @property
    def pairs(self) -> int:
        """User-track pairs."""
        return int(self.heard.sum())


class RecBoleModel(Recommender):
    """What all have in common: files, Config, data set, model, lists."""

    _model = ""  # class in RecBole
    _columns = ("user_id", "item_id")
    # without this, a model that only counts (Pop) would count the negatives it is sent, too
    _negatives: dict | None = None

    def __init__(self):
        self._net = None
        self._users: pd.Index | None = None
        self._tracks: pd.Index | None = None
        self._device = None

    def fit(self, train, vectors, rng, *, validate=None, checkpoint=None, progress=None) -> Recommender:
        """Write the pairs as RecBole's files in a temporary folder and train; see `Recommender.fit`.

        Vectors are not used.

        Raises
        ------
        RecBoleError
            Where the memory available cannot hold what the model needs, or nothing can be learned from the pairs.
        AtomicFileError
            For an id that RecBole's files cannot hold.
        """
        seed = int(rng.integers(2**31))
        check_train(train)
        train = train.drop_duplicates(["user_id", "track_id"])
        self._check(train)
        with tempfile.TemporaryDirectory() as folder, recbole_session(seed):
            self._write(Path(folder), train)
            config = self._configure(folder, seed)
            loader = self._load(config)
            from recbole.utils import get_model

            self._net = get_model(self._model)(config, loader.dataset).to(self._device)
            self._learn(
                trainer(config, self._net),
                loader,
                seed,
                train,
                validate=validate,
                checkpoint=checkpoint,
                progress=progress,
            )
        return self

    def _check(self, train: pd.DataFrame) -> None:
        sizes = Sizes(
            train["user_id"].nunique(), train["track_id"].nunique(), train.groupby("user_id").size().to_numpy()
        )
        needed, what, remedy = self._memory(sizes)
        available = psutil.virtual_memory().available
        if needed > available:
            raise RecBoleError(
                f"Expected {needed / 1e9:,.1f} GB of memory for {what} of {self.kind} at {sizes.users:,} users, "
                f"{sizes.tracks:,} tracks and {sizes.pairs:,} pairs, found {available / 1e9:,.1f} GB; {remedy}."
            )

    def _memory(self, sizes: Sizes) -> tuple[float, str, str]:
        """Bytes needed, for what, and what to do where they are not there."""
        return PAIR_BYTES * sizes.pairs, "the pairs", "use a smaller sample"

    def _write(self, folder: Path, train: pd.DataFrame) -> None:
        files.write_pairs(folder, train)

    def _options(self) -> dict:
        """Options under RecBole's names."""
        return {}

    def _configure(self, folder: str, seed: int):
        import torch
        from recbole.config import Config

        config = Config(
            model=self._model,
            dataset=files.NAME,
            config_dict={
                "data_path": folder,
                "checkpoint_dir": str(Path(folder) / "saved"),
                "benchmark_filename": ["train"],  # split already
                "load_col": {"inter": list(self._columns), "item": ["item_id"]},
                "train_neg_sample_args": self._negatives and dict(self._negatives),  # Config adds to it
                "seed": seed,
                "gpu_id": "",  # the device is set below, by the name everything here goes by
                "show_progress": False,
            }
            | self._options(),
        )
        self._device = torch.device("cpu")
        config["device"] = self._device
        return config

    def _load(self, config):
        """RecBole's loader of train; those of validation and test, 23 GB at full scale, are not made."""
        from recbole.data import create_dataset
        from recbole.data.utils import get_dataloader
        from recbole.sampler import Sampler

        dataset = create_dataset(config)
        self._tracks = pd.Index(files.decode(dataset.field2id_token["item_id"][1:]))
        self._users = pd.Index(files.decode(dataset.field2id_token["user_id"][1:]))
        (built,) = dataset.build()
        sampler = Sampler(["train"], [built], "uniform").set_phase("train") if self._negatives else None
        return get_dataloader(config, "train")(config, built, sampler, shuffle=True)

    def _learn(self, training, loader, seed, train, *, validate, checkpoint, progress) -> None:
        """One pass over the pairs: all that models without gradients need."""
        training._train_epoch(loader, 0)

    def recommend(self, users, k: int, candidates, exclude: pd.DataFrame | None) -> pd.DataFrame:
        """List the best candidates among the train tracks; see `Recommender.recommend`."""
        check_k(k)
        users, where = known_users(users, self._users)
        candidates = sorted_ids(candidates)
        columns = self._tracks.get_indexer(pd.Index(candidates))
        candidates, columns = candidates[columns >= 0], columns[columns >= 0] + 1  # RecBole's 0 is padding

        # one buffer for all blocks, and `take` into it: indexing would cost more than the product
        buffer = np.empty((min(len(users), block_size(len(candidates))), len(candidates)), np.float32)

        def score(start: int, stop: int) -> np.ndarray:
            scores = buffer[: stop - start]
            for first in range(start, stop, USERS_AT_ONCE):
                some = where[first : min(first + USERS_AT_ONCE, stop)]
                self._predict(some).take(columns, axis=1, out=scores[first - start :][: len(some)], mode="clip")
            return scores

        return rank_blocks(score, users, candidates, k, exclude)

    def _predict(self, where: np.ndarray) -> np.ndarray:
        """Scores of all tracks, RecBole's padding first, for users by their position; shape (users, tracks + 1)."""
        import torch
        from recbole.data.interaction import Interaction

        asked = {name: torch.from_numpy(values) for name, values in self._query(where).items()}
        self._net.eval()
        with torch.no_grad():
            scores = self._net.full_sort_predict(Interaction(asked).to(self._device))
        return scores.reshape(len(where), -1).cpu().numpy().astype(np.float32, copy=False)

    def _query(self, where: np.ndarray) -> dict:
        return {"user_id": where + 1}


class Pop(RecBoleModel):
    """The most heard tracks: the lists of `MostPop`, by RecBole's Pop."""

    kind = "pop"
    _model = "Pop"

    def _learn(self, training, loader, seed, train, **how):
        import torch

        def count(rows):
            """RecBole's own counts a track once a batch, however often it is there (its issue 2198)."""
            self._net.item_cnt += torch.bincount(rows["item_id"], minlength=self._net.n_items)[:, None]
            self._net.max_cnt = self._net.item_cnt.max()
            return self._net.fake_loss.sum()

        self._net.calculate_loss = count
        super()._learn(training, loader, seed, train, **how)


class RecBoleItemKNN(RecBoleModel):
    """Summed similarities of items (Aiolli 2013), to be compared with our `ItemKNN`, whose formula it shares.

    Equal similarities at the edge of a neighbourhood are resolved by chance here, by id there.

    Parameters
    ----------
    neighbours : int
        Nearest tracks kept for each track.
    shrinkage : float
        Added to the denominator of the cosine; >= 0.
    """

    kind = "recbole_itemknn"
    _model = "ItemKNN"

    def __init__(self, neighbours: int = 100, shrinkage: float = 10.0):
        check(self.kind, {"neighbours": neighbours, "shrinkage": shrinkage})
        super().__init__()
        self.neighbours = neighbours
        self.shrinkage = shrinkage

    def _options(self) -> dict:
        return {"k": self.neighbours, "shrink": float(self.shrinkage)}

    def _memory(self, sizes):
        scores = np.minimum(sizes.heard * self.neighbours, sizes.tracks).sum()
        needed = PAIR_BYTES * sizes.pairs + ENTRY_BYTES * float(scores)
        return needed, "the scores of every user", "use kind itemknn, which keeps none"


class EASE(RecBoleModel):
    """Embarrassingly shallow autoencoder (Steck 2019): ridge regression of every track on all others.

    Parameters
    ----------
    l2 : float
        Weight of the squared coefficients; > 0.
    """

    kind = "ease"
    _model = "EASE"

    def __init__(self, l2: float = 250.0):
        check(self.kind, {"l2": l2})
        super().__init__()
        self.l2 = l2

    def _options(self) -> dict:
        return {"reg_weight": float(self.l2)}

    def _memory(self, sizes):
        needed = PAIR_BYTES * sizes.pairs + CELL_BYTES * float(sizes.tracks) ** 2
        return needed, "the inverse of tracks x tracks", "use fewer tracks, or kind itemknn"


class TrainedModel(RecBoleModel):
    """Models trained by gradient, epoch by epoch, until validation ceases to improve.

    Attributes
    ----------
    history_ : lib.recommenders.training.History
        Loss and validation of each epoch, and why training stopped.
    """

    def __init__(self, lr, batch_size, max_epochs, patience, device):
        super().__init__()
        self.lr = lr
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience
        self.device = device
        self.history_ = None

    def _options(self) -> dict:
        return {"learning_rate": self.lr, "train_batch_size": self.batch_size}

    def _configure(self, folder, seed):
        from lib.recommenders.training import device_of

        config = super()._configure(folder, seed)
        self._device = device_of(self.device)
        config["device"] = self._device
        return config

    def _learn(self, training, loader, seed, train, *, validate, checkpoint, progress):
        from lib.recommenders.training import fingerprint, fit_epochs

        def step(epoch: int) -> float:
            word = int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
            reseed(word)
            loader.generator.manual_seed(word)
            return training._train_epoch(loader, epoch) / len(loader)

        options = {name: value for name, value in vars(self).items() if not name.startswith("_") and name[-1] != "_"}
        self.history_ = fit_epochs(
            self._net,
            step,
            optimiser=training.optimizer,
            validate=None if validate is None else lambda: validate(self),
            max_epochs=self.max_epochs,
            patience=self.patience,
            checkpoint=checkpoint,
            progress=progress,
            device=self._device,
            state=fingerprint({"kind": self.kind} | options, seed, train, module=type(self).__module__),
        )


class BPR(TrainedModel):
    """Matrix factorisation by Bayesian personalised ranking (Rendle et al. 2009): one negative a pair and epoch.

    Parameters
    ----------
    width : int
        Dimensions of the learned vectors.
    lr, weight_decay : float
        Of Adam.
    batch_size : int
        Pairs a step.
    max_epochs, patience : int
        At most so many epochs, and so many without improvement on validation.
    device : str
    """

    kind = "bpr"
    _model = "BPR"
    _negatives = {"distribution": "uniform", "sample_num": 1}  # noqa: RUF012 - read only

    def __init__(
        self,
        width: int = 64,
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        batch_size: int = 2048,
        max_epochs: int = 200,
        patience: int = 10,
        device: str = "cpu",
    ):
        check(self.kind, {name: value for name, value in locals().items() if name not in ("self", "__class__")})
        super().__init__(lr, batch_size, max_epochs, patience, device)
        self.width = width
        self.weight_decay = weight_decay

    def _options(self):
        return super()._options() | {"embedding_size": self.width, "weight_decay": self.weight_decay}

    def _check(self, train):
        _check_negatives(self.kind, train)
        super()._check(train)


class LightGCN(TrainedModel):
    """Light graph convolution over listeners and tracks (He et al. 2020), with BPR's loss and negatives.

    Parameters
    ----------
    width : int
        Dimensions of the learned vectors.
    layers : int
        Steps over the graph.
    l2 : float
        Weight of the squared vectors in the loss.
    lr : float
        Of Adam.
    batch_size : int
        Pairs a step; each step passes over the whole graph.
    max_epochs, patience : int
        At most so many epochs, and so many without improvement on validation.
    device : str
    """

    kind = "lightgcn"
    _model = "LightGCN"
    _negatives = {"distribution": "uniform", "sample_num": 1}  # noqa: RUF012 - read only

    def __init__(
        self,
        width: int = 64,
        layers: int = 2,
        l2: float = 1e-5,
        lr: float = 1e-3,
        batch_size: int = 2048,
        max_epochs: int = 200,
        patience: int = 10,
        device: str = "cpu",
    ):
        check(self.kind, {name: value for name, value in locals().items() if name not in ("self", "__class__")})
        super().__init__(lr, batch_size, max_epochs, patience, device)
        self.width = width
        self.layers = layers
        self.l2 = l2

    def _options(self):
        own = {"embedding_size": self.width, "n_layers": self.layers, "reg_weight": float(self.l2)}
        return super()._options() | own

    def _check(self, train):
        _check_negatives(self.kind, train)
        super()._check(train)

    def _memory(self, sizes):
        return (PAIR_BYTES + GRAPH_BYTES) * sizes.pairs, "the graph", "use a smaller sample, or kind bpr"

    def _learn(self, training, loader, seed, train, **how):
        super()._learn(training, loader, seed, train, **how)
        # RecBole keeps the vectors of its last validation, which need not be those of the best epoch
        self._net.load_other_parameter({"restore_user_e": None, "restore_item_e": None})


def _check_negatives(kind: str, train: pd.DataFrame) -> None:
    """Refuse a user who heard all tracks: RecBole would look for one that was not."""
    heard, tracks = train.groupby("user_id").size(), train["track_id"].nunique()
    if heard.max() == tracks:
        raise RecBoleError(
            f"Expected users with a track they did not hear, which {kind} draws, found {heard.idxmax()!r} with all "
            f"{tracks}; leave such users out of train."
        )
