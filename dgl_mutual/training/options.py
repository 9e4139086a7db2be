"""Options of training."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.positions import MAX_POSITIONS
from dgl_mutual.errors import UsageError
from dgl_mutual.options import IdleWith, Options
from dgl_mutual.search_space import Categorical, Real, SearchSpace
from dgl_mutual.utils.wording import counted

#: Decay of a moving average of weights: that of `mean-teacher`.
DEFAULT_AVERAGE_DECAY = 0.99
#: With more the L2 penalty decides alone, and float32 overflows in the end.
MAX_WEIGHT_DECAY = 1e3
#: Training nodes in a step where neighbours are sampled.
DEFAULT_NODE_BATCH = 1024


class TrainingOptions(Options):
    """Optimisation and stopping. `None` means the default of the task."""

    search_space: ClassVar[SearchSpace] = {
        "learning_rate": Real(1e-3, 3e-2, log=True),
        "weight_decay": Real(1e-6, 1e-2, log=True),
        "average": Categorical(("none", "ema", "swa")),
    }
    searched_by_name: ClassVar[SearchSpace] = {
        "edge_drop": Real(0.0, 0.6),
        "feature_mask": Real(0.0, 0.6),
        "node_drop": Real(0.0, 0.6),
        "positions": Categorical((0, 8, 16)),
    }
    idle_with: ClassVar[IdleWith] = {
        "fanout": {"sampler": (None,)},
        "average_decay": {"average": ("none", "swa")},
        "average_start": {"average": ("none",)},
    }
    epochs: int = Field(200, ge=1)
    """Maximum number of epochs."""
    learning_rate: float = Field(0.01, gt=0)
    """Adam's step size."""
    weight_decay: float | None = Field(None, ge=0, le=MAX_WEIGHT_DECAY)
    """L2 penalty on the weights (node task: 5e-4, graph task: 0)."""
    batch_size: int | None = Field(None, ge=1)
    """Graphs in a batch of a graph task (32), training nodes in one where neighbours are sampled (1024, or all if there are fewer), or
    graphs in one of a node task that is split by graphs (all). On other node tasks each step sees the whole graph."""
    sampler: Literal["neighbor"] | None = None
    """What a step on a node task sees: neighbor, some training nodes and sampled neighbours around them; None, the whole graph."""
    fanout: tuple[Annotated[int, Field(ge=-1)], ...] | None = Field(None, min_length=1)
    """Neighbours that are sampled for a node in each convolution, first to last; -1: all of them (sampler: neighbor; 10 in each)."""
    unlabelled_ratio: float | None = Field(None, gt=0, le=1e6)
    """Unlabelled samples that an epoch draws for each labelled one, where members exchange on them (default: all of them; where neighbours
    are sampled, one)."""
    patience: int = Field(100, ge=1)
    """Epochs without a better validation metric, or an equal one with a lower loss, after which a student stops and keeps its best epoch.
    Training ends when all students have stopped. Epochs before the exchange begins (strategy_options.exchange_warmup) do not count."""
    eval_every: int = Field(1, ge=1)
    """Epochs from one validation to the next. The targets that students learn from are renewed in every epoch, except those of the best
    epoch (targets: best), which validation chooses."""
    edge_drop: float = Field(0.0, ge=0, lt=1)
    """Probability with which a training step leaves out an edge; all students see the same edges, and clean targets see all of them."""
    feature_mask: float = Field(0.0, ge=0, lt=1)
    """Probability with which a training step leaves out a feature column, as for `edge_drop`."""
    node_drop: float = Field(0.0, ge=0, lt=1)
    """Probability with which a training step leaves out a node, as for `edge_drop`. On a node task the features of the node become zeros,
    and those of the other nodes are divided by 1 - node_drop. On a graph task the node and its edges are removed."""
    own_views: bool = False
    """Draw edge_drop, feature_mask and node_drop separately for each student (default: one view for all students)."""
    scale_inputs: bool | None = None
    """Learn from features that are scaled to a standard deviation near one on the training part, one-hot columns left alone: each column by
    itself on a graph task, all by one factor on a node task; edge features likewise. The trained students take the features as they are
    (default: yes, but no on a node task whose features are mostly zeros, as words are, or on a partitioned graph). Columns that
    may hold codes of categories (integers from 0 on the training part) a custom student takes as they are in training, too."""
    positions: int = Field(0, ge=0, le=MAX_POSITIONS)
    """Steps of the random walk whose return probabilities all students take as additional features (Dwivedi et al., ICLR 2022)."""
    average: Literal["none", "ema", "swa"] = "none"
    """Average of each student's weights over the training: ema, an exponential moving average over steps (Tarvainen and Valpola, NeurIPS
    2017), or swa, the mean over epochs (Izmailov et al., UAI 2018). The averaged student is validated, selected, tested, saved and used for
    predictions. Clean targets are predictions of the averaged students."""
    average_decay: float | None = Field(None, ge=0, lt=1)
    """Decay of the moving average of the weights (average: ema; default: 0.99)."""
    average_start: int | None = Field(None, ge=0)
    """First epoch whose weights are averaged (default: 0 with ema, half of the epochs with swa). Until then the student itself is
    validated, and early stopping does not begin."""
    diversity: bool = False
    """Record in each evaluated epoch how far the students are apart: pairwise disagreement and linear CKA of their last hidden states."""
    checkpoint_every: int | None = Field(None, ge=1)
    """Epochs from one snapshot of a training to the next; an interrupted trial goes on from the last (default: it starts over)."""

    @field_validator("fanout", mode="before")
    @classmethod
    def _split(cls, fanout: Any) -> Any:
        """``"10,10"`` as a list; YAML reads ``10`` as a number."""
        return str(fanout).split(",") if isinstance(fanout, str | int) else fanout

    @field_validator("fanout")
    @classmethod
    def _refuse_nothing(cls, fanout: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if fanout is not None and 0 in fanout:
            raise ValueError("a convolution without any neighbours sees no graph: give 1 or more, or -1 for all")
        return fanout

    @property
    def has_views(self) -> bool:
        """Whether training steps see perturbed views."""
        return self.edge_drop > 0 or self.feature_mask > 0 or self.node_drop > 0

    def without_effect(self) -> dict[str, str]:
        """Maps each option that has no effect, given the others, to the reason, which is the end of a sentence."""
        if self.has_views:
            return self.idle_beside_others()
        why = "since edge_drop, feature_mask and node_drop are zero. Leave it out, or give one, for example training.edge_drop=0.2."
        return {**self.idle_beside_others(), "own_views": why}


class DistillOptions(Options):
    """The MLP that learns from the trained cohort's ensemble (Zhang et al., ICLR 2022, arXiv 2110.08727). Several targets count alike."""

    depth: int = Field(2, ge=2, le=32)
    """Number of linear layers."""
    hidden: int = Field(128, ge=1)
    """Width of the hidden layers."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Dropout rate between layers."""
    supervised_weight: float = Field(0.0, ge=0, le=1)
    """lambda in lambda CE + (1 - lambda) KL(ensemble || MLP)."""
    positions: int = Field(0, ge=0, le=MAX_POSITIONS)
    """Steps of the random walk whose return probabilities are additional features; 0: the MLP sees nothing of the graph."""
    unseen: float = Field(0.0, ge=0, lt=1)
    """Share of the test nodes that training does not see, nor their edges; the test metric of all members is then theirs (inductive)."""
    epochs: int = Field(500, ge=1)
    """Maximum number of epochs."""
    learning_rate: float = Field(0.01, gt=0)
    """Adam's step size."""
    weight_decay: float = Field(5e-4, ge=0, le=MAX_WEIGHT_DECAY)
    """L2 penalty on the weights."""
    patience: int = Field(50, ge=1)
    """Epochs without a better validation metric after which training ends."""


def resolve_training(options: TrainingOptions, dataset: Dataset) -> TrainingOptions:
    """Fill in what depends on the data.

    Raises:
        UsageError: options of sampling that do not fit the task or each other, or an average that would not begin.
    """
    sampled = options.sampler is not None
    is_node_task = dataset.task == "node"
    if sampled and not is_node_task:
        raise UsageError("Neighbours are sampled on a node task; on a graph task a step sees whole graphs. Leave out the sampler.")
    if sampled and options.edge_drop > 0:
        raise UsageError("Sampling leaves out edges already, so edge_drop has no sampled form. Lower the fan-out instead.")
    if options.positions and dataset.store is not None:
        raise UsageError("training.positions walks on the whole graph, and a partitioned graph is on several machines. Leave it out.")
    if options.average != "none" and options.average_start is not None and options.average_start >= options.epochs:
        raise UsageError(
            f"training.average_start = {options.average_start} is not reached in "
            f"{counted(options.epochs, 'epoch')}. Give a number below that."
        )
    node_batch = DEFAULT_NODE_BATCH if sampled else None
    defaults = {
        "average_decay": DEFAULT_AVERAGE_DECAY if options.average == "ema" else None,
        "average_start": None if options.average == "none" else 0 if options.average == "ema" else options.epochs // 2,
        "weight_decay": 5e-4 if is_node_task else 0.0,
        "batch_size": node_batch if is_node_task else 32,
        "scale_inputs": not is_node_task or (isinstance(dataset.features, np.ndarray) and dataset.store is None),
    }
    return options.model_copy(update={key: value for key, value in defaults.items() if getattr(options, key) is None})
