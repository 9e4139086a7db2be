from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dgl_mutual.experiments.estimate import seconds_left
from tests.reporting.folders import write_run


def plan(folder: Path, points: int = 1) -> Any:
    return SimpleNamespace(folder=lambda out: out / folder.name, points=[None] * points)


def test_what_is_left_follows_from_finished_trials_of_the_run_or_else_of_the_others(tmp_path: Path) -> None:
    seconds = 0.12  # of each trial that `write_run` writes
    begun, new = write_run(tmp_path, strategy="gml", seeds=3), tmp_path / "new"
    assert seconds_left([plan(begun)], tmp_path, {0: 4}, 2) == pytest.approx(4 * seconds / 2)
    assert seconds_left([plan(begun, points=3), plan(new)], tmp_path, {0: 1, 1: 2}, 1) == pytest.approx(3 * 3 * seconds)
    assert seconds_left([plan(new)], tmp_path, {0: 4}, 2) is None
