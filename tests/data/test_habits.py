"""Habits of mock listeners: even ones leave worlds as they were, published ones come near the published figures."""

import hashlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from lib.data import realism, stream
from lib.data.mock import fit, listeners
from lib.data.mock.habits import EVEN, PUBLISHED
from lib.data.sources import latent

D = "2019-02-01"
TRACKS = latent.tracks(n_tracks=3000, seed=1)


def options(**changes):
    usual = {"n_users": 150, "tracks_per_user": 150, "content_strength": 0.35, "cold_share": 0.02, "test_date": D}
    return usual | {"rng": np.random.default_rng(5)} | changes


@pytest.fixture(scope="module")
def published():
    return listeners.simulate(TRACKS, **options(habits=PUBLISHED, n_users=600))


def first_plays(log):
    played = log[log["event"] != "skip"]
    return played.groupby(["user_id", "track_id"], as_index=False)["timestamp"].min()


def test_even_habits_leave_the_worlds_of_the_power_table_as_they_were():
    tracks = latent.tracks(n_tracks=200, seed=1)
    log = listeners.simulate(tracks, **options(n_users=40, tracks_per_user=20, content_strength=0.5, cold_share=0.2))
    digest = hashlib.sha256(pd.util.hash_pandas_object(log, index=False).to_numpy().tobytes()).hexdigest()
    assert digest[:16] == "d987df54f30cc61e"


def test_blocks_are_the_log_in_pieces():
    blocks = list(listeners.blocks(TRACKS, **options(n_users=600)))
    assert len(blocks) > 1
    whole = listeners.simulate(TRACKS, **options(n_users=600))
    users = [pa.compute.unique(block["user_id"]).cast(pa.string()).to_pylist() for block in blocks]
    assert [user for block in users for user in block] == whole["user_id"].unique().tolist()
    assert sum(map(len, blocks)) == len(whole)


def test_nobody_hears_a_cold_track_before_the_date_nor_a_new_one_before_it_is_out(published):
    # tracks that came out within the year are heard by nobody before, so their first listens are spread over it
    first = published.groupby("track_id")["timestamp"].min()
    late = (first >= pd.Timestamp(D, tz="UTC")).mean()
    assert 0.005 < late < 0.05
    even = listeners.simulate(TRACKS, **options(n_users=600)).groupby("track_id")["timestamp"].min()
    middle = pd.Timestamp("2018-08-01", tz="UTC")
    assert (first > middle).mean() > (even > middle).mean() + 0.03


def test_months_differ_and_light_listeners_are_gone(published):
    month = pd.Timestamp(D, tz="UTC")

    def active(log):
        pairs = first_plays(log)
        of = pairs.assign(late=pairs["timestamp"] >= month).groupby("user_id")["late"].agg(["size", "max"])
        light = of["size"] <= of["size"].median()
        return of["max"].mean(), of.loc[light, "max"].mean()

    share, light = active(published)
    even_share, _ = active(listeners.simulate(TRACKS, **options(n_users=600)))
    assert 0.5 < share < 0.7 < even_share
    assert light < share


def test_everybody_hears_something(published):
    assert published["user_id"].nunique() == 600
    assert (published.groupby("user_id")["event"].agg(lambda events: (events != "skip").any())).all()


def test_the_month_comes_near_the_public_one():
    # at full size: benchmarks/full_mock.md; here 1,200 listeners on a smaller catalogue
    month, public = fit.month(PUBLISHED, 3, n_users=1200, n_tracks=8000), realism.public_profile()
    assert abs(month.gap_share_30min - public.gap_share_30min) < 0.06
    assert abs(month.gap_share_day - public.gap_share_day) < 0.08
    assert 0.7 < month.quantile("tracks_a_user", 0.5) / public.quantile("tracks_a_user", 0.5) < 1.4
    even = fit.month(EVEN, 3, n_users=1200, n_tracks=8000)
    assert even.quantile("tracks_a_user", 0.5) < 0.8 * public.quantile("tracks_a_user", 0.5)


def test_fitted_habits_give_back_what_they_were_fitted_to(monkeypatch):
    monkeypatch.setattr(fit, "STEPS", 4)
    hours = tuple(np.roll(PUBLISHED.hours, 6))
    planted = PUBLISHED._replace(session_mean=3.0, repeat_rate=1.2, test_month=0.9, hours=hours)
    target = fit.month(planted, 11)
    found = fit.fit(target)
    again = fit.month(found, 12)
    assert abs(again.gap_share_30min - target.gap_share_30min) < 0.06
    assert abs(again.repeat_share - target.repeat_share) < 0.06
    assert np.corrcoef(again.hours, target.hours)[0, 1] > 0.8 > np.corrcoef(again.hours, PUBLISHED.hours)[0, 1]
    untouched = fit.month(PUBLISHED, 12)
    assert abs(untouched.gap_share_30min - target.gap_share_30min) > 0.1
    assert abs(untouched.repeat_share - target.repeat_share) > 0.1


def test_blocks_stream_into_a_study(tmp_path):
    done = stream.prepare(listeners.blocks(TRACKS, **options(habits=PUBLISHED)), tmp_path / "new", test_date=D)
    assert stream.leakage(done.parts, tmp_path / "new" / "events.parquet", D)["ok"].all()
