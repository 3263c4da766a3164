"""What accuracy does not see: how much of a catalogue is listed, how popular and how alike the listed tracks are.

With the train pairs, let p(i) be the share of train's users who heard track i. Of the list L of a user, cut at k:

- ``Popularity@k``: mean of p over L.
- ``Novelty@k``: mean of -log2 p over L, in bits: self-information (Vargas and Castells, RecSys 2011). Rule for tracks
  that nobody heard, cold ones above all: they count as heard by one user, so -log2 p = log2(users), the largest value.
- ``PopularityLift@k``: mean p over L divided by mean p over the user's own train tracks; above 1 lists are more
  popular than taste. It is 1 + PL of Abdollahpouri et al. (RecSys 2020), for each user instead of a group.
- ``Diversity@k``: mean of 1 - cosine over the pairs of L, in [0, 2]: the intra-list similarity of Ziegler et al.
  (WWW 2005), turned round. Vectors are standardised on the train tracks, as raw ones share one large direction and all
  look alike. Only one space makes recommenders comparable: pass the same vectors for all.
- ``KnownArtist@k``: share of L by artists of whom the user heard a track in train.

Of all lists together, with C the candidates:

- ``Coverage@k``: share of C that is listed for anyone.
- ``Gini@k``: inequality of how often each track of C is listed, 0 where all are equally often, near 1 where few are.

On cold tracks popularity and lift are 0 and novelty is constant: there they tell nothing.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

from lib import evaluation
from lib.backends import scaling
from lib.evaluation.statistics import RESAMPLES, bootstrap_means, labelled
from lib.study.ids import positions, sorted_ids

HEAD, MIDDLE, TAIL, UNHEARD = "head", "middle", "tail", "unheard"
HEAD_SHARE, TAIL_SHARE = 0.2, 0.2  # of all plays
QUARTERS = 4
COLUMNS_AT_A_TIME = 256  # of vectors: temporaries of users x columns stay small whatever the width


def per_user(lists: pd.DataFrame, train: pd.DataFrame, k: int, *, vectors=None, artists=None) -> pd.DataFrame:
    """Popularity, novelty and, where their data are given, diversity and known artists of each list.

    Parameters
    ----------
    lists : DataFrame
        ``user_id, rank, track_id``, ranks from 1; other columns are left alone.
    train : DataFrame
        Distinct pairs ``user_id, track_id``.
    k : int
        Cut-off.
    vectors : Vectors, optional
        Of the space in which diversity is measured; listed tracks without a vector are left out.
    artists : Series of str, optional
        Artist of each track, indexed by track id; a track without one has an artist nobody knows.

    Returns
    -------
    DataFrame
        ``user_id`` (ascending, every user with a list), then ``Novelty@k, Popularity@k, PopularityLift@k`` and, where
        asked for, ``Diversity@k, KnownArtist@k``. NaN where there is nothing to average: the lift of a user absent
        from train, the diversity of fewer than two vectors.

    Raises
    ------
    ValueError
        Where a list holds a track twice, train is empty, or no train track has a vector.

    Notes
    -----
    Formulas at the top of this module. Novelty and popularity are those of rs-metrics' ``surprisal`` and
    ``popularity``, over the tracks listed where a list is shorter than k.

    Examples
    --------
    >>> lists = pd.DataFrame({"user_id": ["u", "u"], "rank": [1, 2], "track_id": ["a", "b"]})
    >>> train = pd.DataFrame({"user_id": ["u", "v", "v"], "track_id": ["a", "a", "c"]})
    >>> per_user(lists, train, 2).values.tolist()
    [['u', 0.5, 0.5, 0.5]]
    """
    if not len(train):
        raise ValueError("Expected the train pairs that popularity is counted from, found none; pass train.")
    lists = _cut(lists, k)
    users = pd.Index(sorted_ids(lists["user_id"]))
    rows = positions(lists["user_id"], users)
    n_users = train["user_id"].nunique()
    n_listeners = train["track_id"].value_counts()
    heard_by = _looked_up(lists["track_id"], n_listeners)
    popularity = _mean(rows, heard_by / n_users, len(users))
    found = {
        "user_id": users.to_numpy(),
        f"Novelty@{k}": _mean(rows, np.log2(n_users / np.maximum(heard_by, 1)), len(users)),
        f"Popularity@{k}": popularity,
        f"PopularityLift@{k}": popularity / _profile_popularity(train, users, n_listeners / n_users),
    }
    if vectors is not None:
        found[f"Diversity@{k}"] = _diversity(rows, lists["track_id"], len(users), _directions(vectors, train))
    if artists is not None:
        found[f"KnownArtist@{k}"] = _mean(rows, _by_known_artist(lists, train, artists), len(users))
    return pd.DataFrame(found)


def coverage(lists: pd.DataFrame, candidates, k: int) -> float:
    """Share of the candidates that stand in anyone's first k places, in [0, 1].

    Parameters
    ----------
    lists : DataFrame
        ``user_id, rank, track_id``.
    candidates : array of str
        Distinct tracks that were ranked.
    k : int

    Examples
    --------
    >>> lists = pd.DataFrame({"user_id": ["u", "v"], "rank": [1, 1], "track_id": ["a", "a"]})
    >>> coverage(lists, ["a", "b"], 1)
    0.5
    """
    return float((_times_listed(lists, candidates, k) > 0).mean())


def gini(lists: pd.DataFrame, candidates, k: int) -> float:
    """Gini coefficient of how often each candidate is listed, as RecBole's ``GiniIndex``; NaN without lists.

    Parameters
    ----------
    lists, candidates, k
        As in `coverage`.

    Examples
    --------
    >>> lists = pd.DataFrame({"user_id": ["u", "v"], "rank": [1, 1], "track_id": ["a", "a"]})
    >>> gini(lists, ["a", "b"], 1)
    0.5
    """
    times = np.sort(_times_listed(lists, candidates, k))
    n = len(times)
    weights = 2 * np.arange(1, n + 1) - n - 1
    return float((weights * times).sum() / (n * times.sum())) if times.any() else float("nan")


def summarise(
    lists: pd.DataFrame,
    scores: pd.DataFrame,
    candidates,
    k: int,
    rng: np.random.Generator,
    *,
    n_resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """Everything beyond accuracy about one recommender's lists.

    Parameters
    ----------
    lists : DataFrame
    scores : DataFrame
        From `per_user`, of the same lists at the same k.
    candidates : array of str
    k : int
    rng : numpy.random.Generator
    n_resamples : int

    Returns
    -------
    DataFrame
        ``metric, k, value, ci_low, ci_high, n_users``. Means are over the users who have a value, intervals BCa
        bootstraps over them. Coverage and Gini have none (NaN): drawing users with replacement lists fewer tracks,
        so a bootstrap of them is off centre.
    """
    columns = [name for name in scores.columns if name != "user_id"]
    values = scores[columns].to_numpy(float)
    means = pd.concat([_column_mean(name, values[:, [j]], rng, n_resamples) for j, name in enumerate(columns)])
    whole = labelled(
        [f"Coverage@{k}", f"Gini@{k}"],
        value=[coverage(lists, candidates, k), gini(lists, candidates, k)],
        ci_low=np.nan,
        ci_high=np.nan,
        n_users=len(scores),
    )
    return pd.concat([means, whole], ignore_index=True)


def history_strata(train: pd.DataFrame, users) -> pd.Series:
    """Users by the length of their history, in quarters.

    Parameters
    ----------
    train : DataFrame
        Distinct pairs ``user_id, track_id``.
    users : array of str
        Distinct users to divide; one absent from train has 0 tracks.

    Returns
    -------
    Series of str
        Ordered categories like ``'3-7 tracks'``, indexed by user. Limits are the quartiles of `users`. Equal lengths
        never part, so strata may differ in size, and there may be fewer than four.

    Examples
    --------
    >>> train = pd.DataFrame({"user_id": ["u", "u", "v"], "track_id": ["a", "b", "a"]})
    >>> history_strata(train, ["u", "v"]).tolist()
    ['2-2 tracks', '1-1 tracks']
    """
    users = pd.Index(users)
    lengths = train["user_id"].value_counts().reindex(users, fill_value=0).to_numpy()
    limits = np.quantile(lengths, np.arange(1, QUARTERS) / QUARTERS, method="lower")
    codes = np.searchsorted(limits, lengths, side="left")
    names, order = np.empty(len(users), dtype=object), []
    for code in np.unique(codes):
        inside = codes == code
        order.append(f"{lengths[inside].min()}-{lengths[inside].max()} tracks")
        names[inside] = order[-1]
    return pd.Series(pd.Categorical(names, categories=order, ordered=True), index=users, name="stratum")


def popularity_strata(train: pd.DataFrame) -> pd.Series:
    """Train tracks by plays: head, middle and tail.

    Parameters
    ----------
    train : DataFrame
        Distinct pairs ``user_id, track_id`` with their plays, ``count``.

    Returns
    -------
    Series of str
        Indexed by track. Head: the most played tracks that together make up 20 % of all plays; tail: the least played
        that make up 20 %; middle: the rest (Abdollahpouri et al., UMAP 2021). Equal plays never part: a track
        belongs where the middle of the plays of all tracks played equally often lies.

    Examples
    --------
    >>> popularity_strata(pd.DataFrame({"user_id": ["u", "u"], "track_id": ["a", "b"], "count": [1, 1]})).tolist()
    ['middle', 'middle']
    """
    plays = train.groupby("track_id")["count"].sum()
    of_level = plays.groupby(plays).sum().sort_index()  # plays of all tracks played so often, least often first
    below = (of_level.cumsum() - of_level / 2) / of_level.sum()
    place = plays.map(below)
    names = np.select([place > 1 - HEAD_SHARE, place < TAIL_SHARE], [HEAD, TAIL], MIDDLE)
    return pd.Series(names, index=plays.index, name="stratum")


def by_history(
    scores: pd.DataFrame, train: pd.DataFrame, rng: np.random.Generator, *, n_resamples: int = RESAMPLES
) -> pd.DataFrame:
    """Scores for each quarter of users by length of history.

    Parameters
    ----------
    scores : DataFrame
        ``user_id`` and columns like ``NDCG@50``, without NaN, as from ``lib.evaluation.per_user``.
    train : DataFrame
        Distinct pairs ``user_id, track_id``.
    rng : numpy.random.Generator
    n_resamples : int

    Returns
    -------
    DataFrame
        ``stratum, metric, k, value, ci_low, ci_high, n_users``, shortest histories first.
    """
    strata = history_strata(train, scores["user_id"])
    parts = {name: scores[(strata == name).to_numpy()] for name in strata.cat.categories}
    return _table(parts, rng, n_resamples)


def by_popularity(
    lists: pd.DataFrame,
    truth: pd.DataFrame,
    train: pd.DataFrame,
    ks,
    rng: np.random.Generator,
    *,
    n_resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """Scores with only the head, the middle or the tail of the relevant tracks as what is to be found.

    Parameters
    ----------
    lists : DataFrame
        ``user_id, rank, track_id``: the same whole lists for all strata.
    truth : DataFrame
        Relevant pairs ``user_id, track_id``.
    train : DataFrame
        Distinct pairs with their plays, ``count``.
    ks : sequence of int
        Cut-offs.
    rng : numpy.random.Generator
    n_resamples : int

    Returns
    -------
    DataFrame
        ``stratum, metric, k, value, ci_low, ci_high, n_users``: head, middle, tail, then relevant tracks unheard in
        train, where there are any. Users count where a relevant track of theirs lies in the stratum, so strata differ
        in users and ideal lists are of the stratum alone.
    """
    of_track = popularity_strata(train)
    strata = truth["track_id"].map(of_track).fillna(UNHEARD)
    parts = {}
    for name in (HEAD, MIDDLE, TAIL, UNHEARD):
        inside = truth[strata == name]
        if len(inside):
            parts[name] = evaluation.per_user(lists, inside, ks)
    return _table(parts, rng, n_resamples)


def _table(parts, rng, n_resamples) -> pd.DataFrame:
    tables = [
        evaluation.summarise(scores, rng, n_resamples=n_resamples).assign(stratum=name)
        for name, scores in parts.items()
    ]
    if not tables:
        raise ValueError("Expected the scores of at least one user, found none.")
    table = pd.concat(tables, ignore_index=True)
    return table[["stratum", *table.columns.drop("stratum")]]


def _column_mean(name: str, values: np.ndarray, rng: np.random.Generator, n_resamples: int) -> pd.DataFrame:
    """Mean and interval of one metric over the users who have it."""
    values = values[np.isfinite(values[:, 0])]
    low, high = bootstrap_means(values, rng, n_resamples=n_resamples)
    mean = values.mean(axis=0) if len(values) else np.array([np.nan])
    return labelled([name], value=mean, ci_low=low, ci_high=high, n_users=len(values))


def _cut(lists: pd.DataFrame, k: int) -> pd.DataFrame:
    if k < 1:
        raise ValueError(f"Expected a cut-off of at least 1, found {k}.")
    lists = lists.loc[lists["rank"].to_numpy() <= k, ["user_id", "track_id"]]
    codes = pd.factorize(lists["user_id"])[0] * (len(lists) + 1) + pd.factorize(lists["track_id"])[0]
    if len(pd.unique(codes)) < len(codes):
        first = lists[pd.Series(codes).duplicated().to_numpy()].iloc[0]
        raise ValueError(
            f"Expected distinct tracks in each list, found {first['track_id']!r} twice for user {first['user_id']!r}; "
            "drop repeated tracks."
        )
    return lists


def _looked_up(tracks: pd.Series, values: pd.Series) -> np.ndarray:
    """The value of each track, 0 for those without."""
    rows = positions(tracks, values.index)
    return np.where(rows >= 0, values.to_numpy()[rows], 0)


def _mean(rows: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
    """Mean of the values of each row; every row has some."""
    return np.bincount(rows, weights=values, minlength=n) / np.bincount(rows, minlength=n)


def _profile_popularity(train: pd.DataFrame, users: pd.Index, popularity: pd.Series) -> np.ndarray:
    """Mean popularity of each user's train tracks; NaN for users without."""
    rows = positions(train["user_id"], users)
    inside = rows >= 0
    shares = _looked_up(train["track_id"], popularity)[inside]
    total = np.bincount(rows[inside], weights=shares, minlength=len(users))
    times = np.bincount(rows[inside], minlength=len(users))
    return np.where(times > 0, total / np.maximum(times, 1), np.nan)


def _times_listed(lists: pd.DataFrame, candidates, k: int) -> np.ndarray:
    rows = positions(_cut(lists, k)["track_id"], pd.Index(candidates))
    if (rows < 0).any():
        raise ValueError(
            f"Expected lists of candidates, found {int((rows < 0).sum())} place(s) with other tracks; "
            "pass the candidates that were ranked."
        )
    return np.bincount(rows, minlength=len(candidates))


def _directions(vectors, train: pd.DataFrame) -> tuple[pd.Index, np.ndarray]:
    """Ids and standardised vectors of length 1; one at the mean of train stays 0, at a right angle to all."""
    on_train = vectors.select(train["track_id"].unique())
    if not len(on_train):
        raise ValueError(
            "Expected vectors of train tracks to standardise by, found none; pass vectors of the study's tracks."
        )
    scaled = scaling.fit(on_train.values, "standardise").transform(vectors.values)
    return pd.Index(vectors.ids), scaled / np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-12)


def _diversity(rows: np.ndarray, tracks: pd.Series, n_users: int, directions) -> np.ndarray:
    """Mean of 1 - cosine over the pairs of each list.

    The cosines of all ordered pairs sum to |sum of unit vectors|^2 less each vector's product with itself.
    """
    ids, unit = directions
    columns = positions(tracks, ids)
    inside = columns >= 0
    rows, columns = rows[inside], columns[inside]
    chosen = sparse.csr_array((np.ones(len(rows), unit.dtype), (rows, columns)), shape=(n_users, len(ids)))
    total = np.zeros(n_users)
    for start in range(0, unit.shape[1], COLUMNS_AT_A_TIME):
        sums = chosen @ np.ascontiguousarray(unit[:, start : start + COLUMNS_AT_A_TIME])
        total += np.einsum("ij,ij->i", sums, sums, dtype=np.float64)
    own = np.einsum("ij,ij->i", unit, unit, dtype=np.float64)
    n = np.bincount(rows, minlength=n_users)
    pairs = n * (n - 1)
    similar = (total - np.bincount(rows, weights=own[columns], minlength=n_users)) / np.maximum(pairs, 1)
    return np.where(pairs > 0, 1 - similar, np.nan)


def _by_known_artist(lists: pd.DataFrame, train: pd.DataFrame, artists: pd.Series) -> np.ndarray:
    """Whether each listed track is by an artist of the user's train tracks."""
    codes, names = pd.factorize(artists.to_numpy())  # -1 where the artist is missing
    users = pd.Index(sorted_ids(train["user_id"]))

    def pairs(frame):
        at = positions(frame["track_id"], artists.index)
        artist = np.where(at >= 0, codes[at], -1)
        user = positions(frame["user_id"], users)
        return np.where((artist >= 0) & (user >= 0), user * (len(names) + 1) + artist, -1)

    known = pd.unique(pairs(train))
    return pd.Series(pairs(lists)).isin(known[known >= 0]).to_numpy()  # hashed: numpy's isin sorts millions
