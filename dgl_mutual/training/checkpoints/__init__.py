"""Trained students as files: weights as safetensors, everything else as JSON beside them. Nothing in them is ever executed."""

from dgl_mutual.training.checkpoints.loading import Trust, load_student
from dgl_mutual.training.checkpoints.models import TrainedModel
from dgl_mutual.training.checkpoints.saving import remove_cohort, save_cohort, write_tensors

__all__ = ["TrainedModel", "Trust", "load_student", "remove_cohort", "save_cohort", "write_tensors"]
