"""`dgl_mutual.experiment`: methods x datasets from Python."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dgl_mutual.api import StudentLike
from dgl_mutual.data.conversion import as_dataset, as_unlabelled
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.sources.load import load_dataset
from dgl_mutual.data.values.target import ChosenMetric
from dgl_mutual.errors import DglMutualError, Interrupted, TrainingError, UsageError
from dgl_mutual.experiments.compute import Compute
from dgl_mutual.experiments.configuration.config import split_names
from dgl_mutual.experiments.configuration.layers import combine_layers
from dgl_mutual.experiments.configuration.trust import refuse_code
from dgl_mutual.experiments.loading import DataSource
from dgl_mutual.experiments.progress import display, no_progress
from dgl_mutual.experiments.recipes import read_recipe
from dgl_mutual.experiments.suites.suite import run_suite
from dgl_mutual.experiments.suites.suite_file import Suite, is_config_file, method_of_file
from dgl_mutual.experiments.suites.tune_suite import prepare_suite
from dgl_mutual.joint import TaskWeights
from dgl_mutual.options import parse_options
from dgl_mutual.reporting.experiment import Experiment
from dgl_mutual.reporting.suite_tables import write_suite_tables
from dgl_mutual.store.files import BEST_FILE, TRIALS_FILE
from dgl_mutual.strategies.base.strategy import Strategy
from dgl_mutual.training.trackers import TrackerLike, check_trackers
from dgl_mutual.utils.arguments import check_booleans, one_or_several
from dgl_mutual.utils.paths import check_working_folder, user_path
from dgl_mutual.utils.scratch import TemporaryFolder, temporary_folder
from dgl_mutual.utils.standard_streams import streams_opened
from dgl_mutual.utils.user_warnings import warn
from dgl_mutual.utils.wording import counted, kind_of

if TYPE_CHECKING:
    import torch


def experiment(
    dataset: Any,
    methods: str | Sequence[str] | Mapping[str, str | Path | type[Strategy] | Mapping[str, Any] | None] = ("independent", "gml"),
    *,
    recipe: str | None = None,
    students: str | StudentLike | Sequence[StudentLike] | None = None,
    student: Mapping[str, Any] | None = None,
    strategy_options: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    task_weights: TaskWeights | None = None,
    metric: ChosenMetric | None = None,
    protocol: str | None = None,
    seeds: int | None = None,
    folds: int | None = None,
    label_rate: int | float | None = None,
    unlabelled: Dataset | Any = None,
    baseline: str | None = None,
    tuned: int | None = None,
    out: str | Path | None = None,
    name: str = "experiment",
    jobs: int | None = None,
    threads: int = 1,
    device: str | torch.device = "auto",
    track: TrackerLike | Sequence[TrackerLike] | None = None,
    resume: bool = True,
    progress: bool = False,
    data_dir: str | Path | None = None,
    offline: bool = False,
    trust: bool = False,
) -> Experiment:
    """Run methods x datasets: what ``dgl-mutual suite`` does, with the same rows and folders.

        experiment = dgl_mutual.experiment("digits", {"alone": "independent", "gml": {"training": {"epochs": 100}}}, seeds=10)
        experiment.table(baseline="alone")

    Args:
        dataset: a dataset or its name, a list of these, or a mapping from names for the tables to datasets. A list of DGL or PyG graphs
            is one dataset.
        methods: names of strategies, as a list or a string: ``"independent,gml"``. Or a mapping from names for the tables to a strategy, to
            the path of a configuration (``.yaml`` or ``.yml``), such as best.yaml of `dgl-mutual tune`, or to a mapping with any key of a
            configuration and ``recipe``, the name of a recipe to start from. Dataset, splits and metric of a file or recipe are left out,
            those of a file with a warning. A mapping must name a strategy, by itself or by its recipe, unless the name of the method is
            that of a strategy.
        recipe, students, student, training, task_weights, metric, protocol, folds, label_rate, unlabelled: see `fit`; for all methods. A
            method may override them, also by its recipe. Methods with different label rates, pools or metrics have separate columns in
            tables.
        strategy_options: options of the strategies of all methods. Options that gml has and another strategy lacks are left out there,
            with a warning.
        seeds: number of seeds, 0 ... seeds - 1 (default: 10 if the protocol has one split, 1 if it has folds).
        baseline: the method that tables compare the others with (default: independent, if it is among them).
        tuned: first tune every method on every dataset with this number of trials (see `dgl-mutual tune`). The trials of the experiment
            use other seeds. Needs optuna. `Experiment.searches` has all trials of the searches.
        out: folder of the results, from which a second call goes on (default: a temporary folder, which is removed with the experiment;
            see `Experiment.save`).
        name: the experiment's own folder is called ``suite-<name>``.
        jobs: number of trials to run in parallel, each in its own process if there are several (default: one per CPU core; 1 on a GPU).
        threads: number of threads per trial. Another number changes rounding errors, which training with batch norm amplifies, so the
            default is the same everywhere.
        device: ``cpu``, ``cuda``, ``cuda:N``, a `torch.device`, or ``auto``: cuda if torch has a GPU.
        track: trackers of all trainings except those of searches: ``tensorboard``, ``mlflow``, ``wandb``, an import path
            ``package.module:Class``, a subclass of `Tracker`, or a list of these.
        resume: keep finished trials.
        progress: show progress on standard error.
        data_dir, offline: see `load`.
        trust: import, and so execute, code that a file among `methods` names as ``package.module:Class``.

    Raises:
        UsageError: an unknown name, key or value, or options that do not fit together; the message names the run. Also a file that cannot
            be read, or that names code without `trust`.
        DataError: a dataset is not available.
        SplitError: the labels of all missing datasets do not allow the splits; a UsageError, too.
        TrainingError: no trial has finished, or a training process was killed.
        StoreError: a folder cannot be written, or holds something else; or the working folder no longer exists.
        Interrupted: by Ctrl-C; a KeyboardInterrupt.

    Without `out`, an error leaves nothing behind unless trials have finished. These are kept in the temporary folder, and the message names
    the `out` with which the same call goes on.
    """
    if not isinstance(name, str) or not name.strip():
        raise UsageError(f"name = {name!r} is not a name for the experiment's folder. Give a string, for example name='experiment'.")
    check_booleans(resume=resume, progress=progress, offline=offline, trust=trust)
    check_working_folder()
    with streams_opened():  # before a file gets the descriptor of a closed stream, which processes would then lack
        pass
    compute = Compute(device=device, jobs=jobs, threads=threads)
    trackers = _trackers(track)
    folder_of_data = None if data_dir is None else user_path(data_dir)
    named = _named_datasets(dataset)
    pool: Dataset | None = None
    if unlabelled is not None and not isinstance(unlabelled, str | Path):
        pool = as_unlabelled(unlabelled, "graph")
        # Beside a pool in memory, datasets are loaded into memory, too, since no such run can be repeated from files.
        named = {label: _loaded(data, folder_of_data, offline=offline) for label, data in named.items()}
    in_memory = {label: data for label, data in named.items() if isinstance(data, Dataset)}
    base = {
        "students": students,
        "student": student,
        "strategy_options": strategy_options,
        "training": training,
        "task_weights": task_weights,
        "metric": metric,
        "protocol": protocol,
        "seeds": seeds,
        "folds": folds,
        "label_rate": label_rate,
        "unlabelled": pool.name if pool is not None else None if unlabelled is None else str(unlabelled),
    }
    given = _lists({key: value for key, value in base.items() if value is not None})
    values = {
        "baseline": baseline,
        "datasets": [{"name": label, **_layer_of(data, recipe, given)} for label, data in named.items()],
        "methods": _methods(methods, trust=trust),
    }
    suite = parse_options(Suite, values)
    show = display if progress else no_progress
    with _folder_of_results(out) as (folder, temporary):
        plan, tuning = prepare_suite(
            name,
            suite,
            out=folder,
            data=DataSource(folder_of_data, offline, in_memory, pool),
            compute=compute,
            leave_out=False,
            tuned=tuned,
            display=show,
        )
        with show() as shown:
            reports = run_suite(plan, compute=compute, resume=resume, progress=shown, track=trackers)
        if tuning is not None:
            tuning.write(plan.folder)
        failed = [line for report in reports for line in report.failed]
        result = Experiment(plan.folder, temporary=temporary)
        finished = result.runs  # read now: another experiment may use the folder later
        if failed and not finished:
            raise TrainingError(f"All trials failed. The first: {failed[0]}")
        if failed:
            warn(f"{counted(len(failed), 'trial')} failed (see .failures). The first: {failed[0]}")
        else:
            try:
                write_suite_tables(plan.folder)
            except UsageError as error:  # the trials are still available
                warn(f"No table of all methods: {error} The trials are in .trials.")
        return result


@contextmanager
def _folder_of_results(out: str | Path | None) -> Iterator[tuple[Path, TemporaryFolder | None]]:
    """The folder of the results: `out`, or a temporary folder.

    A temporary folder is removed with the last object that needs it. If the block fails after a trial has finished, the folder is kept, and
    the error says how to go on from there.
    """
    if out is not None:
        yield user_path(out), None
        return
    temporary = temporary_folder()
    folder = Path(temporary.name)
    try:
        yield folder, temporary
    except BaseException as error:
        if not _has_finished_trials(folder):
            temporary.remove()
            if isinstance(error, Interrupted):
                raise KeyboardInterrupt("Interrupted before any trial was finished, so nothing is kept.") from None
            raise
        temporary.keep()
        go_on = f"The same call with out={temporary.name!r} goes on from there."
        if isinstance(error, Interrupted):
            raise Interrupted(error.finished, error.planned, folder, go_on=go_on) from None
        kept = f"What is finished is kept in {temporary.name!r}. {go_on}"
        if isinstance(error, DglMutualError):
            error.args = (f"{error} {kept}",)
        else:  # its message is not ours
            warn(kept)
        raise


def _has_finished_trials(out: Path) -> bool:
    """Whether any trial of a run or search has finished below a folder."""
    return any(any(out.glob(f"*/{name}")) for name in (TRIALS_FILE, BEST_FILE))


def _named_datasets(dataset: Any) -> dict[str, Any]:
    """Name for tables -> dataset, or name of a dataset."""
    if isinstance(dataset, Mapping):
        for label in dataset:
            if not isinstance(label, str):
                raise UsageError(f"The name {label!r} of a dataset is {kind_of(label)}. Give a string, for example '{label}'.")
        return {label: _name_or_dataset(entry) for label, entry in dataset.items()}
    is_list = isinstance(dataset, list | tuple) and all(isinstance(entry, str | Path | Dataset) for entry in dataset)
    datasets = [_name_or_dataset(entry) for entry in (dataset if is_list else [dataset])]
    names = [entry.name if isinstance(entry, Dataset) else Path(entry).name for entry in datasets]
    repeated = sorted(label for label, count in Counter(names).items() if count > 1)
    if repeated:
        raise UsageError(f"Several datasets are called {repeated[0]!r}. Give a mapping from names of your own to datasets.")
    return dict(zip(names, datasets, strict=True))


def _loaded(data: Any, data_dir: Path | None, *, offline: bool) -> Dataset:
    return data if isinstance(data, Dataset) else load_dataset(data, "graph", data_dir=data_dir, offline=offline)


def _layer_of(data: Any, recipe: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """The layer of configuration of a dataset: the options given for all methods, over the recipe."""
    named: dict[str, Any] = {"dataset": data.name if isinstance(data, Dataset) else str(data)}
    if recipe is None:
        return {**given, **named}
    known = {"task": data.task} if isinstance(data, Dataset) else {}
    return combine_layers(read_recipe(recipe, {**named, **known}), {**given, **named})


def _name_or_dataset(entry: Any) -> Any:
    return str(entry) if isinstance(entry, str | Path) else as_dataset(entry)


def _trackers(track: TrackerLike | Sequence[TrackerLike] | None) -> tuple[TrackerLike, ...]:
    """Trackers as a tuple."""
    trackers = split_names(track, "track", "tensorboard") if isinstance(track, str) else tuple(one_or_several("track", track))
    check_trackers(trackers)
    return trackers


def _methods(methods: Any, *, trust: bool) -> Any:
    if isinstance(methods, str):
        return split_names(methods, "methods", "independent,gml")
    return {label: _method(layer, trust=trust) for label, layer in methods.items()} if isinstance(methods, Mapping) else methods


def _method(layer: Any, *, trust: bool) -> Any:
    """The layer of configuration of a method."""
    if layer is None:
        return None
    if is_config_file(layer):
        of_file = method_of_file(user_path(layer))
        if not trust:
            refuse_code(of_file, layer)
        return of_file
    return _lists(layer) if isinstance(layer, Mapping) else {"strategy": layer}


def _lists(layer: Mapping[str, Any]) -> dict[str, Any]:
    """A layer of configuration with lists in place of iterators, which only the first run could read."""
    return {key: list(value) if isinstance(value, Iterator) else value for key, value in layer.items()}
