"""Static information about a training, given to the strategy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from dgl_mutual.data.values.arrays import IntArray
from dgl_mutual.data.values.target import TaskName
from dgl_mutual.distributions import Distribution
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.student import state_widths

#: What is divided between several processes of one training.
Divided = Literal["samples", "students"]


@dataclass(frozen=True, eq=False)
class TrainingSamples:
    """The samples whose labels are for training.

    Attributes:
        numbers: their numbers in the dataset, (n,).
        classes: their classes in the same order, (n,); None where a sample has several labels.
        num_all: how many samples the dataset has.
    """

    numbers: IntArray
    classes: IntArray | None
    num_all: int


@dataclass(frozen=True)
class Setting:
    """Facts about the cohort and the data that are known before training.

    Attributes:
        task: node or graph.
        members: the resolved options of all members: the students, then the members that the strategy adds (`Strategy.extra_members`).
        num_students: number of students among them.
        num_outputs: C.
        num_samples: N of a full-batch node task; None if the set of samples is not fixed.
        distribution: the predictive distribution of logits.
        sampled: whether neighbourhoods are sampled.
        divided: what is divided between several processes (None: nothing). Every process has all logits of a step. If samples are divided,
            it also has all embeddings, and the hidden states of its share; if students are, both of its own students alone.
        seed: base seed of the strategy's random choices.
        training_samples: the labelled samples.
        class_prior: p(y), estimated from their labels (see `Distribution.marginal`): (C,).
    """

    task: TaskName
    members: tuple[StudentOptions, ...]
    num_students: int
    num_outputs: int
    num_samples: int | None
    distribution: Distribution
    sampled: bool = False
    divided: Divided | None = None
    seed: int = 0
    training_samples: TrainingSamples | None = None
    class_prior: Tensor | None = None

    def state_widths(self, member: int) -> tuple[int, ...]:
        """Widths of a member's node states, convolution by convolution (see `dgl_mutual.nn.student.state_widths`)."""
        return state_widths(self.members[member], self.task, self.num_outputs)

    def last_hidden_width(self, member: int) -> int:
        """Width of a member's last hidden layer, or of its logits where it has none."""
        return self.members[member].hidden if self.members[member].hidden in self.state_widths(member) else self.num_outputs

    def embedding_width(self, member: int) -> int:
        """Width of a member's `Step.embeddings`."""
        return sum(self.state_widths(member)) if self.members[member].readout == "jumping" else self.last_hidden_width(member)
