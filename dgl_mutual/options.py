"""The base of every group of options: frozen, typed, checked, and strict about unknown keys."""

from __future__ import annotations

import difflib
import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from dataclasses import is_dataclass
from functools import partial
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, TypeAlias, TypeVar, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
    model_serializer,
)
from pydantic_core import PydanticSerializationError, to_jsonable_python

from dgl_mutual.errors import UsageError, advice, shortened
from dgl_mutual.search_space import SearchSpace, fault_of_space, plain_value
from dgl_mutual.utils.arguments import is_boolean
from dgl_mutual.utils.custom_code import errors_attributed_to, is_custom
from dgl_mutual.utils.python_compat import is_class
from dgl_mutual.utils.wording import counted

#: Bounds of loss weights and temperatures, beyond which a loss in float32 is not finite.
MAX_WEIGHT = 1e6
MIN_TEMPERATURE, MAX_TEMPERATURE = 1e-3, 1e3

#: Most faults in one message.
_MAX_FAULTS = 50
#: Pydantic's error types -> plain words; its own messages use names of Python types.
_PLAIN = {
    "missing": "it is missing",
    **dict.fromkeys(("extra_forbidden", "unexpected_keyword_argument"), "there is no such key"),
    **dict.fromkeys(("string_type", "string_sub_type"), "a string is needed"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "an integer is needed"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number is needed"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false is needed"),
    **dict.fromkeys(
        ("dict_type", "mapping_type", "model_type", "model_attributes_type", "dataclass_type"), "a mapping from names to values is needed"
    ),
    "int_parsing_size": "the number is too large",
    "finite_number": "a finite number is needed",
    "invalid_key": "names must be strings",
}
#: Pydantic's error types of numbers out of range -> the key of the bound in the error's context, and words for it.
_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}

OptionsType = TypeVar("OptionsType", bound="Options")
#: An option -> other options, each with the values beside which the first has no effect.
IdleWith: TypeAlias = Mapping[str, Mapping[str, tuple[Any, ...]]]


class Options(BaseModel):
    """A frozen group of options. Field docstrings are the help texts.

    Class attributes:
        search_space: options that `dgl-mutual tune` varies.
        searched_by_name: options that `dgl-mutual tune` varies only if ``--search`` names them.
        idle_with: ``{"temperature": {"weight": (0.0,)}}`` means that `temperature` has no effect where weight == 0. There a search does not
            draw it (`weight` must precede it in `search_space`), and setting it causes a warning, but no error: it may have an effect at
            another point of a grid or in another run of a suite. The entry of an option replaces those of base classes.
    """

    search_space: ClassVar[SearchSpace] = {}
    searched_by_name: ClassVar[SearchSpace] = {}
    idle_with: ClassVar[IdleWith] = {}

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    @classmethod
    def all_idle_with(cls) -> dict[str, Mapping[str, tuple[Any, ...]]]:
        """Merge `idle_with` of this class and its base classes."""
        return {name: others for kind in reversed(cls.__mro__) for name, others in vars(kind).get("idle_with", {}).items()}

    def idle_beside_others(self) -> dict[str, str]:
        """Map each option that `idle_with` finds without effect to the reason, the end of a sentence."""
        return {
            name: f"since no {other} is given. Leave it out, or give a {other}."
            if value is None
            else f"since {other} = {value}. Leave it out, or choose another {other}."
            for name, others in self.all_idle_with().items()
            for other, values in others.items()
            if (value := getattr(self, other)) in values
        }

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        if is_boolean(value) and info.field_name is not None:
            annotation = cls.model_fields[info.field_name].annotation
            kinds = get_args(annotation) or (annotation,)
            if bool not in kinds and (int in kinds or float in kinds):
                raise ValueError("a boolean is not a number")
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _no_set_for_a_list(cls, value: Any, info: ValidationInfo) -> Any:
        allowed = _kinds(cls.model_fields[info.field_name].annotation) if info.field_name is not None else []
        kinds = {get_origin(kind) or kind for kind in allowed}
        return in_order(value) if kinds & {list, tuple} and not kinds & {set, frozenset, AbstractSet} else value

    @field_validator("*", mode="after")
    @classmethod
    def _no_number_of_more_than_64_bits(cls, value: Any) -> Any:
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int) and number.bit_length() > 63:
                raise ValueError("the number is too large: give one below 2**63")
        return value

    def model_dump(self, **choices: Any) -> dict[str, Any]:
        """As in pydantic, which turns Ctrl-C in a serializer into an error of its own. Here it stays an interrupt."""
        with _interrupts_raised():
            return super().model_dump(**choices)

    def model_dump_json(self, **choices: Any) -> str:
        """As in pydantic, but see `model_dump`."""
        with _interrupts_raised():
            return super().model_dump_json(**choices)

    @model_serializer(mode="wrap")
    def _sets_in_order(self, serialize: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        """Write sets as sorted lists in JSON: their order differs between processes, and the same run would not be found again."""
        values: dict[str, Any] = serialize(self)
        return values if info.mode != "json" else {name: _in_order(getattr(self, name), value) for name, value in values.items()}


@contextmanager
def _interrupts_raised() -> Iterator[None]:
    try:
        yield
    except PydanticSerializationError as error:
        if ": KeyboardInterrupt:" in str(error):  # the causes of an error are lost where a serializer calls another one
            raise KeyboardInterrupt from error
        raise


def in_order(value: Any) -> Any:
    """Return the value; refuse a set, whose order differs between processes."""
    if isinstance(value, set | frozenset):
        raise ValueError("a set has no order: give a list")
    return value


def _in_order(value: Any, plain: Any) -> Any:
    """Sort the lists of a serialised value that were sets. The output of a custom serializer is kept."""
    if isinstance(value, AbstractSet) and isinstance(plain, list) and len(value) == len(plain):
        return sorted((_in_order(item, dumped) for item, dumped in zip(value, plain, strict=True)), key=json.dumps)
    if isinstance(plain, Mapping) and (isinstance(value, BaseModel) or is_dataclass(value)):
        value = {name: getattr(value, name, None) for name in plain}
    if isinstance(value, Mapping) and isinstance(plain, Mapping) and len(value) == len(plain):
        return {key: _in_order(item, dumped) for item, (key, dumped) in zip(value.values(), plain.items(), strict=True)}
    if isinstance(value, list | tuple | deque) and isinstance(plain, list) and len(value) == len(plain):
        return [_in_order(item, dumped) for item, dumped in zip(value, plain, strict=True)]
    return plain


def unserializable_key(value: Any, key: str = "") -> str:
    """Return the key of the first value that JSON and YAML cannot hold, such as ``strategy_options.weights.0``; else `key` itself.

    Args:
        value: options, or the value of an option.
        key: the key of `value`.
    """

    def parts() -> Iterator[tuple[str, Any, Callable[[], object]]]:
        if isinstance(value, BaseModel):
            for name in type(value).model_fields:
                yield name, getattr(value, name), partial(value.model_dump, mode="json", include={name})
        elif isinstance(value, Mapping | list | tuple):
            items: Iterable[tuple[object, Any]] = value.items() if isinstance(value, Mapping) else enumerate(value)
            for place, part in items:
                yield str(place), part, partial(to_jsonable_python, part)

    for name, part, dump in parts():
        try:
            dump()
        except PydanticSerializationError:
            return unserializable_key(part, f"{key}.{name}" if key else name)
    return key


def parse_options(kind: type[OptionsType], values: Mapping[str, Any], where: str = "", further: Sequence[str] = ()) -> OptionsType:
    """Build `kind` from plain values, turning each violation into one line of a `UsageError`.

    Args:
        kind: the options class.
        values: plain mapping, as read from YAML or the command line.
        where: the path of this group in the configuration, shown before each key (for example ``"training"``).
        further: dotted keys of options outside `kind`, to suggest for an unknown key.

    Raises:
        UsageError: a key is unknown or missing, or a value is invalid.
    """
    with errors_attributed_to(f"The options {kind.__name__!r}", kind, "cannot be made"):
        try:
            parsed = kind.model_validate(dict(values))
        except ValidationError as error:
            faults = error.errors()
            explained = [_explain(kind, where, dict(fault), further) for fault in faults[:_MAX_FAULTS] if not _follows(fault, faults)]
            sentences: dict[str, dict[str, None]] = {}  # beginning -> ends: each type of a union has a fault of its own
            for beginning, end in explained:
                sentences.setdefault(beginning, {})[end] = None
            lines = [f"{beginning}{', or '.join(ends)}." for beginning, ends in sentences.items()]
            if len(faults) > _MAX_FAULTS:
                lines.append(f"And {len(faults) - _MAX_FAULTS} more.")
            raise UsageError("\n".join(lines)) from None
    return parsed


def _follows(fault: Mapping[str, Any], faults: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the fault "too short" of a list only follows from faults of its entries."""
    place = fault["loc"]
    return fault["type"] == "too_short" and any(other["loc"][: len(place)] == place and other is not fault for other in faults)


def fault_of_options(kind: Any, base: type[Options], name: str) -> str | None:
    """Return the fault of a class's `Options` or of their search space, as the end of a sentence that starts with the class; else None.

    Args:
        base: the required base class of the options, which users import as `name`.
    """
    options = kind.Options
    if is_class(options) and issubclass(options, base):
        if hasattr(kind, "search_space"):
            return f"has a search_space, which belongs to the class of its options. Move it to its Options, now {options.__name__}."
        fault = _fault_of_names(options) or fault_of_space(options.search_space, options.model_fields)
        fault = fault or _fault_of_ends(options) or _fault_of_defaults(options)
        return None if fault is None else f"has options {options.__name__}, whose class {fault}"
    return f"has Options = {_shown(options)}. Derive the class of its options from {name}."


def _fault_of_names(options: type[Options]) -> str | None:
    """Return the fault of the first option that hides a method, a property or another attribute of a base class of this package."""
    for name in options.model_fields:
        for kind in options.__mro__:
            if not is_custom(kind) and name in vars(kind):
                what = "property" if isinstance(vars(kind)[name], property) else "method" if callable(getattr(kind, name)) else "attribute"
                return f"has an option {name}, which hides the {what} {name} of {kind.__name__}. Choose another name for it."
    return None


def _fault_of_ends(options: type[Options]) -> str | None:
    """Return the fault of the first end of a search range, or choice, that is no valid option."""
    for name, domain in options.search_space.items():
        if "." in name:  # an option of a nested group
            continue
        field = options.model_fields[name]
        for value in map(plain_value, domain.ends):
            only: dict[str, Any] = {name: (field.annotation, field)}
            try:
                create_model("Field", **only)(**{name: value})
            except ValidationError as error:
                fault = plain_message(error.errors()[0])
                return f"has search_space[{name!r}] = {domain!r:.120}, and {name} = {value!r:.40} is refused: {fault}."
    return None


def _fault_of_defaults(options: type[Options]) -> str | None:
    """Return the fault of the first `default_factory` whose value differs between calls: the same run would never be found again."""
    made_by_functions = [name for name, field in options.model_fields.items() if field.default_factory is not None]
    if not is_custom(options) or not made_by_functions:
        return None
    with errors_attributed_to(f"A default_factory of the options {options.__name__!r}"):
        first, second = options.model_construct(), options.model_construct()
    for name in made_by_functions:
        with suppress(PydanticSerializationError):  # such an option is refused where it is used
            default, again = (to_jsonable_python(getattr(made, name)) for made in (first, second))
            if default != again:
                return (
                    f"has a default of {name} that differs from call to call (here {default!r:.40} and {again!r:.40}), so that no "
                    "run could be resumed. Give it a fixed default."
                )
    return None


def _explain(kind: type[BaseModel], where: str, fault: dict[str, Any], further: Sequence[str] = ()) -> tuple[str, str]:
    """Return the beginning of a sentence (the option and its value) and its end (the fault), without the final period."""
    location, group = _place(kind, fault["loc"])
    path = [where, *location] if where else location
    if fault["type"] == "extra_forbidden":
        return _explain_unknown(path, fault["input"], group, further)
    key = shortened(".".join(path))
    if fault["type"] == "missing":
        if isinstance(fault["loc"][-1], int):  # an entry of a list of fixed length: the message shows the list
            return f"Option {key.rpartition('.')[0]!r} = {_shown(fault['input'])}: ", "more values are needed, in a list"
        examples = group.model_fields[location[-1]].examples
        return f"The option {key!r} is missing. ", f"Give it{f', for example {location[-1]}: {examples[0]}' if examples else ''}"
    return f"Option {key!r} = {_shown(fault['input'])}: " if key else "", plain_message(fault)


def _explain_unknown(path: Sequence[str], value: Any, group: type[BaseModel], further: Sequence[str]) -> tuple[str, str]:
    """Explain an unknown option of `group` at the keys `path`; see `_explain`."""
    *above, name = path
    unknown = f"Unknown option {shortened('.'.join(path))!r}."
    below = _paths_below(group)
    if name.split(".") in below:
        nested = "..."
        for key in reversed(name.split(".")):
            nested = f"{{{key}: {nested}}}"
        return f"{unknown} ", f"Here options are nested: write {nested[1:-1]}"
    fields = list(group.model_fields)
    # The same name in another group is more likely meant than a similar name in this one.
    meant = [".".join([*above, *inner]) for inner in below if inner[-1] == name]
    meant += [key for key in further if key.rpartition(".")[2] == name]
    meant = meant or difflib.get_close_matches(name, fields, n=1)
    if not meant:
        nearest = difflib.get_close_matches(name, [inner[-1] for inner in below], n=1)
        meant = [".".join([*above, *inner]) for inner in below if inner[-1] in nearest]
    hint = f" Did you mean {' or '.join(map(repr, meant))}?" if meant else ""
    choices = f"Choose from: {', '.join(fields)}" if fields else "There are no options here; leave it out"
    if value is None:  # as YAML reads {students: gcn,sage}
        choices += f". It has no value here: if it belongs to a list, write that in brackets, for example [gcn, {name}]"
    return f"{unknown}{hint} ", choices


def plain_message(fault: Any) -> str:
    """Return the fault of a pydantic error in plain words, as the end of a sentence without the final period."""
    kind, value = fault["type"], fault["input"]
    if kind in _PLAIN:
        return _PLAIN[kind]
    if kind in ("tuple_type", "list_type", "set_type", "frozen_set_type"):
        is_single = isinstance(value, str | int | float) and not isinstance(value, bool)
        return f"a list is needed{f', for example [{value}]' if is_single and len(str(value)) <= 40 else ''}"
    if kind in ("too_short", "too_long", "string_too_short", "string_too_long"):
        bound, number = ("least", fault["ctx"]["min_length"]) if kind.endswith("short") else ("most", fault["ctx"]["max_length"])
        container, unit = ("string", "character") if kind.startswith("string") else ("list", "value")
        return f"a {container} of at {bound} {counted(number, unit)} is needed"
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return f"{words} {fault['ctx'][name]:.15g} is needed"
    if kind == "literal_error":
        # pydantic has the choices as one string, such as "'none', 'batch' or 'layer'".
        choices = re.findall(r"'([^']*)'", fault["ctx"]["expected"]) or [fault["ctx"]["expected"]]
        return f"there is no such value. {advice(value, choices)}"
    return shortened(str(fault["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, "), most=1000)


def _shown(value: object) -> str:
    return shortened(repr(list(value) if isinstance(value, tuple) else value), most=200)


def _paths_below(kind: type[BaseModel], above: frozenset[type[BaseModel]] = frozenset()) -> list[list[str]]:
    """Return the paths of the options in all nested groups of `kind`. A group within itself (in `above`) is not entered again."""
    paths, entered = [], above | {kind}
    for name, field in kind.model_fields.items():
        # A group, or a group or None; in a tuple of groups an option has several places.
        for group in (field.annotation, *(get_args(field.annotation) if get_origin(field.annotation) is not tuple else ())):
            if is_class(group) and issubclass(group, BaseModel):
                paths += [[name, key] for key in group.model_fields]
                paths += [[name, *path] for path in (_paths_below(group, entered) if group not in entered else ())]
    return paths


def _place(kind: type[BaseModel], loc: Iterable[int | str]) -> tuple[list[str], type[BaseModel]]:
    """Return the keys of a fault as a user writes them, and the innermost group of options around it.

    Args:
        loc: pydantic's location; for a union it also contains the name of the type that was tried.
    """
    location: list[str] = []
    group = kind
    annotation: Any = kind
    for part in loc:
        kinds = _kinds(annotation)
        if len(kinds) > 1:
            annotation = next((tried for tried in kinds if getattr(tried, "__name__", None) == part), None)
            if is_class(annotation) and issubclass(annotation, BaseModel):
                group = annotation
            continue
        (annotation,) = kinds
        if part == "[key]":
            continue
        location.append(str(part))
        if is_class(annotation) and issubclass(annotation, BaseModel):
            group = annotation
            field = group.model_fields.get(str(part))
            annotation = field.annotation if field else None
        else:
            arguments = [argument for argument in get_args(annotation) if argument is not ...]
            annotation = arguments[-1] if arguments else None  # of a mapping, the type of its values
    return location, group


def _kinds(annotation: Any) -> list[Any]:
    """Return the types that an annotation allows, without None and without the metadata of `Annotated`."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        return [kind for argument in get_args(annotation) if argument is not NoneType for kind in _kinds(argument)]
    return [annotation]
