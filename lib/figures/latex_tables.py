r"""Tables as booktabs LaTeX that fit a thesis's text: smaller letters, broken lines, or parts, in this order.

Columns are measured in Computer Modern before anything is written. What is longer than half a page goes over pages.
"""

import functools
import re
from pathlib import Path

import numpy as np
import pandas as pd

from lib.figures.latex import as_printed, caption_of, escape_tex, usage

POINTS = 72.27  # TeX's, an inch
ROWS_A_FLOAT = 40  # lines; more go over pages
_MEASURED_AT = 10  # points
_GAP = 4  # points on either side of a column
_SMALLER = (0, 1, 2)  # points less than a caption's
_PROSE = 22  # characters, from which a column of several words is broken into lines
_HEADING = 5.0  # em, to which a heading may be wider than its column before its line is broken
_INTERVAL = re.compile(r"[-+−]?[\d.]+ \[.*\]")
_NUMBER = r"^([-+−]?[\d.]+)(?= \[|$)"
_MARKS = {1: "textbf", 2: "underline"}
_BOLD = 0.5  # em, by which a bold number is wider
# Small letters are wider for their height: of a digit, against 10 points, in Computer Modern.
_OPTICAL = ((5, 6, 7, 8, 9, 10, 12), (1.36, 1.222, 1.139, 1.063, 1.028, 1.0, 0.979))


def table(frame, stem, caption, study, *, ranked=False):
    r"""A frame of text as one LaTeX table, or as several where it is too wide, labelled ``tab:<stem>``, ``-2`` and on.

    Parameters
    ----------
    frame : DataFrame of str
        Its index becomes the first columns, which every part repeats.
    stem : str
    caption : str
        Plain text.
    study : Study
        Whose text's width and size of captions the table fits.
    ranked : bool
        Whether the largest mean of each column is bold and the second underlined, among the lines that have the same
        value in the first column; equal ones alike.

    Returns
    -------
    str
        Needs the packages booktabs, longtable and array.
    """
    whole = frame if is_numbered(frame) else frame.reset_index(names=[name or "" for name in frame.index.names])
    columns = [_Column(str(name), [str(cell) for cell in cells]) for name, cells in whole.items()]
    n_index = 1 if is_numbered(frame) else frame.index.nlevels
    if ranked:
        for column in columns[n_index:]:
            column.rank(columns[0].cells)
    available = study.parameters.text_width * POINTS
    size, parts = _fitted(columns, n_index, available, study.parameters.font_size)
    whole, written = caption_of(caption, study), []
    for number, part in enumerate(parts, start=1):
        _fit(part, available, size)  # again: the first columns are those of every part, with other widths in each
        label = f"tab:{stem}" + (f"-{number}" if number > 1 else "")
        own = whole if len(parts) == 1 else _numbered(whole, number, len(parts))
        written.append(_written(part, f"{own}\n\\label{{{label}}}", size))
    return "\n".join([usage(stem, caption), *written])


def is_numbered(frame):
    """Whether the index of a frame only counts its lines."""
    return isinstance(frame.index, pd.RangeIndex) and frame.index.name is None


class _Column:
    """Cells of a column with their natural width, and the width it is given where lines are broken (points)."""

    def __init__(self, name, cells):
        self.name, self.cells, self.given = name, cells, None
        cells = self.printed = [as_printed(cell) for cell in cells]
        words = [word for cell in cells for word in cell.split()]
        longest = max(map(len, cells), default=0)
        self.is_prose = longest > _PROSE and not any(_INTERVAL.fullmatch(cell) for cell in cells)
        self.word = max(map(_width, words), default=0.0)
        body = max(map(_width, cells), default=0.0)
        name = as_printed(name)
        self.head = _broken(name, max(body, _HEADING, *map(_width, name.split() or [""])))
        self.natural = max(body, *map(_width, self.head))
        self.marks = {}

    def rank(self, groups):
        """Mark the largest number that a cell starts with in each group, and the second."""
        numbers = pd.Series(self.cells).str.extract(_NUMBER, expand=False).astype(float)
        places = numbers.groupby(pd.Series(groups)).rank(method="dense", ascending=False)
        self.marks = {row: _MARKS[place] for row, place in places.items() if place in _MARKS}
        self.natural += _BOLD

    def latex(self, row):
        """A cell as LaTeX, its number marked where it is among the best."""
        cell = self.cells[row]
        if row not in self.marks:
            return escape_tex(cell)
        number = re.match(_NUMBER, cell)[0]
        return f"\\{self.marks[row]}{{{escape_tex(number)}}}{escape_tex(cell.removeprefix(number))}"


def _fitted(columns, n_index, available, font_size):
    """Font size and columns of each part: as few parts, and as large letters, as will do."""
    sizes = [font_size - less for less in _SMALLER]
    index, others = columns[:n_index], columns[n_index:]
    for n_parts in range(1, len(others) + 1):
        each = -(-len(others) // n_parts)
        parts = [[*index, *others[start : start + each]] for start in range(0, len(others), each)]
        for size in sizes:
            if all(_fit(part, available, size) for part in parts):
                return size, parts
    return sizes[-1], parts if others else [columns]


def _fit(columns, available, size):
    """Whether columns fit side by side; what is prose is given what the others leave."""
    scale = size * np.interp(size, *_OPTICAL)
    for column in columns:
        column.given = None
    left = available - 2 * _GAP * len(columns) - scale * sum(column.natural for column in columns)
    if left >= 0:
        return True
    prose = [column for column in columns if column.is_prose]
    left = available - 2 * _GAP * len(columns) - scale * sum(c.natural for c in columns if not c.is_prose)
    needed = [max(scale * (column.word + 0.2), 0.1 * available) for column in prose]
    if not prose or left < sum(needed):
        return False
    spare = [max(0.0, scale * column.natural - least) for column, least in zip(prose, needed, strict=True)]
    part = min(1.0, (left - sum(needed)) / max(sum(spare), 1e-9))
    for column, least, more in zip(prose, needed, spare, strict=True):
        column.given = (least + part * more) / scale, (least + part * more) / available
    return True


def _written(columns, caption, size):
    lines = _rows(columns)
    spec = "".join(_kind(column) for column in columns)
    head = " & ".join(_head(column) for column in columns) + " \\\\\n\\midrule"
    style = f"\\fontsize{{{size:g}}}{{{1.2 * size:g}}}\\selectfont\\setlength{{\\tabcolsep}}{{{_GAP}pt}}"
    printed = sum(max(_height(column, row) for column in columns) for row in range(len(columns[0].cells)))
    if printed <= ROWS_A_FLOAT:
        opening = f"\\begin{{table}}[tbp]\n\\centering\n{caption}\n{style}\n\\begin{{tabular}}{{{spec}}}\n\\toprule"
        return "\n".join([opening, head, *lines, "\\bottomrule\n\\end{tabular}\n\\end{table}\n"])
    again = f"\\multicolumn{{{len(columns)}}}{{l}}{{\\emph{{continued}}}} \\\\\n\\toprule"
    opening = f"\\begingroup\n{style}\\setlength{{\\LTcapwidth}}{{\\textwidth}}\n\\begin{{longtable}}{{{spec}}}"
    heads = f"{caption} \\\\\n\\toprule\n{head}\n\\endfirsthead\n{again}\n{head}\n\\endhead\n\\bottomrule\n\\endfoot"
    return "\n".join([opening, heads, *lines, "\\end{longtable}\n\\endgroup\n"])


def _rows(columns):
    """Lines of a table, a little apart where the value of the first column changes and stays for more than a line."""
    first = columns[0].cells
    apart = len(first) > len(set(first)) == 1 + sum(a != b for a, b in zip(first[1:], first, strict=False))
    lines = []
    for row in range(len(first)):
        if apart and row and first[row] != first[row - 1]:
            lines.append("\\addlinespace")
        line = " & ".join(column.latex(row) for column in columns)
        lines.append(f"{'{}' if line[:1] in ('[', '*') else ''}{line} \\\\")  # LaTeX would take them for options of \\
    return lines


def _kind(column):
    if column.given is None:
        return "l"
    return f">{{\\raggedright\\arraybackslash}}p{{{column.given[1]:.3f}\\textwidth}}"


def _head(column):
    if column.given is not None or len(column.head) == 1:
        return escape_tex(column.name)
    return "\\begin{tabular}[b]{@{}l@{}}" + "\\\\".join(map(escape_tex, column.head)) + "\\end{tabular}"


def _height(column, row):
    """Lines that a cell takes, about."""
    return 1 if column.given is None else int(np.ceil(1.15 * _width(column.printed[row]) / column.given[0])) or 1


def _broken(name, width):
    """A heading in lines no wider than a column, between words."""
    lines = [""]
    for word in name.split() or [""]:
        longer = f"{lines[-1]} {word}".strip()
        if _width(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return [line for line in lines if line] or [""]


def _numbered(caption, number, of):
    """A caption whose short and long form say which part of a table it is."""
    short, mark, long = caption.partition("}]{")
    return f"{short} -- {number} of {of}{mark}{long.removesuffix('}')} Part {number} of {of}.}}"


def _width(text):
    """Width of a text in Computer Modern, in units of its size."""
    return sum(map(_advance, text))


@functools.cache
def _advance(character):
    from matplotlib.ft2font import LoadFlags

    special = {"_": 0.75, "<": 0.78, ">": 0.78, "|": 0.28, "{": 0.5, "}": 0.5}  # other places in this font
    font = _computer_modern()
    if character in special or not character.isascii():
        return special.get(character, 0.78)
    return font.load_char(ord(character), flags=LoadFlags.NO_HINTING).linearHoriAdvance / 65536 / _MEASURED_AT


@functools.cache
def _computer_modern():
    import matplotlib
    from matplotlib.ft2font import FT2Font

    font = FT2Font(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "cmr10.ttf"))
    font.set_size(_MEASURED_AT, 72)
    return font
