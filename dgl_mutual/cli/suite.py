"""``dgl-mutual suite``."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dgl_mutual.cli import completion
from dgl_mutual.cli.arguments import was_given
from dgl_mutual.cli.output import say
from dgl_mutual.cli.run import command as run_command
from dgl_mutual.utils.wording import counted

if TYPE_CHECKING:
    from dgl_mutual.experiments.loading import DataSource
    from dgl_mutual.experiments.suites.suite import SuitePlan


#: Options shared with `run`.
_SHARED = ("checkpoint_every", "trust", "out", "resume", "jobs", "threads", "device", "track", "data_dir", "offline")


@click.command(params=[option for option in run_command.params if option.name in _SHARED])
@click.argument("name", metavar="NAME|FILE.yaml", required=False, shell_complete=completion.one(completion.suites, path="file"))
@click.option(
    "--dry-run", is_flag=True, help="List the trials, with an estimate of their time. Downloads nothing; measures a few epochs of each run."
)
@click.option("--quick", is_flag=True, help="Scale down to 2 seeds, 3 folds and 30 epochs; grid keys that count epochs are dropped.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Set a key in every run, e.g. seeds=3.")
@click.option(
    "--tuned",
    type=click.IntRange(min=1),
    metavar="N",
    help="First tune every method on every dataset with N trials each (see 'dgl-mutual tune'); the runs use other seeds.",
)
@click.option(
    "--cluster",
    metavar="tcp://HOST:PORT|local:N",
    help="Run trials on a Dask cluster: the address of a scheduler, or local:N for N local processes.",
)
def command(
    name: str | None,
    dry_run: bool,
    quick: bool,
    checkpoint_every: int | None,
    assignments: tuple[str, ...],
    tuned: int | None,
    trust: bool,
    out: Path,
    resume: bool,
    jobs: int | None,
    cluster: str | None,
    threads: int,
    device: str,
    track: tuple[str, ...],
    data_dir: Path | None,
    offline: bool,
) -> None:
    """Run methods on datasets, and write tables of the results. Without NAME, list the suites.

    Datasets that are not available, or that cannot be split for one of the methods, are reported, and the others are run. The exit status
    is 1 if there are any, if a trial fails, or if no table can be made.

    \b
    Examples:
      dgl-mutual suite smoke
      dgl-mutual suite node --dry-run
      dgl-mutual suite my-suite.yaml --jobs 4
      dgl-mutual suite node --tuned 50
      dgl-mutual suite node --cluster tcp://10.0.0.7:8786
    """
    from dgl_mutual.experiments.compute import Compute
    from dgl_mutual.experiments.configuration.layers import from_command_line
    from dgl_mutual.experiments.configuration.trust import check_trust
    from dgl_mutual.experiments.executors.dask import connected
    from dgl_mutual.experiments.loading import DataSource
    from dgl_mutual.experiments.progress import display
    from dgl_mutual.experiments.suites.suite import configurations, run_suite
    from dgl_mutual.experiments.suites.suite_file import load_suite, suite_names
    from dgl_mutual.experiments.suites.tune_suite import prepare_suite
    from dgl_mutual.training.trackers import check_trackers
    from dgl_mutual.utils.files import check_writable

    if cluster is not None and jobs is not None:
        raise click.UsageError("--jobs counts processes of this machine, and --cluster has its own. Leave out one of them.")
    if name is None:
        options = [parameter.opts[0] for parameter in click.get_current_context().command.params if was_given(parameter.name)]
        if options:
            raise click.UsageError(f"{options[0]} was given, and no suite. Name one: without a NAME, all suites are listed.")
        say("\n".join(f"{known:<12} {description}" for known, description in suite_names().items()))
        return
    suite_name, suite = load_suite(name)
    check_writable(out)
    overrides = from_command_line({"training.checkpoint_every": checkpoint_every}, assignments)
    if not trust:
        check_trust([run.config for run in configurations(suite, overrides=overrides)], name, overrides)
    compute = Compute(device=device, jobs=jobs, threads=threads)
    if tuned is not None and not dry_run:  # a search may take hours, so errors of the runs after it are found first
        check_trackers(track)
        with connected(cluster) if cluster is not None else nullcontext():
            pass
    data = DataSource(data_dir, offline=offline or dry_run)
    plan, tuning = prepare_suite(
        suite_name,
        suite,
        out=out,
        quick=quick,
        overrides=overrides,
        data=data,
        compute=compute,
        leave_out=True,
        tuned=None if dry_run else tuned,
        display=display,
    )
    if dry_run:
        is_runnable = _list_estimates(plan, data, tuned=tuned, jobs=compute.num_jobs, resume=resume, offline=offline)
        raise click.exceptions.Exit(0 if is_runnable else 1)
    del data  # the runs are planned
    with display() as progress:
        reports = run_suite(plan, compute=compute, resume=resume, progress=progress, cluster=cluster, track=track)
    if tuning is not None and (searches_file := tuning.write(plan.folder)) is not None:
        say(f"The searches: {searches_file}")
    has_tables = _write_tables(plan)
    failed = [f"{report.folder.name}: {line}" for report in reports for line in report.failed]
    if failed:
        say("\n".join((f"{counted(len(failed), 'trial')} failed (failures.csv in the run's folder):", *failed)), err=True)
    _complain_of_missing(plan)
    if failed or plan.missing or not has_tables:
        raise click.exceptions.Exit(1)


def _list_estimates(plan: SuitePlan, data: DataSource, *, tuned: int | None, jobs: int, resume: bool, offline: bool) -> bool:
    """List the searches and runs with their estimated times, and return whether the suite can be run."""
    from dgl_mutual.errors import SplitError

    search_seconds = 0.0
    if tuned is not None:
        plan, search_seconds = _list_searches(plan, data, tuned, jobs)
    # The folder of a run depends on the results of the searches.
    can_train = _list_runs(plan, jobs, search_seconds, start_over=not resume or tuned is not None)
    if offline:
        _complain_of_missing(plan)
        return can_train and not plan.missing
    for missing, why in plan.missing.items():
        say(f"not counted: {missing}. {why}", err=True)
    # Missing files may be downloaded later, but labels that do not allow the splits remain.
    return can_train and not any(isinstance(why, SplitError) for why in plan.missing.values())


def _list_searches(suite_plan: SuitePlan, data: DataSource, trials: int, jobs: int) -> tuple[SuitePlan, float]:
    """List the searches with their estimated times.

    Returns:
        The plan without datasets that cannot be split for a search, and the total time of all trials in seconds.
    """
    from dgl_mutual.experiments.suites.suite_estimate import estimate_searches

    suite_plan, searches = estimate_searches(suite_plan, data, trials=trials)
    for search in searches:
        say(
            f"{search.trials:>4} trials, {search.missing:>3} to run, about   {search.seconds:>8.1f} s each   "
            f"tuning {search.method} on {search.data}{f' ({search.trainings} trainings each)' if search.trainings > 1 else ''}"
        )
    total = sum(search.missing * search.seconds for search in searches)
    say(f"All searches: about {_duration(total / jobs)} with {jobs} at a time. The runs after them, with the options as they are now:")
    return suite_plan, total


def _list_runs(suite_plan: SuitePlan, jobs: int, search_seconds: float, *, start_over: bool) -> bool:
    """List the runs with their estimated times, and return whether all of them can be trained.

    Args:
        search_seconds: total time of the searches.
        start_over: count all trials as missing, finished ones too.
    """
    from dgl_mutual.experiments.suites.suite_estimate import estimate_runs

    total = 0.0
    trials = 0
    complete = True
    for run in estimate_runs(suite_plan, start_over=start_over):
        if run.objection:
            say(f"not counted: {run.method} on {run.data}, which would fail. {run.objection}", err=True)
            complete = False
            continue
        say(f"{run.trials:>4} trials, {run.missing:>3} to run, at most {run.seconds:>8.1f} s each   {run.method} on {run.data}")
        total += run.missing * run.seconds
        trials += run.missing
    early = " (training may stop early)" if trials else ""
    say(f"{counted(trials, 'trial')} to run: at most {_duration(total / jobs)} with {jobs} at a time{early}")
    if search_seconds:
        say(f"Together with the searches: about {_duration((search_seconds + total) / jobs)}")
    return complete


def _write_tables(plan: SuitePlan) -> bool:
    """Write the tables and show one. Return whether there are any."""
    from dgl_mutual.errors import DglMutualError, StoreError
    from dgl_mutual.reporting.suite_tables import write_suite_tables
    from dgl_mutual.store.files import ALL_FILE

    try:
        table, files = write_suite_tables(plan.folder)
    except StoreError:
        raise
    except DglMutualError as error:  # the runs can still be exported one by one
        say(f"No tables: {error}", err=True)
        if (plan.folder / ALL_FILE).exists():
            say(f"All rows of the runs: {plan.folder / ALL_FILE}")
        return False
    say(table)
    say(f"Written to {', '.join(str(file) for file in files)}")
    return True


def _complain_of_missing(plan: SuitePlan) -> None:
    for data, why in plan.missing.items():
        say(f"{data} was left out: {why}", err=True)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
