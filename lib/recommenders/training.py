"""Training by epochs: early stopping on validation, the best state kept, interrupted trainings taken up again."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lib.study.progress import say
from lib.study.provenance import code_digest
from lib.study.tables import write_atomically

SAVE_EVERY = 30.0  # seconds between two checkpoints: what an interruption may lose, beside the epoch under way
COLUMNS = ["epoch", "loss", "validation", "seconds"]


class TrainingError(ValueError):
    """A training cannot go on; the sentence says why."""


@dataclass(frozen=True)
class History:
    """What a training went through.

    Attributes
    ----------
    frame : DataFrame
        ``epoch`` (from 1), ``loss`` (mean over the epoch), ``validation`` (NaN without), ``seconds`` of the epoch.
    stopped : {'early', 'max_epochs'}
        ``max_epochs``: for want of epochs, not because validation had ceased to improve.
    best_epoch : int
        The epoch whose state the network has now.
    """

    frame: pd.DataFrame
    stopped: str
    best_epoch: int


def device_of(name: str) -> torch.device:
    """A device by its name.

    Parameters
    ----------
    name : {'cpu', 'cuda', 'cuda:1', 'mps', ...}

    Returns
    -------
    torch.device

    Raises
    ------
    TrainingError
        For a name torch does not know, or a device that is not here.

    Examples
    --------
    >>> device_of("cpu").type
    'cpu'
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        raise TrainingError(f"Expected a device such as cpu, cuda or mps, found {name!r}; check params.") from None
    here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not here.get(device.type, False):
        raise TrainingError(f"Expected a device that is here, found {name!r}, which torch cannot see; use cpu.")
    return device


def autocast(device: torch.device) -> contextlib.AbstractContextManager:
    """Context for the forward pass: bfloat16 on CUDA, unchanged elsewhere."""
    if device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return contextlib.nullcontext()


@contextlib.contextmanager
def seeded(*words: int):
    """Inside, torch's generators follow from `words` (seed and epoch, say); afterwards they are as they were.

    Examples
    --------
    >>> with seeded(1, 2):
    ...     first = torch.rand(1)
    >>> with seeded(1, 2):
    ...     bool(torch.rand(1) == first)
    True
    """
    with torch.random.fork_rng():
        torch.manual_seed(int(np.random.SeedSequence(words).generate_state(1)[0]))
        yield


@contextlib.contextmanager
def _deterministic():
    """Inside, torch takes deterministic algorithms where it has them."""
    was, warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # costs time, and nothing reads it
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was, warn_only=warned)
        torch.utils.deterministic.fill_uninitialized_memory = filled


@functools.cache
def _code(module: str) -> str:
    """Digest of the code of a recommender's module, this one and whatever else it imports included."""
    return code_digest([], also=[__name__, module])


def fingerprint(options: dict, seed: int, train: pd.DataFrame, vectors=None, *, module: str = __name__) -> str:
    """Digest of what decides a training, so that no other one is taken up in its place: its code, too.

    Parameters
    ----------
    options : dict
        Kind and options of the recommender; JSON types. On which device is all the same.
    seed : int
    train : DataFrame
        All columns count.
    vectors : Vectors or None
    module : str
        Dotted name of the module that defines the recommender: its code counts, and what it imports.

    Returns
    -------
    str

    Examples
    --------
    >>> frame = pd.DataFrame({"user_id": ["u"], "track_id": ["t"]})
    >>> fingerprint({"width": 8}, 0, frame) == fingerprint({"width": 9}, 0, frame)
    False
    """
    options = {name: value for name, value in options.items() if name != "device"}
    told = [_code(module), options, seed, list(train.columns)]
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    digest.update(pd.util.hash_pandas_object(train, index=False).to_numpy().tobytes())
    if vectors is not None:
        digest.update("\0".join(map(str, vectors.ids)).encode())
        digest.update(np.ascontiguousarray(vectors.values).data)
    return digest.hexdigest()[:16]


def fit_epochs(
    network: torch.nn.Module,
    step_epoch,
    *,
    optimiser: torch.optim.Optimizer,
    validate=None,
    max_epochs: int,
    patience: int,
    checkpoint=None,
    progress=None,
    device: torch.device | str = "cpu",
    state: str = "",
) -> History:
    """Train until validation ceases to improve; the network ends in its best state.

    Parameters
    ----------
    network : torch.nn.Module
        On `device`. Its ``state_dict`` is what is kept: register what never changes with ``persistent=False``.
    step_epoch : callable
        ``step_epoch(epoch) -> float`` trains one epoch (from 1) and returns its mean loss. All its draws come from
        generators seeded by the seed and `epoch` (see `seeded`), so that resuming needs no state of generators.
    optimiser : torch.optim.Optimizer
    validate : callable, optional
        ``validate() -> float``, deterministic, higher is better. Without it, all epochs run and the last is kept.
    max_epochs : int
    patience : int
        Epochs without improvement after which training stops.
    checkpoint : Path, optional
        Folder for the state of the training and its TensorBoard log. Once ended, a training is not repeated.
    progress : callable, optional
        Wraps the epochs to come.
    device : torch.device or str
        Where a checkpoint is read to.
    state : str
        `fingerprint` of the training: the checkpoint of another one is left aside, with a sentence.

    Returns
    -------
    History

    Raises
    ------
    TrainingError
        For max_epochs or patience below 1, or a loss that is not finite.

    Examples
    --------
    >>> net = torch.nn.Linear(1, 1)
    >>> sgd = torch.optim.SGD(net.parameters(), lr=0.1)
    >>> fit_epochs(net, lambda epoch: 1.0, optimiser=sgd, validate=lambda: 0.5, max_epochs=9, patience=2).best_epoch
    1
    """
    run = _Run(network, optimiser, validate is not None, patience, max_epochs)
    file = None if checkpoint is None else Path(checkpoint) / "training.pt"
    run.read(file, state, device)
    with _deterministic():
        run.go(step_epoch, validate, progress, file, state)
    return run.end()


class _Run:
    """The state of one training: network, optimiser, rows so far and the best state."""

    def __init__(self, network, optimiser, validated: bool, patience: int, max_epochs: int):
        if max_epochs < 1 or patience < 1:
            raise TrainingError(f"Expected max_epochs and patience of at least 1, found {max_epochs} and {patience}.")
        self.network, self.optimiser = network, optimiser
        self.validated, self.patience, self.max_epochs = validated, patience, max_epochs
        self.rows: list[list] = []
        self.best: dict = {}
        self.best_epoch = 0
        self.stopped = ""

    def go(self, step_epoch, validate, progress, file: Path | None, state: str) -> None:
        """Train the epochs that are left; what was trained is kept in `file` now and then, and at the end."""
        first = len(self.rows) + 1
        if self.stopped:
            return
        epochs, saved = range(first, self.max_epochs + 1), time.monotonic()
        with _log(file.parent if file is not None else None, first) as log:
            for epoch in progress(epochs) if progress else epochs:
                self.epoch(epoch, step_epoch, validate)
                log(self.rows[-1])
                if file is not None and (self.stopped or time.monotonic() - saved >= SAVE_EVERY):
                    self.write(file, state)
                    saved = time.monotonic()
                if self.stopped:
                    break

    def epoch(self, epoch: int, step_epoch, validate) -> None:
        """Train and validate once; note whether it was the best and whether it was the last."""
        start = time.perf_counter()
        self.network.train()
        loss = float(step_epoch(epoch))
        if not np.isfinite(loss):
            raise TrainingError(f"Expected a finite loss, found {loss} in epoch {epoch}; lower the learning rate.")
        self.network.eval()
        value = float(validate()) if self.validated else float("nan")
        self.rows.append([epoch, loss, value, time.perf_counter() - start])
        if not self.best_epoch or not self.validated or value > self.rows[self.best_epoch - 1][2]:
            self.best_epoch = epoch
            self.best = {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}
        if self.validated and epoch - self.best_epoch >= self.patience:
            self.stopped = "early"
        elif epoch >= self.max_epochs:
            self.stopped = "max_epochs"

    def end(self) -> History:
        """Put the best state into the network, ready to be asked, and tell what the training went through."""
        self.network.load_state_dict(self.best)
        self.network.eval()
        frame = pd.DataFrame(self.rows, columns=COLUMNS)
        return History(frame.astype({"epoch": int}), self.stopped, self.best_epoch)

    def write(self, file: Path, state: str) -> None:
        """Keep everything in one file, so that it is whole or not there: tensors, and JSON as text."""
        told = {"state": state, "rows": self.rows, "best_epoch": self.best_epoch, "stopped": self.stopped}
        tensors = {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict(), "best": self.best}
        with write_atomically(file) as beside:
            torch.save(tensors | {"json": json.dumps(told)}, beside)

    def read(self, file: Path | None, state: str, device) -> None:
        """Go on where a checkpoint of the same training stopped."""
        if file is None or not file.is_file():
            return
        try:
            kept = torch.load(file, map_location=device, weights_only=True)
            told = json.loads(kept["json"])
        except Exception as error:  # torch raises many kinds for a damaged file
            say(f"The checkpoint {file.name} cannot be read ({type(error).__name__}): training starts anew.")
            return
        if told["state"] != state:
            say(f"The checkpoint {file.name} belongs to another training: this one starts anew.")
            return
        self.network.load_state_dict(kept["network"])
        self.optimiser.load_state_dict(kept["optimiser"])
        self.best, self.rows = kept["best"], told["rows"]
        self.best_epoch, self.stopped = told["best_epoch"], told["stopped"]


@contextlib.contextmanager
def _log(folder, first: int):
    """A function that writes one row of the history for TensorBoard, where that is installed and wanted."""
    try:
        if folder is None:
            raise ImportError
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        yield lambda row: None
        return
    if first == 1:
        shutil.rmtree(Path(folder) / "tensorboard", ignore_errors=True)  # of a training that was left aside
    writer = SummaryWriter(str(Path(folder) / "tensorboard"), purge_step=first)

    def write(row) -> None:
        for name, value in zip(COLUMNS[1:], row[1:], strict=True):
            if not np.isnan(value):
                writer.add_scalar(name, value, row[0])

    try:
        yield write
    finally:
        writer.close()
