"""Runs of a suite: methods x datasets, each a layer of configuration over a common base."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import yaml

from dgl_mutual.errors import DataError, UsageError, advice, unknown
from dgl_mutual.experiments.compute import Compute
from dgl_mutual.experiments.configuration.config import RunConfig, parse_config
from dgl_mutual.experiments.configuration.grid import grid_points
from dgl_mutual.experiments.configuration.layers import combine_layers
from dgl_mutual.experiments.configuration.without_effect import warn_of_options_without_effect
from dgl_mutual.experiments.environment import without_folders
from dgl_mutual.experiments.executors.dask import connected
from dgl_mutual.experiments.loading import DataSource
from dgl_mutual.experiments.plan import Plan, prepare
from dgl_mutual.experiments.progress import Progress
from dgl_mutual.experiments.recipes import read_recipe
from dgl_mutual.experiments.run_folders.folder_lock import lock
from dgl_mutual.experiments.runner import RunReport, execute
from dgl_mutual.experiments.suites.suite_file import EXAMPLE, OF_THE_DATA, Suite, TuningOptions
from dgl_mutual.store.configuration import Role, keys_of, read_resolved
from dgl_mutual.store.files import CONFIG_FILE, SUITE_FILE
from dgl_mutual.strategies import STRATEGY_REGISTRY
from dgl_mutual.strategies.base.strategy import Strategy
from dgl_mutual.training.trackers import TrackerLike, check_trackers
from dgl_mutual.utils.files import check_writable, write_text
from dgl_mutual.utils.plain_yaml import read_yaml_file, yaml_text
from dgl_mutual.utils.safe_text import path_name

#: Maximum numbers of a run with --quick: enough to see that all of it works, including the exchange after its warm-up.
QUICK = {"seeds": 2, "folds": 3}
QUICK_EPOCHS = 30
#: Dotted keys of options that are counted in epochs.
_IN_EPOCHS = ("training.epochs", "training.average_start", "strategy_options.exchange_warmup")
#: Layers of configuration of single runs, by (name of the data, name of the method).
Layers: TypeAlias = Mapping[tuple[str, str], Mapping[str, Any]]
_Made = TypeVar("_Made")


@dataclass(frozen=True, eq=False)
class SuiteRun:
    """One run of a suite, with its names in tables."""

    data: str
    method: str
    config: RunConfig
    tuning: TuningOptions


@dataclass(frozen=True, eq=False)
class SuitePlan:
    """A suite that is ready to start.

    Attributes:
        folder: the suite's own folder, beside those of its runs.
        entries: each run with its plan; two entries may be the same run under two names.
        missing: datasets that are not available, or cannot be split for one of their methods -> the reason. They have no entries.
    """

    folder: Path
    suite: Suite
    entries: tuple[tuple[SuiteRun, Plan], ...]
    missing: dict[str, DataError]

    @property
    def plans(self) -> list[Plan]:
        """The different runs; of a run with several numbers of seeds, the one with the most."""
        most: dict[str, Plan] = {}
        for _, plan in self.entries:
            if plan.name not in most or len(plan.trials) > len(most[plan.name].trials):
                most[plan.name] = plan
        return list(most.values())

    def without(self, missing: Mapping[str, DataError]) -> SuitePlan:
        """The plan without further missing datasets."""
        entries = tuple((run, plan) for run, plan in self.entries if run.data not in missing)
        return replace(self, entries=entries, missing={**self.missing, **missing})


@contextmanager
def named(method: str, data: str) -> Iterator[None]:
    """Add the names of a run to usage errors within the block."""
    try:
        yield
    except UsageError as error:
        raise type(error)(f"{method} on {data}: {error}") from None


def with_data(runs: Iterable[SuiteRun], make: Callable[[SuiteRun], _Made]) -> tuple[list[tuple[SuiteRun, _Made]], dict[str, DataError]]:
    """Call `make` for each run, and collect the errors of datasets. A dataset that fails for one method is left out for all methods.

    Returns:
        Each run with its result, and the missing datasets with the reasons.

    Raises:
        UsageError: raised by `make`, except for errors of splits; the message names the run.
    """
    results: list[tuple[SuiteRun, _Made]] = []
    missing: dict[str, DataError] = {}
    for run in runs:
        if run.data in missing:
            continue
        try:
            with named(run.method, run.data):
                results.append((run, make(run)))
        except DataError as error:
            missing[run.data] = type(error)(str(error))  # the traceback of the original would keep data in memory
    return [(run, result) for run, result in results if run.data not in missing], missing


def configurations(
    suite: Suite, *, quick: bool = False, overrides: Mapping[str, Any] | None = None, tuned: Layers | None = None
) -> list[SuiteRun]:
    """The configuration of every run.

    Args:
        quick: scale runs down (see `QUICK`).
        overrides: last layer of all runs.
        tuned: tuned options of single runs.

    Raises:
        UsageError: an unknown method, key or value; the message names the run. Also overrides that would put results under a wrong name,
            and a strategy that a file sets without effect for all runs or for a dataset.
    """
    runs: list[SuiteRun] = []
    without_overrides: list[RunConfig] = []
    layers: dict[str, tuple[Mapping[str, Any], Sequence[SuiteRun]]] = {"base": (suite.base, runs)}
    for number, data in enumerate(suite.datasets):
        first = len(runs)
        methods_here = {name: {} for name in suite.methods} if data.methods is None else data.methods
        for method, layer in methods_here.items():
            if method not in suite.methods:
                raise unknown("method", method, suite.methods)
            tuned_layer = (tuned or {}).get((data.name, method), {})
            with named(method, data.name):
                method_layers = [_with_recipe(values, data.config, suite.methods[method]) for values in (suite.methods[method], layer)]
                config = parse_config(suite.base, data.config, *method_layers, overrides or {}, tuned_layer)
                without_overrides.append(parse_config(suite.base, data.config, *method_layers, tuned_layer) if overrides else config)
                of_recipe = any("recipe" in values for values in (suite.methods[method], layer))
                is_known = of_recipe or any(map(_names_strategy, (suite.base, data.config)))
                _refuse_other_strategy(method, config.strategy, method_layers, is_known=is_known)
            runs.append(SuiteRun(data.name, method, config, data.tuning))
        layers[f"datasets.{number}"] = (data.config, runs[first:])
    _refuse_wrong_names(runs, without_overrides)
    for key, (values, here) in layers.items():
        if key in suite._own_strategies and _names_strategy(values) and all(run.config.strategy != values["strategy"] for run in here):
            raise UsageError(
                f"Option '{key}.strategy' = {values['strategy']!r} has no effect here: no run uses it, since every method, or its dataset, "
                "names another one. Leave it out, with its options, or name it among the suite's 'methods'."
            )
    return [_scaled_down(run) for run in runs] if quick else runs


def _names_strategy(layer: Mapping[str, Any]) -> bool:
    return layer.get("strategy") is not None


def _refuse_other_strategy(
    method: str, strategy: str | type[Strategy], method_layers: Sequence[Mapping[str, Any]], *, is_known: bool
) -> None:
    """Refuse a method without a strategy, and a method that inherits another strategy than the one in its name.

    Args:
        method_layers: the layers of the method itself.
        is_known: whether a strategy is inherited: that of the dataset or of all methods, or, with a recipe, the default.
    """
    names = STRATEGY_REGISTRY.names()
    if any(map(_names_strategy, method_layers)):
        return
    if not is_known:
        raise UsageError(
            "The method has no strategy, and none has its name. Give it one, for example 'strategy: gml', or correct the name. "
            f"{advice(method, names)}"
        )
    words = f" {re.sub('[^a-z0-9]+', ' ', method.lower())} "
    contained = [name for name in names if f" {name.replace('-', ' ')} " in words]
    if contained and strategy not in contained:
        raise UsageError(
            f"The method has no strategy of its own and would use {strategy!r}, but its name contains {contained[-1]!r}. Give it one of "
            f"the two: 'strategy: {contained[-1]}' or 'strategy: {strategy}'."
        )


#: Keys of a configuration that the names of data and methods stand for in every suite.
_OF_THE_NAMES = ("dataset", "targets", "strategy")


def _refuse_wrong_names(runs: Sequence[SuiteRun], without_overrides: Sequence[RunConfig]) -> None:
    """Refuse overrides of keys that the names of data and methods stand for: tables would show results under wrong names.

    Label rates, pools and noise are among these keys if the suite sets them.

    Args:
        without_overrides: the configuration of each run without overrides.
    """
    defaults = RunConfig.model_fields
    keys_of_suite = [
        key
        for key in keys_of(Role.SAMPLES, Role.POOL)
        if any(getattr(config, key) != defaults[key].default for config in without_overrides)
    ]
    for run, before in zip(runs, without_overrides, strict=True):
        for key in (*_OF_THE_NAMES, *keys_of_suite):
            if getattr(run.config, key) != getattr(before, key):
                raise UsageError(
                    f"{key} = {getattr(run.config, key)!r} would appear in the tables as {run.method} on {run.data}. Options that the "
                    f"names of a suite stand for cannot be overridden. Leave {key} out, or write a suite of your own: {EXAMPLE}."
                )
    seen: dict[str, tuple[SuiteRun, RunConfig]] = {}
    for run, before in zip(runs, without_overrides, strict=True):
        other, others = seen.setdefault(repr(run.config), (run, before))
        if before.model_copy(update={"seeds": others.seeds}) != others:
            raise UsageError(
                f"The overrides would make {run.method} on {run.data} the same run as {other.method} on {other.data}, and the tables "
                f"would show it under both names. Leave them out, or write a suite of your own: {EXAMPLE}."
            )


def _with_recipe(layer: Mapping[str, Any], of_data: Mapping[str, Any], method: Mapping[str, Any]) -> dict[str, Any]:
    """A method's layer over the recipe that it names, if any, without the keys of the data. The method's own strategy, if any, is kept."""
    own = {key: value for key, value in layer.items() if key != "recipe"}
    if len(own) == len(layer):
        return own
    recipe = {key: value for key, value in read_recipe(layer["recipe"], of_data).items() if key not in OF_THE_DATA}
    return combine_layers(recipe, {key: method[key] for key in ("strategy",) if method.get(key) is not None}, own)


def _scaled_down(run: SuiteRun) -> SuiteRun:
    """Limit a run to `QUICK` and `QUICK_EPOCHS`, without the keys of its grid that are counted in epochs.

    Phases that would begin after its last epoch begin earlier.
    """
    grid_points(run.config)  # to report errors of the grid
    config, options, training = run.config, run.config.strategy_options, run.config.training
    epochs = min(training.epochs, QUICK_EPOCHS)
    start, warmup = training.average_start, options.get("exchange_warmup")
    earlier = {"average_start": epochs // 2} if start is not None and start >= epochs else {}
    if isinstance(warmup, list | tuple) and warmup and isinstance(warmup[0], int) and warmup[0] >= epochs:
        options = {key: value for key, value in options.items() if key != "exchange_warmup"}
    changed: dict[str, Any] = {
        **{key: min(getattr(config, key) or most, most) for key, most in QUICK.items()},
        "strategy_options": options,
        "training": training.model_copy(update={"epochs": epochs, **earlier}),
    }
    if config.grid:
        changed["grid"] = {key: values for key, values in config.grid.items() if key not in _IN_EPOCHS} or None
    tuning = run.tuning.model_copy(update={"splits": min(run.tuning.splits, QUICK["folds"])})
    return replace(run, config=config.model_copy(update=changed), tuning=tuning)


def plan_suite(
    name: str,
    suite: Suite,
    *,
    out: Path,
    quick: bool = False,
    overrides: Mapping[str, Any] | None = None,
    data: DataSource | None = None,
    tuned: Layers | None = None,
) -> SuitePlan:
    """Load every dataset once and resolve every run, without the datasets that are missing (see `SuitePlan`).

    Args:
        data: source of the datasets (default: as for `load_dataset`).
        tuned: see `configurations`; the suite's folder then has another name.

    Raises:
        UsageError: a run cannot work; the message names it.
    """
    data = data or DataSource()

    def planned(run: SuiteRun) -> Plan:
        return prepare(run.config, data.load(run.config, run.data), f"{run.data} {run.method}", in_memory=run.data in data.in_memory)

    entries, missing = with_data(configurations(suite, quick=quick, overrides=overrides, tuned=tuned), planned)
    if tuned is None:  # options that a search has chosen were not given
        warn_of_options_without_effect([point for _, plan in entries for point in plan.asked_and_resolved])
    return SuitePlan(
        out / path_name(f"suite-{name}{'-quick' if quick else ''}{'-tuned' if tuned is not None else ''}"), suite, tuple(entries), missing
    )


def run_suite(
    suite_plan: SuitePlan,
    *,
    compute: Compute | None = None,
    resume: bool = True,
    progress: Progress | None = None,
    cluster: str | None = None,
    track: Sequence[TrackerLike] = (),
) -> list[RunReport]:
    """Run the missing trials of a suite; see `execute` and `connected`. The list of its runs is written to the suite's folder first.

    Raises:
        UsageError: see `execute`; or, with `resume`, the folder is that of another suite.
    """
    out = suite_plan.folder.parent
    check_trackers(track)
    check_writable(out)
    runs = [{"folder": plan.name, "data": run.data, "method": run.method, "seeds": plan.config.seeds} for run, plan in suite_plan.entries]
    missing = {data: without_folders(str(why)) for data, why in suite_plan.missing.items()}
    values = {"description": suite_plan.suite.description, "baseline": suite_plan.suite.baseline, "runs": runs, "missing": missing}
    with connected(cluster) if cluster is not None else nullcontext() as there, lock(suite_plan.folder):
        if resume:
            _refuse_another_suite(suite_plan)
        write_text(suite_plan.folder / SUITE_FILE, yaml_text(values))
        return execute(suite_plan.plans, out=out, compute=compute, resume=resume, progress=progress, executor=there, track=track)


def _refuse_another_suite(suite_plan: SuitePlan) -> None:
    """Refuse the folder of a suite without common runs, whose list of runs and tables would be replaced.

    Runs with the same names on other data are different runs, since different graphs in memory may have the same name.
    """
    folder, entries = suite_plan.folder, suite_plan.entries
    try:
        before = {(run["data"], run["method"]): str(run["folder"]) for run in read_yaml_file(folder / SUITE_FILE)["runs"]}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, LookupError, TypeError):  # missing or unreadable
        return
    if not before or not entries or any(data in suite_plan.missing for data, _ in before):
        return
    if {plan.name for _, plan in entries} & set(before.values()):
        return
    shared = [(before[run.data, run.method], plan) for run, plan in entries if (run.data, run.method) in before]
    recorded = [(read_resolved(folder.parent / name / CONFIG_FILE) or {}, plan.config.fingerprint) for name, plan in shared]
    if any(then.get("fingerprint", now) == now for then, now in recorded):  # an unreadable configuration may be the same
        return
    data, method = next(iter(before))
    other = "its runs have other data under the same names" if shared else "it has no run in common with this one"
    raise UsageError(
        f"The folder {str(folder)!r} is that of another suite, with {method} on {data} among others: {other}. Its tables would be "
        "replaced. Give this suite another name (that of its file; in Python name=...) or another folder for its results (--out; in Python "
        "out=...), or start over with --no-resume (in Python: resume=False)."
    )
