from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from dgl_mutual.cli.main import main


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


@pytest.fixture
def command_line(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run the command line in this process; whatever is not an exit fails the test."""

    def run(*arguments: object) -> Ended:
        with warnings.catch_warnings(), pytest.raises(SystemExit) as caught:
            warnings.filterwarnings("default", category=UserWarning)  # the command line shows warnings on standard error, as users see them
            main([str(argument) for argument in arguments])
        assert isinstance(caught.value.code, int)
        return Ended(caught.value.code, *capfd.readouterr())

    return run


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder with no data."""
    monkeypatch.delenv("DGL_MUTUAL_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path
