r"""A document that takes in every figure, table and number of a folder, to see whether a thesis can.

``thesis_preview.tex`` is written by every export and compiles from its own folder: ``cd figures``, then
``pdflatex thesis_preview.tex`` twice.
"""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from lib.figures.latex import escape_tex
from lib.study.tables import write_atomically

__all__ = ["build"]


NAME = "thesis_preview"
TOO_WIDE = 10  # points over the edge, above which a box is a fault
_RUNS = 4  # at most: references and columns that go over pages settle in two or three
_SECONDS = 300  # for one run
_MANY = ("metrics.parquet", "comparisons.parquet")
_HEAD = r"""% every figure, table and number that lies here; written by make thesis
% to read it: pdflatex thesis_preview.tex, twice
\documentclass[11pt,a4paper]{article}
\usepackage[T1]{fontenc}
\usepackage{lmodern,geometry,caption,flafter}
\newcommand{\figuresize}{9pt}
\DeclareCaptionFont{asfigures}{\fontsize{\figuresize}{1.2\dimexpr\figuresize\relax}\selectfont}
\captionsetup{font=asfigures}
\usepackage{booktabs,longtable,array,graphicx} % what figures and tables need
\pdfsuppresswarningpagegroup=1 % figures by matplotlib have transparency
\newcommand{\figuresfolder}{.}
\renewcommand{\floatpagefraction}{.7}
\renewcommand{\topfraction}{.95}\renewcommand{\bottomfraction}{.95}\renewcommand{\textfraction}{.05}
\setcounter{bottomnumber}{5}\setcounter{totalnumber}{5}
\begin{document}
% each number is set once, out of sight: one that LaTeX cannot set is found here and not in a thesis
\let\definenumber\newcommand
\def\newcommand#1#2{\definenumber{#1}{#2}\setbox0\vbox{\hbadness=10000\hfuzz=\maxdimen #2}}
\input{numbers}
\let\newcommand\definenumber
\listoffigures
\listoftables
"""
_STUDY = r"""
\newgeometry{textwidth=\PREFIXTextWidth,textheight=240mm}
\renewcommand{\figuresize}{\PREFIXFontSize}
"""


def document(listed, numbers):
    r"""The preview of all studies of a folder.

    Parameters
    ----------
    listed : DataFrame
        As of ``lib.figures.export.contents``, with the ``prefix`` of the study's macros.
    numbers : DataFrame
        As of ``lib.figures.quoted_numbers.numbers``, of all studies.

    Returns
    -------
    str
    """
    parts = [_HEAD]
    for (study, world, prefix), own in listed.groupby(["study", "world", "prefix"], sort=True):
        parts += [_STUDY.replace("PREFIX", prefix), f"\\section{{Study {escape_tex(study)}, {escape_tex(world)}}}\n"]
        parts.append(_quoted(numbers[numbers["macro"].str.startswith(prefix)]))
        parts += [_of_notebook(notebook, rows) for notebook, rows in own.groupby("notebook", sort=True)]
    return "".join([*parts, "\\end{document}\n"])


def _quoted(numbers):
    """A table of macros and what they say, without scores and comparisons, of which there are thousands."""
    few = numbers[~numbers["file"].isin(_MANY)]
    lines = [f"\\texttt{{\\textbackslash {name}}} & \\{name} \\\\" for name in few["macro"]]
    spec = r"@{}>{\raggedright\arraybackslash}p{.36\textwidth}>{\raggedright\arraybackslash}p{.58\textwidth}@{}"
    opening = (
        f"\\begingroup\\footnotesize\n\\begin{{longtable}}{{{spec}}}\n\\toprule macro & value \\\\ \\midrule\\endhead"
    )
    more = f"And {len(numbers) - len(few)} scores and comparisons more, which numbers-{{}}-*.csv lists."
    return "\n".join([more, opening, *lines, "\\bottomrule", "\\end{longtable}", "\\endgroup", ""])


def _of_notebook(notebook, rows):
    """Figures and tables of one notebook, after a list of them."""
    lines = [f"\\clearpage\\subsection{{{escape_tex(notebook)}}}"]
    drawn = set(rows["file"][rows["file"].str.endswith(".pdf")])
    files = rows[rows["file"].str.endswith(".tex")]
    lines.append("\\begin{itemize}\\itemsep0pt")
    stems = [name.removesuffix(".tex") for name in files["file"]]
    for stem, section in zip(stems, files["section"], strict=True):
        name = escape_tex(stem).replace("--", "-{}-")  # two hyphens, not a dash
        kind, label = ("Figure", "fig") if f"{stem}.pdf" in drawn else ("Table", "tab")
        lines.append(f"\\item {kind}~\\ref{{{label}:{stem}}}: \\texttt{{{name}}}, from `{escape_tex(section)}'")
    lines.append("\\end{itemize}")
    return "\n".join([*lines, *(f"\\input{{\\figuresfolder/{stem}}}" for stem in stems), ""])


def build(folder, pdf):
    """Compile the preview of a folder, in which nothing else is written.

    Parameters
    ----------
    folder : Path
        With ``thesis_preview.tex``.
    pdf : Path
        Where the document goes, its log beside it.

    Returns
    -------
    list of str
        What LaTeX complains of, as ``complaints`` finds it.

    Raises
    ------
    FileNotFoundError
        Where there is no pdflatex.
    RuntimeError
        Where it does not end, or ends before it has begun.
    """
    program = shutil.which("pdflatex")
    if program is None:
        raise FileNotFoundError(
            "Expected pdflatex for the preview, found none; install TeX Live (Debian: texlive-latex-extra, lmodern)."
        )
    environment = os.environ | {"max_print_line": "10000", "SOURCE_DATE_EPOCH": "0", "FORCE_SOURCE_DATE": "1"}
    with tempfile.TemporaryDirectory() as made:
        for _ in range(_RUNS):
            command = [program, "-interaction=nonstopmode", f"-output-directory={made}", f"{NAME}.tex"]
            log = _compiled(command, folder, environment, Path(made, f"{NAME}.log"))
            if "Rerun" not in log:
                break
        for suffix in (".pdf", ".log"):
            if Path(made, NAME + suffix).is_file():
                with write_atomically(pdf.with_suffix(suffix)) as beside:
                    shutil.copyfile(Path(made, NAME + suffix), beside)
    return complaints(log)


def _compiled(command, folder, environment, log):
    """Run pdflatex once; returns its log."""
    try:
        ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"Expected the preview within {_SECONDS} s, found pdflatex still at work.") from None
    if not log.is_file():
        said = (ran.stdout + ran.stderr).decode(errors="replace").strip() or "nothing said"
        raise RuntimeError(f"Expected a log of pdflatex, found none: {said.splitlines()[-1]}; is TeX Live whole?")
    return log.read_text(errors="replace")


def complaints(log):
    r"""Errors, warnings and boxes over the edge by more than `TOO_WIDE` points, of LaTeX's log.

    Parameters
    ----------
    log : str
        Written with lines that are not broken (``max_print_line``).

    Returns
    -------
    list of str

    Examples
    --------
    >>> complaints("Overfull \\hbox (2.1pt too wide) in x\nLaTeX Warning: Reference `a' on page 1 undefined.")
    ["LaTeX Warning: Reference `a' on page 1 undefined."]
    """
    found = re.findall(r"^(?:!.*|(?:LaTeX|Package|pdfTeX|LaTeX Font|Class)[^\n]*[Ww]arning.*)$", log, re.MULTILINE)
    for box in re.finditer(r"^Overfull \\[hv]box \(([\d.]+)pt.*$", log, re.MULTILINE):
        if float(box[1]) > TOO_WIDE:
            found.append(box[0])
    return list(dict.fromkeys(found))
