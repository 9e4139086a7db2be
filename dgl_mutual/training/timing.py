"""Time of calls on a device, and of the predictions of trained models, one model at a time, with quartiles."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.training.checkpoints import TrainedModel

#: Warm-up passes of each model: the first fills the caches of batches.
WARM_UP = 3
#: After this many seconds no further round begins, if there are at least `MIN_ROUNDS`.
_MAX_SECONDS = 60.0
MIN_ROUNDS = 5
#: A single call that takes longer is timed once.
_LONG_MS = 5000.0
_REPEATS = 3


def now(device: torch.device) -> float:
    """Return the seconds of `time.perf_counter` after the device has finished its work: a GPU runs asynchronously."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def milliseconds(run: Callable[[], object], device: torch.device) -> float:
    """Measure the milliseconds of a call."""
    started = now(device)
    run()
    return 1000 * (now(device) - started)


def median_ms(run: Callable[[], object], device: torch.device) -> float:
    """Measure the median milliseconds of three calls, after one that fills caches; of that one only if it takes over five seconds."""
    first = milliseconds(run, device)
    return first if first > _LONG_MS else median(milliseconds(run, device) for _ in range(_REPEATS))


@dataclass(frozen=True)
class InferenceTime:
    """Milliseconds of a forward pass over all samples: the median over `repeats` passes, and the quartiles."""

    median_ms: float
    quartile_1_ms: float
    quartile_3_ms: float
    repeats: int


def time_inference(models: Mapping[str, TrainedModel], dataset: Dataset, *, repeats: int = 30) -> dict[str, InferenceTime]:
    """Time forward passes of each model over all samples of a dataset, without the time to make batches.

    One model runs at a time. The models take turns, so that a slow moment of the machine affects all of them. The number of threads is
    torch's.

    Args:
        repeats: number of passes of each model; fewer, but at least 5, if they take more than a minute in total.

    Raises:
        DataError, UsageError: the dataset does not fit a model.
    """
    passes = {name: model.prepared(dataset) for name, model in models.items()}
    devices = {name: next(model.parameters()).device for name, model in models.items()}
    for name, run in passes.items():
        for _ in range(WARM_UP):
            milliseconds(run, devices[name])
    times: dict[str, list[float]] = {name: [] for name in passes}
    started = time.monotonic()
    for number in range(repeats):
        if number >= MIN_ROUNDS and time.monotonic() - started > _MAX_SECONDS:
            break
        for name, run in passes.items():
            times[name].append(milliseconds(run, devices[name]))
    return {name: _summary(of_model) for name, of_model in times.items()}


def _summary(times: list[float]) -> InferenceTime:
    lower, middle, upper = np.quantile(times, [0.25, 0.5, 0.75]).tolist()
    return InferenceTime(middle, lower, upper, len(times))
