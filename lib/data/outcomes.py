"""How listens end, and what that is worth: a skip, a play or a completion as a sign of liking."""

import pyarrow.compute as pc
import pyarrow.parquet as pq

from lib.data import splits, stream
from lib.study.tables import EVENTS

__all__ = ["readings"]


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

    Yields
    ------
    (str, DataFrame)
        A reading and its pairs ``user_id, track_id, timestamp, count``; nothing where the log tells no outcomes.
    """
    p = study.parameters
    events = study.path("data", "events.parquet")
    known = pq.read_table(events, columns=["event"], read_dictionary=["event"])["event"]
    if len(pc.unique(known.cast("string"))) < len(EVENTS):
        return
    date = splits.date_of(p.test_date, p.split_preset)
    start, _ = splits.window(date, preset=p.split_preset)
    for name, outcomes in READINGS.items():
        yield name, stream.pairs(events, outcomes, start, date)
