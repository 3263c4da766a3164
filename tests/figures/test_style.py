"""Figures and tables: two runs write the same bytes, with study and world in every name."""

import math

import matplotlib
import pandas as pd
import pytest

matplotlib.use("Agg")

from lib import figures
from lib.figures import looks, thesis_overview
from lib.study import Study, load_parameters
from lib.study.text import mean_with_interval


@pytest.fixture
def study(tmp_path):
    return Study(load_parameters("toy", {"runs_dir": str(tmp_path)}))


def drawn(family="DejaVu Sans"):
    figures.use_style(9, family)
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
    assert set(files[0]) == {f"diff--toy-mock.{end}" for end in ("pdf", "png", "csv", "caption.txt", "tex")}
    assert b"simulated listeners" in files[0]["diff--toy-mock.caption.txt"]
    assert rb"\caption[{A caption (toy, mock)}]{A caption. Study toy" in files[0]["diff--toy-mock.tex"]


@pytest.mark.parametrize("family", ["DejaVu Sans", "STIXGeneral"])
def test_all_fonts_are_embedded_as_truetype(study, family):
    """Canary: matplotlib's own choice (Type 3) is not, and printers refuse it."""
    for fonttype, embedded in ((42, True), (3, False)):
        figure, rows = drawn(family)
        figure.axes[0].set_title("Größe, δ ≤ 5 – ★ $\\rho$")
        with matplotlib.rc_context({"pdf.fonttype": fonttype}):
            figures.save(figure, "diff", rows, study, "A caption.")
        assert thesis_overview.fonts_embedded(study.path("figures", "diff--toy-mock.pdf").read_bytes()) is embedded


def test_a_family_that_is_not_there_is_a_sentence_not_another_font():
    with pytest.raises(ValueError, match=r"found 'DejaVu San'; try .*DejaVu Sans"):
        figures.use_style(9, "DejaVu San")


def test_a_figure_is_printed_as_wide_as_it_was_drawn_and_never_wider_than_the_text(study):
    for share, printed in ((0.5, r"width=0.5\textwidth"), (1.0, r"width=1\textwidth"), (1.3, r"width=1\textwidth")):
        figure, _ = figures.panels(6.3, share=share)
        figures.save(figure, "wide", pd.DataFrame(), study, "A caption.")
        assert printed in study.path("figures", "wide--toy-mock.tex").read_text()


def test_the_number_of_a_line_is_no_column(study):
    frame = pd.DataFrame({"recommender": ["knn", "ease"], "verdict": ["a", "b"]})
    figures.save_table(frame, "t", study, "Verdicts.")
    assert "knn & a" in study.path("figures", "t--toy-mock.tex").read_text()
    assert study.path("figures", "t--toy-mock.csv").read_text() == "recommender,verdict\nknn,a\nease,b\n"


def test_a_caption_tells_how_many_listeners_where_the_data_do(study):
    """Canary: listeners of validation, and rows without a number, are not those a figure of test scores is of."""
    figure, rows = drawn()
    counted = pd.DataFrame(
        {"split": ["hot_test", "hot_test", "cold_test", "cold_test", "val"], "n_users": [40, 44, 7, math.nan, 900]}
    )
    for name, data in (("counted", counted), ("bare", rows)):
        figures.save(figure, name, data, study, "A caption.")
    told = study.path("figures", "counted--toy-mock.caption.txt").read_text()
    assert "A caption. n = 40 to 44 listeners on hot tracks, 7 listeners on cold tracks. Study" in told
    assert "n =" not in study.path("figures", "bare--toy-mock.caption.txt").read_text()


def test_a_legend_needs_no_style_of_ours():
    """Canary: sizes of letters are words then, with which no width can be computed."""
    with matplotlib.rc_context(matplotlib.rcParamsDefault):
        frame = pd.DataFrame({"p": "NDCG", "x": ["a", "b"], "of": ["one", "two"], "value": 0.2})
        seen = {"one": looks.look("real"), "two": looks.look("untrained")}
        figure = figures.dots(
            frame.assign(ci_low=0.1, ci_high=0.3), 6.3, panel="p", label="x", hue="of", looks=seen, scale="NDCG@5"
        )
    assert figure.axes[0].get_xlabel() == "NDCG@5"


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
    assert r"5\,\% of it." in latex
    assert r"\toprule" in latex


def test_a_mean_without_an_interval_is_shown_alone():
    rows = pd.DataFrame({"value": [0.5, 0.25], "ci_low": [math.nan, 0.2], "ci_high": [math.nan, 0.3]})
    assert mean_with_interval(rows) == ["0.500", "0.250 [0.200, 0.300]"]


def of_controls():
    """Rows as of metrics.parquet: a lists nothing under 'random' on cold tracks, b has one control alone."""
    lines = [("b", "shuffled", 0.2), ("b", "real", 0.3), ("a", "real", 0.4), ("a", "random", 0.1)]
    rows = [
        {"recommender": name, "control": control, "split": split, "value": value}
        for split in ("hot_test", "cold_test")
        for name, control, value in lines
        if (control, split) != ("random", "cold_test")
    ]
    return pd.DataFrame(rows).assign(
        metric="NDCG", k=5, seed=-1, ci_low=lambda f: f["value"] - 0.05, ci_high=lambda f: f["value"] + 0.05
    )


def test_lines_of_a_recommender_stand_together_and_are_coloured_by_control():
    from types import SimpleNamespace

    todo = dict.fromkeys(("hot_test", "cold_test"), SimpleNamespace(cutoffs=[5]))
    figure = figures.by_control(of_controls(), todo, list(todo), "mfcc", 6.3)
    hot, cold = figure.axes
    assert [text.get_text() for text in hot.get_yticklabels()] == ["b", "a"]
    dots = hot.collections[1]
    assert dots.get_offsets()[:, 0].tolist() == [0.3, 0.2, 0.4, 0.1]  # real before shuffled and random
    places = dots.get_offsets()[:, 1]
    assert places[2] - places[1] > places[1] - places[0] == places[3] - places[2]
    wanted = [looks.look(name).colour for name in ("real", "shuffled", "real", "random")]
    assert [matplotlib.colors.to_hex(colour) for colour in dots.get_facecolors()] == wanted
    assert len({path.vertices.tobytes() for path in dots.get_paths()}) == 3  # a marker a control
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["real", "shuffled", "random"]
    assert cold.collections[1].get_offsets().mask[:, 0].tolist() == [False, False, False, True]


def test_panels_share_lines_and_no_interval_is_cut_off():
    """Canary: a limit set on the first of several panels with one scale would cut those drawn after it."""
    frame = pd.DataFrame({"part": ["p", "p", "q"], "line": ["x", "y", "y"], "kind": ["one", "two", "two"]})
    frame = frame.assign(value=[0.1, 0.2, 0.8], ci_low=[0.05, 0.1, 0.7], ci_high=[0.15, 0.3, 0.9])
    seen = {"one": looks.look("real"), "two": looks.look("untrained")}
    figure = figures.dots(frame, 6.3, panel="part", label="line", hue="kind", looks=seen, scale="NDCG@5")
    first, second = figure.axes
    assert first.get_xlim() == second.get_xlim()
    assert first.get_xlim()[0] == 0
    assert first.get_xlim()[1] >= 0.9
    assert [text.get_text() for text in first.get_yticklabels()] == ["x", "y"]
    assert second.collections[1].get_offsets()[:, 1].tolist()[-1] == 1  # y stands where it stands in the first panel
    own = figures.dots(frame, 6.3, panel="part", label="line", hue="kind", looks=seen, scale={"p": "bits"})
    assert own.axes[0].get_xlim()[1] < 0.5
    assert (own.axes[0].get_xlabel(), own.axes[1].get_xlabel()) == ("bits", "")
