"""Saved models: their descriptions, and the models created from these."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from torch import Tensor, nn

from dgl_mutual.cohort import MEMBER_NAME, Cohort
from dgl_mutual.coordinator import CoordinatorConfig
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.positions import MAX_POSITIONS
from dgl_mutual.data.schema import align_to
from dgl_mutual.data.values.arrays import FeatureKind, as_kinds
from dgl_mutual.data.values.target import Target, TaskName
from dgl_mutual.dgl_compat import dgl
from dgl_mutual.errors import UsageError
from dgl_mutual.nn.module import EdgeInput, StudentModule
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.store.members import ENSEMBLE
from dgl_mutual.training.checkpoints.origins import Origin
from dgl_mutual.training.evaluation.inference import NEEDS_POSITIONS, Predictor, check_samples, graph_or_dataset
from dgl_mutual.utils.torch_settings import thread_defaults

FORMAT = 1
#: Maximum size of a description in bytes: more than a million feature columns take.
MAX_DESCRIPTION = 1 << 26
#: An unknown entry, such as one of a later version, may change the meaning of the weights. This includes entries of a target.
_CLOSED = ConfigDict(extra="forbid")


class MLPShape(BaseModel):
    """The shape of an MLP."""

    model_config = _CLOSED

    depth: int = Field(ge=2, le=32)
    hidden: int = Field(ge=1)


class Preprocessing(BaseModel):
    """The preprocessing of a dataset's features before the model sees them."""

    model_config = _CLOSED

    positions: int = Field(0, ge=0, le=MAX_POSITIONS)
    """Steps of the random walk whose return probabilities are added as columns."""


class Description(BaseModel):
    """The content of the JSON file beside the weights. One of `student`, `mlp` and `coordinator` says what the weights are."""

    model_config = _CLOSED

    format: int = FORMAT
    task: TaskName
    dataset: str
    """Name of the training dataset."""
    target: Target
    """The predicted classes or labels."""
    feature_names: tuple[str, ...]
    """Names of the feature columns."""
    feature_kinds: tuple[FeatureKind, ...]
    """Kinds of their values."""
    edge_feature_names: tuple[str, ...] = ()
    """Names of the edge feature columns; empty if the model takes no edge features."""
    edge_feature_kinds: tuple[FeatureKind, ...] = Field((), validate_default=True)
    codes_of: str | None = None
    """The TU dataset whose numbering the node and edge labels among the columns follow (see `Dataset`), if there are any."""
    preprocessing: Preprocessing = Preprocessing()
    versions: dict[str, str]
    student: StudentOptions | None = None
    mlp: MLPShape | None = None
    members: tuple[str, ...] = ()
    """Students of the ensemble."""
    added: tuple[str, ...] = ()
    """Members saved beside them that are not part of the ensemble, such as a teacher."""
    coordinator: CoordinatorConfig | None = None
    best_by_val: str | None = None
    """The best student of an ensemble on validation."""
    code: str | None = None
    """Digest of the code of a custom student, or of the ensemble's custom weighting; None for others, and without source."""
    origin: Origin | None = None
    """The installed package that provides the student, or the ensemble's weighting, if it was selected by such a name."""
    cohort: str
    """Digest of all files that were saved together; it is also in the weights files."""

    @field_validator("target")
    @classmethod
    def _check_names(cls, target: Target) -> Target:
        parts = target.parts or ()
        for names in (target.names, [part.name for part in parts], *(part.names for part in parts)):
            if len(set(names)) < len(names):
                raise ValueError("expected each name once")
        return target

    @field_validator("best_by_val")
    @classmethod
    def _check_best(cls, best: str | None) -> str | None:
        if best is not None and not MEMBER_NAME.fullmatch(best):
            raise ValueError("expected the name of a member")
        return best

    @field_validator("feature_kinds", "edge_feature_kinds")
    @classmethod
    def _check_kinds(cls, kinds: tuple[FeatureKind, ...], info: ValidationInfo) -> tuple[FeatureKind, ...] | None:
        names = info.data.get("feature_names" if info.field_name == "feature_kinds" else "edge_feature_names")
        if names is not None and len(kinds) != len(names):
            raise ValueError(f"expected {len(names)} kinds, one for each name, not {len(kinds)}")
        return kinds

    @property
    def edges(self) -> EdgeInput | None:
        """The edge features of its students."""
        return EdgeInput.of(len(self.edge_feature_names), (*self.feature_kinds, *as_kinds("number", self.preprocessing.positions)))

    @property
    def in_features(self) -> int:
        """Number of node features F, positional features included."""
        return len(self.feature_names) + self.preprocessing.positions


class TrainedModel(nn.Module):
    """One student, an ensemble of students, or an MLP, loaded from files.

    It is a module: ``model(graph, feat)`` returns logits, with gradients. `predict` returns probabilities without gradients, in bounded
    memory. A model with positional features takes only datasets, through `predict`.

    Attributes:
        member: the student's name, ``ensemble`` or ``mlp``.
        description: the description of the model in the files.
        cohort: the students of the ensemble, or the single student or MLP.
    """

    def __init__(self, member: str, description: Description, cohort: Cohort) -> None:
        super().__init__()
        self.member = member
        self.description = description
        self.cohort = cohort

    @property
    def task(self) -> TaskName:
        return self.description.task

    @property
    def target(self) -> Target:
        """The predicted classes or labels."""
        return self.description.target

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes or labels, in the order of the columns of `predict` (see `Dataset.classes`)."""
        return self.target.names

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The feature columns that it was trained on."""
        return self.description.feature_names

    @thread_defaults()
    def forward(self, graph: dgl.DGLGraph, feat: Tensor) -> Tensor:
        """Compute logits (samples, C) of each node, or of each graph of a batch, from features (|V|, F).

        Raises:
            UsageError: the model has positional features, or the graph or its features do not fit it.
        """
        self._refuse_positions()
        if self.member != ENSEMBLE:
            return self._student.forward(graph, feat)
        check_samples(self.cohort, graph)
        logits = torch.stack([student(graph, feat) for student in self.cohort.members])
        return self.cohort.ensemble_logits(logits, torch.arange(logits.shape[1], device=logits.device))

    def embed(self, graph: dgl.DGLGraph, feat: Tensor) -> Tensor:
        """Compute the last hidden state of each node or graph, (samples, width).

        Raises:
            UsageError: see `forward`; or the model is an ensemble.
        """
        self._refuse_positions()
        if self.member == ENSEMBLE:
            raise UsageError(f"The ensemble has no hidden states. Load one student: {', '.join(self.cohort.names)}.")
        return self._student.embed(graph, feat)

    def predict(self, data: Dataset | dgl.DGLGraph) -> npt.NDArray[Any]:
        """Predict probabilities (samples, C) for a dataset, or for a graph or list of graphs of DGL (with node features ``feat``) or PyG.
        They have a column for each of `classes`.

        The columns of a dataset are matched by name; missing indicator columns are filled with zeros, with a warning unless they are named
        like a value of a one-hot encoding (``colour=red``). Columns of graphs have no names, and are used in their order; labels and masks
        of graphs are not read.

        Raises:
            UsageError: `data` is neither a dataset nor a graph, or it has a different number of features.
            DataError: the columns of the dataset differ from those of the training data; both are shown.
        """
        data = align_to(data, self.description) if isinstance(data, Dataset) else graph_or_dataset(data, self.task)
        return Predictor(self.cohort, self.member)(data)

    def prepared(self, data: Dataset) -> Callable[[], None]:
        """Return a function that runs a forward pass over all samples of a dataset, for repeated calls such as timing.

        Raises:
            DataError: see `predict`.
        """
        return Predictor(self.cohort, self.member).prepared(align_to(data, self.description))

    @property
    def _student(self) -> StudentModule:
        return self.cohort.members[self.cohort.names.index(self.member)]

    def _refuse_positions(self) -> None:
        if self.description.preprocessing.positions:
            raise UsageError(NEEDS_POSITIONS)
