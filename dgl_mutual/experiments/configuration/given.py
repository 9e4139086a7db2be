"""Options as the user gave them, apart from those derived from them: overrides apply to the former, and the rest is derived again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import PydanticSerializationError

from dgl_mutual.errors import UsageError
from dgl_mutual.options import Options, unserializable_key
from dgl_mutual.store.configuration import GIVEN, RESOLVED, has_both

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
            f"The option {unserializable_key(config)!r} is not a plain value that a file can hold ({error}). Give numbers, strings, lists "
            "or mappings, and a class in a grid or within a list as its import path, 'package.module:Class'."
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
    if not has_both(values):
        return dict(values)
    resolved = values[RESOLVED]
    return {**{key: resolved[key] for key in _ALWAYS_RECORDED if resolved.get(key) is not None}, **values[GIVEN]}
