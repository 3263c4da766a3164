"""Published scores of backends in MIR tasks, kept apart by protocol, under our ids.

Scores of different protocols are not comparable: another split, probe or layer moves them by more than backends
differ. They are correlated within a protocol only, and only where the checkpoint is one that can be had.
"""

from pathlib import Path

import pandas as pd

from lib.answers import cost
from lib.backends import PAPER_NAMES

__all__ = ["by_protocol", "recommender_scores", "scores"]


FILE = Path(__file__).with_name("published") / "mir_scores.csv"
COLUMNS = ["backend", "checkpoint", "task", "dataset", "metric", "value", "probe protocol", "source", "confidence"]
MIXED = "mixed (self-reported, differing protocols)"  # what arXiv 2409.08987 put side by side
_SAME = "as in RecSys 2024 paper"  # checkpoints of the papers, whose names we know
_CHECKPOINTS = {  # how a row's checkpoint begins, and our id; what is not here was never released, or is another
    "MERT-v1-330M": "mert_330m",
    "MusicFM-MSD": "musicfm",
    "Jukebox 5B layer 36 mean pool": "jukebox",
    "Musicset ULarge": "mule",
    "MuQ-MuLan 130k h": "muq_mulan",
    "MSD_musicnn": "musicnn_msd",
    "MTT_musicnn": "musicnn_mtt",
    "MSD_vgg": "vgg_msd",
    "MTT_vgg": "vgg_mtt",
}


def scores():
    """Read all published scores.

    Returns
    -------
    DataFrame
        `COLUMNS`, and ``id``: ours, empty where the checkpoint is none of ours; ``label``: task, data set and metric.

    Examples
    --------
    >>> sorted(set(scores()["id"]) - {""})[:3]
    ['encodecmae', 'jukebox', 'mert_330m']
    """
    found = pd.read_csv(FILE)
    found["id"] = [_id(row["backend"], row["checkpoint"]) for _, row in found.iterrows()]
    found["label"] = found["task"] + ", " + found["dataset"] + ", " + found["metric"]
    return found


def by_protocol(found):
    """Which tasks have scores of how many of our backends, protocol by protocol.

    Parameters
    ----------
    found : DataFrame
        From `scores`.

    Returns
    -------
    DataFrame
        ``protocol, label, n, backends``, those with most backends first.
    """
    known = found[found["id"] != ""]
    groups = known.groupby(["probe protocol", "label"])["id"].agg(lambda ids: sorted(set(ids))).reset_index(name="ids")
    groups = groups.assign(n=groups["ids"].map(len), backends=groups["ids"].map(", ".join))
    groups = groups.sort_values(["n", "probe protocol", "label"], ascending=[False, True, True], ignore_index=True)
    return groups.rename(columns={"probe protocol": "protocol"})[["protocol", "label", "n", "backends"]]


def recommender_scores():
    """What the backends score in recommendation among real listeners, as arXiv 2604.23077 published it.

    Returns
    -------
    DataFrame
        ``recommender, split, backend, value``: NDCG@50 on hot tracks and NDCG@20 on cold ones, real vectors at their
        native width, our names.

    Examples
    --------
    >>> sorted(recommender_scores()["split"].unique())
    ['cold_test', 'hot_test']
    """
    found = cost.published()
    found = found[(found["metric"] == "NDCG") & found["backend"].notna()]
    found = found[~found["recommender"].str.endswith((" Shuffle", " 100"))]
    return found[["recommender", "split", "backend", "value"]].reset_index(drop=True)


def _id(backend, checkpoint):
    if checkpoint == _SAME:
        return PAPER_NAMES[backend]
    return next((name for begin, name in _CHECKPOINTS.items() if checkpoint.startswith(begin)), "")
