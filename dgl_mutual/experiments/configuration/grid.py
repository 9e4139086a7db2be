"""Grid search within each trial: all points train on the same split, and validation alone decides."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from dgl_mutual.errors import UsageError
from dgl_mutual.experiments.configuration.config import RunConfig, parse_config
from dgl_mutual.experiments.configuration.given import given_values
from dgl_mutual.experiments.configuration.layers import unflatten, value_at
from dgl_mutual.store.members import MEAN
from dgl_mutual.training.evaluation.metrics import as_compared
from dgl_mutual.training.result import FitResult

#: The groups of options that a grid may vary.
_VARIED = ("training", "strategy_options", "student")
#: Maximum number of points of a grid: all are resolved before the first trial, and each trial trains at all of them.
MAX_POINTS = 10_000


class GridPoint(NamedTuple):
    """A combination of values, by dotted key in the order of the grid, and its configuration. Without a grid, there are no values."""

    values: dict[str, Any]
    config: RunConfig


def grid_points(config: RunConfig) -> list[GridPoint]:
    """All points of the grid of a given configuration; without a grid, the configuration itself as the only point.

    Raises:
        UsageError: a key outside `training`, `strategy_options` and `student`, an unknown key within, or a key that also has a value; or
            too many points.
    """
    if not config.grid:
        return [GridPoint({}, config)]
    given = given_values(config)
    for key, choices in config.grid.items():
        group, _, name = key.partition(".")
        if group not in _VARIED or not name:
            raise UsageError(
                f"The grid cannot vary {key!r}: it varies {', '.join(f'{group}.KEY' for group in _VARIED)}, for example "
                "training.learning_rate, strategy_options.weight or student.hidden, the last one of all built-in students."
            )
        if (value := value_at(given, key)) is not None:
            raise UsageError(f"{key} is set to {value!r}, and the grid varies it over {list(choices)}. Leave out one of them.")
    count = math.prod(map(len, config.grid.values()))
    if count > MAX_POINTS:
        sizes = " x ".join(str(len(choices)) for choices in config.grid.values())
        raise UsageError(
            f"The grid has {count} points ({sizes}), and each trial would train at all of them. Give at most {MAX_POINTS}, or search at "
            "random: 'dgl-mutual tune'."
        )
    from sklearn.model_selection import ParameterGrid  # slower to import than all of DGL

    del given["grid"]
    combinations = ParameterGrid({key: list(choices) for key, choices in config.grid.items()})
    return [GridPoint(values, point_of(given, values)) for values in combinations]


def search(points: Sequence[GridPoint], fit: Callable[[int, RunConfig], FitResult]) -> tuple[FitResult, list[dict[str, Any]]]:
    """Train at all points, and return the result with the best mean validation metric of the students.

    Args:
        points: resolved; a single point without values means no search.
        fit: (index of a point, its configuration) -> result.

    Returns:
        The result, and a row per point with its values, ``val`` and ``chosen``. The test metrics of other points are never looked at.
    """
    if len(points) == 1 and not points[0].values:
        return fit(0, points[0].config), []
    best: FitResult | None = None
    rows: list[dict[str, Any]] = []
    for number, point in enumerate(points):
        result = fit(number, point.config)
        rows.append({**point.values, "val": result[MEAN].val})
        if best is None or _score(result) > _score(best):
            best, chosen = result, number
    assert best is not None
    return best, [{**row, "chosen": number == chosen} for number, row in enumerate(rows)]


def _score(result: FitResult) -> float:
    val = as_compared(result[MEAN].val)
    return -math.inf if math.isnan(val) else val


def point_of(given: Mapping[str, Any], values: Mapping[str, Any]) -> RunConfig:
    """A given configuration with values by dotted key."""
    return parse_config(given, unflatten(values))
