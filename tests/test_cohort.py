from __future__ import annotations

import dgl
import pytest
import torch

from dgl_mutual.cohort import Cohort, student_names
from dgl_mutual.coordinator import CoordinatorConfig
from dgl_mutual.distributions import Categorical
from dgl_mutual.nn.batch import GraphBatch
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.student import Student
from dgl_mutual.weightings import make_coordinator

OPTIONS = tuple(StudentOptions(architecture=name, hidden=8) for name in ("gcn", "gat", "gcn"))


@pytest.fixture
def batch() -> GraphBatch:
    graph = dgl.rand_graph(10, 30)
    graph.ndata["feat"] = torch.randn(10, 4)
    return GraphBatch.from_dgl(graph)


@pytest.fixture
def cohort() -> Cohort:
    """Two students and a third member that is none."""
    torch.manual_seed(0)
    students = [Student(options, "node", 4, 3) for options in OPTIONS]
    coordinator = make_coordinator(CoordinatorConfig("attention", 2, 3))
    for parameter in coordinator.parameters():
        torch.nn.init.normal_(parameter)
    return Cohort(students, coordinator, Categorical(), student_names(OPTIONS), num_students=2)


def test_names_are_architecture_and_place() -> None:
    assert student_names(OPTIONS) == ("gcn-0", "gat-1", "gcn-2")


def test_forward_is_each_member_alone(cohort: Cohort, batch: GraphBatch) -> None:
    assert len(cohort) == len(cohort.members) == 3
    outputs = cohort(batch)
    for student, output in zip(cohort.members, outputs, strict=True):
        torch.testing.assert_close(output.logits, student.forward_batch(batch).logits)
    chosen = cohort(batch, [2, 0])
    torch.testing.assert_close(chosen[0].logits, outputs[2].logits)
    torch.testing.assert_close(chosen[1].logits, outputs[0].logits)


def test_each_member_draws_from_its_own_stream(cohort: Cohort, batch: GraphBatch) -> None:
    def streams() -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in (10, 11, 12)]

    everyone, one = cohort(batch, generators=streams()), cohort(batch, [1], streams())
    assert torch.equal(everyone[1].logits, one[0].logits)
    assert torch.equal(one[0].logits, cohort.members[1].forward_batch(batch, torch.Generator().manual_seed(11)).logits)


def test_ensemble_is_of_the_students_alone(cohort: Cohort, batch: GraphBatch) -> None:
    logits = torch.stack([output.logits for output in cohort(batch)])
    samples = torch.arange(10)
    weights = cohort.coordinator.ensemble_weights(logits[:2], Categorical().confidence(logits[:2]), samples)
    expected = (weights[0] * logits[:2]).sum(0)
    torch.testing.assert_close(cohort.ensemble_logits(logits, samples), expected)
    torch.testing.assert_close(cohort.ensemble_logits(logits[:2], samples), expected)


def test_parameters_are_those_of_members_and_coordinator(cohort: Cohort) -> None:
    parts = [*cohort.members, cohort.coordinator]
    assert sum(p.numel() for p in cohort.parameters()) == sum(p.numel() for part in parts for p in part.parameters())
