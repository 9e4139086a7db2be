"""How a cohort is trained, as options."""

from __future__ import annotations

from pydantic import Field

from dgl_mutual.data.dataset import TaskName
from dgl_mutual.options import Options


class TrainingOptions(Options):
    """Optimisation and stopping. `None` means the default of the task."""

    epochs: int = Field(200, ge=1)
    """Most epochs to train."""
    learning_rate: float = Field(0.01, gt=0)
    """Adam's step size."""
    weight_decay: float | None = Field(None, ge=0)
    """L2 penalty on the weights (node task: 5e-4, graph task: 0)."""
    batch_size: int | None = Field(None, ge=1)
    """Graphs in a batch (graph task: 32). The node task trains on the full graph."""
    patience: int = Field(100, ge=1)
    """Epochs without a better validation metric after which a student stops looking; training ends when all have."""
    eval_every: int = Field(1, ge=1)
    """Epochs between evaluations."""


def resolve_training(options: TrainingOptions, task: TaskName) -> TrainingOptions:
    """Fill in what depends on the task."""
    defaults = {"weight_decay": 5e-4 if task == "node" else 0.0, "batch_size": None if task == "node" else 32}
    return options.model_copy(update={key: value for key, value in defaults.items() if getattr(options, key) is None})
