"""What the command line says: of bugs, of full disks, and of names that somebody else has chosen."""

from __future__ import annotations

import ast
import io
import os
import shlex
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import pandas as pd
import pytest

import dgl_mutual
from dgl_mutual.cli.main import cli, main
from dgl_mutual.cli.output import say
from dgl_mutual.errors import StoreError, UsageError
from tests.closed import full_disk
from tests.reporting.folders import write_run, write_suite

CommandLine = Callable[..., tuple[int, str, str]]
WICKED = "\x1b]0;owned\x07\x9b2Jgml"


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], None]:
    """Make 'strategies' fail in a way that nobody has thought of."""

    def replace(error: Exception) -> None:
        code: dict[str, Any] = {"error": error}
        # As in a file of the package: what a test raises would be taken for custom code.
        exec(compile("def fail(): raise error", str(Path(dgl_mutual.__file__).with_name("fails.py")), "exec"), code)
        monkeypatch.setattr(cli, "get_command", lambda *_: click.Command("strategies", callback=code["fail"]))

    return replace


def test_a_bug_is_named_as_one_and_its_traceback_kept(
    broken: Callable[[Exception], None], command_line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    broken(KeyError("a\x1b[2Jb"))
    status, out, err = command_line("strategies")
    assert (status, out) == (1, "")
    assert "Traceback" not in err and "\x1b" not in err
    assert "This is a bug in dgl-mutual" in err and "KeyError" in err and "report" in err
    (kept,) = tmp_path.iterdir()
    assert str(kept) in err
    assert "Traceback" in kept.read_text() and "in fail" in kept.read_text()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "There is not enough memory for this. Close other programs, allow this one more memory"),
        (RuntimeError("can't allocate memory: you tried to allocate 2147483648 bytes"), "not enough memory for this (2.0 GiB at once)"),
        (RuntimeError("can't start new thread"), "The system refuses another thread, for lack of memory or since a limit"),
        (PermissionError(13, "Permission denied", "some/file"), "'some/file': Permission denied"),
    ],
)
def test_errors_that_are_no_bugs_are_not_called_bugs(
    error: Exception, told: str, broken: Callable[[Exception], None], command_line: CommandLine
) -> None:
    broken(error)
    status, _, err = command_line("strategies")
    assert status == 1 and told in err and "bug" not in err


def ended(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.mark.parametrize("arguments", [["strategies"], ["--help"], ["data", "list"]])
def test_a_full_disk_behind_standard_output_is_one_message(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert ended(arguments) == 1
    err = capfd.readouterr().err
    assert err == "Error: Cannot write to standard output: No space left on device.\n"


@pytest.mark.parametrize("arguments", [["strategies"], ["--help"], ["data", "list"]])
def test_a_reader_that_has_seen_enough_is_no_error(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with suppress(BrokenPipeError), open(writer, "w") as pipe:  # closing it is another try
        monkeypatch.setattr(sys, "stdout", pipe)
        ended(arguments)
    assert capfd.readouterr().err == ""


def test_an_interrupt_that_became_another_error_is_an_interrupt(broken: Callable[[Exception], None], command_line: CommandLine) -> None:
    """As in an import, before Python 3.12 (see `is_interrupt`)."""
    error = UsageError("No such strategy.")
    error.__cause__ = RuntimeError("Error calling __set_name__")
    error.__cause__.__cause__ = KeyboardInterrupt()
    broken(error)
    assert command_line("strategies") == (130, "", "Interrupted.\n")


def test_an_error_of_the_end_after_an_interrupt_is_shown(broken: Callable[[Exception], None], command_line: CommandLine) -> None:
    error = StoreError("The folder is gone.")
    error.__context__ = KeyboardInterrupt()
    broken(error)
    status, _, err = command_line("strategies")
    assert (status, err) == (1, "Error: The folder is gone.\n")


def test_a_lack_of_memory_for_the_message_of_an_error_is_one_line(
    broken: Callable[[Exception], None], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise MemoryError

    broken(KeyError("x"))
    monkeypatch.setattr("dgl_mutual.cli.main.is_interrupt", fail)
    assert ended(["strategies"]) == 1
    assert capfd.readouterr().err == "Error: There is not enough memory. Close other programs, or allow this one more memory.\n"


def test_without_standard_output_a_command_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert ended(["strategies"]) == 0


@pytest.mark.skipif(os.name == "nt", reason="needs a shell")
@pytest.mark.parametrize(("command", "closed"), [("run --seeds 2 --jobs 2", "<&- >&- 2>&-"), ("tune --trials 2 --jobs 1", ">&-")])
def test_a_command_and_its_processes_work_without_standard_streams(command: str, closed: str, tmp_path: Path) -> None:
    out = tmp_path / "results"
    program = shlex.join([sys.executable, "-m", "dgl_mutual", *command.split(), "--epochs", "1", "--out", str(out)])
    assert os.waitstatus_to_exitcode(os.system(f"{program} {closed}")) == 0
    (table,) = [*out.rglob("trials.csv"), *out.rglob("tuning.csv")]
    assert len(set(pd.read_csv(table)["seed" if "seeds" in command else "trial"])) == 2


def test_letters_that_an_encoding_lacks_are_shown_all_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_suite(tmp_path, "x", [(write_run(tmp_path), "méthode ± 日本", "Cora")])
    kept = io.BytesIO()
    with io.TextIOWrapper(kept, encoding="latin-1") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert ended(["status", str(tmp_path / "suite-x")]) == 0
        assert rb"\u65e5\u672c" in kept.getvalue()


@pytest.mark.parametrize("command", [("status",), ("export", "--format", "markdown"), ("export", "--format", "latex")])
def test_names_in_files_do_not_control_the_terminal(command: tuple[str, ...], command_line: CommandLine, tmp_path: Path) -> None:
    """A suite's folder with such names is refused; why data are missing is any text."""
    run, (name, *options) = write_run(tmp_path), command
    plain = (run, "gml", "Cora")
    suites: list[tuple[bool, Any, dict[str, str]]] = [
        (True, (run, WICKED, "Cora"), {}),
        (True, (run, "gml", "Co\x1b[8mra"), {}),
        (True, plain, {"\x1b]52;c;x\x07": "there is none"}),
        (False, plain, {"PPI": "\x1b[2J"}),
    ]
    for number, (is_refused, entry, missing) in enumerate(suites):
        _, out, err = command_line(name, write_suite(tmp_path, str(number), [entry], missing=missing), *options)
        assert ("gml" in out) is not is_refused
        assert not {character for character in out + err if ord(character) < 32 or ord(character) == 0x9B} - {"\n"}


def test_nor_do_errors(command_line: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text('"da\\e]0;x\\atset": 1\n')
    wicked = "\x1b[2J"
    for arguments in (("run", "--config", tmp_path / "config.yaml"), ("run", "--dataset", wicked), (wicked,), ("run", f"--{wicked}")):
        status, _, err = command_line(*arguments)
        assert status == 2 and "\x1b" not in err and r"\x1b" in err


def test_all_that_commands_say_goes_through_one_place() -> None:
    package = Path(dgl_mutual.__file__).parent
    allowed = {package / "cli" / "output.py", package / "experiments" / "progress.py"}
    for file in set(package.rglob("*.py")) - allowed:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
                assert called not in ("echo", "secho", "print"), f"{file}:{node.lineno}"


def test_a_result_written_to_a_device_is_alone_in_it(command_line: CommandLine, tmp_path: Path) -> None:
    run = write_run(tmp_path)
    _, plain, _ = command_line("export", run)
    assert command_line("export", run, "-o", "/dev/stdout") == (0, plain, "")
    assert command_line("export", run, "-o", "-") == (0, plain, "")
    for command in ("export", "report"):
        status, out, err = command_line(command, run, "-o", "/dev/full")
        assert (status, out) == (1, "") and "No space left" in err


def test_plots_that_would_have_one_name_have_two(command_line: CommandLine, tmp_path: Path) -> None:
    suite = write_suite(tmp_path, "x", [(write_run(tmp_path, seeds=seeds), name, "Cora") for seeds, name in ((2, "日"), (3, "本"))])
    status, out, _ = command_line("plot", suite, "--kind", "curves", "--out", tmp_path / "plots")
    assert status == 0 and len(set(out.split())) == len(list((tmp_path / "plots").iterdir())) == 4


def test_names_of_any_length_and_kind_stay_in_the_folder_of_plots(command_line: CommandLine, tmp_path: Path) -> None:
    suite = write_suite(tmp_path, "x", [(write_run(tmp_path), "../" * 60, "/etc/x" * 30)])
    status, _, err = command_line("plot", suite, "--kind", "curves", "--out", tmp_path / "plots")
    assert (status, err) == (0, "")
    assert {path.name for path in tmp_path.iterdir()} >= {"plots"} and len(list((tmp_path / "plots").iterdir())) == 2


def test_a_full_disk_while_plotting_is_one_message(command_line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "write_bytes", full_disk)
    status, out, err = command_line("plot", write_run(tmp_path), "--kind", "curves", "--out", tmp_path / "plots")
    assert (status, out) == (1, "") and "No space left on device. Make room" in err


@pytest.mark.parametrize("command", [("tables",), ("run", "--config"), ("suite",), ("compare", "--dataset", "digits", "--reference")])
def test_a_path_that_is_no_file_is_one_message(command: tuple[str, ...], command_line: CommandLine, tmp_path: Path) -> None:
    names = ("pipe.yaml", "zero.yaml", "letters.yaml")
    os.mkfifo(tmp_path / names[0])
    (tmp_path / names[1]).symlink_to("/dev/zero")
    (tmp_path / names[2]).write_bytes(b"\xff\xfe\x00")
    for name in names:
        status, out, err = command_line(*command, tmp_path / name)
        assert status in (1, 2) and out == "" and f"{name}' cannot be read" in err and "bug" not in err


def test_a_warning_that_standard_error_does_not_take_costs_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    told = False
    with suppress(OSError), open("/dev/full", "w") as full:  # closing it is another try
        monkeypatch.setattr(sys, "stderr", full)
        say("Warning: this is lost", err=True)
        told = True
    assert told
    with pytest.raises(OSError, match="No space left"), open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        say("A result is not lost in silence.")


def test_of_a_long_error_the_beginning_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    say("z" * 10**6, err=True)
    assert capsys.readouterr().err == f"{'z' * 20_000}...\n(980,000 more characters are not shown)\n"
    say("z" * 10**6)
    assert capsys.readouterr().out == "z" * 10**6 + "\n"
