"""Memory of each side, in a process of its own that loads the data and trains two epochs."""

from __future__ import annotations

import multiprocessing
import re
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dgl_mutual.data.dataset import Dataset, Split
from dgl_mutual.data.load import load_dataset
from dgl_mutual.experiments.config import RunConfig

Side = Literal["ours", "reference"]
_EPOCHS = 2


@dataclass(frozen=True)
class Memory:
    """MiB; None where the system does not tell.

    Attributes:
        peak: at the highest, libraries included.
        training: the part of it that came after the libraries and the dataset were loaded.
    """

    peak: float | None = None
    training: float | None = None


def measure_memory(side: Side, config: RunConfig, split: Split, *, data_dir: Path | None, threads: int) -> Memory:
    """What a side takes to train.

    Args:
        config: resolved, with a dataset that is at hand.
    """
    short = config.model_copy(update={"training": config.training.model_copy(update={"epochs": _EPOCHS})})
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(_train_and_measure, side, short, split, data_dir, threads).result()
        except BrokenProcessPool:  # killed for lack of memory: there is no figure, and the rest of the comparison stands
            return Memory()


def _train_and_measure(side: Side, config: RunConfig, split: Split, data_dir: Path | None, threads: int) -> Memory:
    import torch

    torch.set_num_threads(threads)
    dataset = load_dataset(config.dataset, config.task, data_dir=data_dir, offline=True, targets=config.targets)
    train = _trainer(side, config, split, dataset)
    torch.optim.Adam([torch.zeros(1)])  # the first optimizer has torch load libraries of its own
    loading, loaded = peak(), _status("VmRSS")
    _forget_peak()
    train()
    highest = peak()
    if highest is None or loading is None:
        return Memory()
    return Memory(max(highest, loading), None if loaded is None else highest - loaded)


def _trainer(side: Side, config: RunConfig, split: Split, dataset: Dataset) -> Callable[[], object]:
    """A side's training, its libraries imported. The reference's does not import DGL."""
    if side == "ours":
        from dgl_mutual.experiments.compare.ours import fit
        from dgl_mutual.experiments.trial import Trial

        return lambda: fit(Trial(0, 0, split), config, dataset)
    from dgl_mutual.experiments.compare.theirs import make_reference

    def train() -> None:
        reference = make_reference(config, dataset, split, seed=0, fold=0)
        while not reference.stopped:
            reference.train_epoch()
            reference.evaluate()

    return train


def peak() -> float | None:
    """High-water mark of this process in MiB."""
    mark = _status("VmHWM")  # getrusage would start from the parent's mark on Linux
    if mark is not None or sys.platform == "win32":
        return mark
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS


def _forget_peak() -> None:
    """Start the high-water mark anew, on Linux; where that is not allowed, loading counts as training if it took more."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _status(entry: str) -> float | None:
    """MiB of an entry of Linux' account of this process."""
    status = Path("/proc/self/status")
    found = re.search(rf"{entry}:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found.group(1)) / 1024 if found else None
