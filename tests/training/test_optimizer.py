"""Adam without the wrappers of torch.compile computes what torch's Adam computes, and does not import the compiler."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from dgl_mutual.training.optimizer import Adam

CODE = """
import sys, torch
from dgl_mutual.training.optimizer import Adam
weight = torch.nn.Parameter(torch.ones(3))
optimizer = Adam([weight], lr=0.1)
optimizer.zero_grad(set_to_none=True)
weight.sum().backward()
optimizer.step()
optimizer.load_state_dict(optimizer.state_dict())
sys.exit("torch._dynamo" in sys.modules)
"""


def trained(kind: type[torch.optim.Optimizer], fused: bool, steps: int = 6, interrupted: bool = False) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(4, 3, generator=generator)) for _ in range(2)]
    groups: list[dict[str, Any]] = [{"params": weights[:1], "weight_decay": 0.1}, {"params": weights[1:], "weight_decay": 0.0}]
    optimizer = kind(groups, lr=0.05, fused=fused)
    for step in range(steps):
        optimizer.zero_grad(set_to_none=True)
        sum((weight**2 * torch.randn(4, 3, generator=generator)).sum() for weight in weights).backward()
        optimizer.step()
        if interrupted and step == steps // 2:
            kept = optimizer.state_dict()
            optimizer = kind(groups, lr=0.05, fused=fused)
            optimizer.load_state_dict(kept)
    return [weight.detach() for weight in weights]


@pytest.mark.parametrize("fused", [False, True])
def test_it_equals_torchs_adam_to_the_bit(fused: bool) -> None:
    for ours, theirs in zip(trained(Adam, fused), trained(torch.optim.Adam, fused), strict=True):
        assert torch.equal(ours, theirs)
    for ours, whole in zip(trained(Adam, fused, interrupted=True), trained(Adam, fused), strict=True):
        assert torch.equal(ours, whole)


def test_a_step_has_no_gradient_and_a_closure_has_one() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = Adam([weight], lr=0.1)

    def closure() -> torch.Tensor:
        loss = (weight**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) == 2 and weight.is_leaf and weight.requires_grad


def test_the_first_step_does_not_import_the_compiler() -> None:
    assert subprocess.run([sys.executable, "-c", CODE], check=False).returncode == 0
