"""README and docs name only what there is: links, anchors, make targets, notebooks, parameters, options, sentences."""

import argparse
import ast
import datetime
import re
import tomllib
from urllib.parse import urlsplit

import jsonschema
import pytest
import yaml

from lib import __main__ as command_line
from lib import evaluation
from lib.answers import claims
from lib.backends import REGISTRY
from lib.study import ROOT, Parameters, load_parameters

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "cards").glob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
N_TRACKS = 56512  # of Music4All-Onion that were listened to: docs/cards/music4all_onion.md
CFF = {  # what the schema of version 1.2.0 asks of what is used here
    "type": "object",
    "required": ["cff-version", "message", "title", "authors"],
    "properties": {
        "cff-version": {"const": "1.2.0"},
        "type": {"enum": ["software", "dataset"]},
        "date-released": {"type": "string", "format": "date"},
        "license": {"enum": ["MIT"]},
        "authors": {"$ref": "#/$defs/authors"},
        "references": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type", "title", "authors", "year", "url"],
                "properties": {
                    "type": {"enum": ["article", "conference-paper", "software", "data"]},
                    "authors": {"$ref": "#/$defs/authors"},
                    "year": {"type": "integer"},
                    "url": {"type": "string", "pattern": "^https://"},
                },
            },
        },
    },
    "propertyNames": {"pattern": "^(cff-version|message|title|type|version|date-released|license|authors|references)$"},
    "$defs": {
        "authors": {
            "type": "array",
            "minItems": 1,
            "items": {
                "anyOf": [{"required": ["name"]}, {"required": ["family-names", "given-names"]}],
                "propertyNames": {"enum": ["name", "family-names", "given-names"]},
            },
        }
    },
}  # fmt: skip


def links(text):
    """Targets of the links and pictures of a page, those in code apart."""
    return LINK.findall(re.sub(r"```.*?```|`[^`\n]*`(?!\])", "", text, flags=re.DOTALL))


def anchors(text):
    """Anchors of a page's headings, as web hosts of repositories make them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page, text):
    """Links of a page that lead nowhere; of those to the web, what is no address."""
    found = []
    for target in links(text):
        if "://" in target:
            parts = urlsplit(target)
            if parts.scheme not in ("http", "https") or "." not in parts.netloc:
                found.append(target)
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file.read_text() if path else text)):
            found.append(target)
    return found


def spans(text):
    """Code of a page: blocks and what stands between backticks."""
    blocks = re.findall(r"```\w*\n(.*?)```", text, flags=re.DOTALL)
    return blocks + re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def names_of_parameters(text):
    """Names that a page sets: in YAML, after SET=, and as `name: value`."""
    found = []
    for block in re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL):
        found += list(yaml.safe_load(block))
    for span in spans(text):
        for words in re.findall(r"(?:SET=|--set )'([^']*)'", span):
            found += re.findall(r"(\w+)=", words)
        found += re.findall(r"^([a-z]\w+): \S", span) if "\n" not in span else []
    return found


def targets_named(text):
    """Targets of make that a page names in code."""
    return {name for span in spans(text) for name in re.findall(r"(?:^|\n)make ([a-z][a-z-]*)", span)}


def sentences():
    """What the code can say: its texts, with … for what is put in."""
    for folder in ("lib", "workflow"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
                    yield "".join(parts)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    assert broken(page, page.read_text()) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# One heading\n")
    text = (
        "[a](other.md) [b](#no-such) [c](#one-heading) [d](https://nowhere) [e](page.md#one-heading) [f](page.md#two)"
    )
    assert broken(page, f"# One heading\n{text}") == ["other.md", "#no-such", "https://nowhere", "page.md#two"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_target_of_make_exists(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert targets_named(page.read_text()) <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_parameter_exists(page):
    options = {"kind", "scaling", "resolution"}
    assert set(names_of_parameters(page.read_text())) <= set(Parameters.model_fields) | options


def test_what_does_not_exist_is_found():
    text = (
        "`make sens`, `make workbook STUDY=toy SET='n_user=3 seed=1'` and `folder_of_data: x`\n```yaml\nsede: 1\n```\n"
    )
    assert targets_named(text) == {"sens", "workbook"}
    assert set(names_of_parameters(text)) - set(Parameters.model_fields) == {"n_user", "folder_of_data", "sede"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_line_is_understood(page):
    parser = command_line._parser()
    verbs = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction)).choices
    lines = [line for span in spans(page.read_text()) for line in span.splitlines()]
    for verb, rest in (
        re.search(r"-m lib (\w+)(.*)", line).groups() for line in lines if re.search(r"-m lib \w", line)
    ):
        known = {option for action in verbs[verb]._actions for option in action.option_strings}
        assert set(re.findall(r"--[\w-]+", rest)) <= known
    for rest in (line.partition("workflow/workbook.py")[2] for line in lines if "workflow/workbook.py" in line):
        source = (ROOT / "workflow" / "workbook.py").read_text()
        assert all(f'"{option}"' in source for option in re.findall(r"--[\w-]+", rest))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_study_named_exists(page):
    own = set(re.findall(r"# params/(\w+)\.yaml", "".join(path.read_text() for path in PAGES)))
    studies = {path.stem for path in (ROOT / "params").glob("*.yaml")} | own
    assert set(re.findall(r"STUDY=([a-z]\w*)", page.read_text())) <= studies


def test_readme_names_every_notebook_and_no_other():
    notebooks = {path.stem for path in (ROOT / "notebooks").glob("[0-9]*.ipynb")}
    assert set(re.findall(r"\b\d\d_[a-z]\w+", (ROOT / "README.md").read_text())) == notebooks


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 180


def test_troubleshooting_quotes_sentences_that_the_code_can_say():
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    quoted = re.findall(r"^\| `(.+?)` \|", page, flags=re.MULTILINE)
    assert len(quoted) > 15
    said = [re.sub(r"\s+", " ", text.replace("`", "")) for text in sentences()]
    for sentence in quoted:
        parts = [part.strip() for part in sentence.split("…") if len(part.strip()) > 2]
        assert any(all(part in text for part in parts) for text in said), sentence


def test_hours_of_the_full_study_follow_from_the_registry():
    page = (ROOT / "docs" / "full_size.md").read_text()
    rows = re.findall(
        r"^\| `(\w+)` \| ([\d,]+) \| [^|]+ \| ([\d.]+) \| ([\d,]+) \| (\S+) \|$", page, flags=re.MULTILINE
    )
    assert len(rows) > 9
    for name, dim, seconds, hours, both in rows:
        entry = REGISTRY[name]
        assert int(dim.replace(",", "")) == entry.dim
        assert float(seconds) == entry.cpu_seconds
        own = entry.cpu_seconds * N_TRACKS / 3600
        assert hours == f"{own:,.0f}"
        twin = REGISTRY[entry.untrained].cpu_seconds * N_TRACKS / 3600 if entry.untrained else None
        assert both == (f"{own + twin:,.0f}" if twin else "–")


def test_the_glossary_says_what_the_code_does():
    page = (ROOT / "docs" / "glossary.md").read_text()
    base = load_parameters("demo")
    assert f"min({evaluation.LARGEST_DEFAULT}, candidates / {evaluation.CANDIDATES_PER_PLACE})" in page
    assert f"smallest difference of interest: {claims.DELTA_FRACTION:.0%}".replace("%", " %") in page
    assert f"every test is held to: {base.alpha:.0%}".replace("%", " %") in page
    assert f"{base.n_permutations} of them decide" in page


def test_the_citation_is_valid():
    text = (ROOT / "CITATION.cff").read_text()
    found = yaml.safe_load(text)
    found["date-released"] = str(found["date-released"])
    jsonschema.validate(found, CFF)
    datetime.date.fromisoformat(found["date-released"])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (found["version"], found["license"]) == (project["version"], project["license"])
    assert {reference["url"][-10:] for reference in found["references"]} == {"2409.08987", "2604.23077"}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(found | {"authors": []}, CFF)
