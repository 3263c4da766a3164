r"""Words, figures and tables as LaTeX sets them: what a thesis takes in by one line, ``\input{figures/<name>}``.

pdflatex stops at characters that its fonts do not have. So every character becomes one it knows, an accent on a letter,
a sign of mathematics, or is told by its number.
"""

import re
import unicodedata

SHORT = 80  # characters of a caption in a list of figures
TALL = 0.8  # of the text's height: what a figure may take, its caption below
_TEX = {
    "\\": r"\textbackslash{}",
    **{plain: f"\\{plain}" for plain in "_%&#${}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    '"': "''",
    "\N{NO-BREAK SPACE}": "~",
    "\N{NARROW NO-BREAK SPACE}": "\\,",
    "–": "--",
    "—": "---",
    "‑": "-",
    "…": r"\dots{}",
    **{plain: f"${plain}$" for plain in "<>|"},
}
_SIGNS = {
    "×": "times", "÷": "div", "·": "cdot", "−": "-", "±": "pm", "≤": "leq", "≥": "geq", "≠": "neq", "≈": "approx",
    "∼": "sim", "→": "to", "←": "gets", "↔": "leftrightarrow", "√": "surd", "∞": "infty", "∑": "sum",
    "∂": "partial", "∆": "Delta", "∈": "in", "★": "star", "☆": "star", "○": "circ", "●": "bullet", "′": "prime",
    **{letter: unicodedata.name(letter).split()[-1].lower() for letter in "αβγδεζηθικλμνξπρστυφχψω"},
    **{letter: unicodedata.name(letter).split()[-1].title() for letter in "ΓΔΘΛΞΠΣΦΨΩ"},
    "λ": "lambda", "Λ": "Lambda",
}  # fmt: skip
_ACCENTS = dict(zip("\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0323\u0327\u0328\u0331",
                    "`'^~=u.\"rHvdckb", strict=True))  # fmt: skip
_INTERVALS = re.compile(
    r",?(?: mean)?(?: with)?(?: the| Wilson's)? 95 ?% (?:intervals?|range)(?![^(]*\))"
    r"(?: over [\w ]*\w)?(?: \([^)]*\))?(?:, which[^,]*)?,?"
)
# Beyond ASCII, what pdflatex sets as it is with T1 fonts (tested by setting all of it).
_AS_IT_IS = re.compile(r"[ -~¡-ĥĨ-ķĹ-ľŁ-ňŊ-ťŨ-žȘșȚț‘’“”†‡•‰€™]")


def escape_tex(text):
    r"""Plain text as pdflatex sets it, whatever is in it.

    Signs and Greek letters become mathematics, a hyphen before a number a minus, letters with accents that the usual
    fonts lack a letter and an accent. What pdflatex has no way to set (another script) is told by its numbers there and
    left as it is for LuaLaTeX and XeLaTeX.

    Parameters
    ----------
    text : str

    Returns
    -------
    str

    Examples
    --------
    >>> escape_tex("5 % of musicnn_msd, p <= -0.1")
    '5\\,\\% of musicnn\\_msd, p $\\leq$ $-$0.1'
    """
    pieces, foreign = [], ""
    for character in _normal(text):
        known = None if foreign and unicodedata.combining(character) else _known(character)
        if known is None:
            foreign += character
        else:
            pieces += [_by_number(foreign), known]
            foreign = ""
    return "".join([*pieces, _by_number(foreign)])


def as_printed(text):
    """Plain text with the signs that pdflatex prints: a minus before a number, ≤ for <=, numbers of foreign letters."""
    return "".join(map(_or_number, _normal(text)))


def _normal(text):
    """With the signs of print: no break before %, a minus before a number, ≤ for <=."""
    plain = unicodedata.normalize("NFC", re.sub(r"\s(?<![\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}])", " ", text))
    plain = re.sub(r"(?<=\d) %", "\N{NARROW NO-BREAK SPACE}%", plain)
    return re.sub(r"(?<![\w.)\]-])-(?=\.?\d)", "−", plain).replace("<=", "≤").replace(">=", "≥")


def short_caption(caption):
    """What a list of figures says: the first sentence, without what only explains how it is drawn.

    Parameters
    ----------
    caption : str

    Returns
    -------
    str
        Without a full stop.

    Examples
    --------
    >>> short_caption("NDCG of KNN in 20 worlds, with 95 % intervals; band: ±δ. Others follow.")
    'NDCG of KNN in 20 worlds'
    """
    first = re.split(r"\.(?=\s|$)", caption, maxsplit=1)[0]
    first = _INTERVALS.sub("", re.split(r";(?![^(]*\))", first, maxsplit=1)[0])
    clauses = re.split(r"(?=[,:] )(?![^(]*\))", first)  # not within brackets
    while len("".join(clauses)) > SHORT and len("".join(clauses[:-1]).split()) > 2:
        clauses.pop()
    return "".join(clauses).strip()


def caption_of(caption, study):
    r"""``\caption[short]{long}``, both with study and world, so that no simulated listener is taken for a real one.

    Parameters
    ----------
    caption : str
        Plain text.
    study : Study

    Returns
    -------
    str
    """
    short = escape_tex(f"{short_caption(caption)} ({study.name}, {study.world})")
    return f"\\caption[{{{short}}}]{{{escape_tex(f'{caption} {world_sentence(study)}')}}}"


def world_sentence(study):
    """Of whose listening a figure is."""
    return f"Study {study.name}: {listeners(study)}."


def listeners(study):
    """Whose listening it is, and where it is simulated how much of taste follows what is heard."""
    strength = f", content strength {study.parameters.content_strength:g}" if study.world == "mock" else ""
    return study.listeners + strength


def figure(stem, caption, study, share):
    r"""A figure with its caption and label, ``fig:<stem>``.

    Parameters
    ----------
    stem : str
        Of the file with the figure.
    caption : str
        Plain text.
    study : Study
    share : float
        Its width, of the text's; what is wider than the text is narrowed to it.

    Returns
    -------
    str
    """
    size = f"width={min(1.0, share):.3g}\\textwidth,height={TALL}\\textheight,keepaspectratio"
    lines = [
        usage(stem, caption),
        "\\providecommand{\\figuresfolder}{figures}",
        "\\begin{figure}[tbp]",
        "\\centering",
        f"\\includegraphics[{size}]{{\\figuresfolder/{stem}.pdf}}",
        caption_of(caption, study),
        f"\\label{{fig:{stem}}}",
        "\\end{figure}",
    ]
    return "\n".join([*lines, ""])


def usage(stem, caption):
    """First line of a file: how a thesis takes it in, and what it is."""
    return f"% \\input{{figures/{stem}}} {' '.join(short_caption(caption).split())}"


def _known(character):
    """LaTeX for one character, or None where pdflatex has nothing to set it with."""
    if character in _TEX:
        return _TEX[character]
    if character in _SIGNS:
        return f"${_SIGNS[character]}$" if character == "−" else f"$\\{_SIGNS[character]}$"
    if _AS_IT_IS.fullmatch(character):
        return character
    base, *marks = unicodedata.normalize("NFD", character)
    if not marks or not (base.isascii() and base.isalpha()) or not all(mark in _ACCENTS for mark in marks):
        return None
    for mark in marks:
        base = f"\\{_ACCENTS[mark]}{{{base}}}"
    return base


def _or_number(character):
    return character if _known(character) else f"{_numbers(character)} "


def _by_number(foreign):
    if not foreign:
        return ""
    return f"\\ifdefined\\Umathcode {foreign}\\else\\allowbreak{{}}{_numbers(foreign)}\\allowbreak\\fi{{}}"


def _numbers(foreign):
    return " ".join(f"U+{ord(character):04X}" for character in foreign)
