"""Configuration of a run: one frozen group of options, from a file, from flags, or from Python."""

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
from dgl_mutual.strategies.base import Strategy
from dgl_mutual.training.options import DistillOptions, TrainingOptions
from dgl_mutual.utils.arguments import fault_of_list
from dgl_mutual.utils.imports import import_path_of, not_importable
from dgl_mutual.utils.plain_yaml import read_yaml_file

#: Options of all students that a custom student has, too.
_SHARED_WITH_CUSTOM = ("edge_features",)
#: An upper bound on seeds; the splits of all of them are drawn before the first trial.
MAX_SEEDS = 10_000
#: Trials of a run, seeds x folds, likewise.
MAX_TRIALS_OF_RUN = 100_000
#: Students of a cohort. An upper bound; the cost grows with K^2, since each student has all others as peers.
MAX_STUDENTS = 1000


@dataclass(frozen=True)
class Recorded:
    """A run's config.yaml from which a configuration was made, and the layers below and above it."""

    values: Mapping[str, Any]
    lower_layers: Mapping[str, Any]
    upper_layers: Mapping[str, Any]


class RunConfig(Options):
    """One run: a cohort, trained on every fold of a dataset with every seed. `None` means the default of the task or protocol."""

    task: TaskName | None = None
    """node or graph (default: what the dataset is for)."""
    dataset: str = "digits"
    """Name of a dataset, or a folder that holds one."""
    targets: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Targets of the dataset that are learned together (default: all of them; in a folder in CSV form, the column `label`). Names of labels
    of a multi-label dataset can also be given; each is then a target of its own."""
    metric: str | None = None
    """How predictions are scored: it chooses epochs and members on validation, and is reported (default: the dataset's metric). Classes:
    accuracy, balanced-accuracy or macro-f1, of two also rocauc; binary labels: micro-f1, macro-f1, rocauc or ap. Not for several targets,
    nor where OGB's evaluator scores."""
    fingerprint: str | None = None
    """Fingerprint that the dataset must have; filled in when a run starts, so that its config.yaml is good for this very dataset alone."""
    protocol: str | None = None
    """How samples are split (default: what is usual for the dataset)."""
    seeds: int | None = Field(None, ge=1, le=MAX_SEEDS)
    """Number of seeds, 0 ... seeds - 1 (default: 10 where the protocol has one split, 1 where it has folds)."""
    folds: int | None = Field(None, ge=1)
    """Number of folds (default: 10 under nested; under splits, all splits of the dataset). Other protocols have none."""
    students: tuple[StudentOptions, ...] = Field(("gcn", "gat", "gin", "sage"), min_length=1, validate_default=True)
    """The cohort: names of architectures, import paths ``package.module:Class``, or mappings of `StudentOptions`."""
    student: StudentOptions = StudentOptions()
    """Options of all students; what a student sets for itself overrides them."""
    strategy: str | type[Strategy] = DEFAULT_STRATEGY
    """How the students teach each other: a name, or an import path ``package.module:Class``."""
    strategy_options: dict[str, Any] = Field(default_factory=dict)
    """Options of the strategy."""
    training: TrainingOptions = TrainingOptions()
    """Optimisation and stopping."""
    task_weights: TaskWeights | None = None
    """How several targets are weighed against each other: equal, or by learned uncertainty (default: equal)."""
    label_rate: int | float | None = None
    """Hides labels of the training part: the share that stays, for example 0.1, or the number of labels kept per class, for example 20.
    Samples whose labels are hidden stay as unlabelled training samples (default: all labels stay)."""
    unlabelled: str | None = None
    """Name of a dataset, or a folder that holds one, whose graphs are further training samples without labels (a pool). It has the same
    feature columns; graphs that it shares with the dataset are left out."""
    noise: str | None = None
    """KIND:AMOUNT, for example feature:0.2; the kinds are feature, edge, edge-add, edge-remove, label and label-asymmetric."""
    distill: DistillOptions | None = None
    """An MLP that learns from the trained cohort and needs no graph."""
    grid: dict[str, Annotated[tuple[Any, ...], BeforeValidator(in_order), Field(min_length=1)]] | None = None
    """Dotted key -> values to choose from, on validation, within each trial; for example ``training.learning_rate: [0.01, 0.001]``."""

    _record: Recorded | None = PrivateAttr(None)

    @property
    def record(self) -> Recorded | None:
        """The run's config.yaml that the configuration comes from, if it does."""
        return self._record

    def with_record(self, record: Recorded) -> RunConfig:
        """The same configuration as one that comes from a run's config.yaml."""
        copy = self.model_copy()
        copy._record = record
        return copy

    @model_validator(mode="before")
    @classmethod
    def _no_recipe(cls, values: Any) -> Any:
        """A recipe is read before it is part of a configuration."""
        if isinstance(values, Mapping) and "recipe" in values:
            raise ValueError(
                f"recipe = {values['recipe']!r} is not an option of a configuration: give it as --recipe, in Python as fit(recipe=...) or "
                "experiment(recipe=...), or in a suite as the key 'recipe' of a dataset or method"
            )
        return values

    @field_validator("students", mode="before")
    @classmethod
    def _expand(cls, students: Any) -> Any:
        """``"gcn,gat"``, or a list of names and mappings, to one group of options a student."""
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
            raise ValueError(f"these are more than {MAX_STUDENTS} students, the most that a cohort can have: leave some out")
        return tuple(_student(student, index) for index, student in enumerate(students))

    @field_validator("strategy", mode="before")
    @classmethod
    def _name(cls, strategy: Any) -> Any:
        """A class as the name that another process finds it by; a class that has none stays as it is, for this process alone."""
        if isinstance(strategy, str):
            return strategy
        found = STRATEGY_REGISTRY.find(strategy)
        return found.value if not_importable(found.value) else found.name

    @field_serializer("strategy")
    def _plain_name(self, strategy: str | type[Strategy]) -> str:
        return strategy if isinstance(strategy, str) else import_path_of(strategy)

    @field_serializer("strategy_options", when_used="json")
    def _plain_options(self, options: dict[str, Any]) -> dict[str, Any]:
        """A class, such as a custom weighting, as its import path; one that no other process finds stays as it is."""
        return {name: import_path_of(value) if isclass(value) and not not_importable(value) else value for name, value in options.items()}

    @field_validator("targets", mode="before")
    @classmethod
    def _split_names(cls, targets: Any) -> Any:
        """``"a,b"`` as two names."""
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
    def _no_idle_option(self) -> RunConfig:
        """An option of all students that each of them sets for itself would be ignored, and each custom student has options of its own."""
        if self.student.options:
            given = [
                student.model_copy(update={"options": self.student.options | student.options}) if student.is_custom else student
                for student in self.students
            ]
            if given == list(self.students):
                raise ValueError("student.options has no effect: options are for students of your own, and there is none. Leave it out")
            plain = [one.model_dump(mode="json", include={*one.model_fields_set, "architecture"}) for one in given]
            spelled = json.dumps([one["architecture"] if len(one) == 1 else one for one in plain])
            raise ValueError(
                "student.options has no effect, since each student of your own has its own options. Give them within 'students': "
                f"--set 'students={spelled}'"
            )
        for key in sorted(self.student.model_fields_set):
            takers = [student for student in self.students if not student.is_custom or key in _SHARED_WITH_CUSTOM]
            if not takers:
                raise ValueError(f"student.{key} has no effect: students of your own have options of their own. Leave it out")
            if all(key in student.model_fields_set for student in takers):
                own = ", ".join(dict.fromkeys(str(getattr(student, key)) for student in takers))
                raise ValueError(
                    f"student.{key} = {getattr(self.student, key)!r} has no effect, since every student has its own {key} ({own}): "
                    f"leave out one of them, or give {key} within 'students'"
                )
        return self

    @property
    def cohort(self) -> tuple[StudentOptions, ...]:
        """The students, with the options that they share; of these, a custom student has `edge_features` alone."""
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
    """``"a, b"`` as ``("a", "b")``.

    Args:
        key: what the names are given for.
        example: names that the message shows.

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
    """The layer of configuration in a YAML file: one of the user's own, or the config.yaml of a run, of which what was given counts.

    The description of a recipe may be in it.

    Raises:
        UsageError: no such file, no YAML, or no mapping.
    """
    return layer_of_file(read_values(file))


def read_values(file: Path) -> dict[str, Any]:
    """What such a file holds, without a description.

    Raises:
        UsageError: no such file, no YAML, or no mapping.
    """
    return {key: value for key, value in read_mapping(file).items() if key != DESCRIPTION}


def read_mapping(file: Path, example: str = "{dataset: Cora}") -> dict[str, Any]:
    """What a YAML file of a user's own holds.

    Args:
        example: a mapping that the message shows, if the file holds none.

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
        found = "a list" if isinstance(values, list) else repr(values)[:80]
        raise UsageError(f"The configuration {str(file)!r} holds {found}. A mapping from names to values is needed, for example {example}.")
    return values


def parse_config(*layers: Mapping[str, Any]) -> RunConfig:
    """The configuration that these layers of plain values make; see `combine_layers`.

    Raises:
        UsageError: an unknown key or value; the message lists the choices.
    """
    values = combine_layers(*layers)
    strategy = values.get("strategy", DEFAULT_STRATEGY)
    # By name alone: what is not trusted must not be imported here.
    known = STRATEGY_REGISTRY.built_in.get(strategy) if isinstance(strategy, str) else None
    return parse_options(RunConfig, values, further=[f"strategy_options.{name}" for name in known.Options.model_fields] if known else ())
