"""One cohort, trained by several processes that torchrun has started: the batch of a step is divided among them, its loss is not.

Each process runs the students on its share, and what they say is gathered, so every process has the loss of the whole batch, whatever
means, peers and normalisations it is made of, and sends it back through its own share. The sum of these gradients over the processes is the
gradient of one process that had the whole batch. `DistributedDataParallel` would average gradients of a loss of each share alone: another
loss where shares differ in size, or where a term is no plain mean over samples (a running loss, normalised weights, batch norm).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, distributed, nn

from dgl_mutual.data.dataset import IntArray
from dgl_mutual.errors import TrainingError, UsageError
from dgl_mutual.nn.autograd import apply

#: After this long without a word from the others a process gives up. It outlasts what one of them does alone: writing, mostly.
PATIENCE = timedelta(minutes=10)

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """The processes that train one cohort together. All weights are the same in all of them after every step.

    Attributes:
        rank: the number of this one.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def path(self) -> tuple[str | int, ...]:
        """What names random streams that must differ from process to process; those of the first are those of a process alone."""
        return ("rank", self.rank) if self.rank else ()

    def share(self, samples: IntArray) -> IntArray:
        """The part of a batch that falls to this process; sizes differ by one at most."""
        return np.array_split(samples, self.size)[self.rank]

    def check(self, smallest_batch: int, kind: str) -> None:
        """Refuse to divide batches of so few graphs or nodes.

        Raises:
            UsageError: there are more processes.
        """
        if smallest_batch < self.size:
            raise UsageError(
                f"{self.size} processes cannot divide a batch of {smallest_batch} {kind} among them. "
                f"Start torchrun with --nproc-per-node {smallest_batch} or less, or choose a larger --batch-size."
            )

    def gather(self, x: Tensor, dim: int = 0) -> Tensor:
        """The shares of all processes, one after another; the gradient of this process's share comes back to it.

        Shares may differ in size along `dim`. The gradient is right if all processes go on to compute the same loss.
        """
        if self.size == 1:
            return x
        gathered = apply(_Gather, x.movedim(dim, 0), self)
        return gathered.movedim(0, dim)

    def sum_gradients(self, students: Iterable[nn.Module], strategy: nn.Module) -> None:
        """Make the gradients of the shares into that of the batch. What the strategy learns itself has that of the batch already."""
        if self.size == 1:
            return
        shared = [p.grad for student in students for p in student.parameters() if p.grad is not None]
        own = [p.grad for p in strategy.parameters() if p.grad is not None]
        for gradient in own:
            gradient.div_(self.size)
        gradients = [*shared, *own]
        together = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(together)
        for gradient, total in zip(gradients, torch.split(together, [gradient.numel() for gradient in gradients]), strict=True):
            gradient.copy_(total.view_as(gradient))

    def agree(self, value: T) -> T:
        """What the first process says.

        Raises:
            TrainingError: it is gone.
        """
        if self.size == 1:
            return value
        said: list[Any] = [value]
        try:
            distributed.broadcast_object_list(said, src=0)
        except RuntimeError as error:
            raise TrainingError(f"The first process has ended, and says why above or below ({error}).") from None
        agreed: T = said[0]
        return agreed


ALONE = Ranks()


def launched() -> bool:
    """Whether torchrun has started this process with others."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ["WORLD_SIZE"]) > 1


def leads() -> bool:
    """Whether this process is the one that writes and prints."""
    return not launched() or os.environ["RANK"] == "0"


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """Have the company of the other processes for the length of a block; `ALONE` where torchrun has started no others.

    Args:
        device: what is trained on: cpu means gloo, cuda nccl.
    """
    if not launched():
        yield ALONE
        return
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo", timeout=PATIENCE)
    try:
        yield Ranks(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


def share_batch_norm(module: nn.Module, ranks: Ranks) -> None:
    """Have every batch norm in a module take its statistics over the shares of all processes."""
    if ranks.size == 1:
        return
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm1d):
            setattr(module, name, SharedBatchNorm.like(child, ranks))
        else:
            share_batch_norm(child, ranks)


class SharedBatchNorm(nn.BatchNorm1d):
    """Batch norm over the rows of all processes. torch's `SyncBatchNorm` is for CUDA alone.

    NOTE: where neighbours are sampled, a neighbour that several processes have drawn counts several times, and so it does in the gradient;
    one process would count it once. Node students have no batch norm unless they are told to.
    """

    ranks: Ranks

    @classmethod
    def like(cls, plain: nn.BatchNorm1d, ranks: Ranks) -> SharedBatchNorm:
        """One with the same parameters and statistics."""
        assert plain.momentum is not None
        shared = cls(plain.num_features, plain.eps, plain.momentum, device=plain.weight.device, dtype=plain.weight.dtype)
        shared.load_state_dict(plain.state_dict())
        shared.ranks = ranks
        return shared

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        total = apply(_Total, torch.cat([x.sum(0), x.new_full((1,), len(x))]))
        count = total[-1].detach()
        mean = total[:-1] / count
        variance = apply(_Total, (x - mean).square().sum(0)) / count
        with torch.no_grad():
            assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
            assert self.momentum is not None
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
            self.num_batches_tracked += 1
        normalised: Tensor = (x - mean) * torch.rsqrt(variance + self.eps)
        return normalised * self.weight + self.bias


class _Gather(torch.autograd.Function):
    """Shares (n_r, ...) of all ranks r -> (sum n_r, ...)."""

    @staticmethod
    def forward(ctx: Any, share: Tensor, ranks: Ranks) -> Tensor:
        sizes = _all(torch.tensor([len(share)], device=share.device), ranks)
        counts = [int(size) for size in sizes]
        ctx.start, ctx.length = sum(counts[: ranks.rank]), len(share)
        # gloo gathers tensors of one size only.
        padded = share.new_zeros(max(counts), *share.shape[1:])
        padded[: len(share)] = share
        return torch.cat([part[:count] for part, count in zip(_all(padded, ranks), counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0].narrow(0, ctx.start, ctx.length), None


class _Total(torch.autograd.Function):
    """The sum over all ranks, and of the gradients that all have of it."""

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


def _all(x: Tensor, ranks: Ranks) -> list[Tensor]:
    parts = [torch.empty_like(x) for _ in range(ranks.size)]
    distributed.all_gather(parts, x)
    return parts
