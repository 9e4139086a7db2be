"""Members of different phases, in the real loop."""

from __future__ import annotations

import pytest
import torch

from dgl_mutual.data.values.split import Split
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.strategies.kd import KnowledgeDistillation
from dgl_mutual.training.options import TrainingOptions
from tests.cohorts import train_cohort
from tests.strategies.cases import SMALL, make_dataset

STUDENTS = [StudentOptions(architecture=name, **SMALL) for name in ("gcn", "gin")]
OPTIONS = {"kd": {"teacher": {"architecture": "gat", **SMALL}}}


def fit(task, strategy, options=None, callbacks=(), **training):
    dataset = make_dataset(task, "single-label")
    order = torch.randperm(dataset.num_samples, generator=torch.Generator().manual_seed(0)).numpy()
    split = Split(*(order[start::3] for start in range(3)))
    training = TrainingOptions(epochs=4, batch_size=3, **training)
    options = {**OPTIONS.get(getattr(strategy, "name", strategy), {}), **(options or {})}
    result = train_cohort(
        dataset, split, students=STUDENTS, strategy=strategy, strategy_options=options, training=training, callbacks=callbacks
    )
    return result, split


def parameters_of(result, member):
    return torch.cat([parameter.detach().flatten() for parameter in result.cohort.members[member].parameters()])


def test_a_teacher_does_not_count_as_a_student_that_disagrees(monkeypatch):
    counts = []
    monkeypatch.setattr("dgl_mutual.training.assessment.disagreement", lambda decisions: counts.append(len(decisions)) or 0.5)
    result, _ = fit("graph", "kd")
    assert (counts, len(result.cohort.names), result.disagreement) == ([2], 3, 0.5)


@pytest.mark.parametrize("task", ["node", "graph"])
def test_students_learn_from_the_clean_logits_of_a_teacher_that_stands_still(task):
    seen = []

    class Watching(KnowledgeDistillation):
        def loss_terms(self, step):
            if step.active == (0, 1):
                seen.append((step.samples, step.targets[2].clone()))
            return super().loss_terms(step)

    result, _ = fit(task, Watching)
    expected = torch.as_tensor(result.predict(member="teacher"), dtype=torch.float32)
    assert len(seen) >= 4
    for samples, targets in seen:
        torch.testing.assert_close(torch.softmax(targets, -1), expected[samples])


@pytest.mark.parametrize("task", ["node", "graph"])
def test_the_teacher_has_no_say_in_the_cohorts_figures(task):
    result, _ = fit(task, "kd")
    assert [member.member for member in result.members] == ["gcn-0", "gin-1", "teacher", "mean", "best_by_val", "ensemble"]
    assert result["mean"].test == pytest.approx((result["gcn-0"].test + result["gin-1"].test) / 2)
    assert result["best_by_val"].architecture in ("gcn", "gin")
    assert result["ensemble"].parameters == result["gcn-0"].parameters + result["gin-1"].parameters
    logits = [torch.as_tensor(result.predict(member=name), dtype=torch.float32).log() for name in ("gcn-0", "gin-1")]
    torch.testing.assert_close(torch.as_tensor(result.predict(), dtype=torch.float32), torch.softmax(sum(logits) / 2, -1))


def test_without_weight_students_are_those_of_independent_training():
    apart, _ = fit("node", "independent")
    taught, _ = fit("node", "kd", {"weight": 0.0})
    for k in range(2):  # not bit by bit: a term of weight zero may send the gradient along other kernels
        torch.testing.assert_close(parameters_of(apart, k), parameters_of(taught, k), rtol=1e-4, atol=1e-6)


def test_the_history_tells_the_phases_apart():
    taught, _ = fit("node", "kd")
    assert [row["epoch"] for row in taught.history] == list(range(8))
    assert "val/teacher" in taught.history[0] and "val/gcn-0" not in taught.history[0]
    assert "val/teacher" not in taught.history[-1] and "loss/distillation/gcn-0" in taught.history[-1]
