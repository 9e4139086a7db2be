"""One cohort, trained by several processes that torchrun has started: they divide the samples of a step, or the students. Its loss is not
divided.

Logits are gathered, so every process has the loss of the whole step, whatever means, peers and normalisations it is made of, and
propagates its gradient through what it has run itself.

Samples: each process runs all students on its share of the batch. The sum of the gradients over the processes is the gradient of one
process that had the whole batch. `DistributedDataParallel` would average gradients of a loss of each share alone: another loss where shares
differ in size, or where a term is not a plain mean over samples (a running loss, normalised weights, batch norm).

Students: each process runs some of them, on the whole batch, and has their gradients; it is the arithmetic of one process, bit for bit.
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
from dgl_mutual.strategies.setting import Divided

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """The processes that train one cohort together; by default this one alone, which divides nothing.

    Attributes:
        rank: the number of this one.
        size: how many there are.
        divides: what they divide.
    """

    rank: int = 0
    size: int = 1
    divides: ClassVar[Divided | None] = None

    @property
    def stream(self) -> int:
        """Index of the random stream that this process draws from: another one where it sees other samples."""
        return 0

    def check(self, divided: Divided, count: int, what: str, fix: str) -> None:
        """Refuse to divide so few samples or students, if they are what the processes divide.

        Args:
            what: `count` samples or students, for the message.

        Raises:
            UsageError: there are more processes.
        """
        if self.divides == divided and count < self.size:
            raise UsageError(
                f"{self.size} processes cannot divide {what} among them. Start torchrun with --nproc-per-node {count} or less, or {fix}."
            )

    def share(self, samples: IntArray) -> IntArray:
        """The part of a batch that falls to this process."""
        return samples

    def local(self, members: Sequence[int]) -> Sequence[int]:
        """Those that this process runs, of members that train side by side."""
        return members

    def gather(self, x: Tensor, dim: int = 0) -> Tensor:
        """The samples' shares of all processes, one after another; the gradient of this process's share comes back to it.

        Shares may differ in size along `dim`. The gradient is right if all processes go on to compute the same loss.
        """
        return x

    def gather_members(self, logits: Tensor, members: Sequence[int]) -> Tensor:
        """The logits of all of these members, given those of this process's own members: (own, N, C) -> (members, N, C).

        Gradients are as those of `gather`.
        """
        return logits

    def sum_gradients(self, students: Iterable[nn.Module], strategy: nn.Module) -> None:
        """Sum the gradients of the students over all processes; those of the strategy are complete already."""

    def share_buffers(self, students: Iterable[nn.Module]) -> None:
        """Broadcast the buffers and the extra state of these students from the first process."""

    def broadcast_weights(self, students: Sequence[nn.Module], members: Sequence[int]) -> None:
        """Broadcast the weights of these members from the process that runs them."""

    def broadcast(self, value: T) -> T:
        """Broadcast a value from the first process.

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


class DividedSamples(Ranks):
    """Each process has a share of a step's samples, and all weights; they are the same in all processes after every step."""

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
        own = [p for p in strategy.parameters() if p.requires_grad]
        parameters = [*(p for student in students for p in student.parameters() if p.requires_grad), *own]
        if not parameters:
            return
        for p in own:
            if p.grad is not None:
                p.grad.div_(self.size)
        # A custom student may use a parameter on the samples of some processes alone.
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
            own = {name: value for name, value in student.state_dict().items() if name not in weights}
            if not own:
                continue
            size = torch.tensor([sum(value.numel() for value in own.values())], device=next(iter(weights.values())).device)
            if len({int(one) for one in _all_gather(size, self)}) == 1:  # a state that grows is refused at the end of the epoch
                _broadcast_state(student, list(own), src=0)


class DividedStudents(Ranks):
    """Each process has all samples of a step, and runs some of the members; of the others it has the weights of the end of a phase.

    Every process computes all else by itself, with the same outcome: the strategy's own weights, and which members have stopped. So it
    also runs the members of a phase that has fewer of them than there are processes, for example a teacher.
    """

    divides = "students"

    def local(self, members: Sequence[int]) -> Sequence[int]:
        return self._parts(members)[self.rank]

    def gather_members(self, logits: Tensor, members: Sequence[int]) -> Tensor:
        parts = self._parts(members)
        if parts[0] == parts[-1]:
            return logits
        by_class = logits.transpose(1, 2)  # as logits lie in memory
        return apply(_Gather, by_class, [len(part) for part in parts], self).transpose(1, 2)

    def broadcast_weights(self, students: Sequence[nn.Module], members: Sequence[int]) -> None:
        for rank, part in enumerate(self._parts(members)):
            for k in part:
                _broadcast_state(students[k], list(students[k].state_dict()), src=rank)

    def _parts(self, members: Sequence[int]) -> list[list[int]]:
        """What each process runs of these members."""
        if len(members) < self.size:
            return [list(members)] * self.size
        return [part.tolist() for part in np.array_split(np.asarray(members), self.size)]


#: Earlier releases of torch lack the latter two.
_SENT_AS_INT64 = [getattr(torch, name) for name in ("int16", "uint16", "uint32") if hasattr(torch, name)]


@torch.no_grad()
def _broadcast_state(module: nn.Module, names: Sequence[str], src: int) -> None:
    """Give these entries of a module's state the values that the process `src` has, also what `get_extra_state` gives."""
    state, place = module.state_dict(), next(module.parameters()).device
    found = {}
    for name in names:
        # NCCL takes tensors on the GPU alone, and gloo not all types.
        sent = state[name].to(place, torch.int64 if state[name].dtype in _SENT_AS_INT64 else None).contiguous()
        distributed.broadcast(sent, src=src)
        found[name] = sent.to(state[name])
    module.load_state_dict(found, strict=False)


SINGLE_PROCESS = Ranks()


class _Gather(torch.autograd.Function):
    """Shares (n_r, ...) of all ranks r, given all n_r -> (sum n_r, ...)."""

    @staticmethod
    def forward(ctx: Any, share: Tensor, counts: Sequence[int], ranks: Ranks) -> Tensor:
        ctx.start, ctx.length = sum(counts[: ranks.rank]), len(share)
        if len(share) == max(counts):
            padded = share.contiguous()
        else:  # gloo gathers tensors of one size only
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
