"""Trials that several processes, started by torchrun, train together, one after another. The first of them keeps what comes of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from dgl_mutual.errors import TrainingError, UsageError
from dgl_mutual.experiments.config import RunConfig
from dgl_mutual.experiments.device import is_cuda
from dgl_mutual.experiments.progress import Progress
from dgl_mutual.experiments.trial import Outcome
from dgl_mutual.training.distributed import Ranks

if TYPE_CHECKING:
    from dgl_mutual.experiments.runner import Plan, Work


def device_of_rank(device: str) -> str:
    """On CUDA every process of a machine has a GPU of its own.

    Raises:
        UsageError: a certain GPU was asked for.
    """
    if not is_cuda(device):
        return device
    if ":" in device:
        raise UsageError(f"Under torchrun every process has a GPU of its own, so {device!r} cannot be that of all. Choose --device cuda.")
    return f"cuda:{os.environ['LOCAL_RANK']}"


def refuse_alone(config: RunConfig, jobs: int | None) -> None:
    """Refuse what only one process can do.

    Raises:
        UsageError: it was asked for.
    """
    if jobs is not None and jobs > 1:
        raise UsageError(f"Under torchrun all processes train one trial, so --jobs {jobs} cannot be. Leave out --jobs, or torchrun.")
    if config.training.checkpoint_every is not None:
        raise UsageError(
            "A training of several processes cannot be kept while it lasts. Leave out --checkpoint-every; finished trials are kept."
        )


def lead(
    task: Callable[..., tuple[int, Outcome]], works: Sequence[Work], ranks: Ranks, progress: Progress
) -> Generator[tuple[int, Outcome], None, None]:
    """What the first process does: it says which trials there are, and has the outcome of each.

    Raises:
        TrainingError: another process is gone, or something failed here that did not fail there.
    """
    ranks.agree([(work.place, work.trial.key) for work in works])
    for work in works:
        yield _whole(task(work, on_epoch=progress.epoch, ranks=ranks))


def follow(task: Callable[..., tuple[int, Outcome]], plans: Sequence[Plan], ranks: Ranks, make: Callable[..., Work]) -> None:
    """What the other processes do: train along, and keep nothing.

    Args:
        make: makes the work of a place, trial and plan.

    Raises:
        TrainingError: see `lead`.
    """
    trials = {(place, trial.key): trial for place, plan in enumerate(plans) for trial in plan.trials}
    nothing: list[tuple[int, tuple[int, int]]] = []
    for place, key in ranks.agree(nothing):
        with TemporaryDirectory() as folder:
            _whole(task(make(place, trials[place, key], plans[place], Path(folder), Path(folder)), ranks=ranks))


def _whole(done: tuple[int, Outcome]) -> tuple[int, Outcome]:
    """Errors of options and figures happen to all processes alike. Any other may be of this one alone, and the rest would wait for it."""
    _, outcome = done
    if outcome.details:
        raise TrainingError(
            f"{outcome.trial.title} could not be trained to its end: {outcome.error}. If a connection was closed, another process has "
            "ended, and says why above or below. Finished trials are kept."
        )
    return done
