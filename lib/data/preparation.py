"""From a study's parameters to its tables: tracks from one source, listening from the same, another, or a mock one."""

import inspect
import tempfile

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from lib.data import logs, realism, sources, splits, stream
from lib.data.mock import fit, listeners
from lib.data.mock.habits import EVEN, PUBLISHED
from lib.study import MOCK, resolve
from lib.study.folder import save_data
from lib.study.tables import check

__all__ = ["check_sources", "heard_tracks", "prepare", "public_profile", "save", "tracks"]


class PreparationError(ValueError):
    """A study's sources do not go together; the sentence says which and why."""


def check_sources(study):
    """Refuse sources that do not exist or are not there, before anything starts.

    Parameters
    ----------
    study : Study

    Raises
    ------
    ValueError, FileNotFoundError
        One sentence: an unknown source, a folder that is not there, a log that cannot be read.
    """
    p = study.parameters
    source = sources.source(p.dataset)
    if p.dataset not in sources.GENERATED:
        folder = resolve(p.dataset_folder)
        if not p.dataset_folder or not folder.is_dir():
            raise PreparationError(
                f"Expected the folder of data set {p.dataset} as dataset_folder, found no folder at "
                f"{p.dataset_folder!r}: put its files there, or correct the path. {source.licence()}"
            )
    splits.date_of(p.test_date, p.split_preset)
    if p.labels_table and not resolve(p.labels_table).is_file():
        raise PreparationError(
            f"Expected a table of labels at {p.labels_table!r}, found no such file: correct the path."
        )
    if p.listening_source == MOCK or not study.has_listeners:
        return
    asked = inspect.signature(sources.source(p.listening_source).events).parameters
    for name, usual in (("log_columns", {}), ("time_zone", "UTC")):
        if getattr(p, name) != usual and name not in asked:
            raise PreparationError(
                f"Expected no {name} for {p.listening_source}, whose log is read as published, found "
                f"{getattr(p, name)!r}: leave it out."
            )
    found = _call(sources.source(p.listening_source).events, study, _listening_folder(study), None)
    if found is None or next(iter(found), None) is None:
        raise PreparationError(
            f"Expected a log of listening from {p.listening_source}, found none: set log_file to its name in "
            f"{p.listening_folder or p.dataset_folder!r}, or listening_source to mock or none."
        )


def tracks(study, progress=None):
    """The tracks of a study as its data set gives them.

    Returns
    -------
    DataFrame or None
        As ``data/tracks.parquet`` (docs: contracts); None where they are those of the log. What was left out and why
        stands in ``attrs["left_out"]``.
    """
    p = study.parameters
    found = _call(sources.source(p.dataset).tracks, study, p.dataset_folder, progress)
    if found is None:
        return None
    found["path"] = [study.relative(path) if path else "" for path in found["path"]]
    if p.dataset == "scores":  # clips are excerpts: a listen can last as long as the piece
        found["full_duration"] = listeners.mock_durations(found, study.rng("durations"))
    return check(found, "tracks")


def prepare(study, found, progress=None):
    """Let the listening of a study pass once and divide it.

    Parameters
    ----------
    study : Study
    found : DataFrame or None
        What `tracks` gave.
    progress : callable, optional

    Returns
    -------
    lib.data.stream.Prepared or None
        Its files lie in ``data/new`` until `lib.study.folder.save_data` moves them; None for a study without
        listeners.
    """
    p = study.parameters
    if not study.has_listeners:
        return None
    counted = []
    done = stream.prepare(
        _mock(study, found, progress) if p.listening_source == MOCK else _real(study, found, counted, progress),
        study.path("data", "new"),
        test_date=p.test_date or None,
        preset=p.split_preset,
        val_users=p.val_users,
        positives=p.positives,
        known_tracks=None if found is None else found["track_id"],
        progress=progress,
    )
    if counted:  # of the log itself, before listens to long recordings became listens to their excerpts
        done = done._replace(report=done.report | {"rows of the log": sum(counted)})
    return done


def heard_tracks(study):
    """A frame of the tracks of a prepared log, of which nothing is known but that they were heard."""
    heard = pd.read_parquet(study.path("data", "new", "interactions.parquet"), columns=["track_id"])
    ids = np.sort(heard["track_id"].unique())
    known = pd.DataFrame({"track_id": ids, "path": "", "duration": np.nan, "artist": "", "title": ""})
    return check(known, "tracks")


def save(study, found, prepared):
    """Write the study's tables; where they differ from what was there, results of the old ones go.

    Parameters
    ----------
    study : Study
    found : DataFrame
        Tracks.
    prepared : lib.data.stream.Prepared or None

    Raises
    ------
    lib.data.splits.SplitError
        Below `min_val_users` validation listeners; nothing is written then.
    """
    tables = {"tracks": found}
    if prepared:
        splits.require_validation_users(prepared.parts, study.parameters.min_val_users)
        new = study.path("data", "new")
        tables |= {"events": new / "events.parquet", "interactions": new / "interactions.parquet"}
        tables |= prepared.parts._asdict()
    save_data(study, tables)


def habits(study):
    """Habits of a study's mock listeners: even, published, or fitted to a public log."""
    kind = study.parameters.listening_habits
    if kind == "even":
        return EVEN
    if kind == "published":
        return PUBLISHED
    return fit.fit(public_profile(study))


def public_profile(study):
    """Figures of a month of public listening: of `public_log` where it is named, else the published ones.

    Of a public log the published test month is taken, or its last month where it does not reach there. Where nothing
    lies before that month, as in a log of the month alone, all its pairs are taken.
    """
    name = study.parameters.public_log
    if not name:
        return realism.public_profile()
    path = resolve(name)
    first, last = _period(logs.batches(path))
    date = splits.date_of("")
    date = date if first <= date < last else (last - pd.DateOffset(months=1)).normalize()
    with tempfile.TemporaryDirectory() as folder:
        batches = logs.batches(path)
        if first >= date:
            new = stream.keep(batches, folder, date)
            return realism.profile(stream.pairs(new, splits.liked("all"), date), source=name)
        parts = stream.prepare(batches, f"{folder}/new", test_date=date).parts
    return realism.profile(realism.month_of(parts._asdict()), source=name)


def _period(batches):
    """First and last time of a log."""
    ends = [pc.min_max(batch["timestamp"]).as_py() for batch in batches]
    return pd.Timestamp(min(end["min"] for end in ends)), pd.Timestamp(max(end["max"] for end in ends))


def _mock(study, found, progress):
    p = study.parameters
    if found is None:
        raise PreparationError(
            f"Expected tracks for mock listeners, found a data set ({p.dataset}) whose tracks are those of its log: "
            "set listening_source to it."
        )
    return listeners.blocks(
        found,
        n_users=p.n_users,
        tracks_per_user=p.tracks_per_user,
        content_strength=p.content_strength,
        factor_weights=p.factor_weights or None,
        cold_share=p.cold_share,
        test_date=splits.date_of(p.test_date, p.split_preset),
        rng=study.rng("listening"),
        habits=habits(study),
        progress=progress,
    )


def _real(study, found, counted, progress):
    p = study.parameters
    module = sources.source(p.listening_source)

    def noted(batches):
        for batch in batches:
            counted.append(len(batch))
            yield batch

    batches = noted(_call(module.events, study, _listening_folder(study), progress))
    return module.touched(batches, found) if hasattr(module, "touched") and found is not None else batches


def _listening_folder(study):
    p = study.parameters
    return p.listening_folder or p.dataset_folder


def _call(verb, study, folder, progress):
    """Call a data set's verb with what it asks for by name."""
    p = study.parameters
    offered = {
        "folder": resolve(folder),
        "cache": study.cache(p.dataset),
        "labels_table": resolve(p.labels_table) if p.labels_table else None,
        "progress": progress,
    }
    asked = inspect.signature(verb).parameters
    own = {name: getattr(p, name) for name in asked if name in type(p).model_fields}
    return verb(**own | {name: value for name, value in offered.items() if name in asked})
