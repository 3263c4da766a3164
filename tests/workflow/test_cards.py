"""The pages on backends and on their weights say what the backends' entries say."""

import re

import pytest

from lib.backends import LABELS, REGISTRY, UNTRAINED, names
from lib.backends.entries import OVERLAPS
from workflow import cards

TRAINED = names(twins=False)
HERE = "run python -m workflow.cards"


@pytest.fixture(scope="module")
def sections():
    """What stands under each heading of the page in docs: {heading: text}."""
    parts = re.split(r"^## (.*)$", cards.PAGE.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.fixture(scope="module")
def rows():
    """Cells of the table of weights in docs: {id: [cell, ...]}."""
    lines = [line for line in cards.WEIGHTS_PAGE.read_text().splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0].strip("`"): row[1:] for row in cells}


def test_the_pages_in_docs_are_those_of_the_registry():
    assert cards.PAGE.read_text() == cards.page(), HERE
    assert cards.WEIGHTS_PAGE.read_text() == cards.weights_page(), HERE


def test_every_backend_has_a_card_and_a_row_and_twins_have_none(sections, rows):
    assert list(sections) == [f"{LABELS[name]} (`{name}`)" for name in TRAINED]
    assert list(rows) == TRAINED
    assert not any(name.endswith("_untrained") for name in rows)


@pytest.mark.parametrize("name", TRAINED)
def test_a_card_says_all_there_is_to_know(name, sections):
    entry, card = REGISTRY[name], sections[f"{LABELS[name]} (`{name}`)"]
    said = dict(re.findall(r"^\| (.+?) \| (.+) \|$", card, flags=re.MULTILINE))
    assert {"input", "trained on", "weights", "licence of the weights", "may be used for", "citation"} <= set(said)
    assert int(re.search(r"([\d,]+) Hz", said["input"])[1].replace(",", "")) == entry.sample_rate
    assert int(said["vector"].split()[0].replace(",", "")) == entry.dim
    assert (said["architecture"], said["layer"], said["pooling"]) == (entry.architecture, entry.layer, entry.pooling)
    assert said["untrained twin"].strip("`") == UNTRAINED.get(name, "none")
    assert entry.traps
    assert all(f"- {trap}\n" in card for trap in entry.traps)
    assert all(trap.endswith(".") for trap in entry.traps)
    if entry.hub:
        assert entry.hub in said["weights"]
        assert (entry.revision or "not pinned") in said["weights"]
        assert all(file in said["files"] for file in entry.files)


@pytest.mark.parametrize("name", TRAINED)
def test_a_card_says_whether_the_catalogue_was_trained_on(name, sections):
    overlap = REGISTRY[name].overlap
    level, why = overlap.split(": ", 1)
    assert level in OVERLAPS
    assert why
    assert f"| overlap with Music4All | {overlap} |\n" in sections[f"{LABELS[name]} (`{name}`)"]
    assert (level == "none") == REGISTRY[name].training.startswith("none")


def test_last_fm_is_named_where_its_tags_were_the_targets():
    for name in TRAINED:
        assert ("Last.fm" in REGISTRY[name].training) == ("Last.fm" in REGISTRY[name].overlap), name


@pytest.mark.parametrize("name", TRAINED)
def test_a_row_says_where_weights_are_and_what_they_are_for(name, rows):
    entry, (where, revision, files, size, licence, use) = REGISTRY[name], rows[name]
    assert where
    assert use
    assert (licence, use) == (entry.licence, entry.use)
    assert bool(entry.hub) != bool(entry.where)
    if entry.hub:
        assert where.endswith(f"(https://huggingface.co/{entry.hub})")
        assert re.fullmatch(r"`[0-9a-f]{40}`|not pinned", revision)
        assert files.replace("`", "").split(", ") == list(entry.files)
        assert size == f"{entry.megabytes:,} MB"


def test_licence_and_use_agree():
    for name in TRAINED:
        entry = REGISTRY[name]
        assert ("NC" in entry.licence) == ("non-commercial" in entry.use)


def test_the_traps_of_published_code_are_on_the_cards():
    """Canary: the slips that changed published figures."""
    traps = {name: " ".join(REGISTRY[name].traps) for name in TRAINED}
    expected = {
        "music2vec": ("24 kHz", "16 kHz"),
        "musicfm": ("channels", "750"),
        "musicnn_msd": ("first patch", "never normalise"),
        "vgg_mtt": ("first patch",),
        "crepe": ("not hear level",),
        "mert_330m": ("deep normalisation",),
        "muq_mulan": ("10 s",),
        "encodecmae": ("4 s",),
    }
    for name, parts in expected.items():
        assert all(part in traps[name] for part in parts), name


def test_a_twin_has_no_weights_to_fetch():
    for trained, twin in UNTRAINED.items():
        entry = REGISTRY[twin]
        assert entry.hub is entry.revision is entry.megabytes is entry.untrained is None
        assert (entry.files, entry.where, entry.traps) == ((), "", ())
        assert entry.training.startswith("none: random weights")
        assert (entry.layer, entry.pooling, entry.architecture) == (
            REGISTRY[trained].layer, REGISTRY[trained].pooling, REGISTRY[trained].architecture,
        )  # fmt: skip
