from __future__ import annotations

import os
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--stress", type=int, default=6, metavar="N", help="crash points, or rounds of fuzzing in hundreds, a stress test")


@pytest.fixture(scope="session")
def stress(request: pytest.FixtureRequest) -> int:
    """How much a stress test tries; see --stress."""
    return int(request.config.getoption("--stress"))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with the real datasets. Without it, tests that need one are skipped."""
    folder = os.environ.get("DGL_MUTUAL_DATA")
    if not folder:
        pytest.skip("needs real datasets: set DGL_MUTUAL_DATA to the data folder that holds them")
    return Path(folder)
