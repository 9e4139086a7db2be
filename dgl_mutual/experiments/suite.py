"""A suite: methods x datasets, each a layer of plain configuration over a common base, run side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import yaml
from pydantic import Field, field_validator, model_validator

from dgl_mutual.data.dataset import Dataset, TaskName
from dgl_mutual.data.load import load_dataset
from dgl_mutual.errors import DataError, UsageError, unknown
from dgl_mutual.experiments.config import MAX_SEEDS, RunConfig, layered, merged, parse_config, read_config, read_mapping
from dgl_mutual.experiments.environment import without_folders
from dgl_mutual.experiments.executors.dask import connected
from dgl_mutual.experiments.loading import joined_with_pool, load_pool, takes_edge_features
from dgl_mutual.experiments.plan import Plan, prepare
from dgl_mutual.experiments.progress import Progress
from dgl_mutual.experiments.recipes import read_recipe
from dgl_mutual.experiments.run_store import lock
from dgl_mutual.experiments.runner import RunReport, execute
from dgl_mutual.files import check_writable, write_text
from dgl_mutual.options import Options, parse_options
from dgl_mutual.plain_yaml import read_yaml
from dgl_mutual.safe_text import path_name
from dgl_mutual.store.tables import MAX_TITLE, MAX_TRIALS, SUITE_FILE
from dgl_mutual.strategies import STRATEGIES
from dgl_mutual.training.trackers import check_trackers

#: The most that --quick leaves of any run: enough to see that all of it works, exchange after its warm-up too.
QUICK = {"seeds": 2, "folds": 3}
QUICK_EPOCHS = 30
_EPOCHS = "training.epochs"
#: A small suite, as a file would hold it.
_EXAMPLE = "{datasets: [digits], methods: [independent, gml]}"
#: Keys of a configuration that a suite's datasets decide.
_OF_THE_DATA = ("task", "dataset", "targets", "fingerprint", "protocol", "seeds", "folds")
#: Layers over single runs, by the names of data and method.
Layers: TypeAlias = Mapping[tuple[str, str], Mapping[str, Any]]


class TuningOptions(Options):
    """How methods are tuned on a dataset, the same for all of them (``suite --tuned N``)."""

    trials: int | None = Field(None, ge=1, le=MAX_TRIALS)
    """Maximum number of trials of a search, if it is less than N."""
    splits: int = Field(1, ge=1, le=MAX_SEEDS)
    """Number of trainings of each configuration, over which the validation metric is averaged: folds, or seeds if there are no folds."""


class SuiteDataset(Options):
    """On what all methods are run: a dataset, and options that belong to it."""

    name: str = Field(min_length=1, max_length=MAX_TITLE)
    """What tables call it."""
    config: dict[str, Any]
    """The layer of configuration; `dataset` is among it."""
    methods: dict[str, dict[str, Any]] | None = None
    """The methods to run on it (default: all): a list of names, or a mapping from names to options that a method has on this dataset."""
    tuning: TuningOptions = TuningOptions()
    """Options of tuning."""

    @field_validator("methods", mode="before")
    @classmethod
    def _layers(cls, methods: Any) -> Any:
        if methods is None:
            return None
        named = _by_name(methods, "names of methods are needed, or a mapping from their names to options")
        return {name: {} if layer is None else _of_any_dataset(layer) for name, layer in named.items()}


class Suite(Options):
    """Datasets x methods."""

    description: str = ""
    """One line on what it shows."""
    baseline: str | None = None
    """The method that its tables compare the others with (default: independent, where it is one of them)."""
    base: dict[str, Any] = Field(default_factory=dict)
    """Configuration of all runs."""
    datasets: tuple[SuiteDataset, ...] = Field(min_length=1, examples=["[digits]"])
    """Names of datasets, or mappings: ``dataset`` or ``recipe``, any other key of a configuration, and the keys of a `SuiteDataset`."""
    methods: dict[Annotated[str, Field(max_length=MAX_TITLE)], dict[str, Any]] = Field(min_length=1, examples=["[independent, gml]"])
    """Name -> configuration, or a file of one, such as best.yaml of `dgl-mutual tune`, of which what belongs to the data is left out. The
    key ``recipe`` names a recipe that a method starts from; of it, too, what belongs to the data is left out."""

    @field_validator("datasets", mode="before")
    @classmethod
    def _settings(cls, datasets: Any) -> Any:
        if isinstance(datasets, str):
            raise ValueError(f"a list is needed, for example [{datasets}]")
        return tuple(_dataset(entry) for entry in datasets) if isinstance(datasets, list | tuple) else datasets

    @field_validator("datasets")
    @classmethod
    def _different(cls, datasets: tuple[SuiteDataset, ...]) -> tuple[SuiteDataset, ...]:
        names = [setting.name for setting in datasets]
        double = sorted({name for name in names if names.count(name) > 1})
        if double:
            raise ValueError(f"{double[0]!r} is there several times: give each a 'name' of its own")
        return datasets

    @field_validator("methods", mode="before")
    @classmethod
    def _layers(cls, methods: Any) -> Any:
        """``name:`` alone means the strategy of that name, and so does a name in a list, or a name whose configuration has no strategy."""
        named = _by_name(methods, "names of strategies are needed, or a mapping from names of your own to configuration")
        layers = {name: {"strategy": name} if layer is None else _method(layer) for name, layer in named.items()}
        return {
            name: {"strategy": name, **layer} if name in STRATEGIES and isinstance(layer, Mapping) else layer
            for name, layer in layers.items()
        }

    @model_validator(mode="after")
    def _known_baseline(self) -> Suite:
        if self.baseline is not None and self.baseline not in self.methods:
            raise ValueError(
                f"baseline {self.baseline!r} is not among the methods ({', '.join(self.methods)}): name one of them, or leave it out"
            )
        return self


@dataclass(frozen=True, eq=False)
class SuiteRun:
    """One run of a suite, by the names that its tables use."""

    data: str
    method: str
    config: RunConfig
    tuning: TuningOptions


@dataclass(frozen=True, eq=False)
class SuitePlan:
    """A suite that is ready to start.

    Attributes:
        folder: the suite's own folder, beside those of its runs.
        entries: each run with what it needs; two may be the same run by two names.
        missing: data that are not available -> why.
    """

    folder: Path
    suite: Suite
    entries: tuple[tuple[SuiteRun, Plan], ...]
    missing: dict[str, str]

    @property
    def plans(self) -> list[Plan]:
        """The different runs; of one that is there with several numbers of seeds, that with the most."""
        most: dict[str, Plan] = {}
        for _, plan in self.entries:
            if plan.name not in most or len(plan.trials) > len(most[plan.name].trials):
                most[plan.name] = plan
        return list(most.values())


def suite_names() -> dict[str, str]:
    """The suites of this package, each with its description."""
    files = sorted(resources.files("dgl_mutual.experiments").joinpath("suites").iterdir(), key=lambda file: file.name)
    return {file.name.removesuffix(".yaml"): str(read_yaml(file.read_text(encoding="utf-8"))["description"]) for file in files}


def load_suite(name_or_file: str) -> tuple[str, Suite]:
    """The name and content of a suite of this package, or of a YAML file.

    Raises:
        UsageError: neither, or a key or value that a suite does not have.
    """
    if name_or_file.endswith((".yaml", ".yml")):
        file = Path(name_or_file)
        return file.stem, parse_options(Suite, read_mapping(file, _EXAMPLE))
    if name_or_file not in suite_names():
        raise unknown("suite", name_or_file, [*suite_names(), "a file FILE.yaml"])
    text = resources.files("dgl_mutual.experiments").joinpath("suites", f"{name_or_file}.yaml").read_text(encoding="utf-8")
    return name_or_file, parse_options(Suite, read_yaml(text))


def configurations(
    suite: Suite, *, quick: bool = False, overrides: Mapping[str, Any] | None = None, tuned: Layers | None = None
) -> list[SuiteRun]:
    """The configuration of every run.

    Args:
        quick: scaled down (see `QUICK`).
        overrides: a last layer over all.
        tuned: what tuning has chosen for single runs.

    Raises:
        UsageError: an unknown method, key or value; says in which run. Also overrides that would put results under a wrong name.
    """
    entries: list[SuiteRun] = []
    plainly: list[RunConfig] = []  # without the overrides
    for setting in suite.datasets:
        here = {name: {} for name in suite.methods} if setting.methods is None else setting.methods
        for method, layer in here.items():
            if method not in suite.methods:
                raise unknown("method", method, suite.methods)
            chosen = (tuned or {}).get((setting.name, method), {})
            try:
                own = [_with_recipe(one, setting.config, suite.methods[method]) for one in (suite.methods[method], layer)]
                config = parse_config(suite.base, setting.config, *own, overrides or {}, chosen)
                plainly.append(parse_config(suite.base, setting.config, *own, chosen) if overrides else config)
            except UsageError as error:
                raise UsageError(f"{method} on {setting.name}: {error}") from None
            entries.append(SuiteRun(setting.name, method, config, setting.tuning))
    _refuse_wrong_names(entries, plainly)
    return [replace(entry, config=_scaled_down(entry.config)) for entry in entries] if quick else entries


def _refuse_wrong_names(entries: Sequence[SuiteRun], plainly: Sequence[RunConfig]) -> None:
    """Refuse overrides of what the names of data and methods stand for: tables would have results under the names of others.

    Args:
        plainly: the configuration of each run without the overrides.
    """
    for entry, before in zip(entries, plainly, strict=True):
        for key in ("dataset", "targets", "strategy"):
            if getattr(entry.config, key) != getattr(before, key):
                raise UsageError(
                    f"{key} = {getattr(entry.config, key)!r} would stand in the tables as {entry.method} on {entry.data}. What the names "
                    f"of a suite stand for cannot be set from outside. Leave {key} out, or write a suite of your own: {_EXAMPLE}."
                )
    seen: dict[str, tuple[SuiteRun, RunConfig]] = {}
    for entry, before in zip(entries, plainly, strict=True):
        other, others = seen.setdefault(repr(entry.config), (entry, before))
        if before.model_copy(update={"seeds": others.seeds}) != others:
            raise UsageError(
                f"What is set would make {entry.method} on {entry.data} the same run as {other.method} on {other.data}, and the tables "
                f"would show it under both names. Leave it out, or write a suite of your own: {_EXAMPLE}."
            )


def _with_recipe(layer: Mapping[str, Any], of_data: Mapping[str, Any], method: Mapping[str, Any]) -> dict[str, Any]:
    """A method's layer over the recipe that it names, if it names one, without what belongs to the data.

    The strategy is the method's own, if it names one.

    Raises:
        UsageError: there is no such recipe.
    """
    own = {key: value for key, value in layer.items() if key != "recipe"}
    if len(own) == len(layer):
        return own
    recipe = {key: value for key, value in read_recipe(layer["recipe"], of_data).items() if key not in _OF_THE_DATA}
    return layered(recipe, {key: method[key] for key in ("strategy",) if key in method}, own)


def _scaled_down(config: RunConfig) -> RunConfig:
    fewer: dict[str, Any] = {key: min(getattr(config, key) or most, most) for key, most in QUICK.items()}
    if config.grid and _EPOCHS in config.grid:
        capped = tuple(dict.fromkeys(min(epochs, QUICK_EPOCHS) for epochs in config.grid[_EPOCHS]))
        return config.model_copy(update={"grid": {**config.grid, _EPOCHS: capped}, **fewer})
    epochs = min(config.training.epochs, QUICK_EPOCHS)
    start = config.training.average_start
    average = {} if start is None or start < epochs else {"average_start": epochs // 2}
    training = config.training.model_copy(update={"epochs": epochs, **average})
    warmup = config.strategy_options.get("exchange_warmup")
    late = isinstance(warmup, list | tuple) and len(warmup) > 0 and isinstance(warmup[0], int) and warmup[0] >= epochs
    options = {**config.strategy_options, **({"exchange_warmup": None} if late else {})}
    return config.model_copy(update={"training": training, "strategy_options": options, **fewer})


def suite_loader(
    *, data_dir: Path | None = None, offline: bool = False, in_memory: Mapping[str, Dataset] | None = None, pool: Dataset | None = None
) -> Callable[[SuiteRun], Dataset]:
    """A function that loads the dataset of a run, with its pool of unlabelled graphs. Each dataset is loaded once.

    Args:
        in_memory, pool: see `plan_suite`.
    """

    @cache
    def load(dataset: str, task: TaskName | None, targets: tuple[str, ...] | None) -> Dataset:
        return load_dataset(dataset, task, data_dir=data_dir, offline=offline, progress=True, targets=targets)

    @cache
    def pooled(dataset: Dataset, unlabelled: str | None, edge_features: bool) -> Dataset:
        if pool is not None and unlabelled == pool.name:
            return joined_with_pool(dataset, pool, edge_features=edge_features)
        return load_pool(dataset, unlabelled, edge_features=edge_features, data_dir=data_dir, offline=offline)

    def of_run(run: SuiteRun) -> Dataset:
        known = (in_memory or {}).get(run.data)
        dataset = load(run.config.dataset, run.config.task, run.config.targets) if known is None else known
        return pooled(dataset, run.config.unlabelled, takes_edge_features(run.config.cohort))

    return of_run


def plan_suite(
    name: str,
    suite: Suite,
    *,
    out: Path,
    quick: bool = False,
    overrides: Mapping[str, Any] | None = None,
    data_dir: Path | None = None,
    offline: bool = False,
    in_memory: Mapping[str, Dataset] | None = None,
    pool: Dataset | None = None,
    tuned: Layers | None = None,
) -> SuitePlan:
    """Load every dataset once and resolve every run. A dataset that is not available is noted, and the rest goes on.

    Args:
        in_memory: datasets that need not be loaded, by the names that the suite's tables use.
        pool: a pool of unlabelled graphs that need not be loaded either, for datasets in memory; configurations name it as `unlabelled`.
        tuned: see `configurations`; the suite's folder then has a name of its own.

    Raises:
        UsageError: a run that cannot work; says which.
    """

    load = suite_loader(data_dir=data_dir, offline=offline, in_memory=in_memory, pool=pool)
    entries, missing = [], {}
    for entry in configurations(suite, quick=quick, overrides=overrides, tuned=tuned):
        if entry.data in missing:
            continue
        try:
            plan = prepare(entry.config, load(entry), f"{entry.data} {entry.method}", in_memory=entry.data in (in_memory or {}))
        except DataError as error:
            missing[entry.data] = str(error)
        except UsageError as error:
            raise UsageError(f"{entry.method} on {entry.data}: {error}") from None
        else:
            entries.append((entry, plan))
    return SuitePlan(
        out / path_name(f"suite-{name}{'-quick' if quick else ''}{'-tuned' if tuned is not None else ''}"), suite, tuple(entries), missing
    )


def run_suite(
    plan: SuitePlan,
    *,
    device: str = "auto",
    jobs: int | None = None,
    threads: int = 1,
    resume: bool = True,
    progress: Progress | None = None,
    cluster: str | None = None,
    track: Sequence[str] = (),
) -> list[RunReport]:
    """Run what is missing of a suite; see `execute` and `connected`. The suite's folder says first which runs are its own."""
    out = plan.folder.parent
    check_trackers(track)
    check_writable(out)
    runs = [
        {"folder": run.folder(out).name, "data": entry.data, "method": entry.method, "seeds": run.config.seeds}
        for entry, run in plan.entries
    ]
    missing = {data: without_folders(why) for data, why in plan.missing.items()}
    values = {"description": plan.suite.description, "baseline": plan.suite.baseline, "runs": runs, "missing": missing}
    with connected(cluster) if cluster is not None else nullcontext() as there, lock(plan.folder):
        write_text(plan.folder / SUITE_FILE, yaml.safe_dump(values, sort_keys=False))
        return execute(
            plan.plans, out=out, device=device, jobs=jobs, threads=threads, resume=resume, progress=progress, executor=there, track=track
        )


def _by_name(methods: Any, needed: str) -> Mapping[str, Any]:
    """What is given for each method; nothing for the names of a list."""
    named = methods
    if isinstance(methods, Iterable) and not isinstance(methods, str | Mapping | set | frozenset):
        several = list(methods)
        if not all(isinstance(name, str) for name in several):
            raise ValueError(f"{needed}, not {methods!r}")
        twice = [name for name, count in Counter(several).items() if count > 1]
        if twice:
            raise ValueError(f"{twice[0]!r} is named twice: give it once, or a mapping from names of your own")
        named = dict.fromkeys(map(str, several))
    if not isinstance(named, Mapping) or not named:
        raise ValueError(f"{needed}, not {methods!r}")
    return named


def _method(layer: Any) -> Any:
    """A file's configuration without what belongs to the data; anything else as it is."""
    if not isinstance(layer, str) or not layer.endswith((".yaml", ".yml")):
        return _of_any_dataset(layer)
    return {key: value for key, value in read_config(Path(layer)).items() if key not in _OF_THE_DATA}


def _of_any_dataset(layer: Any) -> Any:
    """What a method is called on one dataset must not be run on another."""
    if isinstance(layer, Mapping) and "dataset" in layer:
        raise ValueError(f"a method has no dataset of its own ({layer['dataset']!r}): name it among the suite's 'datasets'")
    return layer


def _dataset(entry: Any) -> Any:
    if isinstance(entry, str):
        return {"name": entry, "config": {"dataset": entry}}
    if isinstance(entry, Mapping) and "recipe" in entry:
        own = {key: value for key, value in entry.items() if key != "recipe"}
        entry = merged(read_recipe(str(entry["recipe"]), own), own)
    if not isinstance(entry, Mapping) or "dataset" not in entry:
        raise ValueError(f"a dataset is a name, or a mapping with the key 'dataset' or 'recipe', not {entry!r}")
    layer = {key: value for key, value in entry.items() if key not in ("name", "methods", "tuning")}
    tuning = {"tuning": entry["tuning"]} if "tuning" in entry else {}
    return {"name": entry.get("name", entry["dataset"]), "config": layer, "methods": entry.get("methods"), **tuning}
