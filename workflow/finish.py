"""After a run: ``finish.py answers STUDY`` prints the three answers, other steps copy, write or draw what it made."""

import argparse
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.evaluation import tuning
from lib.figures import export, thesis_preview
from lib.study import ROOT
from lib.study.answers import QUESTIONS, read_answers
from workflow import workbook


def main():
    """Run the step that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=list(STEPS))
    parser.add_argument("study", help="name of a file in params/")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()
    if options.step == "tuned" and options.set:  # the run itself was in order: what follows it in make goes on
        print(
            f"options chosen with {' '.join(options.set)} are not kept, since every later run of study {options.study} "
            "would use them; to keep them, give these parameters a study of their own in params/"
        )
        return 0
    try:
        study, _ = workbook.opened(options.study, options.set)
        print(STEPS[options.step](study))
    except (ValueError, FileNotFoundError, RuntimeError) as error:
        print(f"make: {error}", file=sys.stderr)
        return 1
    return 0


def answers(study):
    """The three answers as they stand, and where to read."""
    found = read_answers(study)
    lines = [f"{key.upper()} [{found[key]['status']}] {found[key]['statement']}" for key in QUESTIONS]
    return "\n".join([*lines, f"Read on in {study.relative(study.path('executed', '00_index.ipynb'))}"])


def tuned(study):
    """Keep what 63_tuning chose, so that every later run of the study uses it."""
    kept = tuning.keep(study)
    return f"options chosen on validation -> {study.relative(kept)}"


def thesis(study):
    """Put a study's figures, tables and numbers into the repository's figures/ and see whether LaTeX takes them."""
    files = export.to_thesis(study, ROOT / "figures")
    said = f"{len(files)} files of study {study.name} -> figures/, listed in figures/README.md"
    if not shutil.which("pdflatex"):
        return f"{said}\nno preview: there is no pdflatex here (docs/thesis.md)"
    preview = study.path("thesis_preview.pdf")
    found = thesis_preview.build(ROOT / "figures", preview)
    if found:
        raise ValueError(
            f"Expected a preview of figures/ without complaints of LaTeX, found {len(found)}, the first: {found[0]} "
            f"(all are in {study.relative(preview.with_suffix('.log'))})"
        )
    return f"{said}\nall that lies there, as a thesis prints it: {study.relative(preview)}"


def book(study):
    """Build the reading copy; what failed in the run is named and left out."""
    from workflow import book as reading_copy

    start, left_out = reading_copy.build(study)
    for name in left_out:
        print(f"left out, since it failed: {name}", file=sys.stderr)
    return reading_copy.said(study, start)


def slides(study):
    """Write the deck, and render it where Marp is at hand."""
    from workflow import slides as marp_deck

    source = marp_deck.write(study)
    print(f"slides of study {study.name} -> {study.relative(source)}")  # it is there, whatever becomes of the rest
    return marp_deck.render(source)


STEPS = {"answers": answers, "thesis": thesis, "tuned": tuned, "book": book, "slides": slides}


if __name__ == "__main__":
    sys.exit(main())
