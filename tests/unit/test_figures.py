"""Figures and tables: two runs write the same bytes, with study and world in every name."""

import matplotlib
import pandas as pd
import pytest

matplotlib.use("Agg")

from lib import backends, figures
from lib.study import Study, load_parameters


@pytest.fixture
def study(tmp_path):
    return Study(load_parameters("toy", {"runs_dir": str(tmp_path)}))


def drawn():
    figures.use_style(9)
    figure, axes = figures.panels(6.3)
    rows = pd.DataFrame({"diff": [0.1, -0.1], "ci_low": [0.0, -0.2], "ci_high": [0.2, 0.0], "against": "a"})
    figures.forest(
        axes, rows.assign(b=["mfcc", "vgg_msd"]), group="against", groups=["a", "none"], colour="b", margin=0.05
    )
    return figure, rows


def test_a_figure_is_saved_with_its_data_and_twice_the_same(study):
    files = []
    for _ in range(2):
        figure, rows = drawn()
        figures.save(figure, "diff", rows, study, "A caption.")
        files.append({path.name: path.read_bytes() for path in study.path("figures").iterdir()})
    assert files[0] == files[1]
    assert set(files[0]) == {f"diff--toy-mock.{end}" for end in ("pdf", "png", "csv", "caption.txt")}
    assert b"simulated listeners" in files[0]["diff--toy-mock.caption.txt"]
    assert b"/FontFile2" in files[0]["diff--toy-mock.pdf"]  # fonts embedded as TrueType


def test_a_figure_is_as_wide_as_its_share_of_the_text():
    figure, _ = figures.panels(6.3, share=0.5)
    assert figure.get_size_inches()[0] == pytest.approx(3.15)


def test_a_table_with_numbers_in_its_index_is_valid_latex(study):
    frame = pd.DataFrame(
        {"NDCG@k": ["0.1 [0.0, 0.2]"]},
        index=pd.MultiIndex.from_tuples([("hot", 50, "a_b")], names=["tracks", "k", "c_d"]),
    )
    figures.save_table(frame, "t", study, "5 % of it.")
    latex = study.path("figures", "t--toy-mock.tex").read_text()
    assert r"hot & 50 & a\_b & 0.1 [0.0, 0.2]" in latex
    assert r"5 \% of it." in latex
    assert r"\toprule" in latex


def test_every_backend_has_a_colour_and_a_marker_of_its_own():
    ids = backends.names(twins=False)
    assert set(ids) <= set(figures.COLOURS)
    assert len({figures.COLOURS[name] for name in ids}) == len({figures.MARKERS[name] for name in ids}) == len(ids)
