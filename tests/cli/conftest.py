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


@pytest.fixture
def toy(elsewhere: Path) -> None:
    """TOY: 48 cycles and paths of 4 to 9 nodes."""
    folder = elsewhere / "TOY"
    folder.mkdir()
    edges, graphs, first = [], [], 1
    for graph in range(48):
        size = 4 + graph % 6
        path = [(first + index, first + index + 1) for index in range(size - 1)]
        edges += path if graph % 2 else [*path, (first, first + size - 1)]
        graphs += [graph + 1] * size
        first += size
    files = {
        "A": [f"{a}, {b}" for edge in edges for a, b in (edge, edge[::-1])],
        "graph_indicator": graphs,
        "graph_labels": [graph % 2 for graph in range(48)],
        "node_labels": [index * index % 3 for index in range(len(graphs))],
    }
    for name, lines in files.items():
        (folder / f"TOY_{name}.txt").write_text("".join(f"{line}\n" for line in lines))
