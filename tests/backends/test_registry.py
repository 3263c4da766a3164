"""Which backends there are: their order, what each declares, and that listing them imports nothing heavy."""

import dataclasses
import importlib
import subprocess
import sys

import pytest

from lib.backends import LABELS, PAPER_NAMES, REGISTRY, UNTRAINED, create, names, networks, registry
from lib.backends.entries import OVERLAPS

PUBLISHED = ["encodecmae", "jukemir", "mert", "mfcc", "mule", "muq_msd", "muq_mulan", "music2vec", "musicfm", "musicnn"]
ORDER = (
    "mfcc", "musicnn_msd", "musicnn_mtt", "vgg_msd", "vgg_mtt", "mert_95m", "mert_330m", "music2vec", "musicfm",
    "encodecmae", "jukebox", "mule", "muq", "muq_mulan", "crepe", "crepe_tiny", "vibenet",
)  # fmt: skip
HEAVY = {
    "torch", "transformers", "librosa", "onnxruntime", "numba", "scipy", "sklearn", "pandas", "matplotlib", "lancedb",
    "duckdb", "recbole", "safetensors", "huggingface_hub", "mule_torch", "torchcrepe", "vibenet",
}  # fmt: skip
LISTING = {
    "names": "from lib.backends import REGISTRY, LABELS, names; assert names() and LABELS",
    "options": "from lib.backends import names, options; [options(name) for name in names()]",
    "cards": "from lib.backends import registry; [registry.network_module(name) for name in registry.names()]",
    "help": "from lib.__main__ import main\ntry: main(['embed', '--help'])\nexcept SystemExit: pass",
}


@pytest.mark.parametrize("what", LISTING)
def test_listing_backends_imports_no_heavy_package(what):
    code = f"{LISTING[what]}\nimport sys; print('found', sorted({HEAVY} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("found []")


def test_the_order_of_tables_and_figures_is_fixed():
    assert tuple(name for name in names(twins=False) if not REGISTRY[name].adapter.startswith("own_")) == ORDER


@pytest.mark.parametrize("stem", networks.ORDER)
def test_a_network_module_declares_its_backends_completely(stem):
    entries = importlib.import_module(f"lib.backends.networks.{stem}").ENTRIES
    assert entries
    for name, entry in entries.items():
        assert REGISTRY[name] == dataclasses.replace(entry, adapter=stem)
        said = ("label", "licence", "use", "citation", "training", "architecture", "layer", "pooling")
        assert all(getattr(entry, part) for part in said), name
        assert min(entry.dim, entry.sample_rate, entry.cpu_seconds) > 0
        assert entry.overlap.split(":")[0] in OVERLAPS
        if name in UNTRAINED.values():
            assert not any((entry.hub, entry.files, entry.where, entry.colour, entry.paper_names))
        else:
            assert all((entry.colour, entry.marker, entry.traps))
            assert bool(entry.hub) != bool(entry.where)
            assert entry.parameters or stem == "mfcc"
            assert entry.untrained in (None, *REGISTRY)


def test_every_module_has_a_place_and_no_id_a_label_a_colour_or_a_paper_name_is_declared_twice():
    stems = [stem for stem in registry._stems() if not stem.startswith("own_")]
    assert stems == list(networks.ORDER)
    modules = [importlib.import_module(f"lib.backends.networks.{stem}") for stem in registry._stems()]
    entries = [pair for module in modules for pair in module.ENTRIES.items()]
    for declared in (
        [name for name, _ in entries],
        [entry.label for _, entry in entries],
        [entry.colour for _, entry in entries if entry.colour],
        [name for _, entry in entries for name in entry.paper_names],
    ):
        assert len(declared) == len(set(declared))


def test_an_id_that_is_taken_is_refused():
    with pytest.raises(ValueError, match=r"new ids of backends in own_copy\.py, found 'mfcc', which mfcc\.py declares"):
        registry._register("mfcc", dataclasses.replace(REGISTRY["mfcc"], adapter="own_copy"))


def test_registry():
    assert names(twins=False)[:5] == ["mfcc", "musicnn_msd", "musicnn_mtt", "vgg_msd", "vgg_mtt"]
    assert {"mert_95m", "mert_330m", "music2vec"} <= set(names(twins=False))
    assert set(names()) == set(REGISTRY)
    assert set(names()) - set(names(twins=False)) == set(UNTRAINED.values())
    for trained, twin in UNTRAINED.items():
        assert (REGISTRY[trained].dim, REGISTRY[trained].sample_rate, REGISTRY[trained].frame_rate) == (
            REGISTRY[twin].dim, REGISTRY[twin].sample_rate, REGISTRY[twin].frame_rate,
        )  # fmt: skip
    assert all(entry.files and entry.parameters and entry.megabytes for entry in REGISTRY.values() if entry.hub)
    with pytest.raises(ValueError, match=r"Expected a backend among mfcc, .*found 'musicn'"):
        create("musicn")
    with pytest.raises(ValueError, match="Did you mean 'musicnn_msd'"):
        create("MusiCNN")
    assert all(entry.licence and entry.citation and entry.training for entry in REGISTRY.values())


def test_every_published_name_has_an_id_and_every_id_a_label():
    assert set(PUBLISHED) <= set(PAPER_NAMES)
    assert PAPER_NAMES["jukemir"] == "jukebox"
    assert set(PAPER_NAMES.values()) | set(REGISTRY) <= set(LABELS)
