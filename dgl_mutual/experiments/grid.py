"""Hyper-parameters chosen within each trial: each point of a grid trains on the same split, and validation alone says which counts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from sklearn.model_selection import ParameterGrid

from dgl_mutual.errors import UsageError
from dgl_mutual.experiments.config import RunConfig, merge, nest, parse_config
from dgl_mutual.training.result import FitResult

_GROUPS = ("training", "strategy_options", "student")


def grid_points(config: RunConfig) -> list[tuple[dict[str, Any], RunConfig]]:
    """Each combination of values (by dotted key, in the order of the grid) with the configuration that it makes of a resolved one.

    Raises:
        UsageError: a key outside `training`, `strategy_options` and `student`, or an unknown one within.
    """
    for key in config.grid or {}:
        if key.partition(".")[0] not in _GROUPS or "." not in key:
            raise UsageError(f"The grid cannot vary {key!r}: it varies {', '.join(f'{group}.KEY' for group in _GROUPS)}.")
    return [
        (values, _point(config, values)) for values in ParameterGrid({key: list(choices) for key, choices in (config.grid or {}).items()})
    ]


def search(config: RunConfig, fit: Callable[[RunConfig], FitResult]) -> tuple[FitResult, list[dict[str, Any]]]:
    """The result of the point whose students have the best mean metric on validation; without a grid, of the configuration itself.

    Returns:
        The result, and for each point its values, ``val`` and ``chosen``: the test figures of the others are never looked at.
    """
    if not config.grid:
        return fit(config), []
    best: FitResult | None = None
    rows: list[dict[str, Any]] = []
    for values, point in grid_points(config):
        result = fit(point)
        rows.append({**values, "val": result["mean"].val})
        if best is None or _score(result) > _score(best):
            best, chosen = result, len(rows) - 1
    assert best is not None
    return best, [{**row, "chosen": place == chosen} for place, row in enumerate(rows)]


def _score(result: FitResult) -> float:
    val = result["mean"].val
    return -math.inf if math.isnan(val) else val


def _point(config: RunConfig, values: dict[str, Any]) -> RunConfig:
    plain = config.model_dump(mode="json", exclude={"grid", "student"})
    layer: dict[str, Any] = {}
    for key, value in values.items():
        layer = merge(layer, nest(key, value))
    # The cohort of a resolved configuration has all options of its own, so what all students share must be written into each.
    shared = layer.pop("student", {})
    return parse_config(plain, layer, {"students": [{**student, **shared} for student in plain["students"]]})
