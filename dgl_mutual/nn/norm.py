"""Batch norm as students have it."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from dgl_mutual.nn.options import BATCH_NORM_MOMENTUM


class BatchNorm(nn.BatchNorm1d):
    """`torch.nn.BatchNorm1d` that also takes a batch of one row, such as a graph of one node in a step of one graph.

    One row has no variance, and torch refuses it. It is normalised by the running statistics, as in evaluation, and does not change them.
    The same as `torch_geometric.nn.BatchNorm(allow_single_element=True)`.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and len(x) == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps)
        return super().forward(x)


def batch_norm(width: int) -> BatchNorm:
    """A batch norm with the momentum of students."""
    return BatchNorm(width, momentum=BATCH_NORM_MOMENTUM)
