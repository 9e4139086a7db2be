"""``dgl-mutual tune``."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import Any

import click

from dgl_mutual.cli.output import say
from dgl_mutual.cli.run import KEYS
from dgl_mutual.cli.run import command as run_command
from dgl_mutual.store.files import BEST_FILE, TUNING_FILE
from dgl_mutual.utils.wording import counted

#: Options of `run` that do not apply to a search.
_NOT_HERE = ("seeds", "resume", "servers", "divide", "track", "checkpoint_every")


@click.command(params=[option for option in run_command.params if option.name not in _NOT_HERE])
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    metavar="N",
    help="Number of configurations to try in total.",
)
@click.option(
    "--splits",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Number of trainings per configuration: on different folds, or with different seeds if there are no folds.",
)
@click.option(
    "--search",
    multiple=True,
    metavar="KEY",
    help="Also search this option: one that a recipe or configuration sets, e.g. training.learning_rate, or one that is not searched by "
    "default, e.g. training.edge_drop.",
)
@click.option("--timeout", type=float, metavar="SECONDS", help="Start no further trial after this time (default: no limit).")
def command(
    assignments: tuple[str, ...],
    recipe: str | None,
    file: Path | None,
    trust: bool,
    out: Path,
    jobs: int | None,
    threads: int,
    device: str,
    data_dir: Path | None,
    offline: bool,
    trials: int,
    splits: int,
    timeout: float | None,
    search: tuple[str, ...],
    **flags: Any,
) -> None:
    """Tune the options of a method on validation, and write the best configuration to a file. Needs optuna.

    Given options are not searched, unless --search names them. The first trial uses the given options, and the defaults of all others.
    The search sees no labels of its own test part. Give every method of a comparison the same number of trials, 'independent' too. The
    same command continues an interrupted search. Processes that run it at the same time share the trials, also on several machines with
    a shared folder. With --jobs 1 a search is reproducible.

    \b
    Examples:
      dgl-mutual tune --dataset Cora --strategy gml --trials 50
      dgl-mutual tune --dataset Cora --strategy independent --trials 50
      dgl-mutual tune --dataset MUTAG --splits 3 --set student.hidden=32 --timeout 3600
      dgl-mutual tune --recipe mutag-small --search training.learning_rate --strategy independent
      dgl-mutual run --config results/<tune-...>/best.yaml --seeds 10
    """
    from dgl_mutual.data.sources.partition import is_partition
    from dgl_mutual.errors import UsageError
    from dgl_mutual.experiments.compute import Compute
    from dgl_mutual.experiments.configuration.given import given_values
    from dgl_mutual.experiments.configuration.layers import from_command_line
    from dgl_mutual.experiments.configuration.trust import import_paths, trusted_config
    from dgl_mutual.experiments.loading import load_data
    from dgl_mutual.experiments.progress import display
    from dgl_mutual.experiments.tuning.search import tune
    from dgl_mutual.utils.files import check_writable

    overrides = from_command_line({KEYS[flag]: value for flag, value in flags.items()}, assignments)
    if "seeds" in overrides:
        raise UsageError(
            f"seeds = {overrides['seeds']!r} has no effect on a search. Give --splits, the number of trainings of each configuration."
        )
    config = trusted_config(file, overrides, trust=trust, recipe=recipe)
    check_writable(out)
    if is_partition(config.dataset):
        raise UsageError(
            f"{config.dataset!r} is a partitioned graph, which cannot be tuned on. Tune on the whole graph, or on a part of it."
        )
    compute = Compute(device=device, jobs=jobs, threads=threads)
    dataset = load_data(config, data_dir=data_dir, offline=offline)
    with display() as progress:
        tuning = tune(
            config, dataset, trials=trials, splits=splits, timeout=timeout, search=search, out=out, compute=compute, progress=progress
        )
    counts = tuning.history["state"].value_counts()
    say(", ".join(f"{counted(int(counts[state]), 'trial')} {state}" for state in counts.index))
    if tuning.best is not None:
        default = "not complete" if math.isnan(tuning.default_value) else f"{tuning.default_value:.4f}"
        say(f"Best on validation: {tuning.best_value:.4f} (trial {tuning.best_trial})")
        say(f"With the given options and all other defaults: {default}")
        if tuning.written_trial != tuning.best_trial:
            say(
                f"This is of the first {counted(trials, 'trial')}. The folder holds a longer search, and best.yaml is its best, trial "
                f"{tuning.written_trial}. For a search of this length, give another --out."
            )
        say(f"Written to {tuning.folder / BEST_FILE} and {tuning.folder / TUNING_FILE}")
        _draw(tuning.folder, f"{config.strategy} on {dataset.name}", splits)
        if tuning.shared:
            say(tuning.shared)
        more = [] if data_dir is None else ["--data-dir", str(data_dir)]
        more += ["--trust"] if any(import_paths(given_values(config))) else []
        say(f"To train with it: {shlex.join(['dgl-mutual', 'run', '--config', str(tuning.folder / BEST_FILE), *more])}")
    if tuning.failed:
        say("\n".join((f"{counted(len(tuning.failed), 'trial')} failed:", *tuning.failed)), err=True)
    if tuning.best is None or tuning.failed:
        raise click.exceptions.Exit(1)


def _draw(folder: Path, name: str, splits: int) -> None:
    """Draw the search, if matplotlib is installed."""
    from dgl_mutual.errors import UsageError
    from dgl_mutual.reporting.plots.style import drawing, save
    from dgl_mutual.reporting.plots.tuning import tuning_history

    try:
        with drawing():
            say("\n".join(map(str, save(tuning_history(folder, name, splits), folder, "tuning"))))
    except UsageError as error:
        say(f"No figure: {error}", err=True)
