"""Input features of students during training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.positions import with_positions
from dgl_mutual.data.scaling import (
    ScaleArray,
    column_scales,
    edge_column_scales,
    training_edge_rows,
    training_rows,
    with_scaled_columns,
    with_scaled_edge_columns,
)
from dgl_mutual.data.values.features import integer_columns
from dgl_mutual.data.values.split import Split
from dgl_mutual.nn.module import CohortMember, EdgeInput
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.student import make_student
from dgl_mutual.strategies.base.setting import Setting
from dgl_mutual.training.options import TrainingOptions


@dataclass(frozen=True)
class Inputs:
    """The dataset as students see it, with positional features and scaled columns.

    Attributes:
        scales, edge_scales: factors of the columns, (F,) and (F_e,); None if they are not scaled.
    """

    dataset: Dataset
    scales: ScaleArray | None
    edge_scales: ScaleArray | None
    _unscaled: Dataset
    _split: Split

    @classmethod
    def of(cls, dataset: Dataset, split: Split, training: TrainingOptions) -> Inputs:
        """Add positional features and scale columns, if the options ask for it. Scales are measured on the training part."""
        dataset = with_positions(dataset, training.positions)
        scales = column_scales(dataset, split) if training.scale_inputs else None
        edge_scales = edge_column_scales(dataset, split) if training.scale_inputs else None
        scaled = dataset if scales is None else with_scaled_columns(dataset, scales)
        return cls(with_scaled_edge_columns(scaled, edge_scales), scales, edge_scales, dataset, split)

    def student(self, member: StudentOptions, setting: Setting, name: str) -> CohortMember:
        """Create a member with resolved options for these inputs."""
        edges = EdgeInput.of(self.dataset.num_edge_features, self.dataset.feature_kinds)
        student = make_student(member, setting.task, self.dataset.num_features, setting.num_outputs, name, edges)
        if student.takes_codes:
            node, edge = self._scales_of_codes
            self._fold(student, [None if scales is None else np.reciprocal(scales) for scales in (node, edge)], torch.device("cpu"))
        return student

    @cached_property
    def _scales_of_codes(self) -> tuple[ScaleArray | None, ScaleArray | None]:
        """The scales of columns that may hold codes of categories in the training part, and 1 for all others."""
        dataset, one = self._unscaled, np.float32(1)
        if self.scales is None:
            return None, None
        of_nodes = np.where(integer_columns(training_rows(dataset, self._split), dataset.feature_kinds), self.scales, one)
        edge_rows = training_edge_rows(dataset, self._split)
        if self.edge_scales is None or edge_rows is None:
            return of_nodes, None
        return of_nodes, np.where(integer_columns(edge_rows, dataset.edge_feature_kinds), self.edge_scales, one)

    def fold_scaling(self, students: Iterable[CohortMember], device: torch.device) -> None:
        """Fold the scales into the first layers, so that students take unscaled inputs."""
        for student in students:
            self._fold(student, (self.scales, self.edge_scales), device)

    @staticmethod
    def _fold(student: CohortMember, scales: Sequence[ScaleArray | None], device: torch.device) -> None:
        for factors, fold in zip(scales, (student.fold_input_scaling, student.fold_edge_scaling), strict=True):
            if factors is not None:
                fold(torch.as_tensor(factors, device=device))
