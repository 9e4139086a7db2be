"""Controls that use unlabelled samples without peers: mean teacher, pseudo-labels, and second generations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dgl_mutual.data.values.split import Split
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.strategies import STRATEGIES
from dgl_mutual.strategies.mean_teacher import MeanTeacher
from dgl_mutual.training.averages import WeightAverages
from dgl_mutual.training.callbacks import Callback
from dgl_mutual.training.options import TrainingOptions
from tests.cohorts import train_cohort
from tests.strategies.cases import SMALL, Bench, make_dataset

CONTROLS = ("ensemble-distillation", "mean-teacher", "pseudo-label", "self-distillation", "snapshot-distillation")
ALONE = ("mean-teacher", "pseudo-label", "self-distillation", "snapshot-distillation")


def fit(task: str, strategy: Any, options: dict[str, Any] | None = None, *, students: int = 2, epochs: int = 3, **more: Any) -> Any:
    dataset = make_dataset(task, "single-label")
    order = torch.randperm(dataset.num_samples, generator=torch.Generator().manual_seed(0)).numpy()
    train, val, test = (order[start::3] for start in range(3))
    training = TrainingOptions(epochs=epochs, batch_size=3 if task == "graph" else None, **more.pop("training", {}))
    chosen = [StudentOptions(architecture=name, **SMALL) for name in ("gcn", "gin", "gat", "sage")[:students]]
    split = Split(train[::2], val, test, train[1::2])
    return train_cohort(dataset, split, students=chosen, strategy=strategy, strategy_options=options or {}, training=training, **more)


def state_of(result: Any, member: int) -> Tensor:
    return torch.cat([value.detach().flatten() for value in result.cohort.members[member].parameters()])


@pytest.mark.parametrize("task", ["node", "graph"])
@pytest.mark.parametrize("strategy", ALONE)
def test_a_student_of_a_control_learns_the_same_with_others_beside_it_or_none(strategy: str, task: str) -> None:
    """Dropout streams and initial weights belong to a place in the cohort, so nothing else could make a difference."""
    alone = fit(task, strategy, {"exchange_warmup": (0, 0)}, students=1)
    beside = fit(task, strategy, {"exchange_warmup": (0, 0)}, students=2)
    if strategy == "self-distillation":  # teachers stand after the students, so theirs are other weights
        assert not torch.equal(state_of(alone, 0), state_of(beside, 0))
        return
    torch.testing.assert_close(state_of(alone, 0), state_of(beside, 0), rtol=1e-4, atol=1e-6)


class Watching(Callback):
    """Keeps the weights after each step, and the targets of each."""

    def __init__(self) -> None:
        self.weights: list[list[dict[str, Tensor]]] = []
        self.targets: list[tuple[Tensor, Tensor]] = []

    def on_fit_begin(self, state: Any) -> None:
        self._keep(state)

    def on_step_end(self, state: Any) -> None:
        self.targets.append((state.step.samples, state.step.targets.clone()))
        self._keep(state)

    def _keep(self, state: Any) -> None:
        self.weights.append([{key: value.clone() for key, value in student.state_dict().items()} for student in state.cohort.members])


@pytest.mark.parametrize("task", ["node", "graph"])
@pytest.mark.parametrize("decay", [0.0, 0.6, 0.99])
def test_targets_of_the_mean_teacher_are_of_the_average_of_the_weights(decay: float, task: str) -> None:
    """The average is computed once more from the weights after each step, with the paper's schedule min(1 - 1 / (t + 1), alpha)."""
    watching, evaluated = Watching(), []

    class Keeping(MeanTeacher):
        def loss_terms(self, step: Any) -> Any:
            evaluated.append(step.batch)
            return super().loss_terms(step)

    options = {"decay": decay, "exchange_warmup": (0, 0)}
    result = fit(task, Keeping, options, callbacks=[watching], dtype=torch.float64)
    student = result.cohort.members[1]
    average = dict(watching.weights[0][1])
    for step, (batch, (_, targets)) in enumerate(zip(evaluated, watching.targets, strict=True)):
        student.load_state_dict(average)
        with torch.no_grad():
            expected = student.eval().forward_batch(batch).logits
        torch.testing.assert_close(targets[1], expected, rtol=1e-6, atol=1e-9)
        share = min(1 - 1 / (step + 1), decay)
        latest = watching.weights[step + 1][1]
        average = {key: share * average[key] + (1 - share) * value if value.is_floating_point() else value for key, value in latest.items()}


def test_an_average_is_not_the_student_itself() -> None:
    watching = Watching()
    fit("graph", "mean-teacher", {"decay": 0.9}, callbacks=[watching])
    assert not torch.equal(watching.targets[-1][1], watching.targets[0][1])


def test_targets_of_snapshots_are_of_the_own_best_epoch() -> None:
    """The validation accuracy of each student falls or rises in its own way; the targets change in the epochs after a best one alone."""
    watching = Watching()
    result = fit(
        "node", "snapshot-distillation", {"exchange_warmup": (0, 0)}, epochs=12, training={"learning_rate": 0.05}, callbacks=[watching]
    )
    changes = set()
    for k, name in enumerate(result.cohort.names):
        scores = [row[f"val/{name}"] for row in result.history]
        for epoch in range(1, 11):
            highest = max(scores[:epoch])
            changed = not torch.equal(watching.targets[epoch + 1][1][k], watching.targets[epoch][1][k])
            assert (scores[epoch] > highest) <= changed <= (scores[epoch] >= highest)  # the validation loss decides among equals
            changes.add(changed)
    assert changes == {True, False}


def test_an_average_that_is_restarted_forgets() -> None:
    module = torch.nn.Linear(2, 1)
    averages = WeightAverages([module], "ema", starts=[0], decay=0.5)  # type: ignore[list-item]  # any module will do
    averages.restart([0])
    averages.after_step(0)
    torch.nn.init.constant_(module.weight, 3.0)
    averages.after_step(0)
    kept = averages.state()
    averages.restart([0])
    assert torch.equal(averages.state()["0"]["module.weight"], module.weight)
    averages.restore(kept)
    assert torch.equal(averages.state()["0"]["module.weight"], kept["0"]["module.weight"])
    assert int(averages.state()["0"]["n_averaged"]) == 2


def test_pseudo_labels_pull_towards_the_own_prediction_where_it_is_confident() -> None:
    bench = Bench.of("pseudo-label", "node", "single-label", 1, {"threshold": 0.9})
    logits = torch.randn(1, 30, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    targets = torch.zeros(1, 30, 3, dtype=torch.float64)
    targets[0, :, 2] = torch.where(torch.arange(30) % 2 == 0, 5.0, 1.0)  # every other sample is confident of class 2
    bench.strategy.loss_terms(bench.step((0,), logits=logits, targets=targets))["pseudo_label"].sum().backward()
    assert logits.grad is not None
    unlabelled, confident = ~bench.labelled, torch.arange(30) % 2 == 0
    assert (logits.grad[0, unlabelled & confident, 2] < 0).all()
    assert not logits.grad[0, ~(unlabelled & confident)].any()


@pytest.mark.parametrize(("threshold", "all_of_them"), [(0.0, True), (1.0, False)])
def test_the_threshold_goes_from_all_predictions_to_none(threshold: float, all_of_them: bool) -> None:
    bench = Bench.of("pseudo-label", "node", "single-label", 2, {"threshold": threshold})
    step = bench.step((0, 1))
    term = bench.strategy.loss_terms(step)["pseudo_label"]
    assert float(step.log["confident"]) == float(all_of_them)
    assert bool((term > 0).all()) == all_of_them


def test_without_unlabelled_samples_there_are_no_pseudo_labels() -> None:
    bench = Bench.of("pseudo-label", "graph", "multi-label", 2, {"threshold": 0.0})
    step = bench.step((0, 1), labelled=torch.arange(bench.dataset.num_samples))
    terms = bench.strategy.loss_terms(step)
    assert not terms["pseudo_label"].any()
    terms["pseudo_label"].sum().backward()


def test_the_ensemble_teaches_all_and_a_first_generation_its_own_kind() -> None:
    changed: dict[str, list[list[bool]]] = {}
    for name in ("ensemble-distillation", "self-distillation"):
        bench = Bench.of(name, "node", "single-label", 3)
        active = bench.strategy.phases()[-1]
        before = bench.strategy.loss_terms(bench.step(active))["distillation"]
        changed[name] = []
        for teacher in range(3, 6):
            targets = bench.targets.clone()
            targets[teacher] += torch.randn(30, 3, dtype=torch.float64)
            after = bench.strategy.loss_terms(bench.step(active, targets=targets))["distillation"]
            changed[name].append((after != before).tolist())
    assert changed == {"ensemble-distillation": [[True] * 3] * 3, "self-distillation": np.eye(3, dtype=bool).tolist()}


@pytest.mark.parametrize("task", ["node", "graph"])
@pytest.mark.parametrize("strategy", ["ensemble-distillation", "self-distillation"])
def test_teachers_are_the_students_options_with_weights_of_their_own(strategy: str, task: str) -> None:
    result = fit(task, strategy)
    assert [member.member for member in result.members][:4] == ["gcn-0", "gin-1", "teacher-0", "teacher-1"]
    for student, teacher in ((0, 2), (1, 3)):
        assert result.cohort.members[student].options == result.cohort.members[teacher].options
        assert not torch.equal(state_of(result, student), state_of(result, teacher))
    assert {"val/teacher-0", "val/teacher-1"} < set(result.history[0]) and "val/gcn-0" not in result.history[0]
    assert "loss/distillation/gcn-0" in result.history[-1] and "val/teacher-0" not in result.history[-1]
    assert result["ensemble"].parameters == sum(result[name].parameters for name in ("gcn-0", "gin-1"))


@pytest.mark.parametrize("strategy", CONTROLS)
def test_without_weight_a_control_is_independent_training(strategy: str) -> None:
    apart, control = fit("node", "independent"), fit("node", strategy, {"weight": 0.0})
    for k in range(2):  # not bit by bit: a term of weight zero may send the gradient along other kernels
        torch.testing.assert_close(state_of(control, k), state_of(apart, k), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("strategy", ALONE)
def test_one_student_is_enough(strategy: str) -> None:
    assert STRATEGIES[strategy].min_students == 1
    result = fit("graph", strategy, students=1)
    assert np.isfinite(result["gcn-0"].test)


def test_a_members_options_of_its_own_go_to_its_teacher_too() -> None:
    kind = STRATEGIES["self-distillation"]
    students = [StudentOptions(architecture="gcn", hidden=8), StudentOptions(architecture="gin", hidden=16)]
    extra = kind.extra_members(kind.Options(), students)
    assert [options for _, options in extra] == students
