"""Small cohorts and single steps of theirs, for every strategy alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.edges import canonical_edges
from dgl_mutual.joint import TaskWeights, make_distribution
from dgl_mutual.nn.batch import Collator, GraphBatch
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.student import Student, resolve_student
from dgl_mutual.options import parse_options
from dgl_mutual.strategies import resolve_strategy
from dgl_mutual.strategies.base.setting import Setting, TrainingSamples
from dgl_mutual.strategies.base.step import Step
from dgl_mutual.strategies.base.strategy import Strategy

ARCHITECTURES = ("gcn", "gat", "gin", "sage")
SMALL = {"hidden": 8, "heads": 2}
NUM_CLASSES = 3


def make_dataset(task: str, kind: str, seed: int = 0) -> Dataset:
    """30 nodes in one graph, or 12 graphs of 3 to 6 nodes; some nodes have no edges. Multi-label and joint targets have unknown labels."""
    random = np.random.default_rng(seed)
    sizes = np.array([30]) if task == "node" else random.integers(3, 7, size=12)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    graphs = np.repeat(np.arange(len(sizes)), 2 * sizes)[: -2 * sizes[-1] if task == "graph" else None]  # the last graph has no edges
    source, destination = (offsets[graphs] + random.integers(sizes[graphs]) for _ in range(2))
    num_samples = offsets[-1] if task == "node" else len(sizes)
    labels = {}
    if kind != "multi-label":
        labels["classes"] = np.concatenate([np.arange(NUM_CLASSES), random.integers(NUM_CLASSES, size=num_samples - NUM_CLASSES)])
    if kind != "single-label":
        labels["marks"] = random.integers(2, size=(num_samples, NUM_CLASSES)).astype(np.float32)
        labels["marks"][random.random(labels["marks"].shape) < 0.2] = np.nan
    if kind == "joint":
        labels["classes"][random.random(num_samples) < 0.2] = -1
    features = random.standard_normal((offsets[-1], 5)).astype(np.float32)
    return Dataset.from_arrays((source, destination), features, labels, node_offsets=offsets, task=task, symmetric=True)  # type: ignore[arg-type]  # a parameter of tests


@dataclass
class Bench:
    """A cohort with its strategy, and targets that stay what they are."""

    dataset: Dataset
    members: list[Student]
    strategy: Strategy
    targets: Tensor  # (members, samples, C)
    labelled: Tensor  # (samples,) boolean

    @classmethod
    def of(
        cls,
        name: str,
        task: str,
        kind: str,
        num_students: int,
        options: Mapping[str, Any] | None = None,
        seed: int = 0,
        task_weights: TaskWeights = "equal",
    ) -> Bench:
        dataset = make_dataset(task, kind)
        strategy = resolve_strategy(name)
        parsed = parse_options(strategy.Options, options or {})
        students = [StudentOptions(architecture=ARCHITECTURES[k % 4], **SMALL) for k in range(num_students)]
        extras = [options for _, options in strategy.extra_members(parsed, students)]
        members = tuple(resolve_student(member, task) for member in (*students, *extras))
        train = np.flatnonzero(np.arange(dataset.num_samples) % 3 < 2)
        distribution = make_distribution(dataset.target, task_weights)
        setting = Setting(
            task=task,
            members=members,
            num_students=num_students,
            num_outputs=dataset.target.num_outputs,
            num_samples=dataset.num_samples if task == "node" else None,
            distribution=distribution,
            training_samples=TrainingSamples(train, dataset.labels[train] if kind == "single-label" else None, dataset.num_samples),
            class_prior=distribution.marginal(torch.as_tensor(dataset.labels[train]), dataset.target.num_outputs),
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            teaching = strategy(parsed, setting).double()
            for parameter in teaching.parameters():
                nn.init.normal_(parameter, std=0.5)  # weights that start at zero would hide mistakes
            modules = [Student(member, task, dataset.num_features, dataset.target.num_outputs).double() for member in members]
            targets = 2 * torch.randn(len(members), dataset.num_samples, dataset.target.num_outputs, dtype=torch.float64)
        return cls(dataset, modules, teaching, targets, torch.arange(dataset.num_samples) % 3 < 2)

    def step(self, active: Sequence[int], order: Tensor | None = None, **changes: Any) -> Step:
        """A training step of the active members on all samples, in another order if one is given."""
        batch = self.batch if order is None else self._batch_of(order)
        order = torch.arange(self.dataset.num_samples) if order is None else order
        outputs = [self.members[k].forward_batch(batch) for k in active]
        values = dict(
            logits=torch.stack([output.logits for output in outputs]),
            active=tuple(active),
            hidden=[output.hidden for output in outputs],
            embeddings=[output.embedding for output in outputs],
            targets=self.targets[:, order],
            labels=torch.as_tensor(self.dataset.labels)[order],
            labelled=torch.nonzero(self.labelled[order]).squeeze(1),
            training=slice(None),
            exchange=slice(None),
            samples=order,
            batch=batch,
            ramp=1.0,
            epoch=0,
        )
        return Step(**{**values, **changes})

    @cached_property
    def batch(self) -> GraphBatch:
        return self._batch_of(torch.arange(self.dataset.num_samples))

    def _batch_of(self, order: Tensor) -> GraphBatch:
        if self.dataset.task == "graph":
            return Collator(self.dataset, dtype=torch.float64)(order.numpy())
        place = np.argsort(order.numpy())
        edges = canonical_edges(*place[self.dataset.edges], self.dataset.num_nodes, symmetric=False)
        permuted = Dataset(**{**vars(self.dataset), "edges": edges, "features": self.dataset.features[order.numpy()]})
        return Collator(permuted, dtype=torch.float64).all()


#: The weighting of `gml` by default counts what it has seen in earlier calls; tests/test_consensus.py is about that.
SMALL_OPTIONS: dict[str, dict[str, Any]] = {
    "gml": {"weighting": "attention"},
    "kd": {"teacher": SMALL},
    "okddip": {"leader": SMALL},
    "pseudo-label": {"threshold": 0.6},
}
MULTI_LABEL_OPTIONS = {"kdcl": {"target": "naive"}}


def make_bench(name: str, task: str, kind: str, num_students: int) -> Bench:
    """A small cohort. Its targets are given, so that the loop's way of making them does not matter."""
    options = {**SMALL_OPTIONS.get(name, {}), **(MULTI_LABEL_OPTIONS.get(name, {}) if kind != "single-label" else {})}
    return Bench.of(name, task, kind, num_students, options)
