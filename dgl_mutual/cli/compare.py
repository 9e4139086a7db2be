"""``dgl-mutual compare``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from dgl_mutual.cli.arguments import JOBS, PATH, was_given
from dgl_mutual.cli.output import say
from dgl_mutual.cli.run import KEYS
from dgl_mutual.cli.run import command as run_command
from dgl_mutual.store.files import CERTIFICATE_FILE
from dgl_mutual.store.members import BEST

#: Options that apply to one kind of reference only.
_FOR_PYG = ("parity_epochs", "parity_only")
_FOR_FILE = ("columns", "member", "runs", "jobs")
#: Options shared with `run`.
_SHARED = {
    *("task", "dataset", "targets", "metric", "protocol", "students", "strategy", "seeds", "folds", "epochs"),
    *("assignments", "recipe", "file", "trust", "threads", "data_dir", "offline"),
}


_REFERENCE = click.Option(["--reference"], default="pyg", show_default=True, metavar="pyg|FILE.csv", help="What to compare with.")


@click.command(params=[_REFERENCE, *(option for option in run_command.params if option.name in _SHARED)])
@click.option(
    "--parity-epochs", type=click.IntRange(min=1), default=50, show_default=True, metavar="N", help="Number of epochs of the parity check."
)
@click.option("--parity-only", is_flag=True, help="Skip accuracy and cost, for which both sides are trained in full.")
@click.option(
    "--margin",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.01,
    show_default=True,
    help="Smallest difference of test metrics that matters.",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="OURS=THEIRS",
    help="Name of a column in the file, where it differs from ours: dataset, seed, fold, member, fingerprint, split or test.",
)
@click.option("--member", default=BEST, show_default=True, help="Our member to compare with, if the file has no members.")
@click.option("--jobs", type=JOBS, metavar="N", help="Number of our trials to run in parallel, with FILE.csv (default: one per CPU core).")
@click.option("--runs", type=PATH, default=Path("results"), show_default=True, help="Folder of our runs, with FILE.csv.")
@click.option("--out", type=PATH, help="Folder for the certificate (default: results/compare/<dataset>[-<FILE>]).")
def command(
    reference: str,
    columns: tuple[str, ...],
    member: str,
    margin: float,
    parity_epochs: int,
    parity_only: bool,
    out: Path | None,
    runs: Path,
    jobs: int | None,
    assignments: tuple[str, ...],
    recipe: str | None,
    file: Path | None,
    trust: bool,
    threads: int,
    data_dir: Path | None,
    offline: bool,
    **flags: Any,
) -> None:
    """Compare with the same method on torch_geometric, number by number, and write a certificate. Exit status 1 if parity breaks.

    With --reference FILE.csv, compare with results of your own code instead. The file needs the columns dataset (as given to --dataset,
    also an import path such as mypkg.data:arrays), test, and seed or fold; the columns member, fingerprint and split are optional. Both
    comparisons run on the CPU.

    \b
    Examples:
      dgl-mutual compare --seeds 2 --epochs 50
      dgl-mutual compare --task graph --dataset MUTAG --folds 10 --margin 0.02
      dgl-mutual compare --dataset Cora --reference theirs.csv --column test=accuracy
    """
    from dgl_mutual.experiments.compare.compare import compare_with_file, compare_with_reference
    from dgl_mutual.experiments.configuration.layers import from_command_line
    from dgl_mutual.experiments.configuration.trust import trusted_config
    from dgl_mutual.experiments.progress import display
    from dgl_mutual.utils.paths import user_path

    _refuse_options_without_effect(
        f"--reference {'pyg' if reference == 'pyg' else 'FILE.csv'}", _FOR_FILE if reference == "pyg" else _FOR_PYG
    )
    if parity_only:
        _refuse_options_without_effect("--parity-only", ("margin",))
    overrides = from_command_line({KEYS[flag]: value for flag, value in flags.items()}, assignments)
    config = trusted_config(file, overrides, trust=trust, recipe=recipe)

    shared: dict[str, Any] = {
        "out": out,
        "data_dir": data_dir,
        "offline": offline,
        "threads": threads,
        "margin": margin,
        "say": partial(say, err=True),
        "display": display,
    }
    if reference == "pyg":
        comparison = compare_with_reference(config, parity_epochs=parity_epochs, parity_only=parity_only, **shared)
    else:
        comparison = compare_with_file(
            config, user_path(reference), columns=_mapping(columns), member=member, runs=runs, jobs=jobs, **shared
        )
    say(comparison.text)
    say(f"\nWritten to {comparison.folder / CERTIFICATE_FILE}")
    if not comparison.holds:
        raise click.exceptions.Exit(1)


def _refuse_options_without_effect(beside: str, names: tuple[str, ...]) -> None:
    for parameter in click.get_current_context().command.params:
        if parameter.name in names and was_given(parameter.name):
            raise click.UsageError(f"{parameter.opts[0]} has no effect with {beside}. Leave it out.")


def _mapping(columns: tuple[str, ...]) -> dict[str, str]:
    """``("test=accuracy",)`` as ``{"test": "accuracy"}``."""
    mapping: dict[str, str] = {}
    for text in columns:
        ours, _, theirs = text.partition("=")
        if not (ours and theirs):
            raise click.UsageError(f"Cannot map the column {text!r}: the form is OURS=THEIRS, for example --column test=accuracy.")
        first = mapping.setdefault(ours, theirs)
        if first != theirs:
            raise click.UsageError(f"--column {ours} was given twice, as {first!r} and as {theirs!r}. Leave out one of them.")
    return mapping
