"""What the steps of an epoch leave for its row of the history."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dgl_mutual.errors import UsageError
from dgl_mutual.strategies.base.step import Step
from dgl_mutual.training.history import HistoryRow


class EpochRecord:
    """Loss terms, logged values and logits on labelled samples of the steps of an epoch."""

    def __init__(self) -> None:
        self._num_steps = 0
        self._terms: defaultdict[str, list[Tensor]] = defaultdict(list)
        self._logged: defaultdict[str, list[Tensor]] = defaultdict(list)
        self._logits: list[Tensor] = []
        self._labels: list[Tensor] = []

    def add(self, step: Step, terms: Mapping[str, Tensor], logged: Mapping[str, Tensor]) -> None:
        """Keep what a step leaves. Call it before weights are updated: a value may be a parameter or a buffer, which changes in place."""
        self._num_steps += 1
        for kept, values in ((self._terms, terms), (self._logged, logged)):
            for name, value in values.items():
                kept[name].append(value.detach().clone())
        self._logits.append(step.logits[:, step.labelled].detach())
        self._labels.append(step.labels[step.labelled])

    def mean_terms(self) -> dict[str, Any]:
        """Return the mean of each loss term over the steps: a number, or a list over the active members.

        A term that is absent from a step counts as 0 there.
        """
        return {name: (_total(values) / self._num_steps).tolist() for name, values in self._terms.items()}

    def mean_logged(self) -> dict[str, Any]:
        """Return the mean of each logged value over the steps that logged it, as a number or nested list."""
        return {name: (_total(values) / len(values)).tolist() for name, values in self._logged.items()}

    def predictions(self) -> tuple[Tensor, Tensor]:
        """Return the logits of the training passes on labelled samples, (A, n, C), and the labels, (n,) or (n, T)."""
        return torch.cat(self._logits, dim=1), torch.cat(self._labels)


def _total(values: Sequence[Tensor]) -> Tensor:
    return sum(values[1:], values[0])


def columns_of(means: Mapping[str, Any], names: Sequence[str], active: Sequence[int], strategy: str) -> HistoryRow:
    """Return one column for each number: ``loss/mutual/gat-1`` for (A,), ``weights/gat-1/gcn-0`` for (K, K) with its diagonal, the bare
    name for a scalar.

    Args:
        means: by name, a number, a list over the A active members, or a nested list over all K.
        names: names of all members.
        strategy: name of the strategy, for the message.

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
                "term or of a logged value, the other has this name itself. Rename one of them."
            )
        row.update(columns)
    return row
