"""Training history: one row of numbers per epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from dgl_mutual.errors import TrainingError

HistoryRow: TypeAlias = dict[str, float]
#: The columns of history.csv that identify a row.
KEYS = ("seed", "fold", "epoch")


@dataclass(frozen=True)
class EpochReport:
    """Summary of an epoch for progress displays, without test metrics.

    Attributes:
        epoch: number of the epoch, from 0. Each phase before counts with its maximum number of epochs, even if it ended early.
        epochs: maximum number of epochs, over all phases.
    """

    epoch: int
    epochs: int
    loss: float
    val: Mapping[str, float]


def refuse_non_finite(losses: Mapping[str, Any], names: Sequence[str], epoch: int, learning_rate: float, cause: str | None = None) -> None:
    """Refuse losses of which one is NaN or infinite.

    Args:
        losses: maps the name of each loss in the message to its value, or to a list with a value for each of `names`.
        names: the members that train.
        epoch, learning_rate: for the message.
        cause: sentences on the likely cause, if it is in custom code; by default learning rate and features are named.

    Raises:
        TrainingError: names the losses and the members.
    """
    broken = []
    for loss, values in losses.items():
        if isinstance(values, list):
            if members := [name for name, value in zip(names, values, strict=True) if not math.isfinite(value)]:
                broken.append(f"{loss} of {', '.join(members)}")
        elif not math.isfinite(values):
            broken.append(loss)
    if broken:
        cause = cause or (
            f"Likely causes are a learning rate that is too large (training.learning_rate = {learning_rate}) and features of extreme size; "
            "lower the former or rescale the latter."
        )
        raise TrainingError(f"The loss is not finite in epoch {epoch}: {'; '.join(broken)}. {cause}")


def fault_of_name(name: str) -> str | None:
    """Return why a column of the history cannot have this name, as the end of a sentence; None if it can."""
    if not name.strip():
        return "is empty. Give it a name"
    return None if name.isprintable() else "has control characters in it. Leave them out"
