"""Options as the user gave them, apart from those derived from them: overrides apply to the former, and the rest is derived again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import PydanticSerializationError

from dgl_mutual.data.target import TaskName
from dgl_mutual.errors import UsageError
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.student import resolve_student
from dgl_mutual.options import Options, unserializable_key
from dgl_mutual.store.configuration import GIVEN, has_both, resolved_part
from dgl_mutual.strategies import resolve_strategy
from dgl_mutual.strategies.options import options_from
from dgl_mutual.training.options import DEFAULT_NODE_BATCH, TrainingOptions
from dgl_mutual.utils.imports import is_import_path

#: What a run's file records of a run even where it was not given: a later layer that changes one of these is noticed.
_ALWAYS_RECORDED = ("dataset", "strategy", "fingerprint")


def plain_values(config: Options, *, exclude: set[str], exclude_unset: bool = False) -> dict[str, Any]:
    """Options as the plain values that a file can hold.

    Raises:
        UsageError: an option is not a plain value.
    """
    try:
        return config.model_dump(mode="json", exclude=exclude, exclude_unset=exclude_unset)
    except PydanticSerializationError as error:
        raise UsageError(
            f"The option {unserializable_key(config)!r} is not a plain value that a file can hold ({error}). Give numbers, text, lists or "
            "mappings, and a class in a grid or within a list as its import path, 'package.module:Class'."
        ) from None


def given_values(config: Options) -> dict[str, Any]:
    """The plain values that a configuration was made from: a student with no option of its own as its architecture's name.

    Not the fingerprint: it follows from the data, and the resolved part has it.

    Raises:
        UsageError: an option is not a plain value.
    """
    values = plain_values(config, exclude_unset=True, exclude={"fingerprint"})
    if "students" in values:
        values["students"] = [student["architecture"] if set(student) == {"architecture"} else student for student in values["students"]]
    return values


def layer_of_file(values: Mapping[str, Any]) -> dict[str, Any]:
    """The layer of configuration that a file means: one of the user's own as it is, of a run's config.yaml what was given.

    Of the latter also the dataset, its fingerprint and the strategy, given or not (see `combine_layers`).
    """
    if has_both(values):
        resolved = resolved_part(values)
        return {**{key: resolved[key] for key in _ALWAYS_RECORDED if resolved.get(key) is not None}, **values[GIVEN]}
    return without_defaults(values) if "fingerprint" in values else dict(values)


def without_defaults(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """The layer that a resolved configuration of an earlier version means: what equals the default is assumed to have been derived."""
    values = {key: value for key, value in resolved.items() if value is not None}
    try:
        if any(is_import_path(name) for name in (values["strategy"], *(student["architecture"] for student in values["students"]))):
            return dict(resolved)  # earlier versions had no import paths, and reading a file imports nothing
        task = values["task"]
        folded = "folds" in values
        training = TrainingOptions().model_dump(mode="json") | {
            "weight_decay": 5e-4 if task == "node" else 0.0,
            "batch_size": 32 if task == "graph" else DEFAULT_NODE_BATCH if values["training"].get("sampler") else None,
        }
        values["training"] = _without_equal(values["training"], training)
        epochs = values["training"].get("epochs", training["epochs"])
        values["strategy_options"] = _without_equal(values["strategy_options"], _default_options(values, epochs, task))
        students = []
        for student in values["students"]:
            default = resolve_student(StudentOptions(architecture=student["architecture"]), task).model_dump(mode="json")
            students.append({"architecture": student["architecture"], **_without_equal(student, default)})
        shared = {key: value for key, value in students[0].items() if key != "architecture" and all(s.get(key) == value for s in students)}
        values["student"] = shared
        values["students"] = [{key: value for key, value in student.items() if key not in shared} for student in students]
        counts = {"seeds": 1 if folded else 10, "folds": 10, "task_weights": "equal"}
        return {key: value for key, value in values.items() if key not in counts or value != counts[key]}
    except (LookupError, TypeError, ValueError, AttributeError, UsageError):  # edited: every key counts, and what is wrong will show
        return dict(resolved)


def _default_options(values: Mapping[str, Any], epochs: int, task: TaskName) -> dict[str, Any]:
    """What strategy options default to.

    Whether labels are hidden shows in `exchange_on`, too, which therefore counts as given there, and so does what depends on the classes'
    sizes, which only the dataset shows.
    """
    kind = resolve_strategy(values["strategy"]).Options
    if "label_rate" not in values and "unlabelled" not in values and values["strategy_options"].get("exchange_on") != "training":
        return options_from(kind(), "resolved", epochs, task).model_dump(mode="json")
    given = kind(**{key: value for key, value in values["strategy_options"].items() if key == "exchange_on"})
    found, with_equal_counts = (
        options_from(with_unlabelled, "resolved", epochs, task).model_dump(mode="json")
        for equal in (False, isinstance(values.get("label_rate"), int))
        for with_unlabelled in [options_from(given, "with_unlabelled", task, equal_counts=equal, pool="unlabelled" in values)]
    )
    return {key: value for key, value in found.items() if key != "exchange_on" and with_equal_counts[key] == value}


def _without_equal(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The values but for those that equal their default."""
    return {key: value for key, value in values.items() if key not in defaults or value != defaults[key]}
