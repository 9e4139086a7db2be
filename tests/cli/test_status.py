from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.reporting.folders import write_run, write_suite

CommandLine = Callable[..., tuple[int, str, str]]


def test_a_complete_run_is_one_line(command_line: CommandLine, tmp_path: Path) -> None:
    run = write_run(tmp_path, seeds=3)
    assert command_line("status", tmp_path) == (0, f"3 done, 0 failed, 0 missing   gml on Cora   {run}\n", "")


def test_failed_and_missing_trials_are_listed_and_the_exit_status_is_1(command_line: CommandLine, tmp_path: Path) -> None:
    run = write_run(tmp_path, seeds=3, keys=[(0, 0)])
    (run / "failures.csv").write_text('seed,fold,error,details\n2,0,"it burns\n  missing  all",\n')
    suite = write_suite(tmp_path, "x", [(run, "mine", "Cora"), (tmp_path / "gone", "other", "Cora")], missing={"PubMed": "not\nhere"})
    status, out, _ = command_line("status", suite)
    assert status == 1
    assert out.splitlines() == [
        f"1 done, 1 failed, 1 missing   mine on Cora   {run}",
        "  failed   seed 2, fold 0: it burns",
        "             missing  all",  # of the same message
        "  missing  seed 1, fold 0",
        "  missing  other on Cora: not begun",
        "  missing  PubMed: not",
        "           here",
    ]


@pytest.mark.parametrize(("folder", "status", "message"), [("nowhere", 2, "There is no folder"), ("empty", 1, "is neither a run folder")])
def test_a_mistake_is_one_message(command_line: CommandLine, tmp_path: Path, folder: str, status: int, message: str) -> None:
    (tmp_path / "empty").mkdir()
    ended, out, err = command_line("status", tmp_path / folder)
    assert (ended, out) == (status, "")
    assert message in err
