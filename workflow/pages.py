"""Executed copies of notebooks, README and docs as pages of the reading copy: links, players, parameters, citations."""

import ast
import base64
import hashlib
import re

import nbformat

from lib.figures.looks import named
from workflow import digests

_FENCE = re.compile(r"(^```.*?^```[^\n]*$|``[^`]+``|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(!?)\[([^\[\]]*)\]\(([^()\s]+)\)")
_SOUND = re.compile(r'src="data:audio/([\w.+-]+);base64,([^"]+)"')
_INTERACTIVE = ("application/vnd.jupyter.widget-view+json", "application/vnd.plotly.v1+json", "application/javascript")
_LIVE_ONLY = "*Interactive: open the notebook in JupyterLab (`make lab`) to use this part.*"


def relinked(text, places, here):
    """Markdown whose links and pictures are those of the book; where it has no such page or picture the words stay.

    Parameters
    ----------
    text : str
    places : dict of {str: str}
        Path in the repository (``notebooks/30_knn.ipynb``) to page or picture (``/notebooks/30_knn.md``).
    here : str
        Folder of the text in the repository, '' for its root.

    Returns
    -------
    str
        Links to the web and within the page are left alone, and so is code.

    Examples
    --------
    >>> relinked("[data](cards/scores.md), [a test](../tests/x.py)", {"docs/cards/scores.md": "/scores.md"}, "docs")
    '[data](/scores.md), a test'
    """

    def led(match):
        image, words, target = match.groups()
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        path, _, anchor = target.partition("#")
        place = places.get(_repository_path(here, path))
        if place is None:
            return words
        return f"{image}[{words}]({place}{'#' * bool(anchor)}{anchor})"

    parts = _FENCE.split(text)
    return "".join(part if number % 2 else _LINK.sub(led, part) for number, part in enumerate(parts))


def _repository_path(here, path):
    """A link's target counted from the root of the repository."""
    parts = []
    for part in [*here.split("/"), *path.split("/")]:
        if part == ".." and parts:
            parts.pop()
        elif part not in ("", ".", ".."):
            parts.append(part)
    return "/".join(parts)


def notebook_page(notebook, backend, places, bibliography, sounds):
    """An executed copy as a page.

    Code is folded. Cells of parameters show what this study ran with, in place of the toy study's values and of the
    cell that papermill put in. Sounds become files beside the pages. Widgets and scripts, which need a kernel or the
    network, become a sentence where they have no picture or table to show.

    Parameters
    ----------
    notebook : NotebookNode
        Changed in place.
    backend : str or None
        Of a copy that is one of several; its name joins the title.
    places : dict of {str: str}
        As for `relinked`.
    bibliography : dict of {str: (str, str, str)}
        Key to first author's last name, year and arXiv number; cited where a line of references names them.
    sounds : Path
        Folder that sounds are written to.

    Returns
    -------
    NotebookNode
    """
    injected = next((cell.source for cell in notebook.cells if _has(cell, "injected-parameters")), "")
    notebook.cells = [cell for cell in notebook.cells if not _has(cell, "injected-parameters")]
    for number, cell in enumerate(notebook.cells):
        parameters = digests.names_parameters(cell.metadata.get("tags", []))
        cell.metadata = _folded(cell, parameters) if cell.cell_type == "code" else {}
        cell["id"] = f"cell-{number:02d}"
        if cell.cell_type == "markdown":
            cell.source = _cited(relinked(cell.source, places, "notebooks"), bibliography)
        if cell.cell_type != "code":
            continue
        cell.execution_count = None
        cell.outputs = [_shown(output, places, sounds) for output in cell.outputs if output.get("name") != "stderr"]
        if parameters:
            cell.source = as_run(cell.source, injected)
    if backend and notebook.cells:
        first = notebook.cells[0]
        first.source = re.sub(r"^# (.+)$", rf"# \1: {named(backend)}", first.source, count=1, flags=re.MULTILINE)
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return notebook


def _folded(cell, parameters):
    """Metadata of a code cell: folded, and where it is no step of the argument it says so."""
    imports = not parameters and re.match(r"(import|from) ", cell.source) and not cell.outputs
    name = "parameters of this study" if parameters else "imports" if imports else "code"
    return {"tags": ["hide-input"], "mystnb": {"code_prompt_show": f"Show {name}", "code_prompt_hide": f"Hide {name}"}}


def _has(cell, tag):
    return tag in cell.metadata.get("tags", [])


def as_run(parameters, injected):
    r"""A cell of parameters with the values that papermill put in.

    Parameters
    ----------
    parameters, injected : str
        Sources of a cell of parameters and of the one tagged ``injected-parameters``.

    Returns
    -------
    str

    Examples
    --------
    >>> print(as_run('seed: int = 42  # root of every draw', 'seed = 7\nother = 1'))
    seed: int = 7  # root of every draw
    """
    given = {node.targets[0].id: node.value for node in _assignments(injected)}
    lines = parameters.encode().split(b"\n")  # columns of a syntax tree count bytes
    for node in reversed(ast.parse(parameters).body):  # from below, so that lines above keep their numbers
        if not (isinstance(node, ast.AnnAssign) and node.target.id in given):
            continue
        old, new = node.value, given[node.target.id]
        if ast.dump(old) == ast.dump(new):
            continue
        before, after = lines[old.lineno - 1][: old.col_offset], lines[old.end_lineno - 1][old.end_col_offset :]
        value = ast.unparse(new).replace("'", '"').encode()
        lines[old.lineno - 1 : old.end_lineno] = [before + value + after]
    return b"\n".join(lines).decode()


def _assignments(source):
    return [node for node in ast.parse(source).body if isinstance(node, ast.Assign)]


def _cited(text, bibliography):
    """Markdown whose line of references is followed by links into the list of references."""
    found = re.search(r"\*\*References:\*\*.*", text, re.DOTALL)
    if not found:
        return text
    words = found[0]
    keys = [
        key
        for key, (author, year, arxiv) in bibliography.items()
        if re.search(rf"\b{re.escape(author)}\b", words) and (year in words or (arxiv and arxiv in words))
    ]
    return f"{text.rstrip()}\n\nIn full: {{cite:p}}`{','.join(keys)}`" if keys else text


def _shown(output, places, sounds):
    """An output without what needs a kernel or the network."""
    data = output.get("data")
    if data is None:
        return output
    live = [kind for kind in data if kind in _INTERACTIVE]
    if re.search(r"<script\b|<iframe\b", data.get("text/html", "")):
        live.append("text/html")
    for kind in live:
        del data[kind]
    output["metadata"] = {}
    if live and not any(kind in data for kind in ("text/html", "text/markdown", "image/png", "image/svg+xml")):
        return nbformat.v4.new_output("display_data", {"text/markdown": _LIVE_ONLY, "text/plain": _LIVE_ONLY})
    if "text/html" in data:
        data["text/html"] = _SOUND.sub(lambda match: _as_file(*match.groups(), sounds), data["text/html"])
        data["text/html"] = data["text/html"].replace("<audio ", '<audio preload="none" ')
    if "text/markdown" in data:
        data["text/markdown"] = relinked(data["text/markdown"], places, "notebooks")
    return output


def _as_file(kind, encoded, folder):
    content = base64.b64decode(encoded)
    name = f"{hashlib.sha256(content).hexdigest()[:16]}.{kind.removeprefix('x-')}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return f'src="../_static/{folder.name}/{name}"'


def last_picture(notebook):
    """PNG of the last picture that a notebook shows, or None."""
    for cell in reversed(notebook.cells):
        for output in reversed(cell.get("outputs", [])):
            picture = output.get("data", {}).get("image/png")
            if picture:
                return base64.b64decode(picture)
    return None


def title(notebook):
    """A notebook's first heading.

    Examples
    --------
    >>> title(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# 30 KNN")]))
    '30 KNN'
    """
    return re.search(r"^# (.+)$", notebook.cells[0].source, re.MULTILINE)[1]
