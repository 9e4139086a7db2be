"""Training history: one row of numbers per epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from dgl_mutual.errors import TrainingError, UsageError

HistoryRow: TypeAlias = dict[str, float]
#: The columns of history.csv that say what a row is of.
KEYS = ("seed", "fold", "epoch")


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
        cause: sentences on the likely cause, if it is in custom code.

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
            f"Likely causes are a learning rate that is too large (training.learning_rate = {learning_rate}) and features of extreme size; "
            "lower the one or rescale the other."
        )
        raise TrainingError(f"The loss is not finite in epoch {epoch}: {'; '.join(broken)}. {cause}")


def fault_of_name(name: str) -> str | None:
    """Why the history can have no column of this name, as the end of a sentence; None if it can."""
    if not name.strip():
        return "is empty. Give it a name"
    return None if name.isprintable() else "has control characters in it. Leave them out"


def columns_of(means: Mapping[str, Any], names: Sequence[str], active: Sequence[int], strategy: str) -> HistoryRow:
    """One column a number: ``loss/mutual/gat-1`` from (A,), ``weights/gat-1/gcn-0`` from (K, K) with its diagonal, a scalar by its bare
    name.

    Args:
        means: nested lists or numbers by name, A of them for the active members.
        names: all members' names.
        strategy: its name, for the message.

    Raises:
        UsageError: two values have the same column.
    """
    row: HistoryRow = {}
    for name, value in means.items():
        if not isinstance(value, list):
            columns = {name: value}
        elif value and isinstance(value[0], list):
            columns = {f"{name}/{names[i]}/{names[j]}": w for i, line in enumerate(value) for j, w in enumerate(line)}
        else:
            columns = {f"{name}/{names[k]}": entry for k, entry in zip(active, value, strict=True)}
        if twice := sorted(row.keys() & columns.keys()):
            raise UsageError(
                f"The strategy {strategy!r} has two values for the column {twice[0]!r} of the history: one is a member's part of a loss "
                "term or of a logged value, the other is called so itself. Rename one of them."
            )
        row.update(columns)
    return row
