"""Averages of members' weights over training: for `training.average`, and for targets (`targets: average`, `mean-teacher`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any, Literal, cast

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from dgl_mutual.errors import UsageError
from dgl_mutual.nn.batch import Batch
from dgl_mutual.nn.module import CohortMember
from dgl_mutual.strategies.base.exchange import Exchange
from dgl_mutual.training.distributed.sync_batch_norm import plain_batch_norm
from dgl_mutual.training.options import TrainingOptions

#: How weights are averaged.
AverageKind = Literal["ema", "swa"]


class WeightAverages:
    """An average w' of the weights w of each member, with torch's `AveragedModel`.

    ema: w' <- a w' + (1 - a) w after each step, a = min(1 - 1 / (t + 1), decay) in step t, so that the first weights are soon
    forgotten. Buffers, running statistics of batch norm among them, are averaged as weights are; those of integers or booleans
    are copied. Source: Tarvainen and Valpola, NeurIPS 2017, and their code.

    swa: the mean of w after each epoch. Running statistics of batch norm are recomputed by a pass over the training samples. Source:
    Izmailov et al., UAI 2018, arXiv 1803.05407, algorithm 1.
    NOTE[PAPER]: the learning rate is not changed. In the paper it is cyclical, or constant and high.

    Both copy the extra state (`get_extra_state`) of custom students.

    Args:
        members: all members of a cohort.
        kind: ema or swa.
        decay: decay of ema.
        starts: for each member, the first epoch of a phase whose weights are averaged. Before it, the average of a member is the member
            itself.
    """

    def __init__(self, members: Sequence[CohortMember], kind: AverageKind, *, starts: Sequence[int], decay: float = 0.0) -> None:
        self._members = members
        self.kind = kind
        self.decay = decay
        self.starts = tuple(starts)
        self._averaged: dict[int, AveragedModel] = {}

    def averages_as(self, other: WeightAverages) -> bool:
        """Whether other averages of the same members are always equal to these."""
        return (self.kind, self.decay, self.starts) == (other.kind, other.decay, other.starts)

    def restart(self, members: Iterable[int]) -> None:
        """Start new averages for these members, and drop all others."""
        self._averaged = {k: self._fresh(self._members[k]) for k in members}

    def after_step(self, epoch: int) -> None:
        """Update the averages after a step of an epoch."""
        if self.kind == "ema":
            self._update(epoch)

    def after_epoch(self, epoch: int) -> None:
        """Update the averages after the last step of an epoch."""
        if self.kind == "swa":
            self._update(epoch)

    @torch.no_grad()
    def update_bn_statistics(self, batches: Callable[[], Iterable[Batch]]) -> None:
        """Recompute the running statistics of batch norm (of swa) on these batches, with dropout off.

        Args:
            batches: returns the batches; called only if there are statistics to recompute.
        """
        if self.kind != "swa":
            return
        begun = [average.module for k, average in self._averaged.items() if self._has_begun(k)]
        with_norm = [module for module in begun if any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules())]
        if with_norm:
            update_bn(batches(), _SideBySide(with_norm))
            for module in with_norm:
                module.eval()

    def of(self, member: int) -> CohortMember:
        """Return a member with its averaged weights, or the member itself if it has no average (yet)."""
        if member not in self._averaged or not self._has_begun(member):
            return self._members[member]
        return cast("CohortMember", self._averaged[member].module)

    def state(self) -> dict[str, Any]:
        """Return what must be kept to resume."""
        return {str(k): averaged.state_dict() for k, averaged in self._averaged.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore from `state()`: the averages of its members, and no others."""
        self.restart(int(k) for k in state)
        for k, averaged in state.items():
            self._averaged[int(k)].load_state_dict(averaged)

    def _has_begun(self, member: int) -> bool:
        # A moving average that starts in epoch 0 is used before the first step, with the initial weights.
        return (self.kind == "ema" and self.starts[member] == 0) or int(self._averaged[member].n_averaged) > 0

    def _fresh(self, member: CohortMember) -> AveragedModel:
        copy = copied(member)
        average = AveragedModel(copy) if self.kind == "swa" else AveragedModel(copy, multi_avg_fn=self._ema, use_buffers=True)
        return average.eval()

    def _update(self, epoch: int) -> None:
        for k, averaged in self._averaged.items():
            if epoch >= self.starts[k]:
                averaged.update_parameters(self._members[k])
                _copy_extra_state(self._members[k], averaged.module)

    def _ema(self, averaged: Any, current: Any, steps: Any) -> None:
        if not (current[0].is_floating_point() or current[0].is_complex()):  # torch calls this for each type of tensor
            for average, value in zip(averaged, current, strict=True):
                average.copy_(value)
            return
        decay = min(1 - 1 / (int(steps) + 1), self.decay)
        get_ema_multi_avg_fn(decay)(averaged, current, steps)  # type: ignore[no-untyped-call]  # torch's own gap


class Averages:
    """The averages of the members' weights in a training.

    Attributes:
        in_evaluation: averages that replace the members in evaluation (training.average), if it is on.
        in_targets: moving averages that targets are computed with, if the exchange asks for them; the same object as `in_evaluation` if
            both are the same average.
    """

    def __init__(self, members: Sequence[CohortMember], training: TrainingOptions, exchange: Exchange) -> None:
        self._members = members
        self._first_epochs = [member.options.first_epoch(training.epochs) for member in members]
        self.in_evaluation: WeightAverages | None = None
        self.in_targets: WeightAverages | None = None
        if training.average != "none":
            starts = [max(start, training.average_start or 0) for start in self._first_epochs]
            self.in_evaluation = WeightAverages(members, training.average, starts=starts, decay=training.average_decay or 0.0)
        if exchange.targets == "average":
            in_targets = WeightAverages(members, "ema", starts=self._first_epochs, decay=exchange.decay)
            same = self.in_evaluation is not None and self.in_evaluation.averages_as(in_targets)
            self.in_targets = self.in_evaluation if same else in_targets

    def __iter__(self) -> Iterator[WeightAverages]:
        """Go through the averages, without None and without repetition."""
        every = (self.in_evaluation, self.in_targets)
        return iter({id(averages): averages for averages in every if averages is not None}.values())

    def restart(self, members: Iterable[int]) -> None:
        """Start new averages for these members, and drop all others."""
        members = tuple(members)
        for averages in self:
            averages.restart(members)

    def after_step(self, epoch: int) -> None:
        """Update the averages after a step of an epoch."""
        for averages in self:
            averages.after_step(epoch)

    def after_epoch(self, epoch: int) -> None:
        """Update the averages after the last step of an epoch."""
        for averages in self:
            averages.after_epoch(epoch)

    def update_bn_statistics(self, batches: Callable[[], Iterable[Batch]]) -> None:
        """Recompute statistics of batch norm for evaluation; see `WeightAverages.update_bn_statistics`."""
        if self.in_evaluation is not None:
            self.in_evaluation.update_bn_statistics(batches)

    def evaluated(self, member: int) -> CohortMember:
        """Return a member as it is validated, selected and saved."""
        return self._members[member] if self.in_evaluation is None else self.in_evaluation.of(member)

    def targeted(self, member: int) -> CohortMember:
        """Return a member as targets are computed with it: as it is evaluated, unless the exchange has averages of its own."""
        return self.evaluated(member) if self.in_targets is None else self.in_targets.of(member)

    def first_epoch(self, member: int) -> int:
        """Return the first epoch of a phase that changes a member as it is evaluated."""
        return self._first_epochs[member] if self.in_evaluation is None else self.in_evaluation.starts[member]

    def state(self) -> list[dict[str, Any]]:
        """Return what must be kept to resume."""
        return [averages.state() for averages in self]

    def restore(self, state: Sequence[Mapping[str, Any]]) -> None:
        """Restore from `state()`."""
        for averages, saved in zip(self, state, strict=True):
            averages.restore(saved)


def copied(member: CohortMember) -> CohortMember:
    """Return a copy of a member, in evaluation mode, whose batch norms use statistics of this process only.

    Raises:
        UsageError: the member cannot be copied.
    """
    try:
        copy = deepcopy(member)
    except (TypeError, RuntimeError, AttributeError) as error:  # of copy.deepcopy
        raise UsageError(
            f"Averages of the weights of the {member.title}, and targets of its best epoch, need a copy of the module, and it cannot be "
            f"copied ({error}). Keep what cannot be copied outside of the module, or train without training.average and without targets of "
            "averaged weights or of the best epoch."
        ) from error
    plain_batch_norm(copy)
    return copy.eval()


def _copy_extra_state(member: nn.Module, copy: nn.Module) -> None:
    for part, its_copy in zip(member.modules(), copy.modules(), strict=True):
        if type(part).get_extra_state is not nn.Module.get_extra_state:
            its_copy.set_extra_state(deepcopy(part.get_extra_state()))


class _SideBySide(nn.Module):
    """Several students as one model for `update_bn`.

    Batch norms that have not seen a batch of several rows in training, such as those over graphs with steps of one graph, keep their
    initial statistics, by which training normalised.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.students = nn.ModuleList(modules)
        norms = (part for part in self.students.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm))
        self._trained = [norm for norm in norms if norm.num_batches_tracked is None or norm.num_batches_tracked > 0]

    def train(self, mode: bool = True) -> _SideBySide:
        """Set the mode of these batch norms only: otherwise `update_bn` would also turn on dropout in a custom student."""
        for norm in self._trained:
            norm.train(mode)
        return self

    def forward(self, batch: Batch) -> None:
        for student in self.students:
            cast("CohortMember", student).forward_batch(batch)
