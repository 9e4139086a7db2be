from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest

import dgl_mutual
from dgl_mutual.errors import TrainingError
from dgl_mutual.experiments import determinism
from tests import forked


def test_a_trial_is_the_same_twice_in_processes_that_import_from_where_this_one_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "dgl_mutual").mkdir()
    (tmp_path / "dgl_mutual" / "__init__.py").write_text("raise SystemExit('not the package')")
    (tmp_path / "json.py").write_text("raise SystemExit('not the library')")
    forked.start_server()  # it would import what is here, too
    monkeypatch.setattr(sys, "path", [str(Path(dgl_mutual.__file__).parents[1]), *[entry for entry in sys.path if entry]])
    monkeypatch.chdir(tmp_path)
    first, again = determinism._train_apart(1), forked.returned(partial(determinism.train, 1))
    assert first == again
    assert {name: set(found) for name, found in first.items()} == {task: {"metrics", "history", "weights"} for task in ("node", "graph")}


def test_different_results_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(
        [{"node": {"metrics": "a", "weights": "b"}}, {"node": {"metrics": "a", "weights": "c"}}, {"node": {"metrics": "a", "weights": "b"}}]
    )
    monkeypatch.setattr(determinism, "_train_apart", lambda threads: next(answers))
    again, other = determinism.check_determinism()
    assert (again.ok, again.state) == (False, "bit-equal: metrics; different: weights")
    assert again.hint
    assert other.ok


def test_a_process_that_fails_is_an_error_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(determinism.sys, "executable", "/bin/false")
    with pytest.raises(TrainingError, match="status 1: no message"):
        determinism.check_determinism()
