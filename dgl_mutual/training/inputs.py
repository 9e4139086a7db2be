"""Input features of students during training."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.positions import with_positions
from dgl_mutual.data.scaling import ScaleArray, column_scales, edge_column_scales, with_scaled_columns, with_scaled_edge_columns
from dgl_mutual.data.split import Split
from dgl_mutual.nn.module import CohortMember, EdgeInput
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.student import make_student
from dgl_mutual.strategies.setting import Setting
from dgl_mutual.training.options import TrainingOptions


@dataclass(frozen=True)
class Inputs:
    """What students see: the dataset with positional features and scaled columns.

    Attributes:
        scales, edge_scales: what columns were multiplied by, (F,) and (F_e,); None if they are as they were.
    """

    dataset: Dataset
    scales: ScaleArray | None
    edge_scales: ScaleArray | None

    @classmethod
    def of(cls, dataset: Dataset, split: Split, training: TrainingOptions) -> Inputs:
        """Positions and scales as the options ask for; scales are measured on the training part."""
        dataset = with_positions(dataset, training.positions)
        scales = column_scales(dataset, split) if training.scale_inputs else None
        edge_scales = edge_column_scales(dataset, split) if training.scale_inputs else None
        scaled = dataset if scales is None else with_scaled_columns(dataset, scales)
        return cls(with_scaled_edge_columns(scaled, edge_scales), scales, edge_scales)

    def student(self, member: StudentOptions, setting: Setting, name: str) -> CohortMember:
        """A member with resolved options that fits these inputs."""
        edges = EdgeInput.of(self.dataset.num_edge_features, self.dataset.feature_kinds)
        return make_student(member, setting.task, self.dataset.num_features, setting.num_outputs, name, edges)

    def fold_scaling(self, students: Iterable[CohortMember], device: torch.device) -> None:
        """Put the scales into the first layers, so that students take inputs as they are."""
        if self.scales is None:
            return
        for student in students:
            student.fold_input_scaling(torch.as_tensor(self.scales, device=device))
            if self.edge_scales is not None:
                student.fold_edge_scaling(torch.as_tensor(self.edge_scales, device=device))
