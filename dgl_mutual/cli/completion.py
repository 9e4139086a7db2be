"""Names for shell completion, found without importing torch, DGL or an installed package."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import get_args

import click
from click.shell_completion import CompletionItem

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

PROTOCOLS = ("public", "splits", "random", "nested", "holdout", "scaffold")
TASKS = ("node", "graph")
NOISES = ("feature:", "edge:", "edge-add:", "edge-remove:", "label:", "label-asymmetric:")


def strategies() -> list[str]:
    """Names of the strategies of this package and of installed packages."""
    folder = Path(__file__).parents[1] / "strategies"  # importing them would take seconds
    built_in = [module.name.replace("_", "-") for module in pkgutil.iter_modules([str(folder)]) if not module.ispkg]
    return [*built_in, *_installed("strategies")]


def metrics() -> tuple[str, ...]:
    """Names of metrics."""
    from dgl_mutual.data.values.target import ChosenMetric

    return get_args(ChosenMetric)


def students() -> list[str]:
    """Names of architectures."""
    from dgl_mutual.nn.options import ARCHITECTURE_NAMES

    return [*ARCHITECTURE_NAMES, *_installed("students")]


def datasets() -> list[str]:
    """Names of datasets."""
    from dgl_mutual.data.sources.catalog import known_datasets

    return [*known_datasets(), *_installed("datasets")]


def suites() -> list[str]:
    """Names of the package's suites."""
    folder = Path(__file__).parents[1] / "experiments" / "suites"
    return sorted(file.stem for file in folder.glob("*.yaml"))


def recipes() -> list[str]:
    """Names of the package's recipes."""
    from dgl_mutual.experiments import recipes as package

    return list(package.recipes())


def one(names: Callable[[], Iterable[str]], *, path: str | None = None) -> Complete:
    """Complete one name, or a path that has been begun.

    Args:
        path: ``file`` or ``dir`` if a path is accepted, too.
    """

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        if path is not None and re.match(r"[./~]|.*/", incomplete):
            return [CompletionItem(incomplete, type=path)]
        matching = [CompletionItem(name) for name in names() if name.startswith(incomplete)]
        return matching or ([CompletionItem(incomplete, type=path)] if path is not None else [])

    return complete


def several(names: Callable[[], Iterable[str]]) -> Complete:
    """Complete the last of several comma-separated names."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        before, comma, last = incomplete.rpartition(",")
        return [CompletionItem(f"{before}{comma}{name}") for name in names() if name.startswith(last)]

    return complete


def _installed(family: str) -> list[str]:
    from dgl_mutual.registry import installed_plug_ins

    return sorted({plug_in.name for plug_in in installed_plug_ins(f"dgl_mutual.{family}")})
