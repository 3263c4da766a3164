"""From a log of listening to interactions, and from these to train, validation and test by a date.

The rules are written here once and quoted by the thesis:

- *Interactions* are user-track pairs from plays and completes only (a log without outcomes is all plays), at their
  first play, with the number of plays.
- The window is [D − 1 year, D + 1 month) by the calendar, half-open. *Train* has rows before D only and counts them
  only. A *test pair* was first heard, within the window, at D or later; its count is over the test month. Listeners who
  are absent from train leave the test part. A track is *cold* if it is absent from all of train, else *hot*.
- Validation takes 30 % of the test month's listeners, drawn by scikit-learn's ``train_test_split`` over ascending ids
  (numeric ids by their number) with seed 42: so the published split comes out again.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from lib.data.logs import as_utc_date, as_utc_times, read_log
from lib.study.tables import EVENTS, UTC_MICROSECONDS

__all__ = [
    "Split",
    "SplitError",
    "interactions",
    "leakage",
    "read_log",
    "require_validation_users",
    "split",
    "window",
]

SPLIT_SEED = 42  # the published split's; a definition, not a draw of the study
PAIR = ["user_id", "track_id"]
COLUMNS = ["user_id", "track_id", "timestamp", "count"]
VAL_USERS = ("all", "published")
_MORE = "raise n_users or tracks_per_user, or lower cold_share"
POSITIVES = {"all": ("play", "complete"), "completed": ("complete",)}


class Preset(NamedTuple):
    """What distinguishes the split of one paper from that of another."""

    test_date: str
    test_months: int | None  # None: all that follows
    test_share: float  # of the listeners who are divided into validation and test
    cold_part: bool


PRESETS = {
    "tamm2026": Preset("2019-02-01", 1, 0.7, True),  # arXiv 2604.23077
    "tamm2024": Preset("2020-02-20", None, 0.5, False),  # arXiv 2409.08987
}


class SplitError(ValueError):
    """A log cannot be divided as asked; the sentence says why."""


class Split(NamedTuple):
    """Five frames of pairs (user_id, track_id, timestamp, count); see `split`."""

    train: pd.DataFrame
    val: pd.DataFrame
    cold_val: pd.DataFrame
    hot_test: pd.DataFrame
    cold_test: pd.DataFrame


def interactions(events, positives="all"):
    """User-track pairs at their first play, with counts; skips are no interactions.

    Parameters
    ----------
    events : DataFrame
        user_id, track_id, timestamp and, where known, event (play, skip or complete) and count (listens that a row
        stands for). Times without a zone are taken as UTC, others are converted.
    positives : {'all', 'completed'}
        What counts as listening: plays and completes, or completes alone.

    Returns
    -------
    DataFrame
        user_id (str), track_id (str), timestamp (UTC, first play), count (int64, plays), by user, time and track.

    Raises
    ------
    SplitError, lib.data.logs.LogError
        For missing columns or ids, an unknown event, times that are none (naming rows).

    Examples
    --------
    >>> log = pd.DataFrame({"user_id": ["u", "u"], "track_id": ["t", "t"], "timestamp": ["2019-01-02", "2019-01-01"]})
    >>> interactions(log)["count"].tolist()
    [2]
    """
    return _pairs(_plays(events, positives))


def split(events, *, test_date=None, preset="tamm2026", val_users="all", positives="all"):
    """Divide a log by a date into train, validation and test, hot and cold.

    Parameters
    ----------
    events : DataFrame
        As for `interactions`.
    test_date : str or Timestamp, optional
        D; taken as UTC where it has no zone. Default: the preset's own.
    preset : {'tamm2026', 'tamm2024'}
        tamm2026: one test month, 30 % of listeners to validation, a cold part. tamm2024: everything from D on,
        half of the listeners to validation, pairs with cold tracks left out.
    val_users : {'all', 'published'}
        Who may be drawn for validation: every test-month listener, or (as published) only those with hot and without
        cold pairs. With tamm2024, which has no cold part, both are every listener with a hot pair.
    positives : {'all', 'completed'}
        As for `interactions`.

    Returns
    -------
    Split
        train; val and cold_val (hot and cold pairs of validation listeners; the latter empty as published); hot_test
        and cold_test (those of all other test-month listeners). Sorted by user, time and track.

    Raises
    ------
    SplitError
        For unknown options, a date that is none, and a log without plays before D in the window.

    Examples
    --------
    >>> log = pd.DataFrame({"user_id": ["u", "u"], "track_id": ["a", "b"], "timestamp": ["2019-01-31", "2019-02-01"]})
    >>> split(log, test_date="2019-02-01").cold_test["track_id"].tolist()
    ['b']
    """
    date = date_of(test_date, preset)
    plays = _in_window(_plays(events, positives), *window(date, preset=preset))
    pairs = _pairs(plays)
    return divide(_pairs(plays[plays["timestamp"] < date]), pairs[pairs["timestamp"] >= date], date, preset, val_users)


def divide(train, test, date, preset="tamm2026", val_users="all"):
    """Divide pairs that are known by period into the parts of a split.

    Parameters
    ----------
    train : DataFrame
        Pairs (user_id, track_id, timestamp, count) of the window before `date`, counted before it.
    test : DataFrame
        Pairs first heard, within the window, at `date` or later.
    date : Timestamp
    preset, val_users : str
        As for `split`.

    Returns
    -------
    Split

    Raises
    ------
    SplitError
        For unknown options, and where there is nothing to learn from.
    """
    rules = _rules(preset, val_users)
    if train.empty:
        raise SplitError(
            f"Expected plays in the year before the test date {date:%Y-%m-%d}, found none: choose another test_date."
        )
    test = test[test["user_id"].isin(train["user_id"])]
    hot = test["track_id"].isin(train["track_id"])
    if not rules.cold_part:
        test, hot = test[hot], hot[hot]
    candidates = test["user_id"]
    if val_users == "published":
        candidates = candidates[~candidates.isin(test.loc[~hot, "user_id"])]
    in_val = test["user_id"].isin(_validation(candidates.unique(), rules.test_share))
    parts = (test[in_val & hot], test[in_val & ~hot], test[~in_val & hot], test[~in_val & ~hot])
    return Split(train, *(part.reset_index(drop=True) for part in parts))


def date_of(test_date, preset="tamm2026"):
    """The date that divides a log: the given one, or where there is none that of the preset.

    Examples
    --------
    >>> date_of("").isoformat()
    '2019-02-01T00:00:00+00:00'
    """
    return as_utc_date(_rules(preset, "all").test_date if test_date is None or test_date == "" else test_date)


def liked(positives):
    """Outcomes of a listen that count as liking.

    Parameters
    ----------
    positives : {'all', 'completed'}

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> liked("all")
    ('play', 'complete')
    """
    if positives not in POSITIVES:
        raise SplitError(f"Expected positives of {', '.join(POSITIVES)}, found {positives!r}: choose one of these.")
    return POSITIVES[positives]


def window(test_date, *, preset="tamm2026"):
    """First moment of the window and the first moment after it (None: open), by the calendar.

    Examples
    --------
    >>> [f"{moment:%Y-%m-%d}" for moment in window("2020-01-31")]
    ['2019-01-31', '2020-02-29']
    """
    date, months = as_utc_date(test_date), _rules(preset, "all").test_months
    return date - pd.DateOffset(years=1), None if months is None else date + pd.DateOffset(months=months)


def leakage(parts, events, test_date, *, preset="tamm2026", positives="all"):
    """Audit a split against its log: nothing from the test date on may have reached train.

    Parameters
    ----------
    parts : Split
    events : DataFrame
        The log that was divided.
    test_date : str or Timestamp
    preset, positives : str
        As for `split`.

    Returns
    -------
    DataFrame
        check (what must hold), count (offending rows, pairs or users), ok (bool).

    Examples
    --------
    >>> log = pd.DataFrame({"user_id": ["u", "u"], "track_id": ["a", "b"], "timestamp": ["2019-01-31", "2019-02-01"]})
    >>> bool(leakage(split(log, test_date="2019-02-01"), log, "2019-02-01")["ok"].all())
    True
    """
    date = date_of(test_date, preset)
    plays = _in_window(_plays(events, positives), *window(date, preset=preset))
    return audit(
        parts, _pairs(plays[plays["timestamp"] < date]), _pairs(plays[plays["timestamp"] >= date]), date, preset
    )


def audit(parts, before, after, date, preset="tamm2026"):
    """The audit of `leakage` where pairs of the two periods are known.

    Parameters
    ----------
    parts : Split
    before, after : DataFrame
        Pairs of the window's plays before `date`, and of those from `date` on, each with first play and count.
    date : Timestamp
    preset : str

    Returns
    -------
    DataFrame
        As `leakage`.
    """
    start, end = window(date, preset=preset)
    tests = pd.concat(parts[1:], ignore_index=True)
    hot, cold = pd.concat([parts.val, parts.hot_test]), pd.concat([parts.cold_val, parts.cold_test])
    val_users = set(parts.val["user_id"]) | set(parts.cold_val["user_id"])
    test_users = set(parts.hot_test["user_id"]) | set(parts.cold_test["user_id"])
    late = tests["timestamp"] < date if end is None else (tests["timestamp"] < date) | (tests["timestamp"] >= end)
    checks = {
        "no train pair was first heard at the test date or later": (parts.train["timestamp"] >= date).sum(),
        "no train pair lies before the window": (parts.train["timestamp"] < start).sum(),
        "no test pair is in train": len(tests.merge(parts.train[PAIR], on=PAIR)),
        "no pair is in two parts": tests.duplicated(PAIR).sum(),
        "every test pair was first heard in the test month": late.sum(),
        "train counts hold plays before the test date only": _differing(parts.train, before),
        "test counts hold plays of the test month only": _differing(tests, after),
        "every test listener is in train": len((val_users | test_users) - set(parts.train["user_id"])),
        "every hot track is in train": (~hot["track_id"].isin(parts.train["track_id"])).sum(),
        "no cold track is in train": cold["track_id"].isin(parts.train["track_id"]).sum(),
        "no listener is in validation and test": len(val_users & test_users),
    }
    table = pd.DataFrame({"check": list(checks), "count": [int(n) for n in checks.values()]})
    return table.assign(ok=table["count"] == 0)


def require_validation_users(parts, minimum):
    """Stop with a sentence where too few listeners were drawn for validation, or nobody is left to choose or judge by.

    Parameters
    ----------
    parts : Split
    minimum : int
        100 in demo, 20 in toy.

    Returns
    -------
    int
        The number of validation listeners.
    """
    found = len(set(parts.val["user_id"]) | set(parts.cold_val["user_id"]))
    if found < minimum:
        raise SplitError(
            f"Expected at least {minimum} validation listeners (30 % of those with a test-month pair and a history), "
            f"found {found}: {_MORE}."
        )
    for part, use in ((parts.val, "validation to choose options by"), (parts.hot_test, "the test to be judged by")):
        if part.empty:
            raise SplitError(f"Expected pairs of hot tracks in {use}, found none: {_MORE}.")
    return found


def _rules(preset, val_users):
    if preset not in PRESETS:
        raise SplitError(f"Expected a split preset of {', '.join(PRESETS)}, found {preset!r}: choose one of these.")
    if val_users not in VAL_USERS:
        raise SplitError(f"Expected val_users of {', '.join(VAL_USERS)}, found {val_users!r}: choose one of these.")
    return PRESETS[preset]


def _plays(events, positives):
    """Rows that count as listening, with clean ids and times."""
    outcomes = liked(positives)
    missing = [name for name in ("user_id", "track_id", "timestamp") if name not in events.columns]
    if missing:
        raise SplitError(
            f"Expected a log with the columns user_id, track_id and timestamp, found no {' and no '.join(missing)} "
            f"among {', '.join(map(str, events.columns))}: rename its columns."
        )
    plays = pd.DataFrame({name: _as_ids(events[name], name) for name in PAIR})
    plays["timestamp"] = as_utc_times(events["timestamp"])
    plays["count"] = events["count"].to_numpy() if "count" in events.columns else 1
    if "event" in events.columns:
        unknown = ~events["event"].isin(EVENTS)
        if unknown.any():
            row = int(np.flatnonzero(unknown.to_numpy())[0])
            raise SplitError(
                f"Expected events of {', '.join(EVENTS)}, found {events['event'].iloc[row]!r} in row {row + 1} "
                f"({int(unknown.sum())} such rows): map or drop them."
            )
        plays = plays[events["event"].isin(outcomes).to_numpy()]
    return plays


def _as_ids(ids, name):
    if pd.api.types.is_float_dtype(ids):
        raise SplitError(
            f"Expected {name} as text or whole numbers, found decimals ({ids.iloc[0]} in row 1): "
            "read that column as text."
        )
    missing = ids.isna() | (ids.astype(str) == "")
    if missing.any():
        row = int(np.flatnonzero(missing.to_numpy())[0])
        raise SplitError(
            f"Expected a {name} in every row, found none in row {row + 1} ({int(missing.sum())} such rows)."
        )
    return ids.astype(str).astype(object)


def _in_window(plays, start, end):
    kept = plays["timestamp"] >= start
    return plays[kept if end is None else kept & (plays["timestamp"] < end)]


def _pairs(plays):
    """First time and number of rows of each pair."""
    grouped = plays.groupby(PAIR, sort=False, observed=True).agg(timestamp=("timestamp", "min"), count=("count", "sum"))
    pairs = grouped.reset_index().astype({"count": "int64", "timestamp": UTC_MICROSECONDS})
    return pairs.sort_values(["user_id", "timestamp", "track_id"], ignore_index=True)[COLUMNS]


def _differing(pairs, true):
    """Number of pairs whose count or first time differs from the true ones."""
    truth = pairs.merge(true, on=PAIR, how="left", suffixes=("", "_true"))
    return ((truth["count"] != truth["count_true"]) | (truth["timestamp"] != truth["timestamp_true"])).sum()


def _validation(users, test_share):
    """Listeners drawn for validation: none where the share leaves none."""
    ordered = _ascending(users)
    if len(ordered) - int(np.ceil(test_share * len(ordered))) < 1:
        return []
    return train_test_split(ordered, test_size=test_share, random_state=SPLIT_SEED)[0]


def _ascending(ids):
    """Ids in order: by their number where all are whole numbers ('9' before '10'), else as text."""
    if all(text.isascii() and text.isdigit() for text in ids):
        return sorted(ids, key=lambda text: (int(text), text))
    return sorted(ids)
