"""The page on backends says what the registry says."""

from lib.backends import REGISTRY, cards


def test_the_page_in_docs_is_that_of_the_registry():
    assert cards.PAGE.read_text() == cards.page(), "run python -m lib.backends.cards"


def test_every_backend_has_a_card_and_twins_have_none():
    page = cards.page()
    assert all((f"(`{name}`)" in page) != name.endswith("_untrained") for name in REGISTRY)
