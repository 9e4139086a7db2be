"""Where the targets of the exchange come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
from torch import Tensor

from dgl_mutual.cohort import Cohort
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.arrays import IntArray
from dgl_mutual.data.values.split import Split
from dgl_mutual.errors import UsageError
from dgl_mutual.nn.batch import Batch
from dgl_mutual.nn.module import CohortMember
from dgl_mutual.strategies.base.exchange import Exchange, TargetSource
from dgl_mutual.strategies.base.strategy import Strategy
from dgl_mutual.training.averages import Averages, copied
from dgl_mutual.training.distributed.placement import Placement
from dgl_mutual.training.distributed.ranks import Ranks
from dgl_mutual.training.evaluation.clean_logits import CleanLogits, stack
from dgl_mutual.training.feeds import Feed, TrainingBatch
from dgl_mutual.utils.custom_code import is_custom

#: Computes the clean logits of these members anew, on at least these samples.
CleanPass: TypeAlias = Callable[[Sequence[int], IntArray], None]


@dataclass(eq=False)
class Targets:
    """Kept clean logits, which are not renewed while members train. Subclasses have other targets of members that train.

    The targets of members that do not train in the phase are always the clean logits kept at the end of their last phase. With sampled
    nodes none are kept, and each step runs these members.

    Attributes:
        are_clean: whether targets of members that train are clean logits.
        clean: the latest clean logits of all members, for validation, and those kept for targets.
        averages: averages of the weights of members, whose clean logits are the targets of these members.
    """

    are_clean: ClassVar[bool] = False
    cohort: Cohort
    exchange: Exchange
    feed: Feed
    split: Split
    ranks: Ranks
    clean: CleanLogits
    averages: Averages

    def before_epoch(self, active: Sequence[int], clean_pass: CleanPass, *, first: bool, best: Sequence[int], validated: bool) -> None:
        """Renew what the targets of an epoch are computed from, unless the last epoch did so.

        Args:
            first: whether the epoch is the first of its phase.
            best: the active members whose best epoch was the last one, or that were never validated in this phase.
            validated: whether the last epoch was validated.
        """

    def after_epoch(self, active: Sequence[int], clean_pass: CleanPass, *, validates: bool) -> None:
        """Renew the clean logits that targets or validation need."""
        if validates:
            clean_pass(active, self.split.val)

    def after_phase(self, active: Sequence[int], clean_pass: CleanPass) -> None:
        """Keep the clean logits of members, which now have their best weights, as targets of later phases."""
        clean_pass(active, self.split.val if self.feed.sampled else self._samples)
        self.clean.keep()

    def of_step(self, batch: TrainingBatch, active: Sequence[int], *, here: Tensor, logits: Tensor) -> Tensor:
        """Return the targets of all members in a step: (K, N, C).

        Args:
            batch: the input of this process, with the samples of all processes (see `TrainingBatch.gathered`).
            here, logits: training pass of the active members, without gradients: on the samples of this process (A, n, C), and on all of
                the batch (A, N, C).
        """
        return self.clean.of(batch.index)

    def state(self) -> dict[str, Any]:
        """Return what must be kept to resume, beside the averages of weights."""
        return {"clean": self.clean.state()}

    def restore(self, state: Mapping[str, Any], active: Sequence[int]) -> None:
        """Restore from `state()` in a phase of these members."""
        self.clean.restore(state["clean"])

    @property
    def _samples(self) -> IntArray:
        """Samples whose clean logits validation and targets need."""
        if self.exchange.is_transductive:
            return np.arange(self.clean.latest.shape[1])
        return np.concatenate([self.split.seen, self.split.val])

    def _with_others(self, here: Tensor, batch: TrainingBatch, active: Sequence[int]) -> Tensor:
        """Return targets (K, N, C), given `here` (A, n, C), the targets of the active members on the samples of this process."""
        if self.feed.sampled:
            others = [k for k in range(len(self.cohort)) if k not in active]
            run = self._clean_logits(batch.batch, (self.cohort.members[k] for k in others)) if others else []
            rows = dict(zip([*active, *others], [*here, *run], strict=True))
            return self.ranks.gather(stack([rows[k] for k in range(len(rows))]), dim=1)
        targets = self.clean.of(batch.index).clone()
        targets[list(active)] = self.ranks.gather(here, dim=1)
        return targets

    @torch.no_grad()
    def _clean_logits(self, batch: Batch, modules: Iterable[CohortMember]) -> list[Tensor]:
        """Run modules in evaluation mode. Afterwards the cohort is in training mode again."""
        self.cohort.eval()
        logits = [module.forward_batch(batch).logits for module in modules]
        self.cohort.train()
        return logits


class TrainingPassTargets(Targets):
    """Logits of the training pass of the step."""

    def of_step(self, batch: TrainingBatch, active: Sequence[int], *, here: Tensor, logits: Tensor) -> Tensor:
        return logits if len(active) == len(self.cohort) else self._with_others(here, batch, active)


class EpochTargets(Targets):
    """Clean logits from a pass over all samples after each epoch, or their moving average."""

    are_clean = True

    def before_epoch(self, active: Sequence[int], clean_pass: CleanPass, *, first: bool, best: Sequence[int], validated: bool) -> None:
        if first:
            clean_pass(active, self._samples)
            self.clean.keep(active)

    def after_epoch(self, active: Sequence[int], clean_pass: CleanPass, *, validates: bool) -> None:
        clean_pass(active, self._samples)
        self.clean.smooth()


class BestEpochTargets(Targets):
    """Clean logits of each member at its best epoch so far, from a pass over all samples before the next epoch."""

    are_clean = True

    def before_epoch(self, active: Sequence[int], clean_pass: CleanPass, *, first: bool, best: Sequence[int], validated: bool) -> None:
        if not best:
            return
        # On a whole graph, validation has computed the clean logits of all samples.
        if first or not validated or self.feed.num_transductive_samples is None:
            clean_pass(active if self.ranks.divides == "students" else best, self._samples)
        self.clean.keep(best)


class StepTargets(Targets):
    """Clean logits that each step computes on its own samples."""

    are_clean = True

    def of_step(self, batch: TrainingBatch, active: Sequence[int], *, here: Tensor, logits: Tensor) -> Tensor:
        clean = stack(self._clean_logits(batch.batch, map(self._module, self.ranks.local(active))))
        return self._with_others(self.ranks.gather_members(clean, active), batch, active)

    def _module(self, member: int) -> CohortMember:
        return self.averages.targeted(member)


@dataclass(eq=False)
class BestMemberTargets(StepTargets):
    """Clean logits that each step computes with copies of the members at their best epochs so far."""

    best_members: dict[int, CohortMember] = field(default_factory=dict)

    def before_epoch(self, active: Sequence[int], clean_pass: CleanPass, *, first: bool, best: Sequence[int], validated: bool) -> None:
        self.best_members.update({k: copied(self.averages.targeted(k)) for k in self.ranks.local(active) if k in best})

    def state(self) -> dict[str, Any]:
        return {**super().state(), "best members": {str(k): member.state_dict() for k, member in self.best_members.items()}}

    def restore(self, state: Mapping[str, Any], active: Sequence[int]) -> None:
        super().restore(state, active)
        for k in self.ranks.local(active):
            self.best_members[k] = copied(self.cohort.members[k])
            self.best_members[k].load_state_dict(state["best members"][str(k)])

    def _module(self, member: int) -> CohortMember:
        return self.best_members[member]


#: For each value of `Exchange.targets` the usual class, and the one where `passes_are_costly`.
_CLASSES: dict[TargetSource, tuple[type[Targets], type[Targets]]] = {
    "frozen": (Targets, TrainingPassTargets),
    "train": (TrainingPassTargets, TrainingPassTargets),
    "eval": (EpochTargets, StepTargets),
    "ema": (EpochTargets, EpochTargets),  # the second is refused, see `refuse_moving_average`
    "best": (BestEpochTargets, BestMemberTargets),
    "average": (StepTargets, StepTargets),
}


def make_targets(
    cohort: Cohort, exchange: Exchange, feed: Feed, dataset: Dataset, split: Split, placement: Placement, averages: Averages
) -> Targets:
    """Create the targets of a training."""
    targets_class = _CLASSES[exchange.targets][passes_are_costly(exchange, feed, dataset, split)]
    shape = (len(cohort), dataset.num_samples, dataset.target.num_outputs)
    keeps = exchange.targets == "ema" or targets_class is BestEpochTargets
    clean = CleanLogits(shape, placement.device, placement.dtype, keeps=keeps, decay=exchange.decay)
    return targets_class(cohort, exchange, feed, split, placement.ranks, clean, averages)


def passes_are_costly(exchange: Exchange, feed: Feed, dataset: Dataset, split: Split) -> bool:
    """Whether a pass over all samples for targets costs more than running members on the samples of each step.

    It does with sampled neighbours, and after each epoch for unlabelled graphs. Logits of the best epoch are renewed only when it changes,
    so they cost more only with a pool, of which an epoch may see little.
    """
    if exchange.targets == "best":
        return feed.sampled or dataset.num_pool > 0
    return feed.sampled or (exchange.targets == "eval" and len(split.unlabelled) > 0 and feed.num_transductive_samples is None)


def refuse_moving_average(strategy: Strategy, exchange: Exchange, feed: Feed, dataset: Dataset) -> None:
    """Refuse a moving average of logits as targets where an epoch may see few samples.

    Raises:
        UsageError: such targets.
    """
    if exchange.targets == "ema" and (feed.sampled or dataset.num_pool):
        samples, cause = ("nodes", "--sampler") if feed.sampled else ("graphs of the pool", "the pool")
        raise UsageError(
            f"The strategy {strategy.name!r} needs predictions on all {samples} after each epoch (targets: {exchange.targets}), and an "
            f"epoch may see few of them. Choose {_other_targets(strategy)}, or leave out {cause}."
        )


def _other_targets(strategy: Strategy) -> str:
    """Return the alternatives to a moving average, for a message."""
    if hasattr(strategy.options, "targets") and not is_custom(type(strategy).exchange):
        return "--set strategy_options.targets=eval, best or train"
    return "other targets in its exchange(), eval, best or train" if is_custom(strategy) else "another strategy"
