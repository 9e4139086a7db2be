"""Where the targets of the exchange come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

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
from dgl_mutual.strategies.base import Strategy
from dgl_mutual.strategies.exchange import Exchange
from dgl_mutual.training.averages import WeightAverages, copied
from dgl_mutual.training.distributed.placement import Placement
from dgl_mutual.training.evaluation.clean_logits import CleanLogits, stack
from dgl_mutual.training.feeds import Feed, TrainingBatch
from dgl_mutual.utils.custom_code import is_custom

#: Renews the latest clean logits of these members on at least these samples.
CleanPass: TypeAlias = Callable[[Sequence[int], IntArray], None]


class Targets:
    """Makes the targets of each step, and renews what they are made of.

    The targets of members that train are what `Exchange.targets` names. They come from one of three places:

    - the training pass of the step (train);
    - kept clean logits: a pass over all samples renews them after each epoch (eval, ema), or before an epoch for the members whose best
      epoch was the last (best);
    - clean logits that the step makes on its own samples, see `made_in_steps`.

    Those of members that do not train in the phase are the clean logits that were kept at the end of theirs. Of sampled nodes none are
    kept, so a step runs these members, too.

    Args:
        feed: where batches come from.
        in_evaluation: averages of the weights that replace the members in evaluation, if there are some.
        averages: see below.

    Attributes:
        are_clean: whether targets are clean logits of members that train.
        clean: the latest clean logits of all members, for validation, and those that are kept for targets.
        averages: moving averages of the members' weights, if targets are made of them (average); `in_evaluation` itself if it is
            the same average.
        best_members: copies of the members at their best epochs so far, by number, if steps run these (best).
    """

    def __init__(
        self,
        cohort: Cohort,
        exchange: Exchange,
        feed: Feed,
        dataset: Dataset,
        split: Split,
        placement: Placement,
        *,
        in_evaluation: WeightAverages | None,
        averages: WeightAverages | None,
    ) -> None:
        self._cohort, self._exchange, self._feed, self._split, self._ranks = cohort, exchange, feed, split, placement.ranks
        self.are_clean = exchange.targets not in ("train", "frozen")
        self._in_steps = self.are_clean and made_in_steps(exchange, feed, dataset, split)
        self._are_kept = self.are_clean and not self._in_steps
        self.clean = CleanLogits(
            (len(cohort), dataset.num_samples, dataset.target.num_outputs),
            placement.device,
            placement.dtype,
            keeps=self._are_kept and exchange.targets != "eval",
            decay=exchange.decay,
        )
        self.averages = averages
        self.best_members: dict[int, CohortMember] | None = {} if exchange.targets == "best" and self._in_steps else None
        self._student = cohort.members.__getitem__ if in_evaluation is None else in_evaluation.of

    def before_epoch(self, active: Sequence[int], clean_pass: CleanPass, *, first: bool, best: Sequence[int], validated: bool) -> None:
        """Renew, before an epoch, the kept clean logits or members that its targets are made of, unless the last epoch has done so.

        Args:
            first: whether it is the first of its phase.
            best: the active members of which the last epoch was the best so far, or that were never validated in this phase.
            validated: whether the last epoch was.
        """
        renewed = best if self._exchange.targets == "best" else active if first else ()
        if not renewed:
            return
        if self.best_members is not None:
            self.best_members.update({k: copied(self._student(k)) for k in self._ranks.local(active) if k in renewed})
        elif self._are_kept:
            # Validation on a whole graph has been over all of it.
            if first or not validated or self._feed.num_transductive_samples is None:
                clean_pass(active if self._ranks.divides == "students" else renewed, self._samples)
            self.clean.keep(renewed)

    def after_epoch(self, active: Sequence[int], clean_pass: CleanPass, *, validates: bool) -> None:
        """Renew the clean logits of all samples that targets need, or of those that validation needs."""
        if self._are_kept and self._exchange.targets != "best":
            clean_pass(active, self._samples)
            self.clean.smooth()
        elif validates:
            clean_pass(active, self._split.val)

    def after_phase(self, active: Sequence[int], clean_pass: CleanPass) -> None:
        """Keep the clean logits of members that now have their best weights, as targets of later phases."""
        clean_pass(active, self._split.val if self._feed.sampled else self._samples)
        self.clean.keep()

    def of_step(self, share: TrainingBatch, batch: TrainingBatch, active: Sequence[int], *, here: Tensor, logits: Tensor) -> Tensor:
        """Targets of all members in a step: (K, N, C).

        Args:
            share, batch: this process's share of a batch, and all of it.
            here, logits: of the active members, from the training pass, without gradients: on the share (A, n, C), and on the batch
                (A, N, C).
        """
        if self._exchange.targets == "train" and len(active) == len(self._cohort):
            return logits
        if self._feed.sampled:
            return self._of_sampled_step(share.batch, active, here)
        kept = self.clean.of(batch.index)
        if self._in_steps:
            own = self._ranks.gather(self._made_here(share.batch, active), dim=1)
        elif self._exchange.targets == "train":
            own = logits
        else:
            return kept
        targets = kept.clone()
        targets[list(active)] = own
        return targets

    def state(self) -> dict[str, Any]:
        """What must be kept to resume, beside the averages of weights."""
        best = None if self.best_members is None else {str(k): student.state_dict() for k, student in self.best_members.items()}
        return {"clean": self.clean.state(), "best members": best}

    def restore(self, found: Mapping[str, Any], active: Sequence[int]) -> None:
        """Take back what `state` gave in a phase of these members.

        Raises:
            LookupError, ValueError, RuntimeError: it is of others.
        """
        self.clean.restore(found["clean"])
        if self.best_members is not None:
            for k in self._ranks.local(active):
                self.best_members[k] = copied(self._cohort.members[k])
                self.best_members[k].load_state_dict(found["best members"][str(k)])

    @property
    def _samples(self) -> IntArray:
        """Samples whose clean logits validation and targets need."""
        if self._exchange.on == "transductive":
            return np.arange(self.clean.latest.shape[1])
        return np.concatenate([self._split.seen, self._split.val])

    def _of_sampled_step(self, batch: Batch, active: Sequence[int], here: Tensor) -> Tensor:
        """As `of_step`, where no logits are kept of the samples: members that do not train in the phase are run, too."""
        rows = dict(zip(active, self._made_here(batch, active) if self._in_steps else here, strict=True))
        if others := [k for k in range(len(self._cohort)) if k not in rows]:
            rows.update(zip(others, self._clean_logits(batch, (self._cohort.members[k] for k in others)), strict=True))
        return self._ranks.gather(stack([rows[k] for k in range(len(rows))]), dim=1)

    def _made_here(self, batch: Batch, active: Sequence[int]) -> Tensor:
        """Clean logits of the active members on this process's share of a batch: (A, n, C)."""
        logits = self._clean_logits(batch, map(self._target_module, self._ranks.local(active)))
        return self._ranks.gather_members(stack(logits), active)

    def _target_module(self, member: int) -> CohortMember:
        """The module whose clean logits are a member's targets, where steps make these."""
        if self.best_members is not None:
            return self.best_members[member]
        return self._student(member) if self.averages is None else self.averages.of(member)

    @torch.no_grad()
    def _clean_logits(self, batch: Batch, students: Iterable[CohortMember]) -> list[Tensor]:
        """Logits of these students in evaluation mode. Afterwards all members are in training mode again."""
        self._cohort.eval()
        logits = [student.forward_batch(batch).logits for student in students]
        self._cohort.train()
        return logits


def made_in_steps(exchange: Exchange, feed: Feed, dataset: Dataset, split: Split) -> bool:
    """Whether each step makes the clean logits of its targets on its own samples.

    It does where a pass over all samples after each epoch would cost more: with sampled neighbours, averaged weights, and latest logits of
    unlabelled graphs. Logits of the best epoch are kept of all samples, and renewed when it changes; with a pool, of which an epoch may see
    little, copies of the members are kept instead.
    """
    if feed.sampled or exchange.targets == "average":
        return True
    if exchange.targets == "best":
        return dataset.num_pool > 0
    return exchange.targets == "eval" and len(split.unlabelled) > 0 and feed.num_transductive_samples is None


def refuse_moving_average(strategy: Strategy, exchange: Exchange, feed: Feed, dataset: Dataset) -> None:
    """Refuse targets that are a moving average of logits where an epoch may see few samples.

    Raises:
        UsageError: they are.
    """
    if exchange.targets == "ema" and (feed.sampled or dataset.num_pool):
        samples, cause = ("nodes", "--sampler") if feed.sampled else ("graphs of the pool", "the pool")
        raise UsageError(
            f"The strategy {strategy.name!r} needs predictions on all {samples} after each epoch (targets: {exchange.targets}), and an "
            f"epoch may see few of them. Choose {_other_targets(strategy)}, or leave out {cause}."
        )


def _other_targets(strategy: Strategy) -> str:
    """What a message says to choose in place of targets that need clean logits to be kept."""
    if hasattr(strategy.options, "targets") and not is_custom(type(strategy).exchange):
        return "--set strategy_options.targets=eval, best or train"
    return "other targets in its exchange(), eval, best or train" if is_custom(strategy) else "another strategy"
