"""The entry point of the command line. Each command has its own module, which is imported when the command is used."""

from __future__ import annotations

import errno
import functools
import importlib
import io
import os
import shlex
import signal
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import click

from dgl_mutual.cli.arguments import refuse_repeated
from dgl_mutual.cli.output import say
from dgl_mutual.errors import DglMutualError, Interrupted
from dgl_mutual.experiments.processes import ignore_interrupts, own_process
from dgl_mutual.utils.custom_code import custom_place, described
from dgl_mutual.utils.environment_variables import set_for_libraries, shown_values
from dgl_mutual.utils.error_causes import causes, is_interrupt, is_out_of_memory, not_enough_memory
from dgl_mutual.utils.open_files import too_many_open
from dgl_mutual.utils.paths import check_working_folder
from dgl_mutual.utils.standard_streams import open_streams
from dgl_mutual.version import __version__

#: Command -> (module that defines `command`, line shown by --help). A new command is one new file and one line here.
COMMANDS = {
    "run": ("dgl_mutual.cli.run", "Train a cohort on a dataset and write the results."),
    "distill": ("dgl_mutual.cli.distill", "Train a cohort, then distill it into an MLP that needs no graph."),
    "suite": ("dgl_mutual.cli.suite", "Run methods on datasets, and write tables of the results."),
    "tune": ("dgl_mutual.cli.tune", "Tune the options of a method on validation, and write the best configuration."),
    "status": ("dgl_mutual.cli.status", "List done, failed and missing trials of runs or a suite."),
    "time-inference": ("dgl_mutual.cli.time_inference", "Time the predictions of trained students, one at a time."),
    "export": ("dgl_mutual.cli.export", "Make a table of runs: CSV, LaTeX or Markdown."),
    "tables": ("dgl_mutual.cli.tables", "Update the tables of Markdown pages and suites from their runs."),
    "plot": ("dgl_mutual.cli.plot", "Draw figures of runs: gains, learning curves, weights, ranks, and more."),
    "report": ("dgl_mutual.cli.report", "Make an HTML report of runs."),
    "compare": ("dgl_mutual.cli.compare", "Compare with torch_geometric: a parity certificate, accuracy and cost side by side."),
    "predict": ("dgl_mutual.cli.predict", "Predict new nodes or graphs with a trained student."),
    "recipes": ("dgl_mutual.cli.recipes", "List configurations for known datasets, or show one."),
    "strategies": ("dgl_mutual.cli.strategies", "List the strategies with formula and source, or the options of one."),
    "data": ("dgl_mutual.cli.data", "List, describe, fetch, generate and verify datasets."),
    "partition": ("dgl_mutual.cli.partition", "Partition a large graph for training on several machines."),
    "serve": ("dgl_mutual.cli.serve", "Serve one part of a partitioned graph to training processes."),
    "doctor": ("dgl_mutual.cli.doctor", "Check the environment, and suggest repairs."),
}

#: For a command that runs out of memory even in the report of an error.
_NO_MEMORY = b"Error: There is not enough memory. Close other programs, or allow this one more memory.\n"
#: Advice for a command that runs out of memory outside of a training; a training has its own.
_MORE_MEMORY = "Close other programs, allow this one more memory ('ulimit -v' shows the limit, in KiB), or give it less data or fewer runs."


class LazyGroup(click.Group):
    """A group that knows its commands' names, and imports a command only to run it or show its help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        command.name = cmd_name  # for the documentation; click would take that of the function
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and not ctx.resilient_parsing and not {"-h", "--help"}.intersection(rest):
            refuse_repeated(click.Context(command, info_name=name, parent=ctx), rest)
        return name, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


def _show_version(ctx: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from dgl_mutual.experiments.environment import versions

    say("\n".join(f"{name:<16} {version}" for name, version in versions().items()))
    ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_show_version, help="Show versions and exit.")
def cli() -> None:
    """Small graph neural networks that teach each other.

    \b
    Example: train four students on the digits that come with scikit-learn
      dgl-mutual run --seeds 1 --epochs 50
    """
    command = click.get_current_context().invoked_subcommand
    if "TORCHELASTIC_RUN_ID" in os.environ and command != "run":
        raise click.UsageError(f"{command!r} cannot run under torchrun: only 'run' can. Start it without torchrun.")


def main(arguments: Sequence[str] | None = None) -> Any:
    """Run the command line and exit: 0 ok, 1 failed, 2 wrong usage, 130 interrupted. Any error, bugs included, is shown as one message."""
    open_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # to show names that the terminal's encoding lacks
            stream.reconfigure(errors="backslashreplace")
    if arguments is None:
        own_process()
    try:
        check_working_folder()
    except DglMutualError as error:
        sys.exit(_complain(str(error), error.exit_code))
    try:
        status = _run(None if arguments is None else list(arguments))
        sys.stdout.flush()  # here, since the interpreter would report an error at exit in its own words
    except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough
        _abandon_output()
        status = 1
    except MemoryError:  # even for the message of an error
        os.write(2, _NO_MEMORY)
        status = 1
    except OSError as error:
        _abandon_output()
        status = _complain(f"Cannot write to standard output: {error.strerror or error}.", 1)
    sys.exit(status or 0)


def _run(arguments: list[str] | None) -> Any:
    """Run a command and return its exit status.

    Raises:
        OSError: standard output cannot be written.
    """
    try:
        with warnings.catch_warnings(), _termination_interrupts():
            # Show each warning once: torch and DGL change the filters, after which Python forgets which it has shown.
            show = functools.cache(lambda text: say(f"Warning: {text}", err=True))
            warnings.showwarning = lambda message, *_, **__: show(str(message))
            return cli.main(args=arguments, prog_name="dgl-mutual", standalone_mode=False)
    except DglMutualError as error:
        if error.__cause__ is not None and is_interrupt(error.__cause__):
            return _complain("Interrupted.", 130)
        return _complain(str(error), error.exit_code)
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        say(shown.getvalue().rstrip(), err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt) as error:  # click turns an interrupt into an Abort that it has caused
        return _complain(next((str(cause) for cause in causes(error) if isinstance(cause, Interrupted)), "Interrupted."), 130)
    except BrokenPipeError:
        raise
    except Exception as error:
        if is_interrupt(error):
            return _complain("Interrupted.", 130)
        if is_out_of_memory(error):
            return _complain(not_enough_memory(error, _MORE_MEMORY), 1)
        if isinstance(error, OSError) and _of_standard_output(error):
            raise
        open_hint = too_many_open(error)
        if open_hint is not None:
            return _complain(f"{error}. {open_hint}", 1)
        broken = _broken_dependency()
        if broken is not None:
            return _complain(broken, 1)
        if isinstance(error, OSError) and error.filename is not None:
            return _complain(f"{str(error.filename)!r}: {error.strerror or error}. Check that it exists, and that you may access it.", 1)
        if custom_place(error) is not None:
            return _complain(f"Code of your own, or of a package that you named, raised an error: {described(error)}", 1)
        return _complain(_bug(error), 1)


def _bug(error: Exception) -> str:
    """The message for an error that is a bug of this package. A file with the traceback is left for a report to the authors."""
    attachment = ""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="dgl-mutual-bug-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write(f"dgl-mutual {__version__}, Python {sys.version}\n{shlex.join(sys.argv)}\n\n{traceback.format_exc()}")
        attachment = f" with the file {file.name}, which holds the traceback"
    except OSError:  # no room in the temporary folder
        traceback.print_exc()
    return (
        f"This is a bug in dgl-mutual, not a mistake of yours: {type(error).__name__}: {str(error)[:500]}. "
        f"Please report it to the authors{attachment}, with the command and, if you can, the files that led to it."
    )


def _of_standard_output(error: OSError) -> bool:
    """Whether an error without a file name came from standard output, which then fails again."""
    if error.filename is not None:
        return False
    try:
        sys.stdout.flush()
    except OSError:
        return True
    return error.errno in (errno.ENOSPC, errno.EIO, errno.EFBIG, errno.EDQUOT)


def _abandon_output() -> None:
    """Discard unwritten output, which the interpreter would try to write again at exit."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


@contextmanager
def _termination_interrupts() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a command like Ctrl-C: finished trials are kept, and worker processes end, too."""
    signals = [number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None]
    in_main_thread = threading.current_thread() is threading.main_thread()
    replaced = [number for number in signals if in_main_thread and signal.getsignal(number) is signal.SIG_DFL]  # nohup's SIG_IGN stays
    for number in replaced:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in replaced:
            signal.signal(number, signal.SIG_DFL)


def _broken_dependency() -> str | None:
    """The message for a core library that cannot be imported; None if all can. A wrong build of DGL may raise anything."""
    for name in ("torch", "scipy.sparse", "dgl"):  # DGL comes last, since it imports the others
        try:
            importlib.import_module(name)
        except Exception as error:
            if is_out_of_memory(error):
                return not_enough_memory(error, _MORE_MEMORY)
            message = (
                f"{name} cannot be imported: {type(error).__name__}: {error}. Run 'dgl-mutual doctor': it shows what is wrong and how to "
                "repair it."
            )
            variables = set_for_libraries()
            if variables:
                message += (
                    f" Libraries read environment variables as they are imported, and these are set: {shown_values(variables)}. If one of "
                    f"them is wrong, correct it, or remove it: unset {' '.join(variables)}"
                )
            return message
    return None


def _complain(message: str, status: int) -> int:
    if status == 130:
        ignore_interrupts()  # a second Ctrl-C at exit would show a traceback, or change the exit status
    say(f"Error: {message}" if status != 130 else message, err=True)
    return status
