"""What a study's data look like, as small tables: for reading, not for computing with."""

import pandas as pd

__all__ = ["labels", "listening", "split", "tasks"]


def labels(tracks):
    """What is known of the tracks: for each column how many have it, how many values it has, and an example.

    Parameters
    ----------
    tracks : DataFrame

    Returns
    -------
    DataFrame
        Index: column. ``known, distinct, example``.
    """
    rows = {}
    for name in tracks.columns:
        values = tracks[name].dropna()
        values = values[values.astype(str) != ""]
        if len(values) and name != "path":
            rows[name] = (len(values), values.astype(str).nunique(), str(values.iloc[0])[:40])
    return pd.DataFrame.from_dict(rows, orient="index", columns=["known", "distinct", "example"])


def listening(prepared):
    """Sizes of a prepared log, one row.

    Parameters
    ----------
    prepared : lib.data.stream.Prepared or None

    Returns
    -------
    DataFrame
        Empty for a study without listeners.
    """
    if prepared is None:
        return pd.DataFrame({"listening": ["none: this study has no listeners"]})
    return pd.Series(prepared.report, name="").to_frame()


def split(parts):
    """Pairs, listeners and tracks of each part of a split."""
    sizes = {
        name: [len(part), part["user_id"].nunique(), part["track_id"].nunique()]
        for name, part in parts._asdict().items()
    }
    return pd.DataFrame.from_dict(sizes, orient="index", columns=["pairs", "listeners", "tracks"])


def tasks(todo):
    """What is to be recommended, to how many, from how many candidates, at which cut-off."""
    return pd.DataFrame(
        {
            name: {
                "listeners judged": len(task.users),
                "candidates": len(task.candidates),
                "k": task.cutoffs[0],
                "relevant tracks a listener": round(len(task.truth) / len(task.users), 1),
            }
            for name, task in todo.items()
        }
    ).T
