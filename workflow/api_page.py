"""Write docs/api.md, the names that notebooks and the workflow may use: ``python workflow/api_page.py``.

Packages of lib say in ``__all__`` which of their names and modules are public, modules which of theirs. ``--check``
writes nothing: numpydoc validates the docstring of every public function and class below the given packages.
"""

import argparse
import ast
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.study import ROOT
from lib.study.tables import write_atomically

PAGE = ROOT / "docs" / "api.md"
# not PR07 and RT03: "study : Study" says all there is to say
CHECKS = ("GL08", "SS02", "SS03", "SS05", "PR01", "PR02", "PR03", "PR04", "PR06", "RT01", "RT04")
PACKAGES = ("study", "data", "backends", "recommenders", "evaluation", "answers", "figures", "listening")
_TOP = """# What notebooks may use
Written by `python workflow/api_page.py` from `__all__` and the first line of each docstring: {n} names. A notebook
imports the names or modules of a package, and uses of a module the names below. All else may change without notice.
"""


def names(module):
    """List what a module or package declares as public.

    Parameters
    ----------
    module : str
        Dotted name.

    Returns
    -------
    list of str
        Empty where it declares nothing.

    Examples
    --------
    >>> "Study" in names("lib.study")
    True
    """
    for node in _tree(module).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def file_of(module):
    """Return the file of a module or package, or None where the name is neither."""
    path = ROOT.joinpath(*module.split("."))
    files = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def public():
    """List every public name, dotted, with the module that defines it.

    Returns
    -------
    dict of {str: str}
        Dotted name, as ``lib.evaluation.results.Run``, to what it is, in a line.
    """
    found = {}
    waiting = [f"lib.{package}" for package in PACKAGES]
    while waiting:
        module = waiting.pop(0)
        below = []
        for name in names(module):
            dotted = f"{module}.{name}"
            if file_of(dotted):
                below.append(dotted)
            else:
                found[dotted] = _line(module, name)
        waiting = below + waiting
    return found


def page():
    """Return the text of the page."""
    found = public()
    parts = [_TOP.format(n=len(found))]
    for module in dict.fromkeys(dotted.rpartition(".")[0] for dotted in found):
        doc = (ast.get_docstring(_tree(module)) or "").splitlines()[0]
        parts.append(f"\n## {module}\n{doc}\n\n")
        own = [dotted for dotted in found if dotted.rpartition(".")[0] == module]
        parts += [f"- `{dotted.rpartition('.')[2]}`: {found[dotted]}\n" for dotted in own]
    return "".join(parts)


def _tree(module):
    return ast.parse(file_of(module).read_text())


def _line(module, name):
    """First line of a name's docstring, or the comment behind a constant; a name handed on is looked up where it is."""
    source = file_of(module).read_text()
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return (ast.get_docstring(node) or "").splitlines()[0]
        if isinstance(node, ast.ImportFrom) and name in [alias.asname or alias.name for alias in node.names]:
            origin = next(alias.name for alias in node.names if name == (alias.asname or alias.name))
            return _line(node.module, origin)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(
            name in [part.id for part in ast.walk(target) if isinstance(part, ast.Name)] for target in targets if target
        ):
            comment = re.search(r"#\s*(.+)$", source.splitlines()[node.lineno - 1])
            return comment[1] if comment else "a constant"
    raise ValueError(f"Expected {name} in {module}, which names it in __all__, found no definition.")


def faults(dotted):
    """Return what numpydoc finds wrong with the docstring of a public name, of `CHECKS`.

    Parameters
    ----------
    dotted : str
        A key of `public`.

    Returns
    -------
    list of str
        A sentence per fault; none for constants.
    """
    from numpydoc.validate import Validator, validate

    if not callable(Validator._load_obj(dotted)):
        return []
    return [f"{dotted}: {code} {words}" for code, words in validate(dotted)["errors"] if code in CHECKS]


def main():
    """Write the page, or check docstrings; exit code 1 where one is at fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", nargs="*", metavar="PACKAGE", help="validate docstrings (lib.data …; default: all)")
    options = parser.parse_args()
    if options.check is None:
        with write_atomically(PAGE) as beside:
            beside.write_text(page())
        return 0
    below = tuple(f"{package}." for package in options.check or ["lib"])
    found = [fault for dotted in public() if dotted.startswith(below) for fault in faults(dotted)]
    print("\n".join(found) or "all docstrings of public names are numpydoc")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
