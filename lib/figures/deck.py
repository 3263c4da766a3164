"""A study as a deck of slides in Marp's Markdown: questions, data, tables, a verdict and its figure a question, limits.

Nothing is typed: every number comes from what the study has written, and a part that it has not has no slide. What is
too much for one slide goes on to the next.
"""

import json
import re
from typing import NamedTuple

import pandas as pd

from lib.answers import claims, rq1
from lib.data import overview
from lib.data.splits import Split
from lib.evaluation import results
from lib.figures import latex
from lib.figures.looks import named
from lib.study.answers import decision, read_answers, setting
from lib.study.tables import read_parquet
from lib.study.text import mean_with_interval, tracks_of

__all__ = ["QUESTIONS", "deck", "escape_markdown"]


QUESTIONS = {
    "rq1": ("Are pretrained audio representations viable?", "rq1"),
    "rq2": ("How do backends compare?", "rq2-pairs"),
    "rq3": ("Do MIR scores foretell recommendation?", "rq3-primary"),
}
PICTURES = {  # shown beside the answers where the study has them
    "listening": "How listening is spread",
    "map": "What the spaces look like",
    "calibration-matrix": "Would the workbook find what is there?",
}
MAX_ROWS, MAX_COLUMNS, MAX_LETTERS = 9, 3, 1100  # on one slide, at the type sizes of docs/slides/deck.css
_A_POINT = 40  # letters that a bullet costs beside its own: the end of its last line, and the gap


class Deck(NamedTuple):
    """Slides as Markdown, and the pictures they show: name in the Markdown to file."""

    markdown: str
    pictures: dict


def deck(study, style):
    """The slides of a study.

    Parameters
    ----------
    study : Study
    style : str
        CSS over Marp's default theme; it travels inside the Markdown.

    Returns
    -------
    Deck

    Raises
    ------
    FileNotFoundError
        Where the study has not run.
    """
    if not study.path("manifest.json").is_file() or not study.path("answers.json").is_file():
        raise FileNotFoundError(
            f"Expected answers of study {study.name}, found none: run 'make workbook STUDY={study.name}' first."
        )
    drawn = {path.stem.rpartition("--")[0]: path for path in sorted(study.path("figures").glob("[!.]*.png"))}
    answers = read_answers(study)
    slides = [_title(study), _questions(answers), _pipeline(study), *_data(study)]
    slides += [*_picture("listening", drawn), *_picture("map", drawn)]
    slides += _tables(study)
    for key in QUESTIONS:
        slides += _answer(study, key, answers[key], drawn)
    slides += [*_picture("calibration-matrix", drawn), *_objections(study), *_limits(study, answers), _reproduce(study)]
    text = "\n\n---\n\n".join([_front_matter(study, style) + slides[0], *slides[1:]]) + "\n"
    shown = {path.name: path for path in drawn.values() if f"({path.name})" in text}
    return Deck(text, shown)


def escape_markdown(text):
    r"""Plain words as Markdown that shows them as they are.

    Parameters
    ----------
    text : str

    Returns
    -------
    str

    Examples
    --------
    >>> print(escape_markdown("id_only [0, 1]"))
    id\_only \[0, 1\]
    """
    return re.sub(r"([\\`*_{}\[\]<>#$~|^])", r"\\\1", text)


def in_parts(text, longest=MAX_LETTERS):
    """Sentences and clauses of a statement in parts of like length, each short enough for a slide.

    Parameters
    ----------
    text : str
    longest : int
        Letters of a part, at most; a clause that is longer stays whole.

    Returns
    -------
    list of list of str
        Of each part its sentences and clauses; joined by spaces all of them are the text. What stands in brackets is
        not divided.

    Examples
    --------
    >>> in_parts("One is so (a; b); two is not. Three is.", 100)
    [['One is so (a; b);'], ['two is not.', 'Three is.']]
    """
    pieces = re.split(r"(?<=[;.])\s+(?![^()]*\))", text)
    costs = [len(piece) + _A_POINT for piece in pieces]
    wanted = sum(costs) / -(-sum(costs) // longest)
    parts, filled = [[]], 0
    for piece, cost in zip(pieces, costs, strict=True):
        if parts[-1] and (filled + cost / 2 > wanted * len(parts) or _cost(parts[-1]) + cost > longest):
            parts.append([])
        parts[-1].append(piece)
        filled += cost
    return parts


def _cost(pieces):
    return sum(len(piece) + _A_POINT for piece in pieces)


def _front_matter(study, style):
    lines = ["marp: true", "theme: default", "size: 16:9", "paginate: true", f"footer: '{_stamp(study)}'", "style: |"]
    lines += [f"  {line}".rstrip() for line in style.splitlines()]
    return "\n".join(["---", *lines, "---", "", ""])


def _stamp(study):
    return f"study {study.name} · {latex.listeners(study)}"


def _slide(heading, *paragraphs, kind=""):
    return "\n\n".join([*[f"<!-- _class: {kind} -->"] * bool(kind), f"# {escape_markdown(heading)}", *paragraphs])


def _numbered(heading, number, total):
    return heading + f" ({number}/{total})" * (total > 1)


def _title(study):
    aim = ": this tests the instrument" if study.world == "mock" else ""
    return _slide(
        "Are pretrained audio representations any good for recommending music?",
        f"Study {escape_markdown(study.name)}. {study.listeners.capitalize()}{aim}.",
        kind="title",
    )


def _questions(answers):
    items = [
        f"{number}. {question} *{escape_markdown(_decision(answers[key]).rstrip('.'))}*"
        for number, (key, (question, _)) in enumerate(QUESTIONS.items(), 1)
    ]
    return _slide("Three questions", "\n".join(items), kind="questions")


def _decision(answer):
    return decision(answer["status"].replace("_", " "), answer["verdict"])


def _pipeline(study):
    p = study.parameters
    kinds = list(dict.fromkeys(options.get("kind", name) for name, options in p.recommender_table.items()))
    steps = {
        "Audio": f"{_rows(study, 'tracks')} tracks, {p.clip_seconds:g} s each",
        "Frozen networks": f"{len(p.backend_ids)} backends: one vector a track",
        "Recommenders": f"{len(p.recommender_table)} configurations of {len(kinds)} kinds, with every control",
        "Lists": "all candidates ranked, none sampled",
        "Answers": f"{p.n_permutations} permutations of tracks, family-wise error {p.alpha:g}",
    }
    return _slide(
        "From audio to answers", "\n".join(f"1. **{name}** {text}" for name, text in steps.items()), kind="pipeline"
    )


def _rows(study, table):
    path = study.path("data", f"{table}.parquet")
    return f"{len(read_parquet(path)):,}" if path.is_file() else "no"


def _data(study):
    if not study.has_listeners:
        return []
    sizes = overview.split(Split(**results.parts(study))).astype(int)
    cells = sizes.map("{:,}".format).rename(index=lambda name: name.replace("_", " "))
    asked = overview.tasks(results.tasks(study))
    asked = asked.loc[[name for name in results.TEST_SPLITS if name in asked.index]]
    sentences = [
        f"{tracks_of(name).capitalize()}: {row['listeners judged']:,.0f} listeners, "
        f"{row['candidates']:,.0f} candidates, lists of {row['k']:,.0f}."
        for name, row in asked.iterrows()
    ]
    return [_slide("Data: split by time into hot and cold", _markdown_table(cells, "part"), " ".join(sentences))]


def _tables(study):
    """NDCG of recommenders on real vectors, backends down, recommenders across, a slide a few of them and a split."""
    if not study.path("metrics.parquet").is_file():
        return []
    rows, todo = results.current(study), results.tasks(study)
    rows = rows[(rows["metric"] == "NDCG") & (rows["seed"] == results.MEAN_OF_SEEDS) & (rows["control"] == "real")]
    slides = []
    for split in results.judged(todo):
        k = todo[split].cutoffs[0]
        own = rows[(rows["split"] == split) & (rows["k"] == k)]
        n = own["n_users"].max()
        heading = f"{tracks_of(split).capitalize()}: NDCG@{k}"
        below = [
            _references(study, split, k),
            f"Means over {n:,.0f} listeners with 95 % intervals; best of a column bold.",
        ]
        blocks = list(_blocks(own[own["backend"] != results.NO_BACKEND], study))
        for number, block in enumerate(blocks, 1):
            table = _markdown_table(block, "vectors")
            slides.append(_slide(_numbered(heading, number, len(blocks)), table, *filter(None, below)))
    return slides


def _blocks(rows, study):
    """Cells with intervals, cut into as many rows and columns as a slide holds; the first recommender of each kind."""
    table = study.parameters.recommender_table
    first = list({options.get("kind", name): name for name, options in reversed(table.items())}.values())[::-1]
    names = [name for name in first if name in set(rows["recommender"])]
    spaces = [*study.parameters.backend_ids, *study.parameters.label_columns]
    best = rows.loc[rows.groupby("recommender")["value"].idxmax()].set_index("recommender")["backend"]
    cells = rows.assign(cell=mean_with_interval(rows)).pivot(index="backend", columns="recommender", values="cell")
    for name in names:
        cells.loc[best[name], name] = f"**{cells.loc[best[name], name]}**"
    for start in range(0, len(names), MAX_COLUMNS):
        block = cells[names[start : start + MAX_COLUMNS]].dropna(how="all")
        block = block.reindex([name for name in spaces if name in block.index]).fillna("–")
        block.index = [named(name) for name in block.index]
        for top in range(0, len(block), MAX_ROWS):
            yield block.iloc[top : top + MAX_ROWS].rename(columns=lambda name: escape_markdown(named(name)))


def _references(study, split, k):
    """What needs no audio, on the same listeners: the most played tracks, listening alone, chance."""
    rows = results.current(study)
    rows = rows[(rows["split"] == split) & (rows["metric"] == "NDCG") & (rows["k"] == k)]
    rows = rows[(rows["seed"] == results.MEAN_OF_SEEDS) & (rows["backend"] == results.NO_BACKEND)].set_index(
        "recommender"
    )
    best = claims.best_collaborative(study)
    names = {"mostpop": "most played", best: f"listening alone ({named(str(best))})", "chance": "chance"}
    found = [f"{names[name]} {rows.loc[name, 'value']:.3f}" for name in names if name in rows.index]
    return f"Without audio: {escape_markdown(', '.join(found))}." if found else ""


def _markdown_table(frame, corner):
    lines = [[corner, *frame.columns], ["---"] * (len(frame.columns) + 1), *frame.reset_index().to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _answer(study, key, answer, drawn):
    """The verdict with its figure, then the statement in full."""
    question, picture = QUESTIONS[key]
    verdict = escape_markdown(_decision(answer))
    slides = []
    if answer["estimate"] is not None:
        shown = [f"![{question}]({drawn[picture].name})"] if picture in drawn else []
        lines = [f"**{verdict}**", escape_markdown(f"{setting(study)}: {_numbers(answer)}"), *shown]
        slides.append(_slide(question, *lines, kind=f"answer {answer['status']}"))
    parts = in_parts(answer["statement"])
    for number, part in enumerate(parts, 1):
        heading = _numbered(f"{key.upper()} in words", number, len(parts))
        slides.append(_slide(heading, "\n".join(f"- {escape_markdown(piece)}" for piece in part), kind="words"))
    return slides


def _numbers(answer):
    """The numbers of an answer in one line, and the test they are of."""
    interval = f" [{answer['ci'][0]:g}, {answer['ci'][1]:g}]" if answer["ci"] else ""
    p = f", p = {answer['p']:g}" if answer["p"] is not None else ""
    return f"estimate {answer['estimate']:g}{interval}{p}, n = {answer['n']:,}; {answer['test']}."


def _picture(name, drawn):
    if name not in drawn:
        return []
    caption = drawn[name].with_suffix(".caption.txt")
    words = caption.read_text().partition(" Study ")[0].strip() if caption.is_file() else ""
    return [_slide(PICTURES[name], f"![{PICTURES[name]}]({drawn[name].name})", escape_markdown(words), kind="picture")]


def _objections(study):
    """What speaks against the primary recommender, from section 7 of 70."""
    path = study.path("figures", f"rq1-objections--{study.name}-{study.world}.csv")
    if not path.is_file():
        return []
    frame = pd.read_csv(path)
    own = frame[frame["recommender"] == frame["recommender"].iloc[0]]
    lines = [
        f"- **{tracks_of(row['split'])}:** "
        + "; ".join(escape_markdown(row[name]) for name in ("first", "second", "third"))
        for _, row in own.iterrows()
    ]
    return [_slide(f"What speaks against {named(own['recommender'].iloc[0])}", "\n".join(lines), kind="words")]


def _limits(study, answers):
    """What a study of this kind and size cannot say."""
    lines = []
    if study.world == "mock":
        lines.append(f"{setting(study)}, the instrument is tested. It says nothing of real listeners.")
    asked = [key for key in QUESTIONS if answers[key]["status"] != "not_run"]
    if asked:
        trained = bool(_with_vectors(study) - set(study.named("knn")))
        p = study.parameters
        lines += rq1.cannot_conclude(len(p.backend_ids), p.n_seeds, pd.DataFrame(), trained=trained)
    undecided = [key.upper() for key in asked if answers[key]["status"] == "undecided"]
    lines += [f"Undecided: {', '.join(undecided)}. Undecided is no evidence that there is nothing."] * bool(undecided)
    left = [key.upper() for key in QUESTIONS if key not in asked]
    lines += [f"Not asked or not run: {', '.join(left)}."] * bool(left)
    lines.append("Clips stand for whole recordings, and one month of listening for taste.")
    return [_slide("What this cannot say", "\n".join(f"- {escape_markdown(line)}" for line in lines), kind="words")]


def _with_vectors(study):
    """Names of the recommenders that ran on real vectors."""
    rows = results.current(study)
    return set(rows.loc[(rows["control"] == "real") & (rows["backend"] != results.NO_BACKEND), "recommender"])


def _reproduce(study):
    ran = json.loads(study.path("manifest.json").read_text())
    minutes = sum(ran["seconds"].values()) / 60
    facts = [
        f"- code `{ran['commit']}`, data `{ran['data']}`, seed {ran['parameters']['seed']}",
        f"- {len(ran['seconds'])} executed notebooks, {minutes:,.0f} minutes of computing in all",
        "- "
        + ", ".join(
            f"{name} {ran['versions'][name]}" for name in ("torch", "numpy", "pandas") if name in ran["versions"]
        ),
    ]
    commands = [f"make workbook STUDY={study.name}", f"make book STUDY={study.name}", f"make slides STUDY={study.name}"]
    return _slide("Do it again", "\n".join(["```", *commands, "```"]), "\n".join(facts), kind="reproduce")
