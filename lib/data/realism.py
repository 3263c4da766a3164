"""How like real listening a log is: aggregate figures of a month, distances between two such, and a verdict for each.

A profile holds histograms, never records, so that the public one can travel with the workbook. It is of one month as
the published split defines it: pairs first heard in the month after the test date, with their plays in it, of listeners
who have hot and no cold pairs.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from scipy.spatial.distance import jensenshannon

from lib.data.logs import read_log
from lib.study.provenance import write_json

__all__ = ["cautions", "compare", "month_of", "profile", "public_profile", "summary"]


PUBLIC = Path(__file__).resolve().parent / "profiles" / "music4all_onion_month.json"
VERSION = 2  # of the file's keys
SMALLEST_CELL = 5  # listeners, pairs or tracks that share a value in a written histogram
# minutes between two first plays of a listener: twelve bins a decade from a second to a month; 30 min and a day exact
GAP_EDGES = np.unique(np.round([0, *np.geomspace(1 / 60, 31 * 1440, 78), 30, 1440], 6))
TOP = (0.01, 0.05, 0.1, 0.2)
HALVINGS = 20
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
KS, WASSERSTEIN, JENSEN_SHANNON, DIFFERENCE = "Kolmogorov-Smirnov", "Wasserstein, log10", "Jensen-Shannon", "difference"
YARDSTICKS = {KS: (0.05, 0.15), WASSERSTEIN: (0.05, 0.15), JENSEN_SHANNON: (0.01, 0.05), DIFFERENCE: (0.05, 0.15)}
FIGURES = {  # of a profile: what it counts
    "tracks_a_user": "tracks a listener",
    "plays_a_pair": "plays a pair",
    "plays_a_track": "plays a track",
    "gaps": "minutes between first plays",
}
CONCENTRATION, AGAIN = "concentration of plays", "pairs played again"


class ProfileError(ValueError):
    """A profile cannot be made or read; the sentence says why."""


@dataclass(frozen=True)
class Profile:
    """Aggregate figures of a month of listening.

    Attributes
    ----------
    source : str
        Where the listening comes from.
    listeners, tracks, pairs, plays : int
    tracks_a_user, plays_a_pair, plays_a_track : dict of int to int
        Value to how many have it.
    gaps : list of int
        Counts of minutes between consecutive first plays of a listener, between `GAP_EDGES`.
    hours, weekdays : list of int
        First plays by hour of day (UTC) and by weekday, Monday first.
    days : int
        From the day of the first first play to that of the last.
    floor : dict of str to float
        For each distance of `compare` the largest between random halves of these listeners; empty where unknown.
    about : dict
        What else is known, as plain JSON: licence, selection, the whole collection.
    """

    source: str
    listeners: int
    tracks: int
    pairs: int
    plays: int
    tracks_a_user: dict
    plays_a_pair: dict
    plays_a_track: dict
    gaps: list
    hours: list
    weekdays: list
    days: int
    floor: dict = field(default_factory=dict)
    about: dict = field(default_factory=dict)

    def distribution(self, figure):
        """Values (ascending) and their relative frequencies; gaps by the middle of their bins."""
        if figure == "gaps":
            middle = (GAP_EDGES[1:] + GAP_EDGES[:-1]) / 2
            return middle, np.array(self.gaps) / max(sum(self.gaps), 1)
        counts = getattr(self, figure)
        values = np.array(sorted(counts))
        return values, np.array([counts[value] for value in values]) / sum(counts.values())

    def quantile(self, figure, q):
        """Smallest value that a share `q` does not exceed."""
        values, share = self.distribution(figure)
        return float(values[np.searchsorted(np.cumsum(share), q - 1e-12)])

    def share(self, figure, value):
        """Share that has a value."""
        counts = getattr(self, figure)
        return counts.get(value, 0) / sum(counts.values())

    @property
    def gap_share_30min(self):
        """Share of gaps of half an hour or less."""
        return sum(self.gaps[: np.searchsorted(GAP_EDGES, 30)]) / max(sum(self.gaps), 1)

    @property
    def gap_share_day(self):
        """Share of gaps of a day or more."""
        return sum(self.gaps[np.searchsorted(GAP_EDGES, 1440) :]) / max(sum(self.gaps), 1)

    @property
    def repeat_share(self):
        """Share of pairs that were played more than once in the month."""
        return 1 - self.share("plays_a_pair", 1)

    @property
    def repeat_play_share(self):
        """Share of the plays that repeat a track within the month."""
        return 1 - self.pairs / self.plays

    @property
    def gini(self):
        """Gini coefficient of plays over tracks: 0 where all have the same, near 1 where one has all."""
        tracks, plays = self.lorenz()
        return float(2 * np.trapezoid(plays, tracks) - 1)

    def lorenz(self):
        """Shares of the tracks, most played first, and the shares of the plays that these get; both from 0 to 1."""
        values, share = self.distribution("plays_a_track")
        tracks, plays = np.cumsum(share[::-1]), np.cumsum((values * share)[::-1])
        return np.r_[0, tracks / tracks[-1]], np.r_[0, plays / plays[-1]]

    def top_share(self, top):
        """Share of the plays that goes to the share `top` of the tracks."""
        return float(np.interp(top, *self.lorenz()))


def profile(pairs, source="a study", floor_rng=None):
    """Aggregate figures of pairs.

    Parameters
    ----------
    pairs : DataFrame
        ``user_id, track_id, timestamp, count``, each pair once.
    source : str
        Where they come from.
    floor_rng : numpy.random.Generator, optional
        Given, the distances between random halves of the listeners are taken too, `HALVINGS` times.

    Returns
    -------
    Profile

    Raises
    ------
    ProfileError
        Where there are no pairs.

    Examples
    --------
    >>> times = pd.to_datetime(["2019-02-01 10:00", "2019-02-01 10:20"], utc=True)
    >>> profile(pd.DataFrame({"user_id": "u", "track_id": ["a", "b"], "timestamp": times, "count": 1})).gap_share_30min
    1.0
    """
    if not len(pairs):
        raise ProfileError("Expected pairs of at least one listener in the month, found none: choose another date.")
    ordered = pairs.sort_values(["user_id", "timestamp", "track_id"])
    minutes = ordered.groupby("user_id")["timestamp"].diff().dropna().dt.total_seconds() / 60
    # a gap on an edge counts as 30 min or less, and as a day or more
    below = np.where(minutes >= 1440, minutes, np.nextafter(minutes, 0))
    made = Profile(
        source=source,
        listeners=int(pairs["user_id"].nunique()),
        tracks=int(pairs["track_id"].nunique()),
        pairs=len(pairs),
        plays=int(pairs["count"].sum()),
        tracks_a_user=_histogram(pairs.groupby("user_id").size()),
        plays_a_pair=_histogram(pairs["count"]),
        plays_a_track=_histogram(pairs.groupby("track_id")["count"].sum()),
        gaps=np.histogram(np.clip(below, 0, GAP_EDGES[-1]), GAP_EDGES)[0].tolist(),
        hours=np.bincount(pairs["timestamp"].dt.hour, minlength=24).tolist(),
        weekdays=np.bincount(pairs["timestamp"].dt.weekday, minlength=7).tolist(),
        days=(pairs["timestamp"].max().normalize() - pairs["timestamp"].min().normalize()).days + 1,
    )
    return made if floor_rng is None else replace(made, floor=_floor(pairs, floor_rng))


def month_of(parts):
    """Pairs of a study's test month as the public sample selects them.

    Parameters
    ----------
    parts : dict of str to DataFrame
        As from `lib.evaluation.results.parts`.

    Returns
    -------
    DataFrame
        Hot pairs of the listeners who have hot and no cold ones. Where these are less than half of those with hot pairs
        (the published selection keeps more), many tracks are cold and the selection would leave short histories only:
        then hot pairs of all.
    """
    hot = pd.concat([parts["val"], parts["hot_test"]], ignore_index=True)
    cold = set(parts["cold_val"]["user_id"]) | set(parts["cold_test"]["user_id"])
    alone = hot[~hot["user_id"].isin(cold)]
    return alone if 2 * alone["user_id"].nunique() >= hot["user_id"].nunique() else hot


def published_month(folder, rng):
    """Profile of the published sample, as ``lib/profiles/`` holds it.

    Parameters
    ----------
    folder : Path
        With the sample's two tables.
    rng : numpy Generator
        For the halvings of its listeners.

    Returns
    -------
    Profile
    """
    folder, ids = Path(folder), {"user_id": str, "track_id": str}
    times = read_log(folder / "userid_trackid_timestamp.tsv")
    counts = pd.read_csv(folder / "userid_trackid_count.tsv", sep="\t", dtype=ids)
    pairs = times.merge(counts, on=list(ids), validate="one_to_one")
    made = profile(pairs, "Music4All-Onion, listening of February 2019", rng)
    return replace(made, about=_ABOUT | {"floor": f"largest of {HALVINGS} random halvings of the listeners"})


_ABOUT = {
    "records": "Music4All-Onion (Moscati et al., CIKM 2022), CC BY-NC-SA 4.0; these are aggregate figures of them",
    "selection": "validation part of the split of Tamm and Aljanaki (arXiv 2604.23077): 30 % of the listeners with hot "
    "and without cold pairs, and their hot pairs first heard 2019-02-01 to 2019-02-28",
    "histograms": f"values that fewer than {SMALLEST_CELL} share are merged",
    "collection": {  # the twelve months before, all listeners: published figures
        "tracks": 55262,
        "listeners": 21018,
        "pairs": 5371381,
        "months": 12,
        "tracks a listener, median": 142,
        "tracks a listener, most": 4427,
    },
}


def write(made, path):
    """Write a profile as JSON, fit to be shown: rare values, which could point at a person, are merged.

    Parameters
    ----------
    made : Profile
    path : Path
    """
    plain = asdict(made) | {name: _merged(getattr(made, name)) for name in FIGURES if name != "gaps"}
    write_json(path, {"version": VERSION} | plain)


def read(path):
    """Read a profile from JSON.

    Raises
    ------
    ProfileError
        Where the file holds none, or one of another version.
    """
    try:
        found = json.loads(Path(path).read_text())
        version = found.pop("version")
        if version != VERSION:
            raise ValueError(f"version {version}")
        for name in ("tracks_a_user", "plays_a_pair", "plays_a_track"):
            found[name] = {int(value): count for value, count in found[name].items()}
        return Profile(**found)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ProfileError(
            f"Expected a profile of version {VERSION} in {Path(path).name}, found something else ({error}): "
            "make it with lib.data.realism.write."
        ) from None


def public_profile():
    """The profile of the public month of Music4All-Onion that the workbook carries.

    Examples
    --------
    >>> public_profile().listeners
    2459
    """
    return read(PUBLIC)


def summary(made):
    """The figures of a profile by name, as one reads them.

    Returns
    -------
    dict of str to float
    """
    whole = {"listeners": made.listeners, "tracks": made.tracks, "pairs": made.pairs, "plays": made.plays}
    whole |= {"days": made.days}
    whole |= {f"tracks a listener, q{q}": made.quantile("tracks_a_user", q / 100) for q in (50, 90, 99)}
    shares = {"pairs played more than once": made.repeat_share, "plays that are repeats": made.repeat_play_share}
    shares |= {f"plays of the top {top:.0%} of tracks": made.top_share(top) for top in TOP}
    shares |= {"Gini of plays over tracks": made.gini}
    shares |= {"gaps of 30 min or less": made.gap_share_30min, "gaps of a day or more": made.gap_share_day}
    return whole | {name: round(value, 3) for name, value in shares.items()}


def compare(one, real, who="these listeners"):
    """Distances between two profiles, a verdict on each, and how they differ in words.

    *Kolmogorov-Smirnov* is the largest difference of two cumulative distributions (for the concentration: of two Lorenz
    curves), a share of the listeners, pairs or gaps. *Wasserstein* is the mean shift of log10 of the figure, so that
    .05 is 12 % and .15 is 41 %. *Jensen-Shannon* is the divergence in bits, 0 to 1. *Difference* is of two shares.

    `alike` is the larger of two yardsticks. One is absolute: a difference of .05 (.01 bits) is hardly seen in a figure,
    one of three times that (five times in bits, which grow with the square) is seen at once. The other is the floor:
    the largest distance between random halves of the real listeners, who differ by the draw alone; it is measured at
    half of n listeners each and carried to n1 and n2 listeners by √((1/n1 + 1/n2) / (4/n)), squared for bits. What is
    within `alike` is alike; what is above three (five) times the absolute yardstick and twice the floor is unlike.

    Parameters
    ----------
    one, real : Profile
        Where `real` has no floor, that of the public profile is taken.
    who : str
        What to call the listeners of `one` in the sentences.

    Returns
    -------
    DataFrame
        figure, distance, value, alike (the yardstick), verdict (alike, somewhat, unlike), in_words. Without gaps where
        no listener of a side heard two tracks.

    Examples
    --------
    >>> set(compare(public_profile(), public_profile())["verdict"])
    {'alike'}
    """
    halved = real if real.floor else public_profile()
    wider = np.sqrt((1 / one.listeners + 1 / real.listeners) / (4 / halved.listeners))
    rows = []
    for figure, distance, value in _distances(one, real):
        floor = halved.floor[f"{figure}: {distance}"] * (wider**2 if distance == JENSEN_SHANNON else wider)
        alike, unlike = (max(limit, times * floor) for limit, times in zip(YARDSTICKS[distance], (1, 2), strict=True))
        verdict = "alike" if value <= alike else "somewhat" if value <= unlike else "unlike"
        rows.append((figure, distance, value, alike, verdict, _in_words(figure, one, real, who)))
    return pd.DataFrame(rows, columns=["figure", "distance", "value", "alike", "verdict", "in_words"])


def cautions(one, real):
    """Sentences on what makes a comparison of two profiles weak: periods, sizes, first plays only, few listeners.

    Returns
    -------
    list of str
    """
    said = []
    if abs(one.days - real.days) > 3:
        said.append(
            f"The periods differ, {one.days} days against {real.days}: tracks a listener and plays grow with the days, "
            "so only gaps, hours and weekdays compare."
        )
    a, b = (made.pairs / made.tracks for made in (one, real))
    if max(a / b, b / a) > 2:
        said.append(
            f"A heard track has {a:.1f} listeners here and {b:.1f} there: plays a track and their concentration follow "
            "from how many listeners share how many tracks, which a study chooses, as much as from habits."
        )
    if 0 in (one.repeat_share, real.repeat_share):
        said.append("One side knows first plays only: plays a pair or track and repeats do not compare.")
    fewest = min(one.listeners, real.listeners)
    if fewest < 100:
        said.append(f"One side has {fewest} listeners: only large differences show, and alike means little.")
    return said


def _distances(one, real):
    """(figure, distance, value), one after the other."""
    for name, label in FIGURES.items():
        (a, p), (b, q) = one.distribution(name), real.distribution(name)
        if p.sum() and q.sum():
            yield label, KS, _kolmogorov_smirnov(a, p, b, q)
            yield label, WASSERSTEIN, float(stats.wasserstein_distance(np.log10(a), np.log10(b), p, q))
            if name == "gaps":
                yield label, JENSEN_SHANNON, _divergence(one.gaps, real.gaps)
    shares = np.linspace(0, 1, 1001)
    curves = [np.interp(shares, *made.lorenz()) for made in (one, real)]
    yield CONCENTRATION, KS, float(np.abs(curves[0] - curves[1]).max())
    yield AGAIN, DIFFERENCE, abs(one.repeat_share - real.repeat_share)
    for name in ("hours", "weekdays"):
        yield name, JENSEN_SHANNON, _divergence(getattr(one, name), getattr(real, name))


def _divergence(counts, others):
    return float(jensenshannon(counts, others, base=2) ** 2)


def _kolmogorov_smirnov(a, p, b, q):
    """Largest difference of two cumulative distributions given by values and frequencies."""
    points = np.union1d(a, b)
    cumulated = [
        np.r_[0, np.cumsum(share)][np.searchsorted(values, points, side="right")] for values, share in ((a, p), (b, q))
    ]
    return float(np.abs(cumulated[0] - cumulated[1]).max())


def _in_words(figure, one, real, who):
    name = {label: name for name, label in FIGURES.items()}.get(figure, figure)
    both = (one, real)
    if name == "tracks_a_user":
        (a, b), (c, d) = ((made.quantile(name, 0.5), made.quantile(name, 0.99)) for made in both)
        said = (
            f"half of {who} hear at most {a:.0f} new tracks, of public ones {c:.0f}; 99 % at most {b:.0f} and {d:.0f}"
        )
    elif name == "plays_a_track":
        (a, b), (c, d) = ((made.plays / made.tracks, made.quantile(name, 0.99)) for made in both)
        said = f"a track has {a:.1f} plays on average, {c:.1f} by public listeners; 99 % at most {b:.0f} and {d:.0f}"
    elif name in ("plays_a_pair", AGAIN):
        a, b = (made.repeat_share for made in both)
        said = f"{who} play {a:.0%} of their new tracks again within the month, public ones {b:.0%}"
    elif name == CONCENTRATION:
        a, b = (made.top_share(0.1) for made in both)
        said = f"the most played tenth of the tracks gets {a:.0%} of the plays of {who}, {b:.0%} of the public ones"
    elif name == "gaps":
        said = (
            f"{who} go on to the next new track within half an hour in {one.gap_share_30min:.0%} of cases and after a "
            f"day or more in {one.gap_share_day:.0%}, public ones in {real.gap_share_30min:.0%} and "
            f"{real.gap_share_day:.0%}"
        )
    else:
        a, b = (np.array(getattr(made, name)) / sum(getattr(made, name)) for made in both)
        at = int(np.abs(a - b).argmax())
        when = f"on {DAYS[at]}" if name == "weekdays" else f"from {at}:00 to {at + 1}:00 UTC"
        said = f"{when} fall {a[at]:.1%} of the first plays of {who}, {b[at]:.1%} of the public ones"
    return f"{said[0].upper()}{said[1:]}."


def _floor(pairs, rng):
    """Largest of each distance over random halvings of the listeners."""
    users = np.sort(pairs["user_id"].unique())
    found = []
    for _ in range(HALVINGS):
        half = rng.permutation(users)[: len(users) // 2]
        inside = pairs["user_id"].isin(half)
        distances = _distances(profile(pairs[inside]), profile(pairs[~inside]))
        found.append({f"{figure}: {distance}": value for figure, distance, value in distances})
    return {name: round(value, 4) for name, value in pd.DataFrame(found).max().items()}


def _histogram(values):
    counts = pd.Series(values).value_counts().sort_index()
    return {int(value): int(count) for value, count in counts.items()}


def _merged(counts):
    """A histogram whose highest values are merged, at their median, until every cell is large enough."""
    cells, values, sizes = {}, [], []
    for value in sorted(counts, reverse=True):
        values.append(value)
        sizes.append(counts[value])
        if sum(sizes) >= SMALLEST_CELL:
            cells[int(np.repeat(values, sizes)[sum(sizes) // 2])] = sum(sizes)
            values, sizes = [], []
    if values:  # what is left of the lowest values joins the cell above
        last = min(cells, default=values[0])
        cells[last] = cells.get(last, 0) + sum(sizes)
    return {str(value): cells[value] for value in sorted(cells)}
