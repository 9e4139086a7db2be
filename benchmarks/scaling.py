"""Scaling of time and memory: epochs on generated power-law graphs, varying one axis at a time.

    python benchmarks/scaling.py                         # edges 10^5 ... 10^7, full-batch
    python benchmarks/scaling.py sampled                 # edges 10^6 ... 6 x 10^7, neighbours sampled
    python benchmarks/scaling.py students 1 2 4 8 --edges 1000000

With sampled neighbours, an epoch is ten steps on 1,024 training nodes each (and as many others) for every graph; the nodes (sources of
the first convolutions) and edges are the sampled ones. Each point runs in a separate process to measure its peak memory. Exponents are
least-squares slopes on log-log axes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import torch
from common import ARCHITECTURES, Clock, write

from dgl_mutual.api import fit
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.protocols import unlabelled_samples
from dgl_mutual.data.values.edges import canonical_edges
from dgl_mutual.data.values.split import Split
from dgl_mutual.data.values.target import Target
from dgl_mutual.training.distributed.placement import Placement
from dgl_mutual.training.feeds import make_feed
from dgl_mutual.training.memory import FreedMemory, peak
from dgl_mutual.training.state import TrainingState

MEAN_DEGREE = 10
FEATURES = 64
CLASSES = 8
SAMPLED_STEPS, SAMPLED_NODES, FANOUT = 10, 1024, (10, 10)
CORES = os.cpu_count() or 1
AXES = {
    "edges": [100_000, 300_000, 1_000_000, 3_000_000, 10_000_000],
    "sampled": [1_000_000, 6_000_000, 60_000_000],
    "students": [1, 2, 4, 8],
    "hidden": [16, 32, 64, 128, 256],
    "threads": [2**power for power in range(CORES.bit_length()) if 2**power <= CORES],
    "processes": [2**power for power in range(CORES.bit_length()) if 2**power <= CORES],
}


@dataclass(frozen=True)
class Case:
    """One point. Each of `processes` trains a copy of the same cohort."""

    edges: int
    students: int = 4
    hidden: int = 64
    threads: int = CORES
    processes: int = 1
    epochs: int = 4
    sampled: int = 0  # number of edges, with sampled neighbours


class Enough(Exception):
    """Raised after the last measured epoch, to skip the evaluation on the whole graph."""


def power_law(num_edges: int, seed: int = 0) -> Dataset:
    """About `num_edges` directed edges, with both ends drawn by a Pareto weight of the nodes (exponent 2.5)."""
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


def train(case: Case) -> tuple[tuple[int, int], float, float | None]:
    """Numbers of nodes and edges of an epoch, its milliseconds, and peak memory in MiB."""
    torch.set_num_threads(case.threads)
    dataset = power_law(case.sampled or case.edges)
    nodes = np.random.default_rng(0).permutation(dataset.num_nodes)
    split = Split(*np.split(nodes, [SAMPLED_STEPS * SAMPLED_NODES, -1000])) if case.sampled else Split(*np.array_split(nodes, 3))

    class Follow(Clock):
        def on_epoch_end(self, state: TrainingState) -> None:
            super().on_epoch_end(state)
            if len(self.times) == case.epochs:
                raise Enough

    clock = Follow()
    alone = case.students == 1
    sampling = {"sampler": "neighbor", "fanout": FANOUT, "batch_size": SAMPLED_NODES, "eval_every": case.epochs + 1}
    with suppress(Enough), FreedMemory() as freed:
        fit(
            dataset,
            [{"architecture": name, "hidden": case.hidden} for name in islice(cycle(ARCHITECTURES), case.students)],
            "independent" if alone else "gml",
            strategy_options={} if alone else {"exchange_warmup": [0, 0]},
            training={"epochs": case.epochs + 1, **(sampling if case.sampled else {})},
            split=split,
            device="cpu",
            callbacks=[freed, clock],
        )
    highest = peak()
    size = drawn(dataset, split) if case.sampled else (dataset.num_nodes, dataset.num_edges)
    return size, median(clock.times[1:]), highest


def drawn(dataset: Dataset, split: Split) -> tuple[int, int]:
    """Sources of the first convolutions in the steps of one epoch, and edges of all convolutions."""
    feed = make_feed(
        dataset,
        split,
        batch_size=SAMPLED_NODES,
        order=torch.Generator().manual_seed(0),
        placement=Placement(),
        fanout=FANOUT,
    )
    feed.add_unlabelled(unlabelled_samples(dataset, split, transductive=False))
    structures = [step.batch.adjacencies(len(FANOUT)) for step in feed.training_batches()]
    return sum(first.num_sources for first, *_ in structures), sum(len(layer.sources) for step in structures for layer in step)


def measure(axis: str, case: Case) -> dict[str, object]:
    with ProcessPoolExecutor(case.processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        results = list(pool.map(train, [case] * case.processes))
    sizes, epochs, peaks = zip(*results, strict=True)
    nodes, edges = sizes[0]
    per_epoch = median(epochs) / case.processes
    return {
        "axis": axis,
        "value": getattr(case, axis),
        "nodes": nodes,
        "edges": edges,
        "epoch_ms": round(per_epoch, 1),
        "ns_per_edge": round(1e6 * per_epoch / edges, 1),
        "peak_mib": None if None in peaks else round(sum(peaks)),
    }


def exponents(table: pd.DataFrame) -> dict[str, float]:
    """b of y = a x^b for each measured y."""
    measured = table.dropna(subset="peak_mib")
    return {
        column: round(float(np.polyfit(np.log(part["value"].astype(float)), np.log(part[column].astype(float)), 1)[0]), 2)
        for column, part in (("epoch_ms", table), ("peak_mib", measured))
        if len(part) > 1
    }


def plot(table: pd.DataFrame, axis: str, slopes: dict[str, float], out: Path) -> None:
    import matplotlib.pyplot as plt

    figure, places = plt.subplots(1, 2, figsize=(7, 2.8), layout="constrained")
    for place, (column, label) in zip(places, (("epoch_ms", "ms an epoch"), ("peak_mib", "peak memory, MiB")), strict=True):
        place.loglog(table["value"], table[column], "o-")
        place.set(xlabel=axis, ylabel=label, title=f"exponent {slopes[column]}" if column in slopes else "")
    for suffix in ("pdf", "png"):
        figure.savefig(out / f"scaling-{axis}.{suffix}", dpi=200)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("axis", nargs="?", choices=AXES, default="edges")
    parser.add_argument("values", nargs="*", type=int, help="default: see AXES")
    parser.add_argument("--edges", type=int, default=1_000_000, help="edges of the graph on the other axes")
    parser.add_argument("--threads", type=int, default=CORES, help="threads of each process; 1 on the axis processes")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()
    threads = 1 if arguments.axis == "processes" else arguments.threads
    base = Case(arguments.edges, threads=threads, epochs=arguments.epochs)
    rows = []
    for value in arguments.values or AXES[arguments.axis]:
        rows.append(measure(arguments.axis, replace(base, **{arguments.axis: value})))
        table = pd.DataFrame(rows)
        slopes = exponents(table)
        note = ", ".join(f"{column} ~ {arguments.axis}^{slope}" for column, slope in slopes.items())
        kind = "Epochs of ten sampled steps" if arguments.axis == "sampled" else "Full-batch epochs"
        write(table, arguments.out, f"scaling-{arguments.axis}", f"# {kind} on power-law graphs by {arguments.axis}\n\n{note}")
    plot(table, arguments.axis, slopes, arguments.out)


if __name__ == "__main__":
    main()
