"""Averaged weights are those of a plain loop with torch's `AveragedModel`, and what is served in the place of the students."""

from __future__ import annotations

import math
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn

import dgl_mutual
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.split import Split
from dgl_mutual.errors import UsageError
from dgl_mutual.nn.batch import Collator
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.options import parse_options
from dgl_mutual.store.configuration import identity
from dgl_mutual.training.callbacks import Callback
from dgl_mutual.training.distributed.placement import Placement
from dgl_mutual.training.feeds import make_feed
from dgl_mutual.training.feeds.graphs import GraphsFeed
from dgl_mutual.training.options import TrainingOptions, resolve_training
from dgl_mutual.training.snapshots import Snapshots
from dgl_mutual.training.state import TrainingState
from tests.training.conftest import Fit
from tests.training.custom_students import Counting
from tests.training.moving_average import GCN, GIN, moving_average
from tests.training.small_data import Data
from tests.training.test_snapshots import Cut, CutAfter, same


class Plain(Callback):
    """Averages the student 1 in a plain loop, and keeps what is served, epoch by epoch."""

    def __init__(self, kind: str, start: int, decay: float, batches: list[Any]) -> None:
        self.kind, self.start, self.decay, self.batches = kind, start, decay, batches
        self.average: Any = None
        self.expected: list[dict[str, Tensor]] = []
        self.served: dict[int, dict[str, Tensor]] = {}

    def on_fit_begin(self, state: TrainingState) -> None:
        student = state.cohort.members[1]
        self.average = AveragedModel(student) if self.kind == "swa" else moving_average(student, self.decay)

    def on_step_end(self, state: TrainingState) -> None:
        if self.kind == "ema" and state.epoch >= self.start:
            self.average.update_parameters(state.cohort.members[1])

    def on_evaluation_batch(self, state: TrainingState, member: int, samples: Tensor, output: Any) -> None:
        if member == 1 and state.phase is not None and not state.is_phase_over:
            self.served[state.epoch] = {key: value.clone() for key, value in state.evaluated_member(1).state_dict().items()}

    def on_epoch_end(self, state: TrainingState) -> None:
        student: nn.Module = state.cohort.members[1]
        if self.kind == "swa" and state.epoch >= self.start:
            self.average.update_parameters(student)
        if state.epoch >= self.start:
            student = deepcopy(self.average.module)
            if self.kind == "swa":
                update_bn(self.batches, _Runs(student))
                student.eval()
        self.expected.append({key: value.clone() for key, value in student.state_dict().items()})


class _Runs(nn.Module):
    def __init__(self, student: Any) -> None:
        super().__init__()
        self.student = student

    def forward(self, batch: Any) -> Tensor:
        logits: Tensor = self.student.forward_batch(batch).logits
        return logits


@pytest.mark.parametrize("task", ["node", "graph"])
@pytest.mark.parametrize(
    ("kind", "start", "late"), [("ema", 0, None), ("ema", 2, None), ("swa", 0, None), ("swa", 3, None), ("ema", 0, 3), ("swa", 1, 3)]
)
def test_the_evaluated_student_is_the_average_of_a_plain_loop(
    kind: str, start: int, late: int | None, task: str, fit: Fit, node_data: Data, graph_data: Data
) -> None:
    """That of a student which starts late begins with it."""
    dataset, split = data = node_data if task == "node" else graph_data
    collate = Collator(dataset, torch.device("cpu"), torch.float64)
    shuffled = np.array_split(np.random.default_rng(0).permutation(split.train), math.ceil(len(split.train) / 8))
    batches = [collate.all()] if task == "node" else [collate(graphs) for graphs in shuffled]
    decay = {"average_decay": 0.8} if kind == "ema" else {}
    plain = Plain(kind, max(start, late or 0), 0.8, batches)
    training = {"average": kind, "average_start": start, "scale_inputs": False, **decay, **({"batch_size": 8} if task == "graph" else {})}
    options: dict[str, Any] = {"strategy": "independent", "training": training, "callbacks": [plain], "dtype": torch.float64}
    gin = GIN if late is None else GIN.model_copy(update={"starts_after": late / 6})
    result = fit(data, [GCN, gin], 6, **options)
    assert len(plain.expected) == len(plain.served) == 6
    for epoch, expected in enumerate(plain.expected):
        torch.testing.assert_close(plain.served[epoch], expected, rtol=1e-9, atol=1e-9)
    best = result.members[1].best_epoch
    assert best is not None
    torch.testing.assert_close(dict(result.cohort.members[1].state_dict()), plain.expected[best], rtol=1e-9, atol=1e-9)


class _Own(nn.Module):
    """A student of one's own with dropout and a batch norm."""

    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(in_features, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, num_outputs))

    def forward(self, graph: Any, feat: Tensor) -> Tensor:
        logits: Tensor = self.layers(feat)
        return logits


@pytest.mark.parametrize(("strategy", "more"), [("independent", {}), ("gml", {"targets": "eval"}), ("kd", {"teacher": {"hidden": 4}})])
@pytest.mark.parametrize("average", ["ema", "swa"])
def test_figures_checkpoints_and_predictions_are_of_the_averaged_student(
    average: str, strategy: str, more: dict[str, Any], fit: Fit, node_data: Data, tmp_path: Path
) -> None:
    dataset, split = node_data
    students = [GCN, GIN, StudentOptions(architecture=_Own)]
    training = {"average": average, "average_start": 2}
    result = fit(node_data, students, 8, strategy=strategy, strategy_options=more, training=training)
    plain = fit(node_data, students, 8, strategy=strategy, strategy_options=more)
    assert any(not torch.equal(one, other) for one, other in zip(result.cohort.parameters(), plain.cohort.parameters(), strict=True))
    result.save(tmp_path / "saved")
    for k, name in enumerate(result.cohort.names):
        figures = result[name]
        right = result.predict(member=name).argmax(1) == dataset.labels
        assert (figures.train, figures.val, figures.test) == tuple(
            pytest.approx(right[part].mean()) for part in (split.train, split.val, split.test)
        )
        if k < result.cohort.num_students:
            assert figures.best_epoch is not None
            assert figures.val == pytest.approx(result.history[figures.best_epoch][f"val/{name}"])
            if k < 2:
                loaded = dgl_mutual.load_student(tmp_path / "saved" / f"{name}.safetensors")
                assert np.array_equal(loaded.predict(dataset), result.predict(member=name))


@pytest.mark.parametrize("average", ["ema", "swa"])
@pytest.mark.parametrize("strategy", ["independent", "gml", "kd", "mean-teacher", "bgnn"])
def test_an_interrupted_average_goes_on_to_the_bit(average: str, strategy: str, fit: Fit, graph_data: Data, tmp_path: Path) -> None:
    training = {"average": average, "average_start": 1, "batch_size": 8}
    more = {"teacher": {"hidden": 4}} if strategy == "kd" else {}
    options: dict[str, Any] = {"strategy": strategy, "strategy_options": more, "training": training}
    whole = fit(graph_data, [GCN, GIN], 4, **options)
    snapshots = Snapshots(tmp_path / "trial" / "0.safetensors", 2)
    for epochs in {3, len(whole.history) - 1}:
        with pytest.raises(Cut):
            fit(graph_data, [GCN, GIN], 4, **options, snapshots=snapshots, callbacks=[CutAfter(epochs)])
        same(fit(graph_data, [GCN, GIN], 4, **options, snapshots=snapshots), whole)
        snapshots.file.unlink()


@pytest.mark.parametrize("average", ["ema", "swa"])
def test_sampled_neighbourhoods_are_averaged_alike(average: str, fit: Fit, node_data: Data) -> None:
    """With all neighbours and one step per epoch, a sampled training is that on the whole graph, but for statistics (swa): a step on
    samples looks at training nodes and what is around them, and one on the whole graph at all nodes."""
    gin = StudentOptions(architecture="gin", hidden=8, norm="batch", dropout=0.0)
    batch = {"sampler": "neighbor", "fanout": (-1, -1), "batch_size": 24}
    training = {"average": average, "average_start": 1}
    options = {"strategy": "independent", "dtype": torch.float64}
    sampled = fit(node_data, [gin], 4, training={**training, **batch}, **options)
    assert sampled.members[0].val == pytest.approx(sampled.history[sampled.members[0].best_epoch or 0]["val/gin-0"])
    dataset, split = node_data
    right = sampled.predict(member="gin-0").argmax(1) == dataset.labels
    assert sampled.members[0].test == pytest.approx(right[split.test].mean())
    plain_gin = StudentOptions(architecture="gin", hidden=8, norm="none", dropout=0.0)
    one, other = (fit(node_data, [plain_gin], 4, training={**training, **more}, **options) for more in (batch, {}))
    for ours, theirs in zip(one.history, other.history, strict=True):
        assert ours["val/gin-0"] == theirs["val/gin-0"]
    assert weights_of(one) == pytest.approx(weights_of(other), rel=1e-9, abs=1e-12)


def weights_of(result: Any) -> Any:
    return torch.cat([parameter.detach().flatten() for parameter in result.cohort.parameters()]).numpy()


@pytest.mark.parametrize("strategy", ["independent", "gml"])
def test_statistics_are_of_what_steps_see(strategy: str, fit: Fit, graph_data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs without labels, as those of a pool, count where students learn on them; there are as many batches as steps."""
    dataset, whole = graph_data
    split = Split(whole.train, whole.val, whole.test[10:], whole.test[:10])
    found: list[list[int]] = []
    plain = GraphsFeed.statistics_batches

    def watched(feed: GraphsFeed, samples: Any) -> Any:
        found.append(sorted(samples))
        batches = list(plain(feed, samples))
        assert len(batches) == math.ceil(len(split.train) / 4) and sum(batch.num_graphs for batch in batches) == len(samples)
        return iter(batches)

    monkeypatch.setattr(GraphsFeed, "statistics_batches", watched)
    options = {"exchange_warmup": (0, 0)} if strategy == "gml" else {}
    training = {"average": "swa", "average_start": 0, "batch_size": 4}
    fit((dataset, split), [GCN, GIN], 2, strategy=strategy, strategy_options=options, training=training)
    assert found == [sorted(split.train if strategy == "independent" else split.seen)] * 2


def test_statistics_are_of_as_many_unlabelled_graphs_as_an_epoch_draws(fit: Fit, graph_data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, whole = graph_data
    split = Split(whole.train[:12], whole.val, whole.test, whole.train[12:])
    found: list[set[int]] = []
    plain = GraphsFeed.statistics_batches

    def watched(feed: GraphsFeed, samples: Any) -> Any:
        graphs: list[int] = []
        made = feed._collate
        feed._collate = lambda numbers: graphs.extend(numbers) or made(numbers)
        yield from plain(feed, samples)
        feed._collate = made
        found.append(set(graphs))
        assert len(graphs) == len(set(graphs)) == 12 + 6

    monkeypatch.setattr(GraphsFeed, "statistics_batches", watched)
    training = {"average": "swa", "average_start": 0, "batch_size": 4, "unlabelled_ratio": 0.5}
    fit((dataset, split), [GCN, GIN], 2, strategy="gml", strategy_options={"exchange_warmup": (0, 0)}, training=training)
    assert len(found) == 2
    assert all(set(split.train) < graphs < set(split.seen) for graphs in found)


def test_statistics_are_neither_made_nor_collated_where_none_are_needed(
    fit: Fit, graph_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    plain = GraphsFeed.statistics_batches
    monkeypatch.setattr(GraphsFeed, "statistics_batches", lambda self, samples: asked.append(1) or plain(self, samples))
    bare = StudentOptions(architecture="gcn", hidden=4, norm="none")
    for students, training in (([GIN], {"average": "ema"}), ([bare], {"average": "swa"}), ([GIN], {"average": "swa", "average_start": 2})):
        fit(graph_data, students, 3, strategy="independent", training=training)
    assert len(asked) == 1, "after the last epoch of the last"
    fit(graph_data, [GIN], 3, strategy="independent", training={"average": "swa", "average_start": 0})
    assert len(asked) == 1 + 3


def test_statistics_of_large_graphs_are_of_several_at_a_time(fit: Fit) -> None:
    """A virtual node has one state a graph: a batch of one graph has no variance."""
    rng = np.random.default_rng(0)
    graphs = [np.stack([np.arange(1, 4200), rng.integers(4200, size=4199)]) for _ in range(8)]
    edges = np.concatenate([graph + number * 4200 for number, graph in enumerate(graphs)], axis=1)
    features = np.repeat(rng.normal(size=(8, 3)).astype(np.float32), 4200, axis=0)
    dataset = Dataset.from_arrays(edges, features, np.arange(8) % 2, node_offsets=np.arange(9) * 4200, symmetric=True)
    student = StudentOptions(architecture="gcn", hidden=4, depth=2, virtual_node=True)
    split = Split(np.arange(4), np.arange(4, 6), np.arange(6, 8))
    result = fit((dataset, split), [student], 2, strategy="independent", training={"average": "swa", "batch_size": 4})
    tracked = [module for module in result.cohort.members[0].modules() if isinstance(module, nn.BatchNorm1d)]
    assert all(int(module.num_batches_tracked) > 0 for module in tracked) and len(tracked) > 1


def test_norms_that_training_never_used_keep_their_statistics(fit: Fit, graph_data: Data) -> None:
    """A virtual node has one state a graph, so with steps of one graph its norm uses the running statistics and never changes them."""
    student = StudentOptions(architecture="gcn", hidden=4, depth=2, virtual_node=True)
    average = {"average": "swa", "average_start": 1}
    apart, averaged = (
        fit(graph_data, [student], 2, strategy="independent", training={"batch_size": 1, **options}).cohort.members[0]
        for options in ({}, average)
    )
    states = [{name: state for name, state in member.state_dict().items() if "running" in name} for member in (apart, averaged)]
    still = {name for name, state in states[0].items() if torch.equal(state, torch.full_like(state, float("running_var" in name)))}
    assert still and {*states[0]} - still
    for name in states[0]:
        assert torch.equal(states[0][name], states[1][name]) == (name in still), name


@pytest.mark.parametrize(("batch_size", "expected"), [(None, [9000]), (2, [3000, 3000, 3000])])
def test_statistics_on_nodes_of_many_graphs_are_of_as_many_as_steps_see(batch_size: int | None, expected: list[int]) -> None:
    """Evaluation batches hold one or two graphs of this size, and miss how much graphs differ."""
    nodes, offsets = np.arange(8 * 1500), np.arange(9) * 1500
    features = np.repeat(np.random.default_rng(0).normal(size=(8, 3)), 1500, axis=0)
    dataset = Dataset.from_arrays(np.stack([nodes, nodes]), features, nodes % 2, node_offsets=offsets, task="node")
    split = Split(nodes[: 6 * 1500], nodes[6 * 1500 : 7 * 1500], nodes[7 * 1500 :])
    feed = make_feed(dataset, split, batch_size=batch_size, order=torch.Generator().manual_seed(0), placement=Placement())
    assert sorted(batch.num_nodes for batch in feed.statistics_batches(split.train)) == sorted(expected)
    assert sorted(step.batch.num_nodes for step in feed.training_batches()) == sorted(expected)


def test_statistics_are_renewed_without_dropout(fit: Fit, node_data: Data) -> None:
    modes: set[tuple[bool, bool]] = set()

    class Watched(_Own):
        def forward(self, graph: Any, feat: Tensor) -> Tensor:
            if not torch.is_grad_enabled():
                modes.add((self.layers[1].training, self.layers[2].training))
            return super().forward(graph, feat)

    training = {"average": "swa", "average_start": 1}
    fit(node_data, [StudentOptions(architecture=Watched)], 3, strategy="independent", training=training)
    assert modes == {(True, False), (False, False)}


def test_training_does_not_stop_before_its_average_has_begun(fit: Fit, node_data: Data) -> None:
    training = {"patience": 2, "learning_rate": 0.2}
    plain = fit(node_data, [GCN], 60, strategy="independent", training=training)
    late = fit(node_data, [GCN], 60, strategy="independent", training={**training, "average": "swa", "average_start": 50})
    assert plain.epochs < 40 and late.epochs >= 52


def test_the_weights_that_train_are_not_touched_by_their_average(fit: Fit, graph_data: Data) -> None:
    training = {"batch_size": 8}
    plain = fit(graph_data, [GIN], 5, strategy="independent", training=training)
    for average in ("ema", "swa"):
        averaged = fit(graph_data, [GIN], 5, strategy="independent", training={**training, "average": average})
        of_training = [[row["loss/supervised/gin-0"] for row in result.history] for result in (plain, averaged)]
        assert of_training[0] == of_training[1]


def test_a_constant_student_is_its_own_average(fit: Fit, node_data: Data) -> None:
    training = {"learning_rate": 1e-30}
    plain = fit(node_data, [GCN], 4, strategy="independent", training=training)
    for average in ("ema", "swa"):
        averaged = fit(node_data, [GCN], 4, strategy="independent", training={**training, "average": average})
        torch.testing.assert_close(dict(averaged.cohort.state_dict()), dict(plain.cohort.state_dict()), rtol=1e-6, atol=1e-7)


class _InAnOrder(nn.Module):
    """A student of one's own with buffers of integers and of booleans."""

    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(in_features, num_outputs)
        self.register_buffer("order", 2**40 + torch.arange(in_features))
        self.register_buffer("taken", torch.arange(in_features) % 2 == 0)
        self.register_buffer("steps", torch.tensor(0))

    def forward(self, graph: Any, feat: Tensor) -> Tensor:
        self.steps += self.training
        logits: Tensor = self.layer((feat * self.taken)[:, self.order - 2**40])
        return logits


@pytest.mark.parametrize("average", ["ema", "swa"])
def test_buffers_that_have_no_average_are_copied(average: str, fit: Fit, node_data: Data) -> None:
    fresh = _InAnOrder(node_data[0].features.shape[1], 3)
    epochs = []

    class Looks(Callback):
        def on_epoch_end(self, state: TrainingState) -> None:
            (served,) = (module for module in state.evaluated_member(0).modules() if isinstance(module, _InAnOrder))
            assert torch.equal(served.order, fresh.order) and torch.equal(served.taken, fresh.taken)
            epochs.append(int(served.steps))

    student = StudentOptions(architecture=_InAnOrder)
    fit(node_data, [student], 6, strategy="independent", training={"average": average}, callbacks=[Looks()])
    assert epochs == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("options", "idle"),
    [
        ({"average_decay": 0.9}, {"average_decay"}),
        ({"average": "swa", "average_decay": 0.9}, {"average_decay"}),
        ({"average_start": 30}, {"average_start"}),
        ({"average": "ema", "average_start": 3, "average_decay": 0.9}, set()),
        ({"average": "swa", "average_start": 3}, set()),
        ({"own_views": True}, {"own_views"}),
        ({"own_views": True, "node_drop": 0.1}, set()),
        ({"fanout": "5,5"}, {"fanout"}),
        ({"fanout": "5,5", "sampler": "neighbor"}, set()),
    ],
)
def test_options_without_effect_are_named(options: dict[str, Any], idle: set[str], node_data: Data) -> None:
    resolved = resolve_training(parse_options(TrainingOptions, {"epochs": 10, **options}), node_data[0])
    assert set(resolved.without_effect()) & set(options) == idle


@pytest.mark.parametrize("idle", [{"average_decay": 0.9, "average_start": 3}, {"own_views": True}, {"fanout": (5, 5)}])
def test_options_without_effect_change_nothing(idle: dict[str, Any], node_data: Data, fit: Fit) -> None:
    plain, changed = (fit(node_data, ["gcn", "gat"], 5, strategy="independent", training=more) for more in ({}, idle))
    assert plain.history == changed.history


def test_an_average_that_would_not_begin_is_refused(node_data: Data) -> None:
    with pytest.raises(UsageError, match="not reached in 10 epochs"):
        resolve_training(TrainingOptions(epochs=10, average="ema", average_start=10), node_data[0])


def test_an_average_is_part_of_the_identity_of_a_run_only_if_it_is_on(node_data: Data) -> None:
    resolved = resolve_training(TrainingOptions(average="none"), node_data[0])
    assert resolved == resolve_training(TrainingOptions(), node_data[0])
    kept = identity({"dataset": "x", "training": resolved.model_dump(mode="json")})["training"]
    assert not any(key.startswith("average") for key in kept)
    chosen = resolve_training(TrainingOptions(average="swa", epochs=9), node_data[0])
    assert (chosen.average_start, chosen.average_decay) == (4, None)
    assert identity({"dataset": "x", "training": chosen.model_dump(mode="json")})["training"]["average"] == "swa"


def test_a_student_that_cannot_be_copied_is_refused(fit: Fit, node_data: Data) -> None:
    class Uncopied(_Own):
        def __init__(self, in_features: int, num_outputs: int) -> None:
            super().__init__(in_features, num_outputs)
            self.stream = (number for number in range(3))

    with pytest.raises(UsageError, match="cannot be copied"):
        fit(node_data, [StudentOptions(architecture=Uncopied)], 2, strategy="independent", training={"average": "ema"})


@pytest.mark.parametrize("average", ["none", "ema", "swa"])
def test_an_average_has_the_extra_state_of_its_student(average: str, fit: Fit, graph_data: Data) -> None:
    """It is no tensor of weights, and a copy of the first epoch would be wrong."""
    dataset, split = graph_data
    students = [StudentOptions(architecture=Counting), "gcn"]
    result = fit(graph_data, students, strategy="independent", training={"average": average})
    sizes = dataset.node_offsets[1:] - dataset.node_offsets[:-1]
    best = result.members[0].best_epoch
    assert result.cohort.members[0].module.also.item() == (best + 1) * sizes[split.train].sum()
