"""Recipes: named configurations of this package for known datasets.

Each is a YAML file in this folder. Its first lines name the sources of its values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from dgl_mutual.data.sources.catalog import lookup
from dgl_mutual.errors import UsageError, unknown
from dgl_mutual.nn.options import GRAPH_TASK_OPTIONS
from dgl_mutual.store.configuration import Role, keys_of
from dgl_mutual.utils.plain_yaml import read_yaml
from dgl_mutual.utils.user_warnings import warn

#: The key of a recipe that is not part of the configuration.
DESCRIPTION = "description"
#: Keys of a recipe that do not apply to other datasets.
_OF_ITS_DATASET = keys_of(Role.DATA, Role.SPLIT, Role.METRIC)
#: Keys of a recipe for graph tasks that do not apply to node tasks.
_OF_GRAPH_TASKS = (("training", "batch_size"), *(("student", key) for key in GRAPH_TASK_OPTIONS))


@cache
def recipes() -> dict[str, str]:
    """The names of all recipes, each with its description, in alphabetical order."""
    return {name: str(_values(name)[DESCRIPTION]) for name in _names()}


def recipe_text(name: str) -> str:
    """The file of a recipe.

    Raises:
        UsageError: there is no such recipe; the message lists all of them.
    """
    if not isinstance(name, str) or name not in _names():
        if isinstance(name, str) and ("/" in name or name.endswith((".yaml", ".yml"))):
            raise UsageError(f"{name!r} is not the name of a recipe. To use a file of your own, give --config {name}.")
        raise unknown("recipe", name, _names())
    return resources.files(__name__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")


def read_recipe(name: str, *later: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a recipe, like that of a file given with ``--config``.

    Args:
        later: layers of configuration that override the recipe. If they name another dataset, the task, targets, metric and splits of
            the recipe are left out, and so are options that do not apply to its task, with a warning, if the task is known without
            loading the dataset.

    Raises:
        UsageError: there is no such recipe.
    """
    values = {key: value for key, value in _values(name).items() if key != DESCRIPTION}
    named = [Path(str(layer["dataset"])).name for layer in later if layer.get("dataset") is not None]
    if all(name == values["dataset"] for name in named):  # a name, or a folder of that name
        return values
    is_for_graphs = values.get("task") == "graph"
    values = {key: value for key, value in values.items() if key not in _OF_ITS_DATASET}
    return _for_nodes(values, name, named[-1]) if is_for_graphs and _task_of(later) == "node" else values


def _task_of(layers: Sequence[Mapping[str, Any]]) -> str | None:
    """The task in layers of configuration, or that of their dataset, if it is in the catalog."""
    given = {key: str(value) for layer in layers for key, value in layer.items() if key in ("task", "dataset") and value is not None}
    if "task" in given:
        return given["task"]
    entry = lookup(given["dataset"])
    return None if entry is None else entry.tasks[0]


def _for_nodes(values: Mapping[str, Any], name: str, dataset: str) -> dict[str, Any]:
    """A recipe for graph tasks without the options that node tasks do not have; a warning names them."""
    dropped = [(group, key) for group, key in _OF_GRAPH_TASKS if key in values.get(group, {})]
    if not dropped:
        return dict(values)
    left_out = ", ".join(f"{group}.{key}={values[group][key]}" for group, key in dropped)
    warn(f"Options of the recipe {name} that the node task of {dataset} does not take over: {left_out}.")
    groups = {group: {key: value for key, value in values[group].items() if (group, key) not in dropped} for group, _ in dropped}
    return {**values, **groups}


def _values(name: str) -> dict[str, Any]:
    values: dict[str, Any] = read_yaml(recipe_text(name))
    return values


@cache
def _names() -> tuple[str, ...]:
    files = resources.files(__name__).iterdir()
    return tuple(sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml")))
