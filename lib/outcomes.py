"""How listens end, and what that is worth: a skip, a play or a completion as a sign of liking."""

from lib import splits
from lib.tables import EVENTS

READINGS = {  # which outcomes count as liked
    "every listen, skips too": EVENTS,
    "played or completed": ("play", "complete"),
    "completed": ("complete",),
}


def readings(study):
    """Train pairs under each reading of the log before the test date.

    Parameters
    ----------
    study : Study

    Returns
    -------
    dict of {str: DataFrame}
        Reading to pairs ``user_id, track_id, timestamp, count``; empty where the log tells no outcomes.
    """
    import pyarrow
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    p = study.parameters
    columns = ["user_id", "track_id", "timestamp", "event"]
    events = pq.read_table(study.path("data", "events.parquet"), columns=columns, read_dictionary=["event"])
    events = events.filter(pc.less(events["timestamp"], splits.date_of(p.test_date, p.split_preset).to_pydatetime()))
    if len(pc.unique(events["event"].cast("string"))) < len(EVENTS):
        return {}
    found = {}
    for name, outcomes in READINGS.items():
        kept = events.filter(pc.is_in(events["event"].cast("string"), value_set=pyarrow.array(outcomes)))
        pairs = kept.group_by(["user_id", "track_id"]).aggregate([("timestamp", "min"), ("timestamp", "count")])
        frame = pairs.to_pandas().rename(columns={"timestamp_min": "timestamp", "timestamp_count": "count"})
        found[name] = frame.sort_values(["user_id", "timestamp", "track_id"], ignore_index=True)
    return found
