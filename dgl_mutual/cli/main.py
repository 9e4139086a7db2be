"""The command line's front door. Each command lives in a module of its own, imported when it is asked for."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from dgl_mutual.errors import DglMutualError

#: Command -> (module that defines `command`, line shown by --help). A new command is one new file and one line here.
COMMANDS = {
    "run": ("dgl_mutual.cli.run", "Train a cohort on a dataset and write what came of it."),
    "distill": ("dgl_mutual.cli.distill", "Train a cohort, then an MLP from it that needs no graph."),
    "suite": ("dgl_mutual.cli.suite", "Run methods x datasets, and write the tables of it."),
    "status": ("dgl_mutual.cli.status", "List done, failed and missing trials of runs or a suite."),
    "export": ("dgl_mutual.cli.export", "Make a table of runs: CSV, LaTeX or Markdown."),
    "tables": ("dgl_mutual.cli.tables", "Make the tables of Markdown pages and suites anew from their runs."),
    "plot": ("dgl_mutual.cli.plot", "Draw runs: learning curves, weights, ranks, and more."),
    "report": ("dgl_mutual.cli.report", "Make one HTML page of runs."),
    "compare": ("dgl_mutual.cli.compare", "Compare with torch_geometric: a parity certificate, accuracy and cost side by side."),
    "predict": ("dgl_mutual.cli.predict", "Predict new nodes or graphs with a trained student."),
    "strategies": ("dgl_mutual.cli.strategies", "List the ways of teaching each other, with formula and source."),
    "data": ("dgl_mutual.cli.data", "List, describe, fetch, generate and verify datasets."),
    "partition": ("dgl_mutual.cli.partition", "Cut a large graph into parts for several machines."),
    "serve": ("dgl_mutual.cli.serve", "Serve one part of such a graph to those that train on it."),
    "doctor": ("dgl_mutual.cli.doctor", "Say whether training can work here, and what mends it."),
}


class LazyGroup(click.Group):
    """A group that knows its commands' names, and imports a command only to run it or show its help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


def _show_version(ctx: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from dgl_mutual.experiments.environment import versions

    click.echo("\n".join(f"{name:<16} {version}" for name, version in versions().items()))
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
        raise click.UsageError(f"torchrun starts processes that share work, and {command!r} has none to share: only 'run' has.")


def main(arguments: Sequence[str] | None = None) -> Any:
    """Run the command line and exit: 0 ok, 1 failed, 2 wrong usage, 130 interrupted. A user's mistake is one message."""
    try:
        with warnings.catch_warnings(), _termination_interrupts():
            warnings.showwarning = lambda message, *_, **__: click.echo(f"Warning: {message}", err=True)
            status = cli.main(args=None if arguments is None else list(arguments), prog_name="dgl-mutual", standalone_mode=False)
    except DglMutualError as error:
        status = _complain(str(error), error.exit_code)
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        status = _complain("Interrupted.", 130)
    except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough
        sys.stderr.close()
        status = 1
    except Exception:
        broken = _broken_dependency()
        if broken is None:
            raise
        status = _complain(f"{broken} Run 'dgl-mutual doctor': it says what is wrong, and what mends it.", 1)
    sys.exit(status or 0)


@contextmanager
def _termination_interrupts() -> Iterator[None]:
    """SIGTERM and SIGHUP end a command as Ctrl-C does: what is finished is kept, and processes that work for it end, too."""
    kinds = [kind for name in ("SIGTERM", "SIGHUP") if (kind := getattr(signal, name, None)) is not None]
    mine = threading.current_thread() is threading.main_thread()
    taken = [kind for kind in kinds if mine and signal.getsignal(kind) is signal.SIG_DFL]  # nohup's SIG_IGN stays
    for kind in taken:
        signal.signal(kind, signal.default_int_handler)
    try:
        yield
    finally:
        for kind in taken:
            signal.signal(kind, signal.SIG_DFL)


def _broken_dependency() -> str | None:
    """Whether the libraries that training stands on can be imported at all; a wrong build of DGL may raise anything."""
    for name in ("torch", "dgl"):
        try:
            importlib.import_module(name)
        except Exception as error:
            return f"{name} cannot be imported: {type(error).__name__}: {error}."
    return None


def _complain(message: str, status: int) -> int:
    click.echo(f"Error: {message}" if status != 130 else message, err=True)
    return status
