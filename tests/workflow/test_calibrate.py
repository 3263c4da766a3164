"""`make calibrate`: what is measured is kept, and what is kept is not measured again."""

import sys

import pandas as pd
import pytest

from lib.answers import known_truth, recovery
from lib.answers.known_truth import Size
from workflow import calibrate

SMALL = Size(80, 100, 12, 24)


def test_batches_cover_every_world_once():
    todo = list(calibrate.batches(40, 2000, 200))
    counted = pd.DataFrame(todo).groupby(["kind", "world", "strength"])["n"].sum()
    assert counted["planted"].eq(40).all()
    assert len(counted["planted"]) == 8
    assert counted["unplanted", "nothing", 0.0] == 2000
    assert counted["arranged", "nothing", 0.0] == 200
    assert counted["arranged", "key", 1.0] == 10
    assert len({batch.name for batch in todo}) == len(todo)


@pytest.mark.slow
def test_a_stopped_run_goes_on_where_it_was_and_writes_the_same_summary(tmp_path, monkeypatch):
    monkeypatch.setattr(calibrate, "ROOT", tmp_path)
    monkeypatch.setattr(calibrate, "PLANTED", SMALL)
    monkeypatch.setattr(calibrate, "NULL", SMALL)
    monkeypatch.setattr(calibrate, "N_PERMUTATIONS", 3)
    monkeypatch.setattr(calibrate, "ProcessPoolExecutor", InThisProcess)
    monkeypatch.setattr(calibrate, "FEWER_PLANTED", 1)
    measured = []
    measure = known_truth.measure
    monkeypatch.setattr(known_truth, "measure", lambda *a, **o: measured.append(a) or measure(*a, **o))
    arguments = ["calibrate", "--seeds", "1", "--null", "2", "--arranged", "1", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    assert calibrate.main() == 0
    n_worlds, names = len(measured), ("calibration.csv", "calibration_levels.csv", "calibration.md")
    assert n_worlds == 8 + 2 + 1 + 4
    written = [(tmp_path / name).read_bytes() for name in names]
    next((tmp_path / "runs").rglob("planted.key.1.*.backends.parquet")).unlink()
    assert calibrate.main() == 0
    assert len(measured) == n_worlds + 1
    assert written == [(tmp_path / name).read_bytes() for name in names]
    rates = pd.read_csv(tmp_path / "calibration.csv")
    assert "- Planted worlds: 1 of each kind" in (tmp_path / "calibration.md").read_text()
    assert rates["kind"].notna().all()  # a kind called 'null' would be read as missing
    assert set(recovery.PAIRING) <= set(rates.loc[rates["kind"] == "unplanted", "question"])


class InThisProcess:
    """A pool of this process alone, which sees what a test has changed."""

    def __init__(self, cores, mp_context):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def submit(self, call, *arguments):
        from concurrent.futures import Future

        job = Future()
        job.set_result(call(*arguments))
        return job
