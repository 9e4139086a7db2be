"""What a process of torchrun runs in `test_distributed.py`: trains cohorts with the others, and says what came of it.

python -m torch.distributed.run ... divided.py samples|students CASES.pkl FOLDER
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import torch

from dgl_mutual.strategies.setting import Divided
from dgl_mutual.training.distributed import joined
from dgl_mutual.training.trainer import fit_cohort


def main(divide: Divided, cases: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    with joined("cpu", divide) as ranks:
        results = []
        for dataset, split, options in pickle.loads(cases.read_bytes()):
            result = fit_cohort(dataset, split, **options, dtype=torch.float64, ranks=ranks)
            results.append((result.history, result.cohort.state_dict()))
        (folder / f"{ranks.rank}.pkl").write_bytes(pickle.dumps(results))


if __name__ == "__main__":
    main("students" if sys.argv[1] == "students" else "samples", Path(sys.argv[2]), Path(sys.argv[3]))
