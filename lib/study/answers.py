"""The three answers of a study, as ``answers.json`` keeps them, and the words they begin and end with."""

import json

from filelock import FileLock

from lib.study.provenance import write_json

__all__ = ["QUESTIONS", "decision", "read_answers", "save_answer"]


QUESTIONS = ("rq1", "rq2", "rq3")


def begin(study):
    """Write ``answers.json`` anew where there is none, and in which world the study is."""
    write_json(study.path("answers.json"), read_answers(study) | _world(study))


def read_answers(study):
    """The three answers so far; all three keys exist from the start."""
    path = study.path("answers.json")
    if path.is_file():
        return json.loads(path.read_text())
    not_run = {"status": "not_run", "verdict": None, "statement": _why_not(study), "n": None, "test": None}
    empty = {key: not_run | {"estimate": None, "ci": None, "p": None} for key in QUESTIONS}
    return _world(study) | empty


def save_answer(study, question, answer):
    """Set one of rq1, rq2, rq3 in ``answers.json``; other writers wait."""
    expected = {"status", "verdict", "statement", "n", "test", "estimate", "ci", "p"}
    if set(answer) != expected:
        raise ValueError(f"Expected an answer with {sorted(expected)}, found {sorted(answer)}.")
    with FileLock(study.path(".answers.json.lock")):
        write_json(study.path("answers.json"), read_answers(study) | _world(study) | {question: answer})


def setting(study):
    """The first words of every statement: in which world it holds."""
    if study.world != "mock":
        return "Among real listeners"
    strength = study.parameters.content_strength
    follows = f"{strength:.0%} of taste follows" if strength > 0 else "taste has nothing to do with"
    return f"In a simulated world where {follows} what is heard"


def decision(status, verdict):
    """The last words of every answer's statement.

    Examples
    --------
    >>> decision("decided", "instrument_works")
    'Decided: the instrument works.'
    """
    if verdict is None:
        return f"{status.capitalize()}."
    return f"{status.capitalize()}: {verdict.replace('instrument_', 'the instrument ').replace('_', ' ')}."


def _why_not(study):
    if not study.parameters.backend_ids:
        return "Not asked: this study has no audio, so there is no representation to judge."
    if not study.has_listeners:
        return "Not asked: this study has no listeners, so there is no recommendation to judge."
    return "Not run yet."


def _world(study):
    strength = study.parameters.content_strength if study.world == "mock" else None
    return {"world": study.world, "content_strength": strength}
