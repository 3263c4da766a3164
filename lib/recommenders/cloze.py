"""Sequences of plays, Cloze masks, and losses over many tracks: what a bidirectional sequence model trains on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from lib.study.ids import positions

BLOCK_LOGITS = 2**25  # logits at one time (128 MB): the loss never holds those of a whole batch
BATCHES_A_BUCKET = 8  # users are sorted by length within this many batches: little padding, yet fresh neighbours


@dataclass(frozen=True)
class Sequences:
    """Tracks of each user by first play, the oldest first, one after another.

    Attributes
    ----------
    tokens : ndarray of int64, shape (n_plays,)
        Positions of tracks in the index they were made with.
    starts : ndarray of int64, shape (n_users + 1,)
        User u has ``tokens[starts[u] : starts[u + 1]]``.
    """

    tokens: np.ndarray
    starts: np.ndarray

    def last(self, users: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
        """The last `length` tracks of some users: flat tokens, and how many each has.

        Examples
        --------
        >>> [a.tolist() for a in Sequences(np.array([7, 8, 9, 5]), np.array([0, 3, 4])).last(np.array([1, 0]), 2)]
        [[5, 8, 9], [1, 2]]
        """
        lengths = np.minimum(self.starts[users + 1] - self.starts[users], length)
        return self.tokens[spread(self.starts[users + 1] - lengths, lengths)], lengths


def spread(first: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """``first[i], first[i] + 1, ...``, `lengths[i]` numbers for each i, flat.

    Examples
    --------
    >>> spread(np.array([4, 0]), np.array([2, 3])).tolist()
    [4, 5, 0, 1, 2]
    """
    return np.repeat(first - (np.cumsum(lengths) - lengths), lengths) + np.arange(lengths.sum())


def sequences(pairs: pd.DataFrame, users: pd.Index, tracks: pd.Index) -> Sequences:
    """Order the tracks of each user by time of first play, ties by ascending track id.

    Parameters
    ----------
    pairs : DataFrame
        ``user_id, track_id, timestamp``; a pair that occurs again counts at its first play.
    users, tracks : pandas.Index of str
        Ascending. Pairs outside are left out.

    Returns
    -------
    Sequences
        One row for each of `users`, empty where a user has no pair.
    """
    rows, columns = positions(pairs["user_id"], users), positions(pairs["track_id"], tracks)
    inside = (rows >= 0) & (columns >= 0)
    rows, columns, times = rows[inside], columns[inside], pairs["timestamp"].to_numpy("datetime64[us]")[inside]
    order = np.lexsort((columns, times, rows))
    rows, columns = rows[order], columns[order]
    _, first = np.unique(rows * len(tracks) + columns, return_index=True)
    first.sort()
    return Sequences(columns[first], np.searchsorted(rows[first], np.arange(len(users) + 1)))


def cloze_mask(draws: np.ndarray, lengths: np.ndarray, share: float) -> np.ndarray:
    """Which positions are hidden: those whose draw is below `share`, and the lowest of each row in any case.

    Parameters
    ----------
    draws : ndarray of float, shape (n,)
        Uniform in [0, 1), the rows one after another.
    lengths : ndarray of int, shape (rows,)
        Positive, sum n.
    share : float

    Returns
    -------
    ndarray of bool, shape (n,)

    Notes
    -----
    Sun et al. (2019), *BERT4Rec*, section 3.6; a row without a hidden position would teach nothing.

    Examples
    --------
    >>> cloze_mask(np.array([0.1, 0.9, 0.8, 0.7]), np.array([2, 2]), 0.2).tolist()
    [True, False, False, True]
    """
    lowest = np.minimum.reduceat(draws, np.cumsum(lengths) - lengths)
    return (draws < share) | (draws == np.repeat(lowest, lengths))


def others(tokens: np.ndarray, lengths: np.ndarray, masked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What else stands in the row of each hidden position.

    Parameters
    ----------
    tokens : ndarray of int64, shape (n,)
        Rows of distinct tracks, one after another.
    lengths : ndarray of int, shape (rows,)
        Sum n.
    masked : ndarray of bool, shape (n,)

    Returns
    -------
    numbers, tracks : ndarray of int64
        Number of the hidden position, counted from 0 and ascending, and a track of its row, hidden or not.

    Examples
    --------
    >>> [found.tolist() for found in others(np.array([7, 8, 9]), np.array([3]), np.array([True, False, True]))]
    [[0, 0, 1, 1], [8, 9, 7, 8]]
    """
    rows = np.repeat(np.arange(len(lengths)), lengths)[masked]
    tracks = tokens[spread((np.cumsum(lengths) - lengths)[rows], lengths[rows])]
    numbers = np.repeat(np.arange(len(rows)), lengths[rows])
    other = tracks != tokens[masked][numbers]
    return numbers[other], tracks[other]


def batches(lengths: np.ndarray, batch_size: int, rng: np.random.Generator):
    """Rows of each batch of an epoch: every row once, in random order, those of like length together.

    Parameters
    ----------
    lengths : ndarray of int, shape (rows,)
    batch_size : int
    rng : numpy.random.Generator

    Yields
    ------
    ndarray of int64
    """
    order = rng.permutation(len(lengths))
    bucket = BATCHES_A_BUCKET * batch_size
    parts = []
    for start in range(0, len(order), bucket):
        rows = order[start : start + bucket]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        parts += [rows[first : first + batch_size] for first in range(0, len(rows), batch_size)]
    for number in rng.permutation(len(parts)):
        yield parts[number]


class _LinearCrossEntropy(torch.autograd.Function):
    """See `cross_entropy`. The gradients are made on the way, from logits that are then given up."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cuda", cast_inputs=torch.float32)
    def forward(ctx, targets, block, left_out, bias, *pairs):
        hidden, tables = pairs[0::2], pairs[1::2]
        wanted = ctx.needs_input_grad[3:]
        grads = [torch.zeros_like(t) if need else None for t, need in zip((bias, *pairs), wanted, strict=True)]
        total = bias.new_zeros(())
        for start in range(0, len(targets), block):
            part, aims = slice(start, start + block), targets[start : start + block, None]
            logits = linear_logits(bias, *(t[part] if at % 2 == 0 else t for at, t in enumerate(pairs)))
            if left_out is not None:
                rows, columns = left_out
                first, last = (int((rows < limit).sum()) for limit in (start, start + block))
                logits[rows[first:last] - start, columns[first:last]] = -torch.inf
            norms = torch.logsumexp(logits, dim=1, keepdim=True)
            total += (norms - logits.gather(1, aims)).sum()
            if not any(wanted):
                continue
            errors = logits.sub_(norms).exp_()  # from here on the gradient by the logits, in the same memory
            errors.scatter_add_(1, aims, torch.full_like(norms, -1.0))
            if wanted[0]:
                grads[0] += errors.sum(dim=0)
            for at, (states, table) in enumerate(zip(hidden, tables, strict=True)):
                if wanted[1 + 2 * at]:
                    torch.mm(errors, table, out=grads[1 + 2 * at][part])
                if wanted[2 + 2 * at]:
                    grads[2 + 2 * at].addmm_(errors.T, states[part])
        ctx.grads = grads
        ctx.count = len(targets)
        return total / len(targets)

    @staticmethod
    @torch.amp.custom_bwd(device_type="cuda")
    def backward(ctx, outer):
        grads, ctx.grads = ctx.grads, None
        return None, None, None, *(None if grad is None else grad.mul_(outer / ctx.count) for grad in grads)


def linear_logits(bias: torch.Tensor, *pairs: torch.Tensor) -> torch.Tensor:
    """``bias + hidden @ table.T``, summed over the pairs ``hidden, table, hidden, table, ...``; shape (n, tracks)."""
    logits = torch.addmm(bias, pairs[0], pairs[1].T)
    for states, table in zip(pairs[2::2], pairs[3::2], strict=True):
        logits = logits.addmm(states, table.T)
    return logits


def cross_entropy(
    targets: torch.Tensor, bias: torch.Tensor, *pairs: torch.Tensor, left_out=None, block: int | None = None
) -> torch.Tensor:
    """Mean cross entropy of a softmax over all tracks, in blocks of rows.

    Parameters
    ----------
    targets : Tensor of int64, shape (n,)
    bias : Tensor, shape (tracks,)
    *pairs : Tensor
        States (n, d) and table (tracks, d) by turns: the logits are those of `linear_logits`.
    left_out : tuple of Tensor, optional
        Row, ascending, and track of what a row's softmax goes without; never a target.
    block : int, optional
        Rows at a time; by default what gives `BLOCK_LOGITS`.

    Returns
    -------
    Tensor
        In nats. The same as of the logits at once, without ever holding them.

    Examples
    --------
    >>> float(cross_entropy(torch.tensor([1]), torch.zeros(2), torch.zeros(1, 3), torch.zeros(2, 3)))
    0.6931471824645996
    """
    block = block or max(1, BLOCK_LOGITS // len(bias))
    return _LinearCrossEntropy.apply(targets, block, left_out, bias, *pairs)


def draw_negatives(targets: np.ndarray, n_tracks: int, n_negatives: int, rng: np.random.Generator) -> np.ndarray:
    """Tracks drawn evenly, with replacement, from all but the target of each row: int64, shape (rows, n_negatives)."""
    drawn = rng.integers(n_tracks - 1, size=(len(targets), n_negatives))
    return drawn + (drawn >= targets[:, None])


def gbce_exponent(n_negatives: int, n_tracks: int, calibration: float) -> float:
    """Power of the positive's probability in gBCE.

    Parameters
    ----------
    n_negatives, n_tracks : int
    calibration : float
        t in [0, 1]: 0 is plain binary cross entropy, 1 undoes the overconfidence that sampling brings.

    Returns
    -------
    float
        ``beta = alpha (t (1 - 1 / alpha) + 1 / alpha)``, where ``alpha = n_negatives / (n_tracks - 1)``.

    Notes
    -----
    Petrov and Macdonald (2023), *gSASRec*, RecSys.

    Examples
    --------
    >>> gbce_exponent(10, 101, 0.0), round(gbce_exponent(10, 101, 1.0), 12)
    (1.0, 0.1)
    """
    alpha = n_negatives / (n_tracks - 1)
    return alpha * (calibration * (1 - 1 / alpha) + 1 / alpha)


def gbce(logits: torch.Tensor, exponent: float) -> torch.Tensor:
    """Mean generalised binary cross entropy: ``-(beta log s(x+) + sum of log(1 - s(x-))) / (negatives + 1)``.

    Parameters
    ----------
    logits : Tensor, shape (n, 1 + negatives)
        The positive first.
    exponent : float
        From `gbce_exponent`.
    """
    losses = exponent * F.softplus(-logits[:, 0]) + F.softplus(logits[:, 1:]).sum(dim=1)
    return losses.mean() / logits.shape[1]
