"""Yambda's other files are told from its listens."""

import pandas as pd
import pyarrow as pa
import pytest

from lib.data.logs import LogError
from lib.data.sources import yambda

LISTEN = {"uid": 1, "item_id": 2, "timestamp": 5, "played_ratio_pct": 40, "track_length_seconds": 600}


def test_bounds_of_outcomes(tmp_path):
    lengths, shares = [100, 100, 100, 100, 600, 600, 100], [50, 49, 90, 89, 40, 39, 150]
    rows = [{**LISTEN, "track_length_seconds": a, "played_ratio_pct": b} for a, b in zip(lengths, shares, strict=True)]
    pd.DataFrame(rows).to_parquet(tmp_path / "listens.parquet")
    found = pa.concat_tables(yambda.events(tmp_path, "")).to_pandas()
    assert found["event"].tolist() == ["play", "skip", "complete", "play", "play", "skip", "complete"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"uid": 1, "item_id": 2, "timestamp": 5, "is_organic": 1},
            r"a number played_ratio_pct .* found no such column",
        ),
        (
            {name: [value] for name, value in LISTEN.items()} | {"uid": 1},
            r"a number timestamp .* found lists",
        ),
    ],
    ids=["likes", "sequential"],
)
def test_other_files_are_a_sentence(tmp_path, row, message):
    pd.DataFrame([row]).to_parquet(tmp_path / "listens.parquet")
    with pytest.raises(LogError, match=message):
        list(yambda.events(tmp_path, ""))


def test_rows_of_likes_among_listens_are_a_sentence(tmp_path):
    rows = [LISTEN, {**LISTEN, "played_ratio_pct": None, "track_length_seconds": None}]  # as in multi_event.parquet
    pd.DataFrame(rows).to_parquet(tmp_path / "multi_event.parquet")
    with pytest.raises(
        LogError, match=r"a number played_ratio_pct in every row .* found 1 of 2 empty.* \(flat/50m/listens\.parquet"
    ):
        list(yambda.events(tmp_path, "multi_event.parquet"))
