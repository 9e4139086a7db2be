"""``dgl-mutual time-inference``."""

from __future__ import annotations

from pathlib import Path

import click

from dgl_mutual.cli.arguments import THREADS, data_dir_option, offline_option
from dgl_mutual.cli.export import runs_argument
from dgl_mutual.cli.output import say


@click.command()
@runs_argument
@click.option(
    "--repeats", type=click.IntRange(min=5), default=30, show_default=True, metavar="N", help="Number of forward passes per member."
)
@click.option("--threads", type=THREADS, default=1, show_default=True, metavar="N", help="Number of threads.")
@click.option("--trust", is_flag=True, help="Import, and so execute, the modules of custom students (default: refused).")
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda[:N]", help="Device to predict on.")
@data_dir_option
@offline_option
def command(runs: tuple[Path, ...], repeats: int, threads: int, trust: bool, device: str, data_dir: Path | None, offline: bool) -> None:
    """Time the predictions of trained students, and write inference.csv into each run's folder.

    The members of one trial predict all samples of the dataset, one member at a time: three warm-up passes each, then N passes each, in
    turns. The table has the median and the quartiles. Run nothing else at the same time. 'plot --kind time' draws the result.

    RUN is the folder of a run or a suite, or a folder that contains runs. The students are read from checkpoints/ in the run's folder.

    \b
    Examples:
      dgl-mutual time-inference results/suite-node
      dgl-mutual plot results/suite-node --kind time
    """
    from dgl_mutual.errors import StoreError
    from dgl_mutual.experiments.inference_times import time_run
    from dgl_mutual.reporting.runs import load_runs

    done: set[Path] = set()
    missing = []
    for run in load_runs(runs):
        if run.folder.resolve() in done:
            continue
        done.add(run.folder.resolve())
        try:
            file = time_run(run.folder, repeats=repeats, threads=threads, device=device, trust=trust, data_dir=data_dir, offline=offline)
        except StoreError as error:
            missing.append(str(error))
        else:
            say(f"Written to {file}")
    if missing:
        say("\n".join(f"Error: {why}" for why in missing), err=True)
        raise click.exceptions.Exit(1)
