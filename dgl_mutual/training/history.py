"""Training history: one row of numbers per epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from dgl_mutual.errors import TrainingError

HistoryRow: TypeAlias = dict[str, float]


@dataclass(frozen=True)
class EpochReport:
    """Summary of an epoch for progress displays, without test metrics.

    Attributes:
        epoch: its number, from 0. Each phase before counts with all its epochs, also if it ended early.
        epochs: how many there are at most, over all phases.
    """

    epoch: int
    epochs: int
    loss: float
    val: Mapping[str, float]


def refuse_non_finite(losses: Mapping[str, Any], names: Sequence[str], epoch: int, learning_rate: float, cause: str | None = None) -> None:
    """Refuse losses of which one is NaN or infinite.

    Args:
        losses: what the message calls each loss -> its value, or a value for each of `names`.
        names: the members that train.
        epoch, learning_rate: for the message.
        cause: sentences on the likely cause, if it is in a user's own code.

    Raises:
        TrainingError: names the losses and the members.
    """
    broken = []
    for loss, values in losses.items():
        if not isinstance(values, list):
            broken += [] if math.isfinite(values) else [loss]
        elif members := [name for name, value in zip(names, values, strict=True) if not math.isfinite(value)]:
            broken.append(f"{loss} of {', '.join(members)}")
    if broken:
        cause = cause or (
            f"The likely cause is a step size that is too large (training.learning_rate = {learning_rate}) or features of extreme size; "
            "lower the one or rescale the other."
        )
        raise TrainingError(f"The loss is not finite in epoch {epoch}: {'; '.join(broken)}. {cause}")


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
