from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from dgl_mutual.nn.norm import batch_norm
from dgl_mutual.nn.options import BATCH_NORM_MOMENTUM


def pair(theirs: nn.Module) -> tuple[nn.Module, nn.Module]:
    """One of ours and one of somebody else's in the same state."""
    ours = batch_norm(3)
    ours(torch.randn(9, 3))
    with torch.no_grad():
        ours.weight.copy_(torch.rand(3))
        ours.bias.copy_(torch.rand(3))
    (theirs.module if hasattr(theirs, "module") else theirs).load_state_dict(ours.state_dict())
    return ours, theirs


def test_several_rows_are_normalised_as_by_torch() -> None:
    ours, theirs = pair(nn.BatchNorm1d(3, momentum=BATCH_NORM_MOMENTUM))
    x = torch.randn(5, 3)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=0)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=0, atol=0)
    ours.eval(), theirs.eval()
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=0)


@pytest.mark.parametrize("training", [True, False])
def test_one_row_is_normalised_as_by_torch_geometric(training: bool) -> None:
    pyg = pytest.importorskip("torch_geometric.nn", reason="the reference is optional")
    ours, theirs = pair(pyg.BatchNorm(3, momentum=BATCH_NORM_MOMENTUM, allow_single_element=True))
    ours.train(training), theirs.train(training)
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    x = torch.randn(1, 3, requires_grad=True)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=0)
    assert ours(x).sum().backward() is None and x.grad is not None and x.grad.abs().min() > 0
    torch.testing.assert_close(ours.state_dict(), before, rtol=0, atol=0)


def test_without_momentum_statistics_are_means_over_all_batches() -> None:
    """`torch.optim.swa_utils.update_bn` removes the momentum, so that running statistics are those of all batches alike."""
    ours, theirs = batch_norm(3), nn.BatchNorm1d(3)
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn((5, 3), generator=generator) + index for index in range(4)]
    for norm in (ours, theirs):
        update_bn(batches, norm)
    assert ours.momentum == BATCH_NORM_MOMENTUM
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, msg=name)
    assert ours.running_mean is not None and ours.running_mean.mean() > 1
