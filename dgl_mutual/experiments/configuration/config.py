"""Configuration of a run: one frozen group of options, given in a file, by flags, or in Python."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from inspect import isclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, get_args

import yaml
from pydantic import BeforeValidator, Field, PrivateAttr, field_serializer, field_validator, model_validator

from dgl_mutual.data.label_rate import parse_label_rate
from dgl_mutual.data.noise import NoiseSpec
from dgl_mutual.data.values.target import ChosenMetric, TaskName
from dgl_mutual.errors import UsageError
from dgl_mutual.experiments.configuration.given import layer_of_file
from dgl_mutual.experiments.configuration.layers import DEFAULT_STRATEGY, combine_layers
from dgl_mutual.experiments.recipes import DESCRIPTION
from dgl_mutual.joint import TaskWeights
from dgl_mutual.nn.architectures import STUDENT_REGISTRY
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.options import Options, in_order, parse_options
from dgl_mutual.strategies import STRATEGY_REGISTRY
from dgl_mutual.strategies.base.strategy import Strategy
from dgl_mutual.training.options import DistillOptions, TrainingOptions
from dgl_mutual.utils.arguments import fault_of_list
from dgl_mutual.utils.imports import import_path_of, not_importable
from dgl_mutual.utils.plain_yaml import read_yaml_file

#: Shared options that custom students have, too.
_SHARED_WITH_CUSTOM = ("edge_features",)
#: Maximum number of seeds, since all their splits are drawn before the first trial.
MAX_SEEDS = 10_000
#: Maximum number of trials of a run, seeds x folds, for the same reason.
MAX_TRIALS_OF_RUN = 100_000
#: Maximum number of students of a cohort. The cost grows with K^2, since each student has all others as peers.
MAX_STUDENTS = 1000


@dataclass(frozen=True)
class Recorded:
    """The config.yaml of a run from which a configuration was made, with the layers below and above it."""

    values: Mapping[str, Any]
    lower_layers: Mapping[str, Any]
    upper_layers: Mapping[str, Any]


class RunConfig(Options):
    """One run: a cohort, trained on every fold of a dataset with every seed. `None` means the default of the task or protocol."""

    task: TaskName | None = None
    """node or graph (default: the task of the dataset)."""
    dataset: str = "digits"
    """Name or folder of a dataset."""
    targets: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Targets of the dataset to learn together (default: all targets; in a folder in CSV form, the column `label`). Labels of a multi-label
    dataset can also be named; each is then a target of its own."""
    metric: str | None = None
    """Metric that selects epochs and members on validation, and is reported (default: the dataset's metric). Classes: accuracy,
    balanced-accuracy or macro-f1, for two classes also rocauc; binary labels: micro-f1, macro-f1, rocauc or ap. Not for several targets,
    nor for datasets that OGB's evaluator scores."""
    fingerprint: str | None = None
    """Fingerprint that the dataset must have; filled in when a run starts, so that its config.yaml is only valid for this dataset."""
    protocol: str | None = None
    """How samples are split (default: the usual protocol of the dataset)."""
    seeds: int | None = Field(None, ge=1, le=MAX_SEEDS)
    """Number of seeds, 0 ... seeds - 1 (default: 10 if the protocol has one split, 1 if it has folds)."""
    folds: int | None = Field(None, ge=1)
    """Number of folds (default: 10 under nested; under splits, all splits of the dataset). Other protocols have none."""
    students: tuple[StudentOptions, ...] = Field(("gcn", "gat", "gin", "sage"), min_length=1, validate_default=True)
    """The cohort: names of architectures, import paths ``package.module:Class``, or mappings of `StudentOptions`."""
    student: StudentOptions = StudentOptions()
    """Options of all students; a student's own options override them."""
    strategy: str | type[Strategy] = DEFAULT_STRATEGY
    """How the students teach each other: a name, or an import path ``package.module:Class``."""
    strategy_options: dict[str, Any] = Field(default_factory=dict)
    """Options of the strategy."""
    training: TrainingOptions = TrainingOptions()
    """Optimisation and stopping."""
    task_weights: TaskWeights | None = None
    """Weights of several targets in the loss: equal, or by learned uncertainty (default: equal)."""
    label_rate: int | float | None = None
    """Hides labels of the training part: the share to keep, for example 0.1, or the number of labels to keep per class, for example 20.
    Samples with hidden labels remain as unlabelled training samples (default: keep all labels)."""
    unlabelled: str | None = None
    """Name or folder of a dataset with the same feature columns whose graphs are additional unlabelled training samples (a pool). Graphs
    that are also in `dataset` are left out."""
    noise: str | None = None
    """KIND:AMOUNT, for example feature:0.2; the kinds are feature, edge, edge-add, edge-remove, label and label-asymmetric."""
    distill: DistillOptions | None = None
    """An MLP that learns from the trained cohort and needs no graph."""
    grid: dict[str, Annotated[tuple[Any, ...], BeforeValidator(in_order), Field(min_length=1)]] | None = None
    """Dotted key -> values, of which each trial chooses the best on validation; for example ``training.learning_rate: [0.01, 0.001]``."""

    _record: Recorded | None = PrivateAttr(None)

    @property
    def record(self) -> Recorded | None:
        """The config.yaml of the run that the configuration comes from, if any."""
        return self._record

    def with_record(self, record: Recorded) -> RunConfig:
        """A copy that comes from the config.yaml of a run."""
        copy = self.model_copy()
        copy._record = record
        return copy

    @model_validator(mode="before")
    @classmethod
    def _no_recipe(cls, values: Any) -> Any:
        """Refuse the name of a recipe, since recipes are read before they become part of a configuration."""
        if isinstance(values, Mapping) and "recipe" in values:
            raise ValueError(
                f"recipe = {values['recipe']!r} is not an option of a configuration: give it as --recipe, in Python as fit(recipe=...) or "
                "experiment(recipe=...), or in a suite as the key 'recipe' of a dataset or method"
            )
        return values

    @field_validator("students", mode="before")
    @classmethod
    def _expand(cls, students: Any) -> Any:
        """Turn ``"gcn,gat"``, or a list of names and mappings, into one group of options per student."""
        if isinstance(students, str):
            students = split_names(students, "students", "gcn,gat")
        if isinstance(students, Mapping) and students and all(str(key).isdecimal() for key in students):
            raise UsageError(
                f"students.{next(iter(students))} cannot be set: the cohort is a list, and is given as a whole, for example "
                "--set students='[{architecture: gcn, hidden: 32}, gat]' in place of --students. A student of your own has its options in "
                "options: {architecture: mypkg.nets:MyNet, options: {hidden: 4}}."
            )
        if callable(students) or isinstance(students, Mapping):
            students = [students]
        if fault := fault_of_list(students):
            raise ValueError(f"a list of names is needed, for example [gcn, gat], and this is {fault}")
        students = list(islice(students, MAX_STUDENTS + 1))
        if len(students) > MAX_STUDENTS:
            raise ValueError(f"a cohort has at most {MAX_STUDENTS} students, and these are more: leave some out")
        return tuple(_student(student, index) for index, student in enumerate(students))

    @field_validator("strategy", mode="before")
    @classmethod
    def _name(cls, strategy: Any) -> Any:
        """Turn a class into its name or import path; a class that other processes cannot import stays as it is, for this process alone."""
        if isinstance(strategy, str):
            return strategy
        item = STRATEGY_REGISTRY.find(strategy)
        return item.value if not_importable(item.value) else item.name

    @field_serializer("strategy")
    def _plain_name(self, strategy: str | type[Strategy]) -> str:
        return strategy if isinstance(strategy, str) else import_path_of(strategy)

    @field_serializer("strategy_options", when_used="json")
    def _plain_options(self, options: dict[str, Any]) -> dict[str, Any]:
        """Turn classes, such as custom weightings, into import paths; those that other processes cannot import stay as they are."""
        return {name: import_path_of(value) if isclass(value) and not not_importable(value) else value for name, value in options.items()}

    @field_validator("targets", mode="before")
    @classmethod
    def _split_names(cls, targets: Any) -> Any:
        """Turn ``"a,b"`` into two names."""
        return split_names(targets, "targets", "digit,even") if isinstance(targets, str) else targets

    @field_validator("label_rate", mode="before")
    @classmethod
    def _check_label_rate(cls, rate: Any) -> Any:
        return None if rate is None else parse_label_rate(rate)

    @field_validator("metric", mode="before")
    @classmethod
    def _name_of_metric(cls, metric: Any) -> Any:
        if metric is not None and not isinstance(metric, str):
            raise UsageError(f"metric = {metric!r:.80} is not the name of a metric. Choose from: {', '.join(get_args(ChosenMetric))}.")
        return metric

    @field_validator("noise")
    @classmethod
    def _check_noise(cls, noise: str | None) -> str | None:
        return None if noise is None else str(NoiseSpec.parse(noise))

    @model_validator(mode="after")
    def _no_option_without_effect(self) -> RunConfig:
        """Refuse options of all students that would be ignored, since each student sets them itself or has options of its own."""
        if self.student.options:
            merged = [
                student.model_copy(update={"options": self.student.options | student.options}) if student.is_custom else student
                for student in self.students
            ]
            if merged == list(self.students):
                raise ValueError("student.options has no effect: options are for students of your own, and there is none. Leave it out")
            plain = [student.model_dump(mode="json", include={*student.model_fields_set, "architecture"}) for student in merged]
            spelled = json.dumps([options["architecture"] if len(options) == 1 else options for options in plain])
            raise ValueError(
                "student.options has no effect, since each student of your own has its own options. Give them within 'students': "
                f"--set 'students={spelled}'"
            )
        for key in sorted(self.student.model_fields_set):
            takers = [student for student in self.students if not student.is_custom or key in _SHARED_WITH_CUSTOM]
            if not takers:
                raise ValueError(f"student.{key} has no effect: students of your own have options of their own. Leave it out")
            if all(key in student.model_fields_set for student in takers):
                values = ", ".join(dict.fromkeys(str(getattr(student, key)) for student in takers))
                raise ValueError(
                    f"student.{key} = {getattr(self.student, key)!r} has no effect, since every student has its own {key} ({values}): "
                    f"leave out one of them, or give {key} within 'students'"
                )
        return self

    @property
    def cohort(self) -> tuple[StudentOptions, ...]:
        """The students with their shared options; of these, a custom student only has `edge_features`."""
        shared = {key: getattr(self.student, key) for key in self.student.model_fields_set}
        return tuple(
            student.model_copy(
                update={
                    key: value
                    for key, value in shared.items()
                    if key not in student.model_fields_set and (not student.is_custom or key in _SHARED_WITH_CUSTOM)
                }
            )
            for student in self.students
        )


def split_names(text: str, key: str, example: str) -> tuple[str, ...]:
    """Split ``"a, b"`` into ``("a", "b")``.

    Args:
        key: the option with these names, for messages.
        example: example of names, for messages.

    Raises:
        UsageError: there is no name, or an empty one.
    """
    names = tuple(name.strip() for name in text.split(","))
    if not any(names):
        raise UsageError(f"{key} = {text!r} names nothing. Give names, for example {example}; or leave it out for the default.")
    if not all(names):
        mended = ",".join(name for name in names if name)
        raise UsageError(f"{key} = {text!r} has an empty name in it: a comma too many. Did you mean {mended!r}?")
    return names


def _student(student: Any, index: int) -> Any:
    if isinstance(student, str):
        STUDENT_REGISTRY.check_name(student)
        return StudentOptions(architecture=student)
    if isinstance(student, Mapping):
        if not student:
            raise UsageError(f"students.{index} = {{}} is an empty mapping. Name its architecture, for example 'gcn', or leave it out.")
        student = parse_options(StudentOptions, student, f"students.{index}")
        if isinstance(student.architecture, str):
            STUDENT_REGISTRY.check_name(student.architecture)
        return student
    if isinstance(student, StudentOptions):
        return student
    return StudentOptions(architecture=STUDENT_REGISTRY.resolve(student))


def read_config(file: Path) -> dict[str, Any]:
    """Read the layer of configuration in a YAML file: a user's own file, a recipe, or the given options in the config.yaml of a run.

    Raises:
        UsageError: no such file, no YAML, or no mapping.
    """
    return layer_of_file(read_values(file))


def read_values(file: Path) -> dict[str, Any]:
    """Read the values of such a file, without the description of a recipe.

    Raises:
        UsageError: no such file, no YAML, or no mapping.
    """
    return {key: value for key, value in read_mapping(file).items() if key != DESCRIPTION}


def read_mapping(file: Path, example: str = "{dataset: Cora}") -> dict[str, Any]:
    """Read the mapping in a YAML file.

    Args:
        example: example of a mapping, for messages.

    Raises:
        UsageError: no such file, no YAML, or no mapping.
    """
    try:
        values = read_yaml_file(file)
    except FileNotFoundError:
        raise UsageError(f"The configuration {str(file)!r} cannot be read: there is no such file. Correct the path.") from None
    except UnicodeDecodeError as error:
        raise UsageError(
            f"The configuration {str(file)!r} cannot be read: its byte {error.start} is not text in UTF-8. Save it in this encoding."
        ) from None
    except OSError as error:
        raise UsageError(f"The configuration {str(file)!r} cannot be read: {error.strerror or error}.") from None
    except yaml.YAMLError as error:
        raise UsageError(f"The configuration {str(file)!r} is not YAML: {error}") from None
    if values is None:
        raise UsageError(f"The configuration {str(file)!r} is empty. Write a mapping from names to values into it, for example {example}.")
    if not isinstance(values, dict):
        content = "a list" if isinstance(values, list) else repr(values)[:80]
        raise UsageError(
            f"The configuration {str(file)!r} holds {content}. A mapping from names to values is needed, for example {example}."
        )
    return values


def parse_config(*layers: Mapping[str, Any]) -> RunConfig:
    """Make a configuration from layers of plain values; see `combine_layers`.

    Raises:
        UsageError: an unknown key or value; the message lists the choices.
    """
    values = combine_layers(*layers)
    strategy = values.get("strategy", DEFAULT_STRATEGY)
    # Only by name, since code that is not trusted must not be imported here.
    known = STRATEGY_REGISTRY.built_in.get(strategy) if isinstance(strategy, str) else None
    return parse_options(RunConfig, values, further=[f"strategy_options.{name}" for name in known.Options.model_fields] if known else ())
