"""The split of real listening records against a few lines of pandas that share no code with it."""

from pathlib import Path

import pandas as pd
import pytest
from sklearn.model_selection import train_test_split

from lib.data import logs, stream
from lib.data.splits import interactions, leakage, read_log, split

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "music4all-onion-sample"
LOG = FOLDER / "userid_trackid_timestamp.tsv"
D = "2019-02-15"

pytestmark = pytest.mark.skipif(not LOG.is_file(), reason="the sample of real records is not beside the repository")


@pytest.fixture(scope="module")
def by_pandas():
    """Frames by the rules, with integer user ids; the sample lies within the window."""
    frame = pd.read_csv(LOG, sep="\t", parse_dates=["timestamp"])
    train, test = frame[frame.timestamp < D], frame[frame.timestamp >= D]
    test = test[test.user_id.isin(train.user_id)]
    return train, test.assign(cold=~test.track_id.isin(train.track_id))


def test_sample_reads_as_described():
    pairs = interactions(read_log(LOG))
    assert len(pairs) == 48787
    assert pairs["user_id"].nunique() == 2459
    assert pairs["track_id"].nunique() == 23625
    assert pairs["count"].eq(1).all()


@pytest.mark.parametrize("route", ["frame", "stream"])
@pytest.mark.parametrize("val_users", ["published", "all"])
def test_split_reproduces_an_independent_computation(by_pandas, tmp_path, val_users, route):
    train, test = by_pandas
    with_cold = test[test.cold].user_id.unique()
    users = sorted(set(test.user_id) - set(with_cold)) if val_users == "published" else sorted(set(test.user_id))
    val_ids, _ = train_test_split(users, test_size=0.7, random_state=42)
    val, rest = test[test.user_id.isin(val_ids)], test[~test.user_id.isin(val_ids)]
    expected = [train, val[~val.cold], val[val.cold], rest[~rest.cold], rest[rest.cold]]
    options = {"test_date": D, "val_users": val_users}
    if route == "frame":
        parts = split(read_log(LOG), **options)
    else:
        parts = stream.prepare(logs.batches(LOG), tmp_path / "new", **options).parts
        assert stream.leakage(parts, tmp_path / "new" / "events.parquet", D)["ok"].all()
    assert [len(part) for part in parts] == [len(part) for part in expected]
    for part, frame in zip(parts, expected, strict=True):
        assert set(zip(part.user_id, part.track_id, strict=True)) == set(
            zip(frame.user_id.astype(str), frame.track_id, strict=True)
        )


def test_split_does_not_leak():
    log = read_log(LOG)
    assert leakage(split(log, test_date=D), log, D)["ok"].all()
