"""Graph mutual learning: each student learns from a mix of its peers, which an ensemble coordinator weighs per sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, FieldSerializationInfo, SkipValidation, field_serializer, model_validator
from torch import Tensor

from dgl_mutual.coordinator import Weighting, WeightingOptions, mix
from dgl_mutual.data.values.target import TaskName
from dgl_mutual.options import MAX_TEMPERATURE, MAX_WEIGHT, MIN_TEMPERATURE, parse_options
from dgl_mutual.search_space import Categorical, Real, SearchSpace
from dgl_mutual.strategies.best_teacher import BestTeacher
from dgl_mutual.strategies.citation import Citation
from dgl_mutual.strategies.cross_fitting import CrossFitting
from dgl_mutual.strategies.entropy import EntropyOptions, entropy_terms
from dgl_mutual.strategies.exchange import TargetPass
from dgl_mutual.strategies.gate import GateOptions, gate_of
from dgl_mutual.strategies.imitation import ExchangeStrategy
from dgl_mutual.strategies.options import ENSEMBLE_ALONE, Unlabelled
from dgl_mutual.strategies.setting import Setting
from dgl_mutual.strategies.step import Step
from dgl_mutual.utils.imports import not_importable
from dgl_mutual.weightings import WEIGHTING_REGISTRY

if TYPE_CHECKING:
    from typing_extensions import Self

#: On a graph task the exchange runs over labelled graphs, which all students soon fit: a lighter one, not sharpened, takes less away. A
#: clean pass over all of them an epoch would teach no more than the training pass does.
#: Students that have fitted a label agree on it, so that their consensus says little about them: also with 10 % of the labels (and no class
#: prior), validation accuracy on PROTEINS is lower with `consensus` than with `attention`.
GRAPH_TASK = {"weight": 0.3, "target_temperature": 1.0, "mix": "logits", "targets": "train", "weighting": "attention"}

#: Where labels are hidden, most graphs of the exchange have none to fit. With few labels a student is good in one epoch and bad in the
#: next: with 10 % of the labels, targets from each peer's best epoch give a higher validation metric than current ones on PROTEINS and
#: ogbg-molbace, and the same on NCI1. So it is with a pool of unlabelled graphs, but there these targets need another pass in each step,
#: and an epoch with a pool costs too much: the exchange stays as it is with all labels.
GRAPH_TASK_HIDDEN_LABELS = {"weight": 1.0, "mix": "probabilities", "targets": "best"}

#: With few labels, students that imitate each other's sharpened predictions come to neglect some classes. On graph tasks, where targets are
#: not sharpened, validation with 10 % of the labels is higher with these two terms on PROTEINS, and lower on NCI1 and ogbg-molbace.
SHARPENING = -0.05
CLASS_PRIOR_WEIGHT = 3.0
#: Where as many labels are kept of each class, and classes differ in size, the estimated prior is not that of the samples. On validation of
#: Cora (1,000 training nodes, 2 and 10 labels a class, 3 seeds) a weight of 1 is better than 3, 0.3 and 0 on average.
EQUAL_COUNTS_CLASS_PRIOR_WEIGHT = 1.0


class GMLOptions(GateOptions, EntropyOptions):
    """Options of `gml`. The defaults are those that were chosen on validation.

    How they were chosen: see results/nodes.md, results/graphs.md and results/few-labels.md.
    On a graph task, and where labels are hidden, some are others unless they are given (see `GRAPH_TASK` and `GRAPH_TASK_HIDDEN_LABELS`).
    """

    search_space: ClassVar[SearchSpace] = {
        **GateOptions.search_space,
        "target_temperature": Real(0.25, 2.0, log=True),
        "weighting": Categorical(("attention", "confidence", "consensus", "uniform")),
        "mix": Categorical(("logits", "probabilities")),
        "uniform_kl_weight": Real(0.1, 10.0, log=True),
        "entropy_weight": Categorical((0.0, 0.03, 0.1, -0.05)),
    }
    #: Three weightings learn nothing from labels, so that nothing pulls them to the mean; cross-fitted always learns from clean logits. The
    #: best student has all weight in the mix.
    idle_with: ClassVar[Mapping[str, Mapping[str, tuple[Any, ...]]]] = {
        "uniform_kl_weight": {"weighting": ("confidence", "consensus", "uniform")},
        "coordinator_inputs": {"weighting": ("confidence", "consensus", "cross-fitted", "uniform"), "targets": ("train",)},
        "mix": {"direction": ("best",), "weight": (0.0,)},
        "running_decay": {"direction": ("all",)},
    }
    target_temperature: float | None = Field(0.5, ge=MIN_TEMPERATURE, le=MAX_TEMPERATURE)
    #: Sharpened, what peers say with dropout on teaches as much (suite ablation); with dropout off it is the same for all that look at it.
    targets: TargetPass = "eval"
    #: Early in training students make the same errors, and sharpened targets reinforce them: not a tenth of the epochs, but a quarter.
    exchange_warmup: tuple[int, int] | None = None
    weighting: str | Annotated[type[Weighting], SkipValidation] = "consensus"
    """How the coordinator weighs peers: attention, classwise or transductive (learned from labels), cross-fitted (from labels that each
    student leaves out), consensus (from the peers' agreement on the exchange samples, without labels), confidence or uniform, the name of
    one that an installed package provides, or an import path ``package.module:Class``."""
    weighting_options: dict[str, Any] = Field(default_factory=dict)
    """Options of the weighting (attention, classwise, transductive: hidden, its width; confidence: temperature; consensus: power, rounds,
    prior, memory)."""
    mix: Literal["logits", "probabilities"] = "probabilities"
    """Mix the peers' logits and then take probabilities (the paper's form), or mix their probabilities."""
    coordinator_inputs: Literal["train", "eval"] = "train"
    """Logits that the coordinator learns from: the training pass (dropout on, closer to unseen samples), or the targets' pass."""
    uniform_kl_weight: float = Field(1.0, ge=0, le=MAX_WEIGHT)
    """Weight of KL(uniform || coordinator weights), which regularises towards the plain mean. All students soon fit the labelled samples,
    so these tell little about the quality of peers on other samples."""
    direction: Literal["all", "best"] = "all"
    """Whom students learn from: all others (all), or only the student that is best on held-out training samples (best), which was worse on
    Cora and CiteSeer (suite ablation)."""
    held_out: float = Field(0.2, gt=0, lt=1)
    """Share of the training samples that is held out from all students to find the best student (direction: best). With weighting:
    cross-fitted, the share that each student leaves out: one of round(1 / share) parts."""
    running_decay: float = Field(0.9, ge=0, lt=1)
    """Decay of the running loss on held-out samples (direction: best)."""

    @property
    def is_cross_fitted(self) -> bool:
        """Whether the weighting learns from labels that each student leaves out."""
        return WEIGHTING_REGISTRY.resolve(self.weighting).cross_fitted

    @model_validator(mode="after")
    def _check_weighting(self) -> GMLOptions:
        if "weighting" in self.model_fields_set:
            self._options_of(self.weighting)
        if self.direction == "best" and self.is_cross_fitted:
            raise ValueError(
                f"with direction = best and weighting = {self.weighting!r} students would leave out labels in two ways at once, the same "
                "labels for all students and others for each. Leave out one of the two"
            )
        return self

    @field_serializer("weighting")
    def _name_weighting(self, weighting: str | type[Weighting], info: FieldSerializationInfo) -> str | type[Weighting]:
        if isinstance(weighting, str) or (info.mode == "python" and not_importable(weighting)):
            return weighting
        return WEIGHTING_REGISTRY.name_of(weighting)

    def _with_unlabelled(self, task: TaskName, unlabelled: Unlabelled) -> Self:
        """See `StrategyOptions._with_unlabelled`.

        The class prior is that of the labelled samples, so it is a default only on samples that were drawn as they were: the training
        samples. With a pool the exchange of a graph task stays as it is with all labels.
        """
        options = super()._with_unlabelled(task, unlabelled)
        if task == "graph":
            return options if unlabelled.pool or options.exchange_on != "training" else options._with_defaults(GRAPH_TASK_HIDDEN_LABELS)
        own = options._with_defaults({"entropy_weight": SHARPENING})
        if options.exchange_on in ("all", "transductive") and (own.entropy_weight < 0 or own.prior_weight > 0):
            own = own._with_defaults({"entropy_on": "training"})
        samples = own.exchange_on if own.entropy_on == "exchange" else own.entropy_on
        if options.exchange_on == "labelled" or samples not in ("training", "labelled"):
            return options
        weight = EQUAL_COUNTS_CLASS_PRIOR_WEIGHT if unlabelled.equal_counts else CLASS_PRIOR_WEIGHT
        return own._with_defaults({"class_prior_weight": weight}) if own.entropy_weight < 0 else own

    def without_effect(self, num_students: int) -> Mapping[str, str]:
        found = {**self._for_ensemble_alone(num_students), **super().without_effect(num_students)}
        if self.direction != "best" and not self.is_cross_fitted:
            found["held_out"] = (
                f"since direction = {self.direction} and weighting = {self.weighting}. Leave it out, or choose direction=best or "
                "weighting=cross-fitted."
            )
        if num_students <= 2:
            found["mix"] = "since each of two students has one peer, and nothing to mix. Leave it out, or train more students."
            found["uniform_kl_weight"] = "since each of two students has one peer, of weight 1. Leave it out, or train more students."
        return found

    def _for_ensemble_alone(self, num_students: int) -> dict[str, str]:
        """The options that change no student, as `without_effect`."""
        if num_students <= 2:
            why = "since each of two students has one peer to learn from, and nothing to weigh. To change the students, train more of them."
        elif self.direction == "best":
            why = "since students learn from the best student alone (direction = best). To change the students, choose direction=all."
        elif self.weight == 0:
            why = "since students do not learn from each other (weight = 0). To change the students, choose another weight."
        else:
            return {}
        names = ["weighting_options", "uniform_kl_weight", "coordinator_inputs"]
        if not self.is_cross_fitted:  # where it is, each student leaves out labels
            names.append("weighting")
        return dict.fromkeys(names, f"{ENSEMBLE_ALONE}{why}")

    def _options_of(self, weighting: str | type[Weighting]) -> WeightingOptions:
        """Raise `UsageError` where the weighting does not exist, or has no such options."""
        return parse_options(WEIGHTING_REGISTRY.resolve(weighting).Options, self.weighting_options, "strategy_options.weighting_options")

    def resolved(self, epochs: int, task: TaskName, unlabelled: Unlabelled | None = None) -> Self:
        resolved = super().resolved(epochs, task, unlabelled)._with_defaults(GRAPH_TASK if task == "graph" else {})
        return resolved.model_copy(update={"weighting_options": resolved._options_of(resolved.weighting).model_dump(mode="json")})


class GraphMutualLearning(ExchangeStrategy):
    """loss_i = CE(z_i[L], y[L]) + lambda T^2 mean_v KL(t_i(v) || p_i(v)) - gamma mean_v H(p_i(v)) + rho KL(mean_v p_i(v) || p(y)).

    t_i is the coordinator's mix of the peers' probabilities, t_i(v) = sum_j a_ij(v) softmax(z_j(v) / T'), or, in the form of the paper
    (``mix: logits``), softmax(sum_j a_ij(v) z_j(v) / T'). Where weights differ from class to class, a mix of probabilities is divided by
    its sum over the classes. T' is `target_temperature`; H and mean_v p_i are at temperature 1. The
    coordinator learns by cross-entropy of its weighted logits on the labelled samples; no gradient of it reaches a student.
    Two weightings learn differently: `cross-fitted` is fitted on labels that each student leaves out, and `consensus` uses no labels: it
    counts how often students agree on the samples of the exchange.
    `entropy_schedule` sets the epochs of the last two terms, and `entropy_on` their samples. With gamma < 0 predictions are sharpened.
    p(y) is the class prior, estimated from the labelled samples.

    With ``direction: best`` only the best student teaches, and does not learn from others: the one with the lowest running loss on
    training samples that were held out from all students' supervised terms. Validation labels do not choose it.

    With several tasks there is a coordinator for each of them; the best student is the best over all tasks.

    NOTE[PAPER]: the coordinator's loss is ours: it is the cross-entropy of its mixes for each student and for the ensemble.
    """

    name = "gml"
    Options = GMLOptions
    options: GMLOptions
    citation = Citation(
        title="Enhancing Graph Neural Networks: A Mutual Learning Approach",
        authors="Agbaje, Mitra, Anjum, Khose, Nwafor, Olufowobi",
        venue="arXiv 2025",
        url="https://arxiv.org/abs/2510.19223",
        formula="CE + lambda T^2 KL(t_i || p_i) - gamma H(p_i) + rho KL(mean_v p_i || p(y)), t_i = sum_j a_ij p(z_j / T')",
    )

    #: p(y), estimated from the training labels: (C,).
    class_prior: Tensor

    def __init__(self, options: GMLOptions, setting: Setting) -> None:
        super().__init__(options, setting)
        self.register_buffer("class_prior", setting.class_prior, persistent=False)
        self.best_teacher = BestTeacher(setting, options.held_out, options.running_decay) if options.direction == "best" else None
        self.cross_fitting = CrossFitting(setting, options.held_out) if options.is_cross_fitted else None

    def reset_parameters(self) -> None:
        super().reset_parameters()
        if self.best_teacher is not None:
            self.best_teacher.reset_parameters()

    def coordinator_weighting(self) -> tuple[str | type[Weighting], Mapping[str, Any]]:
        return self.options.weighting, self.options.weighting_options

    def loss_terms(self, step: Step) -> dict[str, Tensor]:
        options = self.options
        if self.best_teacher is not None:
            step = self.best_teacher.observe(step, self.distribution)
            step = replace(step, exchange=step.labelled) if options.exchange_on == "labelled" else step
        cross_fitting = self.cross_fitting
        terms = {"supervised": self.supervised(step) if cross_fitting is None else cross_fitting.supervised(step, self.supervised)}
        if step.ramp > 0:
            terms["mutual"] = self._mutual_term(step)
        terms.update(entropy_terms(options, self.distribution, step, self.class_prior))
        if next(self.coordinator.parameters(), None) is not None:
            terms["coordinator"] = self._coordinator_loss(step)
        return terms

    def _mutual_term(self, step: Step) -> Tensor:
        """lambda T^2 mean_v KL(t_i(v) || p_i(v)) of each active i, times the ramp: (A,)."""
        options = self.options
        target = self._peer_target(step)
        own = step.logits[:, step.exchange]
        divergences = self.distribution.divergence(target, own, options.temperature)
        if options.gate != "none":
            divergences = divergences * gate_of(options, self.distribution, step, target)
        if self.cross_fitting is None:
            divergence = divergences.sum(-1) / max(own.shape[1], 1)
        else:
            divergence = self.cross_fitting.mean_of_learned(divergences, step)
        if self.best_teacher is not None:
            divergence = divergence * ~self.best_teacher.is_best
        step.log["exchange"] = divergence.detach()
        return options.scale * step.ramp * divergence

    @torch.no_grad()
    def _peer_target(self, step: Step) -> Tensor:
        """t_i on the exchange samples, for each active i: (A, N, C) probabilities."""
        logits, samples = step.targets[:, step.exchange], step.samples[step.exchange]
        self.coordinator.checked_observe(logits, samples)  # with direction best, for the ensemble alone
        if self.best_teacher is None:
            weights = self.coordinator.peer_weights(logits, self.distribution.confidence(logits), samples)
        else:
            weights = self.best_teacher.weights(logits.dtype)
        step.log["weights"] = weights.mean((2, 3))
        if len(step.active) < len(weights):
            weights = weights[list(step.active)]
        temperature = self.options.peers_temperature
        if self.options.mix == "probabilities":
            mixed = mix(weights, self.distribution.probabilities(logits, temperature))
            return mixed if weights.shape[-1] == 1 else self.distribution.normalised(mixed)
        return self.distribution.probabilities(mix(weights, logits), temperature)

    def _coordinator_loss(self, step: Step) -> Tensor:
        as_trained = self.options.coordinator_inputs == "train" and self.cross_fitting is None
        seen = step.logits.detach() if as_trained else step.targets
        logits, samples, labels = seen[:, step.labelled], step.samples[step.labelled], step.labels[step.labelled]
        evidence = logits, self.distribution.confidence(logits), samples
        weights = self.coordinator.all_weights(*evidence)
        if self.cross_fitting is None:
            loss = self.distribution.supervised(mix(weights, logits), labels).mean()
        else:
            loss = self.cross_fitting.loss(self.coordinator.checked_scores(*evidence)[0], logits, labels, samples, self.distribution)
        if self.options.uniform_kl_weight > 0 and len(labels):  # all labels of a small batch may be held out
            loss = loss + self.options.uniform_kl_weight * self._distance_from_uniform(weights[:-1], labels)
        return loss

    def _distance_from_uniform(self, weights: Tensor, labels: Tensor) -> Tensor:
        """KL(uniform || a_i(v)), mean over students and samples, summed over tasks."""
        num_peers = len(weights) - 1
        pairs = [i * len(weights) + j for i in range(len(weights)) for j in range(len(weights)) if i != j]
        others = weights.flatten(0, 1).index_select(0, torch.tensor(pairs, device=weights.device))
        logarithms = (others.clamp(min=1e-12) * num_peers).log()
        return -torch.stack([own.mean() for _, own, _ in self.distribution.tasks(logarithms, labels)]).sum()
