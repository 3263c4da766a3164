r"""Numbers that a text may quote, each with its macro, its unit and where it stands.

Values are LaTeX: ``\demoMockClipSeconds`` prints 30 and its unit with a thin space between. Macros name study and
world, so that no number of simulated listeners can be taken for one of real ones, and several studies stand side by
side.
"""

import math
import re

import pandas as pd
import pyarrow.parquet as pq

from lib import backends
from lib.answers import claims
from lib.backends.vectors import VectorStore
from lib.data import splits
from lib.evaluation import results
from lib.figures.latex import escape_tex
from lib.study.answers import QUESTIONS, read_answers
from lib.study.tables import read_parquet

__all__ = ["numbers"]


DIGITS = ("Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")
NUMBER_COLUMNS = ["macro", "value", "file", "row"]


def numbers(study):
    """Every number of a study that a text may quote, with its macro.

    Parameters
    ----------
    study : Study

    Returns
    -------
    DataFrame
        ``macro`` (letters alone, without the backslash), ``value`` (LaTeX), ``file`` (in the study's folder of results)
        and ``row`` (what stands there). Sizes and parameters, answers, scores of the test splits averaged over seeds,
        comparisons; what was not computed has no macro, so that quoting it stops LaTeX.
    """
    start = prefix(study.name, study.world)
    rows = [*_of_parameters(study), *_of_data(study), *_of_backends(study), *_of_effects(study)]
    rows += [*_of_answers(read_answers(study)), *_of_metrics(study), *_of_comparisons(study)]
    found = pd.DataFrame(
        [(start + macro, *rest) for macro, *rest in rows if rest[0] is not None], columns=NUMBER_COLUMNS
    )
    twice = found["macro"][found["macro"].duplicated()]
    if len(twice):
        both = " and ".join(found.loc[found["macro"] == twice.iloc[0], "row"])
        raise ValueError(f"Expected one number a macro, found \\{twice.iloc[0]} for {both}; give one another name.")
    return found


def macro_name(*words):
    """Words as one name of letters: ``hot_test`` and ``NDCG@50`` become ``HotTestNDCGAtFiveZero``.

    Examples
    --------
    >>> macro_name("demo_h25", "mock", "rq1")
    'DemoHTwoFiveMockRqOne'
    """
    spelled = [re.sub(r"\d", lambda digit: f" {DIGITS[int(digit[0])]} ", word.replace("@", " At ")) for word in words]
    parts = re.split(r"[^A-Za-z]+", " ".join(spelled))
    return "".join(part[:1].upper() + part[1:] for part in parts)


def prefix(study, world):
    """What the macros of a study start with.

    Examples
    --------
    >>> prefix("demo", "mock")
    'demoMock'
    """
    name = macro_name(study, world)
    return name[0].lower() + name[1:]


def as_number(value, decimals=3, *, smallest=None, unit=""):
    r"""A number as LaTeX sets it, or None where there is none.

    Parameters
    ----------
    value : float or None
    decimals : int
    smallest : float, optional
        What is below is only said to be.
    unit : str
        Set after a thin space; after a space, where it is a word.

    Returns
    -------
    str or None

    Examples
    --------
    >>> as_number(-0.0123), as_number(0.0002, smallest=0.001), as_number(-0.0001)
    ('$-$0.012', '$<$0.001', '0.000')
    >>> as_number(37375, 0), as_number(30, 1, unit="s"), as_number(25, 0, unit="%")
    ('37,375', '30.0\\,s', '25\\,\\%')
    """
    if value is None or not math.isfinite(value):
        return None
    if smallest is not None and value < smallest:
        return f"$<${smallest:g}"
    text = f"{value:,.{decimals}f}"
    text = text.lstrip("-") if not any(digit in text for digit in "123456789") else text.replace("-", "$-$")
    if not unit:
        return text
    space = "~" if len(unit) > len("kHz") else "\\,"  # words stand apart from a number as words do
    return f"{text}{space}{escape_tex(unit)}"


def _of_parameters(study):
    p, file = study.parameters, f"params/{study.name}.yaml"
    date = f"{splits.date_of(p.test_date, p.split_preset):%-d %B %Y}"
    for name, value in (
        ("clip_seconds", as_number(p.clip_seconds, 0 if p.clip_seconds.is_integer() else 1, unit="s")),
        ("test_date", date if study.has_listeners else None),
        ("split_preset", p.split_preset if study.has_listeners else None),
        ("n_permutations", as_number(p.n_permutations, 0)),
        ("n_trained_permutations", as_number(p.n_trained_permutations, 0)),
        ("n_seeds", as_number(p.n_seeds, 0)),
        ("n_bootstrap", as_number(p.n_bootstrap, 0)),
        ("n_worlds", as_number(p.n_worlds, 0)),
        ("alpha", f"{p.alpha:g}"),
        ("delta_fraction", as_number(100 * claims.DELTA_FRACTION, 0, unit="%")),
        ("seed", str(p.seed)),
        ("text_width", f"{p.text_width:g}in"),  # dimensions, which LaTeX reads: \demoMockTextWidth
        ("font_size", f"{p.font_size:g}pt"),
    ):
        yield macro_name(name), value, file, name


def _of_data(study):
    """Sizes, in what was prepared."""
    if not study.path("data", "tracks.parquet").is_file():
        return
    file, tracks = "data/tracks.parquet", read_parquet(study.path("data", "tracks.parquet"))
    yield "NTracks", as_number(len(tracks), 0), file, "tracks"
    yield "AudioHours", as_number(tracks["duration"].sum() / 3600, 1, unit="h"), file, "sum of duration"
    if "artist" in tracks:
        yield "NArtists", as_number(tracks["artist"].nunique(), 0), file, "different artists"
    if not study.has_listeners:
        return
    rows = pq.read_metadata(study.path("data", "events.parquet")).num_rows
    yield "NEvents", as_number(rows, 0), "data/events.parquet", "listens"
    pairs = read_parquet(study.path("data", "interactions.parquet"))
    yield "NInteractions", as_number(len(pairs), 0), "data/interactions.parquet", "pairs of listener and track"
    yield "NListeners", as_number(pairs["user_id"].nunique(), 0), "data/interactions.parquet", "different listeners"
    for name, part in results.parts(study).items():
        yield macro_name(name, "pairs"), as_number(len(part), 0), f"data/{name}.parquet", "pairs"
        yield (
            macro_name(name, "listeners"),
            as_number(part["user_id"].nunique(), 0),
            f"data/{name}.parquet",
            "listeners",
        )
    for name, task in results.tasks(study).items():
        if name in results.TEST_SPLITS:
            macro, n = macro_name(name.removesuffix("_test"), "candidates"), len(task.candidates)
            yield macro, as_number(n, 0), f"data/{name}.parquet", "candidates"


def _of_backends(study):
    """Widths as they were extracted; what a card says."""
    store = VectorStore(study.path("vectors.lance"))
    there = set(store.names())
    for name in study.parameters.backend_ids:
        if name in there:
            yield (
                macro_name(name, "dim"),
                as_number(store.dim(name), 0, unit="dimensions"),
                "vectors.lance",
                f"{name} width",
            )
        card = backends.REGISTRY.get(name)
        if card is None:
            continue
        file = "docs/cards/backends.md"
        rate = as_number(card.sample_rate / 1000, 0 if card.sample_rate % 1000 == 0 else 2, unit="kHz")
        yield macro_name(name, "rate"), rate, file, f"{name} sample rate"
        yield (
            macro_name(name, "seconds"),
            as_number(card.cpu_seconds, 2, unit="s"),
            file,
            f"{name} seconds of one core, a clip of 30 s",
        )
        yield macro_name(name, "parameters"), as_number(card.parameters, 1, unit="million"), file, f"{name} parameters"


def _of_effects(study):
    """δ of the primary recommender, at the primary cut-off of each split."""
    primary = next(iter(study.named("knn")), None)
    if primary is None or not study.parameters.backend_ids or not study.path("per_user").is_dir():
        return
    for split, task in results.tasks(study).items():
        if split not in results.TEST_SPLITS:
            continue
        metric = f"NDCG@{task.cutoffs[0]}"
        value = claims.smallest_effect(study, primary, split, metric)
        macro = macro_name("delta", split.removesuffix("_test"))
        yield macro, as_number(value, 4), "per_user", f"smallest effect of interest, {primary} {split} {metric}"
        yield macro_name(split.removesuffix("_test"), "cutoff"), str(task.cutoffs[0]), "metrics.parquet", f"{split} k"


def _of_answers(answers):
    file = "answers.json"
    yield "World", escape_tex(answers["world"]), file, "world"
    yield "ContentStrength", as_number(answers["content_strength"], 2), file, "content_strength"
    for question in QUESTIONS:
        answer, name = answers[question], macro_name(question)
        low, high = answer["ci"] or (None, None)
        for part, value in (
            *((part, answer[part] and escape_tex(answer[part].replace("_", " "))) for part in ("status", "verdict")),
            *((part, answer[part] and escape_tex(answer[part])) for part in ("statement", "test")),
            ("n", as_number(answer["n"], 0)),
            ("estimate", as_number(answer["estimate"], 4)),
            ("low", as_number(low, 4)),
            ("high", as_number(high, 4)),
            ("p", as_number(answer["p"], smallest=0.001)),
        ):
            yield name + macro_name(part), value, file, f"{question} {part}"


def _of_metrics(study):
    file = "metrics.parquet"
    if not study.path(file).is_file():
        return
    rows = results.current(study)
    rows = rows[rows["split"].isin(results.TEST_SPLITS) & (rows["seed"] == results.MEAN_OF_SEEDS)]
    for split, n in rows.groupby("split")["n_users"].first().items():
        yield macro_name(split.removesuffix("_test"), "N"), as_number(n, 0), file, f"{split} n_users"
    for row in rows.to_dict("records"):
        key = (row["split"], row["recommender"], row["backend"], row["control"], f"{row['metric']}@{row['k']}")
        name = macro_name(row["split"].removesuffix("_test"), *key[1:])
        for part, value in (
            ("", as_number(row["value"])),
            ("Low", as_number(row["ci_low"])),
            ("High", as_number(row["ci_high"])),
        ):
            yield name + part, value, file, " ".join([*key, {"": "value"}.get(part, part.lower())])


def _of_comparisons(study):
    file = "comparisons.parquet"
    if not study.path(file).is_file():
        return
    for row in read_parquet(study.path(file)).to_dict("records"):
        a, b = (f"{row[f'backend_{side}']} {row[f'control_{side}']}" for side in "ab")
        metric = f"{row['metric']}@{row['k']}"
        name = macro_name(row["split"].removesuffix("_test"), row["recommender"], a, "over", b, metric)
        for part, value in (
            ("Diff", as_number(row["diff"])),
            ("DiffLow", as_number(row["ci_low"])),
            ("DiffHigh", as_number(row["ci_high"])),
            ("P", as_number(row["p"], smallest=0.001)),
            ("PAdjusted", as_number(row["p_adjusted"], smallest=0.001)),
        ):
            yield name + part, value, file, f"{row['split']} {row['recommender']} {a} over {b} {metric} {part}"
