"""The base class of strategies.

A strategy turns one training step into named loss terms. It knows formulas and no optimizer; the training loop sums and logs the terms and
knows no formula. The options, parameters and state of a strategy are in its own file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from dgl_mutual.coordinator import CoordinatorConfig, Weighting
from dgl_mutual.errors import UsageError
from dgl_mutual.nn.architectures import has_node_states
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.strategies.base.citation import Citation
from dgl_mutual.strategies.base.exchange import Exchange
from dgl_mutual.strategies.base.options import StrategyOptions
from dgl_mutual.strategies.base.propagation import LabelledGraph, Matrix
from dgl_mutual.strategies.base.setting import Setting
from dgl_mutual.strategies.base.step import Step
from dgl_mutual.utils.custom_code import errors_attributed_to
from dgl_mutual.weightings import make_coordinator


class Strategy(nn.Module, ABC):
    """Base class of strategies. It is a module, since a strategy may have parameters.

    State that persists from step to step must be a parameter, a buffer (`register_buffer`) or part of `get_extra_state`: nothing else is
    restored when an interrupted training resumes.

    Random numbers that `__init__`, `phases`, `exchange`, `loss_terms` and `propagate` draw from the global generators of torch, NumPy and
    Python depend on the seed of the trial; those of `extra_members` are the same in all trials.

    Class attributes:
        name: its name in messages, and for a built-in one also what users type (default: the name of the class).
        Options: its options.
        citation: its source; only built-in ones must have one.
        min_students: the smallest sensible number of students.
        needs_all_edges: it cannot train on sampled neighbourhoods.
        needs_all_states: it reads the states of all nodes of a step, or all of its edges; under torchrun no process has all of them.
        needs_unlabelled: in steps without unlabelled samples its members learn from labels alone; a warning says so.
        trains: whether its members are trained.
        propagates: whether `propagate` changes its predictions after training; only for node tasks on one graph.
        needs_embeddings: it reads the embeddings of all students, which no process has where students are divided (--divide students).
    """

    name: ClassVar[str]
    Options: ClassVar[type[StrategyOptions]] = StrategyOptions
    citation: ClassVar[Citation]
    min_students: ClassVar[int] = 2
    needs_all_edges: ClassVar[bool] = False
    needs_all_states: ClassVar[bool] = False
    needs_embeddings: ClassVar[bool] = False
    needs_unlabelled: ClassVar[bool] = False
    trains: ClassVar[bool] = True
    propagates: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "name" not in vars(cls):
            cls.name = cls.__name__

    def __init__(self, options: StrategyOptions, setting: Setting) -> None:
        """Raise `UsageError` when the cohort is too small, or the strategy has no form for the setting."""
        super().__init__()
        self._check(setting)
        self.options = options
        self.setting = setting
        self.distribution = setting.distribution
        self.coordinator = make_coordinator(self._coordinator_config())

    @abstractmethod
    def loss_terms(self, step: Step) -> dict[str, Tensor]:
        """Named terms to be summed: (A,) where each active member has its own, a scalar where the term is shared."""

    @classmethod
    def extra_members(cls, options: StrategyOptions, students: Sequence[StudentOptions]) -> tuple[tuple[str, StudentOptions], ...]:
        """Members that the strategy adds to the students (a teacher, a leader), each with its name."""
        return ()

    @classmethod
    def propagate(cls, options: StrategyOptions, predictions: Sequence[Matrix], graph: LabelledGraph) -> list[Matrix]:
        """Return the probabilities that replace each student's predictions, from the edges and training labels of the graph.

        Args:
            predictions: one matrix (N, C) of probabilities per student.

        Returns:
            Matrices of the same shapes.
        """
        return list(predictions)

    def reset_parameters(self) -> None:
        """Reset all learnable parameters."""
        self.coordinator.reset_parameters()
        self.distribution.reset_parameters()

    def coordinator_weighting(self) -> tuple[str | type[Weighting], Mapping[str, Any]] | None:
        """The weighting of the coordinator, and its options as plain values; None: the ensemble is the plain mean of the logits."""
        return None

    def phases(self) -> tuple[tuple[int, ...], ...]:
        """Which members train together, phase after phase; the default is all of them at once. Members of other phases do not change."""
        return (tuple(range(len(self.setting.members))),)

    def exchange(self) -> Exchange:
        """Which pass gives the peers' logits, on which samples, and the warm-up. Called once before training; default: from the options."""
        return self.options.exchange()

    def learns_from_others(self, active: Sequence[int]) -> bool:
        """Whether the members of a phase learn from others in it; a teacher that is trained first does not."""
        return True

    def supervised(self, step: Step, weights: Tensor | None = None) -> Tensor:
        """CE(z_i[L], y[L]) of each active member, each label counting by its weight if given: (A,).

        Args:
            weights: in the shape of `step.labels[step.labelled]`, or (A, ...) if each active member weighs labels in its own way. Each
                member's sum is divided by the sum of its weights.
        """
        step.log.update(self.distribution.logged())
        return self.distribution.objective(step.logits[:, step.labelled], step.labels[step.labelled], weights)

    def _coordinator_config(self) -> CoordinatorConfig:
        setting = self.setting
        method = f"coordinator_weighting of the strategy {self.name!r}"
        with errors_attributed_to(method, self):
            pair = self.coordinator_weighting()
        if pair is None:
            return CoordinatorConfig("uniform", setting.num_students, setting.num_outputs)
        if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[1], Mapping)):
            raise UsageError(f"{method} returns {pair!r}. It must return None or a weighting with its options: ('attention', {{}}).")
        weighting, options = pair
        return CoordinatorConfig(
            weighting=weighting,
            num_students=setting.num_students,
            num_outputs=setting.num_outputs,
            num_samples=setting.num_samples,
            tasks=setting.distribution.widths,
            options=options,
            multi_label=setting.distribution.multi_label,
        )

    def _check(self, setting: Setting) -> None:
        if setting.num_students < self.min_students:
            raise UsageError(
                f"Strategy {self.name!r} needs at least {self.min_students} students, and the cohort has {setting.num_students}. "
                "Add students, for example --students gcn,gat, or choose --strategy independent."
            )
        if setting.sampled and self.needs_all_edges:
            raise UsageError(
                f"Strategy {self.name!r} compares nodes with all their neighbours, so it cannot train on sampled neighbourhoods. "
                "Leave out --sampler, or choose another strategy."
            )
        if setting.divided and self.needs_all_states:
            raise UsageError(
                f"Strategy {self.name!r} reads the states of all nodes of a step, which no process has under torchrun. "
                "Leave torchrun out, or choose another strategy."
            )
        if setting.divided == "students" and self.needs_embeddings:
            raise UsageError(
                f"Strategy {self.name!r} reads the embeddings of all students, which no process has where students are divided. "
                "Leave out --divide students, or choose another strategy."
            )
        without_node_states = [member.label for member in setting.members if not has_node_states(member, setting.task)]
        if without_node_states and self.needs_all_states:
            raise UsageError(
                f"Strategy {self.name!r} needs node states, and a {without_node_states[0]!r} student has only states of whole graphs. "
                "Choose mlp instead, or another strategy."
            )
        custom = [member.label for member in setting.members if member.is_custom]
        if custom and (self.needs_all_states or self.needs_embeddings):
            raise UsageError(
                f"Strategy {self.name!r} reads hidden states, and the custom student {custom[0]!r} has only logits. Choose a strategy that "
                "needs logits alone, for example gml, dml or kd."
            )
