"""Our side of a comparison: a training assembled as in the package's own loop. Does not need torch_geometric."""

from __future__ import annotations

import torch
from torch import Tensor

from dgl_mutual.cohort import Cohort
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.experiments.configuration.config import RunConfig
from dgl_mutual.experiments.trial import Trial, method_of
from dgl_mutual.reference.mapping import to_reference
from dgl_mutual.training.assembly import assemble
from dgl_mutual.training.distributed.placement import Placement
from dgl_mutual.training.feeds import Feed
from dgl_mutual.training.state import TrainingState


def assembled(trial: Trial, config: RunConfig, dataset: Dataset, dtype: torch.dtype = torch.float32) -> tuple[TrainingState, Feed]:
    """The state of a trial's training before its first step, and its batches."""
    state, feed, _ = assemble(method_of(config), dataset, trial.split, trial.trial_seed, Placement(dtype=dtype))
    return state, feed


def weights_of(cohort: Cohort, config: RunConfig) -> list[dict[str, Tensor]]:
    """The weights of each student in the reference's layout, then those of the coordinator, as `make_reference` takes them."""
    *students, coordinator = (
        {name: parameter.detach() for name, parameter in module.named_parameters()} for module in (*cohort.members, cohort.coordinator)
    )
    mapped = [to_reference(student.architecture_name, group) for student, group in zip(config.students, students, strict=True)]
    return [*mapped, coordinator]
