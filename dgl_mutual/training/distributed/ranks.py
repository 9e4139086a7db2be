"""Training of one cohort by several processes of torchrun, which divide the samples of a step, or the students, but not the loss.

Logits are gathered, so every process computes the loss of the whole step, with all its means, peers and normalisations, and propagates the
gradient through the forward passes that it has run itself.

Samples: each process runs all students on its share of the batch. The sum of the gradients over the processes is the gradient of a single
process with the whole batch. `DistributedDataParallel` would average gradients of a loss per share: a different loss if shares differ in
size, or if a term is not a plain mean over samples (a running loss, normalised weights, batch norm).

Students: each process runs some of them, on the whole batch, and has their gradients. The arithmetic is that of one process, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor, distributed, nn

from dgl_mutual.data.values.arrays import IntArray
from dgl_mutual.errors import TrainingError, UsageError
from dgl_mutual.nn.autograd import apply
from dgl_mutual.strategies.base.setting import Divided

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """The processes that train one cohort together. By default there is only this one, and nothing is divided.

    Attributes:
        rank: number of this process.
        size: number of processes.
        divides: ``samples`` or ``students``; None for a single process.
    """

    rank: int = 0
    size: int = 1
    divides: ClassVar[Divided | None] = None

    @property
    def stream(self) -> int:
        """Index of the random stream of this process: the rank if processes see different samples, otherwise 0."""
        return 0

    def check(self, divided: Divided, count: int, what: str, fix: str) -> None:
        """Refuse fewer samples or students than processes, if the processes divide these.

        Args:
            what: description of the `count` samples or students, for the message.

        Raises:
            UsageError: there are more processes.
        """
        if self.divides == divided and count < self.size:
            raise UsageError(
                f"{self.size} processes cannot divide {what} among them. Start torchrun with --nproc-per-node {count} or less, or {fix}."
            )

    def share(self, samples: IntArray) -> IntArray:
        """Return this process's share of a batch."""
        return samples

    def local(self, members: Sequence[int]) -> Sequence[int]:
        """Return the members that this process runs, of members that train together."""
        return members

    def gather(self, x: Tensor, dim: int = 0) -> Tensor:
        """Concatenate the shares of all processes; the backward pass returns the gradient of this process's share.

        Shares may differ in size along `dim`. The gradient is correct if all processes compute the same loss from the result.
        """
        return x

    def gather_members(self, logits: Tensor, members: Sequence[int]) -> Tensor:
        """Gather the logits of these members, given those that this process runs: (local, N, C) -> (members, N, C).

        Gradients are as in `gather`.
        """
        return logits

    def sum_gradients(self, students: Iterable[nn.Module], strategy: nn.Module) -> None:
        """Sum the gradients of the students over all processes. Gradients of the strategy are already complete."""

    def share_buffers(self, students: Iterable[nn.Module]) -> None:
        """Broadcast the buffers and the extra state of these students from the first process."""

    def broadcast_weights(self, students: Sequence[nn.Module], members: Sequence[int]) -> None:
        """Broadcast the weights of these members from the process that runs them."""

    def broadcast(self, value: T) -> T:
        """Broadcast a value from the first process.

        Raises:
            TrainingError: the first process has ended.
        """
        if self.size == 1:
            return value
        values: list[Any] = [value]
        try:
            distributed.broadcast_object_list(values, src=0)
        except RuntimeError as error:
            raise TrainingError(f"The first process has ended; its own message is above or below ({error}).") from None
        received: T = values[0]
        return received


class DividedSamples(Ranks):
    """Each process has a share of a step's samples, and all weights, which are equal in all processes after every step."""

    divides = "samples"

    @property
    def stream(self) -> int:
        return self.rank

    def share(self, samples: IntArray) -> IntArray:
        return np.array_split(samples, self.size)[self.rank]  # sizes differ by one at most

    def gather(self, x: Tensor, dim: int = 0) -> Tensor:
        share = x.movedim(dim, 0)
        counts = [int(count) for count in _all_gather(torch.tensor([len(share)], device=x.device), self)]
        return apply(_Gather, share, counts, self).movedim(0, dim)

    def sum_gradients(self, students: Iterable[nn.Module], strategy: nn.Module) -> None:
        of_strategy = [p for p in strategy.parameters() if p.requires_grad]
        parameters = [*(p for student in students for p in student.parameters() if p.requires_grad), *of_strategy]
        if not parameters:
            return
        for p in of_strategy:
            if p.grad is not None:
                p.grad.div_(self.size)
        # A custom student may use a parameter only on the samples of some processes.
        present = torch.tensor([p.grad is not None for p in parameters], dtype=parameters[0].dtype, device=parameters[0].device)
        together = torch.cat([*((torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters), present])
        distributed.all_reduce(together)
        *totals, present = torch.split(together, [*(p.numel() for p in parameters), len(parameters)])
        for p, total, processes in zip(parameters, totals, present, strict=True):
            if p.grad is not None:
                p.grad.copy_(total.view_as(p))
            elif processes > 0:
                p.grad = total.view_as(p).clone()

    def share_buffers(self, students: Iterable[nn.Module]) -> None:
        for student in students:
            weights = dict(student.named_parameters())
            buffers = {name: value for name, value in student.state_dict().items() if name not in weights}
            if not buffers:
                continue
            size = torch.tensor([sum(value.numel() for value in buffers.values())], device=next(iter(weights.values())).device)
            if len({int(total) for total in _all_gather(size, self)}) == 1:  # a state that grows is refused at the end of the epoch
                _broadcast_state(student, list(buffers), src=0)


class DividedStudents(Ranks):
    """Each process has all samples of a step, and runs some of the members. It gets the weights of the others at the end of a phase.

    Everything else is computed by every process with the same outcome: the strategy's own weights, and which members have stopped. If a
    phase has fewer members than there are processes, for example a teacher, every process runs all of them.
    """

    divides = "students"

    def local(self, members: Sequence[int]) -> Sequence[int]:
        return self._parts(members)[self.rank]

    def gather_members(self, logits: Tensor, members: Sequence[int]) -> Tensor:
        parts = self._parts(members)
        if parts[0] == parts[-1]:
            return logits
        by_class = logits.transpose(1, 2)  # the order of logits in memory
        return apply(_Gather, by_class, [len(part) for part in parts], self).transpose(1, 2)

    def broadcast_weights(self, students: Sequence[nn.Module], members: Sequence[int]) -> None:
        for rank, part in enumerate(self._parts(members)):
            for k in part:
                _broadcast_state(students[k], list(students[k].state_dict()), src=rank)

    def _parts(self, members: Sequence[int]) -> list[list[int]]:
        """Return the members that each process runs."""
        if len(members) < self.size:
            return [list(members)] * self.size
        return [part.tolist() for part in np.array_split(np.asarray(members), self.size)]


#: Earlier releases of torch lack the last two types.
_SENT_AS_INT64 = [getattr(torch, name) for name in ("int16", "uint16", "uint32") if hasattr(torch, name)]


@torch.no_grad()
def _broadcast_state(module: nn.Module, names: Sequence[str], src: int) -> None:
    """Broadcast these entries of a module's state, extra state included, from the process `src`."""
    state, device = module.state_dict(), next(module.parameters()).device
    received = {}
    for name in names:
        # NCCL only takes tensors on the GPU, and gloo not all types.
        sent = state[name].to(device, torch.int64 if state[name].dtype in _SENT_AS_INT64 else None).contiguous()
        distributed.broadcast(sent, src=src)
        received[name] = sent.to(state[name])
    module.load_state_dict(received, strict=False)


SINGLE_PROCESS = Ranks()


class _Gather(torch.autograd.Function):
    """Concatenate the shares (n_r, ...) of all ranks r, given all n_r -> (sum n_r, ...)."""

    @staticmethod
    def forward(ctx: Any, share: Tensor, counts: Sequence[int], ranks: Ranks) -> Tensor:
        ctx.start, ctx.length = sum(counts[: ranks.rank]), len(share)
        if len(share) == max(counts):
            padded = share.contiguous()
        else:  # gloo only gathers tensors of equal size
            padded = share.new_zeros(max(counts), *share.shape[1:])
            padded[: len(share)] = share
        return torch.cat([part[:count] for part, count in zip(_all_gather(padded, ranks), counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0].narrow(0, ctx.start, ctx.length), None, None


def _all_gather(x: Tensor, ranks: Ranks) -> list[Tensor]:
    parts = [torch.empty_like(x) for _ in range(ranks.size)]
    distributed.all_gather(parts, x)
    return parts
