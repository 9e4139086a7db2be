"""The process group of torchrun: whether there is one, which process leads it, and joining it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import distributed

from dgl_mutual.errors import TrainingError, UsageError
from dgl_mutual.strategies.base.setting import Divided
from dgl_mutual.training.distributed.ranks import SINGLE_PROCESS, DividedSamples, DividedStudents, Ranks
from dgl_mutual.utils.custom_code import described

#: Timeout of collective operations. It is longer than any work of one process alone, such as writing files.
TIMEOUT = timedelta(minutes=10)


def number_from_torchrun(name: str) -> int:
    """Read an integer that torchrun sets in the environment of its processes.

    Raises:
        UsageError: not an integer.
    """
    value = os.environ.get(name, "")
    if not value.isascii() or not value.isdecimal():
        raise UsageError(
            f"TORCHELASTIC_RUN_ID says that torchrun has started this process, and {name} = {value!r} is not an integer. Start it with "
            "torchrun, which sets both, or unset TORCHELASTIC_RUN_ID."
        )
    return int(value)


def launched() -> bool:
    """Whether torchrun has started this process with others.

    Raises:
        UsageError: see `number_from_torchrun`.
    """
    return "TORCHELASTIC_RUN_ID" in os.environ and number_from_torchrun("WORLD_SIZE") > 1


def leads() -> bool:
    """Whether this process writes files and prints, for all processes.

    Raises:
        UsageError: see `number_from_torchrun`.
    """
    return not launched() or number_from_torchrun("RANK") == 0


@contextmanager
def process_group(device: str, divide: Divided = "samples") -> Iterator[Ranks]:
    """Join the other processes within the block. Yields `SINGLE_PROCESS` if torchrun has started no others.

    Args:
        device: device of the training; cpu uses gloo, cuda uses nccl.
        divide: what the processes divide.

    Raises:
        UsageError: see `number_from_torchrun`.
        TrainingError: the other processes cannot be joined.
    """
    if not launched():
        yield SINGLE_PROCESS
        return
    if device.startswith("cuda"):  # NCCL's collectives run on the current GPU, by default the first
        torch.cuda.set_device(number_from_torchrun("LOCAL_RANK"))
    try:
        distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo", timeout=TIMEOUT)
    except (ValueError, RuntimeError) as error:
        raise TrainingError(f"This process cannot join the others: {described(error)} Start all of them with torchrun.") from error
    try:
        kind = DividedStudents if divide == "students" else DividedSamples
        yield kind(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
