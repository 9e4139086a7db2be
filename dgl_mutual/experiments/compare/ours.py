"""Our side of a comparison: the package's own training loop, watched from outside. Nothing here needs torch_geometric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.experiments.compare.checks import shortened
from dgl_mutual.experiments.configuration.config import RunConfig
from dgl_mutual.experiments.trial import Trial, fit_resolved
from dgl_mutual.reference.mapping import to_reference
from dgl_mutual.training.callbacks import Callback
from dgl_mutual.training.placement import Placement
from dgl_mutual.training.state import TrainingState


class Watch(Callback):
    """Sees what a training run optimises.

    Attributes:
        parameters: what the optimizer of the first phase holds, in its order.
        start: their values before its first step.
    """

    def __init__(self) -> None:
        self.parameters: list[Tensor] = []
        self.start: list[Tensor] = []

    def on_phase_begin(self, state: TrainingState) -> None:
        if not self.parameters:
            self.parameters = [parameter for group in state.current.optimizer.param_groups for parameter in group["params"]]
            self.start = [parameter.detach().clone() for parameter in self.parameters]


@dataclass(frozen=True, eq=False)
class StartingPoint:
    """The weights that a trial starts from.

    Attributes:
        owners: for each parameter in the optimizer's order, the number of its student (K for the coordinator, K students) and its name.
        values: in that order.
    """

    architectures: tuple[str, ...]
    owners: tuple[tuple[int, str], ...]
    values: Sequence[Tensor]

    @property
    def weights(self) -> list[dict[str, Tensor]]:
        """The values as `make_reference` takes them."""
        return self.by_owner(self.values)

    def by_owner(self, values: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        """Tensors in the optimizer's order as one named group a student, in the reference's layout, and the coordinator's."""
        groups: list[dict[str, Tensor]] = [{} for _ in range(len(self.architectures) + 1)]
        for (owner, name), value in zip(self.owners, values, strict=True):
            groups[owner][name] = value.detach()
        students = [to_reference(architecture, group) for architecture, group in zip(self.architectures, groups, strict=False)]
        return [*students, groups[-1]]


def starting_point(trial: Trial, config: RunConfig, dataset: Dataset, dtype: torch.dtype = torch.float32) -> StartingPoint:
    """Where the training of a trial starts from, found by running one epoch of it."""
    watch = Watch()
    cohort = fit_resolved(trial, shortened(config, 1), dataset, callbacks=[watch], placement=Placement(dtype=dtype)).cohort
    modules = [*cohort.members, cohort.coordinator]
    owner_of = {id(parameter): (k, name) for k, module in enumerate(modules) for name, parameter in module.named_parameters()}
    owners = tuple(owner_of[id(parameter)] for parameter in watch.parameters)
    return StartingPoint(tuple(student.architecture_name for student in config.students), owners, watch.start)
