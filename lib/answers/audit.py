"""What a referee asks of recommendation from audio: was it trained on, is it the same artist, the same recording.

- **Training data** (`training_overlap`): whether a backend may have been trained on tracks of Music4All.
- **Same artist** (`same_artist`, `by_artist`): how many listed tracks are by an artist whom the listener has played,
  against what a random list would hold; and scores where such tracks do not count as found.
- **Same recording** (`recordings`, `duplicates`, `without_duplicates`): tracks that are one recording under several
  ids, how many pairs to be found they give away, and scores without those pairs.

Each comes with a sentence for the thesis.
"""

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from lib import evaluation, figures
from lib.backends import REGISTRY, scaling
from lib.data.sources import GENERATED
from lib.evaluation import beyond, list_properties, results, statistics
from lib.evaluation.metrics import Task
from lib.recommenders.ranking import pair_positions, positions
from lib.study import resolve
from lib.study.provenance import file_hash
from lib.study.tables import read_parquet

OWN, OTHER, NEW = "own artist", "another artist of train", "artist absent from train"
NOT_OWN = "all but own artist"  # OTHER and NEW
UNSTATED = "artist not stated"
FILE, NEAR = "file", "vectors"  # criteria besides the name of a column
SAME = 0.999  # cosine of standardised vectors, from which two tracks count as one recording
ROWS_AT_A_TIME = 2048
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
                scores = _ndcg(found, truth, k)
                row = _mean(study, scores, split)
                rows.append((split, stratum, run.recommender, run.backend, k, *row, expected, len(scores), len(truth)))
    columns = ["split", "stratum", *RUN[1:], "k", "value", "ci_low", "ci_high", "chance", "n_users", "n_pairs"]
    return pd.DataFrame(rows, columns=columns)


def _ndcg(found, truth, k):
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
    cells = scores.assign(cell=figures.mean_with_interval(scores))
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
    excess = figures.signed_with_interval(row["excess"], row["ci_low"], row["ci_high"])
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
        left, cell = own.iloc[0], figures.mean_with_interval(own)[0]
        counts = f"n = {left['n_users']} listeners, {left['n_pairs']} pairs"
        text += f"; NDCG@{left['k']} on {stratum}: {cell}, chance {left['chance']:.3f} ({counts})"
    return text + "."


def _is(frame, recommender, backend, split):
    return (frame["recommender"] == recommender) & (frame["backend"] == backend) & (frame["split"] == split)


def recordings(tracks, vectors=None, train_ids=None, *, same_recording="", least=SAME):
    """Which tracks are one recording: by a label, by equal files, by vectors that all but coincide.

    Parameters
    ----------
    tracks : DataFrame
        ``track_id, path`` and the column `same_recording`, where there is one.
    vectors : Vectors, optional
        Of one backend, in which near-duplicates are looked for.
    train_ids : sequence of str, optional
        Tracks that vectors are standardised by; all by default.
    same_recording : str
        Column that names a recording.
    least : float
        Cosine of standardised vectors.

    Returns
    -------
    dict of {str: Series of int}
        Criterion (the column's name, ``file``, ``vectors``) to the group of each track, indexed by track id; a track
        that is like no other is alone in its group. A criterion for which there are no data is left out. Files are
        compared by SHA-256, and only where two are equally long.

    Examples
    --------
    >>> tracks = pd.DataFrame({"track_id": ["a", "b", "c"], "path": "", "score_id": ["x", "x", "y"]})
    >>> recordings(tracks, same_recording="score_id")["score_id"].tolist()
    [0, 0, 1]
    """
    ids, found = tracks["track_id"].to_numpy(), {}
    if same_recording in tracks and same_recording != "track_id":
        found[same_recording] = _groups(tracks[same_recording].to_numpy(), ids)
    files = [resolve(path) if path else None for path in tracks["path"]]
    if any(file is not None and file.is_file() for file in files):
        found[FILE] = _groups(_contents(files), ids)
    if vectors is not None:
        found[NEAR] = _near(vectors, vectors.ids if train_ids is None else train_ids, least).reindex(ids)
        alone = np.arange(len(ids)) + len(ids)
        found[NEAR] = found[NEAR].where(found[NEAR].notna(), alone).astype(int)
    return found


def _groups(values, ids):
    """Numbers of equal values; one without a value is alone."""
    values = pd.Series(values, index=ids, dtype=object)
    missing = (values.isna() | (values == "")).to_numpy()
    return pd.Series(np.where(missing, np.arange(len(ids)) + len(ids), pd.factorize(values)[0]), index=ids)


def _contents(files):
    sizes = pd.Series([file.stat().st_size if file is not None and file.is_file() else -1 for file in files])
    shared = sizes.duplicated(keep=False) & (sizes > 0)
    return [file_hash(file, 64) if same else "" for file, same in zip(files, shared, strict=True)]


def _near(vectors, train_ids, least):
    """Groups of tracks joined by cosines of at least `least`, in blocks."""
    scaler = scaling.fit(vectors.select(train_ids).values, "standardise")
    scaled = scaler.transform(vectors.values)
    unit = scaled / np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-12)
    rows, columns = [], []
    for start in range(0, len(unit), ROWS_AT_A_TIME):
        at, other = np.nonzero(unit[start : start + ROWS_AT_A_TIME] @ unit.T >= least)
        rows.append(at + start)
        columns.append(other)
    rows, columns = np.concatenate(rows), np.concatenate(columns)
    joined = sparse.coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(unit), len(unit)))
    return pd.Series(connected_components(joined, directed=False)[1], index=vectors.ids)


def given_away(truth, train, groups):
    """Relevant pairs whose listener played the same recording in train under another id.

    Parameters
    ----------
    truth, train : DataFrame
        Pairs ``user_id, track_id``.
    groups : Series
        Group of each track, from `recordings`.

    Returns
    -------
    own, any : ndarray of bool, shape (pairs,)
        Whether the listener, or anybody, played another track of the group.

    Examples
    --------
    >>> train = pd.DataFrame({"user_id": ["u", "v"], "track_id": ["a", "b"]})
    >>> truth = pd.DataFrame({"user_id": ["u", "u"], "track_id": ["a2", "b2"]})
    >>> [found.tolist() for found in given_away(truth, train, pd.Series({"a": 0, "a2": 0, "b": 1, "b2": 1}))]
    [[True, False], [True, True]]
    """
    of_truth, of_train = truth["track_id"].map(groups), train["track_id"].map(groups)
    heard = pd.MultiIndex.from_arrays([train["user_id"], of_train])
    own = pd.MultiIndex.from_arrays([truth["user_id"], of_truth]).isin(heard)
    # in train under this very id is no duplicate: a group counts where another of its tracks is there
    members = train[["track_id"]].assign(group=of_train).drop_duplicates()
    others = of_truth.map(members["group"].value_counts()).fillna(0).to_numpy()
    itself = truth["track_id"].isin(members["track_id"]).to_numpy()
    return own, others - itself > 0


def duplicates(study, todo, groups):
    """How many tracks are one recording, and how many pairs to be found that gives away.

    Parameters
    ----------
    study : Study
    todo : dict of {str: Task}
    groups : dict of {str: Series}
        From `recordings`.

    Returns
    -------
    DataFrame
        ``criterion, split, tracks, groups, largest, pairs, own, any``: tracks that share a group, such groups and the
        largest; pairs to be found, those whose listener played another track of the group in train, and those of which
        anybody did.
    """
    train, rows = results.parts(study)["train"], []
    for criterion, group in groups.items():
        sizes = group.value_counts()
        shared = sizes[sizes > 1]
        told = int(shared.sum()), len(shared), int(sizes.max())
        for split in results.judged(todo):
            own, anybody = given_away(todo[split].truth, train, group)
            rows.append((criterion, split, *told, len(own), int(own.sum()), int(anybody.sum())))
    columns = ["criterion", "split", "tracks", "groups", "largest", "pairs", "own", "any"]
    return pd.DataFrame(rows, columns=columns)


def without_duplicates(study, todo, groups):
    """NDCG of every run with and without the pairs that one's own duplicates give away.

    Parameters
    ----------
    study, todo, groups
        As for `duplicates`; pairs go by any of the criteria.

    Returns
    -------
    DataFrame
        ``split, recommender, backend, k, all, without, diff, ci_low, ci_high, n_users, n_pairs``: means over the
        listeners who have a pair left, n_pairs those taken away; diff is without − all with a BCa interval over
        listeners. Fewer pairs to be found move NDCG by themselves, so hold runs against each other. Empty where no
        pair is given away.
    """
    train, rows = results.parts(study)["train"], []
    for split in results.judged(todo):
        task, k = todo[split], todo[split].cutoffs[0]
        given = np.zeros(len(task.truth), dtype=bool)
        for group in groups.values():
            given |= given_away(task.truth, train, group)[0]
        truth = task.truth[~given]
        if not given.any() or not len(truth):
            continue
        for run in runs(study, split):
            found = read_parquet(study.path("recommendations", run.file(0, split)))
            whole, less = (_ndcg(found, pairs, k).set_index("user_id")[f"NDCG@{k}"] for pairs in (task.truth, truth))
            whole = whole[less.index]
            low, high = statistics.bootstrap_means(
                (less - whole).to_numpy()[:, None],
                study.rng("bootstrap", split),
                n_resamples=study.parameters.n_bootstrap,
            )
            means = whole.mean(), less.mean(), (less - whole).mean()
            rows.append((split, run.recommender, run.backend, k, *means, low[0], high[0], len(less), int(given.sum())))
    columns = [*RUN, "k", "all", "without", "diff", "ci_low", "ci_high", "n_users", "n_pairs"]
    return pd.DataFrame(rows, columns=columns)


def duplicate_sentence(found):
    """What `duplicates` found, in a sentence.

    Parameters
    ----------
    found : DataFrame
        From `duplicates`.

    Returns
    -------
    str
    """
    if found.empty:
        return "Duplicate recordings: nothing to look by, neither labels nor files nor vectors."
    names = {FILE: "with equal files", NEAR: f"with vectors of cosine {SAME} or more"}
    told = []
    for criterion, own in found.groupby("criterion", sort=False):
        first = own.iloc[0]
        given = zip(own["own"], own["pairs"], own["split"].str.removesuffix("_test"), strict=True)
        pairs = ", ".join(f"{gone} of {of} {kind} pairs" for gone, of, kind in given)
        how = names.get(criterion, f"that share {criterion}")
        told.append(f"{first['tracks']} tracks in {first['groups']} groups {how}, giving away {pairs}")
    return "Duplicate recordings: " + "; ".join(told) + "."
