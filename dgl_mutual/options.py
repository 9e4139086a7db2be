"""The base of every group of options: frozen, typed, checked, and strict about unknown keys."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from dgl_mutual.errors import UsageError

OptionsType = TypeVar("OptionsType", bound="Options")


class Options(BaseModel):
    """A frozen group of options. Field docstrings are the help texts."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def parse_options(kind: type[OptionsType], values: Mapping[str, Any], where: str = "") -> OptionsType:
    """Build `kind` from plain values, turning each violation into one line of a `UsageError`.

    Args:
        kind: the options class.
        values: plain mapping, as read from YAML or the command line.
        where: the path of this group in the configuration, shown before each key (for example ``"training"``).
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        lines = [_explain(kind, where, dict(fault)) for fault in error.errors()]
        raise UsageError("\n".join(lines)) from None


def _explain(kind: type[BaseModel], where: str, fault: dict[str, Any]) -> str:
    location = [str(part) for part in fault["loc"]]
    key = ".".join([where, *location] if where else location)
    if fault["type"] == "extra_forbidden":
        fields = list(_group_of(kind, location[:-1]).model_fields)
        nearest = difflib.get_close_matches(location[-1], fields, n=1)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        return f"Unknown option {key!r}.{hint} Choose from: {', '.join(fields)}."
    message = str(fault["msg"]).removeprefix("Value error, ")
    return f"Option {key!r} = {fault['input']!r}: {message}." if key else f"{message}."


def _group_of(kind: type[BaseModel], location: list[str]) -> type[BaseModel]:
    for part in location:
        field = kind.model_fields.get(part)
        annotation = field.annotation if field else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        kind = annotation
    return kind
