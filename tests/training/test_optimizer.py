"""Adam without the wrappers of torch.compile computes what torch's Adam computes, and does not import the compiler."""

from __future__ import annotations

import copy
import sys
from typing import Any

import pytest
import torch

from dgl_mutual.training.optimizer import Adam
from tests import forked


def trained(
    kind: type[torch.optim.Optimizer], fused: bool, steps: int = 6, interrupted: bool = False, changing: bool = False
) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(4, 3, generator=generator)) for _ in range(2)]
    groups: list[dict[str, Any]] = [{"params": weights[:1], "weight_decay": 0.1}, {"params": weights[1:], "weight_decay": 0.0}]
    optimizer = kind(groups, lr=0.05, fused=fused)
    for step in range(steps):
        optimizer.zero_grad(set_to_none=True)
        sum((weight**2 * torch.randn(4, 3, generator=generator)).sum() for weight in weights).backward()
        if changing and step == 2:
            weights[1].grad = None
        if changing and step == 3:
            optimizer.param_groups[0].update(lr=0.2, weight_decay=0.3)
        if changing and step == 4:
            weights.append(torch.nn.Parameter(torch.ones(4, 3)))
            optimizer.add_param_group({"params": weights[2:]})
        optimizer.step()
        if interrupted and step == steps // 2:
            kept = optimizer.state_dict()
            optimizer = kind(groups, lr=0.05, fused=fused)
            optimizer.load_state_dict(kept)
    return [weight.detach() for weight in weights]


@pytest.mark.parametrize("fused", [False, True])
def test_steps_equal_those_of_torchs_adam_to_the_bit(fused: bool) -> None:
    for ours, theirs in zip(trained(Adam, fused), trained(torch.optim.Adam, fused), strict=True):
        assert torch.equal(ours, theirs)
    for ours, whole in zip(trained(Adam, fused, interrupted=True), trained(Adam, fused), strict=True):
        assert torch.equal(ours, whole)


@pytest.mark.parametrize("fused", [False, True])
def test_gradients_options_and_groups_that_change_between_steps(fused: bool) -> None:
    for ours, theirs in zip(trained(Adam, fused, 9, changing=True), trained(torch.optim.Adam, fused, 9, changing=True), strict=True):
        assert torch.equal(ours, theirs)


def test_state_that_is_loaded_is_used() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = Adam([weight], lr=0.1, fused=True)

    def step() -> None:
        weight.grad = torch.ones(3)
        optimizer.step()

    step()
    kept, values = copy.deepcopy(optimizer.state_dict()), weight.detach().clone()
    step()
    expected = weight.detach().clone()
    step()
    optimizer.load_state_dict(kept)
    with torch.no_grad():
        weight.copy_(values)
    step()
    assert torch.equal(weight, expected) and optimizer.state_dict()["state"][0]["step"] == 2


def test_saved_state_shares_no_memory() -> None:
    weights = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    optimizer = Adam(weights, lr=0.1, fused=True)
    for step in range(1, 9):
        for weight in weights:
            weight.grad = torch.ones(3)
        optimizer.step()
        if step % 3 == 0:
            counts = [moments["step"] for moments in optimizer.state_dict()["state"].values()]
            assert len({count.untyped_storage().data_ptr() for count in counts}) == 2 and counts == [step, step]


@pytest.mark.parametrize("how", ["moments", "state", "all"])
def test_state_that_others_replace_is_used(how: str) -> None:
    results = []
    for kind in (Adam, torch.optim.Adam):
        weights = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
        optimizer = kind(weights, lr=0.1, fused=True)
        for step in range(1, 7):
            for weight in weights:
                weight.grad = torch.full((3,), float(step))
            if step == 4 and how == "all":
                optimizer.state.clear()
            elif step == 4 and how == "state":
                optimizer.state[weights[0]] = {}
            elif step == 4:
                optimizer.state[weights[0]]["exp_avg"] = torch.zeros(3)
            optimizer.step()
        results.append((*weights, *(state["step"] for state in optimizer.state_dict()["state"].values())))
    assert all(map(torch.equal, *results))


def test_parameters_of_several_types() -> None:
    results = []
    for kind in (Adam, torch.optim.Adam):
        weights = [torch.nn.Parameter(torch.ones(3, dtype=dtype)) for dtype in (torch.float32, torch.float64)]
        optimizer = kind(weights, lr=0.1, fused=True)
        for step in range(1, 5):
            for weight in weights:
                weight.grad = torch.full_like(weight, float(step))
            optimizer.step()
        results.append(weights)
    assert all(map(torch.equal, *results))


def test_sparse_gradients_are_refused_in_a_later_step_too() -> None:
    weight = torch.nn.Parameter(torch.ones(3, 2))
    optimizer = Adam([weight], lr=0.1, fused=True)
    for _ in range(3):
        weight.grad = torch.ones(3, 2)
        optimizer.step()
    weight.grad = torch.ones(3, 2).to_sparse()
    with pytest.raises(RuntimeError, match="does not support sparse gradients"):
        optimizer.step()


@pytest.mark.parametrize("earlier", [0, 3])
def test_a_step_has_no_gradient_and_a_closure_has_one(earlier: int) -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = Adam([weight], lr=0.1, fused=True)
    for _ in range(earlier):
        weight.grad = torch.zeros(2)
        optimizer.step()

    def closure() -> torch.Tensor:
        loss = (weight**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) == 2 and weight.is_leaf and weight.requires_grad


def train_without_the_compiler() -> None:
    sys.modules["torch._dynamo"] = None  # type: ignore[assignment]  # Python's sign that it cannot be imported
    trained(Adam, fused=False, steps=1)


def test_the_first_step_does_not_import_the_compiler() -> None:
    forked.returned(train_without_the_compiler)
