"""Time of an epoch with a pool of unlabelled graphs, compared with one without.

    python benchmarks/pool.py ogbg-molbace ogbg-molbbbp --pool ogbg-molhiv

Both alternate every few epochs, of which the first does not count; medians are reported.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import torch
from common import ARCHITECTURES, Clock, write

import dgl_mutual
from dgl_mutual.data import load_dataset
from dgl_mutual.data.dataset import Dataset


def epochs(dataset: Dataset, epochs: int, batch_size: int, **options: Any) -> list[float]:
    """Milliseconds of each epoch but the first, with the exchange on from the first epoch."""
    clock = Clock()
    training = {"epochs": epochs + 1, "patience": epochs + 1, "batch_size": batch_size, **options.pop("training", {})}
    dgl_mutual.fit(
        dataset, ",".join(ARCHITECTURES), strategy_options={"exchange_warmup": [0, 0]}, training=training, callbacks=clock, **options
    )
    return clock.times[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="*", default=["ogbg-molbace", "ogbg-molbbbp"])
    parser.add_argument("--pool", default="ogbg-molhiv")
    parser.add_argument("--ratio", type=float, default=2.0, help="unlabelled graphs drawn per labelled graph and epoch")
    parser.add_argument("--epochs", type=int, default=4, help="in each turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    pool = load_dataset(arguments.pool)
    rows = []
    for name in arguments.datasets:
        dataset = load_dataset(name)
        with_pool = {"unlabelled": pool, "training": {"unlabelled_ratio": arguments.ratio}}
        ways: list[tuple[dict[str, Any], list[float]]] = [({}, []), (with_pool, [])]
        for _ in range(arguments.rounds):
            for options, times in ways:
                times += epochs(dataset, arguments.epochs, arguments.batch_size, **options)
        without, beside = (median(times) for _, times in ways)
        rows.append(
            {
                "dataset": name,
                "pool": arguments.pool,
                "ratio": arguments.ratio,
                "without_ms": round(without),
                "with_pool_ms": round(beside),
                "times": round(beside / without, 2),
            }
        )
        write(pd.DataFrame(rows), arguments.out, "pool", "# An epoch with a pool of unlabelled graphs")


if __name__ == "__main__":
    main()
