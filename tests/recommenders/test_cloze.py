"""Sequences, masks and losses of the Cloze task, worked by hand and against torch."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from worlds import plays

from lib.recommenders import cloze

RNG = np.random.default_rng


def test_tracks_stand_by_first_play_and_ties_by_id():
    pairs = plays(("v", "a", 9), ("u", "c", 2), ("u", "b", 2), ("u", "a", 5), ("u", "a", 1), ("u", "x", 0))
    found = cloze.sequences(pairs, pd.Index(["u", "v", "w"]), pd.Index(["a", "b", "c"]))
    assert found.tokens.tolist() == [0, 1, 2, 0]  # u: a on day 1, then b before c; x has no vector
    assert found.starts.tolist() == [0, 3, 4, 4]


def test_the_last_tracks_are_kept_and_the_oldest_dropped():
    found = cloze.Sequences(np.array([4, 3, 2, 1, 0, 9]), np.array([0, 5, 6]))
    tokens, lengths = found.last(np.array([1, 0]), 3)
    assert tokens.tolist() == [9, 2, 1, 0]
    assert lengths.tolist() == [1, 3]


def test_masks_by_hand_and_at_least_one_a_row():
    draws = np.array([0.3, 0.19, 0.6, 0.05, 0.9, 0.8, 0.4])
    assert cloze.cloze_mask(draws, np.array([4, 1, 2]), 0.2).tolist() == [False, True, False, True, True, False, True]


def test_the_share_of_masks_is_the_one_asked_for():
    lengths = np.full(500, 100)
    share = cloze.cloze_mask(RNG(0).random(50_000), lengths, 0.2).mean()
    assert abs(share - 0.2) < 4 * math.sqrt(0.2 * 0.8 / 50_000)


def test_every_row_comes_once_an_epoch_with_rows_of_like_length():
    lengths = RNG(0).integers(1, 50, size=103)
    found = list(cloze.batches(lengths, 10, RNG(1)))
    assert sorted(np.concatenate(found)) == list(range(103))
    assert max(len(rows) for rows in found) == 10
    padded = sum(len(rows) * lengths[rows].max() for rows in found)
    assert padded < 1.25 * lengths.sum()
    again = list(cloze.batches(lengths, 10, RNG(2)))
    assert [list(rows) for rows in again] != [list(rows) for rows in found]


def test_cross_entropy_in_blocks_has_the_gradients_of_torch():
    torch.manual_seed(0)
    states, table = torch.randn(7, 4, requires_grad=True), torch.randn(9, 4, requires_grad=True)
    bias, targets = torch.randn(9, requires_grad=True), torch.randint(9, (7,))
    leaves = (states, table, bias)
    ours = cloze.cross_entropy(targets, bias, states, table, block=3)
    found = torch.autograd.grad(2 * ours, leaves)
    theirs = torch.nn.functional.cross_entropy(states @ table.T + bias, targets)
    for one, other in zip(found, torch.autograd.grad(2 * theirs, leaves), strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(ours, theirs)


def test_what_is_left_out_of_the_softmax_has_no_part_in_loss_and_gradients():
    torch.manual_seed(0)
    states, table = torch.randn(7, 4, requires_grad=True), torch.randn(9, 4, requires_grad=True)
    bias, targets = torch.randn(9, requires_grad=True), torch.zeros(7, dtype=torch.int64)
    left_out = torch.tensor([0, 0, 2, 3, 6]), torch.tensor([1, 2, 8, 3, 5])
    logits = states @ table.T + bias
    lacking = torch.zeros(7, 9, dtype=torch.bool)
    lacking[left_out] = True
    theirs = torch.nn.functional.cross_entropy(logits.masked_fill(lacking, -torch.inf), targets)
    for block in (1, 3, 100):
        ours = cloze.cross_entropy(targets, bias, states, table, left_out=left_out, block=block)
        torch.testing.assert_close(ours, theirs)
        gradients = (torch.autograd.grad(loss, (states, table, bias), retain_graph=True) for loss in (ours, theirs))
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, other)


def test_the_rest_of_a_row_is_left_out_and_no_other_row():
    tokens, lengths = np.array([4, 2, 3, 2, 0]), np.array([3, 2])
    numbers, tracks = cloze.others(tokens, lengths, np.array([False, True, True, False, True]))
    assert list(zip(numbers.tolist(), tracks.tolist(), strict=True)) == [(0, 4), (0, 3), (1, 4), (1, 2), (2, 2)]


def test_gbce_by_hand():
    sigmoid = lambda x: 1 / (1 + math.exp(-x))  # noqa: E731
    expected = -(0.5 * math.log(sigmoid(1.5)) + math.log(1 - sigmoid(0.3)) + math.log(1 - sigmoid(-0.2))) / 3
    assert float(cloze.gbce(torch.tensor([[1.5, 0.3, -0.2]]), 0.5)) == pytest.approx(expected, abs=1e-6)


def test_gbce_exponent_runs_from_one_to_the_sampling_rate():
    assert cloze.gbce_exponent(20, 101, 0.0) == pytest.approx(1)
    assert cloze.gbce_exponent(20, 101, 1.0) == pytest.approx(0.2)
    assert cloze.gbce_exponent(20, 101, 0.75) == pytest.approx(0.4)  # 0.2 (0.75 (1 - 5) + 5)


def test_negatives_are_even_over_all_tracks_but_the_target():
    targets = np.repeat([0, 2, 4], 4000)
    drawn = cloze.draw_negatives(targets, 5, 3, RNG(0))
    assert not (drawn == targets[:, None]).any()
    counts = np.bincount(drawn[targets == 2].ravel(), minlength=5)[[0, 1, 3, 4]]
    assert np.abs(counts - 3000).max() < 4 * math.sqrt(12_000 * 0.25 * 0.75)
