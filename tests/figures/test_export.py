"""What a thesis takes in: every number with its source, twice the same, nothing of other studies touched."""

import ast
import json
import re

import pandas as pd
import pytest

from lib import figures
from lib.evaluation import results
from lib.figures import export, quoted_numbers
from lib.study import ROOT, Study, load_parameters
from lib.study.answers import save_answer


@pytest.fixture
def study(tmp_path):
    """A study with one table, one answer, one score and one comparison."""
    study = Study(load_parameters("toy", {"runs_dir": str(tmp_path / "runs")}))
    table = pd.DataFrame({"score_%": ["0.1 [0.0, 0.2]", "a & b"]}, index=pd.Index(["knn_raw", "#1 {x}"], name="what"))
    figures.save_table(table, "rq1-table", study, "5 % of δ^2, for $1.")
    run = dict(study="toy", split="hot_test", recommender="knn", backend="musicnn_msd", control="real", metric="NDCG")
    scored = pd.DataFrame(
        [run | dict(seed=seed, k=22, value=0.2191, ci_low=0.164, ci_high=0.274, n_users=41) for seed in (-1, 0)]
    )
    scored.to_parquet(study.path("metrics.parquet"))
    results.save_comparisons(study, pd.DataFrame([comparison()]))
    answer = dict(
        status="decided", verdict="not_viable", statement="In a simulated world where 100 % …", n=41, test="max-T"
    )
    save_answer(study, "rq1", answer | dict(estimate=-0.0394, ci=[-0.08, 0.0], p=0.0004))
    cells = [cell("markdown", "# RQ1"), cell("markdown", "## 7 The tables"), cell("code", SAVES)]
    study.path("executed").mkdir()
    study.path("executed", "70_rq1_viability.ipynb").write_text(json.dumps({"cells": cells}))
    study.path("manifest.json").write_text(json.dumps({"data": "abc", "commit": "1234567"}))
    return study


SAVES = 'other.save(x, name, study)\nfigures.save_table(\n    table,\n    "rq1-table",\n    study,\n    caption,\n)\n'


def cell(kind, source):
    return {"cell_type": kind, "source": source.splitlines(keepends=True)}


def comparison():
    names = dict(split="hot_test", recommender="knn", metric="NDCG", k=22)
    sides = dict(backend_a="musicnn_msd", control_a="real", backend_b="musicnn_msd", control_b="shuffled")
    found = dict(diff=-0.0004, ci_low=-0.02, ci_high=float("nan"), p=0.5, p_adjusted=1.0, test="max-T")
    return names | sides | found | dict(n_users=41, n_seeds=1, n_permutations=199)


def as_bytes(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_numbers_are_what_the_results_say(study):
    found = quoted_numbers.numbers(study).set_index("macro")["value"]
    assert found["toyMockWorld"] == "mock"
    assert found["toyMockRqOneVerdict"] == "not viable"
    assert found["toyMockRqOneEstimate"] == "$-$0.0394"
    assert found["toyMockRqOneHigh"] == "0.0000"  # 0 is a number, not a missing one
    assert found["toyMockRqOneP"] == "$<$0.001"
    assert found["toyMockRqOneStatement"].endswith(r"100\,\% \dots{}")
    assert found["toyMockHotN"] == "41"
    name = "toyMockHotKnnMusicnnMsdReal"
    assert found[f"{name}NDCGAtTwoTwo"] == "0.219"
    assert found[f"{name}NDCGAtTwoTwoLow"] == "0.164"
    difference = f"{name}OverMusicnnMsdShuffledNDCGAtTwoTwo"
    assert (found[f"{difference}Diff"], found[f"{difference}DiffLow"]) == ("0.000", "$-$0.020")
    assert f"{difference}DiffHigh" not in found  # what is missing has no macro
    assert found["toyMockRqTwoStatus"] == "not run"
    assert "toyMockRqTwoEstimate" not in found


def test_macros_are_letters_and_one_each(study):
    found = quoted_numbers.numbers(study)
    assert found["macro"].str.fullmatch("[a-zA-Z]+").all()
    assert found["macro"].is_unique
    assert set(found["file"]) == {
        *("params/toy.yaml", "docs/cards/backends.md", "answers.json", "metrics.parquet", "comparisons.parquet")
    }


def test_two_numbers_of_one_macro_are_refused(study):
    twice = [comparison(), comparison() | {"backend_b": "musicnn__msd"}]
    results.save_comparisons(study, pd.DataFrame(twice))
    with pytest.raises(ValueError, match=r"one number a macro, found .*OverMusicnnMsdShuffled.* give one another name"):
        quoted_numbers.numbers(study)


def test_a_second_export_writes_the_same_bytes(study, tmp_path):
    export.to_thesis(study, tmp_path / "figures")
    first = as_bytes(tmp_path / "figures")
    export.to_thesis(study, tmp_path / "figures")
    assert as_bytes(tmp_path / "figures") == first
    assert {"rq1-table--toy-mock.tex", "rq1-table--toy-mock.csv", "numbers.tex", "README.md"} <= set(first)
    assert "thesis_preview.tex" in first


def test_stale_files_of_the_study_go_and_others_stay(study, tmp_path):
    folder = tmp_path / "figures"
    folder.mkdir()
    for name in ("old--toy-mock.pdf", "old--toy_two-mock.pdf", "old--toy-real.pdf", "mine.pdf"):
        (folder / name).write_text("x")
    (folder / "numbers--demo-mock.tex").write_text("")
    export.to_thesis(study, folder)
    left = set(as_bytes(folder))
    assert "old--toy-mock.pdf" not in left
    assert {"old--toy_two-mock.pdf", "old--toy-real.pdf", "numbers--demo-mock.tex", "mine.pdf"} <= left
    inputs = re.findall(r"\\input{\\figuresfolder/(.+)}", (folder / "numbers.tex").read_text())
    assert inputs == ["numbers--demo-mock", "numbers--toy-mock"]


def test_the_list_says_where_each_file_comes_from(study, tmp_path):
    export.to_thesis(study, tmp_path / "figures")
    listed = pd.read_csv(tmp_path / "figures" / "contents--toy-mock.csv")
    assert listed["file"].tolist() == ["rq1-table--toy-mock.csv", "rq1-table--toy-mock.tex"]
    row = listed.iloc[0][["notebook", "section", "study", "world", "data", "commit"]].astype(str).tolist()
    assert row == ["70_rq1_viability", "7 The tables", "toy", "mock", "abc", "1234567"]
    readme = (tmp_path / "figures" / "README.md").read_text()
    assert "| rq1-table | csv, tex | 70_rq1_viability | 7 The tables | toy | mock | abc | 1234567 |" in readme


def test_canary_a_name_that_a_notebook_fills_in_is_found_after_those_written_out(study):
    cells = [cell("markdown", "## 1 All"), cell("code", 'figures.save(f, f"{name}-table", d, study, c)')]
    study.path("executed", "30_knn.mfcc.ipynb").write_text(json.dumps({"cells": cells}))
    listed = export.contents(study, [f"{stem}--toy-mock.csv" for stem in ("rq1-table", "knn-table", "lost")])
    assert listed.set_index("file")["notebook"].tolist() == ["30_knn", "–", "70_rq1_viability"]


def test_canary_a_notebook_that_is_being_written_is_not_read(study):
    """The export is itself a notebook, whose executed copy grows beside the others."""
    study.path("executed", ".90_export_thesis.1234.ipynb").write_text("")
    assert export.contents(study, ["rq1-table--toy-mock.csv"])["notebook"].tolist() == ["70_rq1_viability"]


def test_a_study_that_has_not_run_writes_nothing(tmp_path):
    study = Study(load_parameters("toy", {"runs_dir": str(tmp_path / "runs")}))
    with pytest.raises(FileNotFoundError, match="run 'make workbook STUDY=toy' first"):
        export.to_thesis(study, tmp_path / "figures")
    assert not (tmp_path / "figures").exists()


def test_data_that_name_real_listeners_are_refused_before_anything_is_written(tmp_path):
    real = Study(load_parameters("onion_sample", {"runs_dir": str(tmp_path / "runs")}))
    real.path("figures").mkdir(parents=True)
    real.path("figures", f"x--{real.name}-real.csv").write_text("user_id,NDCG\nu1,0.5\n")
    real.path("answers.json").write_text("{}")
    with pytest.raises(ValueError, match="Expected no listener in the data behind figures of study onion_sample"):
        export.to_thesis(real, tmp_path / "figures")
    assert not (tmp_path / "figures").exists()


def columns_of(latex):
    """Cells of each row of a booktabs table, after checking what would stop LaTeX."""
    latex = latex.partition("\n")[2]  # after the comment that says how to take it in
    assert latex.count("{") - latex.count(r"\{") == latex.count("}") - latex.count(r"\}")
    assert latex.count("$") - latex.count(r"\$") == 2 * latex.count(r"$\delta$")
    assert not re.search(r"(?<!\\)[%#^]", latex)
    assert re.findall(r"\\(toprule|midrule|bottomrule)", latex) == ["toprule", "midrule", "bottomrule"]
    specified = len(re.search(r"\\begin{tabular}{(\w+)}", latex)[1])
    body = re.search(r"\\toprule\n(.*)\\bottomrule", latex, re.DOTALL)[1].replace("\\midrule\n", "")
    rows = [re.split(r"(?<!\\)&", row) for row in body.strip().removesuffix(r"\\").split("\\\\\n")]
    return specified, rows


def test_tables_are_whole_latex(study, tmp_path):
    """Every row has as many cells as columns are declared, and no character means more to TeX than to the reader."""
    export.to_thesis(study, tmp_path / "figures")
    specified, rows = columns_of((tmp_path / "figures" / "rq1-table--toy-mock.tex").read_text())
    assert [len(row) for row in rows] == [specified] * 3
    assert rows[1][0].strip() == r"knn\_raw"
    assert rows[2][1].strip() == r"a \& b"
    assert rows[2][0].strip() == r"\#1 \{x\}"
    with pytest.raises(AssertionError):
        columns_of((tmp_path / "figures" / "rq1-table--toy-mock.tex").read_text().replace(r"\%", "%"))


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_figure_and_table_of_a_notebook_has_a_name_that_export_can_read(path):
    """Canary: of a name held in a variable the notebook and its section are not found."""
    cells = json.loads(path.read_text())["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    calls = [
        node
        for source in sources
        if "figures.save" in source
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("figures.save", "figures.save_table")
    ]
    unread = [ast.unparse(call) for call in calls if not isinstance(call.args[1], ast.Constant | ast.JoinedStr)]
    assert unread == []


def test_no_figure_and_table_have_one_name():
    """Canary: each brings a .tex and a .csv; the second of one name would be written over the first."""
    names = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text())["cells"]:
            if cell["cell_type"] == "code":
                names += export._names_saved("".join(cell["source"]))
    assert sorted(names) == sorted(set(names))
    assert "rq1" in names
