"""Each rule of the split on a log made by hand, by frame and by stream; properties on random logs."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from lib.data import logs, splits, stream
from lib.data.logs import LogError
from lib.data.splits import PAIR, Split, SplitError, interactions, require_validation_users, window
from lib.study.tables import check

D = "2019-02-01"


def log(*rows):
    """Rows of (user, track, time[, event])."""
    names = ["user_id", "track_id", "timestamp", "event"]
    return pd.DataFrame(rows, columns=names[: len(rows[0])])


def pairs(frame):
    return {(row.user_id, row.track_id): row.count_ for row in frame.rename(columns={"count": "count_"}).itertuples()}


def in_tests(parts):
    return pairs(pd.concat(parts[1:]))


def many(n_users, *, cold=()):
    """n listeners with a history and one hot test pair each; those in `cold` have a cold one as well."""
    rows = [(str(u), "a", "2018-05-01") for u in range(1, n_users + 1)] + [("x", "b", "2018-05-01")]
    rows += [(str(u), "b", "2019-02-03") for u in range(1, n_users + 1)]
    return log(*rows, *((str(u), "c", "2019-02-04") for u in cold))


class Route(NamedTuple):
    """A way from a log to its parts and their audit, called as `lib.data.splits` is."""

    split: callable
    leakage: callable


@pytest.fixture(params=["frame", "stream"])
def route(request, tmp_path):
    """Both routes: a frame in memory, and a file of text that passes as batches."""
    if request.param == "frame":
        return Route(splits.split, splits.leakage)

    def split(events, **options):
        events.to_csv(tmp_path / "log.csv", index=False)
        return stream.prepare(logs.batches(tmp_path / "log.csv"), tmp_path / "new", **options).parts

    def leakage(parts, events, date, **options):
        split(events, test_date=date, **options)
        return stream.leakage(parts, tmp_path / "new" / "events.parquet", date, **options)

    return Route(split, leakage)


# interactions


def test_interactions_leave_skips_out_and_start_at_the_first_play():
    events = log(
        ("u", "a", "2019-01-01 10:00:00", "skip"),
        ("u", "a", "2019-01-03 10:00:00", "complete"),
        ("u", "a", "2019-01-02 10:00:00", "play"),
        ("u", "b", "2019-01-01 10:00:00", "skip"),
    )
    found = check(interactions(events), "pairs")
    assert pairs(found) == {("u", "a"): 2}
    assert found["timestamp"].iloc[0] == pd.Timestamp("2019-01-02 10:00", tz="UTC")
    assert len(interactions(events.drop(columns="event"))) == 2  # a log without outcomes is all plays


def test_times_without_zone_are_utc_and_others_are_converted():
    text = interactions(log(("u", "a", "2019-02-01 00:30:00+01:00"), ("u", "b", "2019-02-01 00:30:00")))
    assert [f"{time:%d %H:%M}" for time in text["timestamp"]] == ["31 23:30", "01 00:30"]
    zoned = pd.DataFrame({"user_id": "u", "track_id": "a", "timestamp": pd.to_datetime(["2019-02-01"])})
    zoned["timestamp"] = zoned["timestamp"].dt.tz_localize("Europe/Vienna")
    assert interactions(zoned)["timestamp"].iloc[0] == pd.Timestamp("2019-01-31 23:00", tz="UTC")


def test_a_time_that_is_none_is_named_with_its_row():
    with pytest.raises(LogError, match=r"found 1 that are none \(row 2: '2019-02-30'"):
        interactions(log(("u", "a", "2019-02-01"), ("u", "a", "2019-02-30")))
    with pytest.raises(LogError, match="found numbers"):
        interactions(pd.DataFrame({"user_id": ["u"], "track_id": ["a"], "timestamp": [1549000000]}))


@pytest.mark.parametrize(
    ("events", "message"),
    [
        (log(("u", "a", D)).drop(columns="user_id"), "found no user_id among track_id, timestamp"),
        (log(("u", "a", D, "played")), "found 'played' in row 1"),
        (log(("u", "a", D), (None, "a", D)), "a user_id in every row, found none in row 2"),
        (log((20.0, "a", D)), r"found decimals \(20.0 in row 1\)"),
    ],
)
def test_a_log_that_is_none_is_refused(events, message):
    with pytest.raises(SplitError, match=message):
        interactions(events)


# the window


@pytest.mark.parametrize(
    ("date", "start", "end"),
    [
        ("2019-02-01", "2018-02-01", "2019-03-01"),
        ("2020-02-29", "2019-02-28", "2020-03-29"),  # no 29th a year before
        ("2020-01-31", "2019-01-31", "2020-02-29"),  # no 31st a month after, leap year
        ("2019-01-31", "2018-01-31", "2019-02-28"),
        ("2019-03-31", "2018-03-31", "2019-04-30"),
    ],
)
def test_window_goes_by_the_calendar(date, start, end):
    assert window(date) == (pd.Timestamp(start, tz="UTC"), pd.Timestamp(end, tz="UTC"))


def test_window_and_date_are_half_open(route):
    parts = route.split(
        log(
            ("u", "before", "2018-01-31 23:59:59"),
            ("u", "first", "2018-02-01 00:00:00"),
            ("u", "last", "2019-01-31 23:59:59"),
            ("u", "tie", "2019-02-01 00:00:00"),
            ("u", "end", "2019-02-28 23:59:59"),
            ("u", "after", "2019-03-01 00:00:00"),
        ),
        test_date=D,
    )
    assert set(pairs(parts.train)) == {("u", "first"), ("u", "last")}
    assert set(in_tests(parts)) == {("u", "tie"), ("u", "end")}


@pytest.mark.parametrize(
    ("date", "start", "end"),
    [
        ("2019-01-31", "2018-01-31", "2019-02-28"),  # no 31st a month after
        ("2020-01-31", "2019-01-31", "2020-02-29"),  # leap year
        ("2020-02-29", "2019-02-28", "2020-03-29"),  # no 29th a year before
    ],
)
def test_the_edges_of_a_window_at_the_end_of_a_month(route, date, start, end):
    second = pd.Timedelta(seconds=1)
    moments = {
        "too early": pd.Timestamp(start) - second, "first": pd.Timestamp(start),
        "before": pd.Timestamp(date) - second, "at": pd.Timestamp(date),
        "last": pd.Timestamp(end) - second, "too late": pd.Timestamp(end),
    }  # fmt: skip
    events = log(*(("u", track, time) for track, time in moments.items()))
    parts = route.split(events, test_date=date)
    assert set(pairs(parts.train)) == {("u", "first"), ("u", "before")}
    assert set(in_tests(parts)) == {("u", "at"), ("u", "last")}
    assert route.leakage(parts, events, date)["ok"].all()


def test_a_pair_heard_only_before_the_window_is_new_again(route):
    parts = route.split(log(("u", "a", "2018-01-01"), ("u", "b", "2018-05-01"), ("u", "a", "2019-02-02")), test_date=D)
    assert in_tests(parts) == {("u", "a"): 1}


# train, test, hot, cold


def test_counts_stop_at_the_date_and_pairs_heard_before_are_not_tested(route):
    events = log(
        ("u", "a", "2018-06-01"), ("u", "a", "2019-01-31"), ("u", "a", "2019-02-05"), ("u", "a", "2019-02-06"),
        ("u", "b", "2019-02-07"), ("u", "b", "2019-02-08"), ("u", "b", "2019-03-08"),
    )  # fmt: skip
    parts = route.split(events, test_date=D)
    assert pairs(parts.train) == {("u", "a"): 2}
    assert in_tests(parts) == {("u", "b"): 2}
    assert route.leakage(parts, events, D)["ok"].all()


def test_canary_counts_from_after_the_date_are_caught(route):
    events = many(10)
    events = pd.concat([events, log(("1", "a", "2019-02-20"))])
    right = route.split(events, test_date=D)
    whole = interactions(events)  # the slip: count first, divide by date afterwards
    wrong = right._replace(train=whole[whole["timestamp"] < pd.Timestamp(D, tz="UTC")])
    audit = route.leakage(wrong, events, D).set_index("check")["count"]
    assert route.leakage(right, events, D)["ok"].all()
    assert audit["train counts hold plays before the test date only"] == 1
    assert audit.sum() == 1


def test_canary_a_test_pair_in_train_is_caught(route):
    events = many(10)
    right = route.split(events, test_date=D)
    wrong = right._replace(train=pd.concat([right.train, right.hot_test.head(3)]))
    audit = route.leakage(wrong, events, D).set_index("check")["count"]
    assert audit["no test pair is in train"] == 3
    assert audit["no train pair was first heard at the test date or later"] == 3


def test_test_listeners_without_history_leave(route):
    parts = route.split(log(("u", "a", "2018-05-01"), ("v", "a", "2019-02-03"), ("u", "b", "2019-02-03")), test_date=D)
    assert set(in_tests(parts)) == {("u", "b")}


def test_a_skip_before_the_date_makes_a_track_neither_hot_nor_heard(route):
    parts = route.split(
        log(
            ("u", "a", "2018-05-01", "play"), ("u", "b", "2018-05-01", "skip"),
            ("v", "b", "2018-05-01", "skip"), ("u", "b", "2019-02-03", "play"),
        ),
        test_date=D,
    )  # fmt: skip
    assert pairs(parts.cold_test) == {("u", "b"): 1}


def test_positives_may_be_completes_alone(route):
    events = log(
        ("u", "a", "2018-05-01", "play"), ("u", "a", "2018-05-02", "complete"), ("u", "b", "2018-05-01", "play"),
        ("u", "c", "2019-02-03", "play"), ("u", "b", "2019-02-04", "complete"), ("u", "a", "2019-02-04", "complete"),
    )  # fmt: skip
    every, completed = (route.split(events, test_date=D, positives=kind) for kind in ("all", "completed"))
    assert (pairs(every.train), in_tests(every)) == ({("u", "a"): 2, ("u", "b"): 1}, {("u", "c"): 1})
    assert (pairs(completed.train), pairs(completed.cold_test)) == ({("u", "a"): 1}, {("u", "b"): 1})
    assert route.leakage(completed, events, D, positives="completed")["ok"].all()
    assert not route.leakage(completed, events, D)["ok"].all()  # canary: of plays, there are others
    with pytest.raises(SplitError, match="found 'liked'"):
        route.split(events, test_date=D, positives="liked")


def test_cold_is_absent_from_all_of_train_not_from_the_listeners_history(route):
    parts = route.split(
        log(
            ("u", "a", "2018-05-01"), ("v", "b", "2018-05-01"), ("u", "b", "2019-02-03"), ("u", "c", "2019-02-03"),
            ("w", "c", "2019-02-02"),
        ),
        test_date=D,
    )  # fmt: skip
    assert set(pairs(parts.hot_test)) == {("u", "b")}
    assert set(pairs(parts.cold_test)) == {("u", "c")}


# validation


def test_published_validation_has_listeners_with_hot_and_without_cold_pairs(route):
    parts = route.split(many(20, cold=range(1, 11)), test_date=D, val_users="published")
    candidates = [str(u) for u in range(11, 21)]
    assert set(parts.val["user_id"]) == set(train_test_split(candidates, test_size=0.7, random_state=42)[0])
    assert parts.cold_val.empty
    assert len(parts.val) == 3
    assert len(parts.hot_test) == 17  # all hot pairs outside validation, those of listeners with cold pairs too
    assert len(parts.cold_test) == 10


def test_all_validation_keeps_cold_pairs(route):
    parts = route.split(many(20, cold=range(1, 21)), test_date=D, val_users="all")
    drawn = set(train_test_split([str(u) for u in range(1, 21)], test_size=0.7, random_state=42)[0])
    assert set(parts.val["user_id"]) == set(parts.cold_val["user_id"]) == drawn
    assert (len(parts.val), len(parts.hot_test)) == (6, 14)
    with pytest.raises(SplitError, match=r"at least 100 validation listeners.*found 6"):
        require_validation_users(parts, 100)
    assert require_validation_users(parts, 6) == 6


@pytest.mark.parametrize(("part", "said"), [("val", "to choose options by"), ("hot_test", "to be judged by")])
def test_a_study_in_which_nothing_hot_is_left_to_choose_or_judge_by_is_refused(route, part, said):
    """Validation listeners of cold pairs alone are counted, but no recommender can choose its options by them."""
    parts = route.split(many(20), test_date=D)
    parts = parts._replace(cold_val=parts.val, **{part: getattr(parts, part).head(0)})
    with pytest.raises(SplitError, match=f"hot tracks in .*{said}, found none: raise n_users"):
        require_validation_users(parts, 1)


def test_a_listener_with_only_cold_pairs(route):
    events = pd.concat([many(10), log(("x", "c", "2019-02-05"))])
    published, everyone = (route.split(events, test_date=D, val_users=who) for who in ("published", "all"))
    assert ("x", "c") in pairs(published.cold_test)
    assert "x" not in set(published.hot_test["user_id"]) | set(published.val["user_id"])
    assert ("x", "c") in pairs(everyone.cold_test) | pairs(everyone.cold_val)


def test_numeric_ids_are_ordered_by_number(route):
    users = [str(u) for u in range(1, 31)]
    by_number = set(train_test_split(users, test_size=0.7, random_state=42)[0])
    by_text = set(train_test_split(sorted(users), test_size=0.7, random_state=42)[0])
    assert by_number != by_text  # '9' before '10': else this test proves nothing
    assert set(route.split(many(30), test_date=D, val_users="published").val["user_id"]) == by_number
    named = many(30).assign(user_id=lambda frame: "u" + frame["user_id"])
    assert set(route.split(named, test_date=D).val["user_id"]) == {f"u{user}" for user in by_text}


def test_ids_given_as_numbers_become_text(route):
    events = many(10)
    events = events[events["user_id"] != "x"].astype({"user_id": "int64"})
    assert check(route.split(events, test_date=D).train, "pairs")["user_id"].iloc[0] == "1"


def test_order_of_rows_does_not_matter(route):
    events = many(30, cold=(3, 4, 5))
    for one, other in zip(route.split(events, test_date=D), route.split(events.iloc[::-1], test_date=D), strict=True):
        pd.testing.assert_frame_equal(one, other)


def test_preset_of_2024_is_open_halved_and_without_cold(route):
    events = pd.concat(
        [
            many(20, cold=range(1, 6)).assign(timestamp=lambda f: f["timestamp"].str.replace("2018-05", "2019-05")),
            log(("7", "c", "2020-02-21"), ("x", "c", "2020-02-21"), ("1", "b", "2021-01-01")),
        ]
    )
    events["timestamp"] = events["timestamp"].str.replace("2019-02", "2020-02").str.replace("-02-0", "-02-2")
    parts = route.split(events, preset="tamm2024")
    assert parts.cold_val.empty
    assert parts.cold_test.empty
    assert (len(parts.val), len(parts.hot_test)) == (10, 10)
    assert in_tests(parts)["1", "b"] == 2
    assert route.leakage(parts, events, "2020-02-20", preset="tamm2024")["ok"].all()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"preset": "tamm2025"}, SplitError, "found 'tamm2025'"),
        ({"val_users": "some"}, SplitError, "found 'some'"),
        ({"test_date": "2019-02-30"}, LogError, "found '2019-02-30'"),
        ({"test_date": 20190201}, LogError, "found 20190201"),
        ({"test_date": "2010-01-01"}, SplitError, "2010-01-01, found none: choose another"),
    ],
)
def test_options_that_are_none(route, options, error, message):
    with pytest.raises(error, match=message):
        route.split(many(10), **({"test_date": D} | options))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 12), st.integers(0, 8), st.integers(-420, 40), st.sampled_from(["play", "skip", "complete"])
        ),
        min_size=1,
        max_size=120,
    ),
    st.sampled_from(["all", "published"]),
)
def test_parts_are_disjoint_and_complete(rows, val_users):
    events = log(*((str(u), f"t{t}", pd.Timestamp(D) + pd.Timedelta(days=d, hours=5), e) for u, t, d, e in rows))
    start, end = window(D)
    times = pd.to_datetime(events["timestamp"], utc=True)
    heard = events[(times >= start) & (times < end) & (events["event"] != "skip")]
    if not (times[heard.index] < pd.Timestamp(D, tz="UTC")).any():
        with pytest.raises(SplitError, match="found none: choose another"):
            splits.split(events, test_date=D, val_users=val_users)
        return
    parts = splits.split(events, test_date=D, val_users=val_users)
    whole = pd.concat(parts)
    assert not whole.duplicated(PAIR).any()
    assert splits.leakage(parts, events, D)["ok"].all()
    known = set(parts.train["user_id"])
    expected = {(row.user_id, row.track_id) for row in heard.itertuples() if row.user_id in known}
    assert set(map(tuple, whole[PAIR].to_numpy())) == expected
    late_again = heard[times[heard.index] >= pd.Timestamp(D, tz="UTC")].merge(parts.train[PAIR], on=PAIR)
    of_known = heard["user_id"].isin(known).sum()
    assert whole["count"].sum() + len(late_again) == of_known


def test_split_is_five_frames_of_the_contract(route):
    parts = route.split(many(40, cold=range(1, 9)), test_date=D)
    assert isinstance(parts, Split)
    for part in parts:
        check(part, "pairs")
        assert part["count"].dtype == np.int64
