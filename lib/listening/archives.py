"""What a listener heard, what is proposed to them by whom, and why: frames for reading, behind the listening room.

Lists are read as they were written: those of the first seed, real vectors or, where there are none, ids alone. The
history is what a listener heard before the test date; what they heard after it marks a proposal as a hit and is never a
reason.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from lib.backends import pseudo, scaling
from lib.backends.vectors import VectorStore
from lib.evaluation import results, retrieval
from lib.evaluation.results import NO_BACKEND, Run
from lib.evaluation.trainings import ID_ONLY
from lib.figures.looks import named
from lib.recommenders import KINDS
from lib.study.tables import read_parquet

__all__ = [
    "SPLITS",
    "backend_label",
    "compared",
    "examples",
    "history",
    "label",
    "listeners",
    "nearest",
    "neighbours",
    "read",
    "spaces",
    "telling",
]


SHOWN = 10  # proposals, of the longer lists that are on disk
BY_POPULARITY = ("mostpop", "pop")  # kinds that propose the same to everybody
SPLITS = {"hot_test": "hot tracks: others had heard them", "cold_test": "cold tracks: nobody had heard them"}


@dataclass(frozen=True)
class Archive:
    """What is read once of a study.

    Attributes
    ----------
    study : Study
    tracks : DataFrame
        Indexed by track id; where a title is unknown the id stands for it.
    train : DataFrame
        Pairs before the test date; empty where there are no listeners.
    truth : dict of {str: DataFrame}
        Test split to pairs heard after it.
    """

    study: object
    tracks: pd.DataFrame
    train: pd.DataFrame
    truth: dict
    _kept: dict = field(default_factory=dict, repr=False)

    def kept(self, key, make):
        """What `make` makes, made once."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def vectors(self, backend):
        """Vectors of a backend or a label, read once."""
        store = VectorStore(self.study.path("vectors.lance"))
        return self.kept(
            ("vectors", backend), lambda: pseudo.vectors(self.study, self.tracks.reset_index(), store, backend)
        )

    def scaled(self, backend, kind, ids):
        """Scaled vectors of some tracks, float64, shape (tracks, dim); scalings are fitted on train tracks."""
        vectors = self.vectors(backend)

        def fitted():
            heard = self.train["track_id"].unique() if len(self.train) else vectors.ids
            return scaling.fit(vectors.select(heard).values, kind)

        scaler = self.kept(("scaler", backend, kind), fitted)
        return scaler.transform(vectors.take(ids)).astype(np.float64)


def read(study):
    """Read a study's tracks and who heard what, before and after the test date.

    Parameters
    ----------
    study : Study

    Returns
    -------
    Archive

    Raises
    ------
    FileNotFoundError
        Where data are not prepared yet.
    """
    tracks = read_parquet(study.path("data", "tracks.parquet"))
    tracks["title"] = tracks["title"].where(tracks["title"].fillna("") != "", tracks["track_id"])
    tracks = tracks.set_index("track_id")
    if not study.has_listeners:
        empty = pd.DataFrame(columns=["user_id", "track_id", "timestamp", "count"])
        return Archive(study, tracks, empty, {})
    parts = results.parts(study)
    return Archive(study, tracks, parts["train"], {split: parts[split] for split in SPLITS if len(parts[split])})


def listeners(archive):
    """Who can be chosen: listeners of the test month.

    Returns
    -------
    DataFrame
        Index: user_id, ascending. ``heard`` (tracks before the test date) and a column a split: tracks to be found.
    """

    def counted():
        if not archive.truth:
            return pd.DataFrame(columns=["heard", *SPLITS])
        found = {split: pairs.groupby("user_id").size() for split, pairs in archive.truth.items()}
        counts = pd.DataFrame(found).reindex(columns=list(SPLITS)).fillna(0).astype(int).sort_index()
        heard = archive.train.groupby("user_id")["track_id"].nunique().reindex(counts.index, fill_value=0)
        counts.insert(0, "heard", heard)
        return counts

    return archive.kept("listeners", counted)


def history(archive, user):
    """What a listener heard before the test date, the latest first: ``track_id, title, artist, first, plays``."""
    own = archive.train[archive.train["user_id"] == user]
    own = own.sort_values(["timestamp", "track_id"], ascending=[False, True])
    return _named(archive, own["track_id"]).assign(
        first=own["timestamp"].dt.strftime("%Y-%m-%d").to_numpy(), plays=own["count"].to_numpy()
    )


def runs(archive):
    """What has lists of a test split, on real vectors or without any.

    Returns
    -------
    list of Run
        Recommenders of ``recommender_table``, then of ``variant_table``, backends in the order of the parameters. What
        those no longer name is passed over.
    """
    p = archive.study.parameters
    names = list(dict.fromkeys([*p.recommender_table, *p.variant_table]))
    spaces = [*p.backend_ids, *p.label_columns, NO_BACKEND]
    found = set()
    for path in archive.study.path("recommendations").glob("*.seed0.*_test.parquet"):
        recommender, backend, control, *_ = path.name.split(".")
        known = recommender in names and backend in spaces
        if known and (control == "real" or (control, backend) == (ID_ONLY, NO_BACKEND)):
            found.add(Run(recommender, backend, control))
    return sorted(found, key=lambda run: (names.index(run.recommender), spaces.index(run.backend), run.control))


def space_label(archive, run):
    """What a run learned from, in the words of the papers.

    Examples
    --------
    >>> space_label(archive, Run("knn", "musicnn_msd")), space_label(archive, Run("ease"))  # doctest: +SKIP
    ('MusiCNN (MSD)', 'listening alone')
    """
    if run.backend == NO_BACKEND:
        return named(ID_ONLY) if run.control == ID_ONLY else "listening alone"
    return backend_label(archive, run.backend)


def backend_label(archive, backend):
    """Name of a backend as in figures; a label that stands in for one is called so."""
    return named(backend) + " (label)" * (backend in archive.study.parameters.label_columns)


def label(archive, run):
    """Name of a run, such as ``BERT4Rec · MusiCNN (MSD)``."""
    return f"{named(run.recommender)} · {space_label(archive, run)}"


def compared(archive, recommender, backends=()):
    """The two runs that are opposed: one recommender on two backends.

    Parameters
    ----------
    archive : Archive
    recommender : str
        A name of the table.
    backends : sequence of str
        At most two; empty: the study's `backend`, and the first other one of which there are lists.

    Returns
    -------
    list of Run
        Two; where there are fewer of that recommender, others fill up. Fewer only where nothing else has lists.

    Raises
    ------
    ValueError
        Where there is no such recommender, or a backend is named of which it has no lists.
    """
    found, p = runs(archive), archive.study.parameters
    names = dict.fromkeys([*p.recommender_table, *p.variant_table])
    if recommender not in [*names, *KINDS]:  # a kind that this study leaves out is no slip: others fill up
        raise ValueError(
            f"Expected a recommender to compare among {', '.join(names)}, found {recommender!r}; name one."
        )
    own = {run.backend: run for run in found if run.recommender == recommender}
    for backend in backends:
        if backend not in own:
            raise ValueError(
                f"Expected backends to compare of which {recommender!r} has lists ({', '.join(own) or 'none'}), found "
                f"{backend!r}; run its notebook on that backend, or name another."
            )
    first = [archive.study.one_backend] if archive.study.one_backend in own else []
    wanted = [own[backend] for backend in backends or dict.fromkeys([*first, *own])]
    return list(dict.fromkeys([*wanted, *found]))[:2]


def proposals(archive, run, split, user, k=SHOWN):
    """The first k tracks that a run proposes to a listener.

    Parameters
    ----------
    archive : Archive
    run : Run
    split : {'hot_test', 'cold_test'}
    user : str
    k : int

    Returns
    -------
    DataFrame
        ``rank, track_id, title, artist, score, hit``; `hit` says that the listener went on to hear the track in the
        test month. Empty where the listener has no list.
    """
    path = archive.study.path("recommendations", run.file(0, split))
    columns = ["rank", "track_id", "score"]
    own = pd.DataFrame(columns=columns)
    if path.is_file():
        own = pd.read_parquet(path, filters=[("user_id", "==", user), ("rank", "<=", k)]).sort_values("rank")
    truth = archive.truth.get(split, archive.train.head(0))
    later = set(truth.loc[truth["user_id"] == user, "track_id"])
    named = _named(archive, own["track_id"])
    named.insert(0, "rank", own["rank"].to_numpy())
    return named.assign(score=own["score"].to_numpy(), hit=own["track_id"].isin(later).to_numpy(bool))


def telling(archive, pair, split, wanted="", k=SHOWN):
    """Who is looked at first: whoever is wanted, else of whom some runs together find most, of equals the first by id.

    Parameters
    ----------
    archive : Archive
    pair : list of Run
    split, wanted : str
    k : int

    Returns
    -------
    str
        Empty where nobody has a list.

    Raises
    ------
    ValueError
        Where the one who is wanted heard nothing in the test month.
    """
    if wanted:
        known = listeners(archive).index
        if wanted not in known:
            some = ", ".join(known[:3])
            raise ValueError(f"Expected a listener of the test month ({some}, …), found {wanted!r}; name another.")
        return wanted
    truth = archive.truth[split][["user_id", "track_id"]]
    hits = pd.Series(dtype=float)
    for run in pair:
        path = archive.study.path("recommendations", run.file(0, split))
        if path.is_file():
            lists = pd.read_parquet(path, columns=["user_id", "track_id"], filters=[("rank", "<=", k)])
            found = lists.merge(truth).groupby("user_id").size()
            hits = hits.add(found.reindex(lists["user_id"].unique(), fill_value=0), fill_value=0)
    return hits.sort_index().idxmax() if len(hits) else ""


def nearest(archive, backend, track, k=SHOWN):
    """The tracks nearest to one, by cosine of standardised vectors; other clips of its recording are left out.

    Parameters
    ----------
    archive : Archive
    backend : str
    track : str
    k : int

    Returns
    -------
    DataFrame
        ``rank, track_id, title, artist, similarity``; empty where the track has no vector.
    """
    ids = archive.vectors(backend).ids
    if not archive.vectors(backend).has([track])[0]:
        return alike(archive, [], [], k)
    numbers = retrieval.recordings(archive.tracks, archive.study.parameters.same_recording)
    recording = pd.Series(numbers, archive.tracks.index)
    ids = ids[(ids == track) | (recording.reindex(ids) != recording[track]).to_numpy()]
    near = cosines(archive, backend, "standardise", ids, track)
    others = ids != track
    found = alike(archive, ids[others], near[others], k)
    found.insert(0, "rank", np.arange(1, len(found) + 1))
    return found


def spaces(archive):
    """Backends of a study that have vectors, in the order of its parameters."""
    names = VectorStore(archive.study.path("vectors.lance")).names()
    return [name for name in archive.study.parameters.backend_ids if name in names or name == pseudo.FACTORS]


def examples(archive, pair, split, user):
    """Tracks worth hearing first: the latest of a history, and the first that each of some runs proposes.

    Returns
    -------
    list of (str, str)
        What it is, and the track's id.
    """
    firsts = {"latest in the history": history(archive, user).head(1)}
    firsts |= {f"first of {label(archive, run)}": proposals(archive, run, split, user, 1) for run in pair}
    return [(f"{what}: {row.title}", row.track_id) for what, frame in firsts.items() for row in frame.itertuples()]


def neighbours(archive, track):
    """The same for a track: itself, and the nearest in each of the first two spaces."""
    firsts = [
        (f"nearest in {backend_label(archive, name)}: {row.title}", row.track_id)
        for name in spaces(archive)[:2]
        for row in nearest(archive, name, track, 1).itertuples()
    ]
    return [(f"the track: {archive.tracks.at[track, 'title']}", track), *firsts]


def _named(archive, ids):
    ids = np.asarray(ids, dtype=object)
    return archive.tracks[["title", "artist"]].reindex(ids).rename_axis("track_id").reset_index()


def alike(archive, ids, similarity, k):
    """The k most similar of some tracks, named."""
    order = np.argsort(-np.asarray(similarity, dtype=float), kind="stable")[:k]
    named = _named(archive, np.asarray(ids, dtype=object)[order])
    return named.assign(similarity=np.asarray(similarity, dtype=float)[order])


def with_vector(archive, backend, ids):
    """Those of some tracks that have a vector of a backend, as an array of ids."""
    ids = np.asarray(ids, dtype=str)
    return ids[archive.vectors(backend).has(ids)]


def unit(rows):
    """Rows brought to length 1; rows of zeros stay."""
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


def cosines(archive, backend, kind, ids, track):
    """Cosines of some tracks to one, on a backend's vectors under a scaling."""
    return unit(archive.scaled(backend, kind, ids)) @ unit(archive.scaled(backend, kind, [track])[0])
