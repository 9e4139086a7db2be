"""Batch norm over the samples of all processes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn

from dgl_mutual.errors import UsageError
from dgl_mutual.nn.autograd import apply
from dgl_mutual.nn.norm import BatchNorm
from dgl_mutual.training.distributed.ranks import Ranks


def share_batch_norm(module: nn.Module, ranks: Ranks, name: str) -> None:
    """Make every batch norm in a module compute its statistics over the shares of all processes.

    Args:
        name: name of the student in messages.

    Raises:
        UsageError: the module has a batch norm of another kind, or one without running statistics.
    """
    if ranks.divides != "samples":
        return
    for path, norm in module.named_modules():
        if not isinstance(norm, nn.modules.batchnorm._BatchNorm):
            continue
        if type(norm) not in (nn.BatchNorm1d, BatchNorm) or norm.running_mean is None:
            raise UsageError(
                f"Processes that divide samples cannot share the statistics of {path!r} of the student {name!r} ({norm}): another class, "
                "or one derived from torch.nn.BatchNorm1d, may compute otherwise. Use torch.nn.BatchNorm1d itself, with running "
                "statistics, or choose --divide students."
            )
        # Changing the class keeps its parameters, hooks, and places in the module.
        vars(norm)["kind"], norm.__class__ = type(norm), SyncBatchNorm


def plain_batch_norm(module: nn.Module) -> None:
    """Make every batch norm in a module use statistics of this process only: the inverse of `share_batch_norm`."""
    for norm in module.modules():
        if isinstance(norm, SyncBatchNorm):
            norm.__class__ = vars(norm).pop("kind")


class SyncBatchNorm(nn.BatchNorm1d):
    """Batch norm over the rows of all processes. torch's `SyncBatchNorm` is for CUDA only.

    NOTE: with sampled neighbours, a neighbour drawn by several processes counts several times, also in the gradient; with one process it
    counts once. Node students have no batch norm by default.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        self._check_input_dim(x)
        if x.dim() == 3:  # (rows, features, places): each place is a row
            return self.forward(x.transpose(1, 2).flatten(0, 1)).view(len(x), x.shape[2], x.shape[1]).transpose(1, 2)
        total = apply(_AllReduceSum, torch.cat([x.sum(0), x.new_full((1,), len(x))]))
        count = total[-1].detach()
        mean = total[:-1] / count
        variance = apply(_AllReduceSum, (x - mean).square().sum(0)) / count
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        with torch.no_grad():
            has_variance = count > 1  # a single row has none, see `dgl_mutual.nn.norm.BatchNorm`
            self.num_batches_tracked += has_variance
            # Without a momentum: the mean over all batches, as in torch.
            fraction = 1 / self.num_batches_tracked.clamp(min=1).to(mean.dtype) if self.momentum is None else self.momentum
            self.running_mean.lerp_(torch.where(has_variance, mean, self.running_mean), fraction)
            unbiased = variance * (count / (count - 1).clamp(min=1))
            self.running_var.lerp_(torch.where(has_variance, unbiased, self.running_var), fraction)
        mean = torch.where(has_variance, mean, self.running_mean)
        variance = torch.where(has_variance, variance, self.running_var)
        normalised: Tensor = (x - mean) * torch.rsqrt(variance + self.eps)
        return normalised * self.weight + self.bias if self.affine else normalised


class _AllReduceSum(torch.autograd.Function):
    """Sum over all ranks; the backward pass sums the gradients over all ranks.

    NOTE: `torch.distributed.nn.functional.all_reduce` computes the same, but torch 2.13 deprecates it in favour of a function of a private
    module.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        distributed.all_reduce(total)
        return total
