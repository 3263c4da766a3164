"""Whatever stands in a caption, pdflatex sets it; what it cannot set it says."""

import re

import pytest

from lib.figures.latex import as_printed, escape_tex, figure, short_caption
from lib.study import Study, load_parameters


@pytest.mark.parametrize(
    ("plain", "latex"),
    [
        (
            "5 % & 3 # of $1_a {b} ~ ^ \\",
            r"5\,\% \& 3 \# of \$1\_a \{b\} \textasciitilde{} \textasciicircum{} \textbackslash{}",
        ),
        ("2 × 3 − δ ≤ 5 – 6 ≥ ρ", r"2 $\times$ 3 $-$ $\delta$ $\leq$ 5 -- 6 $\geq$ $\rho$"),
        ("-0.1 [-0.2, +0.3], .5-1, 2019-02-01, a-1", r"$-$0.1 [$-$0.2, +0.3], .5-1, 2019-02-01, a-1"),
        ("p <= .05 |x|", r"p $\leq$ .05 $|$x$|$"),
        ("Dvořák, Ali Ekber Çiçek", "Dvořák, Ali Ekber Çiçek"),
        ("Ḥāfiẓ", r"\d{H}āfi\d{z}"),
        ("e\u0301", "é"),  # one character or two, it prints the same
        ("a\nb\tc", "a b c"),
        ("中国 x", r"\ifdefined\Umathcode 中国\else\allowbreak{}U+4E2D U+56FD\allowbreak\fi{} x"),
    ],
)
def test_what_means_more_to_tex_than_to_the_reader_is_escaped(plain, latex):
    assert escape_tex(plain) == latex


def test_no_character_reaches_pdflatex_that_it_has_no_letter_for():
    """Everything of Unicode's first plane: known to pdflatex (T1), or behind its number."""
    for code in [*range(32, 0xD800), *range(0xE000, 0xFFFE), 0x1F3B5]:
        latex = escape_tex(chr(code))
        for sets in re.sub(r"\\ifdefined.*?\\else", "", latex):
            assert sets.isascii() or "¡" <= sets <= "ž" or sets in "ȘșȚț‘’“”†‡•‰€™", hex(code)


def test_a_width_is_measured_of_what_is_printed():
    assert as_printed("-0.1 <= 5 %") == "−0.1 ≤ 5\N{NARROW NO-BREAK SPACE}%"
    assert as_printed("Dvořák 中国") == "Dvořák U+4E2D U+56FD "


@pytest.mark.parametrize(
    ("caption", "short"),
    [
        ("KNN on mfcc, its controls: NDCG with 95 % intervals.", "KNN on mfcc, its controls: NDCG"),
        ("Share with p <= .05, with Wilson's 95 % intervals.", "Share with p <= .05"),
        ("NDCG, with 95 % intervals over listeners, against seconds.", "NDCG against seconds"),
        ("Real vectors, with 95 % intervals over listeners, which do not decide.", "Real vectors"),
        ("KNN in 3 worlds, mean with 95 % interval over worlds (markers).", "KNN in 3 worlds"),
        ("Options tried (star: chosen; bars: 95 % interval).", "Options tried (star: chosen; bars: 95 % interval)"),
        ("Own artists. NDCG too.", "Own artists"),
        ("Spearman's rho over backends; star: q ≤ α.", "Spearman's rho over backends"),
        ("Published (arXiv 1, 2): " + "rho " * 20 + ".", "Published (arXiv 1, 2)"),
        (
            "What is heard in a month: " + "plays a track, " * 9,
            "What is heard in a month: plays a track, plays a track, plays a track",
        ),
    ],
)
def test_a_short_caption_is_whole_words_of_the_first_sentence(caption, short):
    assert short_caption(caption) == short


def test_brackets_are_not_cut_in_two():
    caption = "NDCG of very many recommenders on very many tracks (as published: arXiv 1, arXiv 2, and ours)."
    assert short_caption(caption).count("(") == short_caption(caption).count(")")


def test_study_and_world_stand_in_both_captions():
    study = Study(load_parameters("toy"))
    latex = figure("rq1--toy-mock", "A [b] c. More.", study, 1.0)
    assert (
        r"\caption[{A [b] c (toy, mock)}]{A [b] c. More. Study toy: simulated listeners, content strength 1.}" in latex
    )
    assert latex.startswith("% \\input{figures/rq1--toy-mock} A [b] c\n")
    real = figure("x--onion_sample-real", "A.", Study(load_parameters("onion_sample")), 1.0)
    assert "Study onion\\_sample: real listeners." in real
    nobody = figure("x--toy-real", "A.", Study(load_parameters("toy", {"listening_source": "none"})), 1.0)
    assert "Study toy: no listeners." in nobody
