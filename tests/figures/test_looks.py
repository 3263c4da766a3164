"""Looks: everyone has one, and no two are taken for each other, in colour, in grey or by the colour-blind.

Distances are CIE76 in CIELAB (just noticeable: about 2.3); dichromats are simulated with the matrices of Machado,
Oliveira and Fernandes (2009, severity 1, deuteranopia and protanopia), which act on linear RGB.
"""

import itertools

import matplotlib as mpl
import numpy as np
import pytest
import yaml

from lib import backends
from lib.figures import looks
from lib.study import ROOT

DICHROMATS = {
    "none": np.eye(3),
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
ALIKE = ({"o", "h", "H", "p", "8"}, {"s", "D", "d"}, {"X", "P"})  # markers that are taken for each other when small
APART, APART_IN_GREY = 10.0, 10.0
PARAMETERS = yaml.safe_load((ROOT / "params" / "base.yaml").read_text())
TABLES = {"backends": looks.BACKENDS, "recommenders": looks.RECOMMENDERS, "controls": looks.CONTROLS}


def lab(colour, matrix=DICHROMATS["none"]):
    """CIELAB of a colour as an eye sees it, D65 white."""
    rgb = np.array(mpl.colors.to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(np.array(matrix) @ linear, 0, 1) / TO_XYZ.sum(axis=1)
    x, y, z = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def nearest(one, other):
    """Distance of two colours to the eye that tells them apart worst."""
    return min(np.linalg.norm(lab(one, eye) - lab(other, eye)) for eye in DICHROMATS.values())


def confused(table):
    """Pairs that some eye, or a copy in grey, takes for each other."""
    found = []
    for (one, (colour, marker)), (other, (second, shape)) in itertools.combinations(table.items(), 2):
        grey = abs(lab(colour)[0] - lab(second)[0]) < APART_IN_GREY
        alike = marker == shape or any({marker, shape} <= group for group in ALIKE if isinstance(marker, str))
        if nearest(colour, second) < APART or (grey and alike):
            found.append((one, other))
    return found


@pytest.mark.parametrize(
    ("colour", "eye", "expected"),
    [
        ("#0072b2", "none", [45.97, -2.74, -41.37]),
        ("#e69f00", "none", [70.61, 16.48, 74.68]),
        ("#e69f00", "deuteranopia", [72.95, -6.68, 72.93]),
        ("#cc79a7", "deuteranopia", [63.06, 1.10, -6.97]),
        ("#cc79a7", "protanopia", [57.89, 2.64, -17.07]),
        ("#ff0000", "protanopia", [40.29, -3.67, 47.47]),
    ],
)
def test_eyes_are_simulated_as_elsewhere(colour, eye, expected):
    """Against colorspacious 1.1.2: from sRGB1+CVD at severity 100, clipped, to CIELab."""
    assert lab(colour, DICHROMATS[eye]) == pytest.approx(expected, abs=0.2)


@pytest.mark.parametrize("name", TABLES)
def test_no_two_looks_are_taken_for_each_other(name):
    assert confused(TABLES[name]) == []


def test_what_had_one_look_is_found():
    """Canary: the old colours of VGG (MTT) and EncodecMAE were one to a deuteranope, two controls one in grey."""
    assert confused({"vgg_mtt": ("#e69f00", "v"), "encodecmae": ("#b8a800", "h")}) == [("vgg_mtt", "encodecmae")]
    assert confused({"shuffled": ("#9a9a9a", "o"), "profile_swap": ("#cc79a7", "o")}) == [("shuffled", "profile_swap")]
    assert confused({"dark": ("#d55e00", "o"), "other": ("#7a7a7a", "p")}) == [("dark", "other")]


def test_every_backend_and_every_recommender_of_a_study_has_a_look_of_its_own():
    ids = [name for name in backends.names(twins=False) if not backends.REGISTRY[name].adapter.startswith("own_")]
    assert set(ids) | {*PARAMETERS["backend_ids"], *PARAMETERS["label_columns"]} <= set(looks.BACKENDS)
    assert set(PARAMETERS["recommender_table"]) <= set(looks.RECOMMENDERS)
    for table in TABLES.values():
        assert len({marker if isinstance(marker, str | tuple) else id(marker) for _, marker in table.values()}) == len(
            table
        )


def test_every_variant_looks_like_what_it_is_of():
    for name, options in PARAMETERS["variant_table"].items():
        of = options["of"] if name not in looks.RECOMMENDERS else name
        assert looks.look(name) == looks.look(of)
        assert "_" not in looks.named(name)


def test_an_untrained_twin_is_hollow_and_otherwise_like_the_trained():
    trained, twin = looks.look("musicnn_msd"), looks.look("musicnn_untrained")
    assert twin == trained._replace(fill="white")
    assert looks.look("own_untrained") == looks.look("own")._replace(fill="white")


def test_a_name_of_ones_own_is_always_drawn_alike_and_last():
    assert looks.look("my_own") == looks.look("my_own")
    assert looks.look("my_own").colour == looks.GREY
    assert looks.in_order(["my_own", "vgg_msd", "mfcc"]) == ["mfcc", "vgg_msd", "my_own"]


def test_twelve_values_of_a_label_are_told_apart_and_no_more_are_one():
    values = [f"value {place}" for place in range(12)]
    assert confused(looks.label_looks(values)) == []
    many = looks.label_looks(range(40))
    assert len(set(many.values())) == 40
