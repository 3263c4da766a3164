"""Forests of differences by split: one panel a split, and a legend only where there is something to tell apart."""

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
import pytest

matplotlib.use("Agg")

from lib.figures import difference_panels

SPLITS = ["hot_test", "cold_test"]


def differences(backends=("mfcc", "musicnn_msd")):
    rows = [
        (split, k, "shuffled", backend, place / 10, place / 10 - 0.05, place / 10 + 0.05)
        for split, k in zip(SPLITS, (22, 6), strict=True)
        for place, backend in enumerate(backends)
    ]
    return pd.DataFrame(rows, columns=["split", "k", "against", "backend", "diff", "ci_low", "ci_high"])


@pytest.fixture
def draw():
    """The axes and legends of a figure of some differences."""

    def made(frame, **options):
        options = {"group": "against", "groups": ["shuffled"], "colour": "backend", "scale": "real − control"} | options
        figure = difference_panels.by_split(frame, SPLITS, 6.3, **options)
        return figure.axes, figure.legends

    yield made
    plt.close("all")


def test_every_panel_has_its_own_cut_off_and_the_differences_of_its_split(draw):
    frame = differences()
    frame.loc[frame["split"] == "cold_test", ["diff", "ci_low", "ci_high"]] += 1
    axes, _ = draw(frame)
    assert [one.get_title() for one in axes] == ["hot tracks", "cold tracks"]
    assert [one.get_xlabel() for one in axes] == ["real − control, NDCG@22", "real − control, NDCG@6"]
    for one, split in zip(axes, SPLITS, strict=True):
        dots = {line.get_xdata()[0] for line in one.lines if len(line.get_xdata()) == 1}
        assert dots == set(frame.loc[frame["split"] == split, "diff"])


def test_a_legend_stands_where_there_are_several_backends(draw):
    (_, many), (_, one) = draw(differences()), draw(differences(["mfcc"]))
    assert [text.get_text() for text in many[0].get_texts()] == ["MFCC", "MusiCNN (MSD)"]
    assert not one


def test_the_band_of_a_split_is_that_of_its_own_margin(draw):
    axes, _ = draw(differences(), margins={"hot_test": 0.02})
    assert [[patch.get_width() for patch in one.patches] for one in axes] == [[pytest.approx(0.04)], []]
