"""Where a training computes."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dgl_mutual.training.distributed.ranks import SINGLE_PROCESS, Ranks

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Placement:
    """Where the tensors of a training live, in which precision, and what divides them.

    Attributes:
        ranks: the processes that train one cohort together.
    """

    device: torch.device = _CPU
    dtype: torch.dtype = torch.float32
    ranks: Ranks = SINGLE_PROCESS


#: All of a training in this process, on the CPU.
ON_CPU = Placement()
