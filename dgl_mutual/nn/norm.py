"""Normalisation of hidden layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dgl_mutual.nn.options import BATCH_NORM_MOMENTUM


class BatchNorm(nn.BatchNorm1d):
    """`torch.nn.BatchNorm1d` that also takes a batch of one row, such as a graph of one node in a step of one graph.

    One row has no variance, and torch refuses it. It is normalised by the running statistics, as in evaluation, and does not change them.
    The same as `torch_geometric.nn.BatchNorm(allow_single_element=True)`.
    """

    def forward(self, x: Tensor) -> Tensor:
        training = self.training and len(x) != 1
        momentum = self.momentum
        if training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if momentum is None:  # the mean over all batches, as torch.optim.swa_utils.update_bn computes it
                momentum = 1 / int(self.num_batches_tracked)
        # torch's own wrappers take as long as this function does on a batch of small graphs.
        return torch.batch_norm(
            x,
            self.weight,
            self.bias,
            self.running_mean,
            self.running_var,
            training,
            0.0 if momentum is None else momentum,
            self.eps,
            torch.backends.cudnn.enabled,
        )


def batch_norm(width: int) -> BatchNorm:
    """Make a batch norm with the momentum of students."""
    return BatchNorm(width, momentum=BATCH_NORM_MOMENTUM)


def make_norm(name: str | None, width: int) -> nn.Module:
    """Make a normalisation by name (see `StudentOptions.norm`): batch, layer, or none, the identity."""
    if name == "batch":
        return batch_norm(width)
    return nn.LayerNorm(width) if name == "layer" else nn.Identity()
