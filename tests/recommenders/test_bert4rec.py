import math
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from worlds import plays

from lib import evaluation
from lib.backends.vectors import Vectors
from lib.evaluation.metrics import recommend_and_score, tasks, validator
from lib.recommenders import cloze
from lib.recommenders.bert4rec import Bert4Rec
from lib.recommenders.knn import KNN
from lib.recommenders.transformer import ItemVectors, Network

RNG = np.random.default_rng
SMALL = {"width": 16, "layers": 2, "heads": 2, "length": 12, "max_epochs": 2, "batch_size": 16}


@pytest.fixture(scope="module")
def world():
    """Users love one of four groups of tracks, vectors show the group; a quarter of the tracks is cold."""
    rng = RNG(3)
    n_tracks, n_groups = 96, 4
    ids = np.array([f"{number:012x}" for number in rng.choice(2**40, n_tracks, replace=False)])
    group = rng.integers(n_groups, size=n_tracks)
    values = rng.standard_normal((n_groups, 8))[group] + 0.3 * rng.standard_normal((n_tracks, 8)) + 3
    cold = rng.random(n_tracks) < 0.25
    parts = {name: [] for name in ("train", "val", "cold_val", "hot", "cold")}
    for user in range(80):
        weight = np.where(group == user % n_groups, 15.0, 1.0)
        for pool, sizes in ((~cold, (10, 3)), (cold, (0, 3))):
            chosen = rng.choice(n_tracks, sum(sizes), replace=False, p=weight * pool / (weight * pool).sum())
            hot = bool(pool[~cold].any())
            test = ("val" if hot else "cold_val") if user < 30 else ("hot" if hot else "cold")
            for day, track in enumerate(chosen):
                parts["train" if day < sizes[0] else test].append((f"user{user:03d}", ids[track], day))
    frames = [plays(*rows) for rows in parts.values()]
    return frames[0], Vectors.of(ids, values), tasks(*frames)


def fitted(world, *, seed=0, validated=False, checkpoint=None, vectors=None, **options):
    train, found, todo = world
    validate = validator(todo["val"]) if validated else None
    model = Bert4Rec(**{**SMALL, **options})
    return model.fit(train, vectors or found, RNG(seed), validate=validate, checkpoint=checkpoint)


def lists(model, world, task="hot_test"):
    todo = world[2][task]
    return model.recommend(todo.users, 10, todo.candidates, todo.history)


def small_network(*, width=8, tied=True, ids=False, finetuned=False, n_tracks=7, n_train=5, dim=6, positions=True):
    torch.manual_seed(0)
    content = torch.randn(n_tracks, dim)
    items = ItemVectors(content, n_train, width, finetuned=finetuned, ids=ids)
    return Network(items, width or dim, 2, 2, 9, 0.0, torch.zeros(n_train), tied=tied, positions=positions)


def batch(lengths, masked, seed=0, n_train=5):
    tokens = torch.from_numpy(RNG(seed).integers(n_train, size=sum(lengths)))
    return tokens, torch.tensor(masked), torch.tensor(lengths)


LENGTHS, MASKED = [3, 1, 5], [True, False, False, True, False, True, False, True, False]


# --- sequences and masks


def test_masks_differ_between_epochs_and_not_between_runs(world, monkeypatch):
    seen = []
    real = cloze.cloze_mask
    monkeypatch.setattr(cloze, "cloze_mask", lambda *a: seen.append(real(*a)) or seen[-1])
    fitted(world, seed=4)
    first, half = [mask.tobytes() for mask in seen], len(seen) // 2
    assert first[:half] != first[half:]
    seen.clear()
    fitted(world, seed=4)
    assert [mask.tobytes() for mask in seen] == first


# --- network


def test_states_are_those_of_bert_model_itself():
    network = small_network().eval()
    tokens, masked, lengths = batch(LENGTHS, MASKED)
    with torch.no_grad():
        found = network(tokens, masked, lengths)
        vectors = network.items(tokens)
        vectors[masked] = network.bert.embeddings.word_embeddings.weight[0]
        padded, real = torch.zeros(3, 5, 8), torch.zeros(3, 5)
        back = torch.zeros(3, 5, dtype=torch.long)
        for row, start in enumerate((0, 3, 4)):
            n = LENGTHS[row]
            padded[row, :n], real[row, :n] = vectors[start : start + n], 1
            back[row, :n] = torch.arange(n - 1, -1, -1)
        out = network.bert(inputs_embeds=padded, attention_mask=real, position_ids=back).last_hidden_state
        expected = network.transform(out[real.bool()][masked])
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=1e-5)


def test_what_a_row_says_does_not_depend_on_its_neighbours():
    network = small_network().eval()
    tokens, masked, lengths = batch(LENGTHS, MASKED)
    with torch.no_grad():
        together = network(tokens, masked, lengths)
        alone = network(tokens[3:4], masked[3:4], lengths[1:2])
    torch.testing.assert_close(together[1:2], alone, atol=2e-6, rtol=1e-5)


def test_a_masked_track_is_hidden_and_a_shown_one_is_not():
    network = small_network().eval()
    tokens, masked, lengths = batch(LENGTHS, MASKED)
    with torch.no_grad():
        before = network(tokens, masked, lengths)
        hidden, shown = tokens.clone(), tokens.clone()
        hidden[0] = (hidden[0] + 1) % 5
        shown[1] = (shown[1] + 1) % 5
        assert torch.equal(network(hidden, masked, lengths), before)
        assert not torch.allclose(network(shown, masked, lengths)[0], before[0])


@pytest.mark.parametrize("positions", [True, False])
def test_order_counts_only_with_positions(positions):
    network = small_network(positions=positions).eval()
    tokens, masked = torch.tensor([0, 1, 2, 3]), torch.tensor([False, False, False, True])
    with torch.no_grad():
        found = network(tokens, masked, torch.tensor([4]))
        turned = network(tokens[[2, 1, 0, 3]], masked, torch.tensor([4]))
    assert torch.allclose(found, turned, atol=1e-6) != positions


@pytest.mark.parametrize("ids", [False, True])
@pytest.mark.parametrize("width", [8, 0])
def test_the_tied_head_is_the_product_with_the_vectors(ids, width):
    network = small_network(ids=ids, width=width).eval()
    torch.nn.init.normal_(network.bias)
    states = torch.randn(4, network.transform.out_features)
    with torch.no_grad():
        found = cloze.linear_logits(network.bias, *network.items.pairs(states, 5))
        vectors, biases = network.scoring()
        content = network.items.content
        manual = content @ network.items.projection.weight.T if width else content
        if ids:
            manual = torch.cat([manual[:5] + network.items.ids, manual[5:]])
    torch.testing.assert_close(vectors, manual)
    torch.testing.assert_close(found, states @ manual[:5].T + network.bias)
    assert biases[5:].tolist() == pytest.approx([float(network.bias.detach().mean())] * 2)


@pytest.mark.parametrize(
    ("tied", "ids", "finetuned"), [(True, True, True), (True, False, False), (False, False, False)]
)
def test_loss_at_masked_positions_equals_full_logits(tied, ids, finetuned):
    network = small_network(tied=tied, ids=ids, finetuned=finetuned)
    tokens, masked, lengths = batch(LENGTHS, MASKED)
    network.loss(network(tokens, masked, lengths), tokens[masked]).backward()
    ours = {name: weights.grad for name, weights in network.named_parameters() if weights.grad is not None}
    loss = network.loss(network(tokens, masked, lengths), tokens[masked])
    network.zero_grad(set_to_none=True)
    states = []  # of every position, from one pass a position: the mask elsewhere stays as it is
    for place in range(len(tokens)):
        everything = network(tokens, masked | (torch.arange(len(tokens)) == place), lengths)
        states.append(everything[int((masked | (torch.arange(len(tokens)) == place))[:place].sum())])
    vectors, biases = network.scoring()
    logits = torch.stack(states) @ vectors[:5].T + biases[:5]
    targets = torch.where(masked, tokens, -100)
    full = torch.nn.functional.cross_entropy(logits, targets, ignore_index=-100)
    full.backward()
    assert float(loss.detach()) == pytest.approx(float(full.detach()), abs=1e-5)
    for name, weights in network.named_parameters():
        if weights.grad is not None:
            torch.testing.assert_close(ours[name], weights.grad, atol=1e-5, rtol=1e-4)


def test_excluding_what_was_heard_is_an_option_that_counts(world):
    with_it, without = (fitted(world, exclude_heard=excluded) for excluded in (True, False))
    assert with_it.history_.frame["loss"].iloc[0] < without.history_.frame["loss"].iloc[0] - 0.05


# --- gBCE


def test_gbce_trains(world):
    model = fitted(world, loss="gbce", n_negatives=8, max_epochs=15, lr=1e-2)
    losses = model.history_.frame["loss"]
    assert losses.iloc[-1] < 0.9 * losses.iloc[0]
    assert len(lists(model, world))


def test_more_negatives_than_tracks_are_refused(world):
    with pytest.raises(ValueError, match="n_negatives below the number of train tracks"):
        fitted(world, loss="gbce", n_negatives=1000)


# --- training


def test_training_starts_from_popularity_and_even_odds_beside_it(world):
    shares = world[0]["track_id"].value_counts(normalize=True)
    entropy = -(shares * np.log(shares)).sum()
    start = fitted(world, max_epochs=1, lr=1e-9, item_vectors="none", exclude_heard=False)
    assert start.history_.frame["loss"].iloc[0] == pytest.approx(entropy, abs=0.15)
    even = plays(*((f"u{n // 8}", f"t{n:02d}", n) for n in range(40)))
    for excluded, n in ((False, 40), (True, 40 - 7)):  # rows of 8 tracks
        start = Bert4Rec(**{**SMALL, "max_epochs": 1}, lr=1e-9, item_vectors="none", exclude_heard=excluded)
        start.fit(even, None, RNG(0))
        assert start.history_.frame["loss"].iloc[0] == pytest.approx(math.log(n), abs=0.15)


def test_the_projection_starts_by_keeping_likeness():
    torch.manual_seed(0)
    content = torch.randn(90, 3) @ torch.randn(3, 20)  # of rank 3: three of eight dimensions hold it all
    items = ItemVectors(content, 60, 8, finetuned=False, ids=False)
    found = items.matrix().detach()
    assert float(found[:60].square().sum(dim=1).mean()) == pytest.approx(1, abs=1e-5)
    theirs = torch.nn.functional.normalize(content) @ torch.nn.functional.normalize(content).T
    torch.testing.assert_close(torch.nn.functional.normalize(found) @ torch.nn.functional.normalize(found).T, theirs)


def test_training_starts_from_the_neighbours_of_what_was_heard(world):
    start = fitted(world, max_epochs=1, lr=1e-9, width=64)
    for task in ("hot_test", "cold_test"):
        todo = world[2][task]
        near = KNN(scaling="standardise").fit(world[0], world[1], RNG(0))
        k, chance = todo.cutoffs[0], evaluation.chance(todo, todo.cutoffs[0])[f"NDCG@{todo.cutoffs[0]}"].mean()
        ours, knn = (recommend_and_score(m, todo)[1][f"NDCG@{k}"].mean() - chance for m in (start, near))
        assert ours > 0.7 * knn > 0.1


def test_content_is_learned_on_hot_and_cold_tracks(world):
    model = fitted(world, max_epochs=25, lr=5e-3, validated=True)
    shuffled = Vectors(world[1].ids, world[1].values[RNG(9).permutation(len(world[1]))])
    blind = fitted(world, max_epochs=25, lr=5e-3, validated=True, vectors=shuffled)
    for task in ("hot_test", "cold_test"):
        k = world[2][task].cutoffs[0]
        real, control = (recommend_and_score(m, world[2][task])[1][f"NDCG@{k}"].mean() for m in (model, blind))
        assert real > control + 0.1
    assert model.history_.stopped in ("early", "max_epochs")
    assert list(model.history_.frame) == ["epoch", "loss", "validation", "seconds"]


def test_frozen_vectors_stay_and_have_no_gradient(world):
    model = fitted(world, max_epochs=1)
    content = model._net.items.content
    rows = world[1].take(model._tracks)
    scaled = (rows - rows[: model._n_train].mean(0)) / rows[: model._n_train].std(0)
    assert not content.requires_grad
    assert "items.content" not in dict(model._net.named_parameters())
    again = fitted(world, max_epochs=5)._net.items.content
    assert torch.equal(content, again)  # bit-equal whatever the training
    ratio = scaled / content.numpy()
    assert np.allclose(ratio, ratio[0, 0], rtol=1e-3)


def test_finetuned_vectors_have_a_gradient_and_change(world):
    before = fitted(world, max_epochs=1, lr=1e-12, weight_decay=0.0, item_vectors="finetuned")._net.items.content
    model = fitted(world, item_vectors="finetuned")
    assert model._net.items.content.requires_grad
    assert model._net.items.content.grad[: model._n_train].abs().sum() > 0
    moved = (model._net.items.content - before).abs().max(dim=1).values.detach()
    assert (moved[: model._n_train] > 1e-4).all()
    assert (
        float(model._net.items.content.grad[model._n_train :].abs().max()) == 0
    )  # cold tracks are outside the softmax


def test_cold_tracks_in_the_softmax_are_pushed_down(world):
    options = {"item_vectors": "finetuned", "width": 0, "max_epochs": 8, "lr": 3e-3, "heads": 2}
    share = {}
    for softmax in ("train", "all"):
        model = fitted(world, softmax=softmax, **options)
        todo = world[2]["hot_test"]
        mixed = model.recommend(todo.users, 10, world[1].ids, None)
        share[softmax] = (~mixed["track_id"].isin(world[0]["track_id"])).mean()
    assert share["all"] < share["train"]


def test_same_seed_same_lists_and_another_seed_others(world):
    first, second, other = (lists(fitted(world, seed=seed), world) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, second)
    assert not first["track_id"].equals(other["track_id"])


def test_an_interrupted_training_ends_as_one_that_was_not(world, tmp_path, monkeypatch):
    from lib.recommenders import training

    monkeypatch.setattr(training, "SAVE_EVERY", 0.0)
    whole = fitted(world, max_epochs=4, validated=True)
    validate, calls = validator(world[2]["val"]), []

    def interrupted(model):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return validate(model)

    options = {**SMALL, "max_epochs": 4}
    with pytest.raises(KeyboardInterrupt):
        Bert4Rec(**options).fit(world[0], world[1], RNG(0), validate=interrupted, checkpoint=tmp_path)
    resumed = fitted(world, max_epochs=4, validated=True, checkpoint=tmp_path)
    pd.testing.assert_frame_equal(lists(whole, world), lists(resumed, world))
    columns = ["epoch", "loss", "validation"]
    pd.testing.assert_frame_equal(whole.history_.frame[columns], resumed.history_.frame[columns])


def test_scaling_is_chosen_on_validation(world):
    model = fitted(world, scaling="auto", validated=True)
    assert set(model.validation_) == {"none", "centre", "standardise"}  # 70 tracks are too few to whiten
    assert model.scaling_ in model.validation_
    with pytest.raises(ValueError, match="chosen on validation"):
        fitted(world, scaling="auto")


# --- recommending


def test_prediction_is_the_mask_after_the_history(world):
    model = fitted(world)
    train = world[0].sort_values("timestamp")
    history = train.loc[train["user_id"] == "user005", "track_id"]
    tokens = torch.tensor([*model._tracks.get_indexer(pd.Index(history)), 0])
    masked = torch.tensor([False] * len(history) + [True])
    with torch.no_grad():
        expected = model._net(tokens, masked, torch.tensor([len(tokens)]))[0]
    users, states = model.profiles(["user005", "nobody", "user009"])
    assert list(users) == ["user005", "user009"]
    np.testing.assert_allclose(states[0], expected.numpy(), atol=2e-6)
    scores = model.recommend(["user005"], 3, world[1].ids, None)
    vectors, biases = model._net.scoring()
    manual = (vectors @ expected + biases).detach().numpy()
    assert list(scores["track_id"]) == list(model._tracks[np.argsort(-manual, kind="stable")[:3]])
    np.testing.assert_allclose(scores["score"], np.sort(manual)[::-1][:3], atol=2e-5)


def test_prediction_length_counts_the_mask(world, monkeypatch):
    model = fitted(world, prediction_length=4)
    seen = []
    real = model._net.forward
    monkeypatch.setattr(model._net, "forward", lambda t, m, n: seen.append((t, m, n)) or real(t, m, n))
    model.profiles(["user001"])
    tokens, masked, lengths = seen[0]
    last = world[0][world[0]["user_id"] == "user001"].sort_values("timestamp")["track_id"].tail(3)
    assert list(model._tracks[tokens[:3].numpy()]) == list(last)
    assert masked.tolist() == [False, False, False, True]
    assert lengths.tolist() == [4]


def test_scores_do_not_depend_on_who_else_is_asked(world):
    model = fitted(world)
    alone = model.recommend(["user007"], 9, world[1].ids, None)
    among = model.recommend([f"user{n:03d}" for n in range(40)], 9, world[1].ids, None).query("user_id == 'user007'")
    assert list(alone["track_id"]) == list(among["track_id"])
    np.testing.assert_allclose(alone["score"], among["score"], atol=2e-5)


@pytest.mark.parametrize("options", [{"item_vectors": "none"}, {"head": "separate"}])
def test_without_content_in_the_head_cold_tracks_are_not_listed(world, options):
    model = fitted(world, **options)
    assert not model.scores_cold
    assert not len(lists(model, world, "cold_test"))
    assert len(lists(model, world))
    assert fitted(world).scores_cold


def test_ids_alone_need_no_vectors(world):
    model = Bert4Rec(**SMALL, item_vectors="none").fit(world[0], None, RNG(0))
    assert not model.needs_vectors
    assert Bert4Rec.needs_vectors
    pd.testing.assert_frame_equal(lists(model, world), lists(fitted(world, item_vectors="none"), world))


def test_ids_beside_audio_change_hot_lists_and_leave_cold_tracks_scored(world):
    both = fitted(world, ids=True)
    assert both._net.items.ids.shape == (both._n_train, 16)
    assert len(lists(both, world, "cold_test"))
    assert not lists(both, world)["track_id"].equals(lists(fitted(world), world)["track_id"])


def test_a_listener_with_one_track_and_odd_ids():
    train = plays(("ü ser", "træck 1", 0), ("v", "træck 1", 0), ("v", "曲/2", 1), ("v", "c", 2))
    vectors = Vectors.of(["træck 1", "曲/2", "c", "cold é"], RNG(0).standard_normal((4, 3)))
    model = Bert4Rec(**SMALL, scaling="none").fit(train, vectors, RNG(0))
    found = model.recommend(["ü ser", "stranger"], 10, vectors.ids, train)
    assert set(found["track_id"]) == {"曲/2", "c", "cold é"}  # fewer than k: all that may be listed
    assert found["rank"].tolist() == [1, 2, 3]
    assert set(found["user_id"]) == {"ü ser"}


def test_one_user_and_one_track():
    train = plays(("u", "a", 0))
    model = Bert4Rec(**SMALL, scaling="none").fit(train, Vectors.of(["a", "b"], [[1.0, 0], [0, 1]]), RNG(0))
    assert list(model.recommend(["u"], 5, ["a", "b"], train)["track_id"]) == ["b"]


def test_tracks_without_a_vector_are_left_out():
    train = plays(("u", "a", 0), ("u", "x", 1), ("w", "x", 0), ("v", "b", 0))
    model = Bert4Rec(**SMALL, scaling="none").fit(train, Vectors.of(["a", "b"], [[1.0, 0], [0, 1]]), RNG(0))
    found = model.recommend(["u", "v", "w"], 5, ["a", "b", "x"], None)
    assert set(found["track_id"]) == {"a", "b"}
    assert set(found["user_id"]) == {"u", "v"}  # all that w played has no vector


def test_a_vector_that_is_not_finite_is_named(world):
    class Loose:
        ids = world[1].ids
        values = world[1].values.copy()

    Loose.values[5, 1] = np.nan
    with pytest.raises(ValueError, match=str(world[1].ids[5])):
        fitted(world, vectors=Loose)


def test_missing_vectors_and_columns_are_said(world):
    with pytest.raises(ValueError, match="needs vectors of tracks, found none"):
        Bert4Rec(**SMALL).fit(world[0], None, RNG(0))
    with pytest.raises(ValueError, match="none of them; check the ids"):
        Bert4Rec(**SMALL).fit(world[0], Vectors.of(["z"], [[1.0]]), RNG(0))


def test_published_early_stopping_is_a_function_of_the_model(world):
    train, vectors, todo = world
    val = plays(*((row.user_id, row.track_id, 0) for row in todo["val"].truth.itertuples()))
    model = Bert4Rec(**SMALL).fit(train, vectors, RNG(0), validate=lambda model: -model.sequence_loss(val))
    assert model.sequence_loss(val) == model.sequence_loss(val)
    assert model.history_.frame["validation"].max() == pytest.approx(-model.sequence_loss(val))
    assert 0 < model.sequence_loss(val) < 2 * math.log(model._n_train)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"item_vectors": "thawed"}, "item_vectors among frozen, finetuned, none, found 'thawed'"),
        ({"mask_share": 1.5}, "mask_share of at most 1, found 1.5"),
        ({"length": 1}, "length of at least 2"),
        ({"prediction_length": 1}, "prediction_length"),
        ({"prediction_length": 300}, "prediction_length"),
        ({"item_vectors": "none", "softmax": "all"}, "only learned vectors of train tracks"),
        ({"head": "separate", "softmax": "all"}, "separate head"),
        ({"scaling": "sphere"}, "scaling among"),
    ],
)
def test_options_out_of_range_are_said(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        Bert4Rec(**options)


def test_a_width_that_heads_do_not_divide_is_said(world):
    with pytest.raises(ValueError, match="3 heads divide, found 16"):
        fitted(world, heads=3)


def test_training_is_silent(world, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted(world, max_epochs=1)
    assert capsys.readouterr() == ("", "")
