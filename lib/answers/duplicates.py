"""Tracks that are one recording under several ids: which, what they give away, and scores without them."""

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from lib.answers.audit import RUN, ndcg, runs
from lib.backends import scaling
from lib.evaluation import results, statistics
from lib.study import resolve
from lib.study.provenance import file_hash
from lib.study.tables import read_parquet

__all__ = ["duplicate_sentence", "duplicates", "recordings", "without_duplicates"]


SAME = 0.999  # cosine of standardised vectors, from which two tracks count as one recording
ROWS_AT_A_TIME = 2048
FILE, NEAR = "file", "vectors"  # criteria besides the name of a column


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
            whole, less = (ndcg(found, pairs, k).set_index("user_id")[f"NDCG@{k}"] for pairs in (task.truth, truth))
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
