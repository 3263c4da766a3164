"""What a study's data look like, as small tables and a figure: for reading, not for computing with."""

from typing import NamedTuple

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from lib import figures
from lib.evaluation import results

BLUE = "#0072b2"


class Drawn(NamedTuple):
    """A figure and the data behind it."""

    figure: Figure
    data: pd.DataFrame


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


def listening_figure(pairs, text_width):
    """Tracks a listener, plays a track, and first plays by hour of day.

    Parameters
    ----------
    pairs : DataFrame
        ``user_id, track_id, timestamp, count``.
    text_width : float
        Inches.

    Returns
    -------
    Drawn
    """
    figure, axes = figures.panels(text_width, 1, 3, ratio=0.85)
    per_user = pairs.groupby("user_id").size()
    sns.histplot(per_user, ax=axes[0], color=BLUE, log_scale=bool(per_user.max() > 200), bins=30)
    axes[0].set(xlabel="tracks a listener", ylabel="listeners")
    ranked = pairs.groupby("track_id")["count"].sum().sort_values(ascending=False).to_numpy()
    axes[1].loglog(range(1, len(ranked) + 1), ranked, color=BLUE)
    for axis in (axes[1].xaxis, axes[1].yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")
    axes[1].set(xlabel="rank of the track", ylabel="plays")
    hours = pairs["timestamp"].dt.hour.value_counts(normalize=True).reindex(range(24), fill_value=0) * 100
    axes[2].stairs(hours, range(25), color=BLUE, baseline=None, lw=1.2)
    axes[2].set_xticks(range(0, 25, 6))
    axes[2].set(xlabel="hour of day, UTC", ylabel="first plays, %", ylim=(0, None))
    return Drawn(figure, per_user.value_counts().sort_index().rename_axis("tracks").reset_index(name="listeners"))


def split(parts):
    """Pairs, listeners and tracks of each part of a split."""
    sizes = {
        name: [len(part), part["user_id"].nunique(), part["track_id"].nunique()]
        for name, part in parts._asdict().items()
    }
    return pd.DataFrame.from_dict(sizes, orient="index", columns=["pairs", "listeners", "tracks"])


def tasks(study):
    """What is to be recommended, to how many, from how many candidates, at which cut-off."""
    return pd.DataFrame(
        {
            name: {
                "listeners judged": len(task.users),
                "candidates": len(task.candidates),
                "k": task.cutoffs[0],
                "relevant tracks a listener": round(len(task.truth) / len(task.users), 1),
            }
            for name, task in results.tasks(study).items()
        }
    ).T
