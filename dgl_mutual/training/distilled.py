"""Result of a distillation."""

from __future__ import annotations

from dataclasses import dataclass

from dgl_mutual.nn.mlp import MLP
from dgl_mutual.training.options import DistillOptions


@dataclass(frozen=True, eq=False)
class DistilledMLP:
    """A trained MLP, and the options that it was trained by."""

    module: MLP
    options: DistillOptions
