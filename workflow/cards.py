"""Pages made of backends' entries: ``python -m workflow.cards`` writes docs/cards/backends.md and docs/weights.md."""

from lib.backends import LABELS, REGISTRY, names
from lib.backends.checkpoints import FOLDER_VARIABLE
from lib.study import ROOT
from lib.study.tables import write_atomically

PAGE = ROOT / "docs" / "cards" / "backends.md"
WEIGHTS_PAGE = ROOT / "docs" / "weights.md"
_MADE = "Made of the entries in `lib/backends/networks/` by `python -m workflow.cards`; a test compares.\n"
_HEAD = f"""# Cards: backends
{_MADE}Layer and pooling are the published ones, which are used unless `layer` and `pooling` say otherwise; what was
used is stored with every table of vectors. How weights get here: [weights](../weights.md).

Published code of both papers drops the last batch if it is not full, and one clip that fails ends the run; here a
clip's vector depends on that clip alone, and clips that fail are counted and named.
"""
_WEIGHTS_HEAD = f"""# Weights
{_MADE}`make weights BACKEND=mert_95m` fetches a backend's files from the Hugging Face hub ahead of time, into the
cache below `HF_HOME`. On a machine without network, set `HF_HUB_OFFLINE=1` and take that cache along, or put the files
of the table into `${FOLDER_VARIABLE}/<id>`, which is looked at first. A `.safetensors` file beside it is read instead
of a pickled one, pickled files are read without running their code, and no code of a hub is ever run.

Where no revision is pinned, the newest is read; the digest of the file that was read is stored with the vectors.
What the last column says is a reading of the licence, not the licence: check the card on the hub.

| backend | where | revision | files | size | licence | what it may be used for |
|---|---|---|---|---|---|---|
"""


def page():
    """Markdown of the cards: one table per backend.

    Returns
    -------
    str

    Examples
    --------
    >>> page().splitlines()[0]
    '# Cards: backends'
    """
    return _HEAD + "".join(_card(name, REGISTRY[name]) for name in names(twins=False))


def weights_page():
    """Markdown of the page on weights: one row per backend.

    Returns
    -------
    str

    Examples
    --------
    >>> weights_page().splitlines()[0]
    '# Weights'
    """
    return _WEIGHTS_HEAD + "".join(_weights_row(name, REGISTRY[name]) for name in names(twins=False))


def write():
    """Write both pages anew."""
    for path, text in ((PAGE, page()), (WEIGHTS_PAGE, weights_page())):
        with write_atomically(path) as beside:
            beside.write_text(text)


def _card(name, entry):
    rate = f"; {entry.frame_rate:g} hidden states a second" if entry.frame_rate else ""
    rows = {
        "input": f"mono, {entry.sample_rate:,} Hz{rate}",
        "architecture": entry.architecture,
        "vector": f"{entry.dim:,} numbers",
        "parameters": f"{entry.parameters:g} million" if entry.parameters else "",
        "layer": entry.layer,
        "pooling": entry.pooling,
        "trained on": entry.training,
        "overlap with Music4All": entry.overlap,
        "needs": ", ".join(entry.packages) + " (`make extras`)" if entry.packages else "",
        "untrained twin": f"`{entry.untrained}`" if entry.untrained else "none",
        "weights": _where(entry) + (f", revision {_revision(entry)}" if entry.hub else ""),
        "files": ", ".join(part for part in (_files(entry), _size(entry)) if part),
        "licence of the weights": entry.licence,
        "may be used for": entry.use,
        "citation": entry.citation,
    }
    lines = [f"| {key} | {value} |\n" for key, value in rows.items() if value]
    traps = "".join(f"- {trap}\n" for trap in entry.traps)
    return f"\n## {LABELS[name]} (`{name}`)\n| | |\n|---|---|\n{''.join(lines)}\nKnown traps:\n{traps}"


def _weights_row(name, entry):
    cells = (f"`{name}`", _where(entry), _revision(entry), _files(entry), _size(entry), entry.licence, entry.use)
    return "| " + " | ".join(cells) + " |\n"


def _where(entry):
    return f"[{entry.hub}](https://huggingface.co/{entry.hub})" if entry.hub else entry.where


def _revision(entry):
    return (f"`{entry.revision}`" if entry.revision else "not pinned") if entry.hub else ""


def _files(entry):
    return ", ".join(f"`{file}`" for file in entry.files)


def _size(entry):
    return f"{entry.megabytes:,} MB" if entry.megabytes else ""


if __name__ == "__main__":
    write()
