"""Trials as units of work that any process can run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.errors import UsageError
from dgl_mutual.experiments.compute import Compute
from dgl_mutual.experiments.plan import Plan
from dgl_mutual.experiments.trial import OnEpoch, Outcome, Trial, run_trial
from dgl_mutual.training.ranks import SINGLE_PROCESS, Ranks


@dataclass(frozen=True, eq=False)
class Work:
    """A trial, with all that a process needs to do it.

    Attributes:
        plan_index: which of the plans it belongs to.
        checkpoints, snapshots: folders for its students, and for its training while it lasts.
    """

    plan_index: int
    trial: Trial
    plan: Plan
    checkpoints: Path
    snapshots: Path

    @property
    def to_send(self) -> Work:
        """The same without the dataset and the other trials: small enough to be sent for every trial (see `with_dataset`)."""
        return replace(self, plan=replace(self.plan, dataset=None, trials=()))  # type: ignore[arg-type]  # whoever gets it puts it back

    def with_dataset(self, dataset: Dataset) -> Work:
        """What `to_send` has left out, put back."""
        return replace(self, plan=replace(self.plan, dataset=dataset))


def datasets_of(works: Sequence[Work]) -> list[Dataset]:
    """Their datasets, each once: runs of a suite share them."""
    return list({id(work.plan.dataset): work.plan.dataset for work in works}.values())


def do_work(
    work: Work,
    *,
    compute: Compute,
    usage_errors_fail_trial: bool,
    on_epoch: OnEpoch | None = None,
    track: Sequence[str] = (),
    ranks: Ranks = SINGLE_PROCESS,
) -> tuple[int, Outcome]:
    """Run a trial.

    Args:
        usage_errors_fail_trial: a cohort that cannot work is a failed trial, and raises nothing.
        track: see `run_trial`.

    Returns:
        The index of its plan, and its outcome.

    Raises:
        UsageError: the cohort cannot work, and `usage_errors_fail_trial` is not set.
    """
    try:
        outcome = run_trial(
            work.trial,
            work.plan.config,
            work.plan.points,
            work.plan.dataset,
            work.checkpoints,
            work.snapshots,
            threads=compute.threads,
            device=compute.device,
            on_epoch=on_epoch,
            track=track,
            ranks=ranks,
        )
    except UsageError as error:
        if not usage_errors_fail_trial:
            raise
        outcome = Outcome(work.trial, [], [], str(error))
    return work.plan_index, outcome
