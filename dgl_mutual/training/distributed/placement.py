"""Device, precision and processes of a training."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dgl_mutual.training.distributed.ranks import SINGLE_PROCESS, Ranks

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Placement:
    """Device and precision of the tensors of a training, and the processes that divide them.

    Attributes:
        ranks: the processes that train one cohort together.
    """

    device: torch.device = _CPU
    dtype: torch.dtype = torch.float32
    ranks: Ranks = SINGLE_PROCESS


#: One process, on the CPU.
ON_CPU = Placement()
