"""Estimated time of trials before they run, from finished trials or a few measured epochs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.arrays import IntArray
from dgl_mutual.data.values.split import Split
from dgl_mutual.errors import DglMutualError
from dgl_mutual.experiments.configuration.config import RunConfig
from dgl_mutual.experiments.plan import Plan
from dgl_mutual.experiments.trial import Trial, fit_resolved
from dgl_mutual.store.tables import KEY, keys_of, read_trials
from dgl_mutual.strategies import resolve_strategy
from dgl_mutual.training.callbacks import EpochReports
from dgl_mutual.utils.torch_settings import threads_kept

#: Maximum number of training graphs of an estimate. A node task needs its whole graph.
_GRAPHS = 256
_EPOCHS = 3


@threads_kept()
def seconds_per_trial(plan: Plan, out: Path) -> float:
    """Upper bound in seconds for one trial of a run with one thread; with finished trials, their mean, which includes early stopping.

    Measures epochs in which students exchange, without the first one, which is slow in each process.
    """
    finished = _seconds_of_finished(plan, out)
    if finished is not None:
        return finished
    torch.set_num_threads(1)
    split = plan.trials[0].split
    share = min(1.0, _GRAPHS / len(split.seen)) if plan.config.task == "graph" else 1.0
    if share < 1:
        subset = Split(*(_evenly_spaced(samples, share) for samples in split.parts.values()))
        with suppress(DglMutualError):  # a subset may lack a class or a rare label that all graphs have
            return sum(_seconds(point.config, plan.dataset, subset) for point in plan.points) / share
    return sum(_seconds(point.config, plan.dataset, split) for point in plan.points)


def seconds_left(plans: Sequence[Plan], out: Path, missing: Mapping[int, int], jobs: int) -> float | None:
    """Estimated seconds of missing trials, from finished ones of the same run or else of the others; None if no trial has finished.

    Args:
        missing: index of a plan -> number of its missing trials.
        jobs: number of parallel trials.
    """
    finished = {index: _seconds_of_finished(plan, out) for index, plan in enumerate(plans)}
    known = {index: seconds for index, seconds in finished.items() if seconds is not None}
    if not known:
        return None
    mean = float(np.mean(list(known.values())))
    return sum(count * known.get(index, mean) for index, count in missing.items()) / jobs


def _seconds_of_finished(plan: Plan, out: Path) -> float | None:
    """Mean seconds of the finished trials of a run; None if there are none."""
    trials = read_trials(out / plan.name)
    return len(plan.points) * float(trials.drop_duplicates(KEY)["train_seconds"].mean()) if len(trials) else None


def _seconds(config: RunConfig, dataset: Dataset, split: Split) -> float:
    if resolve_strategy(config.strategy).trains:
        return _seconds_per_epoch(config, dataset, split) * config.training.epochs
    return fit_resolved(Trial(0, 0, split), config, dataset).train_seconds


def _seconds_per_epoch(config: RunConfig, dataset: Dataset, split: Split) -> float:
    """Mean seconds per epoch, summed over all phases of the strategy."""
    without_warmup = {"exchange_warmup": [0, 0], "entropy_schedule": "constant"}  # a schedule may end with the warm-up
    exchanging = {key: value for key, value in without_warmup.items() if key in config.strategy_options}
    average = None if config.training.average_start is None else 0
    short = config.model_copy(
        update={
            "strategy_options": {**config.strategy_options, **exchanging},
            "training": config.training.model_copy(
                update={"epochs": _EPOCHS, "eval_every": 1, "checkpoint_every": None, "average_start": average}
            ),
        }
    )
    ends: list[float] = []
    fit_resolved(Trial(0, 0, split), short, dataset, callbacks=[EpochReports(lambda _: ends.append(time.perf_counter()))])
    return float(np.diff(ends).mean()) * len(ends) / _EPOCHS


def num_missing(plan: Plan, out: Path) -> int:
    """Number of trials that have not finished."""
    return len(plan.keys - keys_of(read_trials(out / plan.name)))


def _evenly_spaced(samples: IntArray, share: float) -> IntArray:
    """A share of the samples, evenly spaced, since they may be sorted by class."""
    chosen: IntArray = samples[np.linspace(0, len(samples) - 1, max(1, round(share * len(samples)))).astype(np.int64)]
    return chosen
