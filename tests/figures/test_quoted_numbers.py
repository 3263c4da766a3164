"""Numbers that a text quotes: with their units, from what was prepared and set."""

import pandas as pd
import pytest

from lib.figures import quoted_numbers
from lib.study import Study, load_parameters


@pytest.fixture
def study(tmp_path):
    return Study(load_parameters("toy", {"runs_dir": str(tmp_path)}))


def found(study):
    return quoted_numbers.numbers(study).set_index("macro")["value"]


def test_what_is_set_has_its_unit(study):
    values = found(study)
    assert values["toyMockClipSeconds"] == r"6\,s"
    assert values["toyMockDeltaFraction"] == r"5\,\%"
    assert values["toyMockNPermutations"] == "199"
    assert values["toyMockTestDate"] == "1 February 2019"
    assert values["toyMockSplitPreset"] == "tamm2026"
    assert values["toyMockMusicnnMsdRate"] == r"16\,kHz"
    assert values["toyMockMfccRate"].endswith(r"\,kHz")
    assert (values["toyMockTextWidth"], values["toyMockFontSize"]) == ("6.3in", "9pt")  # LaTeX reads them as lengths
    assert "toyMockNTracks" not in values  # nothing is prepared: quoting it stops LaTeX


def test_sizes_are_counted_in_what_was_prepared(study):
    study.path("data").mkdir(parents=True)
    tracks = pd.DataFrame({"track_id": ["a", "b", "c"], "duration": [3600.0, 1800.0, 360.0], "artist": ["x", "x", "y"]})
    tracks.to_parquet(study.path("data", "tracks.parquet"))
    pairs = pd.DataFrame({"user_id": ["u", "v", "u", "u"], "track_id": ["a", "b", "c", "d"]})
    dated = pairs.assign(timestamp=pd.Timestamp("2019-01-01", tz="UTC"), count=1)
    for name in ("events", "interactions", "train", "val", "cold_val", "hot_test", "cold_test"):
        dated.iloc[: 0 if "cold" in name else None].to_parquet(study.path("data", f"{name}.parquet"))
    values = found(study)
    assert (values["toyMockNTracks"], values["toyMockAudioHours"], values["toyMockNArtists"]) == ("3", r"1.6\,h", "2")
    assert (values["toyMockNListeners"], values["toyMockNInteractions"]) == ("2", "4")
    assert (values["toyMockTrainListeners"], values["toyMockColdTestPairs"]) == ("2", "0")
    assert values["toyMockHotCandidates"] == "4"


def test_no_macro_of_one_study_starts_as_those_of_another():
    """The preview tells studies apart by how their macros start."""
    starts = [quoted_numbers.prefix(name, "mock") for name in ("toy", "demo", "demo_wide", "demo_null")]
    assert starts == ["toyMock", "demoMock", "demoWideMock", "demoNullMock"]
    assert not [(a, b) for a in starts for b in starts if a != b and b.startswith(a)]


@pytest.mark.parametrize(
    ("value", "decimals", "unit", "latex"),
    [(37375, 0, "", "37,375"), (30.0, 0, "s", r"30\,s"), (-1234.5, 1, "", "$-$1,234.5"), (-0.04, 1, "h", r"0.0\,h")],
)
def test_numbers_are_grouped_and_carry_units(value, decimals, unit, latex):
    assert quoted_numbers.as_number(value, decimals, unit=unit) == latex
