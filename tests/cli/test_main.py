from __future__ import annotations

import errno
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import click
import pytest

import dgl_mutual
from dgl_mutual.cli.arguments import UserPath
from dgl_mutual.cli.main import COMMANDS, cli
from dgl_mutual.errors import DataError, Interrupted, UsageError
from dgl_mutual.utils import open_files
from tests import forked
from tests.reporting.folders import write_run


def commands(group: click.Group = cli, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], click.Command]:
    """Every command and group below the command line, as typed."""
    context = click.Context(group)
    found: dict[tuple[str, ...], click.Command] = {}
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found[(*path, name)] = command
        if isinstance(command, click.Group):
            found |= commands(command, (*path, name))
    return found


@pytest.mark.parametrize("path", commands(), ids=" ".join)
def test_every_command_has_help_with_an_example(command_line: Callable[..., object], path: tuple[str, ...]) -> None:
    status, out, err = command_line(*path, "--help")
    assert (status, err) == (0, "")
    assert f"dgl-mutual {' '.join(path)}" in out.split("Example", 1)[1]


@pytest.mark.parametrize("path", commands(), ids=" ".join)
def test_no_option_with_one_value_takes_the_last_of_several(command_line: Callable[..., object], path: tuple[str, ...]) -> None:
    for option in commands()[path].params:
        if isinstance(option, click.Option) and not option.is_flag and not option.multiple:
            for name in option.opts:
                status, out, err = command_line(*path, name, "1", name, "2")
                assert (status, out) == (2, "")
                assert "was given 2 times, and takes one value. Leave out all but one." in err


def test_every_path_is_one_of_the_users_home_where_it_says_so(
    command_line: Callable[..., object], elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = [(path, parameter) for path, command in commands().items() for parameter in command.params]
    paths = [(path, parameter) for path, parameter in parameters if isinstance(parameter.type, click.Path)]
    assert len(paths) > 20
    for path, parameter in paths:
        assert isinstance(parameter.type, UserPath), (path, parameter.name)
    monkeypatch.setenv("HOME", str(elsewhere / "home"))
    generate = ("data", "generate", "power-law", "--nodes", "100", "--edges", "200")
    assert command_line(*generate, "--out=~/graph")[:2] == (0, f"Written to {elsewhere / 'home' / 'graph'}\n")
    assert [folder.name for folder in elsewhere.iterdir()] == ["home"]
    suite, method = (elsewhere / "home" / name for name in ("suite.yaml", "best.yaml"))
    suite.write_text("{datasets: [digits], methods: {tuned: ~/best.yaml}}")
    method.write_text("strategy: independent")
    status, out, _ = command_line("suite", "~/suite.yaml", "--dry-run", "--quick", "--set", "training.epochs=1", "--out=~/runs")
    assert status == 0
    assert "tuned on digits" in out
    status, _, err = command_line("compare", "--reference=~/theirs.csv", "--dataset", "digits")
    assert status == 1
    assert str(elsewhere / "home" / "theirs.csv") in err
    status, _, err = command_line("report", "runs", "--out=~nobody-of-this-name/page.html")
    assert status == 2
    assert "names the home of a user who does not exist here" in err
    assert [folder.name for folder in elsewhere.iterdir()] == ["home"]


def test_help_comes_before_what_is_wrong(command_line: Callable[..., object]) -> None:
    status, out, _ = command_line("run", "--epochs", "1", "--epochs", "2", "--help")
    assert status == 0 and "--epochs" in out


def test_help_is_light() -> None:
    """Of all packages, --help imports click alone: torch, DGL and pandas take seconds."""
    program = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "from dgl_mutual.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "packages = {name.partition('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names\n"
        "print(*sorted(name for name in packages if not name.startswith('_')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "click dgl_mutual"
    assert all(name in done.stdout for name in COMMANDS)


def test_module_runs_as_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "dgl_mutual", "--version"], capture_output=True, text=True, check=True)
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert names[:3] == ["dgl_mutual", "python", "platform"]
    assert {"torch", "dgl"} <= set(names)


@pytest.mark.parametrize(
    "arguments", [("runn",), ("run", "--nonsense"), ("run", "--seeds", "many"), ("data", "lst"), ("run", "--jobs", "0")]
)
def test_wrong_usage_is_status_2(command_line: Callable[..., object], arguments: tuple[str, ...]) -> None:
    status, out, err = command_line(*arguments)
    assert (status, out) == (2, "")
    assert "Error:" in err
    assert "Traceback" not in err


def test_a_warning_is_one_message(monkeypatch: pytest.MonkeyPatch, command_line: Callable[..., object]) -> None:
    """Also after a library has changed the filters."""

    def warn() -> None:
        for text in ("mind this", "mind this", "and this"):
            warnings.warn(text, stacklevel=1)
            warnings.filterwarnings("ignore", message="of a library")

    monkeypatch.setattr(cli, "get_command", lambda context, name: click.Command("risky", callback=warn))
    assert command_line("risky") == (0, "", "Warning: mind this\nWarning: and this\n")


#: An interrupt that comes while a class is made, as `type` passes it on before Python 3.12.
WRAPPED = RuntimeError("Error calling __set_name__")
WRAPPED.__cause__ = KeyboardInterrupt()
TOO_MANY = (
    "Error: [Errno 24] Too many open files: 'trials.csv'. Do less at a time, with fewer runs or fewer --jobs. "
    "The limit is 64 open files per process. Raise it: ulimit -n 4096\n"
)


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (UsageError("wrong name"), 2, "Error: wrong name\n"),
        (DataError("no file"), 1, "Error: no file\n"),
        (KeyboardInterrupt(), 130, "Interrupted.\n"),
        (OSError(errno.EMFILE, "Too many open files", "trials.csv"), 1, TOO_MANY),
        (WRAPPED, 130, "Interrupted.\n"),
        (Interrupted(2, 4, Path("out")), 130, f"{Interrupted(2, 4, Path('out'))}\n"),
    ],
)
def test_an_error_is_one_message_and_its_status(
    monkeypatch: pytest.MonkeyPatch, command_line: Callable[..., object], error: BaseException, status: int, message: str
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(open_files, "_limits", lambda: (64, None))
    monkeypatch.setattr(cli, "get_command", lambda context, name: click.Command("broken", callback=fail))
    ended = command_line("broken")
    assert ended[:2] == (status, "")
    assert ended[2].lstrip("\n") == message


def test_a_broken_dgl_is_one_message_that_names_doctor(tmp_path: Path) -> None:
    (tmp_path / "dgl").mkdir()
    (tmp_path / "dgl" / "__init__.py").write_text("raise FileNotFoundError('no libgraphbolt')")
    program = "import sys; sys.path.insert(0, sys.argv.pop(1)); from dgl_mutual.cli.main import main; main()"
    command = [sys.executable, "-c", program, str(tmp_path), "run", "--epochs", "1", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: dgl cannot be imported: FileNotFoundError: no libgraphbolt. Run 'dgl-mutual doctor'")
    assert not (tmp_path / "out").exists()


WRONG_VARIABLES = [("TQDM_MININTERVAL", "abc", "torch"), ("DGLBACKEND", "mxnet", "dgl"), ("SOURCE_DATE_EPOCH", "abc", "scipy.sparse")]


@pytest.mark.parametrize(("name", "value", "library"), WRONG_VARIABLES)
def test_variables_that_keep_libraries_from_being_imported_are_named(name: str, value: str, library: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dgl_mutual"]
    environment = {**os.environ, name: value}
    ran = subprocess.run([*command, "run", "--out", str(tmp_path)], env=environment, capture_output=True, text=True)
    assert ran.returncode == 1 and ran.stderr.startswith(f"Error: {library} cannot be imported: ")
    assert f"{name} = '{value}'" in ran.stderr and f"remove it: unset {name}" in ran.stderr
    if library == "torch":  # doctor says the same of any
        found = subprocess.run([*command, "doctor"], env=environment, capture_output=True, text=True).stdout
        assert f"variables        {name} = '{value}'; libraries read these" in found and f"to fix it: unset {name}; where" in found


@pytest.mark.parametrize("wrong", ["MPLBACKEND", "matplotlibrc"])
def test_settings_that_matplotlib_refuses_are_named(wrong: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run = write_run(tmp_path)
    environment = {"MPLBACKEND": "garbage"} if wrong == "MPLBACKEND" else {"MATPLOTLIBRC": str(tmp_path / "own")}
    (tmp_path / "own").write_bytes(b"font.family: \xff\n")
    fix = "unset MPLBACKEND" if wrong == "MPLBACKEND" else "Correct its file matplotlibrc, which has to be UTF-8, or move it away: in"
    for command, status in ((("plot", run, "--out", tmp_path / "plots"), 2), (("doctor",), 0)):
        log = tmp_path / f"{command[0]}.txt"
        process = forked.start(forked.command, *command, log=log, environment=environment)  # which has not imported matplotlib
        assert forked.statuses([process]) == [status]
        assert "matplotlib cannot be imported with these settings of it: " in log.read_text() and fix in log.read_text()


@pytest.mark.parametrize(("value", "status"), [("99999999999999", 2), ("0", 0)])
def test_a_date_that_matplotlib_cannot_write_is_named(value: str, status: int, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    command, log = ("plot", write_run(tmp_path), "--kind", "curves", "--out", tmp_path / "plots"), tmp_path / "said.txt"
    process = forked.start(forked.command, *command, log=log, environment={"SOURCE_DATE_EPOCH": value})
    assert forked.statuses([process]) == [status]
    expected = f"matplotlib cannot date figures: SOURCE_DATE_EPOCH = '{value}' is not a date. "
    assert (expected in log.read_text() and "unset SOURCE_DATE_EPOCH" in log.read_text()) == bool(status)


def test_a_working_folder_that_is_gone_is_one_message(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code = f"import os, sys; os.rmdir({str(gone)!r}); from dgl_mutual.cli.main import main; main(['run'])"
    environment = {**os.environ, "PYTHONPATH": str(Path(dgl_mutual.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], cwd=gone, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "Error: The working folder of this process no longer exists. Change to another folder.\n"


def test_an_interrupt_while_the_interpreter_ends_changes_nothing() -> None:
    """Whoever types Ctrl-C twice still gets one line, and the exit status of an interruption."""
    code = """
import atexit, os, signal
from dgl_mutual.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it may be ignored
atexit.register(os.kill, os.getpid(), signal.SIGINT)
main.cli.main = lambda **_: os.kill(os.getpid(), signal.SIGINT)
main.main()
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "Interrupted.\n")
