"""Options that a search chose, as ``params/tuned/<study>.json`` keeps them."""

import json
from pathlib import Path


class TuningError(ValueError):
    """A search cannot be made or read; the sentence says why."""


def read_tuned(path, name: str, kind: str, fixed: dict) -> dict:
    """Options that a search chose for a recommender as it stands now; none where nobody has searched for that one.

    Parameters
    ----------
    path : Path
        ``params/tuned/<study>.json``; it need not exist.
    name : str
    kind : str
        Of the recommender now.
    fixed : dict
        Options that the table of recommenders names now, without `kind`. What won beside others is no choice for
        these, and is passed over until the next search.

    Returns
    -------
    dict
        Those of the winner; what was fixed stands in the table of recommenders.

    Raises
    ------
    TuningError
        For a damaged file, and where the name stood for another kind when it was tuned.

    Examples
    --------
    >>> read_tuned("no such file", "bpr", "bpr", {})
    {}
    """
    path = Path(path)
    entry = read_file(path).get(name)
    if entry is None:
        return {}
    if entry["kind"] != kind:
        raise TuningError(
            f"Expected {name!r} in {path.name} to be of kind {kind}, found {entry['kind']}; run make extended again."
        )
    return entry["winner"] if entry["fixed"] == fixed else {}


def read_file(path: Path) -> dict:
    """All that a file of tuned options holds; empty where there is none."""
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TuningError(f"Expected JSON in {path.name}, found: {error}; delete it and run make extended.") from None
