"""The mock listener: what must hold in every world, the planted structure, and figures of real listening."""

import numpy as np
import pandas as pd
import pytest

from lib.data.mock.habits import HOURS, WEEKDAYS
from lib.data.mock.listeners import ListeningError, mock_durations, simulate, true_factors
from lib.data.mock.taste import FACTORS, choose, make_world
from lib.data.splits import interactions, leakage, split
from lib.study.tables import check

D = "2019-02-01"
DEMO = {"n_users": 600, "tracks_per_user": 40, "content_strength": 0.3, "cold_share": 0.25, "test_date": D}


def labelled(n_tracks, seed=0):
    """Tracks with the labels of rendered scores, factors crossed."""
    rng = np.random.default_rng(seed)
    collection = rng.choice(["bach", "airs", "fiddle", "quartet", "folk", "fife"], n_tracks)
    return pd.DataFrame(
        {
            "track_id": [f"{number:016x}" for number in rng.integers(0, 2**62, n_tracks)],
            "artist": [f"{name} {group}" for name, group in zip(collection, rng.integers(0, 5, n_tracks), strict=True)],
            "duration": 30.0,
            "collection": collection,
            "instrument_family": rng.choice(["strings", "winds", "brass", "keys", "plucked"], n_tracks),
            "tempo": rng.lognormal(4.6, 0.3, n_tracks),
            "pitch_mean": rng.normal(66, 6, n_tracks),
            "pitch_spread": rng.gamma(8, 0.8, n_tracks),
            "density": rng.gamma(4, 1.5, n_tracks),
            "mode": rng.choice(["major", "minor"], n_tracks),
            "parts": rng.integers(1, 5, n_tracks),
        }
    )


def world(seed=0, n_tracks=400, **options):
    """(tracks, events) of a mock world whose durations are known."""
    rng = np.random.default_rng(seed)
    tracks = labelled(n_tracks, seed)
    tracks["full_duration"] = mock_durations(tracks, rng)
    return tracks, simulate(tracks, **(DEMO | options), rng=rng)


@pytest.fixture(scope="module")
def demo():
    return world()


# true factors


def test_factors_are_unit_rows_in_which_every_factor_weighs_the_same():
    factors = true_factors(labelled(300))
    assert np.allclose(np.linalg.norm(factors, axis=1), 1)
    only = true_factors(labelled(300), dict.fromkeys(FACTORS, 0) | {"mode": 1})
    assert only.shape == (300, 2)
    assert len(np.unique(only.round(6), axis=0)) == 2


def test_weights_move_neighbours_towards_their_factor():
    tracks = labelled(300)
    same = tracks["collection"].to_numpy()[:, None] == tracks["collection"].to_numpy()

    def agreement(weights):
        similarity = true_factors(tracks, weights) @ true_factors(tracks, weights).T
        np.fill_diagonal(similarity, -2)
        return same[np.arange(300), similarity.argmax(axis=1)].mean()

    assert agreement({"collection": 4.0}) > 0.95 > agreement(None) > agreement({"collection": 0}) + 0.1


def test_latent_columns_are_taken_in_the_order_of_their_numbers():
    latent = pd.DataFrame(np.eye(12), columns=[f"z{i}" for i in range(12)])[[f"z{i}" for i in reversed(range(12))]]
    assert np.array_equal(true_factors(latent), np.eye(12))
    with pytest.raises(ListeningError, match="no factor weights"):
        true_factors(latent, {"mode": 1})


@pytest.mark.parametrize(
    ("change", "weights", "message"),
    [
        (lambda tracks: tracks, {"tempi": 1}, "found none for 'tempi'"),
        (lambda tracks: tracks, {"tempo": -1}, "0 or more"),
        (lambda tracks: tracks[["track_id", "artist"]], None, "no label that taste could follow"),
        (lambda tracks: tracks.assign(tempo=0.0), None, "a tempo for every track, found none or no number for 300"),
        (lambda tracks: tracks.assign(mode=None), None, "a mode for every track"),
    ],
)
def test_labels_and_weights_that_are_none(change, weights, message):
    with pytest.raises(ListeningError, match=message):
        true_factors(change(labelled(300)), weights)


def test_a_factor_that_is_not_there_counts_for_nothing():
    tracks = labelled(20)
    without = true_factors(tracks.drop(columns="mode"))
    assert np.array_equal(without, true_factors(tracks, {"mode": 0}))
    assert not np.array_equal(without, true_factors(tracks)[:, : without.shape[1]])


def test_taste_can_follow_any_label_of_ones_own():
    tracks = pd.DataFrame({"track_id": list("abc"), "composer": ["x", "y", "x"]})
    factors = true_factors(tracks, {"composer": 1})
    assert np.allclose(factors[0], factors[2])
    assert not np.allclose(factors[0], factors[1])


# what must hold


def test_a_seed_gives_one_world():
    one, same, other = (world(seed, n_tracks=60, n_users=30, tracks_per_user=8)[1] for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(one, same)
    assert not one.equals(other)


def test_events_keep_the_contract(demo):
    tracks, events = demo
    check(events, "events")
    assert events["user_id"].nunique() == 600
    assert set(events["track_id"]) <= set(tracks["track_id"])
    times = events["timestamp"]
    assert times.min() >= pd.Timestamp("2018-02-01", tz="UTC")
    assert times.max() < pd.Timestamp("2019-03-01", tz="UTC")
    assert events.equals(events.sort_values(["user_id", "timestamp", "track_id"], ignore_index=True))


def test_outcome_follows_from_seconds_played(demo):
    tracks, events = demo
    duration = events["track_id"].map(tracks.set_index("track_id")["full_duration"])
    played = events["played_seconds"]
    assert (played <= duration).all()
    expected = np.where(
        played < np.minimum(duration / 2, 240), "skip", np.where(played >= 0.9 * duration, "complete", "play")
    )
    assert (events["event"] == expected).all()
    assert set(expected) == {"skip", "play", "complete"}


@pytest.mark.parametrize("n_users", [100, 600])
def test_every_listener_plays_at_least_one_track(n_users):
    _, events = world(3, n_users=n_users, tracks_per_user=2)
    assert interactions(events)["user_id"].nunique() == n_users


def test_cold_tracks_come_out_at_the_test_date(demo):
    tracks, events = demo
    before = set(events.loc[events["timestamp"] < D, "track_id"])
    late = set(events["track_id"]) - before
    assert 0.2 * len(tracks) <= len(late) <= 0.25 * len(tracks) + 3
    _, none = world(cold_share=0)
    assert len(set(none["track_id"]) - set(none.loc[none["timestamp"] < D, "track_id"])) <= 3


def test_each_listener_takes_up_distinct_tracks():
    of_world = make_world(labelled(50), 0.5, None, np.random.default_rng(0))
    chosen = choose(of_world, np.array([1, 10, 50]), np.random.default_rng(0))
    assert np.bincount(chosen.user).tolist() == [1, 10, 50]
    assert not pd.DataFrame({"user": chosen.user, "track": chosen.track}).duplicated().any()


def test_the_split_of_a_mock_world_does_not_leak(demo):
    assert leakage(split(demo[1], test_date=D), demo[1], D)["ok"].all()


@pytest.mark.parametrize(
    ("n_tracks", "options", "minimum"),
    [(400, {}, 100), (120, {"n_users": 120, "tracks_per_user": 12}, 20)],
)
def test_demo_and_toy_leave_enough_to_validate_and_test(n_tracks, options, minimum):
    for seed in range(4):
        parts = split(world(seed, n_tracks=n_tracks, **options)[1], test_date=D)
        assert len(set(parts.val["user_id"]) | set(parts.cold_val["user_id"])) >= minimum
        assert parts.hot_test["user_id"].nunique() >= 1.7 * minimum
        assert parts.cold_test["user_id"].nunique() >= 1.3 * minimum


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"content_strength": 1.1}, r"content_strength in \[0, 1\], found 1.1"),
        ({"cold_share": 1.0}, r"cold_share in \[0, 1\), found 1.0"),
        ({"n_users": 0}, "n_users 1 or more, found 0"),
        ({"tracks_per_user": 0}, "tracks_per_user above 0"),
        ({"factor_weights": {"tempi": 1}}, "found none for 'tempi'"),
    ],
)
def test_values_out_of_range(options, message):
    with pytest.raises(ListeningError, match=message):
        world(n_tracks=20, **options)


def test_tracks_without_what_is_needed():
    rng = np.random.default_rng(0)
    with pytest.raises(ListeningError, match="an artist for every track"):
        simulate(labelled(20).drop(columns="artist"), **DEMO, rng=rng)
    with pytest.raises(ListeningError, match="each track_id once"):
        simulate(labelled(20).assign(track_id="a"), **DEMO, rng=rng)


def test_worlds_without_labels_run_on_latent_factors():
    rng = np.random.default_rng(0)
    tracks = pd.DataFrame(rng.normal(size=(50, 4)), columns=[f"z{i}" for i in range(4)])
    tracks = tracks.assign(track_id=[f"t{i}" for i in range(50)], artist="one")
    assert len(simulate(tracks, **(DEMO | {"n_users": 20, "tracks_per_user": 5}), rng=rng)) > 50


# planted structure


def content_knn(parts, ids, factors):
    """Recall of hot test tracks among the 20 nearest to the mean of a listener's history."""
    row = {track: number for number, track in enumerate(ids)}
    hits, wanted = 0, 0
    history = parts.train.groupby("user_id")["track_id"].agg(list)
    hot = np.isin(ids, parts.train["track_id"])
    for user, truth in parts.hot_test.groupby("user_id")["track_id"]:
        seen = [row[track] for track in history[user]]
        score = np.where(hot, factors @ factors[seen].mean(axis=0), -np.inf)
        score[seen] = -np.inf
        hits += np.isin([row[track] for track in truth], np.argsort(-score)[:20]).sum()
        wanted += len(truth)
    return hits / wanted


def margins(content_strength):
    """Standardised margin of true factors over 40 permutations, and the ratio, in each of three worlds."""
    found = []
    for seed in range(3):
        tracks, events = world(seed, n_tracks=200, n_users=150, tracks_per_user=30, content_strength=content_strength)
        parts, factors, rng = split(events, test_date=D), true_factors(tracks), np.random.default_rng(seed)
        ids = tracks["track_id"].to_numpy()
        null = [content_knn(parts, ids, factors[rng.permutation(200)]) for _ in range(40)]
        real = content_knn(parts, ids, factors)
        found.append(((real - np.mean(null)) / np.std(null), real / np.mean(null)))
    return np.array(found)


def test_at_strength_0_content_finds_nothing():
    assert abs(margins(0.0)[:, 0].mean()) < 1.8  # three standard errors of a mean of three


def test_at_strength_1_content_finds_much():
    found = margins(1.0)
    assert found[:, 0].min() > 4
    assert found[:, 1].mean() > 1.6


# figures of real listening


def test_about_half_of_the_listens_end_early(demo):
    assert (demo[1]["event"] != "complete").mean() == pytest.approx(0.49, abs=0.05)


@pytest.fixture(scope="module")
def first_plays():
    """Times of first plays in four worlds: in one, the own hours of its few heavy listeners still show."""
    return pd.concat([interactions(world(seed)[1])["timestamp"] for seed in range(4)])


def test_hours_follow_the_published_profile(first_plays):
    assert np.corrcoef(np.bincount(first_plays.dt.hour, minlength=24), HOURS)[0, 1] > 0.9


def test_weekdays_follow_the_published_profile(first_plays):
    # canary: sessions placed at their first listen crowd behind the test date, a Friday (16 % instead of 13 on Sunday)
    shares = 100 * np.bincount(first_plays.dt.weekday, minlength=7) / len(first_plays)
    assert np.abs(shares - WEEKDAYS).max() < 1.5


def test_listeners_differ_as_real_ones_do():
    tracks = pd.concat([interactions(world(seed)[1]).groupby("user_id").size() for seed in range(3)])
    assert tracks.mean() == pytest.approx(40, rel=0.15)
    assert tracks.median() / tracks.mean() == pytest.approx(142 / 256, abs=0.08)


def test_gaps_between_first_plays_are_those_of_sessions(demo):
    first = interactions(demo[1]).groupby("user_id")["timestamp"].diff().dropna().dt.total_seconds()
    assert 0.35 < (first <= 1800).mean() < 0.75
    assert (first >= 86400).mean() > 0.1


def test_canary_unsplit_artist_popularity_would_let_content_win_at_strength_0():
    popularity = np.array(
        [make_world(labelled(200), 0.0, None, np.random.default_rng(s)).popularity for s in range(40)]
    )
    artists = labelled(200)["artist"]
    between = np.mean([pd.Series(row).groupby(artists).mean().var() for row in popularity])
    full = [make_world(labelled(200), 1.0, None, np.random.default_rng(s)).popularity for s in range(40)]
    by_artist = np.mean([pd.Series(row).groupby(artists).mean().var() for row in full])
    assert between < 0.45 * by_artist
