from __future__ import annotations

import pytest
import torch

from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.student import Student, resolve_student
from dgl_mutual.reference.mapping import RULES, to_ours, to_reference
from tests.strategies.cases import ARCHITECTURES, SMALL

#: With every part of the skeleton that has weights.
EVERY_PART = {"residual": True, "readout": "jumping", "norm": "batch"}
GRAPH_PARTS = ("virtual_node", "input_readout")


def student(architecture: str, task: str) -> Student:
    options = resolve_student(
        StudentOptions(architecture=architecture, **SMALL, **EVERY_PART, **dict.fromkeys(GRAPH_PARTS, task == "graph")), task
    )
    return Student(options, task, 5, 3)


@pytest.mark.parametrize("task", ["node", "graph"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_weights_come_back_as_they_were(architecture: str, task: str) -> None:
    ours = student(architecture, task).state_dict()
    back = to_ours(architecture, to_reference(architecture, ours))
    assert back.keys() == ours.keys()
    assert all(torch.equal(back[name], ours[name]) for name in ours)


@pytest.mark.parametrize("task", ["node", "graph"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_reference_has_exactly_the_mapped_weights(architecture: str, task: str) -> None:
    pytest.importorskip("torch_geometric", reason="needs torch_geometric")
    from dgl_mutual.reference.students import ReferenceStudent

    ours = student(architecture, task)
    theirs = ReferenceStudent(ours.options, task, 5, 3).state_dict()
    mapped = to_reference(architecture, ours.state_dict())
    assert {name: weight.shape for name, weight in mapped.items()} == {name: weight.shape for name, weight in theirs.items()}


def test_weights_of_sage_go_to_the_node_itself_and_to_its_neighbours() -> None:
    own, neighbours = torch.arange(6.0).view(2, 3), torch.arange(6.0, 12.0).view(2, 3)
    mapped = to_reference("sage", {"convolutions.1.self_weight": own, "convolutions.1.neighbour_weight": neighbours})
    torch.testing.assert_close(mapped["convs.1.lin_r.weight"], own.t())
    torch.testing.assert_close(mapped["convs.1.lin_l.weight"], neighbours.t())


def test_every_architecture_has_rules() -> None:
    assert set(RULES) == set(ARCHITECTURES)


def test_a_weight_that_no_rule_knows_is_refused() -> None:
    with pytest.raises(KeyError, match="gate"):
        to_reference("gcn", {"convolutions.0.gate": torch.zeros(1)})
    with pytest.raises(KeyError, match="gate"):
        to_ours("gcn", {"convs.0.gate": torch.zeros(1)})
    with pytest.raises(KeyError, match="gate"):
        to_reference("gcn", {"residuals.0.gate": torch.zeros(1)})
