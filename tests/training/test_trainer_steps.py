"""What the loop hands to a strategy, and what it does with the answer: shown by small strategies that look and report."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from dgl_mutual.errors import UsageError
from dgl_mutual.nn.batch import GraphBatch
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.views import perturbed
from dgl_mutual.strategies.base.citation import Citation
from dgl_mutual.strategies.base.exchange import Exchange
from dgl_mutual.strategies.base.options import StrategyOptions
from dgl_mutual.strategies.base.step import Step
from dgl_mutual.strategies.base.strategy import Strategy
from dgl_mutual.training.callbacks import Callback
from dgl_mutual.training.options import TrainingOptions
from dgl_mutual.training.result import FitResult
from dgl_mutual.training.state import TrainingState
from tests.cohorts import train_cohort
from tests.training.conftest import Fit
from tests.training.small_data import Data


class Watcher(Strategy):
    """Trains by cross-entropy alone, and keeps every step."""

    name = "watcher"
    citation = Citation("-", "-", "-", "-", "-")
    min_students: ClassVar[int] = 1
    targets: ClassVar[Any] = "eval"
    decay: ClassVar[float] = 0.0
    rows: ClassVar[Any] = "all"
    steps: ClassVar[list[Step]]

    def exchange(self) -> Exchange:
        return Exchange(self.targets, self.decay, self.rows)

    def loss_terms(self, step: Step) -> dict[str, Tensor]:
        self.steps.append(replace(step, logits=step.logits.detach().clone(), targets=step.targets.clone()))
        return {"supervised": self.supervised(step)}


@pytest.fixture
def watch() -> Callable[..., type[Watcher]]:
    """A watcher of its own for each use, with these class attributes."""
    return lambda kind=Watcher, **attributes: type("Watching", (kind,), {**attributes, "steps": []})


def weights(result: FitResult, member: int) -> Tensor:
    return torch.cat([value.flatten().double() for value in result.cohort.members[member].state_dict().values()])


@pytest.mark.parametrize("data", ["node_data", "graph_data", "multi_label_data"])
@pytest.mark.parametrize("rows", ["all", "transductive"])
def test_a_step_holds_no_label_but_those_of_training(
    data: str, rows: str, fit: Fit, watch: Callable[..., type[Watcher]], request: pytest.FixtureRequest
) -> None:
    dataset, split = request.getfixturevalue(data)
    watcher = watch(rows=rows)
    fit((dataset, split), students=["gcn"], strategy=watcher, epochs=2)
    for step in watcher.steps:
        known = step.labels >= 0 if step.labels.dim() == 1 else ~step.labels.isnan().all(1)
        assert set(step.samples[known].tolist()) == set(step.samples[step.labelled].tolist()) <= set(split.train.tolist())
        truth = torch.as_tensor(dataset.labels)[step.samples[step.labelled]]
        torch.testing.assert_close(step.labels[step.labelled], truth, equal_nan=True)


@pytest.mark.parametrize("exchange", ["all", "labelled"])
def test_a_node_step(exchange: str, fit: Fit, watch: Callable[..., type[Watcher]], node_data: Data) -> None:
    dataset, split = node_data
    watcher = watch(rows=exchange)
    fit(node_data, strategy=watcher, epochs=2)
    assert [step.epoch for step in watcher.steps] == [0, 1]
    for step in watcher.steps:
        rows = torch.arange(48)
        assert step.logits.shape == step.targets.shape == (2, 48, 3)
        assert step.active == (0, 1)
        assert [tuple(state.shape for state in states) for states in step.hidden] == [((48, 8),)] * 2
        assert [embedding.shape for embedding in step.embeddings] == [(48, 8)] * 2
        np.testing.assert_array_equal(rows[step.labelled], split.train)
        np.testing.assert_array_equal(rows[step.exchange], rows if exchange == "all" else split.train)
        np.testing.assert_array_equal(step.samples, rows)
        np.testing.assert_array_equal(step.labels[split.train], dataset.labels[split.train])
        assert step.ramp == 1.0


@pytest.mark.parametrize("data", ["node_data", "graph_data"])
def test_members_that_train_have_targets_of_the_training_pass(
    data: str, fit: Fit, watch: Callable[..., type[Watcher]], request: pytest.FixtureRequest
) -> None:
    """Of two that train in a later phase, beside the first, which does not change any more."""
    watcher = watch(targets="train", phases=lambda self: ((0,), (1, 2)))
    result = fit(request.getfixturevalue(data), ["gcn", "sage", "gin"], strategy=watcher, epochs=2)
    later = [step for step in watcher.steps if step.active == (1, 2)]
    standing = torch.as_tensor(result.predict(member="gcn-0"))
    assert len(later) >= 2
    for step in later:
        torch.testing.assert_close(step.targets[1:], step.logits, rtol=0, atol=0)
        torch.testing.assert_close(step.targets[0].softmax(-1), standing[step.samples].to(step.targets.dtype))


def test_a_graph_step(fit: Fit, watch: Callable[..., type[Watcher]], graph_data: Data) -> None:
    dataset, split = graph_data
    watcher = watch(rows="labelled")
    fit(graph_data, strategy=watcher, epochs=2, training={"batch_size": 7})
    assert [step.epoch for step in watcher.steps] == [0, 0, 0, 1, 1, 1]
    for epoch in (watcher.steps[:3], watcher.steps[3:]):
        np.testing.assert_array_equal(np.sort(np.concatenate([step.samples for step in epoch])), split.train)
        for step in epoch:
            size = len(step.samples)
            assert step.logits.shape == step.targets.shape == (2, size, 2)
            np.testing.assert_array_equal(step.labels, dataset.labels[step.samples])
            assert torch.equal(torch.arange(size)[step.labelled], torch.arange(size)[step.exchange])
            assert [embedding.shape for embedding in step.embeddings] == [(size, 24)] * 2


@pytest.mark.parametrize("task", ["node", "sampled nodes", "graph"])
def test_eval_targets_are_predictions_before_the_epoch(
    task: str, fit: Fit, watch: Callable[..., type[Watcher]], node_data: Data, graph_data: Data
) -> None:
    """The targets of epoch e are the clean predictions of a cohort trained for e epochs."""
    data = graph_data if task == "graph" else node_data
    training = {"batch_size": 24, "sampler": "neighbor", "fanout": (-1, -1)} if task == "sampled nodes" else {"batch_size": 100}
    watcher = watch(rows="labelled")
    fit(data, strategy=watcher, epochs=3, training=training)
    for epoch in (1, 2):
        step = watcher.steps[epoch]
        # Looked at once, at its end, a shorter training keeps the weights that this epoch begins with.
        shorter = fit(data, strategy="independent", epochs=epoch, training={**training, "eval_every": epoch})
        for k, name in enumerate(shorter.cohort.names):
            expected = torch.as_tensor(shorter.predict(member=name), dtype=torch.float32)[step.samples]
            torch.testing.assert_close(torch.softmax(step.targets[k], -1), expected, rtol=1e-4, atol=1e-6)
        assert not torch.allclose(step.targets, step.logits)


def test_train_targets_are_the_step_itself(fit: Fit, watch: Callable[..., type[Watcher]], node_data: Data, graph_data: Data) -> None:
    for data in (node_data, graph_data):
        watcher = watch(targets="train")
        fit(data, strategy=watcher)
        for step in watcher.steps:
            assert torch.equal(step.targets, step.logits)
            assert not step.targets.requires_grad


@pytest.mark.parametrize("task", ["node", "graph"])
def test_ema_targets_are_the_moving_average_of_eval_targets(
    task: str, fit: Fit, watch: Callable[..., type[Watcher]], node_data: Data, graph_data: Data
) -> None:
    data = node_data if task == "node" else graph_data
    clean, smooth = watch(), watch(targets="ema", decay=0.7)
    for watcher in (clean, smooth):
        fit(data, strategy=watcher, epochs=5, training={"batch_size": 100}, dtype=torch.float64)

    def by_sample(step: Step) -> Tensor:
        return step.targets[:, step.samples.argsort()]

    average = by_sample(clean.steps[0])
    for ours, theirs in zip(clean.steps, smooth.steps, strict=True):
        if ours.epoch > 0:
            average = 0.7 * average + 0.3 * by_sample(ours)
        torch.testing.assert_close(by_sample(theirs), average, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("targets", ["eval", "ema", "best"])
def test_targets_of_the_first_step_are_those_of_the_initial_weights(
    targets: str, fit: Fit, watch: Callable[..., type[Watcher]], node_data: Data
) -> None:
    watcher = watch(targets=targets)
    fit(node_data, strategy=watcher, epochs=2, training={"learning_rate": 1e-12})
    first, second = watcher.steps
    assert first.targets.any()
    torch.testing.assert_close(first.targets, second.targets)


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("task", ["node", "graph"])
def test_best_targets_are_the_eval_targets_of_each_members_best_epoch_so_far(
    task: str, every: int, fit: Fit, watch: Callable[..., type[Watcher]], node_data: Data, graph_data: Data
) -> None:
    class Scores(Callback):
        """What each member's validation was, epoch by epoch; the validation loss decides among equal metrics."""

        def __init__(self) -> None:
            self.found: list[list[tuple[float, float]]] = []

        def on_epoch_end(self, state: TrainingState) -> None:
            validation = state.validation
            worst = [(-math.inf, -math.inf)] * 2
            losses = [] if validation is None else [-loss for loss in validation.losses[:2]]
            self.found.append(worst if validation is None else list(zip(validation.metrics, losses, strict=False)))

    data = node_data if task == "node" else graph_data
    scores, clean, best = Scores(), watch(), watch(targets="best")
    training = {"batch_size": 100, "learning_rate": 0.3, "eval_every": every}
    for watcher in (clean, best):
        fit(data, strategy=watcher, epochs=8, training=training, dtype=torch.float64, callbacks=[scores])

    def by_sample(step: Step) -> Tensor:
        return step.targets[:, step.samples.argsort()]

    chosen = []
    for epoch, step in enumerate(best.steps):
        for k in range(2):
            seen = [found[k] for found in scores.found[:epoch]]
            source = max(range(len(seen)), key=seen.__getitem__) + 1 if epoch >= every else epoch
            chosen.append(source)
            torch.testing.assert_close(by_sample(step)[k], by_sample(clean.steps[source])[k], rtol=1e-9, atol=1e-12)
    assert len({*chosen}) > 2 and any(source < len(best.steps) - 1 for source in chosen[-2:])


@pytest.mark.filterwarnings("ignore:The loss term .shared. .* has no gradient")
def test_terms_are_summed_and_logged_by_name(fit: Fit, watch: Callable[..., type[Watcher]], node_data: Data) -> None:
    class Terms(Watcher):
        def loss_terms(self, step: Step) -> dict[str, Tensor]:
            step.log["weights"] = torch.tensor([[0.0, 0.25], [0.75, 0.0]])
            step.log["mood"] = torch.tensor(0.5)
            terms = super().loss_terms(step)
            return {"half": terms["supervised"] / 2, "other": terms["supervised"] / 2, "shared": torch.tensor(2.0)}

    whole, halves = fit(node_data, strategy=watch()), fit(node_data, strategy=watch(Terms))
    for k in range(2):
        torch.testing.assert_close(weights(halves, k), weights(whole, k), rtol=1e-5, atol=1e-6)
    row = halves.history[0]
    assert row["loss/half/gcn-0"] == pytest.approx(whole.history[0]["loss/supervised/gcn-0"] / 2)
    assert (row["loss/shared"], row["mood"]) == (2.0, 0.5)
    assert (row["weights/gcn-0/sage-1"], row["weights/sage-1/gcn-0"]) == (0.25, 0.75)


@pytest.mark.filterwarnings("ignore:The loss term .count. .* has no gradient")
def test_an_epochs_terms_are_means_over_its_steps(fit: Fit, watch: Callable[..., type[Watcher]], graph_data: Data) -> None:
    weights: list[float] = []

    class Counter(Watcher):
        count: Tensor

        def __init__(self, options: Any, setting: Any) -> None:
            super().__init__(options, setting)
            self.register_buffer("count", torch.tensor(0.0))
            self.weight = torch.nn.Parameter(torch.tensor(1.0))

        def loss_terms(self, step: Step) -> dict[str, Tensor]:
            self.count.add_(1)
            step.log["count"] = self.count
            step.logits.register_hook(lambda gradient: step.log.update(slope=gradient.norm()))
            weights.append(self.weight.item())
            return {**super().loss_terms(step), "count": self.count, "weight": self.weight}

    history = fit(graph_data, strategy=watch(Counter), epochs=2, training={"batch_size": 5}).history
    assert [(row["loss/count"], row["count"]) for row in history] == [(2.5, 2.5), (6.5, 6.5)]
    assert all(row["slope"] > 0 for row in history)  # logged in the backward pass
    assert [row["loss/weight"] for row in history] == pytest.approx([np.mean(weights[:4]), np.mean(weights[4:])])


def test_own_parameters_of_a_strategy_are_trained_without_decay(fit: Fit, watch: Callable[..., type[Watcher]], node_data: Data) -> None:
    made: list[Learner] = []

    class Learner(Watcher):
        def __init__(self, options: Any, setting: Any) -> None:
            super().__init__(options, setting)
            self.pulled, self.still = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))
            made.append(self)

        def loss_terms(self, step: Step) -> dict[str, Tensor]:
            return {**super().loss_terms(step), "own": self.pulled.square().sum() + 0.0 * self.still.sum()}

    fit(node_data, strategy=watch(Learner), epochs=10, training={"weight_decay": 0.1})
    assert made[0].pulled.item() < 0.95  # a second one is made to see whether it seeds itself, and is not trained
    assert made[0].still.item() == 1.0


class Taught(Watcher):
    """A teacher of its own comes first, then the students."""

    name = "taught"

    @classmethod
    def extra_members(cls, options: StrategyOptions, students: Sequence[StudentOptions]) -> tuple[tuple[str, StudentOptions], ...]:
        return (("teacher", StudentOptions(architecture="gcn", hidden=12)),)

    def phases(self) -> tuple[tuple[int, ...], ...]:
        students = self.setting.num_students
        return (students,), tuple(range(students))


@pytest.mark.parametrize("targets", ["eval", "train", "ema", "best"])
@pytest.mark.parametrize("task", ["node", "graph"])
def test_phases(task: str, targets: str, fit: Fit, watch: Callable[..., type[Watcher]], node_data: Data, graph_data: Data) -> None:
    data = node_data if task == "node" else graph_data
    watcher = watch(Taught, targets=targets, decay=0.5)
    result = fit(data, strategy=watcher, epochs=4, training={"batch_size": 100}, dtype=torch.float64)

    assert [step.active for step in watcher.steps] == [(2,)] * 4 + [(0, 1)] * 4
    assert [step.epoch for step in watcher.steps] == [0, 1, 2, 3] * 2
    assert [row["epoch"] for row in result.history] == list(range(8))
    first, second = result.history[0], result.history[-1]
    assert {name for name in first if name != "epoch"} == {"loss/supervised/teacher", "train/teacher", "val/teacher"}
    assert {name.split("/")[-1] for name in second if name.startswith("val/")} == {"gcn-0", "sage-1", "ensemble"}

    assert [member.member for member in result.members] == ["gcn-0", "sage-1", "teacher", "mean", "best_by_val", "ensemble"]
    teacher = result["teacher"]
    assert teacher.best_epoch is not None and teacher.best_epoch < 4
    assert all(member.best_epoch is not None and member.best_epoch >= 4 for member in result.members[:2])
    assert result["mean"].test == pytest.approx((result["gcn-0"].test + result["sage-1"].test) / 2)
    assert result.best_student in ("gcn-0", "sage-1")

    taught_by = torch.as_tensor(result.predict(member="teacher"))
    for step in watcher.steps[4:]:
        torch.testing.assert_close(torch.softmax(step.targets[2], -1), taught_by[step.samples], rtol=1e-8, atol=1e-10)

    alone = fit(data, strategy="independent", epochs=4, training={"batch_size": 100}, dtype=torch.float64)
    if task == "node":  # the order of graphs goes on through the phases
        for k in range(2):
            torch.testing.assert_close(weights(result, k), weights(alone, k), rtol=1e-8, atol=1e-10)


def test_members_of_a_phase_train_in_the_cohorts_order(fit: Fit, watch: Callable[..., type[Watcher]], node_data: Data) -> None:
    class Backwards(Watcher):
        def phases(self) -> tuple[tuple[int, ...], ...]:
            return ((1, 0),)

    watcher = watch(Backwards, targets="train")
    fit(node_data, strategy=watcher, epochs=2)
    for step in watcher.steps:
        assert step.active == (0, 1) and torch.equal(step.targets, step.logits)


def test_a_member_may_train_in_two_phases(fit: Fit, watch: Callable[..., type[Watcher]], node_data: Data) -> None:
    class Twice(Watcher):
        def phases(self) -> tuple[tuple[int, ...], ...]:
            return (0,), (0, 1)

    result = fit(node_data, strategy=watch(Twice), epochs=12, training={"patience": 2, "learning_rate": 0.5})
    starts = [index for index, row in enumerate(result.history) if "val/sage-1" in row]
    assert 0 < starts[0] < 12
    assert all(member.best_epoch is not None and member.best_epoch >= starts[0] for member in result.members[:2])
    for member in result.members[:2]:
        assert member.val == pytest.approx(max(row[f"val/{member.member}"] for row in result.history[starts[0] :]))


def test_the_test_part_of_a_graph_task_is_never_a_target(watch: Callable[..., type[Watcher]], graph_data: Data) -> None:
    """Test graphs are looked at once, after training: what they hold cannot matter before."""
    dataset, split = graph_data
    features = np.array(dataset.features)
    for graph in split.test:
        features[dataset.node_offsets[graph] : dataset.node_offsets[graph + 1]] *= -1e3
    students = [StudentOptions(architecture="gcn", hidden=8)] * 2
    results = [
        train_cohort(part, split, students=students, strategy=watch(targets=targets), training=TrainingOptions(epochs=3))
        for targets in ("eval", "ema", "best")
        for part in (dataset, replace(dataset, features=features))
    ]
    for honest, blinded in (results[:2], results[2:4], results[4:]):
        assert torch.equal(weights(honest, 0), weights(blinded, 0))
        assert honest.history == blinded.history


def test_a_late_student_neither_changes_nor_stops_before_it_starts(fit: Fit, watch: Callable[..., type[Watcher]], node_data: Data) -> None:
    found = []

    class Keeping(Callback):
        def on_epoch_end(self, state: TrainingState) -> None:
            found.append([torch.cat([p.detach().flatten().clone() for p in one.parameters()]) for one in state.cohort.members])

    students = [StudentOptions(hidden=8), StudentOptions(hidden=8, starts_after=0.5)]
    training = {"patience": 2, "learning_rate": 0.0001}
    result = fit(node_data, students, 10, strategy=watch(), training=training, callbacks=[Keeping()])
    assert all(torch.equal(now[1], found[0][1]) for now in found[:5])
    assert all(not torch.equal(now[0], found[0][0]) for now in found[1:5])
    assert result.epochs > 6
    assert not torch.equal(found[5][1], found[0][1])
    assert weights(result, 1).isfinite().all()


@pytest.mark.parametrize("data", ["node_data", "graph_data"])
@pytest.mark.parametrize("option", ["edge_drop", "feature_mask", "node_drop"])
def test_students_train_on_one_view_or_each_on_its_own(
    data: str, option: str, fit: Fit, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[GraphBatch] = []

    def looking(*args: Any, **options: Any) -> Any:
        seen.append(perturbed(*args, **options))
        return seen[-1]

    monkeypatch.setattr("dgl_mutual.training.step_maker.perturbed", looking)
    number = {}
    for own in (False, True):
        fit(request.getfixturevalue(data), strategy="independent", epochs=1, training={option: 0.4, "own_views": own})
        number[own] = len(seen)
        views = [(view.in_offsets.tolist(), view.sources.tolist(), np.asarray(view.features).tolist()) for view in seen]
        assert len({repr(view) for view in views}) == len(views)
        seen.clear()
    assert number[True] == 2 * number[False] > 0


def test_clean_targets_see_all_of_the_graph_whatever_students_train_on(
    fit: Fit, watch: Callable[..., type[Watcher]], node_data: Data
) -> None:
    plain, perturbed_too = watch(), watch()
    fit(node_data, strategy=plain, epochs=1)
    fit(node_data, strategy=perturbed_too, epochs=1, training={"edge_drop": 0.5, "node_drop": 0.5, "own_views": True})
    assert torch.equal(plain.steps[0].targets, perturbed_too.steps[0].targets)
    assert not torch.equal(plain.steps[0].logits, perturbed_too.steps[0].logits)


def test_a_strategy_that_compares_all_nodes_refuses_dropped_nodes(fit: Fit, graph_data: Data, node_data: Data) -> None:
    with pytest.raises(UsageError, match=r"'alignahead' compares the states of all nodes, and training\.node_drop = 0\.2"):
        fit(graph_data, strategy="alignahead", epochs=1, training={"node_drop": 0.2})
    fit(node_data, strategy="alignahead", epochs=1, training={"node_drop": 0.2})
