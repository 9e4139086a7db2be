"""Configurations from the config.yaml of a run, which repeat the run even if defaults have changed since."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.split import Split
from dgl_mutual.errors import DataError, UsageError
from dgl_mutual.experiments.configuration.config import Recorded, RunConfig, parse_config
from dgl_mutual.experiments.configuration.given import layer_of_file
from dgl_mutual.experiments.configuration.layers import merge, unflatten
from dgl_mutual.experiments.configuration.resolve import resolve, resolved_values
from dgl_mutual.store.configuration import GIVEN, RESOLVED, Role, has_both, identity, keys_of
from dgl_mutual.utils.user_warnings import warn
from dgl_mutual.utils.wording import assignments


def config_of(values: Mapping[str, Any], *, below: Mapping[str, Any] | None = None, above: Mapping[str, Any] | None = None) -> RunConfig:
    """The configuration of a file, with layers below and above it. For the config.yaml of a run, it records the values of the run.

    Raises:
        UsageError: see `parse_config`.
    """
    below, above = below or {}, above or {}
    config = parse_config(below, layer_of_file(values), above)
    return config.with_record(Recorded(values, below, above)) if has_both(values) else config


def with_recorded_defaults(config: RunConfig, dataset: Dataset, split: Split | None = None) -> RunConfig:
    """Restore the defaults of the run that a configuration comes from, if defaults have changed since.

    The restored defaults count as given options, and a warning names them; another warning tells if the run cannot be repeated. On other
    data than the run's, the defaults of this version apply.

    Args:
        split: the split that is given in place of a protocol.

    Raises:
        UsageError: the file was edited, so that a given option has another value than the run had.
    """
    record = config.record
    if record is None:
        return config
    then = record.values[RESOLVED]
    layer = {key: value for key, value in layer_of_file(record.values).items() if split is None or key not in keys_of(Role.SPLIT)}

    def resolved_now(layer: Mapping[str, Any]) -> dict[str, Any]:
        return resolved_values(resolve(parse_config(layer), dataset, split))

    try:
        now = resolved_now(layer)
    except (DataError, UsageError):  # other data; errors of the configuration itself show when it is resolved
        return config
    try:
        _refuse_damaged(then)
        restored, changed, remaining = layer, dict[str, Any](), dict(_differences(then, now, split))
        if not remaining:
            return config
        edited = _edited(record.values[GIVEN], then, remaining)
        while remaining.keys() - changed.keys():  # defaults may depend on other options
            changed |= remaining
            restored = _with_values_of_run(layer, then, changed)
            remaining = dict(_differences(then, resolved_now(restored), split))
        repeated = parse_config(record.lower_layers, restored, record.upper_layers)
    except UsageError as error:
        warn(f"The run of this configuration cannot be repeated, so the defaults are those of this version: {error}")
        return config
    if edited:
        raise UsageError(
            f"The configuration of a run was edited: its part 'given' has another value of {', '.join(edited)} than the run had, which "
            "'resolved' holds. Restore the file and set the option beside it, as with --set, or use a file with the part 'given' alone."
        )
    if remaining:
        warn(f"The run of this configuration cannot be repeated: this version does not have {assignments(remaining)}.")
    described = {key: value for key, value in changed.items() if key not in remaining}
    if described:
        warn(
            f"Defaults have changed since the run of this configuration, and its own are kept: {assignments(described)}. For those of this "
            "version, use a file with the part 'given' alone."
        )
    return repeated


def _refuse_damaged(resolved: Mapping[str, Any]) -> None:
    """Check that the resolved configuration of a run is complete: defaults would silently replace missing parts."""
    types = {"dataset": str, "strategy": str, "students": list, "training": Mapping, "strategy_options": Mapping, "unlabelled": str | None}
    wrong = [key for key, expected in types.items() if not isinstance(resolved.get(key), expected)]
    if not wrong and not all(isinstance(student, Mapping) for student in resolved["students"]):
        wrong.append("students")
    if wrong:
        raise UsageError(f"The part 'resolved' has no valid {wrong[0]}. It was edited or damaged: restore the file.")


def _with_values_of_run(layer: Mapping[str, Any], then: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """A layer with `changed` options set to the values of a run. Values that its students had in common become options of all students."""
    had = dict(_leaves(then))
    keys = {*dict(_leaves(layer)), *changed}
    restored = merge(layer, unflatten({key: had[key] for key in changed if key in had and not key.startswith("students.")}))
    if not any(key.startswith("students.") for key in changed):
        return restored
    of_each = ("architecture", "options")
    students = [
        {name: value for name, value in student.items() if name in of_each or f"students.{index}.{name}" in keys}
        for index, student in enumerate(then["students"])
    ]
    common = {
        name: value
        for name, value in students[0].items()
        if name not in of_each and all(student.get(name) == value for student in students)
    }
    return {
        **restored,
        "student": {**(layer.get("student") or {}), **common},
        "students": [{name: value for name, value in student.items() if name not in common} for student in students],
    }


def _differences(then: Mapping[str, Any], now: Mapping[str, Any], split: Split | None) -> Iterator[tuple[str, Any]]:
    """The options in which two resolved configurations differ, with their values in the first; without new options that are off."""
    # `resolve` has compared the fingerprint, if the file has one.
    ignored = ("fingerprint", *(keys_of(Role.SPLIT) if split is not None else ()))
    before, after = (dict(_leaves({key: value for key, value in identity(part).items() if key not in ignored})) for part in (then, now))
    known = dict(_leaves(then))
    for key in before | after:
        is_later_and_off = key not in known and after[key] in (None, False, 0, "none")
        if before.get(key) != after.get(key) and not is_later_and_off:
            yield key, known.get(key)


def _edited(given: Mapping[str, Any], then: Mapping[str, Any], changed: Iterable[str]) -> list[str]:
    """The `changed` options whose given value differs from that of the run, so that the cause is an edit and not a default."""
    asked, had = dict(_leaves(given)), dict(_leaves(then))
    edited = []
    for key in changed:
        student, _, name = key.rpartition(".")
        places = [key, f"student.{name}"] if student.startswith("students.") else [key]
        if name == "architecture":
            places = [key, student]  # a student may be given as its name alone
        values = [asked[place] for place in places if place in asked]
        is_gone = name == "architecture" and "students" in given and not values
        if is_gone or (values and values[0] != had.get(key)):
            edited.append(key)
    return edited


def _leaves(values: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Nested values by dotted key, students by their index; any other list is a value."""
    if values and (isinstance(values, Mapping) or (path == "students" and isinstance(values, list))):
        for key, value in values.items() if isinstance(values, Mapping) else enumerate(values):
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, values
