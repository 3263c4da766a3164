"""The page on backends in docs/cards, made from the registry: ``python -m lib.backends.cards`` writes it anew."""

from lib.backends import LABELS, REGISTRY
from lib.study import ROOT
from lib.tables import write_atomically

PAGE = ROOT / "docs" / "cards" / "backends.md"
HEAD = """# Cards: backends
Made from the registry (`lib/backends/__init__.py`) by `python -m lib.backends.cards`; a test compares.
Layer and pooling are the published ones unless `layer` and `pooling` say otherwise; what was used is stored with every
table of vectors. Weights: a folder `$WORKBOOK_WEIGHTS/<id>`, else the hub.
"""


def page():
    """Markdown of the page: one table a backend.

    Returns
    -------
    str

    Examples
    --------
    >>> page().splitlines()[0]
    '# Cards: backends'
    """
    return HEAD + "".join(_card(name, entry) for name, entry in REGISTRY.items() if not name.endswith("_untrained"))


def _card(name, entry):
    where = "in the repository or its package, or computed"
    if entry.hub:
        where = (
            f"{entry.hub} on the Hugging Face hub, revision {entry.revision or 'not pinned: the digest is recorded'}"
        )
    size = f", {entry.megabytes} MB" if entry.megabytes else ""
    rows = {
        "input": f"mono, {entry.sample_rate} Hz",
        "vector": f"{entry.dim} numbers",
        "parameters": f"{entry.parameters:g} million{size}" if entry.parameters else "",
        "hidden states": f"{entry.frame_rate:g} a second" if entry.frame_rate else "",
        "trained on": entry.training,
        "untrained twin": entry.untrained or "none",
        "weights": where,
        "files": ", ".join(entry.files),
        "licence of the weights": entry.licence,
        "citation": entry.citation,
    }
    lines = [f"| {key} | {value} |" for key, value in rows.items() if value]
    return f"\n## {LABELS[name]} (`{name}`)\n| | |\n|---|---|\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    with write_atomically(PAGE) as beside:
        beside.write_text(page())
