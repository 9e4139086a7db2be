"""What every way of teaching each other has in common.

A strategy turns one training step into named loss terms. It knows formulas and no optimizer; the training loop sums and logs the terms and
knows no formula.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from dgl_mutual.coordinator import CoordinatorRecipe
from dgl_mutual.data.dataset import TaskName
from dgl_mutual.distributions import Distribution
from dgl_mutual.errors import UsageError
from dgl_mutual.nn.batch import Batch
from dgl_mutual.nn.csr import Rows
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.options import Options
from dgl_mutual.weightings import make_coordinator

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class Citation:
    """Where a strategy comes from, as data: the list of strategies and the README's table are made of it."""

    title: str
    authors: str
    venue: str
    url: str
    formula: str


#: What several processes of one training divide.
Divided = Literal["samples", "students"]


@dataclass(frozen=True)
class Setting:
    """What a strategy is told about the cohort before training.

    Attributes:
        task: node or graph.
        members: the resolved options of all members: the students, then what the strategy adds of its own (see `Strategy.extra_members`).
        num_students: how many of them are students.
        num_outputs: C.
        num_samples: N of a full-batch node task; None where samples come and go.
        distribution: what the logits mean.
        sampled: whether steps see samples of neighbourhoods.
        divided: what several processes divide, if anything. They all have the logits of a step. Where they divide samples they have its
            embeddings, too, and each has hidden states of its share; where they divide students each has both of its own students alone.
        seed: base seed of whatever the strategy draws while training.
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

    def state_widths(self, member: int) -> tuple[int, ...]:
        """Widths of a member's node states, convolution by convolution (see `Strategy.node_states`)."""
        options = self.members[member]
        assert options.depth is not None
        if self.task == "graph" or options.readout == "jumping":
            return (options.hidden,) * options.depth
        return (options.hidden,) * (options.depth - 1) + (self.num_outputs,)

    def last_hidden_width(self, member: int) -> int:
        """Width of a member's last hidden layer, or of its logits where it has none."""
        return self.members[member].hidden if self.members[member].hidden in self.state_widths(member) else self.num_outputs

    def embedding_width(self, member: int) -> int:
        """Width of a member's `Step.embeddings`."""
        return sum(self.state_widths(member)) if self.members[member].readout == "jumping" else self.last_hidden_width(member)


@dataclass(frozen=True)
class Step:
    """One training step of the cohort.

    Three things are kept apart: the *labelled* samples, the *exchange* samples on which peers are imitated, and the *targets*, which say
    what the peers think there.

    Attributes:
        logits: (A, N, C): the training pass of the A members that train in this step, with gradient; N samples in the batch.
        active: the numbers of those A members within the cohort.
        hidden: per active member, the state of each hidden layer (|V|, width).
        embeddings: per active member, the last state of each sample before its logits (N, width). Both are empty where processes divide
            students.
        targets: (K, N, C): logits of all K members from the pass that the strategy asked for, detached.
        labels: labels of the N samples; only those of `labelled` and `held_out` may be looked at.
        labelled, exchange: row numbers of the labelled and the exchange samples.
        held_out: rows with labels that no student learns from, as the strategy asked (`Strategy.held_out_share`); none of them is in
            `labelled`.
        samples: (N,): the samples' numbers in the dataset.
        ramp: factor in [0, 1] on what is learned from peers.
        epoch: from 0.
        log: what a strategy wants in the history beside its terms, by name: ``weights`` (K, K), the weight of peer j in the target of i;
            ``exchange`` (A,), what is still to be learned from others: the mean KL from the target to the own prediction on the exchange
            samples, in nats, as it stands in the loss but for its weight. A strategy whose members could make it vanish without learning
            from each other does not exchange anything.
    """

    logits: Tensor
    active: tuple[int, ...]
    hidden: Sequence[Sequence[Tensor]]
    embeddings: Sequence[Tensor]
    targets: Tensor
    labels: Tensor
    labelled: Rows
    exchange: Rows
    samples: Tensor
    batch: Batch
    ramp: float
    epoch: int
    held_out: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    log: dict[str, Tensor] = field(default_factory=dict)


TargetPass = Literal["eval", "train", "ema"]
#: Where a strategy looks only at members that do not train in the same phase: ``standing``.
TargetSource = Literal["eval", "train", "ema", "standing"]
ExchangeOn = Literal["all", "labelled", "transductive"]


class StrategyOptions(Options):
    """Options of a strategy; the base has none."""

    def resolved(self, epochs: int, task: TaskName) -> Self:
        """The same, with what was left open filled in for a training of this many epochs on a task."""
        return self


class TeachingOptions(StrategyOptions):
    """How much, and from when on, members learn from others."""

    weight: float = Field(1.0, ge=0)
    """lambda: weight of what is learned from others."""
    exchange_warmup: tuple[int, int] | None = (0, 0)
    """[start, length]: lambda is 0 until epoch start, then grows linearly over length epochs (null: a quarter of the epochs each)."""

    @model_validator(mode="after")
    def _check_warmup(self) -> TeachingOptions:
        if self.exchange_warmup is not None and min(self.exchange_warmup) < 0:
            raise ValueError("exchange_warmup takes two epochs that are not negative, [start, length]")
        return self

    def resolved(self, epochs: int, task: TaskName) -> Self:
        quarter = epochs // 4
        return self if self.exchange_warmup is not None else self.model_copy(update={"exchange_warmup": (quarter, quarter)})

    @property
    def start(self) -> int:
        """The first epoch in which anything is learned from others. `exchange_warmup` must be given, or filled in by `resolved`."""
        assert self.exchange_warmup is not None
        return self.exchange_warmup[0]

    def ramp(self, epoch: int) -> float:
        """Factor on lambda in this epoch."""
        assert self.exchange_warmup is not None
        start, length = self.exchange_warmup
        if epoch < start:
            return 0.0
        return 1.0 if length == 0 else min(1.0, (epoch - start + 1) / length)


class ImitationOptions(TeachingOptions):
    """How members imitate what others predict."""

    temperature: float = Field(1.0, gt=0)
    """T: temperature of the student's own distribution in the exchange."""
    target_temperature: float | None = Field(None, gt=0)
    """Temperature of the peers' distribution; below 1 it sharpens (default: the same as `temperature`)."""
    scale_by_temperature: bool = True
    """Multiply the exchange by T^2, so that its gradient does not shrink with T."""
    exchange_on: ExchangeOn = "all"
    """Imitate on all samples of a step (on a node task all nodes, on a graph task the graphs of the batch, which are labelled), on the
    labelled ones only, or, transductive, also on graphs outside the training part, which steps then see without their labels. Where
    neighbours are sampled, all means the step's training nodes and as many other nodes, as does transductive."""

    @property
    def peers_temperature(self) -> float:
        return self.temperature if self.target_temperature is None else self.target_temperature

    @property
    def scale(self) -> float:
        """lambda, times T^2 where that is asked for."""
        return self.weight * (self.temperature**2 if self.scale_by_temperature else 1.0)


class ExchangeOptions(ImitationOptions):
    """How members that train side by side exchange what they predict. Strategies start from these and change the defaults."""

    targets: TargetPass = "train"
    """Which pass speaks for the peers: eval (dropout off, batch norm in evaluation mode), train (the noisy training pass), or ema (moving
    average of eval)."""
    ema_decay: float = Field(0.9, ge=0, lt=1)
    """Decay of the moving average of the peers' logits (targets: ema)."""


class Strategy(nn.Module, ABC):
    """A way of teaching each other. It is a module, since some have parameters of their own.

    Class attributes:
        name: what messages call it, and what users type for a built-in one (default: the name of the class).
        Options: its options.
        citation: its source; only built-in ones must have one.
        min_students: the fewest students it makes sense with.
        needs_all_edges: it has no form for steps that see samples of neighbourhoods.
        needs_all_states: it looks at the states of all nodes of a step, or at its edges, which several processes do not have in one place.
        needs_embeddings: it looks at embeddings, which processes that divide students do not have of all.
    """

    name: ClassVar[str]
    Options: ClassVar[type[StrategyOptions]] = StrategyOptions
    citation: ClassVar[Citation]
    min_students: ClassVar[int] = 2
    needs_all_edges: ClassVar[bool] = False
    needs_all_states: ClassVar[bool] = False
    needs_embeddings: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "name" not in vars(cls):
            cls.name = cls.__name__

    def __init__(self, options: StrategyOptions, setting: Setting) -> None:
        """Raise `UsageError` when the cohort is too small, or the setting is none that the strategy has a form for."""
        super().__init__()
        if setting.num_students < self.min_students:
            raise UsageError(
                f"Strategy {self.name!r} needs at least {self.min_students} students, and the cohort has {setting.num_students}. "
                "Add students, for example --students gcn,gat, or choose --strategy independent."
            )
        if setting.sampled and self.needs_all_edges:
            raise UsageError(
                f"Strategy {self.name!r} compares nodes with all their neighbours, so it has no form for sampled ones. "
                "Leave out --sampler, or choose another strategy."
            )
        if setting.divided and self.needs_all_states:
            raise UsageError(
                f"Strategy {self.name!r} looks at the states of all nodes of a step, and several processes have a share of them each. "
                "Leave torchrun out, or choose another strategy."
            )
        if setting.divided == "students" and self.needs_embeddings:
            raise UsageError(
                f"Strategy {self.name!r} looks at what all students have before their logits, and processes have that of some each. "
                "Leave out --divide students, or choose another strategy."
            )
        own = [member.label for member in setting.members if member.is_own]
        if own and (self.needs_all_states or self.needs_embeddings):
            raise UsageError(
                f"Strategy {self.name!r} looks at hidden states, and those of the student {own[0]!r} are not known: only the logits of a "
                "student of your own are. Choose a strategy that needs logits alone, for example gml, dml or kd."
            )
        self.options = options
        self.setting = setting
        if setting.sampled and self.target_pass == "ema":
            raise UsageError(
                "A moving average of clean logits (targets: ema) must be renewed on all nodes after every epoch, and sampled steps see few "
                "of them. Choose --set strategy_options.targets=eval or train."
            )
        self.distribution = setting.distribution
        self.coordinator = make_coordinator(self.coordinator_recipe())

    @abstractmethod
    def loss_terms(self, step: Step) -> dict[str, Tensor]:
        """Named terms to be summed: (A,) where each active member has its own, a scalar where the term is shared."""

    @classmethod
    def extra_members(cls, options: StrategyOptions) -> tuple[tuple[str, StudentOptions], ...]:
        """Members that the strategy adds to the students (a teacher, a leader), each with its name."""
        return ()

    def reset_parameters(self) -> None:
        """Draw the strategy's own weights anew."""
        self.coordinator.reset_parameters()
        self.distribution.reset_parameters()

    def coordinator_recipe(self) -> CoordinatorRecipe:
        """How the students' logits become the ensemble's: the plain mean, unless a strategy learns better."""
        return CoordinatorRecipe("uniform", self.setting.num_students, self.setting.num_outputs)

    def phases(self) -> tuple[tuple[int, ...], ...]:
        """Which members train together, phase after phase; the default is all of them at once. Members of other phases stand still."""
        return (tuple(range(len(self.setting.members))),)

    @property
    def target_pass(self) -> TargetSource:
        """Which pass the loop hands over as `Step.targets`. With ``standing`` the rows of active members mean nothing."""
        return "train"

    @property
    def target_decay(self) -> float:
        """Decay of the moving average of clean logits (target pass: ema)."""
        return 0.0

    @property
    def exchange_on(self) -> ExchangeOn:
        """Which rows the loop hands over as `Step.exchange`."""
        return "labelled"

    @property
    def held_out_share(self) -> float:
        """Share of the training samples whose labels no student learns from; the loop hands their rows over as `Step.held_out`."""
        return 0.0

    def ramp(self, epoch: int) -> float:
        """Factor on what is learned from peers in this epoch of a phase."""
        return 1.0

    def exchange_start(self, active: Sequence[int]) -> int:
        """The first epoch of a phase in which these members learn from others: early stopping counts from here on. 0 if they never do."""
        return 0

    def node_states(self, step: Step, place: int) -> tuple[Tensor, ...]:
        """What each convolution of the `place`-th active member gives, first to last, each (|V|, width).

        These are the hidden layers, and the logits where a convolution makes them.
        """
        hidden = tuple(step.hidden[place])
        return hidden if len(hidden) == self.setting.members[step.active[place]].depth else (*hidden, step.logits[place])

    def supervised(self, step: Step, weights: Tensor | None = None) -> Tensor:
        """CE(z_i[L], y[L]) of each active member, each label counting by its weight if given: (A,)."""
        step.log.update(self.distribution.figures())
        return self.distribution.objective(step.logits[:, step.labelled], step.labels[step.labelled], weights)


class ImitationStrategy(Strategy, ABC):
    """A strategy whose members imitate what others predict, under `ImitationOptions`. By default the others speak with dropout off."""

    Options: ClassVar[type[StrategyOptions]] = ImitationOptions
    options: ImitationOptions

    @property
    def target_pass(self) -> TargetSource:
        return "eval"

    @property
    def exchange_on(self) -> ExchangeOn:
        return self.options.exchange_on

    def ramp(self, epoch: int) -> float:
        return self.options.ramp(epoch)

    def exchange_start(self, active: Sequence[int]) -> int:
        return self.options.start

    def imitation(self, step: Step, target: Tensor) -> Tensor:
        """lambda T^2 mean_v KL(t_i(v) || p_i(v)) over the exchange samples, for each active i: (A,).

        Args:
            target: t, probabilities, (A or 1, exchange samples, C).
        """
        own = step.logits[:, step.exchange]
        divergence = self.distribution.divergence(target, own, self.options.temperature).mean(-1)
        step.log["exchange"] = divergence.detach()
        return self.options.scale * step.ramp * divergence


class ExchangeStrategy(ImitationStrategy, ABC):
    """A strategy whose members train side by side and imitate each other, under `ExchangeOptions`."""

    Options: ClassVar[type[StrategyOptions]] = ExchangeOptions
    options: ExchangeOptions

    @property
    def target_pass(self) -> TargetSource:
        return self.options.targets

    @property
    def target_decay(self) -> float:
        return self.options.ema_decay
