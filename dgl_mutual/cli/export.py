"""``dgl-mutual export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dgl_mutual.cli.arguments import PATH, file_option
from dgl_mutual.cli.output import deliver
from dgl_mutual.utils.arguments import MAX_PRECISION

if TYPE_CHECKING:
    from dgl_mutual.reporting.export import Format

runs_argument = click.argument("runs", nargs=-1, required=True, type=PATH, metavar="RUN...")

dataset_option = click.option(
    "--dataset", "datasets", multiple=True, metavar="NAME", help="Only this dataset, by its name in tables; can be repeated."
)
method_option = click.option(
    "--method", "methods", multiple=True, metavar="NAME", help="Only this method, by its name in tables; can be repeated."
)


@click.command()
@runs_argument
@click.option(
    "--format",
    "kind",
    type=click.Choice(["csv", "latex", "markdown"]),
    help="Output format (default: by the ending of --out, .csv, .tex or .md; else csv).",
)
@click.option("--wide", is_flag=True, help="csv: one row per method and columns per dataset, instead of one row per value with its tests.")
@click.option(
    "--baseline", metavar="METHOD", help="Test the other methods against this one (default: independent, if present); none: no tests."
)
@click.option(
    "--value",
    default="test",
    show_default=True,
    metavar="NAME",
    help="Value to show: test, val or train; nll or ece (calibration on test); disagreement; or a cost such as peak_mib.",
)
@click.option(
    "--metric",
    metavar="NAME",
    help="Only datasets with this metric: accuracy, macro-f1, rocauc, ...; with several targets, that of one: 'accuracy(digit)'.",
)
@click.option(
    "--by-target",
    is_flag=True,
    help="One column per target, learned alone (1 target) or together with others (N targets). --dataset and --method take the names of "
    "tables without this option.",
)
@click.option("--members", metavar="NAMES", help="Members to show, for example mean,ensemble,gcn-0 (default: mean,best_by_val,ensemble).")
@dataset_option
@method_option
@click.option("--precision", type=click.IntRange(0, MAX_PRECISION), metavar="N", help="Number of decimals.")
@click.option("--percent", is_flag=True, help="Show fractions as percentages.")
@file_option(metavar="FILE", help="Output file (default: standard output).")
def command(runs: tuple[Path, ...], kind: Format | None, out: Path | None, **options: Any) -> None:
    """Make a table of runs: means, standard deviations, and tests against a baseline.

    RUN is the folder of a run or a suite, or a folder that contains runs. The tests are adjusted for the number of comparisons in the
    table; datasets and methods that are not shown do not count.

    \b
    Examples:
      dgl-mutual export results --format markdown --percent
      dgl-mutual export results/suite-node --percent --out table.tex
      dgl-mutual export results --members gcn-0,ensemble --baseline dml
      dgl-mutual export results/suite-few-labels --dataset "Cora 10 %" --method independent --method gml
      dgl-mutual export results/suite-tasks --by-target --baseline "gml (1 target)"
    """
    from dgl_mutual.reporting.export import export, format_of
    from dgl_mutual.reporting.runs import load_runs, preferred_baseline

    kind = format_of(out, kind)
    text = export(load_runs(runs), kind, preferred=preferred_baseline(runs), **options)
    deliver(text, out)
