"""What a referee asks of recommendation from audio: was it trained on, is it the same artist.

- **Training data** (`training_overlap`): whether a backend may have been trained on tracks of Music4All.
- **Same artist** (`same_artist`, `by_artist`): how many listed tracks are by an artist whom the listener has played,
  against what a random list would hold; and scores where such tracks do not count as found.
- **Same recording**: see `lib.answers.duplicates`.

Each comes with a sentence for the thesis.
"""

import numpy as np
import pandas as pd

from lib import evaluation
from lib.backends import REGISTRY
from lib.data.sources import GENERATED
from lib.evaluation import beyond, list_properties, results, statistics
from lib.evaluation.metrics import Task
from lib.study.ids import pair_positions, positions
from lib.study.tables import read_parquet
from lib.study.text import mean_with_interval, signed_with_interval

__all__ = ["artist_sentence", "artist_table", "by_artist", "overlap_sentence", "same_artist", "training_overlap"]


OWN, OTHER, NEW = "own artist", "another artist of train", "artist absent from train"
NOT_OWN = "all but own artist"  # OTHER and NEW
UNSTATED = "artist not stated"
RUN = ["split", "recommender", "backend"]


def training_overlap(backend_ids):
    """What is known of the overlap between what backends were trained on and Music4All.

    Parameters
    ----------
    backend_ids : sequence of str

    Returns
    -------
    DataFrame
        Indexed by backend: ``trained_on, overlap, why, source``; overlap is none, unlikely, possible, likely or
        unknown. Of vectors that were made elsewhere nothing is known here.

    Examples
    --------
    >>> training_overlap(["mfcc", "musicnn_msd"])["overlap"].tolist()
    ['none', 'likely']
    """
    rows = {}
    for name in backend_ids:
        if name in REGISTRY:
            entry = REGISTRY[name]
            rows[name] = (entry.training, *entry.overlap.split(": ", 1), entry.citation)
        else:
            rows[name] = ("not stated", "unknown", "vectors made elsewhere", "")
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=["trained_on", "overlap", "why", "source"])
    return frame.rename_axis("backend")


def overlap_sentence(study):
    """What `training_overlap` means for a study's own tracks."""
    found = training_overlap(study.parameters.backend_ids)
    levels = found["overlap"].value_counts(sort=False)
    counts = ", ".join(f"{level} for {number}" for level, number in levels.items())
    if study.parameters.dataset in GENERATED:
        return (
            f"Overlap of training data with Music4All, of {len(found)} backends: {counts}. No clip of {study.name} can "
            "have been heard in training, as all were made here; the pieces behind them may have been."
        )
    return (
        f"Overlap of training data with Music4All, of {len(found)} backends: {counts}; from what was published, not by "
        "comparing recordings. Where it is not none, what was learned of a track may be part of what is judged."
    )


def artists_of(tracks):
    """Artist of each track that has one, indexed by track id."""
    return tracks.set_index("track_id")["artist"].replace("", None).dropna()


def artist_strata(truth, train, artists):
    """Whose artist each relevant track has: the listener's own, another of train, or one absent from train.

    Parameters
    ----------
    truth, train : DataFrame
        Pairs ``user_id, track_id``.
    artists : Series of str
        Indexed by track id; tracks without one are left out.

    Returns
    -------
    Series of str
        One of `OWN, OTHER, NEW, UNSTATED` for each row of `truth`. An artist is a listener's own where they played any
        track by them in train; absent from train where nobody did: then the artist is as cold as a track can be.

    Examples
    --------
    >>> train = pd.DataFrame({"user_id": ["u", "v"], "track_id": ["a1", "b1"]})
    >>> truth = pd.DataFrame({"user_id": ["u", "u", "u"], "track_id": ["a2", "b2", "c1"]})
    >>> artists = pd.Series({"a1": "A", "a2": "A", "b1": "B", "b2": "B", "c1": "C"})
    >>> artist_strata(truth, train, artists).tolist()
    ['own artist', 'another artist of train', 'artist absent from train']
    """
    of_truth, of_train = truth["track_id"].map(artists), train["track_id"].map(artists)
    pairs = pd.MultiIndex.from_arrays([truth["user_id"], of_truth])
    own = pairs.isin(pd.MultiIndex.from_arrays([train["user_id"], of_train]))
    known = of_truth.isin(of_train.dropna().unique()).to_numpy()
    missing = of_truth.isna().to_numpy()
    found = np.select([missing, own, known], [UNSTATED, OWN, OTHER], NEW)
    return pd.Series(found, index=truth.index, name="stratum")


def chance_of_own_artist(task, train, artists):
    """Expected share of a random list that is by artists whom the listener has played.

    Parameters
    ----------
    task : Task
    train : DataFrame
        Pairs.
    artists : Series of str

    Returns
    -------
    Series of float
        Indexed by user: the share of the listener's own candidates, of any length of list. NaN where there are none.
    """
    users, tracks = pd.Index(task.users), pd.Index(task.candidates)
    codes, names = pd.factorize(artists.reindex(tracks).to_numpy())
    by_artist = np.bincount(codes[codes >= 0], minlength=len(names))
    heard = pd.DataFrame({"user_id": train["user_id"], "artist": train["track_id"].map(artists)}).dropna()
    heard = heard.drop_duplicates()
    at = pd.Index(names).get_indexer(heard["artist"])
    rows = positions(heard["user_id"], users)
    inside = (rows >= 0) & (at >= 0)
    own = np.bincount(rows[inside], weights=by_artist[at[inside]], minlength=len(users))
    # what was heard is not listed: it is taken out of the candidates, and all of it that has an artist is by an own one
    rows, columns = pair_positions(task.history.drop_duplicates(["user_id", "track_id"]), users, tracks)
    removed = np.bincount(rows, minlength=len(users))
    own -= np.bincount(rows, weights=codes[columns] >= 0, minlength=len(users))
    left = len(tracks) - removed
    return pd.Series(np.where(left > 0, own / np.maximum(left, 1), np.nan), index=users)


def runs(study, split):
    """All lists of a split, on any backend and label, each once."""
    spaces = [*study.parameters.backend_ids, *study.parameters.label_columns] or [results.NO_BACKEND]
    found = dict.fromkeys(run for space in spaces for run in list_properties.runs(study, space, split))
    return [run for run in found if run.control == "real"]


def same_artist(study, todo, tracks):
    """Share of each list by artists whom the listener has played, against chance.

    Parameters
    ----------
    study : Study
        `n_bootstrap` counts.
    todo : dict of {str: Task}
        The first cut-off of each test split is used.
    tracks : DataFrame
        ``track_id, artist``.

    Returns
    -------
    DataFrame
        ``split, recommender, backend, k, share, chance, excess, ci_low, ci_high, n_users``, a row a run: means over the
        listeners with a list, of the first seed; excess is share − chance with a BCa interval over listeners. Empty
        where no artist is stated.
    """
    train, artists, rows = results.parts(study)["train"], artists_of(tracks), []
    for split in results.judged(todo) if len(artists) else ():
        task, k = todo[split], todo[split].cutoffs[0]
        expected = chance_of_own_artist(task, train, artists)
        for run in runs(study, split):
            found = read_parquet(study.path("recommendations", run.file(0, split)))
            own = beyond.per_user(found, train, k, artists=artists).set_index("user_id")[f"KnownArtist@{k}"]
            chance = expected[own.index]
            low, high = statistics.bootstrap_means(
                (own - chance).to_numpy()[:, None],
                study.rng("bootstrap", split),
                n_resamples=study.parameters.n_bootstrap,
            )
            means = own.mean(), chance.mean(), (own - chance).mean()
            rows.append((split, run.recommender, run.backend, k, *means, low[0], high[0], len(own)))
    columns = [*RUN, "k", "share", "chance", "excess", "ci_low", "ci_high", "n_users"]
    return pd.DataFrame(rows, columns=columns)


def by_artist(study, todo, tracks):
    """NDCG of every run where only tracks of some artists count as what is to be found.

    Parameters
    ----------
    study, todo, tracks
        As for `same_artist`.

    Returns
    -------
    DataFrame
        ``split, stratum, recommender, backend, k, value, ci_low, ci_high, chance, n_users, n_pairs``. Lists are the
        same whole ones: what they spend on own artists is lost where those do not count. A listener counts where a pair
        of theirs lies in the stratum, so compare lines within one. `NOT_OWN` is the score without same-artist hits.
    """
    train, artists, rows = results.parts(study)["train"], artists_of(tracks), []
    for split in results.judged(todo) if len(artists) else ():
        task, k = todo[split], todo[split].cutoffs[0]
        strata = artist_strata(task.truth, train, artists)
        parts = {OWN: [OWN], NOT_OWN: [OTHER, NEW], NEW: [NEW]}
        for stratum, names in parts.items():
            truth = task.truth[strata.isin(names)]
            if not len(truth):
                continue
            part = Task(task.name, truth, task.candidates, task.history, task.cutoffs)
            expected = evaluation.chance(part, k)[f"NDCG@{k}"].mean()
            for run in runs(study, split):
                found = read_parquet(study.path("recommendations", run.file(0, split)))
                scores = ndcg(found, truth, k)
                row = _mean(study, scores, split)
                rows.append((split, stratum, run.recommender, run.backend, k, *row, expected, len(scores), len(truth)))
    columns = ["split", "stratum", *RUN[1:], "k", "value", "ci_low", "ci_high", "chance", "n_users", "n_pairs"]
    return pd.DataFrame(rows, columns=columns)


def ndcg(found, truth, k):
    """NDCG at k per listener: ``user_id`` and the score."""
    return evaluation.per_user(found, truth, [k])[["user_id", f"NDCG@{k}"]]


def _mean(study, scores, split):
    """Mean of a single metric over listeners with its interval."""
    found = evaluation.summarise(scores, study.rng("bootstrap", split), n_resamples=study.parameters.n_bootstrap)
    return found.iloc[0][["value", "ci_low", "ci_high"]].tolist()


def artist_table(shares, scores):
    """What `same_artist` and `by_artist` found, as text: a line a run.

    Returns
    -------
    DataFrame of str
        Indexed by split, recommender and backend: the share of own artists, what chance would list, and NDCG where only
        some artists' tracks count; ``–`` where a stratum has no pair.
    """
    if shares.empty:
        return pd.DataFrame(index=pd.MultiIndex.from_tuples([], names=RUN))
    left = shares.assign(**{"own artists": shares["share"].map("{:.0%}".format)})
    left = left.assign(chance=left["chance"].map("{:.0%}".format)).set_index(RUN)[["own artists", "chance"]]
    cells = scores.assign(cell=mean_with_interval(scores))
    wide = cells.pivot(index=RUN, columns="stratum", values="cell").reindex(columns=[OWN, NOT_OWN, NEW])
    return left.join(wide.rename(columns="NDCG, {}".format)).fillna("–")


def artist_sentence(shares, scores, recommender, backend, split):
    """How much of a run's lists is by artists whom the listener knows, and what is left without them.

    Parameters
    ----------
    shares, scores : DataFrame
        From `same_artist` and `by_artist`.
    recommender, backend, split : str

    Returns
    -------
    str
    """
    key, kind = (recommender, backend, split), split.removesuffix("_test")
    of_run = [frame[_is(frame, *key)] for frame in (shares, scores)]
    if not all(map(len, of_run)):
        return f"Same artists: {recommender} has no lists of {kind} tracks whose artists are stated."
    row = of_run[0].iloc[0]
    excess = signed_with_interval(row["excess"], row["ci_low"], row["ci_high"])
    text = (
        f"{recommender} ({backend}) on {kind} tracks: {row['share']:.0%} of the first {row['k']} are by artists whom "
        f"the listener has played, {row['chance']:.0%} of a random list "
        f"(excess {excess}, n = {row['n_users']} listeners)"
    )
    for stratum in (NOT_OWN, NEW):
        own = of_run[1][of_run[1]["stratum"] == stratum]
        if own.empty:
            text += f"; {stratum}: no pair to be found"
            continue
        left, cell = own.iloc[0], mean_with_interval(own)[0]
        counts = f"n = {left['n_users']} listeners, {left['n_pairs']} pairs"
        text += f"; NDCG@{left['k']} on {stratum}: {cell}, chance {left['chance']:.3f} ({counts})"
    return text + "."


def _is(frame, recommender, backend, split):
    return (frame["recommender"] == recommender) & (frame["backend"] == backend) & (frame["split"] == split)
