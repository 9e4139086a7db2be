"""Memory of each side, measured in a separate process that loads the data and trains two epochs."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.split import Split
from dgl_mutual.experiments.compare.checks import shortened
from dgl_mutual.experiments.configuration.config import RunConfig
from dgl_mutual.experiments.loading import load_data
from dgl_mutual.experiments.processes import process_apart
from dgl_mutual.training.memory import forget_peak, peak, process_memory

Side = Literal["ours", "reference"]
_EPOCHS = 2


@dataclass(frozen=True)
class Memory:
    """Memory in MiB; None if the system does not report it.

    Attributes:
        peak: peak memory of the process, libraries included.
        training: the part that was added after libraries and dataset were loaded.
    """

    peak: float | None = None
    training: float | None = None


def measure_memory(side: Side, config: RunConfig, split: Split, *, data_dir: Path | None, threads: int) -> Memory:
    """Measure the peak memory of training one side. `config` is resolved, and its dataset available."""
    short = shortened(config, _EPOCHS)
    with process_apart() as pool:
        try:
            return pool.submit(_train_and_measure, side, short, split, data_dir, threads).result()
        except BrokenProcessPool:  # killed for lack of memory: the comparison goes on without this number
            return Memory()


def _train_and_measure(side: Side, config: RunConfig, split: Split, data_dir: Path | None, threads: int) -> Memory:
    import torch

    torch.set_num_threads(threads)
    dataset = load_data(config, data_dir=data_dir, offline=True)
    train = _trainer(side, config, split, dataset)
    torch.optim.Adam([torch.zeros(1)])  # the first optimizer makes torch load further libraries
    loading, loaded = peak(), process_memory("VmRSS")
    forget_peak()
    train()
    highest = peak()
    if highest is None or loading is None:
        return Memory()
    return Memory(max(highest, loading), None if loaded is None else highest - loaded)


def _trainer(side: Side, config: RunConfig, split: Split, dataset: Dataset) -> Callable[[], object]:
    """The training of one side, with its libraries imported. The reference does not import DGL."""
    if side == "ours":
        from dgl_mutual.experiments.trial import Trial, fit_resolved

        return lambda: fit_resolved(Trial(0, 0, split), config, dataset)
    from dgl_mutual.experiments.compare.theirs import make_reference

    def train() -> None:
        reference = make_reference(config, dataset, split, seed=0, fold=0)
        while not reference.stopped:
            reference.train_epoch()
            reference.evaluate()

    return train
