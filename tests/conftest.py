"""What all tests share: where the reading data lie, and silence from progress."""

import os
from pathlib import Path

import numpy as np
import pytest

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
