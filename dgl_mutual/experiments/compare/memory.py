"""Peak memory of each side, in a process of its own that loads the data and trains two epochs."""

from __future__ import annotations

import multiprocessing
import re
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Literal

from dgl_mutual.data.dataset import Split
from dgl_mutual.data.load import load_dataset
from dgl_mutual.experiments.config import RunConfig

Side = Literal["ours", "reference"]
_EPOCHS = 2


def peak_memory(side: Side, config: RunConfig, split: Split, *, data_dir: Path | None, threads: int) -> float | None:
    """MiB at the highest, libraries included; None where the system does not tell.

    Args:
        config: resolved, with a dataset that is at hand.
    """
    short = config.model_copy(update={"training": config.training.model_copy(update={"epochs": _EPOCHS})})
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_train_and_measure, side, short, split, data_dir, threads).result()


def _train_and_measure(side: Side, config: RunConfig, split: Split, data_dir: Path | None, threads: int) -> float | None:
    import torch

    torch.set_num_threads(threads)
    dataset = load_dataset(config.dataset, config.task, data_dir=data_dir, offline=True)
    if side == "ours":
        from dgl_mutual.experiments.compare.ours import fit
        from dgl_mutual.experiments.trial import Trial

        fit(Trial(0, 0, split), config, dataset)
    else:
        from dgl_mutual.experiments.compare.theirs import make_reference

        reference = make_reference(config, dataset, split, seed=0, fold=0)
        while not reference.stopped:
            reference.train_epoch()
            reference.evaluate()
    return _peak()


def _peak() -> float | None:
    """High-water mark of this process in MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would start from the parent's mark here
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        return int(found.group(1)) / 1024 if found else None
    if sys.platform == "win32":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS
