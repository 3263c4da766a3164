import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from worlds import ndcg, pairs, small

from lib.backends.vectors import Vectors
from lib.evaluation.metrics import recommend_and_score, validator
from lib.recommenders import create
from lib.recommenders.bimodal import Bimodal, decoupled

RNG = np.random.default_rng
QUICK = {"scaling": "none", "width": 8, "collaborative_width": 4, "collaborative_epochs": 3, "max_epochs": 2}


def towers(model, vectors):
    """Outputs of both towers as they come: content of all tracks, collaborative of train tracks (with their ids)."""
    network, hot = model._network, model._tracks[model._hot]
    with torch.no_grad():
        content = network.content_tower(torch.tensor(vectors.values)).numpy()
        ids = network.ids_tower(torch.tensor(model.collaborative_.track_vectors(hot))).numpy()
    return pd.DataFrame(content, vectors.ids), pd.DataFrame(ids, hot)


def unit(frame):
    return frame.div(np.sqrt(np.square(frame).sum(axis=1)), axis=0)


def cosines(train, vectors, users):
    """Cosine of the mean over a user's tracks and every track, written out in pandas."""
    heard = train[["user_id", "track_id"]].drop_duplicates()
    means = vectors.loc[heard["track_id"]].groupby(heard["user_id"].to_numpy()).mean().loc[users]
    return unit(means) @ unit(vectors).T


def scores(model, users, tracks):
    return model.recommend(users, 99, tracks, None).pivot(index="user_id", columns="track_id", values="score")


# --- the loss


def test_loss_by_hand():
    # t = 0.5; a = (1, 0), (0, 1); b = (0.6, 0.8), (0.8, 0.6). First: positive 0.6, others a1 a2 = 0 and a1 b2 = 0.8
    a, b = torch.eye(2), torch.tensor([[0.6, 0.8], [0.8, 0.6]])
    each = -0.6 / 0.5 + np.log(np.exp(0) + np.exp(0.8 / 0.5))
    assert decoupled(a, b, 0.5).item() == pytest.approx(each, abs=1e-6)


def test_loss_is_the_published_sum_and_leaves_the_positive_out():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.nn.functional.normalize(torch.randn(7, 5, generator=generator, dtype=torch.float64)) for _ in "ab")
    expected, coupled = 0.0, 0.0
    for i in range(7):
        others = [j for j in range(7) if j != i]
        negatives = sum(torch.exp(a[i] @ a[j] / 0.1) + torch.exp(a[i] @ b[j] / 0.1) for j in others)
        expected += -a[i] @ b[i] / 0.1 + torch.log(negatives)
        coupled += -a[i] @ b[i] / 0.1 + torch.log(negatives + torch.exp(a[i] @ b[i] / 0.1))
    assert decoupled(a, b, 0.1).item() == pytest.approx(expected.item() / 7, abs=1e-9)
    assert decoupled(a, b, 0.1).item() < coupled.item() / 7 - 0.1


def test_training_contrasts_both_ways_at_unit_length():
    train, vectors = small()
    options = QUICK | {"lr": 1e-12, "weight_decay": 0.0, "max_epochs": 1, "batch_size": 1000, "temperature": 0.2}
    model = Bimodal(**options).fit(train, vectors, RNG(0))  # the weights stay where they began
    content, ids = (unit(frame) for frame in towers(model, vectors))
    content, ids = torch.tensor(content.loc[ids.index].to_numpy()), torch.tensor(ids.to_numpy())
    both = decoupled(content, ids, 0.2) + decoupled(ids, content, 0.2)
    assert model.history_.frame["loss"][0] == pytest.approx(both.item(), abs=1e-5)
    assert decoupled(content, ids, 0.2).item() != pytest.approx(decoupled(ids, content, 0.2).item(), abs=1e-3)


# --- readings


@pytest.mark.parametrize("reading", ["content", "collaborative", "averaged"])
def test_readings_are_cosines_of_what_the_towers_give(reading):
    train, vectors = small()
    model = Bimodal(reading=reading, **QUICK).fit(train, vectors, RNG(0))
    content, ids = (unit(frame) for frame in towers(model, vectors))
    averaged = pd.concat([content.loc[ids.index] + ids, content.drop(ids.index)]).loc[content.index]
    space = {"content": content, "collaborative": ids, "averaged": averaged}[reading]
    expected = cosines(train, unit(space), ["u03", "u11"])
    found = scores(model, ["u03", "u11"], vectors.ids)
    assert found.columns.tolist() == sorted(space.index)  # cold tracks only where there is content
    np.testing.assert_allclose(found, expected[found.columns], atol=3e-6)


def test_published_reading_mixes_lengths():
    train, vectors = small()
    options = QUICK | {"reading": "averaged", "norms": "raw"}
    model = Bimodal(**options).fit(train, vectors, RNG(0))
    with torch.no_grad():  # a tower whose outputs are long outweighs the other
        model._network.ids_tower[2].weight *= 50
        model._network.ids_tower[2].bias *= 50
    model._use(model._read(vectors.values))
    content, ids = towers(model, vectors)
    hot = (content.loc[ids.index] + ids) / 2
    heard = train.loc[train["user_id"] == "u03", "track_id"].unique()
    expected = hot.loc[heard].mean() @ hot.T
    found = scores(model, ["u03"], ids.index).loc["u03"]
    np.testing.assert_allclose(found / found.abs().max(), expected[found.index] / expected.abs().max(), atol=1e-5)
    only = ids.loc[heard].mean() @ ids.T
    assert np.corrcoef(found, only[found.index])[0, 1] > 0.99  # the average is the longer tower's reading
    model.options["norms"] = "unit"
    model._use(model._read(vectors.values))
    assert np.corrcoef(scores(model, ["u03"], ids.index).loc["u03"], only[found.index])[0, 1] < 0.95


# --- what is trained


@pytest.mark.parametrize("item_vectors", ["frozen", "finetuned"])
def test_frozen_is_frozen_and_finetuned_changes(item_vectors):
    train, vectors = small()
    before = vectors.values.copy()
    model = Bimodal(item_vectors=item_vectors, **QUICK).fit(train, vectors, RNG(0))
    network = model._network
    np.testing.assert_array_equal(vectors.values, before)
    hot = np.isin(vectors.ids, train["track_id"])
    assert network.content.requires_grad == (item_vectors == "finetuned")
    assert np.array_equal(network.content.detach().numpy(), before[hot]) == (item_vectors == "frozen")
    if item_vectors == "finetuned":
        assert (np.abs(network.content.detach().numpy() - before[hot]).max(axis=1) > 0).all()
    assert not network.ids.requires_grad
    np.testing.assert_array_equal(network.ids.numpy(), model.collaborative_.track_vectors(vectors.ids[hot]))
    for tower in (network.content_tower, network.ids_tower):
        assert all((parameter.grad != 0).any() for parameter in tower.parameters())


def test_training_brings_the_two_views_of_a_track_together():
    train, vectors = small()
    loss = Bimodal(**QUICK | {"max_epochs": 60}).fit(train, vectors, RNG(0)).history_.frame["loss"]
    assert loss.iloc[-1] < loss.iloc[0] - 1


@pytest.mark.parametrize(("batch_size", "tracks"), [(2, 35), (34, 35), (1000, 2)])
def test_no_batch_holds_a_track_alone(batch_size, tracks):
    _, vectors = small()
    train = pairs(*((f"u{t % 2}", f"track {t:02d}") for t in range(tracks)))
    model = Bimodal(**QUICK | {"batch_size": batch_size}).fit(train, vectors, RNG(0))
    assert np.isfinite(model.history_.frame["loss"]).all()


# --- early stopping


def test_published_stopping_sees_the_loss_on_train_tracks_alone():
    train, vectors = small()

    def never(model):
        raise AssertionError("validation was asked")

    options = QUICK | {"stopping": "train_loss", "max_epochs": 5, "collaborative_epochs": 7}
    model = Bimodal(**options).fit(train, vectors, RNG(0), validate=never)
    frame = model.history_.frame
    np.testing.assert_array_equal(frame["validation"], -frame["loss"])
    assert len(model.collaborative_.history_.frame) == 7
    without = Bimodal(**options).fit(train, vectors, RNG(0))
    pd.testing.assert_series_equal(without.history_.frame["loss"], frame["loss"])


def test_both_trainings_stop_on_validation():
    train, vectors = small()
    seen = []
    options = QUICK | {"max_epochs": 50, "collaborative_epochs": 50, "patience": 3}
    model = Bimodal(**options).fit(train, vectors, RNG(0), validate=lambda model: seen.append(model.kind) or 0.5)
    assert model.history_.stopped == model.collaborative_.history_.stopped == "early"
    assert seen[0] == "hybrid"
    assert seen[-1] == "bimodal"


# --- the whole


@pytest.mark.parametrize("options", [{}, {"reading": "content"}, {"item_vectors": "finetuned"}])
def test_planted_taste_is_found_and_shuffled_vectors_find_nothing(planted, options):
    train, vectors, parts = planted
    options = {"scaling": "standardise", "width": 32, "max_epochs": 30} | options
    fit = {"validate": validator(parts["val"])}
    real = Bimodal(**options).fit(train, vectors, RNG(0), **fit)
    mixed = Vectors(vectors.ids, vectors.values[RNG(1).permutation(len(vectors.ids))])
    shuffled = Bimodal(**options).fit(train, mixed, RNG(0), **fit)
    assert ndcg(real, parts["cold_test"]) > 2 * ndcg(shuffled, parts["cold_test"])


def test_scaling_is_chosen_on_validation(planted):
    train, vectors, parts = planted
    options = {"scaling": "auto", "width": 16, "max_epochs": 3, "stopping": "train_loss", "collaborative_epochs": 5}
    model = Bimodal(**options).fit(train, vectors, RNG(0), validate=validator(parts["val"]))
    assert set(model.validation_) == {"none", "centre", "standardise", "whiten"}
    assert model.validation_[model.scaling_] == max(model.validation_.values())
    assert min(model.validation_.values()) >= 0  # NDCG, not the loss that training stops on
    with pytest.raises(ValueError, match="pass validate="):
        Bimodal(**options).fit(train, vectors, RNG(0))


def test_the_same_seed_gives_the_same_lists(planted):
    train, vectors, parts = planted
    found = []
    for seed in (0, 0, 1):
        model = Bimodal(**QUICK).fit(train, vectors, RNG(seed), validate=validator(parts["val"]))
        found.append(recommend_and_score(model, parts["hot_test"])[0])
    pd.testing.assert_frame_equal(found[0], found[1])
    assert not found[0].equals(found[2])


@pytest.mark.parametrize("stop", [3, 9, 14])  # in ELSA's training, in the trial of a scaling, later
def test_interrupted_and_resumed_is_uninterrupted(planted, tmp_path, monkeypatch, stop):
    monkeypatch.setattr("lib.recommenders.training.SAVE_EVERY", 0)
    train, vectors, parts = planted
    validate = validator(parts["val"])
    options = QUICK | {"scaling": "auto", "max_epochs": 5, "collaborative_epochs": 6, "item_vectors": "finetuned"}
    whole = Bimodal(**options).fit(train, vectors, RNG(0), validate=validate)
    calls = itertools.count(1)

    def interrupted(model):
        if next(calls) == stop:
            raise KeyboardInterrupt
        return validate(model)

    with pytest.raises(KeyboardInterrupt):
        Bimodal(**options).fit(train, vectors, RNG(0), validate=interrupted, checkpoint=tmp_path)
    resumed = Bimodal(**options).fit(train, vectors, RNG(0), validate=validate, checkpoint=tmp_path)
    task = parts["hot_test"]
    expected, found = (m.recommend(task.users, 10, task.candidates, task.history) for m in (whole, resumed))
    pd.testing.assert_frame_equal(found, expected)
    assert resumed.scaling_ == whole.scaling_


def test_a_checkpoint_of_another_way_of_stopping_is_left_aside(tmp_path, capsys):
    train, vectors = small()
    Bimodal(**QUICK).fit(train, vectors, RNG(0), validate=lambda model: 0.5, checkpoint=tmp_path)
    options = QUICK | {"stopping": "train_loss"}
    kept = Bimodal(**options).fit(train, vectors, RNG(0), validate=lambda model: 0.5, checkpoint=tmp_path)
    fresh = Bimodal(**options).fit(train, vectors, RNG(0), validate=lambda model: 0.5)
    assert kept.recommend(["u01"], 9, vectors.ids, None).equals(fresh.recommend(["u01"], 9, vectors.ids, None))


# --- hostile input


def test_odd_listeners_ids_and_catalogues():
    train, vectors = small()
    more = pairs(("ein Hörer", "track 00"), ("nur kalt", "no vector"), ("日本 ♪", "track 01"), ("日本 ♪", "no vector"))
    train = pd.concat([train, more], ignore_index=True)
    for reading, sizes in (("averaged", [2, 3]), ("collaborative", [1, 2])):
        model = Bimodal(reading=reading, **QUICK).fit(train, vectors, RNG(0))
        users = ["ein Hörer", "日本 ♪", "nur kalt", "nobody", "u00"]
        candidates = ["track 02", "track 00", "no vector", "track 39"]  # the last is cold
        lists = model.recommend(users, 50, candidates, train[["user_id", "track_id"]])
        assert lists.groupby("user_id").size()[["ein Hörer", "日本 ♪"]].tolist() == sizes
        assert not set(lists["user_id"]) & {"nur kalt", "nobody"}
        assert "no vector" not in set(lists["track_id"])


def test_one_listener_works_and_one_track_is_a_sentence():
    _, vectors = small()
    two = pairs(("u", "track 00"), ("u", "track 01"))
    assert len(Bimodal(**QUICK).fit(two, vectors, RNG(0)).recommend(["u"], 5, vectors.ids, two)) == 5
    with pytest.raises(ValueError, match="at least two train tracks with a vector"):
        Bimodal(**QUICK).fit(two[:1], vectors, RNG(0))


def test_a_vector_that_is_not_finite_is_named():
    train, vectors = small()
    broken = vectors.values.copy()
    broken[7, 2] = np.nan

    class Broken:
        ids, values, dim = vectors.ids, broken, broken.shape[1]

    with pytest.raises(ValueError, match="track 07"):
        Bimodal(**QUICK).fit(train, Broken, RNG(0))
    with pytest.raises(ValueError, match="20_extract_embeddings"):
        Bimodal(**QUICK).fit(train, None, RNG(0))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"reading": "aloud"}, "Expected reading among content, collaborative, averaged, found 'aloud'"),
        ({"item_vectors": "none"}, "Expected item_vectors among frozen, finetuned"),
        ({"batch_size": 1}, "Expected batch_size of at least 2"),
        ({"temperature": 0.0}, "Expected temperature above 0"),
        ({"lr": -1.0}, "Expected lr above 0"),
    ],
)
def test_options_that_cannot_be(options, said):
    with pytest.raises(ValueError, match=said):
        Bimodal(**options)


def test_the_published_configuration_is_made_by_its_kind():
    train, vectors = small()
    model = create(
        "bimodal", norms="raw", stopping="train_loss", scaling="none", width=768, collaborative_width=768,
        collaborative_epochs=10, batch_size=10_000, max_epochs=2, weight_decay=0.0,
    ).fit(train, vectors, RNG(0))  # fmt: skip
    assert len(model.recommend(["u00"], 5, vectors.ids, train)) == 5
    with pytest.raises(ValueError, match="Unknown option 'depth'"):
        create("bimodal", depth=2)
