import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from worlds import ndcg, pairs, small

from lib.backends.vectors import Vectors
from lib.evaluation.metrics import recommend_and_score, validator
from lib.recommenders import create
from lib.recommenders.hybrid import Hybrid, reconstruction

RNG = np.random.default_rng
QUICK = {"scaling": "none", "width": 8, "max_epochs": 2, "batch_size": 16}


def rows_of(train, ids):
    """x: listeners in ascending order by tracks, 1 where heard."""
    return pd.crosstab(train["user_id"], train["track_id"]).clip(upper=1).reindex(columns=ids, fill_value=0).to_numpy()


# --- the loss


def test_loss_by_hand():
    # tracks a = (1, 0), b = (0.6, 0.8); the listener heard a: x = (1, 0), xAA' = (1, 0.6), less x (0, 0.6): orthogonal
    # to x, so that the distance of the unit rows is 2. Who heard both: (1.6, 1.6) - (1, 1), along x: 0
    a = torch.tensor([[1, 0], [0.6, 0.8]])
    assert reconstruction(a, sparse.csr_array([[1.0, 0]])).item() == pytest.approx(2, abs=1e-5)
    assert reconstruction(a, sparse.csr_array([[1.0, 0], [1, 1]])).item() == pytest.approx(1, abs=1e-5)


def test_loss_and_gradient_equal_those_of_the_written_out_rows():
    rng = RNG(0)
    x = (rng.random((25, 40)) < 0.2).astype(np.float32)
    x[np.arange(25), rng.integers(0, 40, 25)] = 1
    x[3] = np.eye(40)[7]  # a listener of one track
    table = torch.from_numpy(rng.standard_normal((40, 8), dtype=np.float32)).requires_grad_()
    a, rows = torch.nn.functional.normalize(table), torch.from_numpy(x)
    scores = torch.nn.functional.normalize(rows @ a @ a.T - rows)
    written_out = (torch.nn.functional.normalize(rows) - scores).square().sum(1).mean()
    found = reconstruction(a, sparse.csr_array(x))
    assert found.item() == pytest.approx(written_out.item(), abs=1e-5)
    torch.testing.assert_close(
        *(torch.autograd.grad(loss, table, retain_graph=True)[0] for loss in (found, written_out)), atol=1e-5, rtol=1e-4
    )


def test_a_loss_without_anything_to_predict_is_finite():
    table = torch.ones(1, 3, requires_grad=True)
    reconstruction(torch.nn.functional.normalize(table), sparse.csr_array([[1.0]])).backward()
    assert torch.isfinite(table.grad).all()


def test_the_value_stored_for_a_heard_track_does_not_matter():
    a = torch.nn.functional.normalize(torch.randn(6, 3, generator=torch.Generator().manual_seed(0)))
    x = sparse.csr_array([[1.0, 1, 0, 0, 1, 0]])
    assert reconstruction(a, x / 3).item() == reconstruction(a, x).item()


# --- what is listed


@pytest.mark.parametrize("item_vectors", ["frozen", "finetuned", "none"])
def test_scores_are_those_of_the_definition(item_vectors):
    train, vectors = small()
    model = Hybrid(item_vectors=item_vectors, **QUICK).fit(train, vectors, RNG(0))
    ids = np.unique(train["track_id"]) if item_vectors == "none" else vectors.ids
    a, x = model.track_vectors(ids), rows_of(train, ids)
    np.testing.assert_allclose(np.linalg.norm(a, axis=1), 1, rtol=1e-5)
    expected = (x @ a @ a.T - x) / x.sum(axis=1, keepdims=True)
    lists = model.recommend(sorted(set(train["user_id"])), 99, vectors.ids, None)  # heard tracks stay in
    found = lists.pivot(index="user_id", columns="track_id", values="score").to_numpy()
    np.testing.assert_allclose(found, expected, atol=2e-6)
    assert set(lists["track_id"]) == set(ids)


def test_cold_tracks_are_scored_through_their_projected_content():
    train, vectors = small()
    model = Hybrid(item_vectors="finetuned", **QUICK).fit(train, vectors, RNG(0))
    cold = np.setdiff1d(vectors.ids, train["track_id"])
    assert len(cold) >= 5
    with torch.no_grad():
        a = torch.nn.functional.normalize(model._network.tower(torch.tensor(vectors.take(cold))))
    np.testing.assert_allclose(model.track_vectors(cold), a.numpy(), atol=1e-6)
    assert set(model.recommend(["u03"], 50, cold, train)["track_id"]) == set(cold)


def test_without_audio_vectors_are_not_looked_at():
    train, vectors = small()
    options = QUICK | {"item_vectors": "none"}
    model = Hybrid(**options).fit(train, None, RNG(0))
    assert not model.needs_vectors
    with_vectors = Hybrid(**options).fit(train, vectors, RNG(0))
    found, expected = (m.recommend(["u00"], 99, vectors.ids, None) for m in (with_vectors, model))
    pd.testing.assert_frame_equal(found, expected)


def test_cold_tracks_do_not_take_part_in_training_unless_published():
    train, vectors = small()
    other = vectors.values.copy()
    other[~np.isin(vectors.ids, train["track_id"])] *= -3  # cold vectors alone
    changed = Vectors(vectors.ids, other)
    for targets in ("train", "all"):
        models = [Hybrid(targets=targets, **QUICK).fit(train, v, RNG(0)) for v in (vectors, changed)]
        hot = np.unique(train["track_id"])
        lists = [model.recommend(["u00", "u07"], 20, hot, train) for model in models]
        assert lists[0].equals(lists[1]) == (targets == "train")


# --- what is trained


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("item_vectors", ["frozen", "finetuned"])
def test_frozen_is_frozen_and_finetuned_changes(item_vectors, layers):
    train, vectors = small()
    before = vectors.values.copy()
    model = Hybrid(item_vectors=item_vectors, layers=layers, **QUICK).fit(train, vectors, RNG(0))
    table = model._network.table
    np.testing.assert_array_equal(vectors.values, before)  # what was passed in is nobody's to change
    hot = np.isin(vectors.ids, train["track_id"])
    assert table.requires_grad == (item_vectors == "finetuned")
    assert np.array_equal(table.detach().numpy(), before[hot]) == (item_vectors == "frozen")
    if item_vectors == "finetuned":
        assert (np.abs(table.detach().numpy() - before[hot]).max(axis=1) > 0).all()  # every train track was reached
        assert (table.grad != 0).any()
    else:
        assert table.grad is None
    with torch.no_grad():
        a = torch.nn.functional.normalize(model._network.tower(table))
    np.testing.assert_allclose(model.track_vectors(vectors.ids[hot]), a.numpy(), atol=1e-6)  # what is read was trained
    first = next(model._network.tower.parameters())
    assert first.shape == (8, 6)
    assert (first.grad != 0).any()


def test_weight_decay_shrinks():
    train, vectors = small()
    sizes = [
        next(Hybrid(weight_decay=decay, **QUICK).fit(train, vectors, RNG(0))._network.parameters())
        .square()
        .sum()
        .item()
        for decay in (0.0, 5.0)
    ]
    assert sizes[1] < 0.9 * sizes[0]


# --- early stopping


def test_published_validation_rows_are_reconstructed_from_themselves():
    train, vectors = small()
    val = pairs(("u00", "track 01"), ("u00", "track 05"), ("someone else", "track 09"), ("u01", "no vector"))
    model = Hybrid(**QUICK).fit(train, vectors, RNG(0))
    a = model.track_vectors(vectors.ids)
    x = rows_of(val[val["track_id"] != "no vector"], vectors.ids).astype(float)
    scores = x @ a @ a.T - x
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (x, scores)]
    expected = np.square(unit[0] - unit[1]).sum(axis=1).mean()
    assert model.reconstruction_loss(val) == pytest.approx(expected, abs=1e-5)

    published = Hybrid(**QUICK).fit(train, vectors, RNG(0), validate=lambda model: -model.reconstruction_loss(val))
    assert published.history_.frame["validation"].between(-4, 0).all()


# --- the whole


@pytest.mark.parametrize("options", [{}, {"layers": 1}, {"item_vectors": "finetuned"}])
def test_planted_taste_is_found_and_shuffled_vectors_find_nothing(planted, options):
    train, vectors, parts = planted
    options = {"scaling": "standardise", "width": 32, "max_epochs": 20} | options
    fit = {"validate": validator(parts["val"])}
    real = Hybrid(**options).fit(train, vectors, RNG(0), **fit)
    mixed = Vectors(vectors.ids, vectors.values[RNG(1).permutation(len(vectors.ids))])
    shuffled = Hybrid(**options).fit(train, mixed, RNG(0), **fit)
    assert ndcg(real, parts["cold_test"]) > 2 * ndcg(shuffled, parts["cold_test"])


def test_without_audio_it_finds_what_listeners_share(planted):
    train, _, parts = planted
    model = Hybrid(item_vectors="none", width=32).fit(train, None, RNG(0), validate=validator(parts["val"]))
    popular = create("mostpop").fit(train, None, RNG(0))
    assert ndcg(model, parts["hot_test"]) > 2 * ndcg(popular, parts["hot_test"])


def test_scaling_is_chosen_on_validation(planted):
    train, vectors, parts = planted
    options = {"scaling": "auto", "width": 16, "max_epochs": 3}
    model = Hybrid(**options).fit(train, vectors, RNG(0), validate=validator(parts["val"]))
    assert set(model.validation_) == {"none", "centre", "standardise", "whiten"}
    assert model.validation_[model.scaling_] == max(model.validation_.values())
    with pytest.raises(ValueError, match="pass validate="):
        Hybrid(**options).fit(train, vectors, RNG(0))


def test_the_same_seed_gives_the_same_lists(planted):
    train, vectors, parts = planted
    found = []
    for seed in (0, 0, 1):
        model = Hybrid(**QUICK).fit(train, vectors, RNG(seed), validate=validator(parts["val"]))
        found.append(recommend_and_score(model, parts["hot_test"])[0])
    pd.testing.assert_frame_equal(found[0], found[1])
    assert not found[0].equals(found[2])


@pytest.mark.parametrize("options", [{"scaling": "auto"}, {"scaling": "none"}, {"item_vectors": "none"}])
def test_interrupted_and_resumed_is_uninterrupted(planted, tmp_path, monkeypatch, options):
    monkeypatch.setattr("lib.recommenders.training.SAVE_EVERY", 0)
    train, vectors, parts = planted
    validate = validator(parts["val"])
    options = {"width": 16, "max_epochs": 7, "item_vectors": "finetuned"} | options
    whole = Hybrid(**options).fit(train, vectors, RNG(0), validate=validate)
    calls = itertools.count(1)

    def interrupted(model):
        if next(calls) == 4:
            raise KeyboardInterrupt
        return validate(model)

    with pytest.raises(KeyboardInterrupt):
        Hybrid(**options).fit(train, vectors, RNG(0), validate=interrupted, checkpoint=tmp_path)
    resumed = Hybrid(**options).fit(train, vectors, RNG(0), validate=validate, checkpoint=tmp_path)
    task = parts["hot_test"]
    expected, found = (m.recommend(task.users, 10, task.candidates, task.history) for m in (whole, resumed))
    pd.testing.assert_frame_equal(found, expected)
    assert resumed.history_.frame["loss"].tolist() == whole.history_.frame["loss"].tolist()


# --- hostile input


def test_odd_listeners_ids_and_catalogues():
    train, vectors = small()
    more = pairs(("ein Hörer", "track 00"), ("nur kalt", "no vector"), ("日本 ♪", "track 01"), ("日本 ♪", "no vector"))
    train = pd.concat([train, more], ignore_index=True)
    model = Hybrid(**QUICK).fit(train, vectors, RNG(0))
    users = ["ein Hörer", "日本 ♪", "nur kalt", "nobody", "u00"]
    candidates = ["track 02", "track 00", "no vector", "track 39"]
    lists = model.recommend(users, 50, candidates, train[["user_id", "track_id"]])
    # a catalogue below k is listed whole, heard tracks and tracks without a vector are not; without a train track
    # that has a vector there is no list
    assert lists.groupby("user_id").size()[["ein Hörer", "日本 ♪"]].tolist() == [2, 3]
    assert not set(lists["user_id"]) & {"nur kalt", "nobody"}
    assert "no vector" not in set(lists["track_id"])


def test_one_listener_of_one_track():
    _, vectors = small()
    train = pairs(("u", "track 00"))
    for item_vectors, listed in (("frozen", 39), ("none", 0)):
        model = Hybrid(item_vectors=item_vectors, **QUICK).fit(train, vectors, RNG(0))
        assert len(model.recommend(["u"], 99, vectors.ids, train)) == listed


def test_a_vector_that_is_not_finite_is_named():
    train, vectors = small()
    broken = vectors.values.copy()
    broken[7, 2] = np.nan

    class Broken:
        ids, values, dim = vectors.ids, broken, broken.shape[1]

    with pytest.raises(ValueError, match="track 07"):
        Hybrid(**QUICK).fit(train, Broken, RNG(0))
    with pytest.raises(ValueError, match="20_extract_embeddings"):
        Hybrid(**QUICK).fit(train, None, RNG(0))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"item_vectors": "melted"}, "Expected item_vectors among frozen, finetuned, none, found 'melted'"),
        ({"layers": 3}, "Expected layers among 1, 2, found 3"),
        ({"targets": "all", "item_vectors": "none"}, "targets 'train' where item_vectors is 'none'"),
        ({"width": 0}, "Expected width of at least 1"),
        ({"weight_decay": -1.0}, "Expected weight_decay of at least 0"),
        ({"lr": 0.0}, "Expected lr above 0"),
    ],
)
def test_options_that_cannot_be(options, said):
    with pytest.raises(ValueError, match=said):
        Hybrid(**options)


def test_it_is_made_by_its_kind():
    assert create("hybrid", item_vectors="none").options["item_vectors"] == "none"
    with pytest.raises(ValueError, match="Unknown option 'depth'"):
        create("hybrid", depth=2)
