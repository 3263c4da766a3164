"""A mock listener: listening logs whose truth is known.

Each track has a unit vector of true factors z and an artist a; `content_strength` c in [0, 1] says how much of taste
and of popularity rests on these, and how much on those of a random other track, the *latent twin* (structure that
collaborative filtering can learn and audio cannot). At c = 0 no content recommender may beat its shuffled control.

In short (constants stand where they are used; `lib.data.mock.taste` has the first two):

- popularity: log-normal, half of its variance by artist; taste: up to four modes and six liked artists a listener;
- which tracks: Gumbel-top-n of taste and popularity, n from a Gamma of shape .65;
- repeats: Poisson, by listener, pair and taste, at Pareto lags after the first play;
- time: the year before the test date and the month after it. A taste mode has a phase in which its tracks are first
  played. Sessions have geometric lengths, start by hour and weekday profiles, 45 % of them at the listener's own hour;
- skips: by taste, repeat and listener; about .49 of listens end early, as measured on real ones (Lamere 2014 .486).
  An early end past half of the track is still a play, so the share of the event `skip` is smaller;
- cold tracks come out at the test date and get one month's exposure: of the pairs with them a share of `test_share`
  stays.

Two things were chosen so that small worlds have enough to test. `tracks_per_user` is the mean of tracks *played* over
the whole window (a real log holds only plays), so listeners try more than that, to make up for what they skip and
what is cold. And the test month holds `test_share` of a listener's first plays: 1/13 (even over the year) where
histories are long, but four tracks for a mean listener, at most a third, where they are short: .1 at 40 tracks, .33 at
12. Real months are heavier for those active in them, too (median 11, mean 20 new tracks, of 256 in the year).

Measured (means of 8 worlds, c = .3, 25 % cold): 400 tracks, 600 listeners, 40 tracks: 128 validation listeners (least
123), 262 with hot test pairs (5.6 each), 201 with cold ones (2.2 each). 120 tracks, 120 listeners, 12 tracks: 25 (least
23), 52 (4.7) and 41 (2.2); with 100 listeners 20.5, but in some worlds 19.

Sources: Anderson et al., WWW 2014 (repeat consumption); Lamere 2014 and arXiv 1901.09851 (skips); hours and weekdays
from the published Music4All-Onion split.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from lib.data.logs import TIME, as_utc_date
from lib.data.mock.habits import EVEN
from lib.data.mock.taste import Choices, ListeningError, choose, make_world, true_factors
from lib.data.splits import window
from lib.study.tables import UTC_MICROSECONDS

__all__ = ["ListeningError", "blocks", "mock_durations", "simulate", "true_factors"]

MOST_TRACKS = 4427  # the published maximum
MOST_OF_CATALOGUE = 0.6
PLAYED_PAIRS = 0.67  # share of tracks tried that are played at least once; measured, see tests
TEST_TRACKS = 4  # new tracks of a mean listener in the test month, at least
MOST_IN_TEST = 1 / 3
BLOCK_CELLS = 8_000_000  # listeners x tracks scored at once

REPEAT_BY_USER, REPEAT_BY_PAIR, REPEAT_BY_TASTE = 1.45, 0.9, 0.25
MOST_REPEATS = 2000
REPEAT_TAIL, REPEAT_DAYS = 0.9, 20.0  # Pareto exponent and scale of the time from first play to a repeat
PHASE_SD = 0.2  # of the window

OWN_HOUR = 0.45
PAUSE = 4.0  # seconds between two tracks

SKIP_BASE, SKIP_BY_TASTE, SKIP_BY_REPEAT, SKIP_BY_USER = 0.45, -0.9, -0.5, 0.7
DAY = 86400.0


OUTCOMES = ("skip", "play", "complete")


class _Calendar(NamedTuple):
    """Seconds since 1970 of the window's start, the test date and its end; the month's share; mean tracks tried."""

    start: float
    test: float
    end: float
    test_share: float
    tries: float


class _Listens(NamedTuple):
    """Events of a block of listeners, one entry an event, by listener and drawn time."""

    user: np.ndarray
    track: np.ndarray
    seconds: np.ndarray  # since 1970
    taste: np.ndarray
    repeat: np.ndarray  # bool, not the first of its pair


def mock_durations(tracks, rng):
    """Full-track durations for a catalogue of which only excerpts exist: log-normal, median 232 s, sigma .28.

    Parameters
    ----------
    tracks : DataFrame
    rng : numpy.random.Generator

    Returns
    -------
    ndarray, shape (n_tracks,), float64
        Seconds, to a tenth.

    Examples
    --------
    >>> mock_durations(pd.DataFrame({"track_id": ["a"]}), np.random.default_rng(0))
    array([240.3])
    """
    return np.round(232.0 * rng.lognormal(0.0, 0.28, len(tracks)), 1)


def simulate(tracks, **options):
    """Draw a listening log from the model of this module.

    Parameters
    ----------
    tracks : DataFrame
    **options
        As for `blocks`.

    Returns
    -------
    DataFrame
        All of `blocks` as one frame: user_id, track_id, timestamp (UTC), event, played_seconds.

    Raises
    ------
    ListeningError
        As for `blocks`.

    Examples
    --------
    >>> tracks = pd.DataFrame({"track_id": list("abcd"), "artist": "x", "z0": [1, 1, -1, -1], "z1": [0, 1, 0, 1]})
    >>> log = simulate(tracks, n_users=3, tracks_per_user=2, content_strength=1, cold_share=0,
    ...                test_date="2019-02-01", rng=np.random.default_rng(0))
    >>> log["user_id"].unique().tolist()
    ['u00001', 'u00002', 'u00003']
    """
    log = pa.concat_tables(block.cast(_plain(block.schema)) for block in blocks(tracks, **options)).to_pandas()
    return log.astype({"timestamp": UTC_MICROSECONDS})


def blocks(
    tracks,
    *,
    n_users,
    tracks_per_user,
    content_strength,
    cold_share,
    test_date,
    rng,
    factor_weights=None,
    test_share=None,
    habits=EVEN,
    progress=None,
):
    """Draw a listening log, one block of listeners after the other, in the memory of one block.

    Parameters
    ----------
    tracks : DataFrame
        track_id, artist and the labels of `lib.data.mock.taste.true_factors` (or latent columns z0, z1, …). How long a
        listen can last is taken from a column `full_duration` (seconds) where there is one, else from `mock_durations`:
        `duration` is that of a clip.
    n_users : int
        Listeners; their ids are u00001, u00002, …
    tracks_per_user : float
        Mean number of distinct tracks played over the window.
    content_strength, cold_share : float
        In [0, 1] and [0, 1).
    test_date : str or Timestamp
        D; the log covers [D − 1 year, D + 1 month).
    rng : numpy.random.Generator
    factor_weights : dict of str to float, optional
        As `weights` of `lib.data.mock.taste.true_factors`.
    test_share : float, optional
        Share of first plays in the test month; see the module's docstring for the default.
    habits : lib.data.mock.habits.Habits
    progress : callable, optional
        Such as `lib.study.progress.progress`: wraps the blocks of listeners.

    Yields
    ------
    pyarrow.Table
        A batch (`lib.data.logs`): user_id, track_id, timestamp (whole seconds, UTC), event (skip: played < min(50 %,
        240 s); complete: >= 90 %; else play), played_seconds; sorted by user, time and track. Every listener plays at
        least one track.

    Raises
    ------
    ListeningError
        For values out of range and tracks without what is needed.
    """
    _check(tracks, n_users, tracks_per_user, content_strength, cold_share, test_share)
    test_share = test_share or max(1 / 13, min(MOST_IN_TEST, TEST_TRACKS / tracks_per_user))
    durations = tracks["full_duration"].to_numpy(float) if "full_duration" in tracks else mock_durations(tracks, rng)
    world, out = _world(tracks, content_strength, factor_weights, cold_share, test_share, habits, rng)
    tries = _activity(n_users, tracks_per_user, cold_share, test_share, len(tracks), habits, rng)
    calendar = _calendar(test_date, test_share, tries)
    named = _named(tracks["track_id"].astype(str))
    for first, block in _in_blocks(tries, len(tracks), progress):
        yield _batch(_listen(world, block, out, durations, calendar, habits, rng), first, *named, durations, n_users)


def _named(ids):
    """Ids as a dictionary of batches, and the rank of each."""
    return pa.array(ids), np.argsort(np.argsort(ids.to_numpy(object)))


def _in_blocks(tries, n_tracks, progress):
    """Listeners in blocks whose listeners x tracks fit in memory, each with the number of its first listener."""
    size = max(16, min(256, BLOCK_CELLS // n_tracks))
    starts = range(0, len(tries), size)
    if progress is not None:
        starts = progress(starts, total=len(starts), label="mock listeners", unit="block")
    return ((first, tries[first : first + size]) for first in starts)


def _calendar(test_date, test_share, tries):
    start, end = window(test_date)
    dates = (moment.timestamp() for moment in (start, as_utc_date(test_date), end))
    return _Calendar(*dates, test_share, float(tries.mean()))


def _world(tracks, content_strength, factor_weights, cold_share, test_share, habits, rng):
    """Whose taste it is, and when each track comes out; cold ones are as popular as the habits have it."""
    world = make_world(tracks, content_strength, factor_weights, rng)
    out = _releases(len(tracks), cold_share, habits, test_share, rng)
    if habits.cold_appeal is not None:
        world.popularity[out >= 1 - test_share] += np.float32(np.log(habits.cold_appeal))
    return world, out


def _releases(n_tracks, cold_share, habits, test_share, rng):
    """When each track comes out, on the line from the window's start (0) to its end (1); cold ones at the test date."""
    out = np.zeros(n_tracks)
    cold = rng.choice(n_tracks, round(cold_share * n_tracks), replace=False)
    if habits.growth:
        new = rng.random(n_tracks) < habits.growth
        out[new] = (1 - test_share) * rng.random(int(new.sum()))
    out[cold] = 1 - test_share
    return out


def _activity(n_users, tracks_per_user, cold_share, test_share, n_tracks, habits, rng):
    """How many tracks each listener tries, so that the mean of those played comes out as asked."""
    wanted = rng.gamma(habits.activity_shape, tracks_per_user / habits.activity_shape, n_users)
    kept = PLAYED_PAIRS * (1 - cold_share * (1 - test_share))
    most = max(1, int(MOST_OF_CATALOGUE * n_tracks))
    return np.clip(np.ceil(np.clip(wanted, 0.0, MOST_TRACKS) / kept), 1, most).astype(int)


def _listen(world, tries, out, durations, calendar, habits, rng):
    """Events of a block: listener (row in the block), track, seconds since 1970, seconds played."""
    chosen = choose(world, tries, rng)
    is_cold = out[chosen.track] >= 1 - calendar.test_share
    months, gone = _months(tries, calendar, habits, rng)
    share = np.full(len(tries), calendar.test_share) if months is None else 1 - months[:, -2]
    if habits.cold_appeal is not None:
        share = share / calendar.test_share * (rng.random(len(tries)) < habits.cold_listeners)
    stays = ~is_cold | (rng.random(len(is_cold)) < share[chosen.user])
    first = _first_plays(chosen, out[chosen.track], is_cold, months, len(tries), calendar, rng)
    stays &= first < gone[chosen.user]
    best = np.lexsort((-chosen.score, is_cold, ~stays, chosen.user))  # nobody is left without a track
    stays[best[np.unique(chosen.user[best], return_index=True)[1]]] = True
    chosen = Choices(*(column[stays] for column in chosen))
    listens = _repeat(chosen, first[stays], gone, habits, rng)
    played = _played(listens, durations[listens.track], len(tries), rng)
    seconds = _sessions(listens, played, len(tries), calendar, habits, rng)
    return listens.user.astype(np.int32), listens.track.astype(np.int32), seconds, played.astype(np.float32)


def _months(tries, calendar, habits, rng):
    """Cumulative shares (users, 13) of discoveries over twelve months and the test month, and when a listener is gone.

    None and the window's end where every month is alike.
    """
    n_users = len(tries)
    if habits.month_shape is None:
        return None, np.full(n_users, calendar.end)
    usual = np.full((n_users, 13), (1 - calendar.test_share) / 12)
    usual[:, 12] = calendar.test_share * habits.test_month * (tries / calendar.tries) ** -habits.saturation
    weights = usual * rng.gamma(habits.month_shape, 1 / habits.month_shape, (n_users, 13))
    gone = rng.random(n_users) < np.exp(-tries / max(habits.leave * calendar.tries, 1e-9))
    last = np.where(gone, rng.integers(1, 13, n_users), 13)  # months that a listener is there
    weights = np.where(np.arange(13) < last[:, None], weights + 1e-9, 1e-15)
    edges = np.append(np.linspace(calendar.start, calendar.test, 13), calendar.end)
    return np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1), edges[last]


def _first_plays(chosen, out, is_cold, months, n_users, calendar, rng):
    """When each pair is first played: around its mode's phase, after the track came out, cold ones in the test month.

    Phases lie evenly on [0, 1) and what sticks out is folded back, so that all pairs together lie evenly too; the last
    `test_share` of this line is the test month, the rest the year before. Where months differ, the line is stretched
    and squeezed to what the listener does in each.
    """
    phases = rng.random((n_users, int(chosen.phase.max()) + 1))
    line = phases[chosen.user, chosen.phase] + rng.normal(0, PHASE_SD, len(is_cold))
    line = np.abs(line) % 2
    line = np.where(line > 1, 2 - line, line)
    before = 1 - calendar.test_share
    drawn = rng.random(len(line))
    if months is not None:
        line = _by_month(line, months[chosen.user], np.where(is_cold, 0.0, out), before)
    line = np.where(is_cold, before + calendar.test_share * drawn, line)
    return np.interp(line, [0, before, 1], [calendar.start, calendar.test, calendar.end - 1])


def _by_month(line, months, out, before):
    """Move evenly spread points to where a listener's months (cumulative shares) and what is out by then put them."""
    edges = np.append(np.linspace(0, before, 13), 1.0)
    shares = np.concatenate([np.zeros((len(line), 1)), months], axis=1)
    rows = np.arange(len(line))
    month = np.clip(np.searchsorted(edges, out, side="right") - 1, 0, 12)
    within = (out - edges[month]) / (edges[month + 1] - edges[month])
    earlier = shares[rows, month] + within * months[rows, month] - within * shares[rows, month]
    line = earlier + (1 - earlier) * line
    month = np.minimum((line[:, None] >= months).sum(axis=1), 12)
    within = (line - shares[rows, month]) / (months[rows, month] - shares[rows, month])
    return edges[month] + np.clip(within, 0, 1 - 1e-9) * (edges[month + 1] - edges[month])


def _repeat(chosen, first, gone, habits, rng):
    """Add repeats at Pareto lags; those after the window, or when a listener is gone, fall away."""
    by_user = REPEAT_BY_USER * rng.standard_normal(len(gone))[chosen.user]
    by_pair = REPEAT_BY_PAIR * rng.standard_normal(len(first))
    rate = habits.repeat_rate * np.exp(by_user + by_pair + REPEAT_BY_TASTE * chosen.taste)
    repeats = np.minimum(rng.poisson(np.minimum(rate, MOST_REPEATS)), MOST_REPEATS)
    pair = np.concatenate([np.arange(len(first)), np.repeat(np.arange(len(first)), repeats)])
    lag = np.zeros(len(pair))
    lag[len(first) :] = 1 + DAY * REPEAT_DAYS * rng.pareto(REPEAT_TAIL, len(pair) - len(first))
    seconds = first[pair] + lag
    order = np.lexsort((seconds, chosen.user[pair]))
    heard = (seconds < gone[chosen.user[pair]]) | (lag == 0)  # the one track that nobody is left without stays
    order = order[heard[order]]
    pair = pair[order]
    return _Listens(chosen.user[pair], chosen.track[pair], seconds[order], chosen.taste[pair], lag[order] > 0)


def _played(listens, duration, n_users, rng):
    """Seconds played of each listen: all of the track, or less if it is broken off."""
    n = len(duration)
    first = ~listens.repeat
    pairs = np.bincount(listens.user[first], minlength=n_users)
    usual = np.bincount(listens.user[first], listens.taste[first], minlength=n_users) / pairs
    liking = listens.taste - usual[listens.user]  # above what the listener takes up anyway, which is all well liked
    logit = SKIP_BASE + SKIP_BY_TASTE * liking + SKIP_BY_REPEAT * listens.repeat
    logit = logit + SKIP_BY_USER * rng.standard_normal(n_users)[listens.user]
    skipped = rng.random(n) < 1 / (1 + np.exp(-logit))
    kind, part = rng.random(n), rng.random(n)
    late = 30 + part * np.maximum(duration - 30, 0)
    broken_off = np.select([kind < 0.49, kind < 0.72], [rng.exponential(3.0, n), 5 + 25 * part], late)
    played = np.where(skipped, np.minimum(broken_off, duration), duration)
    hears = np.zeros(n_users, bool)
    hears[listens.user[~_is_skip(played, duration)]] = True
    firsts = np.unique(listens.user, return_index=True)[1]
    whole = firsts[~hears[listens.user[firsts]]]  # who would skip everything hears the first track to its end
    played[whole] = duration[whole]
    return np.round(played, 1)


def _is_skip(played, duration):
    return played < np.minimum(0.5 * duration, 240.0)


def _sessions(listens, played, n_users, calendar, habits, rng):
    """Move listens, in their order, into sessions; none crosses the test date or leaves the window."""
    n = len(played)
    spread = habits.session_spread
    length = np.maximum(1.0, habits.session_mean * rng.lognormal(-(spread**2) / 2, spread, n_users))
    after = listens.seconds >= calendar.test
    opens = rng.random(n) < 1 / length[listens.user]
    opens[0] = True
    opens[1:] |= (np.diff(listens.user) != 0) | np.diff(after)
    session, first = np.cumsum(opens) - 1, np.flatnonzero(opens)
    step = played + rng.exponential(PAUSE, n)
    offset = np.cumsum(step) - step
    offset -= offset[first][session]
    lasts = np.maximum.reduceat(offset + step, first)
    low = np.where(after[first], calendar.test, calendar.start)
    high = np.where(after[first], calendar.end, calendar.test)
    # near any one of its listens: the first would crowd sessions behind the test date, where all are cut
    near = first + (rng.random(len(first)) * np.diff(np.append(first, n))).astype(int)
    start = _start_of(listens.seconds[near], listens.user[first], low, high, n_users, habits, rng)
    start = np.maximum(np.minimum(start, high - lasts - 1), low)
    start = start[np.lexsort((start, after[first], listens.user[first]))]  # later sessions start later
    seconds = np.floor(start[session] + offset).astype(np.int64)
    return np.minimum(seconds, np.int64(calendar.end) - 1)


def _start_of(seconds, user, low, high, n_users, habits, rng):
    """A start near the drawn time: same week, hour and weekday by the profiles."""
    n = len(seconds)
    hours, weekdays = (np.array(counts) / sum(counts) for counts in (habits.hours, habits.weekdays))
    own = rng.choice(24, n_users, p=hours)
    hour = np.where(rng.random(n) < OWN_HOUR, own[user], rng.choice(24, n, p=hours))
    day = np.floor(seconds / DAY)
    monday = day - (day + 3) % 7  # 1 January 1970 was a Thursday
    within = DAY / 24 * (hour + rng.random(n))
    moved = DAY * (monday + rng.choice(7, n, p=weekdays)) + within
    return np.where((moved >= low) & (moved < high), moved, DAY * day + within)


def _batch(listens, first, names, order, durations, n_users):
    """A block's listens as a batch; `first` is its first listener, `order` the rank of each track's id."""
    user, track, seconds, played = listens
    rows = np.lexsort((order[track], seconds, user))
    user, track, seconds, played = user[rows], track[rows], seconds[rows], np.round(played[rows].astype(float), 1)
    outcome = np.where(_is_skip(played, durations[track]), 0, np.where(played >= 0.9 * durations[track], 2, 1))
    digits = max(5, len(str(n_users)))
    users = [f"u{first + number + 1:0{digits}d}" for number in range(int(user.max()) + 1)]
    return pa.table(
        {
            "user_id": pa.DictionaryArray.from_arrays(user, pa.array(users)),
            "track_id": pa.DictionaryArray.from_arrays(track, names),
            "timestamp": pa.array(seconds * 10**6).cast(TIME),
            "event": pa.DictionaryArray.from_arrays(outcome.astype(np.int8), pa.array(OUTCOMES)),
            "played_seconds": played,
        }
    )


def _plain(schema):
    """The schema with text in place of dictionaries, whose keys differ from block to block."""
    plain = [
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field for field in schema
    ]
    return pa.schema(plain)


def _check(tracks, n_users, tracks_per_user, content_strength, cold_share, test_share):
    rules = {
        "n_users": (n_users, n_users >= 1, "1 or more"),
        "tracks_per_user": (tracks_per_user, tracks_per_user > 0, "above 0"),
        "content_strength": (content_strength, 0 <= content_strength <= 1, "in [0, 1]"),
        "cold_share": (cold_share, 0 <= cold_share < 1, "in [0, 1)"),
        "test_share": (test_share, test_share is None or 0 < test_share < 1, "in (0, 1)"),
    }
    for name, (value, holds, expected) in rules.items():
        if not holds:
            raise ListeningError(f"Expected {name} {expected}, found {value}: change it in the study's parameters.")
    if len(tracks) < 2 or "track_id" not in tracks:
        raise ListeningError(f"Expected at least 2 tracks with a track_id, found {len(tracks)}: add tracks.")
    if tracks["track_id"].duplicated().any():
        twice = tracks.loc[tracks["track_id"].duplicated(), "track_id"].iloc[0]
        raise ListeningError(f"Expected each track_id once, found {twice!r} more than once: drop one.")
