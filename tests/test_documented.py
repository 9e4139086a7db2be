"""The page of the Python API has an entry for every type that functions and methods of the package take or return."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import dgl_mutual

PAGE = (Path(__file__).parents[1] / "docs" / "api.md").read_text(encoding="utf-8")


def resolved(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def public_functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    """The functions of the package, and the methods and hand-written constructors of its classes, by name."""
    for name in dgl_mutual.__all__:
        offered = getattr(dgl_mutual, name)
        if inspect.isfunction(offered):
            yield name, offered
        for key, member in vars(offered).items() if inspect.isclass(offered) else ():
            function = getattr(member, "__func__", member)
            is_written = key == "__init__" and not is_dataclass(offered)
            if inspect.isfunction(function) and (is_written or not key.startswith("_")):
                yield f"{name}.{key}", function


def imported_names(module: str) -> dict[str, Any]:
    """The imports of a module from the package, including those for types, and its own classes."""
    source = ast.walk(ast.parse(inspect.getsource(sys.modules[module])))
    entries = [(node.module, alias.name) for node in source if isinstance(node, ast.ImportFrom) and node.module for alias in node.names]
    found = {name: resolved(f"{home}.{name}") for home, name in entries if home.startswith("dgl_mutual.")}
    return {**vars(sys.modules[module]), **found}


def test_classes_in_public_signatures_are_documented() -> None:
    documented = [resolved(path) for path in re.findall(r"\.\. autoclass:: ([\w.]+)", PAGE)]
    seen: set[type] = set()
    for name, function in public_functions():
        known = imported_names(function.__module__)
        for word in re.findall(r"\w+", " ".join(map(str, function.__annotations__.values()))):
            kind = known.get(word)
            if inspect.isclass(kind) and kind.__module__.startswith("dgl_mutual."):
                seen.add(kind)
                assert kind in documented, f"{name} takes or gives a {word}, which docs/api.md does not have"
    assert {dgl_mutual.Dataset, dgl_mutual.Split, dgl_mutual.Callback} < seen and len(seen) > 12


def test_members_that_the_page_lists_have_a_docstring() -> None:
    entries = re.findall(r"\.\. autoclass:: ([\w.]+)(?:\(\))?\n   :members: (.+)", PAGE)
    assert entries
    for path, members in entries:
        for name in members.split(", "):
            assert inspect.getdoc(getattr(resolved(path), name, None)), f"docs/api.md lists {path}.{name}, which would not be shown"
