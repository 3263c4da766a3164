"""What skips and completions are worth: three readings of one log."""

import pandas as pd

from lib.data import outcomes
from lib.study import Study, load_parameters
from lib.study.tables import write_parquet


def study_with(events, tmp_path):
    study = Study(load_parameters("toy", {"runs_dir": str(tmp_path)}))
    times = pd.to_datetime(events["timestamp"], utc=True).astype("datetime64[us, UTC]")
    write_parquet(events.assign(timestamp=times), study.path("data", "events.parquet"))
    return study


def test_each_reading_keeps_its_outcomes_and_nothing_from_the_test_date_on(tmp_path):
    events = pd.DataFrame(
        [
            ("u", "a", "2019-01-05", "skip"),
            ("u", "a", "2019-01-07", "play"),
            ("u", "b", "2019-01-06", "complete"),
            ("v", "b", "2019-01-06", "skip"),
            ("v", "c", "2019-02-01", "complete"),
        ],
        columns=["user_id", "track_id", "timestamp", "event"],
    )
    found = dict(outcomes.readings(study_with(events, tmp_path)))
    pairs = {name: list(zip(f["user_id"] + f["track_id"], f["count"], strict=True)) for name, f in found.items()}
    assert pairs == {
        "every listen, skips too": [("ua", 2), ("ub", 1), ("vb", 1)],
        "played or completed": [("ub", 1), ("ua", 1)],
        "completed": [("ub", 1)],
    }


def test_a_log_without_outcomes_has_no_readings(tmp_path):
    events = pd.DataFrame({"user_id": ["u"], "track_id": ["a"], "timestamp": ["2019-01-05"], "event": ["play"]})
    assert list(outcomes.readings(study_with(events, tmp_path))) == []
