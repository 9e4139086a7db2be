"""Options as given by the user, separate from derived ones: overrides apply to given options, and the rest is derived again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import PydanticSerializationError

from dgl_mutual.errors import UsageError
from dgl_mutual.options import Options, unserializable_key
from dgl_mutual.store.configuration import GIVEN, RESOLVED, has_both

#: Keys in the layer of a run's file even if they were not given, so that a later layer that changes them is noticed.
_ALWAYS_RECORDED = ("dataset", "strategy", "fingerprint")


def plain_values(config: Options, *, exclude: set[str], exclude_unset: bool = False) -> dict[str, Any]:
    """Options as plain values for a file.

    Raises:
        UsageError: an option is not a plain value.
    """
    try:
        return config.model_dump(mode="json", exclude=exclude, exclude_unset=exclude_unset)
    except PydanticSerializationError as error:
        raise UsageError(
            f"The option {unserializable_key(config)!r} is not a plain value that a file can hold ({error}). Give numbers, strings, lists "
            "or mappings, and a class in a grid or within a list as its import path, 'package.module:Class'."
        ) from None


def given_values(config: Options) -> dict[str, Any]:
    """The given options of a configuration as plain values. A student without own options is the name of its architecture.

    The fingerprint is left out: it follows from the data, and is in the resolved part.

    Raises:
        UsageError: an option is not a plain value.
    """
    values = plain_values(config, exclude_unset=True, exclude={"fingerprint"})
    if "students" in values:
        values["students"] = [student["architecture"] if set(student) == {"architecture"} else student for student in values["students"]]
    return values


def layer_of_file(values: Mapping[str, Any]) -> dict[str, Any]:
    """The layer of configuration in the values of a file: all values of a user's own file, or the given ones of a run's config.yaml.

    The latter also has the dataset, its fingerprint and the strategy, given or not (see `combine_layers`).
    """
    if not has_both(values):
        return dict(values)
    resolved = values[RESOLVED]
    return {**{key: resolved[key] for key in _ALWAYS_RECORDED if resolved.get(key) is not None}, **values[GIVEN]}
