"""What all tests share: where the reading data lie, and silence from progress."""

import os
from pathlib import Path

import numpy as np
import pytest
from worlds import planted_world

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("WORKBOOK_LOG", os.devnull)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data():
    """Folder of real records and published figures beside the checkout; tests that need it skip where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data (real records that may not be part of the repository)")
    return folder


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def planted():
    """Train pairs, vectors and tasks of `worlds.planted_world`."""
    return planted_world()


@pytest.fixture
def proof(record_property):
    """Write down what a test proves of a backend, for the table of ``benchmarks/backends.py``.

    ``proof(name, loads="13 of 13 keys")``, or ``proof(name, distance=(found, expected), against="its package")``: the
    largest distance of a row, relative to the length of the expected one, which is returned.
    """

    def write(name, *, distance=None, **said):
        for what, text in said.items():
            record_property(f"{name}:{what}", text)
        if distance is None:
            return None
        found, expected = (np.atleast_2d(np.asarray(rows, dtype=np.float64)) for rows in distance)
        assert found.shape == expected.shape
        largest = float(np.max(np.linalg.norm(found - expected, axis=-1) / np.linalg.norm(expected, axis=-1)))
        record_property(f"{name}:distance", largest)
        return largest

    return write
