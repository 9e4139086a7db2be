"""YAML from outside as plain values: all faults raise one kind of error, and a small file cannot expand into gigabytes. And back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from dgl_mutual.errors import UsageError, shortened
from dgl_mutual.utils.files import read_bytes
from dgl_mutual.utils.safe_text import is_unicode

#: Values that a document may hold once its aliases are expanded: more than any configuration, and less than a second's work.
MAX_VALUES = 1_000_000
#: Characters of a document: more than a suite of ten thousand runs has.
MAX_SIZE = 1 << 21
#: Collections within collections.
MAX_DEPTH = 64
#: Anchors of a document, and keys of a mapping that are not strings: libyaml and Python's dictionaries slow down with the square of some.
_MAX_ANCHORS = _MAX_OTHER_KEYS = 10_000
#: Bits of a number that is a key: Python gives very many longer ones the same hash.
_MAX_KEY_BITS = 64
#: Characters of a number; of a longer one Python cannot print the value, and some take quadratic time to read.
_MAX_DIGITS = 1000
#: Characters of an error of PyYAML.
_MAX_QUOTED = 1000
_TEXT, _INTEGER, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:int", "tag:yaml.org,2002:merge"
_BYTES = "tag:yaml.org,2002:binary"
_NUMBERS = (_INTEGER, "tag:yaml.org,2002:float")
#: ``1:30``, which YAML reads as 90, and ``010``, as 8. Hardly anybody means that.
_OTHER_BASE = re.compile(r"[-+]?(0[0-7_]+$|.*:)")
#: A line that starts with ``%``, as ``%TAG`` and ``%YAML`` before a document.
_DIRECTIVE = re.compile("(?:\\A|[\n\r\x85\u2028\u2029])\ufeff?%[^\n\r]{0,80}")
_Loader: type[yaml.SafeLoader | yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the former needs libyaml


def read_yaml(text: str) -> Any:
    """The values of a document.

    Raises:
        yaml.YAMLError: it is not YAML, holds a key twice in one mapping or a value that does not exist (such as a 13th month), that is a
            number to base 8 or 60 or bytes, is too large or nested too deeply, refers to itself until it has more than `MAX_VALUES`
            values, or has directives, very many anchors, or numbers as keys that are very long or very many.
    """
    if len(text) > MAX_SIZE:
        raise yaml.YAMLError(f"it has more than {MAX_SIZE} characters")
    directive = _DIRECTIVE.search(text)
    if directive is not None:
        raise yaml.YAMLError(f"it has a line that starts with % ({directive[0].strip()!r}): leave such directives out")
    try:
        _check_structure(text)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            if _count(node, {}) > MAX_VALUES:
                raise yaml.YAMLError(f"its aliases expand to more than {MAX_VALUES} values")
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    except yaml.MarkedYAMLError as error:  # it may quote a name of megabytes
        if len(str(error)) <= _MAX_QUOTED:
            raise
        raise yaml.YAMLError(shortened(error, _MAX_QUOTED)) from None
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:  # PyYAML lets these out of its constructors
        raise yaml.YAMLError(f"a value in it cannot be read ({shortened(error)})") from None


def read_yaml_file(file: Path) -> Any:
    """The values of a file; see `read_yaml`.

    Raises:
        yaml.YAMLError: see `read_yaml`.
        OSError: it is not a regular file, or cannot be read.
        UnicodeDecodeError: it is not UTF-8.
    """
    return read_yaml(read_bytes(file, MAX_SIZE).decode("utf-8"))


def yaml_text(values: Any) -> str:
    """Plain values as a document that `read_yaml` reads, mappings in their order.

    Raises:
        UsageError: there is text that UTF-8 has no bytes for, such as a path with bytes of another encoding: PyYAML writes what it then
            refuses to read.
    """
    refused = next((text for text in _texts(values) if not is_unicode(text)), None)
    if refused is not None:
        raise UsageError(
            f"{shortened(refused)!r} cannot be written as UTF-8, and so not be kept in a file. Use another name: if it is that of a file "
            "or folder, rename it."
        )
    written: str = yaml.safe_dump(values, sort_keys=False)
    return written


def _texts(values: Any) -> Iterator[str]:
    """All text in plain values."""
    if isinstance(values, str):
        yield values
    elif isinstance(values, Mapping):
        yield from _texts([*values, *values.values()])
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _texts(value)


def _check_structure(text: str) -> None:
    """Look at a document without building anything of it: building is recursive, in C without a bound."""
    depth = anchors = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise yaml.YAMLError("it is nested too deeply")
        anchors += isinstance(event, yaml.CollectionStartEvent | yaml.ScalarEvent) and event.anchor is not None
        if anchors > _MAX_ANCHORS:
            raise yaml.YAMLError(f"it has more than {_MAX_ANCHORS} anchors (&name)")


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values there are, each as often as it is referred to; a collection within itself has too many.

    Raises:
        yaml.YAMLError: a mapping has a key twice, or keys that take long, or there is a number of very many digits.
    """
    if not isinstance(node, yaml.CollectionNode):
        if node.tag == _BYTES:  # a check of text would pass them, and what is made of them may be text again
            raise yaml.YAMLError("it holds bytes (!!binary): write text in their place")
        if node.tag in _NUMBERS and len(node.value) > _MAX_DIGITS:
            raise yaml.YAMLError(f"it holds a number of more than {_MAX_DIGITS} digits")
        if node.tag in _NUMBERS and _OTHER_BASE.match(node.value):
            base = 60 if ":" in node.value else 8
            raise yaml.YAMLError(
                f"{node.value[:80]!r} is a number to base {base} in YAML: write it to base 10, or in quotes if it is a string"
            )
        return 1
    if id(node) not in known:
        known[id(node)] = MAX_VALUES + 1  # what a collection finds that is reached from itself
        below = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        known[id(node)] = 1 + sum(_count(each, known) for each in below)
        if isinstance(node, yaml.MappingNode):
            _refuse_costly_keys(node)
            _refuse_repeated_keys(node)
    return known[id(node)]


def _refuse_repeated_keys(node: yaml.MappingNode) -> None:
    """PyYAML takes the last of several, and says nothing. Keys are one where Python takes them for one: ``true``, ``yes`` and ``1``."""
    seen: dict[Any, str] = {}
    constructor = yaml.constructor.SafeConstructor()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            value = key.value if key.tag in (_TEXT, _MERGE) else constructor.construct_object(key)
            if value in seen:
                first = f"as {seen[value][:80]!r} and " if seen[value] != key.value else ""
                raise yaml.YAMLError(
                    f"the key {key.value[:80]!r} occurs twice, {first}again in line {key.start_mark.line + 1}: leave one of them"
                )
            seen[value] = key.value


def _refuse_costly_keys(node: yaml.MappingNode) -> None:
    others = [key for key, _ in node.value if key.tag != _TEXT]
    if len(others) > _MAX_OTHER_KEYS:
        raise yaml.YAMLError(f"a mapping in it has more than {_MAX_OTHER_KEYS} keys that are not strings: write them in quotes")
    long = next((key for key in others if key.tag == _INTEGER and int(key.value.replace("_", ""), 0).bit_length() > _MAX_KEY_BITS), None)
    if long is not None:
        raise yaml.YAMLError(
            f"the key {long.value[:80]!r} is a number of more than {_MAX_KEY_BITS} bits: write it in quotes if it is a string"
        )
