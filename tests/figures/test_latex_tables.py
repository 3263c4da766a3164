"""Tables fit the text: smaller letters, broken lines, parts, pages, in this order."""

import re

import pandas as pd
import pytest

from lib.figures.latex_tables import ROWS_A_FLOAT, table
from lib.study import Study, load_parameters

CELL = "0.123 [0.101, 0.145]"


@pytest.fixture
def study():
    return Study(load_parameters("toy"))


def scores(n_columns, n_rows=3):
    index = pd.Index([f"recommender_{row}" for row in range(n_rows)], name="recommender")
    return pd.DataFrame({f"backend {column}": [CELL] * n_rows for column in range(n_columns)}, index=index)


def sizes(latex):
    return [float(size) for size in re.findall(r"\\fontsize\{([\d.]+)\}", latex)]


def test_a_narrow_table_has_the_captions_size(study):
    assert sizes(table(scores(3), "t--toy-mock", "A.", study)) == [9]


def test_a_wider_one_smaller_letters_and_a_still_wider_one_parts_that_repeat_its_index(study):
    assert sizes(table(scores(5), "t--toy-mock", "A.", study)) == [7]
    latex = table(scores(7), "t--toy-mock", "A.", study)
    assert sizes(latex) == [9, 9]  # as large as the narrower parts allow
    assert latex.count("recommender\\_0") == 2
    assert [latex.count(f"backend {column}") for column in range(7)] == [1] * 7
    assert re.findall(r"\\label\{(.*?)\}", latex) == ["tab:t--toy-mock", "tab:t--toy-mock-2"]
    assert "A (toy, mock) -- 2 of 2" in latex
    assert re.findall(r"begin\{tabular\}\{(l+)\}", latex) == ["lllll", "llll"]  # not six columns and one


def test_canary_a_wider_text_takes_what_a_narrow_one_does_not():
    wide, narrow = (Study(load_parameters("toy", {"text_width": width})) for width in (7.5, 4.0))
    assert sizes(table(scores(4), "t", "A.", wide)) == [9]
    assert len(sizes(table(scores(4), "t", "A.", narrow))) > 1


def test_prose_is_broken_into_lines_and_numbers_are_not(study):
    frame = scores(1).assign(first="beaten by listening alone, by far and everywhere " * 3, second="x " * 40)
    latex = table(frame, "t", "A.", study)
    (spec,) = re.findall(r"\\begin\{tabular\}\{(l.*)\}", latex)
    assert spec.startswith("ll>") and spec.count("p{") == 2  # noqa: PT018
    widths = [float(width) for width in re.findall(r"p\{([\d.]+)\\textwidth\}", spec)]
    assert 0.5 < sum(widths) < 0.7


def test_what_is_long_goes_over_pages_with_its_heading_on_each(study):
    latex = table(scores(2, n_rows=ROWS_A_FLOAT + 1), "t", "A.", study)
    assert "\\begin{longtable}" in latex and "\\begin{table}" not in latex  # noqa: PT018
    assert latex.count("backend 0") == 2  # on the first page, and on all others
    assert "\\begin{table}" in table(scores(2, n_rows=ROWS_A_FLOAT), "t", "A.", study)


def test_a_line_that_starts_with_a_bracket_is_no_option_of_the_line_before(study):
    frame = pd.DataFrame({"a": ["1", "2"]}, index=pd.Index(["[0.1, 0.2]", "*"], name="ci"))
    assert re.findall(r"^(\S+) .*& [12]", table(frame, "t", "A.", study), re.MULTILINE) == ["{}[0.1,", "{}*"]


def test_groups_of_lines_stand_apart_where_the_first_column_has_groups(study):
    def apart(*first):
        frame = pd.DataFrame({"a": list("xyzw")}, index=pd.Index(first, name="split"))
        return table(frame, "t", "A.", study).count("\\addlinespace")

    assert apart("hot", "hot", "cold", "cold") == 1
    assert apart("a", "b", "c", "d") == 0
    assert apart("hot", "cold", "hot", "cold") == 0


def test_a_table_without_lines_is_a_table(study):
    assert "\\bottomrule" in table(scores(2, n_rows=0), "t", "A.", study)


def test_the_best_of_a_group_is_bold_and_the_second_underlined(study):
    index = pd.MultiIndex.from_product([["hot", "cold"], list("abc")], names=["tracks", "name"])
    cells = ["0.1", "-0.3 [-0.4, 0.2]", "0.1", "0.25 [0.2, 0.3]", "–", "0.3 [0.2, 0.4]"]
    latex = table(pd.DataFrame({"NDCG": cells, "k": list("uvwxyz")}, index=index), "t", "A.", study, ranked=True)
    marked = re.findall(r"\\(textbf|underline)\{(.*?)\}", latex)
    best = [("textbf", "0.1"), ("underline", "$-$0.3"), ("textbf", "0.1"), ("underline", "0.25"), ("textbf", "0.3")]
    assert marked == best
    assert "\\textbf{0.3} [0.2, 0.4]" in latex
    assert "\\textbf" not in table(pd.DataFrame({"NDCG": cells}, index=index), "t", "A.", study)
