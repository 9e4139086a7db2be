"""Data, options and logits at the edge of sense: every strategy gives finite numbers, or says clearly that it cannot."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.edges import canonical_edges
from dgl_mutual.data.values.split import Split
from dgl_mutual.data.values.target import Target
from dgl_mutual.errors import TrainingError
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.options import Options
from dgl_mutual.strategies import STRATEGIES
from dgl_mutual.training.options import DistillOptions, TrainingOptions
from dgl_mutual.weightings import WEIGHTINGS
from tests.cohorts import train_cohort
from tests.strategies.cases import SMALL, Bench

NUM_SAMPLES = 12
EXTRA_MEMBERS = {"kd": {"teacher": SMALL}, "okddip": {"leader": SMALL}}


def make_data(task: str, *, num_edges: int, classes: int, sizes: tuple[int, ...], scale: float) -> tuple[Dataset, Split]:
    """12 nodes, or 12 graphs whose sizes repeat `sizes`; edges within graphs of several nodes alone."""
    random = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(np.resize(sizes, NUM_SAMPLES))]) if task == "graph" else np.array([0, NUM_SAMPLES])
    num_nodes = int(offsets[-1])
    graph_of = np.searchsorted(offsets, np.arange(num_nodes), side="right")
    source, destination = random.integers(0, num_nodes, size=(2, num_edges))
    inside = graph_of[source] == graph_of[destination]
    samples = np.arange(NUM_SAMPLES)
    dataset = Dataset(
        name="edge",
        task=task,  # type: ignore[arg-type]  # a parameter of the test
        edges=canonical_edges(source[inside], destination[inside], num_nodes, symmetric=True),
        features=(scale * random.normal(size=(num_nodes, 3))).astype(np.float32),
        labels=samples % classes,
        node_offsets=offsets,
        target=Target("single-label", tuple(map(str, range(classes))), "accuracy"),
        feature_names=tuple("xyz"),
    )
    return dataset, Split(samples[:6], samples[6:9], samples[9:])


#: What the data are like, what the students are like, and any temperature; and the task that it is tried on.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "isolated nodes": ("node", {"num_edges": 0}),
    "graphs of one node": ("graph", {"num_edges": 0, "sizes": (1,)}),
    "graphs without nodes, one feature wide": ("graph", {"sizes": (0, 1, 3), "student": {"hidden": 1, "heads": 1}}),
    "one class, float64": ("node", {"classes": 1, "dtype": torch.float64}),
    "all features zero, batch norm": ("node", {"scale": 0.0, "student": {"norm": "batch"}}),
    "large features, batch norm": ("graph", {"scale": 1e4, "student": {"norm": "batch"}, "temperature": 1e-3}),
    "temperature 0.001": ("node", {"temperature": 1e-3}),
    "temperature 1000": ("node", {"temperature": 1e3}),
    "16 students": ("node", {"students": 16}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", STRATEGIES)
def test_training_stays_finite(name: str, case: str) -> None:
    task, changed = CASES[case]
    shape = {"num_edges": 30, "classes": 3, "sizes": (3,), "scale": 1.0, **changed}
    student, num_students = {"hidden": 4, "heads": 2, **shape.pop("student", {})}, shape.pop("students", 2)
    temperature, dtype = shape.pop("temperature", None), shape.pop("dtype", torch.float32)
    fields = STRATEGIES[name].Options.model_fields
    options = {**EXTRA_MEMBERS.get(name, {}), **({"exchange_warmup": (0, 0)} if "exchange_warmup" in fields else {})}
    options |= {key: temperature for key in ("temperature", "target_temperature") if temperature is not None and key in fields}
    architectures = ("gcn", "gat", "gin", "sage")
    result = train_cohort(
        *make_data(task, **shape),
        students=[StudentOptions(architecture=architectures[(k + num_students // 16) % 4], **student) for k in range(num_students)],
        strategy=name,
        strategy_options=options,
        training=TrainingOptions(epochs=2, batch_size=4 if task == "graph" else None),
        dtype=dtype,
    )
    assert all(np.isfinite(value) for row in result.history for value in row.values())
    assert all(np.isfinite([member.train, member.val, member.test]).all() for member in result.members)
    assert np.isfinite(result.predict()).all()


def bounds(kind: type[Options]) -> dict[str, list[float]]:
    """The numbers between which each option lies that is a number with a fraction."""
    fields = {name: field for name, field in kind.model_fields.items() if field.annotation in (float, float | None)}
    return {
        name: [getattr(rule, bound) for rule in field.metadata for bound in ("ge", "gt", "le", "lt") if hasattr(rule, bound)]
        for name, field in fields.items()
    }


@pytest.mark.parametrize(
    "kind", [TrainingOptions, DistillOptions, *(kind.Options for kind in (*STRATEGIES.values(), *WEIGHTINGS.values()))]
)
def test_every_option_is_bounded_but_the_step_size_which_the_error_names(kind: type[Options]) -> None:
    assert {name for name, numbers in bounds(kind).items() if len(numbers) != 2} <= {"learning_rate"}


def at_its_ends() -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """A strategy, its options and those of training, with one option at one end of what is allowed."""
    weight_decay = bounds(TrainingOptions)["weight_decay"]
    found: list[tuple[str, dict[str, Any], dict[str, Any]]] = [("independent", {}, {"weight_decay": end}) for end in weight_decay]
    for name, kind in STRATEGIES.items():
        found += [(name, {key: end}, {}) for key, ends in bounds(kind.Options).items() for end in ends if "weight" in key]
    prior = bounds(WEIGHTINGS["consensus"].Options)["prior"]
    temperature = bounds(WEIGHTINGS["confidence"].Options)["temperature"]
    found += [("gml", {"weighting": "consensus", "weighting_options": {"prior": end}}, {}) for end in prior]
    found += [("gml", {"weighting": "confidence", "weighting_options": {"temperature": end}}, {}) for end in temperature]
    return [*found, *(("alignahead", {"bandwidth": end}, {}) for end in bounds(STRATEGIES["alignahead"].Options)["bandwidth"])]


@pytest.mark.parametrize(("name", "options", "training"), at_its_ends(), ids=str)
def test_training_stays_finite_with_any_weight(name: str, options: dict[str, Any], training: dict[str, Any]) -> None:
    students = [StudentOptions(architecture=kind, hidden=4, heads=2) for kind in ("gcn", "gat")]
    warmup = {"exchange_warmup": (0, 0)} if "exchange_warmup" in STRATEGIES[name].Options.model_fields else {}
    result = train_cohort(
        *make_data("node", num_edges=30, classes=3, sizes=(3,), scale=1.0),
        students=students,
        strategy=name,
        strategy_options={**EXTRA_MEMBERS.get(name, {}), **warmup, **options},
        training=TrainingOptions(epochs=3, **training),
    )
    assert all(np.isfinite(value) for row in result.history for value in row.values())


@pytest.mark.parametrize("name", STRATEGIES)
def test_features_beyond_what_floats_hold_are_named_as_the_likely_cause(name: str) -> None:
    students = [StudentOptions(architecture=kind, hidden=4, heads=2) for kind in ("gat", "gin")]
    dataset, split = make_data("node", num_edges=30, classes=3, sizes=(3,), scale=1e37)
    unscaled = TrainingOptions(epochs=30, learning_rate=10.0, scale_inputs=False)
    with pytest.raises(TrainingError, match="features of extreme size"):
        train_cohort(dataset, split, students=students, strategy=name, training=unscaled)


@pytest.mark.parametrize("size", [1e4, 1e8])
@pytest.mark.parametrize("kind", ["single-label", "multi-label"])
@pytest.mark.parametrize("name", STRATEGIES)
def test_terms_and_gradients_of_extreme_logits_are_finite(name: str, kind: str, size: float) -> None:
    """In float32, with peers that are as sure of something else."""
    options = {**EXTRA_MEMBERS.get(name, {}), **({"target": "naive"} if name == "kdcl" and kind == "multi-label" else {})}
    bench = Bench.of(name, "node", kind, 3, options)
    random = torch.Generator().manual_seed(0)
    bench.targets = size * torch.randn(bench.targets.shape, generator=random).float()
    bench.strategy.float()
    for active in bench.strategy.phases():
        usual = bench.step(active)
        logits = (size * torch.randn(usual.logits.shape, generator=random)).requires_grad_()
        states = {
            key: [each.float() for each in getattr(usual, key)]
            if key == "embeddings"
            else [[state.float() for state in each] for each in usual.hidden]
            for key in ("embeddings", "hidden")
        }
        step = bench.step(active, logits=logits, **states)
        if name in ("alignahead", "oad"):  # they look at node states, through the graph of the bench, which is in float64
            bench.strategy.double()
            step = bench.step(active, logits=logits.double(), targets=bench.targets.double())
        total = torch.stack([term.sum() for term in bench.strategy.loss_terms(step).values()]).sum()
        total.backward()
        assert total.isfinite()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()
        assert all(p.grad is None or p.grad.isfinite().all() for p in bench.strategy.parameters())
