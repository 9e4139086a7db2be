from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with the real datasets. Without it, tests that need one are skipped."""
    folder = os.environ.get("DGL_MUTUAL_DATA")
    if not folder:
        pytest.skip("needs real datasets: set DGL_MUTUAL_DATA to the data folder that holds them")
    return Path(folder)
