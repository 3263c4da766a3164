"""Notebooks and workflow use what packages of lib declare as public, and docs/api.md lists it."""

import ast

import nbformat
import pytest

from lib.study import ROOT
from workflow import api_page

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
BENCHMARK = "calibrate.py"  # which measures the library itself, and reaches what it measures
WORKFLOW = [path for path in sorted((ROOT / "workflow").glob("*.py")) if path.name != BENCHMARK]
USERS = [*NOTEBOOKS, *WORKFLOW, ROOT / "workflow" / "Snakefile"]


def source_of(path):
    """Code of a notebook or module; what is Snakemake's own is left out."""
    if path.suffix == ".ipynb":
        return "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")
    text = path.read_text()
    return "\n".join(line for line in text.splitlines() if " import " in line) if path.suffix != ".py" else text


def used(source):
    """Dotted names of lib that a text imports, and of imported modules and packages the attributes it asks for."""
    tree = ast.parse(source)
    modules, found = {}, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "lib"}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "lib":
            for alias in node.names:
                dotted = f"{node.module}.{alias.name}"
                if api_page.file_of(dotted):
                    modules[alias.asname or alias.name] = dotted
                else:
                    found.add(dotted)
    asked = set(modules.values())
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or node.attr.startswith("__"):
            continue
        if isinstance(node.value, ast.Name) and node.value.id in modules:
            dotted = f"{modules[node.value.id]}.{node.attr}"
            (asked if api_page.file_of(dotted) else found).add(dotted)
    return found, asked


@pytest.mark.parametrize("path", USERS, ids=lambda path: path.stem)
def test_only_public_names_are_used(path):
    names, modules = used(source_of(path))
    packages = {f"lib.{package}" for package in api_page.PACKAGES}
    assert names - set(api_page.public()) - {"lib.__version__"} == set()
    for module in modules - packages:
        package, _, name = module.rpartition(".")
        assert name in api_page.names(package), f"{module} is not in __all__ of {package}"


def test_public_names_are_used_somewhere_or_belong_to_a_package_face():
    """A public name that nobody uses is private; faces of packages may offer what readers would look for."""
    names = set().union(*(used(source_of(path))[0] for path in USERS if path.suffix in (".py", ".ipynb")))
    unused = [name for name in api_page.public() if name not in names and name.count(".") > 2]
    assert unused == []


def test_the_page_is_that_of_the_code():
    assert api_page.PAGE.read_text() == api_page.page(), "run python workflow/api_page.py"
