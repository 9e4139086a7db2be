"""How time and memory grow with the graph: full-batch epochs of four students on generated power-law graphs.

    python benchmarks/scaling.py 100000 1000000 10000000

Each size runs in a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import torch
from common import ARCHITECTURES, write
from floor import Clock

from dgl_mutual.data.dataset import Dataset, Split, Target, canonical_edges
from dgl_mutual.experiments.compare.memory import _peak
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.training.options import TrainingOptions
from dgl_mutual.training.trainer import fit_cohort

MEAN_DEGREE = 10
FEATURES = 64
CLASSES = 8


def power_law(num_edges: int, seed: int = 0) -> Dataset:
    """About `num_edges` directed edges; both ends of each drawn by a Pareto weight of the nodes (exponent 2.5)."""
    rng = np.random.default_rng(seed)
    num_nodes = num_edges // MEAN_DEGREE
    weight = np.minimum(rng.pareto(1.5, num_nodes) + 1, np.sqrt(num_nodes))
    ends = rng.choice(num_nodes, size=(2, num_edges // 2), p=weight / weight.sum())
    labels = rng.integers(CLASSES, size=num_nodes)
    features = rng.standard_normal((num_nodes, FEATURES), dtype=np.float32)
    return Dataset(
        name=f"power-law-{num_edges}",
        task="node",
        edges=canonical_edges(ends[0], ends[1], num_nodes, symmetric=True),
        features=features,
        labels=labels.astype(np.int64),
        node_offsets=np.array([0, num_nodes]),
        target=Target("single-label", tuple(str(label) for label in range(CLASSES)), "accuracy"),
        feature_names=tuple(f"x{column}" for column in range(FEATURES)),
    )


def measure(num_edges: int, epochs: int, threads: int) -> dict[str, object]:
    torch.set_num_threads(threads)
    before = _peak()
    dataset = power_law(num_edges)
    parts = np.array_split(np.random.default_rng(0).permutation(dataset.num_nodes), 3)
    clock = Clock()
    fit_cohort(
        dataset,
        Split(*parts),
        students=[StudentOptions(architecture=architecture) for architecture in ARCHITECTURES],
        strategy="gml",
        strategy_options={"exchange_warmup": [0, 0]},
        training=TrainingOptions(epochs=epochs),
        on_epoch=clock,
    )
    epoch, peak = median(clock.times[1:]), _peak()
    return {
        "edges": dataset.num_edges,
        "nodes": dataset.num_nodes,
        "epoch_ms": round(epoch, 1),
        "ns_per_edge": round(1e6 * epoch / dataset.num_edges, 1),
        "peak_mib": None if peak is None else round(peak),
        "bytes_per_edge": None if peak is None or before is None else round((peak - before) * 2**20 / dataset.num_edges),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("edges", nargs="*", type=int, default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()
    rows = []
    for num_edges in arguments.edges:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            rows.append(pool.submit(measure, num_edges, arguments.epochs, arguments.threads).result())
        write(pd.DataFrame(rows), arguments.out, "scaling", "# Full-batch epochs of four students on power-law graphs")


if __name__ == "__main__":
    main()
