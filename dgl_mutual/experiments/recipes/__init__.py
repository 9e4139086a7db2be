"""Recipes: configurations of this package for known datasets, by name.

Each is a YAML file here, whose first lines say where its values come from.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

from dgl_mutual.errors import unknown
from dgl_mutual.plain_yaml import read_yaml

#: Key of a recipe that is not one of a configuration.
_DESCRIPTION = "description"


@cache
def recipes() -> dict[str, str]:
    """The names of all recipes, each with its description, in alphabetical order."""
    return {name: str(_values(name)[_DESCRIPTION]) for name in _names()}


def recipe_text(name: str) -> str:
    """The file of a recipe.

    Raises:
        UsageError: there is none of this name; the message lists those of the same kind.
    """
    if name not in _names():
        raise unknown("recipe", name, _names())
    return resources.files(__name__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")


def read_recipe(name: str) -> dict[str, Any]:
    """The layer of configuration of a recipe, as a file given with ``--config`` would make it.

    Raises:
        UsageError: there is none of this name.
    """
    return {key: value for key, value in _values(name).items() if key != _DESCRIPTION}


def _values(name: str) -> dict[str, Any]:
    values: dict[str, Any] = read_yaml(recipe_text(name))
    return values


@cache
def _names() -> tuple[str, ...]:
    files = resources.files(__name__).iterdir()
    return tuple(sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml")))
