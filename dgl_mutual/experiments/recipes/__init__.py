"""Recipes: configurations of this package for known datasets, by name.

Each is a YAML file in this folder. Its first lines name the sources of its values.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from dgl_mutual.errors import UsageError, unknown
from dgl_mutual.plain_yaml import read_yaml

#: The key of a recipe that is not part of the configuration.
DESCRIPTION = "description"
_OF_ITS_DATASET = ("dataset", "task", "targets", "protocol", "folds")


@cache
def recipes() -> dict[str, str]:
    """The names of all recipes, each with its description, in alphabetical order."""
    return {name: str(_values(name)[DESCRIPTION]) for name in _names()}


def recipe_text(name: str) -> str:
    """The file of a recipe.

    Raises:
        UsageError: there is no such recipe; the message lists all of them.
    """
    if isinstance(name, str) and name not in _names() and ("/" in name or name.endswith((".yaml", ".yml"))):
        raise UsageError(f"{name!r} is not the name of a recipe. A file of your own is given as --config {name}.")
    if name not in _names():
        raise unknown("recipe", name, _names())
    return resources.files(__name__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")


def read_recipe(name: str, *later: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a recipe, like that of a file given with ``--config``.

    Args:
        later: layers of configuration that override it. If they name another dataset, the task, targets and splits of the recipe do not
            count.

    Raises:
        UsageError: there is no such recipe.
    """
    values = {key: value for key, value in _values(name).items() if key != DESCRIPTION}
    named = [Path(str(layer["dataset"])).name for layer in later if layer.get("dataset") is not None]
    if all(name == values["dataset"] for name in named):  # a folder of that name holds it
        return values
    return {key: value for key, value in values.items() if key not in _OF_ITS_DATASET}


def _values(name: str) -> dict[str, Any]:
    values: dict[str, Any] = read_yaml(recipe_text(name))
    return values


@cache
def _names() -> tuple[str, ...]:
    files = resources.files(__name__).iterdir()
    return tuple(sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml")))
