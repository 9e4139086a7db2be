from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dgl_mutual.distributions import Categorical
from dgl_mutual.errors import UsageError
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.student import resolve_student
from dgl_mutual.strategies.base.setting import Setting
from dgl_mutual.strategies.oad import OADOptions, OnlineAdversarial
from tests.strategies.cases import Bench


def test_each_side_learns_its_own_term_alone():
    bench = Bench.of("oad", "node", "single-label", 3)
    judges, students = bench.strategy.discriminators, bench.members
    terms = bench.strategy.loss_terms(bench.step(range(3)))
    terms["adversarial"].sum().backward(retain_graph=True)
    assert all(parameter.grad is None for parameter in judges.parameters())
    assert all(any(parameter.grad is not None and parameter.grad.any() for parameter in student.parameters()) for student in students)
    before = [parameter.grad.clone() for student in students for parameter in student.parameters() if parameter.grad is not None]
    terms["discriminator"].backward()
    assert all(parameter.grad.any() for judge in judges for parameter in judge.parameters())
    after = [parameter.grad for student in students for parameter in student.parameters() if parameter.grad is not None]
    assert all(torch.equal(first, second) for first, second in zip(before, after, strict=True))


def test_students_of_different_width_are_refused():
    members = tuple(resolve_student(StudentOptions(hidden=width), "node") for width in (8, 16))
    setting = Setting("node", members, num_students=2, num_outputs=3, num_samples=30, distribution=Categorical())
    with pytest.raises(UsageError, match="widths are 8, 16"):
        OnlineAdversarial(OADOptions(), setting)
    OnlineAdversarial(OADOptions(), replace(setting, members=members[:1] * 2))
