import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from worlds import ndcg, pairs, small

from lib.backends.vectors import Vectors
from lib.evaluation.metrics import validator
from lib.recommenders import create, shallow_net, training
from lib.recommenders import pairs as pairs_module
from lib.recommenders.pairs import Batch, Pairs
from lib.recommenders.shallow_net import Network, ShallowNet, pair_cosines

RNG = np.random.default_rng
QUICK = {"scaling": "none", "width": 8, "max_epochs": 2, "batch_size": 64}
DRAWS = {"n_negatives": 4, "batch_size": 100, "exclude_positives": True}


def network(users, items, **options):
    options = {"anchor": "user", "user_vectors": "frozen", "item_vectors": "frozen", "width": "native"} | options
    return Network(np.array(users, np.float32), np.array(items, np.float32), options)


def identity(users, items, **options):
    """A network whose layer changes nothing, so that losses can be worked out by hand."""
    made = network(users, items, **options)
    with torch.no_grad():
        made.layer.weight.copy_(torch.eye(len(made.layer.bias)))
        made.layer.bias.zero_()
    return made


# --- the loss


def test_loss_by_hand():
    # listener (1, 0); tracks a = (1, 0), b = (0, 1), c = (1, 1), d = (-1, 0), which ReLU turns to nought
    made = identity([[1, 0]], [[1, 0], [0, 1], [1, 1], [-1, 0]])
    batch = Batch.of(np.array([0, 0]), np.array([[0, 1, 2], [1, 0, 3]]), np.array([1, 3], np.float32), 4)
    root = 1 / np.sqrt(2)
    first = (max(0, 0.2 - 1 + 0) + max(0, 0.2 - 1 + root)) / 2
    second = (max(0, 0.2 - 0 + 1) + max(0, 0.2 - 0 + 0)) / 2
    assert made.loss(batch, 0.2).item() == pytest.approx((first + 3 * second) / 2, abs=1e-6)


@pytest.mark.parametrize("dense_below", [0, 10**9])
@pytest.mark.parametrize("anchor", ["user", "item"])
def test_loss_and_gradients_equal_a_projection_for_each_pair(monkeypatch, dense_below, anchor):
    monkeypatch.setattr(shallow_net, "DENSE_BELOW", dense_below)
    monkeypatch.setattr(shallow_net, "PAIRS_AT_ONCE", 300)  # several blocks
    rng = RNG(1)
    users, items = rng.standard_normal((20, 6)), rng.standard_normal((30, 6))
    made = network(users, items, anchor=anchor, user_vectors="trainable", item_vectors="finetuned", width=5)
    n_anchors, n_others = (20, 30) if anchor == "user" else (30, 20)
    anchors, columns = rng.integers(0, n_anchors, 70), rng.integers(0, n_others, (70, 5))
    weights = rng.random(70).astype(np.float32)
    loss = made.loss(Batch.of(anchors, columns, weights, n_others), 0.2)
    parameters = list(made.parameters())
    ours = torch.autograd.grad(loss, parameters)

    tables = (made.users, made.items) if anchor == "user" else (made.items, made.users)
    total = 0
    for pair, anchor_row in enumerate(anchors):
        for negative in columns[pair, 1:]:
            rows = (tables[0][anchor_row], tables[1][columns[pair, 0]], tables[1][negative])
            a, p, n = (torch.relu(made.layer.weight @ row + made.layer.bias) for row in rows)
            cosine = torch.nn.functional.cosine_similarity
            total = total + weights[pair] * torch.clamp(0.2 - cosine(a, p, 0) + cosine(a, n, 0), min=0)
    oracle = total / (70 * 4)
    assert loss.item() == pytest.approx(oracle.item(), abs=1e-5)
    for mine, theirs in zip(ours, torch.autograd.grad(oracle, parameters), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)


def test_where_there_are_no_sparse_products_gradients_are_the_same(monkeypatch):
    monkeypatch.setattr(shallow_net, "DENSE_BELOW", 0)
    anchors, others = (torch.from_numpy(RNG(n).standard_normal((n, 4), np.float32)).requires_grad_() for n in (5, 9))
    rows, columns = torch.tensor([0, 1, 1, 4]), torch.from_numpy(RNG(0).integers(0, 9, (4, 3)))
    found = []
    for devices in (("cpu",), ()):
        monkeypatch.setattr(shallow_net, "SPARSE_DEVICES", devices)
        loss = pair_cosines(anchors, others, rows, columns).square().sum()
        found.append(torch.cat(torch.autograd.grad(loss, (anchors, others))))
    torch.testing.assert_close(*found)


def test_gathered_cosines_are_those_of_torch():
    rng = torch.Generator().manual_seed(0)
    anchors, others = (torch.randn(n, 4, generator=rng, dtype=torch.float64) for n in (5, 60))
    rows, columns = torch.tensor([0, 1, 1, 4]), torch.randint(60, (4, 3), generator=rng)
    assert len(anchors) * len(others) > shallow_net.DENSE_BELOW * columns.numel()  # gathered
    exact = torch.nn.functional.cosine_similarity(anchors[rows][:, None], others[columns], dim=2)
    torch.testing.assert_close(pair_cosines(anchors.float(), others.float(), rows, columns), exact.float())


def test_a_vector_of_noughts_has_cosine_and_gradient_0(monkeypatch):
    monkeypatch.setattr(shallow_net, "DENSE_BELOW", 0)
    anchors = torch.zeros(1, 3, requires_grad=True)
    cosines = pair_cosines(anchors, torch.eye(3), torch.tensor([0]), torch.tensor([[0, 1]]))
    cosines.sum().backward()
    assert not cosines.any()
    assert not anchors.grad.any()


# --- negatives


@pytest.mark.parametrize("table_below", [0, 10**6])
def test_negatives_are_uniform_over_what_the_anchor_does_not_know(monkeypatch, table_below):
    monkeypatch.setattr(pairs_module, "TABLE_BELOW", table_below)
    known = {0: [0, 1, 9], 1: [4], 2: [2, 3, 5, 6, 7, 8, 9]}
    anchors = np.array([a for a, ps in known.items() for _ in ps])
    positives = np.array([p for ps in known.values() for p in ps])
    order = RNG(0).permutation(len(anchors))
    made = Pairs(anchors[order], positives[order], np.ones(len(anchors), np.float32), (3, 10), DRAWS)
    for anchor, positive in known.items():
        drawn = made.negatives(np.full(5000, anchor), RNG(1)).ravel()
        counts = np.bincount(drawn, minlength=10)
        assert not counts[positive].any()
        left = np.delete(counts, positive)
        assert np.abs(left / len(drawn) - 1 / len(left)).max() < 5 * np.sqrt(1 / len(left) / len(drawn))


def test_table_and_search_draw_the_same(monkeypatch):
    rng = RNG(3)
    anchors, positives = np.divmod(np.unique(rng.integers(0, 20 * 50, 300)), 50)
    weights = np.ones(len(anchors), np.float32)
    by_table = Pairs(anchors, positives, weights, (20, 50), DRAWS).negatives(anchors, RNG(0))
    monkeypatch.setattr(pairs_module, "TABLE_BELOW", 0)
    np.testing.assert_array_equal(
        by_table, Pairs(anchors, positives, weights, (20, 50), DRAWS).negatives(anchors, RNG(0))
    )


def test_published_negatives_may_be_positives_and_cover_the_real_range():
    weights = np.ones(2, np.float32)
    options = DRAWS | {"exclude_positives": False}
    drawn = Pairs(np.array([0, 0]), np.array([0, 1]), weights, (1, 20), options).negatives(np.zeros(500, int), RNG(0))
    assert set(drawn.ravel()) == set(range(20))


def test_an_epoch_holds_every_pair_once_with_its_weight():
    anchors, positives = np.divmod(np.unique(RNG(0).integers(0, 30 * 40, 250)), 40)
    made = Pairs(anchors, positives, np.arange(len(anchors), dtype=np.float32), (30, 40), DRAWS)
    found = []
    for batch in made.batches(RNG(5)):
        assert (np.diff(batch.rows) >= 0).all()
        assert len(batch.rows) <= 100
        found += zip(batch.anchors[batch.rows], batch.others[batch.columns[:, 0]], batch.weights, strict=True)
    assert sorted(found) == list(zip(anchors, positives, np.arange(len(anchors)), strict=True))


# --- what is trained


@pytest.mark.parametrize("user_vectors", ["trainable", "frozen"])
@pytest.mark.parametrize("item_vectors", ["frozen", "finetuned"])
def test_frozen_is_frozen_and_finetuned_changes(user_vectors, item_vectors):
    train, vectors = small()
    before = vectors.values.copy()
    model = ShallowNet(user_vectors=user_vectors, item_vectors=item_vectors, **QUICK).fit(train, vectors, RNG(0))
    items, users = model._network.items, model._network.users
    assert users.requires_grad == (user_vectors == "trainable")
    assert items.requires_grad == (item_vectors == "finetuned")
    np.testing.assert_array_equal(vectors.values, before)  # what was passed in is nobody's to change
    hot = np.isin(vectors.ids, train["track_id"])
    means = np.stack([vectors.take(part["track_id"]).mean(axis=0) for _, part in train.groupby("user_id")])
    assert np.array_equal(items.detach().numpy(), before[hot]) == (item_vectors == "frozen")
    assert np.allclose(users.detach().numpy(), means, atol=1e-6) == (user_vectors == "frozen")
    if item_vectors == "finetuned":
        assert (np.abs(items.detach().numpy() - before[hot]).max(axis=1) > 0).all()  # every train track was reached
    else:
        assert items.grad is None
    assert (model._network.layer.weight.grad != 0).any()


def test_cold_tracks_are_scored_through_their_content_vector():
    train, vectors = small()
    model = ShallowNet(item_vectors="finetuned", **QUICK).fit(train, vectors, RNG(0))
    cold = np.setdiff1d(vectors.ids, train["track_id"])
    assert len(cold) >= 5
    lists = model.recommend(["u03"], 50, cold, train)
    assert sorted(lists["track_id"]) == sorted(cold)
    layer = model._network.layer
    with torch.no_grad():
        item = torch.relu(layer(torch.from_numpy(vectors.take(lists["track_id"]))))
        user = torch.relu(layer(model._network.users[3]))
        expected = torch.nn.functional.cosine_similarity(user[None], item).numpy()
    np.testing.assert_allclose(lists["score"], expected, atol=2e-6)
    assert lists["score"].is_monotonic_decreasing


def test_without_audio_only_train_tracks_are_listed():
    train, vectors = small()
    options = QUICK | {"item_vectors": "none"}
    model = ShallowNet(**options).fit(train, None, RNG(0))
    assert not model.needs_vectors
    listed = model.recommend(["u00"], 99, vectors.ids, None)["track_id"]
    assert set(listed) == set(train["track_id"])
    assert model._network.items.requires_grad
    with_vectors = ShallowNet(**options).fit(train, vectors, RNG(0)).recommend(["u00"], 99, vectors.ids, None)
    assert with_vectors["track_id"].tolist() == listed.tolist()  # they are not looked at


def test_random_listeners_begin_elsewhere():
    train, vectors = small()
    mean, random = (
        ShallowNet(user_init=how, user_vectors="frozen", **QUICK).fit(train, vectors, RNG(0))._network.users
        for how in ("mean", "random")
    )
    assert mean.shape == random.shape
    assert not torch.allclose(mean, random)


def test_count_weighting_is_the_published_confidence():
    train = pairs(("u", "a", 1), ("u", "b", 9), ("v", "c", 2))
    tracks = pd.Index(["a", "b", "c"])
    options = {"weighting": "count", "anchor": "user"} | DRAWS
    _, made = shallow_net._indexed(train, pd.Index(["u", "v"]), tracks, options)
    np.testing.assert_allclose(made.weights, 1 + 2 * np.log([2, 10, 3]), rtol=1e-6)
    _, made = shallow_net._indexed(train, pd.Index(["u", "v"]), tracks, options | {"weighting": "uniform"})
    assert (made.weights == 1).all()


def test_l2_is_the_gradient_of_the_sum_of_squares():
    train, vectors = small()
    sizes = []
    for l2 in (0.0, 0.1):
        model = ShallowNet(l2=l2, **QUICK | {"max_epochs": 10}).fit(train, vectors, RNG(0))
        sizes.append(model._network.layer.weight.square().sum().item())
    assert sizes[1] < 0.8 * sizes[0]


# --- the whole


@pytest.mark.parametrize("options", [{}, {"anchor": "item"}, {"item_vectors": "finetuned"}, {"user_vectors": "frozen"}])
def test_planted_taste_is_found_and_shuffled_vectors_find_nothing(planted, options):
    train, vectors, parts = planted
    options = {"scaling": "standardise", "width": 32, "max_epochs": 12, "batch_size": 256, "lr": 3e-3} | options
    fit = {"validate": validator(parts["val"])}
    real = ShallowNet(**options).fit(train, vectors, RNG(0), **fit)
    mixed = Vectors(vectors.ids, vectors.values[RNG(1).permutation(len(vectors.ids))])
    shuffled = ShallowNet(**options).fit(train, mixed, RNG(0), **fit)
    assert ndcg(real, parts["cold_test"]) > 2 * ndcg(shuffled, parts["cold_test"])
    assert ndcg(real, parts["hot_test"]) > 1.2 * ndcg(shuffled, parts["hot_test"])


def test_scaling_is_chosen_on_validation(planted):
    train, vectors, parts = planted
    options = {"scaling": "auto", "width": 16, "max_epochs": 3, "batch_size": 256}
    model = ShallowNet(**options).fit(train, vectors, RNG(0), validate=validator(parts["val"]))
    assert set(model.validation_) == {"none", "centre", "standardise", "whiten"}
    assert model.validation_[model.scaling_] == max(model.validation_.values())
    with pytest.raises(ValueError, match="pass validate="):
        ShallowNet(**options).fit(train, vectors, RNG(0))


def test_same_seed_same_lists_and_another_seed_others():
    train, vectors = small()
    users = train["user_id"].unique()
    first, again, other = (
        ShallowNet(**QUICK).fit(train, vectors, RNG(seed)).recommend(users, 10, vectors.ids, train)
        for seed in (0, 0, 1)
    )
    pd.testing.assert_frame_equal(first, again)
    assert not first["track_id"].equals(other["track_id"])


@pytest.mark.parametrize("scaling", ["standardise", "auto"])
def test_interrupted_and_resumed_gives_the_same_lists(planted, tmp_path, monkeypatch, scaling):
    monkeypatch.setattr(training, "SAVE_EVERY", 0.0)
    train, vectors, parts = planted
    validate = validator(parts["val"])
    options = {"scaling": scaling, "width": 16, "max_epochs": 7, "item_vectors": "finetuned", "batch_size": 512}
    whole = ShallowNet(**options).fit(train, vectors, RNG(0), validate=validate)
    calls = itertools.count(1)

    def interrupted(model):
        if next(calls) == 4:
            raise KeyboardInterrupt
        return validate(model)

    with pytest.raises(KeyboardInterrupt):
        ShallowNet(**options).fit(train, vectors, RNG(0), validate=interrupted, checkpoint=tmp_path)
    resumed = ShallowNet(**options).fit(train, vectors, RNG(0), validate=validate, checkpoint=tmp_path)
    task = parts["hot_test"]
    expected, found = (m.recommend(task.users, 10, task.candidates, task.history) for m in (whole, resumed))
    pd.testing.assert_frame_equal(found, expected)
    assert resumed.scaling_ == whole.scaling_
    assert resumed.history_.frame["loss"].tolist() == whole.history_.frame["loss"].tolist()


# --- hostile input


def test_odd_listeners_ids_and_catalogues():
    train, vectors = small()
    more = pairs(("ein Hörer", "track 00"), ("nur kalt", "no vector"), ("日本 ♪", "track 01"), ("日本 ♪", "no vector"))
    train = pd.concat([train, more], ignore_index=True)
    model = ShallowNet(user_vectors="frozen", **QUICK).fit(train, vectors, RNG(0))
    users = ["ein Hörer", "日本 ♪", "nur kalt", "nobody", "u00"]
    candidates = ["track 02", "track 00", "no vector", "track 39"]
    lists = model.recommend(users, 50, candidates, train[["user_id", "track_id"]])
    # a catalogue below k is listed whole, heard tracks and tracks without a vector are not; without a train track
    # that has a vector there is no list
    assert lists.groupby("user_id").size()[["ein Hörer", "日本 ♪"]].tolist() == [2, 3]
    assert not set(lists["user_id"]) & {"nur kalt", "nobody"}
    assert "no vector" not in set(lists["track_id"])
    row = list(model._users).index("ein Hörer")  # one track: its vector
    np.testing.assert_array_equal(model._network.users[row].numpy(), vectors.take(["track 00"])[0])


def test_one_listener_is_a_sentence_and_two_work():
    _, vectors = small()
    one = pairs(("u", "track 00"), ("u", "track 01"))
    for anchor in ("user", "item"):
        with pytest.raises(ValueError, match="can be drawn, found that every listener"):
            ShallowNet(anchor=anchor, **QUICK).fit(one, vectors, RNG(0))
    two = pd.concat([one, pairs(("v", "track 02"))], ignore_index=True)
    for anchor in ("user", "item"):
        model = ShallowNet(anchor=anchor, **QUICK).fit(two, vectors, RNG(0))
        assert len(model.recommend(["u", "v"], 5, vectors.ids, two)) == 10


def test_a_listener_of_everything_is_passed_over_in_training():
    _, vectors = small()
    train = pairs(*(("all", f"track {n:02d}") for n in range(4)), ("some", "track 00"), ("some", "track 00"))
    model = ShallowNet(**QUICK).fit(train, vectors, RNG(0))
    assert set(model.recommend(["all", "some"], 5, vectors.ids, train)["user_id"]) == {"all", "some"}


def test_a_vector_that_is_not_finite_is_named():
    train, vectors = small()
    broken = vectors.values.copy()
    broken[7, 2] = np.nan

    class Broken:
        ids, values, dim = vectors.ids, broken, broken.shape[1]

    with pytest.raises(ValueError, match="track 07"):
        ShallowNet(**QUICK).fit(train, Broken, RNG(0))
    with pytest.raises(ValueError, match="20_extract_embeddings"):
        ShallowNet(**QUICK).fit(train, None, RNG(0))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"anchor": "pair"}, "Expected anchor among user, item, found 'pair'"),
        ({"item_vectors": "melted"}, "Expected item_vectors among"),
        ({"width": 0}, "Expected width of at least 1"),
        ({"width": "native", "item_vectors": "none"}, "where there are no vectors"),
        ({"n_negatives": 0}, "Expected n_negatives of at least 1"),
        ({"l2": -1.0}, "Expected l2 of at least 0"),
        ({"lr": 0.0}, "Expected lr above 0"),
    ],
)
def test_options_that_cannot_be(options, said):
    with pytest.raises(ValueError, match=said):
        ShallowNet(**options)


def test_the_published_configuration_is_nameable():
    train, vectors = small()
    published = ShallowNet(
        anchor="item", user_vectors="frozen", item_vectors="finetuned", exclude_positives=False, width="native",
        scaling="none", max_epochs=2,
    ).fit(train, vectors, RNG(0))  # fmt: skip
    assert published._network.layer.weight.shape == (6, 6)
    assert len(published.recommend(["u00"], 5, vectors.ids, train)) == 5


def test_it_is_made_by_its_kind():
    assert create("shallow_net", width="native").options["width"] == "native"
    with pytest.raises(ValueError, match="Unknown option 'depth'"):
        create("shallow_net", depth=2)
