"""Parity over epochs: training from the same weights on both sides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.experiments.compare import theirs
from dgl_mutual.experiments.compare.checks import PRECISIONS, TRAJECTORY_BOUNDS, Check, difference, terms_difference, without_dropout
from dgl_mutual.experiments.compare.ours import assembled, weights_of
from dgl_mutual.experiments.configuration.config import RunConfig
from dgl_mutual.experiments.trial import Trial, fit_resolved
from dgl_mutual.training.callbacks import Callback, EpochReports
from dgl_mutual.training.distributed.placement import Placement
from dgl_mutual.training.history import EpochReport
from dgl_mutual.training.state import TrainingState

#: With larger steps, training a graph task with batch norm is chaotic: rounding errors grow a thousandfold in ten epochs in any program.
MAX_LEARNING_RATE = 1e-3
#: Fraction of the largest gradient below which the gradient of a weight counts as rounding noise.
_NOISE = {"float64": 1e-10, "float32": 1e-5}


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Training from the same weights on both sides.

    Attributes:
        table: one row per epoch: ``epoch`` from 1; ``loss_ours`` and ``loss_reference``, sums of all terms; ``loss`` and ``weights``,
            largest differences of a term and of a weight.
    """

    precision: str
    table: pd.DataFrame
    bound: float

    def parted(self, bound: float) -> int | None:
        """The first epoch after which both sides differ by more than `bound`; None if there is none."""
        beyond = self.table[self.table[["loss", "weights"]].max(axis=1) > bound]
        return None if beyond.empty else int(beyond["epoch"].iloc[0])

    @property
    def checks(self) -> list[Check]:
        what = {"loss": "trajectory of the losses", "weights": "trajectory of the weights"}
        return [Check("all", text, self.precision, float(self.table[column].max()), self.bound) for column, text in what.items()]


def with_small_steps(config: RunConfig) -> RunConfig:
    """The same configuration with a learning rate of at most `MAX_LEARNING_RATE` on a graph task."""
    if config.task == "node":
        return config
    rate = min(config.training.learning_rate, MAX_LEARNING_RATE)
    return config.model_copy(update={"training": config.training.model_copy(update={"learning_rate": rate})})


@contextmanager
def without_noise(precision: str) -> Iterator[None]:
    """Make all optimizers within the block treat gradients as zero that are zero except for rounding.

    A bias before a batch norm has no effect, so its gradient is zero. Rounding leaves some 1e-14 of it, which Adam turns into real steps,
    since it divides a gradient by its size: two correct programs then drift apart along a meaningless direction.
    """

    def silence(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        sizes = torch.stack([gradient.abs().max() for gradient in gradients])
        for gradient, size in zip(gradients, sizes, strict=True):
            if size < _NOISE[precision] * sizes.max():
                gradient.zero_()

    handle = register_optimizer_step_pre_hook(silence)
    try:
        yield
    finally:
        handle.remove()


def certify_trajectory(
    trial: Trial, config: RunConfig, dataset: Dataset, precision: str, epochs: int, report: Callable[[EpochReport], None] | None = None
) -> Trajectory:
    """Train both sides from the same weights, epoch by epoch; `report` is called at the end of each epoch."""
    config, dtype = with_small_steps(without_dropout(config, epochs)), PRECISIONS[precision]
    start = weights_of(assembled(trial, config, dataset, dtype)[0].cohort, config)
    reference = theirs.make_reference(config, dataset, trial.split, seed=trial.seed, fold=trial.fold, dtype=dtype, weights=start)
    modules = [*reference.students, reference.coordinator]
    losses: list[dict[str, float]] = []
    apart: list[float] = []

    class Follow(Callback):
        """After each epoch of ours, one of the reference's."""

        def on_epoch_end(self, state: TrainingState) -> None:
            losses.append(reference.train_epoch())
            reference.evaluate()
            groups = weights_of(state.cohort, config)
            apart.append(
                max(
                    difference(value, module.get_parameter(name))
                    for module, group in zip(modules, groups, strict=True)
                    for name, value in group.items()
                )
            )

    callbacks = [Follow(), *([] if report is None else [EpochReports(report)])]
    with without_noise(precision):
        history = fit_resolved(trial, config, dataset, callbacks=callbacks, placement=Placement(dtype=dtype)).history
    rows = []
    for epoch, (row, their_terms, weights) in enumerate(zip(history, losses, apart, strict=True), start=1):
        ours = {name.removeprefix("loss/"): value for name, value in row.items() if name.startswith("loss/")}
        rows.append(
            {
                "epoch": epoch,
                "loss_ours": sum(ours.values()),
                "loss_reference": sum(their_terms.values()),
                "loss": max(terms_difference(ours, their_terms).values()),
                "weights": weights,
            }
        )
    return Trajectory(precision, pd.DataFrame(rows), TRAJECTORY_BOUNDS[precision])
