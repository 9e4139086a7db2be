"""Recipes: configurations of this package for known datasets, by name.

Each is a YAML file in this folder. Its first lines name the sources of its values.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

from dgl_mutual.errors import unknown
from dgl_mutual.plain_yaml import read_yaml

#: The key of a recipe that is not part of the configuration.
_DESCRIPTION = "description"


@cache
def recipes() -> dict[str, str]:
    """The names of all recipes, each with its description, in alphabetical order."""
    return {name: str(_values(name)[_DESCRIPTION]) for name in _names()}


def recipe_text(name: str) -> str:
    """The file of a recipe.

    Raises:
        UsageError: there is no such recipe; the message lists all of them.
    """
    if name not in _names():
        raise unknown("recipe", name, _names())
    return resources.files(__name__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")


def read_recipe(name: str) -> dict[str, Any]:
    """The configuration of a recipe, like that of a file given with ``--config``.

    Raises:
        UsageError: there is no such recipe.
    """
    return {key: value for key, value in _values(name).items() if key != _DESCRIPTION}


def _values(name: str) -> dict[str, Any]:
    values: dict[str, Any] = read_yaml(recipe_text(name))
    return values


@cache
def _names() -> tuple[str, ...]:
    files = resources.files(__name__).iterdir()
    return tuple(sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml")))
