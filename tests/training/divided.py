"""What each of several processes does in `test_ranks.py`: trains cohorts with the others, and says what came of it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from dgl_mutual.training.distributed.process_group import process_group
from dgl_mutual.training.distributed.ranks import DividedSamples, DividedStudents
from tests.cohorts import train_cohort


def train_together(cases: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    kinds = {"samples": DividedSamples, "students": DividedStudents, "own state": DividedSamples}
    found: dict[str, list[Any]] = {divided: [] for divided in kinds}
    with process_group("cpu") as here:
        for divided, several in pickle.loads(cases.read_bytes()).items():
            ranks = kinds[divided](here.rank, here.size)
            for dataset, split, options in several:
                result = train_cohort(dataset, split, **options, dtype=torch.float64, ranks=ranks)
                found[divided].append((result.history, result.cohort.state_dict()))
        (folder / f"{here.rank}.pkl").write_bytes(pickle.dumps(found))
