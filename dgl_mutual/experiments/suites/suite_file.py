"""Suite files: methods, datasets, and the options of each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PrivateAttr, field_validator, model_validator

from dgl_mutual.errors import UsageError, advice, unknown
from dgl_mutual.experiments.configuration.config import MAX_SEEDS, read_config, read_mapping
from dgl_mutual.experiments.configuration.layers import DEFAULT_STRATEGY, combine_layers
from dgl_mutual.experiments.recipes import read_recipe
from dgl_mutual.options import Options, parse_options
from dgl_mutual.store.configuration import Role, keys_of
from dgl_mutual.store.tables import MAX_TITLE, MAX_TRIALS
from dgl_mutual.strategies import STRATEGY_REGISTRY
from dgl_mutual.utils.arguments import fault_of_list
from dgl_mutual.utils.imports import is_import_path
from dgl_mutual.utils.paths import user_path
from dgl_mutual.utils.plain_yaml import read_yaml
from dgl_mutual.utils.python_compat import is_class
from dgl_mutual.utils.user_warnings import warn
from dgl_mutual.utils.wording import assignments, counted

_FOLDER = resources.files("dgl_mutual.experiments.suites")
#: A small suite in YAML, as an example.
EXAMPLE = "{datasets: [digits], methods: [independent, gml]}"
#: Keys of a configuration that belong to the datasets of a suite.
OF_THE_DATA = keys_of(Role.DATA, Role.SPLIT, Role.METRIC, Role.COUNT)
#: Those of them that only tell on which data a file was made.
_ORIGIN = ("task", "dataset", "fingerprint")
#: Maximum number of runs of a suite, since all are resolved before the first.
MAX_RUNS = 10_000


class TuningOptions(Options):
    """How methods are tuned on a dataset, the same for all of them (``suite --tuned N``)."""

    trials: int | None = Field(None, ge=1, le=MAX_TRIALS)
    """Maximum number of trials of a search, if it is less than N."""
    splits: int = Field(1, ge=1, le=MAX_SEEDS)
    """Number of trainings of each configuration, over which the validation metric is averaged: folds, or seeds if there are no folds."""

    def num_trials(self, asked: int) -> int:
        """Number of trials of a search here, if `asked` are requested for every search."""
        return min(asked, self.trials or asked)


class SuiteDataset(Options):
    """A dataset on which methods are run, with its options."""

    name: str = Field(min_length=1, max_length=MAX_TITLE)
    """Its name in tables."""
    config: dict[str, Any]
    """The layer of configuration, which includes `dataset`."""
    methods: dict[str, dict[str, Any]] | None = None
    """Methods to run on it (default: all): a list of names, or a mapping from names to options for this dataset."""
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
    """Description of the suite in one line."""
    baseline: str | None = None
    """The method that tables compare the others with (default: independent, if it is among them)."""
    base: dict[str, Any] = Field(default_factory=dict)
    """Configuration of all runs; its strategy is that of methods that name none. Datasets are named in `datasets`."""
    datasets: tuple[SuiteDataset, ...] = Field(min_length=1, examples=["[digits]"])
    """Names of datasets, or mappings: ``dataset`` or ``recipe``, any other key of a configuration, and the keys of a `SuiteDataset`."""
    methods: dict[Annotated[str, Field(max_length=MAX_TITLE)], dict[str, Any]] = Field(min_length=1, examples=["[independent, gml]"])
    """Name -> configuration, or a file with one, such as best.yaml of `dgl-mutual tune`, without the keys that belong to the data, which
    are left out with a warning. The key ``recipe`` names a recipe to start from, also without the keys that belong to the data."""
    #: The places of a file whose strategy applies to several runs, and must have an effect. That of a dataset's recipe need not.
    _own_strategies: set[str] = PrivateAttr(default_factory=set)

    @field_validator("base")
    @classmethod
    def _without_dataset(cls, base: dict[str, Any]) -> dict[str, Any]:
        """Refuse a dataset or fingerprint for all runs, which each of the datasets would override."""
        for key in ("dataset", "fingerprint"):
            if key in base:
                raise ValueError(f"{key} = {base[key]!r} has no effect here: name it among the suite's 'datasets'")
        return base

    @field_validator("datasets", mode="before")
    @classmethod
    def _settings(cls, datasets: Any) -> Any:
        if isinstance(datasets, str):
            raise ValueError(f"a list is needed, for example [{datasets}]")
        if not isinstance(datasets, list | tuple):
            return datasets
        return tuple(_dataset(entry, f"datasets.{number}") for number, entry in enumerate(datasets))

    @field_validator("datasets")
    @classmethod
    def _different(cls, datasets: tuple[SuiteDataset, ...]) -> tuple[SuiteDataset, ...]:
        names = [setting.name for setting in datasets]
        repeated = sorted(name for name, count in Counter(names).items() if count > 1)
        for name in names:
            _check_name(name, "dataset")
        if repeated:
            raise ValueError(f"{repeated[0]!r} occurs several times: give each its own 'name'")
        return datasets

    @field_validator("methods", mode="before")
    @classmethod
    def _layers(cls, methods: Any) -> Any:
        """Turn methods into layers. A name without a strategy, alone, in a list or with other options, is that of its strategy."""
        named = _by_name(methods, "names of strategies are needed, or a mapping from names of your own to configuration")
        for name in (name for name, layer in named.items() if layer is None and is_config_file(name)):
            raise ValueError(f"{name!r} is a file, and its method needs a name of its own: give a mapping, for example {{tuned: {name}}}")
        for name in (name for name, layer in named.items() if layer is None and isinstance(methods, Mapping) and not _is_strategy(name)):
            key = name if re.fullmatch(r"[\w .,-]+", name) else repr(name)
            raise ValueError(
                f"no strategy is called {name!r}, and the method with this name sets none. Set one, for example {key}: {{strategy: "
                f"{DEFAULT_STRATEGY}}}, or correct the name. {advice(name, STRATEGY_REGISTRY.names())}"
            )
        layers = {name: {"strategy": name} if layer is None else _method(layer) for name, layer in named.items()}
        known = STRATEGY_REGISTRY.names()
        return {
            name: {"strategy": name, **layer} if name in known and isinstance(layer, Mapping) else layer for name, layer in layers.items()
        }

    @model_validator(mode="after")
    def _not_too_many(self) -> Suite:
        count = sum(len(self.methods if setting.methods is None else setting.methods) for setting in self.datasets)
        if count > MAX_RUNS:
            raise ValueError(
                f"{counted(len(self.methods), 'method')} on {counted(len(self.datasets), 'dataset')} make {count} runs, but a suite has at "
                f"most {MAX_RUNS}: split it into several"
            )
        return self

    @model_validator(mode="after")
    def _known_baseline(self) -> Suite:
        if self.baseline is not None and self.baseline not in self.methods:
            raise ValueError(
                f"baseline {self.baseline!r} is not among the methods ({', '.join(self.methods)}): name one of them, or leave it out"
            )
        return self


def suite_names() -> dict[str, str]:
    """The suites of this package, each with its description."""
    files = sorted((file for file in _FOLDER.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name)
    return {file.name.removesuffix(".yaml"): str(read_yaml(file.read_text(encoding="utf-8"))["description"]) for file in files}


def load_suite(name_or_file: str) -> tuple[str, Suite]:
    """Load a suite of this package or of a YAML file, and return its name and content.

    Raises:
        UsageError: there is no such suite or file, or it has an unknown key or value.
    """
    if is_config_file(name_or_file):
        file = user_path(name_or_file)
        values = read_mapping(file, EXAMPLE)
        suite = parse_options(Suite, values)
        entries = {f"datasets.{number}": entry for number, entry in enumerate(values["datasets"])}
        suite._own_strategies = {"base", *(key for key, entry in entries.items() if isinstance(entry, Mapping) and "strategy" in entry)}
        return file.stem, suite
    if name_or_file not in suite_names():
        for ending in (".yaml", ".yml"):
            if name_or_file and user_path(f"{name_or_file}{ending}").is_file():
                raise UsageError(
                    f"There is no suite {name_or_file!r} in this package, but there is a file {name_or_file}{ending}. If you mean it, "
                    f"give its full name: {name_or_file}{ending}."
                )
        raise unknown("suite", name_or_file, [*suite_names(), "a file FILE.yaml"])
    text = _FOLDER.joinpath(f"{name_or_file}.yaml").read_text(encoding="utf-8")
    return name_or_file, parse_options(Suite, read_yaml(text))


def is_config_file(named: object) -> bool:
    """Whether a value is the path of a YAML file."""
    return isinstance(named, str | Path) and str(named).endswith((".yaml", ".yml"))


def method_of_file(file: Path) -> dict[str, Any]:
    """Read the configuration of a method from a file, such as best.yaml of `dgl-mutual tune`, without the keys that belong to the data.

    A warning names the options that are left out, except for the dataset on which the file was made.

    Raises:
        UsageError: see `read_config`.
    """
    layer = read_config(file)
    left_out = {key: layer[key] for key in OF_THE_DATA if key not in _ORIGIN and layer.get(key) is not None}
    if left_out:
        warn(
            f"A method does not take over from {str(file)!r}: {assignments(left_out)}. These options belong to the data of all methods: "
            "give them for the datasets of the suite, or to dgl_mutual.experiment. A method that is a mapping can set its own."
        )
    return {key: value for key, value in layer.items() if key not in OF_THE_DATA}


def _is_strategy(name: str) -> bool:
    return is_import_path(name) or name in STRATEGY_REGISTRY.names()


def _by_name(methods: Any, needed: str) -> Mapping[str, Any]:
    """Methods as a mapping by name; the names of a list are mapped to None."""
    named = methods
    if fault_of_list(methods) is None:
        items = list(methods)
        if items and any(map(is_class, items)) and all(is_class(item) or isinstance(item, str) for item in items):
            shown = ", ".join(f"{item.__name__.lower()!r}: {item.__name__}" if is_class(item) else f"{item!r}: {item!r}" for item in items)
            raise ValueError(f"{needed}: a class has no name for tables, so give {{{shown}}}")
        if not all(isinstance(name, str) for name in items):
            raise ValueError(f"{needed}, not {methods!r}")
        twice = [name for name, count in Counter(items).items() if count > 1]
        if twice:
            raise ValueError(f"{twice[0]!r} is named twice: give it once, or a mapping from names of your own")
        named = dict.fromkeys(map(str, items))
    if not isinstance(named, Mapping) or not named:
        hint = f": give a list, [{methods}]" if isinstance(methods, str) else ""
        raise ValueError(f"{needed}, not {methods!r}{hint}")
    for name in named:
        if isinstance(name, bool):
            raise ValueError("names of methods are strings, and YAML reads yes, no, on and off as true or false: write it in quotes, 'on'")
        if not isinstance(name, str):
            raise ValueError(f"names of methods are strings, and {name!r} is not: write it in quotes, '{name}'")
        _check_name(name, "method")
    return named


def _check_name(name: str, what: str) -> None:
    if not name or name != name.strip() or not name.isprintable():
        raise ValueError(f"{name!r} is not a name of a {what}: it is empty, starts or ends with a space, or has control characters in it")


def _method(layer: Any) -> Any:
    """The configuration of a method that is given as a file; others are returned unchanged."""
    return method_of_file(user_path(layer)) if is_config_file(layer) else _of_any_dataset(layer)


def _of_any_dataset(layer: Any) -> Any:
    """Refuse a method with its own dataset, which would appear in tables under the name of another dataset."""
    if isinstance(layer, Mapping) and "dataset" in layer:
        raise ValueError(f"a method has no dataset of its own ({layer['dataset']!r}): name it among the suite's 'datasets'")
    return layer


def _dataset(entry: Any, place: str) -> Any:
    if isinstance(entry, str):
        return {"name": entry, "config": {"dataset": entry}}
    if isinstance(entry, Mapping) and "recipe" in entry:
        own = {key: value for key, value in entry.items() if key != "recipe"}
        try:
            entry = combine_layers(read_recipe(entry["recipe"], own), own)
        except UsageError as error:
            raise UsageError(f"{place}: {error}") from None
    if not isinstance(entry, Mapping) or "dataset" not in entry:
        raise ValueError(f"a dataset is a name, or a mapping with the key 'dataset' or 'recipe', not {entry!r}")
    layer = {key: value for key, value in entry.items() if key not in ("name", "methods", "tuning")}
    tuning = {"tuning": entry["tuning"]} if "tuning" in entry else {}
    return {"name": entry.get("name", entry["dataset"]), "config": layer, "methods": entry.get("methods"), **tuning}
