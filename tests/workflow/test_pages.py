"""Executed copies as pages of the reading copy: links, sounds, parameters, citations; and the list of references."""

import base64
import re

import nbformat
import pytest
from nbformat import v4

from lib.backends import REGISTRY
from lib.study import ROOT, Study, load_parameters
from workflow import book, pages

PLACES = {"notebooks/30_knn.ipynb": "/notebooks/30_knn.md", "docs/contracts.md": "/docs/contracts.md"}
PLACES |= {"docs/pictures/map.png": "/docs/pictures/map.png"}
BIBLIOGRAPHY = {"holm1979": ("Holm", "1979", ""), "tamm2026": ("Tamm", "2026", "2604.23077")}


def cell(source="1", *outputs, tags=()):
    return v4.new_code_cell(source, outputs=list(outputs), metadata={"tags": list(tags), "papermill": {"duration": 1}})


def shown(**data):
    return v4.new_output("display_data", {kind.replace("_", "/", 1): value for kind, value in data.items()})


def page_of(tmp_path, *cells, backend=None):
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell("# 30 KNN\n\nWhat it is."), *cells])
    return pages.notebook_page(notebook, backend, PLACES, BIBLIOGRAPHY, tmp_path / "sounds")


@pytest.mark.parametrize(
    ("text", "here", "expected"),
    [
        ("[KNN](30_knn.ipynb)", "notebooks", "[KNN](/notebooks/30_knn.md)"),
        ("[two\nlines](30_knn.ipynb#1-what)", "notebooks", "[two\nlines](/notebooks/30_knn.md#1-what)"),
        ("[not run](22_layers_and_pooling.ipynb)", "notebooks", "not run"),
        ("[up](../docs/contracts.md)", "notebooks", "[up](/docs/contracts.md)"),
        ("[web](https://example.org/a.md) [here](#part)", "", "[web](https://example.org/a.md) [here](#part)"),
        ("`[code](30_knn.ipynb)`", "notebooks", "`[code](30_knn.ipynb)`"),
        ("```\n[code](30_knn.ipynb)\n```", "notebooks", "```\n[code](30_knn.ipynb)\n```"),
        ("![a map](pictures/map.png)", "docs", "![a map](/docs/pictures/map.png)"),
        ("![gone](figures/rq1.png)", "", "gone"),
    ],
)
def test_links_lead_to_pages_or_leave_their_words(text, here, expected):
    assert pages.relinked(text, PLACES, here) == expected


def test_sounds_become_files_that_are_not_loaded_before_they_are_played(tmp_path):
    encoded = base64.b64encode(b"sound").decode()
    player = f'<audio controls><source src="data:audio/flac;base64,{encoded}" type="audio/flac" /></audio>'
    made = page_of(tmp_path, cell("play()", shown(text_html=player)))
    html = made.cells[1].outputs[0].data["text/html"]
    assert "base64" not in html
    assert 'preload="none"' in html
    (sound,) = (tmp_path / "sounds").iterdir()
    assert sound.read_bytes() == b"sound"
    assert f'src="../_static/sounds/{sound.name}"' in html


def test_what_needs_a_kernel_or_the_network_becomes_a_sentence(tmp_path):
    widget = {"application_vnd.jupyter.widget-view+json": {"model_id": "1"}, "text_plain": "HBox()"}
    script = shown(text_html='<script src="https://cdn.example/plotly.js"></script>')
    made = page_of(
        tmp_path, cell("a", shown(**widget)), cell("b", script), cell("c", shown(**widget, text_html="<b>4</b>"))
    )
    first, second, third = (one.outputs[0].data for one in made.cells[1:])
    assert first["text/markdown"] == second["text/markdown"] == pages._LIVE_ONLY
    assert third == {"text/plain": "HBox()", "text/html": "<b>4</b>"}


def test_standard_error_and_traces_of_the_run_are_left_out(tmp_path):
    made = page_of(tmp_path, cell("a", v4.new_output("stream", name="stderr", text="mert.py: warning")))
    assert made.cells[1].outputs == []
    assert "papermill" not in made.cells[1].metadata
    assert list(made.metadata) == ["kernelspec", "language_info"]


def test_parameters_are_those_of_the_study(tmp_path):
    own = cell('backend: str = "musicnn_msd"  # Stimmführung\nn: list = []  # none', tags=["parameters"])
    injected = cell('# Parameters\nbackend = "mfcc"\nn = [1, 2]\nruns_dir = "runs"', tags=["injected-parameters"])
    made = page_of(tmp_path, own, injected)
    assert len(made.cells) == 2
    assert made.cells[1].source == 'backend: str = "mfcc"  # Stimmführung\nn: list = [1, 2]  # none'
    assert made.cells[1].metadata["mystnb"]["code_prompt_show"] == "Show parameters of this study"


def test_parameters_of_a_second_cell_and_of_many_lines_are_those_of_the_study_too(tmp_path):
    above = cell('dataset: str = "scores"  # where tracks come from', tags=["parameters-of-sources"])
    own = cell('weights: dict = {\n    "tempo": 0.5,\n}  # of taste\nn: int = 3', tags=["parameters"])
    injected = cell('dataset = "recordings"\nweights = {"key": 2}\nn = 4', tags=["injected-parameters"])
    made = page_of(tmp_path, above, own, injected)
    assert made.cells[1].source == 'dataset: str = "recordings"  # where tracks come from'
    assert made.cells[2].source == 'weights: dict = {"key": 2}  # of taste\nn: int = 4'
    assert made.cells[1].metadata["mystnb"]["code_prompt_show"] == "Show parameters of this study"


def test_code_is_folded(tmp_path):
    assert page_of(tmp_path, cell()).cells[1].metadata["tags"] == ["hide-input"]


def test_a_copy_of_several_carries_its_backend_in_the_title(tmp_path):
    assert pages.title(page_of(tmp_path, backend="vgg_mtt")) == "30 KNN: VGG (MTT)"
    assert pages.title(page_of(tmp_path)) == "30 KNN"


def test_references_are_cited_by_year_or_number(tmp_path):
    line = v4.new_markdown_cell("**Takeaways**\n\n**References:** Tamm and Aljanaki, arXiv 2604.23077; Holm 1979.")
    assert page_of(tmp_path, line).cells[1].source.endswith("In full: {cite:p}`holm1979,tamm2026`")
    other = v4.new_markdown_cell("**References:** Holm 1980.")
    assert "cite" not in page_of(tmp_path, other).cells[1].source


def test_links_to_notebooks_of_many_backends_lead_to_their_common_page(tmp_path):
    groups = book.by_notebook(
        [tmp_path / "30_knn.mfcc.ipynb", tmp_path / "30_knn.vgg_msd.ipynb", tmp_path / "60_baselines.ipynb"]
    )
    places = book.where(groups, {"docs": [ROOT / "docs" / "contracts.md"]})
    assert places["notebooks/30_knn.ipynb"] == "/notebooks/30_knn.md"
    assert places["notebooks/60_baselines.ipynb"] == "/notebooks/60_baselines.ipynb"
    assert places["docs/contracts.md"] == "/docs/contracts.md"


def test_every_reference_of_a_notebook_and_every_backends_paper_is_in_the_list():
    bibliography = book.read_bibliography()
    lines = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for one in nbformat.read(path, as_version=4).cells:
            found = re.search(r"\*\*References:\*\*(.*)", one.source, re.DOTALL)
            lines += [(path.stem, part) for part in found[1].replace("\n", " ").split(";")] if found else []
    lines += [(name, part) for name, entry in REGISTRY.items() for part in entry.citation.split(";")]
    dated = [(where, part) for where, part in lines if re.search(r"arXiv \d|\b(19|20)\d\d\b", part)]
    assert len(dated) > 40
    missing = [
        (where, part)
        for where, part in dated
        if not any(
            author in part and (year in part or (arxiv and arxiv in part))
            for author, year, arxiv in bibliography.values()
        )
    ]
    assert missing == []


def test_a_book_of_a_study_that_has_not_run_is_a_sentence(tmp_path):
    study = Study(load_parameters("toy", {"runs_dir": str(tmp_path)}))
    with pytest.raises(
        FileNotFoundError, match="Expected executed notebooks of study toy, found none: run 'make workbook"
    ):
        book.build(study)


@pytest.mark.parametrize(("name", "warned"), [("toy", False), ("onion_sample", True)])
def test_a_book_of_real_listeners_is_to_be_kept(name, warned):
    study = Study(load_parameters(name))
    assert ("names a real listener" in book.said(study, study.path("book", "index.html"))) == warned


def test_the_start_page_has_the_first_screen_of_readme_and_names_what_failed(tmp_path):
    study = Study(load_parameters("toy", {"runs_dir": str(tmp_path)}))
    groups = book.by_notebook([tmp_path / "60_baselines.ipynb"])
    readme = "# Title\n\nWhat it is: [more](#more).\n\n## More\n\nNot on the first screen."
    text = "\n".join(book.start_page(study, groups, {"docs": []}, ["30_knn.mfcc.failed"], readme, {}))
    assert "What it is: [more](/readme.md#more)." in text
    assert "Not on the first screen." not in text
    assert "These copies failed and are not part of the book: `30_knn.mfcc`." in text


def test_pictures_of_the_documentation_are_copied(monkeypatch, tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("![a](docs/a.png) ![gone](docs/gone.png) ![web](https://example.org/a.png)")
    (tmp_path / "docs" / "a.png").write_bytes(b"a")
    monkeypatch.setattr(book, "ROOT", tmp_path)
    assert book.pictures_of_documents({"docs": []}, tmp_path / "source") == {"docs/a.png": "/docs/a.png"}
    assert (tmp_path / "source" / "docs" / "a.png").read_bytes() == b"a"
