"""Predictions of trained students for data of any size: memory is bounded by the batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dgl_mutual.cohort import Cohort
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.errors import UsageError, unknown
from dgl_mutual.nn.batch import Collator, GraphBatch
from dgl_mutual.training.feeds import EVALUATION_NODES

if TYPE_CHECKING:
    import dgl


@torch.no_grad()
def predict(cohort: Cohort, data: Dataset | dgl.DGLGraph, member: str) -> npt.NDArray[Any]:
    """Probabilities (samples, C) of the student `member`, or of the ``ensemble``.

    Raises:
        UsageError: no such member, features of another width than the students were trained on, or other nodes for an ensemble whose
            coordinator knows only those that it was trained with.
    """
    if member not in (*cohort.names, "ensemble"):
        raise unknown("member", member, (*cohort.names, "ensemble"))
    cohort.eval()
    parts = []
    for batch, samples in _batches(cohort, data):
        _check_width(cohort, batch)
        if member == "ensemble":
            _check_samples(cohort, samples)
            logits = torch.stack([output.logits for output in cohort(batch, range(cohort.num_students))])
            mixed = cohort.ensemble_logits(logits, samples)
        else:
            mixed = cohort(batch, [cohort.names.index(member)])[0].logits
        parts.append(cohort.distribution.probabilities(mixed))
    result: npt.NDArray[Any] = torch.cat(parts).cpu().numpy()
    return result


def _batches(cohort: Cohort, data: Dataset | dgl.DGLGraph) -> Iterator[tuple[GraphBatch, Tensor]]:
    parameter = next(cohort.parameters())
    by_node = cohort.students[0].task == "node"
    if not isinstance(data, Dataset):
        batch = GraphBatch.from_dgl(data, parameter.device, parameter.dtype)
        yield batch, torch.arange(batch.num_nodes if by_node else batch.num_graphs, device=parameter.device)
        return
    collate = Collator(data, parameter.device, parameter.dtype)
    if by_node:
        yield collate.all(), torch.arange(data.num_nodes, device=parameter.device)
        return
    groups = np.cumsum(np.diff(data.node_offsets)) // EVALUATION_NODES
    for group in np.unique(groups):
        chosen = np.flatnonzero(groups == group)
        yield collate(chosen), torch.as_tensor(chosen, device=parameter.device)


def _check_width(cohort: Cohort, batch: GraphBatch) -> None:
    expected, found = cohort.students[0].in_features, batch.features.shape[1]
    if expected != found:
        raise UsageError(
            f"The students were trained on {expected} features a node and the data has {found}. "
            "Encode the new data as the training data was encoded, or train anew on it."
        )


def _check_samples(cohort: Cohort, samples: Tensor) -> None:
    expected = cohort.coordinator.recipe.num_samples
    if not cohort.coordinator.inductive and len(samples) != expected:
        raise UsageError(
            f"The ensemble's coordinator (weighting {cohort.coordinator.recipe.weighting!r}) has weights for the {expected} nodes that it "
            f"was trained with and the data has {len(samples)}. Predict with a single student, or train with an inductive weighting."
        )
