"""The reading copy of a study: its executed notebooks as a static site under ``runs/<study>/book/`` (``make book``).

Nothing is executed. The site needs no network and no server: ``index.html`` opens in a browser as it is.
"""

import io
import re
import shutil
import tempfile
from pathlib import Path

import nbformat

from lib.figures import export
from lib.figures.deck import QUESTIONS, escape_markdown
from lib.figures.looks import named
from lib.study import ROOT
from lib.study.answers import decision, read_answers
from lib.study.tables import write_folder_atomically
from workflow import dag, pages

FOLDERS = {"docs": "Definitions and choices", "docs/cards": "Cards", "benchmarks": "Measurements"}
ANSWERED_IN = {"rq1": "70_rq1_viability", "rq2": "71_rq2_backends", "rq3": "72_rq3_mir_correlation"}
_FAILED = ".failed"


def said(study, start):
    """Where the book is; and, where listeners are real, that it shows one of them."""
    lines = [f"reading copy of study {study.name} -> {study.relative(start)}"]
    if study.world == "real":
        lines.append("keep it to yourself: 80_listen names a real listener and what they heard")
    return "\n".join(lines)


def build(study):
    """Write a study's reading copy in place of the one before.

    Parameters
    ----------
    study : Study

    Returns
    -------
    (Path, list of str)
        The start page, and copies that are left out since they failed.

    Raises
    ------
    FileNotFoundError
        Where the study has not run.
    RuntimeError
        Where the site builder warns: a link that leads nowhere, say. The former copy stays then.
    """
    executed = sorted(study.path("executed").glob("[0-9]*.ipynb"))
    failed = [path.stem for path in executed if path.stem.endswith(_FAILED)]
    executed = [path for path in executed if not path.stem.endswith(_FAILED)]
    if not executed:
        raise FileNotFoundError(
            f"Expected executed notebooks of study {study.name}, found none: "
            f"run 'make workbook STUDY={study.name}' first."
        )
    with write_folder_atomically(study.path("book")) as site, tempfile.TemporaryDirectory() as folder:
        source = Path(folder).resolve() / "source"
        write_source(study, executed, failed, source)
        run_sphinx(study, source, site, source.with_name("doctrees"))
    return study.path("book", "index.html"), [name.removesuffix(_FAILED) for name in failed]


def write_source(study, executed, failed, folder):
    """Write all pages as Sphinx takes them."""
    (folder / "static").mkdir(parents=True)
    shutil.copytree(ROOT / "docs" / "book" / "static", folder / "static", dirs_exist_ok=True)
    shutil.copy(ROOT / "docs" / "references.bib", folder)
    groups = by_notebook(executed)
    documents = {name: sorted((ROOT / name).glob("*.md")) for name in FOLDERS}
    places = where(groups, documents) | pictures_of_documents(documents, folder)
    for name, copies in groups.items():
        write_notebooks(name, copies, places, folder)
    for name, paths in documents.items():
        for path in paths:
            write_page(folder / name / path.name, pages.relinked(path.read_text(), places, name))
    for name in ("docs/cards", "benchmarks"):
        write_page(
            folder / f"{name}/index.md", [f"# {FOLDERS[name]}", *_toctree([path.stem for path in documents[name]])]
        )
    write_page(folder / "references.md", ["# References", "```{bibliography}\n:all:\n```"])
    readme = pages.relinked((ROOT / "README.md").read_text(), places, "")
    write_page(folder / "readme.md", re.sub(r"^# .+$", "# README", readme, count=1, flags=re.MULTILINE))
    pictures = write_pictures(study, groups, places, folder)
    write_page(folder / "index.md", start_page(study, groups, documents, failed, readme, pictures))


def by_notebook(executed):
    """Executed copies by notebook: {stem: {backend or None: path}}.

    Examples
    --------
    >>> by_notebook([Path("30_knn.mfcc.ipynb"), Path("60_baselines.ipynb")])["30_knn"]
    {'mfcc': PosixPath('30_knn.mfcc.ipynb')}
    """
    groups = {}
    for path in executed:
        name, _, backend = path.stem.partition(".")
        groups.setdefault(name, {})[backend or None] = path
    return groups


def where(groups, documents):
    """Page of every file of the repository that has one: {'docs/contracts.md': '/docs/contracts.md', …}."""
    places = {
        f"notebooks/{name}.ipynb": f"/notebooks/{name}.{'ipynb' if None in copies else 'md'}"
        for name, copies in groups.items()
    }
    places |= {f"{name}/{path.name}": f"/{name}/{path.name}" for name, paths in documents.items() for path in paths}
    return places | {name: f"/{name}/index.md" for name in ("docs/cards", "benchmarks")} | {"README.md": "/readme.md"}


def pictures_of_documents(documents, folder):
    """Copy the pictures that README and docs show; returns the place of each, as `where` does."""
    shown = {}
    for name, paths in {"": [ROOT / "README.md"], **documents}.items():
        for target in re.findall(r"!\[[^\]]*\]\(([^():\s]+)\)", "".join(path.read_text() for path in paths)):
            path = (ROOT / name / target).resolve()
            if path.is_file() and path.is_relative_to(ROOT):
                inside = path.relative_to(ROOT)
                (folder / inside).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, folder / inside)
                shown[inside.as_posix()] = f"/{inside.as_posix()}"
    return shown


def write_notebooks(name, copies, places, folder):
    """Pages of one notebook: the copy itself, or one a backend below a page that shows a picture of each."""
    bibliography = read_bibliography()
    shown = []
    for backend, path in copies.items():
        notebook = nbformat.read(path, as_version=4)
        heading, picture = pages.title(notebook), pages.last_picture(notebook)
        introduction = notebook.cells[0].source.partition("\n")[2].strip()
        page = pages.notebook_page(notebook, backend, places, bibliography, folder / "static" / "sounds")
        target = folder / "notebooks" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(page, target)
        if backend:
            shown.append((backend, path.stem, picture))
    if shown:
        lines = [
            f"# {heading}",
            pages.relinked(introduction, places, "notebooks"),
            "One copy was run on each of these:",
        ]
        for backend, stem, picture in shown:
            lines.append(f"## [{named(backend)}]({stem}.ipynb)")
            if picture:
                (folder / "notebooks" / f"{stem}.png").write_bytes(picture)
                alt = f"figure of {heading}, {named(backend)}"
                lines.append(f"```{{image}} {stem}.png\n:alt: {alt}\n```")
        names = [f"{named(backend)} <{stem}>" for backend, stem, _ in shown]
        write_page(folder / "notebooks" / f"{name}.md", [*lines, *_toctree(names, hidden=True)])


def read_bibliography():
    """Of every entry of docs/references.bib, by key: first author's last name, year, arXiv number."""
    from pybtex.database import parse_file

    entries = parse_file(str(ROOT / "docs" / "references.bib")).entries
    found = {}
    for key, entry in entries.items():
        author = " ".join(map(str, entry.persons["author"][0].rich_last_names))
        found[key] = (author, entry.fields["year"], entry.fields.get("eprint", ""))
    return found


def write_pictures(study, groups, places, folder):
    """A page with every figure of a study, its caption, and the notebook it comes from; returns the figures by name."""
    drawn = sorted(study.path("figures").glob("[!.]*.png"))
    if not drawn:
        return {}
    (folder / "pictures").mkdir()
    listed = export.contents(study, [path.name for path in drawn]).set_index("file")
    lines = [
        "# Figures of this study",
        "Every figure, as `make thesis` copies it with its data, and where it comes from.",
    ]
    for path in drawn:
        shutil.copy(path, folder / "pictures")
        caption = path.with_suffix(".caption.txt")
        words = escape_markdown(caption.read_text().strip()) if caption.is_file() else ""
        row = listed.loc[path.name]
        name = path.stem.rpartition("--")[0]
        lines += [f"## {name}", *_figure(f"/pictures/{path.name}", name, words)]
        if row["notebook"] in groups:
            place = places[f"notebooks/{row['notebook']}.ipynb"]
            lines.append(f"From [{row['notebook']}]({place}), section {escape_markdown(row['section'])}.")
    write_page(folder / "figures.md", lines)
    return {path.stem.rpartition("--")[0]: f"/pictures/{path.name}" for path in drawn}


def _figure(path, words, caption):
    return [f"```{{figure}} {path}\n:alt: {words}\n\n{caption}\n```"]


def start_page(study, groups, documents, failed, readme, pictures):
    """The first screen of README around where the answers stand, and the order of all pages."""
    first = re.split(r"^(?:## |\||!\[)", readme, maxsplit=1, flags=re.MULTILINE)[0].strip()
    heading, introduction, *rest = first.replace("](#", "](/readme.md#").split("\n\n")
    lines = [heading, introduction, *standing(study, groups, pictures), "## Run it yourself", *rest]
    if failed:
        names = ", ".join(f"`{name.removesuffix(_FAILED)}`" for name in failed)
        lines += ["## Left out", f"These copies failed and are not part of the book: {names}."]
    names = {
        chapter: [f"notebooks/{name}" for name in groups if dag.CHAPTERS.get(name[0]) == chapter]
        for chapter in dag.CHAPTERS.values()
    }
    names["Thesis"] += ["figures"] * bool(pictures)
    names[FOLDERS["docs"]] = ["readme", *(f"docs/{path.stem}" for path in documents["docs"])]
    names[FOLDERS["docs"]] += ["docs/cards/index", "benchmarks/index", "references"]
    lines += _toctree(["00 The way in <notebooks/00_index>"] if "00_index" in groups else [], hidden=True)
    return lines + [tree for caption, own in names.items() if own for tree in _toctree(own, caption, hidden=True)]


def standing(study, groups, pictures):
    """The three answers in words, each with its figure."""
    found = read_answers(study)
    lines = [f"## Where the answers stand in study {study.name}"]
    for key, (question, picture) in QUESTIONS.items():
        answer, notebook = found[key], ANSWERED_IN[key]
        decided = escape_markdown(decision(answer["status"].replace("_", " "), answer["verdict"]))
        lines += [f"### {key.upper()}: {question}", f"**{decided}** {escape_markdown(answer['statement'])}"]
        if picture in pictures:
            lines += _figure(
                pictures[picture],
                question,
                f"More in [{notebook}](/notebooks/{notebook}.ipynb)." if notebook in groups else "",
            )
    return lines


def _toctree(names, caption="", *, hidden=False):
    options = [f":caption: {caption}"] * bool(caption) + [":hidden:"] * hidden
    return ["\n".join(["```{toctree}", *options, "", *names, "```"])]


def write_page(path, text):
    """Write a page, its paragraphs given as a list or its text as a whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if isinstance(text, str) else "\n\n".join(text) + "\n")


def run_sphinx(study, source, site, doctrees):
    """Build the site; every warning is an error."""
    from sphinx.application import Sphinx
    from sphinx.util.console import nocolor
    from sphinx.util.docutils import docutils_namespace

    warnings = io.StringIO()
    settings = {
        "html_title": f"Study {study.name} ({study.listeners})",
        "html_static_path": [str(source / "static")],
        "bibtex_bibfiles": [str(source / "references.bib")],
    }
    nocolor()  # of warnings, which are read here
    with docutils_namespace():
        app = Sphinx(source, ROOT / "docs" / "book", site, doctrees, "html", settings, status=None, warning=warnings)
        app.build()
    (site / ".buildinfo").unlink(missing_ok=True)  # for building in part; it hashes where the sources lay
    found = [line for line in warnings.getvalue().splitlines() if line.strip()]
    if found:
        raise RuntimeError(
            f"Expected a site without warnings, found {len(found)}: " + " | ".join(found[:5]).replace(f"{source}/", "")
        )
