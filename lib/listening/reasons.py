"""Why a run may propose a track to a listener: what it has in common with their history."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from lib.evaluation.results import NO_BACKEND
from lib.figures.looks import named
from lib.listening.archives import (
    BY_POPULARITY,
    SHOWN,
    alike,
    cosines,
    history,
    proposals,
    space_label,
    unit,
    with_vector,
)
from lib.recommenders.knn import usable_scalings

__all__ = ["table"]


_SCALED = {"none": "raw", "centre": "centred", "standardise": "standardised", "whiten": "whitened"}
_SAME = 1e-4  # between a cosine and the score of a list that was ranked by it


class Reasons(NamedTuple):
    """Why a track is proposed: a sentence, and tracks ``track_id, title, artist, similarity``, the most alike first."""

    sentence: str
    tracks: pd.DataFrame


def scaling_of(archive, run, split, user):
    """How the vectors of a run were scaled before it learned from them.

    Of what was trained ``training.parquet`` says it. KNN leaves no such line, but scores by a cosine: it is the scaling
    that gives the scores of its list.

    Returns
    -------
    str
        One of `lib.backends.scaling.SCALINGS`; 'standardise' where neither tells.
    """
    path = archive.study.path("training.parquet")
    if path.is_file():
        own = [("recommender", "==", run.recommender), ("backend", "==", run.backend), ("control", "==", run.control)]
        told = pd.read_parquet(path, columns=["scaling"], filters=[*own, ("seed", "==", 0)])["scaling"].dropna()
        if len(told):
            return told.iloc[-1]
    listed = proposals(archive, run, split, user)
    listed = listed[archive.vectors(run.backend).has(listed["track_id"])]
    heard = with_vector(archive, run.backend, history(archive, user)["track_id"])
    if not len(listed) or not len(heard):
        return "standardise"
    n_train = archive.vectors(run.backend).has(archive.train["track_id"].unique()).sum()
    away = {
        kind: np.abs(_mean_cosines(archive, run.backend, kind, heard, listed["track_id"]) - listed["score"]).max()
        for kind in usable_scalings(n_train, archive.vectors(run.backend).dim)
    }
    nearest = min(away, key=away.get)
    return nearest if away[nearest] < _SAME else "standardise"


def reasons(archive, run, split, user, track, k=3):
    """Why a run may propose a track to a listener.

    Parameters
    ----------
    archive : Archive
    run : Run
    split, user : str
    track : str
        Proposed.
    k : int
        Tracks of the history to name.

    Returns
    -------
    Reasons
        On vectors: the tracks of the history nearest to it, by cosine of vectors scaled as the run's were. Without:
        those heard by the same people, by cosine of who heard them. Of what proposes the most heard tracks, how many
        heard it and no tracks.
    """
    heard = history(archive, user)["track_id"]
    kind = _kind(archive, run)
    if kind in BY_POPULARITY:
        return _popular(archive, run, track)
    if run.backend == NO_BACKEND:
        return _heard_together(archive, run, heard, track, k)
    if not archive.vectors(run.backend).has([track])[0]:
        return Reasons(f"This track has no vector of {space_label(archive, run)}.", alike(archive, [], [], k))
    scaled = scaling_of(archive, run, split, user)
    known = with_vector(archive, run.backend, heard)
    near = cosines(archive, run.backend, scaled, known, track)
    how = (
        "ranks by the cosine to the mean of all"
        if kind == "knn"
        else "has learned from them what to make of a history, so that nearness is a hint and not its sum"
    )
    sentence = (
        f"Nearest of {len(known)} tracks heard, by cosine of {space_label(archive, run)} vectors "
        f"({_SCALED[scaled]}). {named(run.recommender)} {how}."
    )
    return Reasons(sentence, alike(archive, known, near, k))


def _kind(archive, run):
    """Kind of a named recommender, or of the one that a variant is of."""
    p = archive.study.parameters
    name = p.variant_table.get(run.recommender, {}).get("of", run.recommender)
    return p.recommender_table.get(name, {}).get("kind", name)


def _popular(archive, run, track):
    counts = archive.train.groupby("track_id")["user_id"].nunique()
    own, everybody = int(counts.get(track, 0)), archive.train["user_id"].nunique()
    sentence = (
        f"{named(run.recommender)} reads neither audio nor history: {own} of {everybody} listeners had heard this "
        f"track, more than all but {int((counts > own).sum())} of {len(counts)}."
    )
    return Reasons(sentence, alike(archive, [], [], 1))


def _heard_together(archive, run, heard, track, k):
    train = archive.train.drop_duplicates(["user_id", "track_id"])
    who = train.loc[train["track_id"] == track, "user_id"]
    of_history = train[train["track_id"].isin(heard)]
    each = of_history.groupby("track_id").size()
    both = of_history[of_history["user_id"].isin(who)].groupby("track_id").size().reindex(each.index, fill_value=0)
    cosines = both / np.sqrt(each * max(len(who), 1))
    sentence = (
        f"{named(run.recommender)} reads no audio. {len(who)} listeners had heard this track; of {len(each)} tracks "
        "heard, those that most of the same people heard, by cosine of who heard them."
    )
    return Reasons(sentence, alike(archive, each.index, cosines.to_numpy(), k))


def _mean_cosines(archive, backend, kind, heard, ids):
    """Cosines of tracks to the mean of a history, the way KNN scores."""
    profile = unit(archive.scaled(backend, kind, heard).mean(axis=0))
    return unit(archive.scaled(backend, kind, ids)) @ profile


def table(archive, run, split, user, k=SHOWN):
    """Proposals of a run to a listener with the first reason of each, for reading where there are no widgets.

    Returns
    -------
    DataFrame
        Indexed by rank: proposed, its artist where any is known, heard later, and the nearest track of the history (or
        what most of the same people heard) with its cosine.
    """
    rows = []
    for proposal in proposals(archive, run, split, user, k).itertuples():
        why = reasons(archive, run, split, user, proposal.track_id, 1).tracks
        near = (why["title"].iloc[0], round(why["similarity"].iloc[0], 2)) if len(why) else ("–", "–")
        rows.append((proposal.rank, proposal.title, proposal.artist, "yes" if proposal.hit else "", *near))
    columns = ["rank", "proposed", "artist", "heard later", "nearest in the history", "cosine"]
    found = pd.DataFrame(rows, columns=columns).set_index("rank")
    return found if found["artist"].any() else found.drop(columns="artist")
