from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.reporting.folders import write_run

pytest.importorskip("matplotlib")
pytestmark = pytest.mark.usefixtures("without_layout")
CommandLine = Callable[..., tuple[int, str, str]]


def test_the_page_is_written(command_line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "results")
    assert command_line("report", "results")[:2] == (0, "Written to report.html\n")
    assert "<h1>results</h1>" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert command_line("report", "results", "-o", "pages/mine.html")[0] == 0
    assert (tmp_path / "pages" / "mine.html").exists()


def test_a_page_of_the_users_own_is_replaced_only_where_it_is_named(
    command_line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "results")
    page = tmp_path / "report.html"
    page.write_text("mine")
    status, out, err = command_line("report", "results")
    assert (status, out, page.read_text()) == (2, "", "mine")
    assert "'report.html' already exists, and was not made by this command" in err and "--out" in err
    for arguments in (("-o", "report.html"), ()):  # afterwards it is a page of this command
        assert command_line("report", "results", *arguments)[0] == 0
    page.rename(tmp_path / "other.html")
    page.symlink_to("other.html")
    assert command_line("report", "results")[0] == 2
    assert page.is_symlink()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("nowhere",), 2, "There is no folder 'nowhere'"),
        (("empty",), 1, "'empty' is neither a run folder"),
        (("unfinished", "-o", "x.pdf"), 2, "'x.pdf' ends in .pdf, but the output is .html or .htm"),
        (("unfinished", "-o", "x.txt"), 2, "'x.txt' ends in .txt, but the output is .html or .htm"),
        (("unfinished",), 1, "no trial has finished"),
        ((), 2, "Missing argument 'RUN...'"),
    ],
)
def test_a_mistake_is_one_message(
    command_line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], status: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    write_run(Path("unfinished"), keys=[])
    ended, out, err = command_line("report", *arguments)
    assert (ended, out) == (status, "")
    assert message in err
    assert not Path("report.html").exists()
