"""Temporary seeds of the global random streams of torch's CPU, NumPy and Python."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from dgl_mutual.utils.process_state import alone


@contextmanager
def streams_kept() -> Iterator[None]:
    """Restore the global random stream of torch's CPU at the end of the block, as if nothing had been drawn from it.

    One thread at a time (see `alone`).
    """
    with alone(), torch.random.fork_rng(devices=[]):
        yield


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global streams of torch's CPU, NumPy and Python within the block, and restore them afterwards.

    One thread at a time (see `alone`). Streams of other devices do not change; `torch.manual_seed` would seed them all, whatever the
    fork covers.
    """
    with streams_kept(), python_streams(seed):
        torch.default_generator.manual_seed(seed)
        yield


@contextmanager
def python_streams(seed: int) -> Iterator[None]:
    """Seed the global streams of Python and NumPy within the block, and restore them afterwards.

    The caller must ensure that no other thread draws from them meanwhile (see `alone`).
    """
    of_python, of_numpy = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)
