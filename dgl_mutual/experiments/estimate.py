"""How long trials will take: from trials that have finished, or from training for two epochs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from dgl_mutual.data.dataset import IntArray, Split
from dgl_mutual.experiments.grid import grid_points
from dgl_mutual.experiments.plan import Plan
from dgl_mutual.experiments.run_store import RunStore
from dgl_mutual.training.trainer import fit_cohort

#: Graphs to train on for an estimate. A node task needs its whole graph.
_GRAPHS = 1000
_EPOCHS = 2


def seconds_per_trial(plan: Plan, out: Path) -> float:
    """Seconds that one trial of a run takes with one thread, at most: training may stop early, and finished trials say how early."""
    points = len(grid_points(plan.config))
    trials = RunStore(out / plan.name).trials
    if len(trials):
        return points * float(trials.drop_duplicates(["seed", "fold"])["train_seconds"].mean())
    torch.set_num_threads(1)
    split = plan.trials[0].split
    share = min(1.0, _GRAPHS / len(split.train)) if plan.config.task == "graph" else 1.0
    result = fit_cohort(
        plan.dataset,
        Split(*(_first(part, share) for part in (split.train, split.val, split.test))) if share < 1 else split,
        students=plan.config.students,
        strategy=plan.config.strategy,
        strategy_options=plan.config.strategy_options,
        training=plan.config.training.model_copy(update={"epochs": _EPOCHS}),
    )
    return points * result.train_seconds / result.epochs * plan.config.training.epochs / share


def num_missing(plan: Plan, out: Path) -> int:
    """Trials that have not finished."""
    return len({trial.key for trial in plan.trials} - RunStore(out / plan.name).finished())


def _first(part: IntArray, share: float) -> IntArray:
    """Spread over all of it, since it may be sorted by class."""
    chosen: IntArray = part[np.linspace(0, len(part) - 1, max(1, round(share * len(part)))).astype(np.int64)]
    return chosen
