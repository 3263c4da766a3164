import logging
import os
import random
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from scipy.sparse import dok_matrix

from lib.recommenders import CannotFitError
from lib.recommenders.itemknn import ItemKNN
from lib.recommenders.mostpop import MostPop
from lib.recommenders.recbole import files, models
from lib.recommenders.recbole.models import BPR, EASE, LightGCN, Pop, RecBoleError, RecBoleItemKNN
from lib.recommenders.recbole.sequential import BERT4Rec, SASRec
from lib.recommenders.recbole.session import recbole_session

RNG = np.random.default_rng
SMALL = {"width": 8, "batch_size": 64, "max_epochs": 2}
TRAINED = {
    "bpr": lambda **options: BPR(**SMALL | options),
    "lightgcn": lambda **options: LightGCN(**SMALL | options),
    "sasrec": lambda **options: SASRec(**SMALL | {"max_length": 6} | options),
    "recbole_bert4rec": lambda **options: BERT4Rec(**SMALL | {"max_length": 6} | options),
}
EVERY = {"pop": Pop, "recbole_itemknn": RecBoleItemKNN, "ease": EASE, **TRAINED}
# what spoils tables: separators, quotes, RecBole's padding, words pandas takes for missing, line breaks of Unicode
ODD = [
    "a b",
    " c",
    'd "e" f',
    "[PAD]",
    "NA",
    "null",
    "nan",
    "007",
    "7",
    "Björk – Jóga",
    "九",
    "%20",
    "x\u2028y",
    "z\xa0",
]


def frame(rows):
    """Pairs from (user, track), each a minute after the one before."""
    train = pd.DataFrame(rows, columns=["user_id", "track_id"])
    times = pd.Timestamp("2020-01-01", tz="UTC") + pd.to_timedelta(np.arange(len(train)), unit="min")
    return train.assign(timestamp=times, count=1)


@pytest.fixture(scope="module")
def train():
    """30 users who keep to one half of 24 tracks each, among them one with a single track; ids are odd."""
    rng = RNG(0)
    tracks = np.array(ODD + [f"t{number:02d}" for number in range(24 - len(ODD))], dtype=object)
    users = [f"user {number}" for number in range(27)] + ["NA", "Zoë", '"quoted"']
    rows = [
        (user, track)
        for place, user in enumerate(users)
        for track in tracks[place % 2 :: 2][rng.choice(12, 7, replace=False)]
    ]
    return frame([*rows, ("one track", "NA")])


def listed(model, train, k=5, exclude=True):
    users = sorted(train["user_id"].unique())
    return model.recommend(users, k, sorted(train["track_id"].unique()), train if exclude else None)


def state():
    """What RecBole changes for the whole process, unless it is kept from it."""
    return {
        "numpy": {name: getattr(np, name, "none") for name in ("float_", "bool", "int", "float", "object", "long")},
        "gone": [name in vars(np) for name in ("int", "float", "unicode", "complex_", "unicode_")],
        "dok": hasattr(dok_matrix, "_update"),
        "anomaly": (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        "loggers": (logging.root.level, list(logging.root.handlers), list(logging.root.filters), logging.root.disabled),
        "warnings": list(warnings.filters),
        "files": sorted(os.listdir()),
        "cwd": os.getcwd(),
        "argv": list(sys.argv),
        "cuda": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "yaml": yaml.load("2e5", Loader=yaml.FullLoader),
        "python": random.getstate(),
        "generator": str(np.random.get_state()),  # noqa: NPY002
        "torch": torch.get_rng_state().tolist(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


# --- every kind


def test_nothing_of_the_process_is_changed(train, tmp_path, monkeypatch, capfd, caplog):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["program", "--learning_rate=7", "what"])  # Config would take it for an option
    caplog.set_level(logging.INFO)
    before = state()
    for make in EVERY.values():
        listed(make().fit(train, None, RNG(0), validate=lambda model: len(listed(model, train))), train)
    assert state() == before
    assert "recbole.quick_start" not in sys.modules
    assert "ray" not in sys.modules
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_the_process_is_as_it_was_after_a_failure():
    before = state()
    with pytest.raises(ZeroDivisionError), recbole_session(0):
        np.int = np.int_  # noqa: NPY001 - as Config does
        torch.autograd.set_detect_anomaly(True)
        raise ZeroDivisionError
    assert state() == before


@pytest.mark.parametrize("kind", EVERY)
def test_every_kind_lists_what_was_not_heard(train, kind):
    model = EVERY[kind]().fit(train, None, RNG(0))
    assert model.kind == kind
    lists = listed(model, train)
    assert lists.groupby("user_id").size().to_dict() == dict.fromkeys(train["user_id"].unique(), 5)
    assert not set(zip(lists["user_id"], lists["track_id"], strict=True)) & set(
        zip(train["user_id"], train["track_id"], strict=True)
    )
    assert np.isfinite(lists["score"]).all()
    # odd ids come back as they went in, and a catalogue shorter than the list is listed whole
    everything = listed(model, train, 99, exclude=False)
    assert set(everything["track_id"]) == set(train["track_id"]) >= set(ODD)
    assert (everything.groupby("user_id").size() == 24).all()
    assert list(lists.columns) == ["user_id", "rank", "track_id", "score"]


@pytest.mark.parametrize("kind", EVERY)
def test_cold_tracks_and_unknown_users_are_not_listed(train, kind):
    model = EVERY[kind]().fit(train, None, RNG(0))
    assert not len(model.recommend(["user 1"], 5, ["cold", "colder"], None))
    mixed = model.recommend(["nobody", "user 1"], 5, ["cold", "NA", "t01"], None)
    assert set(mixed["track_id"]) == {"NA", "t01"}
    assert set(mixed["user_id"]) == {"user 1"}


@pytest.mark.parametrize("kind", TRAINED)
def test_the_same_seed_gives_the_same_lists_whatever_was_drawn_before(train, kind):
    first = listed(TRAINED[kind]().fit(train, None, RNG(3)), train)
    random.random(), np.random.random(5), torch.rand(5)  # noqa: NPY002
    pd.testing.assert_frame_equal(first, listed(TRAINED[kind]().fit(train, None, RNG(3)), train))
    other = listed(TRAINED[kind]().fit(train, None, RNG(4)), train)
    assert not first["score"].equals(other["score"])


@pytest.mark.parametrize("kind", TRAINED)
def test_training_stops_by_our_validation_and_keeps_the_best_epoch(train, kind):
    seen, heard = [], []

    def validate(model):
        heard.append(listed(model, train))
        seen.append([0.1, 0.3, 0.2, 0.1][len(seen)])
        return seen[-1]

    model = TRAINED[kind](max_epochs=9, patience=2).fit(train, None, RNG(0), validate=validate)
    assert seen == [0.1, 0.3, 0.2, 0.1]
    assert (model.history_.stopped, model.history_.best_epoch) == ("early", 2)
    pd.testing.assert_frame_equal(listed(model, train), heard[1])  # LightGCN would list by its last vectors
    assert not heard[1]["score"].equals(heard[3]["score"])


@pytest.mark.parametrize("kind", TRAINED)
def test_interrupted_and_resumed_is_as_uninterrupted(train, kind, tmp_path, monkeypatch):
    monkeypatch.setattr("lib.recommenders.training.SAVE_EVERY", 0.0)
    whole = listed(TRAINED[kind](max_epochs=4).fit(train, None, RNG(0)), train)

    def stop(epochs):
        for epoch in epochs:
            if epoch == 3:
                raise KeyboardInterrupt
            yield epoch

    with pytest.raises(KeyboardInterrupt):
        TRAINED[kind](max_epochs=4).fit(train, None, RNG(0), checkpoint=tmp_path, progress=stop)
    epochs = []
    resumed = TRAINED[kind](max_epochs=4).fit(
        train, None, RNG(0), checkpoint=tmp_path, progress=lambda left: epochs.extend(left) or epochs
    )
    assert epochs == [3, 4]
    pd.testing.assert_frame_equal(listed(resumed, train), whole)


def test_models_learn_the_halves(train):
    """Users keep to every other track; what is listed for them should, too."""
    half = {track: place % 2 for place, track in enumerate(dict.fromkeys([*ODD, *(f"t{n:02d}" for n in range(10))]))}
    own = train.groupby("user_id")["track_id"].agg(lambda tracks: half[tracks.iloc[0]])
    for make in (
        EASE,
        lambda: BPR(width=4, batch_size=64, lr=0.03, max_epochs=20),
        lambda: LightGCN(width=8, batch_size=64, lr=0.01, max_epochs=20),
        lambda: SASRec(width=16, dropout=0.1, batch_size=64, lr=0.01, max_epochs=15, max_length=7),
        lambda: BERT4Rec(width=16, dropout=0.0, batch_size=16, lr=0.01, max_epochs=100, max_length=8),
    ):
        lists = listed(make().fit(train, None, RNG(0)), train)
        right = (lists["track_id"].map(half) == lists["user_id"].map(own)).mean()
        assert right > 0.8, make  # chance: 5 of the 17 tracks left are of the own half


# --- cross-checks


def test_pop_equals_mostpop(train):
    """RecBole's own Pop counts a track once a batch (its issue 2198), and negatives as if they had been heard."""
    ours, theirs = MostPop().fit(train, None, RNG(0)), Pop().fit(train, None, RNG(0))
    pd.testing.assert_frame_equal(listed(ours, train, 24).drop(columns="score"), listed(theirs, train, 24).iloc[:, :3])
    share = listed(theirs, train, 24)["score"] * train["track_id"].value_counts().max()
    assert np.allclose(share, listed(ours, train, 24)["score"])


def test_recbole_itemknn_equals_ours_where_nothing_ties_at_the_edge(train):
    ours, theirs = ItemKNN(neighbours=24, shrinkage=3.0), RecBoleItemKNN(neighbours=24, shrinkage=3.0)
    ours.fit(train, None, RNG(0)), theirs.fit(train, None, RNG(0))
    both = listed(ours, train, 24).merge(listed(theirs, train, 24), on=["user_id", "track_id"], how="outer")
    assert np.abs(both["score_x"] - both["score_y"]).max() < 24 * 2**-20  # similarities on our grid


def test_ease_equals_its_closed_form(train):
    users, tracks = (pd.Index(sorted(train[name].unique())) for name in ("user_id", "track_id"))
    heard = np.zeros((len(users), len(tracks)))
    heard[users.get_indexer(train["user_id"]), tracks.get_indexer(train["track_id"])] = 1
    inverse = np.linalg.inv(heard.T @ heard + 5 * np.eye(len(tracks)))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    lists = listed(EASE(l2=5).fit(train, None, RNG(0)), train, 24, exclude=False)
    scores = lists.pivot(index="user_id", columns="track_id", values="score").loc[users, tracks]
    assert np.allclose(scores, heard @ weights, atol=1e-5)


def test_repeated_pairs_are_one_pair(train):
    twice = pd.concat([train, train.iloc[:9]])
    pd.testing.assert_frame_equal(
        listed(Pop().fit(train, None, RNG(0)), train), listed(Pop().fit(twice, None, RNG(0)), train)
    )


# --- sequences


def test_sequences_hold_the_latest_tracks_in_order_of_time():
    train = frame([("u", f"t{place}") for place in range(7)]).sample(frac=1, random_state=0)
    history = files.histories(train)["u"]
    assert history == [f"t{place}" for place in range(7)]
    assert files.prefixes(history, 3, 2) == [(["t2", "t3", "t4"], "t5"), (["t3", "t4", "t5"], "t6")]
    assert len(files.prefixes(history, 3, 99)) == 6
    assert not files.prefixes(["only"], 3, 99)


def test_what_a_list_follows_from_is_the_latest_tracks():
    """RecBole left to itself keeps the oldest of a list that is too long."""
    order = [f"t{place}" for place in range(8)]
    train = frame([("u", track) for track in order] + [("v", track) for track in order[::-1]] + [("w", "t9")])
    options = {"width": 4, "heads": 1, "max_length": 2, "max_epochs": 1}
    for model, places in ((SASRec(**options), [6, 7]), (BERT4Rec(**options, mask_share=0.5), [7])):
        model.fit(train, None, RNG(0))
        (row,) = model._query(model._users.get_indexer(["u"]))["item_id_list"]
        assert [model._tracks[one - 1] for one in row if one] == [order[place] for place in places]


def test_bert4rec_sees_all_of_a_short_history():
    """RecBole appends the mask and drops the first place, even where there is room; and where a user heard all
    tracks, it looks for one that was not for ever."""
    train = frame([(user, track) for user in "uvw" for track in ("abc" if user == "u" else "cba")] + [("x", "a")])
    model = BERT4Rec(width=4, heads=1, max_length=10, max_epochs=1).fit(train, None, RNG(0))
    net, seen = model._net, []
    inner = net.forward
    net.forward = lambda rows: seen.append(rows.clone()) or inner(rows)
    model.recommend(["u", "x"], 3, ["a", "b", "c"], None)
    id_of = {track: place + 1 for place, track in enumerate(model._tracks)}
    mask = net.mask_token
    assert seen[0].tolist() == [[id_of["a"], id_of["b"], id_of["c"], mask], [id_of["a"], mask, 0, 0]]


def test_a_batch_in_which_nothing_is_masked_costs_nothing():
    """RecBole divides 0 by 0 there and stops; two tracks a user and a small share make it certain."""
    train = frame([(f"u{n}", track) for n in range(6) for track in (f"t{n}", f"t{n + 1}")])
    model = BERT4Rec(width=4, heads=1, max_length=10, mask_share=0.1, last_share=0.0, batch_size=1, max_epochs=3)
    model.fit(train, None, RNG(0))
    assert np.isfinite(model.history_.frame["loss"]).all()


def test_tracks_outside_every_sequence_are_listed():
    train = frame([("u", f"t{place:02d}") for place in range(20)] + [("v", "t00"), ("v", "t19")])
    model = SASRec(width=4, heads=1, max_length=2, targets_per_user=1, max_epochs=1).fit(train, None, RNG(0))
    assert set(listed(model, train, 20, exclude=False)["track_id"]) == set(train["track_id"])


# --- what cannot be


def test_whatever_cannot_be_trained_is_one_error(train, monkeypatch):
    reasons = [
        (Pop, frame([("a\tb", "x")])),  # files cannot hold it
        (BPR, frame([("u", "a"), ("u", "b")])),  # nothing to draw
        (SASRec, frame([("u", "a"), ("v", "b")])),  # no order to learn
    ]
    for make, data in reasons:
        with pytest.raises(CannotFitError):
            make().fit(data, None, RNG(0))
    monkeypatch.setattr(models.psutil, "virtual_memory", lambda: SimpleNamespace(available=10))
    with pytest.raises(CannotFitError):
        Pop().fit(train, None, RNG(0))


@pytest.mark.parametrize("bad", ["a\tb", "a\nb", "a\rb", ""])
def test_ids_that_files_cannot_hold_are_refused(bad):
    rows = [("u", "x"), ("u", bad), ("v", "x"), ("v", "y")]
    for make in (Pop, SASRec):
        with pytest.raises(files.AtomicFileError, match=r"^Expected ids without tabs.*: rename it\.$"):
            make().fit(frame(rows), None, RNG(0))
    with pytest.raises(files.AtomicFileError):
        Pop().fit(frame([(bad, "x")]), None, RNG(0))


def test_atomic_files_are_as_recbole_documents_them(train, tmp_path):
    files.write_pairs(tmp_path, train)
    lines = (tmp_path / "ours" / "ours.train.inter").read_text(encoding="utf-8").split("\n")
    assert lines[0] == "user_id:token\titem_id:token"
    assert len(lines) == len(train) + 2
    fields = [line.split("\t") for line in lines[1:-1]]
    pairs = list(zip(*(files.decode(column) for column in zip(*fields, strict=True)), strict=True))
    assert sorted(pairs) == sorted(train[["user_id", "track_id"]].itertuples(index=False, name=None))
    assert [track for _, track in pairs] == sorted(train["track_id"])  # RecBole numbers tracks in this order
    plain = ["t00", "Björk", "a-b_c.d", "九"]
    assert list(files.encode(plain)) == plain


def test_what_does_not_fit_says_so_before_it_starts(train, monkeypatch):
    monkeypatch.setattr(models.psutil, "virtual_memory", lambda: SimpleNamespace(available=21e9))
    sizes = models.Sizes(11642, 55262, np.full(11642, 40))
    assert EASE()._memory(sizes)[0] > 9 * 4 * 55262**2  # NumPy inverts float32 in double precision: nine copies
    wide = frame([(f"u{n % 50}", f"t{n}") for n in range(60_000)])
    with pytest.raises(
        RecBoleError,
        match=r"^Expected 136\.\d GB of memory for the inverse of tracks x tracks of ease at 50 users, "
        r"60,000 tracks and 60,000 pairs, found 21\.0 GB; use fewer tracks, or kind itemknn\.$",
    ):
        EASE().fit(wide, None, RNG(0))
    monkeypatch.setattr(models.psutil, "virtual_memory", lambda: SimpleNamespace(available=10))
    for make in EVERY.values():
        with pytest.raises(RecBoleError, match=r"^Expected .* GB of memory for .*, found 0\.0 GB; .*\.$"):
            make().fit(train, None, RNG(0))


def test_the_rows_of_sasrec_are_foreseen(train):
    heard = train.groupby("user_id").size().to_numpy()
    for length, targets in ((3, 2), (3, 99), (99, 4), (99, 99)):
        model = SASRec(max_length=length, targets_per_user=targets, batch_size=1)
        rows = [row for history in files.histories(train) for row in model._rows("u", history)]
        tokens = sum(len(before) for _, before, _ in rows)
        needed = model._memory(models.Sizes(len(heard), 24, heard))[0]
        assert needed == 300 * (tokens + len(train)) + 3 * 4 * 24


def test_nothing_to_learn_is_said(train):
    one = frame([("u", "a"), ("u", "b")])
    for make in (BPR, LightGCN):
        with pytest.raises(RecBoleError, match="found 'u' with all 2"):
            make().fit(one, None, RNG(0))
    for make in (SASRec, BERT4Rec):
        with pytest.raises(RecBoleError, match="two train tracks at least"):
            make().fit(frame([("u", "a"), ("v", "b")]), None, RNG(0))
        with pytest.raises(RecBoleError, match="column timestamp"):
            make().fit(train[["user_id", "track_id"]], None, RNG(0))
    for make in (Pop, EASE, RecBoleItemKNN, TRAINED["sasrec"], TRAINED["recbole_bert4rec"]):  # one user alone
        assert len(listed(make().fit(one, None, RNG(0)), one, exclude=False)) == 2


@pytest.mark.parametrize(
    "make",
    [
        lambda: EASE(l2=0),
        lambda: RecBoleItemKNN(neighbours=0),
        lambda: BPR(width=0),
        lambda: LightGCN(lr=0),
        lambda: SASRec(width=9, heads=2),
        lambda: SASRec(max_length=1),
        lambda: SASRec(targets_per_user=0),
        lambda: BERT4Rec(dropout=1.0),
        lambda: BERT4Rec(mask_share=0.1, max_length=5),
    ],
)
def test_options_out_of_range_are_refused(make):
    with pytest.raises(ValueError, match=r"^Expected .*found .*; check params\.$") as caught:
        make()
    # a slip in params stops the workbook; it is not left out like what cannot be trained
    assert not isinstance(caught.value, CannotFitError)
