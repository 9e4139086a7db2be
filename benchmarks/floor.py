"""How far an epoch is from the sum of its kernels, and what the exchange costs.

    python benchmarks/floor.py Cora MUTAG:32

The floor is the time of the sparse products, matrix products and attention kernels that four students cannot do without (training pass,
backward pass and clean pass), each timed alone at its own size. What is above it is dropout, activations, losses, optimizer and Python.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch
from common import ARCHITECTURES, milliseconds, prepare, write

from dgl_mutual.experiments.compare.ours import fit
from dgl_mutual.experiments.config import RunConfig
from dgl_mutual.nn import kernels
from dgl_mutual.nn.batch import GraphBatch
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.sparse import SparseFeatures
from dgl_mutual.training.feeds import make_feed
from dgl_mutual.training.trainer import EpochReport


def layer_kernels(batch: GraphBatch, student: StudentOptions, first: bool, width_out: int, train: bool) -> Iterator[float]:
    """Milliseconds of each kernel of one layer: forward, and backward where it trains."""
    nodes, heads = batch.num_nodes, student.heads if width_out == student.hidden else 1
    projected = {"gcn": width_out, "gat": width_out, "gin": student.hidden, "sage": 2 * width_out}[student.architecture]
    aggregated = student.hidden if student.architecture == "gin" else width_out
    x = batch.features if first else torch.randn(nodes, student.hidden)
    weight, grad = torch.randn(x.shape[1], projected), torch.randn(nodes, projected)
    yield milliseconds(lambda: x @ weight)
    if train and isinstance(x, SparseFeatures):
        yield milliseconds(lambda: x.transposed_csr() @ grad)
    elif train:
        yield milliseconds(lambda: x.t() @ grad)
        if not first:
            yield milliseconds(lambda: grad @ weight.t())
    state = torch.randn(nodes, aggregated)
    if student.architecture == "gat":
        yield from attention_kernels(batch, state.view(nodes, heads, -1), train)
    else:
        yield milliseconds(lambda: kernels.sum_neighbours(batch.graph, state))
        if train:
            yield milliseconds(lambda: kernels.sum_neighbours(batch.reversed_graph, state))
    if student.architecture == "gin":
        inner = torch.randn(student.hidden, width_out)
        out = torch.randn(nodes, width_out)
        yield milliseconds(lambda: state @ inner)
        if train:
            yield milliseconds(lambda: out @ inner.t())
            yield milliseconds(lambda: state.t() @ out)


def attention_kernels(batch: GraphBatch, values: torch.Tensor, train: bool) -> Iterator[float]:
    graph, backwards = batch.looped_graph, batch.reversed_looped_graph
    per_node = torch.randn(values.shape[:2])
    scores = kernels.add_ends(graph, per_node, per_node)
    yield milliseconds(lambda: kernels.add_ends(graph, per_node, per_node))
    yield milliseconds(lambda: kernels.softmax_over_in_edges(graph, scores))
    yield milliseconds(lambda: kernels.sum_weighted_neighbours(graph, values, scores))
    if train:
        yield milliseconds(lambda: kernels.sum_weighted_neighbours(backwards, values, scores))
        yield milliseconds(lambda: kernels.dot_ends(graph, values, values))
        yield milliseconds(lambda: kernels.scale_by_destination(graph, scores, per_node))
        yield 2 * milliseconds(lambda: kernels.sum_edges(graph, scores)) + milliseconds(lambda: kernels.sum_edges(backwards, scores))


def student_floor(batch: GraphBatch, student: StudentOptions, task: str, num_outputs: int, train: bool) -> float:
    assert student.depth is not None
    widths = [student.hidden] * (student.depth if task == "graph" else student.depth - 1)
    if task == "node":
        widths.append(num_outputs)
    return sum(sum(layer_kernels(batch, student, place == 0, width, train)) for place, width in enumerate(widths))


def epoch_floor(config: RunConfig, batches: list[GraphBatch], evaluated: list[GraphBatch], num_outputs: int) -> float:
    """Milliseconds: the first training batch stands for all of them."""
    task = config.task or "node"
    train = sum(student_floor(batches[0], student, task, num_outputs, train=True) for student in config.students)
    clean = sum(student_floor(batch, student, task, num_outputs, train=False) for student in config.students for batch in evaluated)
    return train * len(batches) + clean


class Clock:
    """Milliseconds of each epoch."""

    def __init__(self) -> None:
        from time import perf_counter

        self.now, self.times = perf_counter, []
        self.mark = perf_counter()

    def __call__(self, _: EpochReport) -> None:
        self.times.append(1000 * (self.now() - self.mark))
        self.mark = self.now()


def epoch_times(name: str, batch_size: int | None, epochs: int, strategy: str) -> list[float]:
    config, dataset, trial = prepare(name, epochs=epochs, batch_size=batch_size, strategy=strategy)
    clock = Clock()
    fit(trial, config, dataset, on_epoch=clock)
    return clock.times[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="*", default=["Cora", "CiteSeer", "MUTAG:32", "PROTEINS:32"], help="NAME or NAME:BATCH_SIZE")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = []
    for wanted in arguments.datasets:
        name, _, size = wanted.partition(":")
        batch_size = int(size) if size else None
        config, dataset, trial = prepare(name, epochs=1, batch_size=batch_size)
        feed = make_feed(
            dataset,
            trial.split,
            batch_size=batch_size,
            order=torch.Generator().manual_seed(0),
            device=torch.device("cpu"),
            dtype=torch.float32,
        )
        batches = [step.batch for step in feed.training_batches()]
        clean = [batch for batch, _ in feed.evaluation_batches(trial.split.train)]
        clean += [batch for batch, _ in feed.evaluation_batches(trial.split.val)] if dataset.task == "graph" else []
        floor = epoch_floor(config, batches, clean, dataset.target.num_outputs)
        # Interleaved, so that a busy neighbour slows both alike.
        runs = {strategy: [] for strategy in ("gml", "independent")}
        for _ in range(3):
            for strategy, times in runs.items():
                times.extend(epoch_times(name, batch_size, arguments.epochs, strategy))
        epoch, apart = (float(pd.Series(times).median()) for times in runs.values())
        rows.append(
            {
                "dataset": name,
                "batch": size or "full",
                "epoch_ms": round(epoch, 1),
                "floor_ms": round(floor, 1),
                "times_floor": round(epoch / floor, 2),
                "independent_ms": round(apart, 1),
            }
        )
        write(pd.DataFrame(rows), arguments.out, "floor", f"# An epoch and its floor, students {', '.join(ARCHITECTURES)}")


if __name__ == "__main__":
    main()
