"""Untrusted YAML to plain values and back: all faults raise the same error, and a small file cannot expand into gigabytes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from dgl_mutual.errors import UsageError, shortened
from dgl_mutual.utils.files import read_bytes
from dgl_mutual.utils.safe_text import is_unicode

#: Maximum number of values after expansion of aliases: more than any configuration has, and less than a second's work.
MAX_VALUES = 1_000_000
#: Maximum number of characters of a document: more than a suite of ten thousand runs has.
MAX_SIZE = 1 << 21
#: Maximum depth of nested collections.
MAX_DEPTH = 64
#: Maximum number of anchors, and of keys of a mapping that are not strings: both can take quadratic time to read.
_MAX_ANCHORS = _MAX_OTHER_KEYS = 10_000
#: Maximum number of bits of an integer key: many longer ones may have the same hash in Python.
_MAX_KEY_BITS = 64
#: Maximum number of characters of a number: Python cannot print longer ones, and some take quadratic time to read.
_MAX_DIGITS = 1000
#: Maximum number of characters of an error message of PyYAML.
_MAX_QUOTED = 1000
_TEXT, _INTEGER, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:int", "tag:yaml.org,2002:merge"
_BYTES = "tag:yaml.org,2002:binary"
_NUMBERS = (_INTEGER, "tag:yaml.org,2002:float")
#: ``1:30``, which YAML reads as 90, and ``010``, read as 8: hardly ever intended.
_OTHER_BASE = re.compile(r"[-+]?(0[0-7_]+$|.*:)")
#: A line that starts with ``%``, as ``%TAG`` and ``%YAML`` before a document.
_DIRECTIVE = re.compile("(?:\\A|[\n\r\x85\u2028\u2029])\ufeff?%[^\n\r]{0,80}")
_Loader: type[yaml.SafeLoader | yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the former needs libyaml


def read_yaml(text: str) -> Any:
    """Return the values of a document.

    Raises:
        yaml.YAMLError: it is not YAML, is too large or nested too deeply, expands to more than `MAX_VALUES` values, has a key twice in a
            mapping, or has invalid values (such as a 13th month), numbers to base 8 or 60, bytes, directives, too many anchors, or
            integer keys that are too long or too many.
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
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:  # raised by PyYAML's constructors
        raise yaml.YAMLError(f"a value in it cannot be read ({shortened(error)})") from None


def read_yaml_file(file: Path) -> Any:
    """Return the values of a file; see `read_yaml`.

    Raises:
        yaml.YAMLError: see `read_yaml`.
        OSError: it is not a regular file, or cannot be read.
        UnicodeDecodeError: it is not UTF-8.
    """
    return read_yaml(read_bytes(file, MAX_SIZE).decode("utf-8"))


def yaml_text(values: Any) -> str:
    """Return plain values as a document that `read_yaml` reads, mappings in their order.

    Raises:
        UsageError: text cannot be encoded as UTF-8, such as a path with bytes of another encoding: PyYAML would write it, but refuse to
            read it.
    """
    refused = next((text for text in _texts(values) if not is_unicode(text)), None)
    if refused is not None:
        raise UsageError(
            f"{shortened(refused)!r} cannot be encoded as UTF-8, so it cannot be saved. Use another name; rename the file or folder if it "
            "names one."
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
    """Check a document without building it: building is recursive, in C without a limit."""
    depth = anchors = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise yaml.YAMLError("it is nested too deeply")
        anchors += isinstance(event, yaml.CollectionStartEvent | yaml.ScalarEvent) and event.anchor is not None
        if anchors > _MAX_ANCHORS:
            raise yaml.YAMLError(f"it has more than {_MAX_ANCHORS} anchors (&name)")


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """Count the values, each as often as it is referenced; a collection that contains itself has more than `MAX_VALUES`.

    Raises:
        yaml.YAMLError: a mapping has a key twice or costly keys, or a value is bytes or a number that is too long or to base 8 or 60.
    """
    if not isinstance(node, yaml.CollectionNode):
        if node.tag == _BYTES:  # they would pass checks of text, and may be decoded later
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
        known[id(node)] = MAX_VALUES + 1  # found again if the collection contains itself
        below = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        known[id(node)] = 1 + sum(_count(each, known) for each in below)
        if isinstance(node, yaml.MappingNode):
            _refuse_costly_keys(node)
            _refuse_repeated_keys(node)
    return known[id(node)]


def _refuse_repeated_keys(node: yaml.MappingNode) -> None:
    """Refuse repeated keys, of which PyYAML silently keeps the last. Keys that are equal in Python count: ``true``, ``yes`` and ``1``."""
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
