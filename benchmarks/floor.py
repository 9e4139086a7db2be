"""How far an epoch is from the sum of its kernels, and what the exchange costs.

    python benchmarks/floor.py Cora MUTAG:32

The floor is the time of the sparse products, matrix products and exponentials that four students need (training pass, backward pass and
clean pass), each timed alone at its own size, with its arrays in the cache. It is compared with the time of all torch calls of an epoch,
including dropout, activations, norms, losses and optimizer: each call alone, with its arrays in the cache, and all calls one after
another, with arrays wherever they are. The rest of an epoch is autograd and our own Python.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from common import ARCHITECTURES, Clock, milliseconds, prepare, write
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dgl_mutual.experiments.configuration.config import RunConfig
from dgl_mutual.experiments.trial import fit_resolved
from dgl_mutual.nn import kernels
from dgl_mutual.nn.adjacency import Norm
from dgl_mutual.nn.batch import GraphBatch
from dgl_mutual.nn.csr import NodeFeatures, SparseMatrix
from dgl_mutual.nn.functional import linear
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.training.callbacks import Callback
from dgl_mutual.training.distributed.placement import Placement
from dgl_mutual.training.feeds import make_feed
from dgl_mutual.training.state import TrainingState

NORMS: dict[str, Norm] = {"gcn": "symmetric", "gin": "sum", "sage": "mean"}


def layer_kernels(batch: GraphBatch, student: StudentOptions, first: bool, width_out: int, train: bool) -> Iterator[float]:
    """Milliseconds of each kernel of one layer: forward, and backward in training."""
    nodes, inside = batch.num_nodes, student.hidden if student.architecture == "gin" else width_out
    x = batch.features if first else torch.randn(nodes, student.hidden)
    projections = 2 if student.architecture == "sage" else 1
    yield projections * sum(product_kernels(x, inside, train, of_input=not first))
    state = torch.randn(nodes, inside)
    if student.architecture == "gat":
        yield from attention_kernels(batch, state, student.heads if width_out == student.hidden else 1, train)
    elif x is not batch.constant_features or x.shape[1] > inside:  # else the sum is computed once for all students and passes
        matrix = batch.normalised(NORMS[student.architecture])
        yield milliseconds(lambda: kernels.spmm(matrix, state))
        if train:
            yield milliseconds(lambda: kernels.spmm(matrix.transposed, state))
    if student.architecture == "gin":
        yield from product_kernels(state, width_out, train, of_input=True)


def product_kernels(x: NodeFeatures, width: int, train: bool, *, of_input: bool) -> Iterator[float]:
    """x W, its gradient for W, and with `of_input` its gradient for x."""
    weight, grad = torch.randn(x.shape[1], width), torch.randn(x.shape[0], width)
    yield milliseconds(lambda: linear(x, weight))
    if train and isinstance(x, SparseMatrix):
        yield milliseconds(lambda: kernels.spmm(x.transposed, grad))
    elif train:
        yield milliseconds(lambda: x.t() @ grad)
    if train and of_input:
        yield milliseconds(lambda: grad @ weight.t())


def attention_kernels(batch: GraphBatch, state: Tensor, heads: int, train: bool) -> Iterator[float]:
    pattern = batch.attention_pattern(heads)
    values, per_node = state.view(len(state) * heads, -1), torch.randn(len(state) * heads)
    weights = SparseMatrix(pattern, torch.rand(len(pattern.indices)))
    yield milliseconds(lambda: per_node.index_select(0, pattern.indices))
    yield milliseconds(lambda: per_node.index_select(0, pattern.rows))
    yield milliseconds(lambda: weights.values.exp())
    yield milliseconds(lambda: kernels.row_sums(weights))
    yield milliseconds(lambda: kernels.spmm(weights, values))
    if train:
        yield milliseconds(lambda: kernels.spmm(weights.transposed, values))
        yield milliseconds(lambda: kernels.sddmm(weights, values, values))
        yield milliseconds(lambda: kernels.row_sums(weights)) + milliseconds(lambda: kernels.row_sums(weights.transposed))
        yield 2 * milliseconds(lambda: weights.values.index_select(0, pattern.transpose[1]))


def student_floor(batch: GraphBatch, student: StudentOptions, task: str, num_outputs: int, train: bool) -> float:
    assert student.depth is not None
    widths = [student.hidden] * (student.depth if task == "graph" else student.depth - 1)
    if task == "node":
        widths.append(num_outputs)
    return sum(sum(layer_kernels(batch, student, place == 0, width, train)) for place, width in enumerate(widths))


def epoch_floor(config: RunConfig, batches: list[GraphBatch], evaluated: list[GraphBatch], num_outputs: int) -> float:
    """Milliseconds, with the first training batch as representative of all."""
    task = config.task or "node"
    train = sum(student_floor(batches[0], student, task, num_outputs, train=True) for student in config.students)
    clean = sum(student_floor(batch, student, task, num_outputs, train=False) for student in config.students for batch in evaluated)
    return train * len(batches) + clean


class Recorder(TorchDispatchMode, Callback):
    """Records the calls of torch's kernels within the block, including views, while it is on."""

    def __init__(self) -> None:
        super().__init__()
        self.on = False
        self.calls: list[Callable[[], object]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.on:
            self.calls.append(partial(function, *args, **kwargs or {}))
        return function(*args, **kwargs or {})

    def on_epoch_end(self, state: TrainingState) -> None:
        self.on = state.epoch == 0


def calls_of_an_epoch(name: str, batch_size: int | None, strategy: str) -> tuple[int, float, float]:
    """Number of calls, sum of their milliseconds when timed alone, and milliseconds of all calls in their order."""
    config, dataset, trial = prepare(name, epochs=3, batch_size=batch_size, strategy=strategy)
    with Recorder() as recorder:
        fit_resolved(trial, config, dataset, callbacks=[recorder])
    with torch.no_grad():
        in_order = milliseconds(lambda: _call_all(recorder.calls), repeats=10)
        return len(recorder.calls), sum(milliseconds(call, repeats=5) for call in recorder.calls), in_order


def _call_all(calls: Sequence[Callable[[], object]]) -> None:
    for call in calls:
        call()


def epoch_times(name: str, batch_size: int | None, epochs: int, strategy: str) -> list[float]:
    config, dataset, trial = prepare(name, epochs=epochs, batch_size=batch_size, strategy=strategy)
    clock = Clock()
    fit_resolved(trial, config, dataset, callbacks=[clock])
    return clock.times[1:]


def measure(name: str, batch_size: int | None, epochs: int) -> dict[str, object]:
    config, dataset, trial = prepare(name, epochs=1, batch_size=batch_size)
    order = torch.Generator().manual_seed(0)
    feed = make_feed(dataset, trial.split, batch_size=batch_size, order=order, placement=Placement())
    batches = [step.batch for step in feed.training_batches()]
    parts = [trial.split.train, trial.split.val] if dataset.task == "graph" else [trial.split.train]
    clean = [batch for part in parts for batch, _ in feed.evaluation_batches(part)]
    floor = epoch_floor(config, batches, clean, dataset.target.num_outputs)
    calls, alone, in_order = calls_of_an_epoch(name, batch_size, "gml")
    _, alone_apart, _ = calls_of_an_epoch(name, batch_size, "independent")
    # Interleaved, so that other load on the machine slows both equally.
    runs: dict[str, list[float]] = {"gml": [], "independent": []}
    for _ in range(3):
        for strategy, times in runs.items():
            times.extend(epoch_times(name, batch_size, epochs, strategy))
    epoch, apart = (float(pd.Series(times).median()) for times in runs.values())
    return {
        "dataset": name,
        "batch": batch_size or "full",
        "epoch_ms": round(epoch, 1),
        "floor_ms": round(floor, 1),
        "times_floor": round(epoch / floor, 2),
        "calls": calls,
        "calls_ms": round(alone, 1),
        "times_calls": round(epoch / alone, 2),
        "in_order_ms": round(in_order, 1),
        "times_in_order": round(epoch / in_order, 2),
        "independent_ms": round(apart, 1),
        "exchange": round(epoch / apart - 1, 2),
        "exchange_calls": round(alone / alone_apart - 1, 2),
    }


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
        rows.append(measure(name, int(size) if size else None, arguments.epochs))
        write(pd.DataFrame(rows), arguments.out, "floor", f"# An epoch and its floor, students {', '.join(ARCHITECTURES)}")


if __name__ == "__main__":
    main()
