"""What is recorded of an epoch: one row, a number a column."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from dgl_mutual.errors import TrainingError

HistoryRow: TypeAlias = dict[str, float]


@dataclass(frozen=True)
class EpochReport:
    """What a progress display is told after an epoch: no test figure is among it.

    Attributes:
        epoch: its number, from 0. Each phase before counts with all its epochs, also if it ended early.
        epochs: how many there are at most, over all phases.
    """

    epoch: int
    epochs: int
    loss: float
    val: Mapping[str, float]


def refuse_non_finite(row: HistoryRow, epoch: int, learning_rate: float) -> None:
    """Raise `TrainingError` where a loss of an epoch is not finite; the step size is for the message."""
    broken = [name.removeprefix("loss/") for name, value in row.items() if name.startswith("loss/") and not math.isfinite(value)]
    if broken:
        raise TrainingError(
            f"The loss is not finite in epoch {epoch}: {', '.join(f'term/student {name}' for name in broken)}. "
            f"The likely cause is a step size that is too large (training.learning_rate = {learning_rate}) "
            "or features of extreme size; lower the one or rescale the other."
        )


def columns_of(means: Mapping[str, Any], names: Sequence[str], active: Sequence[int]) -> HistoryRow:
    """One column a number: ``loss/mutual/gat-1`` from (A,), ``weights/gat-1/gcn-0`` from (K, K) with its diagonal, a scalar by its bare
    name.

    Args:
        means: nested lists or numbers by name, A of them for the active members.
        names: all members' names.
    """
    row: HistoryRow = {}
    for name, value in means.items():
        if not isinstance(value, list):
            row[name] = value
        elif value and isinstance(value[0], list):
            row.update({f"{name}/{names[i]}/{names[j]}": w for i, line in enumerate(value) for j, w in enumerate(line)})
        else:
            row.update({f"{name}/{names[k]}": entry for k, entry in zip(active, value, strict=True)})
    return row
