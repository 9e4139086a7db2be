"""Names that the shell completes. They are found without importing torch or DGL, and without importing an installed package."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

#: How the class of a strategy says its name.
_NAME = re.compile(r'^    name = "([\w-]+)"$', re.MULTILINE)
PROTOCOLS = ("public", "splits", "random", "nested", "holdout", "scaffold")
TASKS = ("node", "graph")
METRICS = ("accuracy", "balanced-accuracy", "macro-f1", "micro-f1", "rocauc", "ap")
NOISES = ("feature:", "edge:", "edge-add:", "edge-remove:", "label:", "label-asymmetric:")


def strategies() -> list[str]:
    """Names of the built-in strategies, as their files give them, and of those of installed packages; importing them would take seconds."""
    texts = (file.read_text(encoding="utf-8") for file in (Path(__file__).parents[1] / "strategies").glob("*.py"))
    return sorted(name for text in texts for name in _NAME.findall(text)) + _installed("strategies")


def students() -> list[str]:
    """Names of architectures."""
    from dgl_mutual.nn.options import ARCHITECTURE_NAMES

    return [*ARCHITECTURE_NAMES, *_installed("students")]


def datasets() -> list[str]:
    """Names of datasets."""
    from dgl_mutual.data.catalog import known_datasets

    return [*known_datasets(), *_installed("datasets")]


def suites() -> list[str]:
    """Names of the package's suites."""
    folder = Path(__file__).parents[1] / "experiments" / "suites"
    return sorted(file.stem for file in folder.glob("*.yaml"))


def recipes() -> list[str]:
    """Names of the package's recipes."""
    folder = Path(__file__).parents[1] / "experiments" / "recipes"
    return sorted(file.stem for file in folder.glob("*.yaml"))


def one(names: Callable[[], Iterable[str]], *, path: str | None = None) -> Complete:
    """Complete one name, or a path where one has begun.

    Args:
        path: ``file`` or ``dir`` where a path is accepted, too.
    """

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        if path is not None and re.match(r"[./~]|.*/", incomplete):
            return [CompletionItem(incomplete, type=path)]
        found = [CompletionItem(name) for name in names() if name.startswith(incomplete)]
        return found or ([CompletionItem(incomplete, type=path)] if path is not None else [])

    return complete


def several(names: Callable[[], Iterable[str]]) -> Complete:
    """Complete the last of several names with commas between them."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        before, comma, last = incomplete.rpartition(",")
        return [CompletionItem(f"{before}{comma}{name}") for name in names() if name.startswith(last)]

    return complete


def _installed(family: str) -> list[str]:
    from dgl_mutual.registry import installed_plug_ins

    return sorted({plug_in.name for plug_in in installed_plug_ins(f"dgl_mutual.{family}")})
