"""Tables of options: meaning, accepted values and defaults, taken from the option classes.

Both `dgl-mutual strategies NAME` and the documentation use them.
"""

from __future__ import annotations

import json
import textwrap
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from dgl_mutual.data.values.target import TaskName
from dgl_mutual.options import Options
from dgl_mutual.utils.python_compat import is_class
from dgl_mutual.utils.wording import pipe_table

#: Constraint of a number or of a length -> how it is shown.
_BOUNDS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
#: Singular and plural.
_PLAIN: dict[Any, tuple[str, str]] = {
    bool: ("true or false", "of true and false"),
    int: ("integer", "integers"),
    float: ("number", "numbers"),
    str: ("string", "strings"),
    dict: ("mapping", "mappings"),
}


@dataclass(frozen=True)
class Option:
    """One row of the table of a group of options.

    Attributes:
        values: the accepted values, for example ``number >= 0``.
        defaults: condition -> default as in YAML. The first condition is ""; another default has one such as "graph task".
        meaning: the docstring of the field, on one line.
    """

    name: str
    values: str
    defaults: Mapping[str, str]
    meaning: str

    @property
    def default(self) -> str:
        """All defaults as text."""
        return _listed(self.defaults)


def describe(options_class: type[Options], resolve: Callable[[TaskName, bool], Options] | None = None) -> list[Option]:
    """Return all options of a class, in the order of its fields.

    Args:
        resolve: (task, whether labels are hidden) -> the options with their defaults. Defaults that differ are all shown.
    """
    return [
        Option(name, values_of(field), _defaults(name, field, resolve), " ".join((_docstring(options_class, name) or "").split()))
        for name, field in options_class.model_fields.items()
    ]


def as_markdown(options: Sequence[Option]) -> str:
    """Format options as a Markdown table, one row per option."""
    rows = []
    for option in options:
        cells = [option.values, _listed(option.defaults, mark="`"), option.meaning.replace("``", "`")]
        rows.append([f"`{option.name}`", *map(markdown_cell, cells)])
    return pipe_table(["option", "values", "default", "meaning"], rows)


def markdown_cell(text: str) -> str:
    """Escape bars, which would end a cell of a Markdown table."""
    return text.replace("|", "\\|")


def as_text(options: Sequence[Option], width: int = 80) -> str:
    """Format options as text at most `width` columns wide, one paragraph per option."""
    paragraphs = []
    for option in options:
        head = textwrap.wrap(f"{option.name}: {option.values} (default: {option.default})", width, subsequent_indent="      ")
        body = textwrap.wrap(option.meaning.replace("``", ""), width, initial_indent="    ", subsequent_indent="    ")
        paragraphs.append("\n".join([*head, *body]))
    return "\n".join(paragraphs)


def values_of(field: FieldInfo) -> str:
    """Describe the values that a field accepts."""
    return _values(field.annotation, field.metadata)


def _values(annotation: Any, metadata: Sequence[Any] = (), plural: bool = False) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner = [part for extra in arguments[1:] for part in (extra.metadata if isinstance(extra, FieldInfo) else [extra])]
        return _values(arguments[0], [*metadata, *inner], plural)
    if origin is Literal:
        return _any_of(list(map(str, arguments)))
    if origin in (Union, types.UnionType):
        choices = [_values(choice, metadata, plural) for choice in arguments if choice is not type(None)]
        return _any_of(list(dict.fromkeys([*choices, *(["null"] if type(None) in arguments else [])])))
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return f"list of {_values(arguments[0], plural=True)}"
        return f"list of {len(arguments)} {_values(arguments[0], plural=True)}"
    if is_class(annotation) and issubclass(annotation, BaseModel):
        return f"{_PLAIN[dict][plural]} of {annotation.__name__}"
    if annotation is None or origin is type or not isinstance(origin or annotation, type):
        return "class"
    singular, plural_form = _PLAIN.get(origin or annotation, ("class", "classes"))
    bounds = [f"{sign} {bound:g}" for part in metadata for key, sign in _BOUNDS.items() if (bound := getattr(part, key, None)) is not None]
    word = plural_form if plural else singular
    return f"{word} {' and '.join(bounds)}" if bounds else word


def _any_of(choices: Sequence[str]) -> str:
    return " or ".join(part for part in (", ".join(choices[:-1]), choices[-1]) if part)


def _defaults(name: str, field: FieldInfo, resolve: Callable[[TaskName, bool], Options] | None) -> dict[str, str]:
    declared = _shown(field.get_default(call_default_factory=True))
    if resolve is None:
        return {"": declared}
    node, graph, hidden, both = (
        _shown(getattr(resolve(task, is_hidden), name)) for is_hidden in (False, True) for task in ("node", "graph")
    )
    if declared not in (node, graph, hidden, both):  # it depends on the training, which the meaning explains
        return {"": declared}
    return {
        "": node,
        **({"graph task": graph} if graph != node else {}),
        **({"hidden labels": hidden} if hidden != node else {}),
        **({"graph task with hidden labels": both} if both != (hidden if hidden != node else graph) else {}),
    }


def _listed(defaults: Mapping[str, str], mark: str = "") -> str:
    others = ", ".join(f"{where}: {mark}{value}{mark}" for where, value in defaults.items() if where)
    return f"{mark}{defaults['']}{mark}" + (f" ({others})" if others else "")


def _shown(value: Any) -> str:
    if isinstance(value, BaseModel):
        return json.dumps(value.model_dump(mode="json", exclude_unset=True))
    if isinstance(value, tuple):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, type):
        return value.__name__
    return value if isinstance(value, str) else json.dumps(value)


def _docstring(options_class: type[Options], name: str) -> str | None:
    """The docstring of a field, which is inherited by a class that only changes the default."""
    for base in options_class.__mro__:
        fields = getattr(base, "model_fields", {})
        if name in fields and fields[name].description:
            return str(fields[name].description)
    return None
