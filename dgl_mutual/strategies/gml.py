"""Graph mutual learning: each student learns from a mix of its peers' predictions, with weights per sample from a coordinator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, FieldSerializationInfo, SkipValidation, field_serializer, model_validator
from torch import Tensor

from dgl_mutual.coordinator import Weighting, WeightingOptions, mix
from dgl_mutual.data.values.target import TaskName
from dgl_mutual.options import MAX_TEMPERATURE, MAX_WEIGHT, MIN_TEMPERATURE, IdleWith, parse_options
from dgl_mutual.search_space import Categorical, Real, SearchSpace
from dgl_mutual.strategies.base.citation import Citation
from dgl_mutual.strategies.base.exchange import TargetPass
from dgl_mutual.strategies.base.imitation import ExchangeStrategy
from dgl_mutual.strategies.base.options import ENSEMBLE_ALONE, Unlabelled
from dgl_mutual.strategies.base.setting import Setting
from dgl_mutual.strategies.base.step import Step
from dgl_mutual.strategies.terms.best_teacher import BestTeacher
from dgl_mutual.strategies.terms.cross_fitting import CrossFitting
from dgl_mutual.strategies.terms.entropy import EntropyOptions, entropy_terms
from dgl_mutual.strategies.terms.gate import GateOptions, gate_of
from dgl_mutual.strategies.terms.label_use import LabelUse
from dgl_mutual.utils.imports import not_importable
from dgl_mutual.weightings import WEIGHTING_REGISTRY

if TYPE_CHECKING:
    from typing_extensions import Self

#: Defaults of graph tasks. All students soon fit the labelled graphs of the exchange, so a weaker exchange without sharpening harms less.
#: A pass with dropout off over all graphs in each epoch would teach no more than the training pass. Students agree on labels that they have
#: fitted, which tells `consensus` little: validation accuracy on PROTEINS is higher with `attention`, also with 10 % of the labels (and no
#: class prior).
GRAPH_TASK = {"weight": 0.3, "target_temperature": 1.0, "mix": "logits", "targets": "train", "weighting": "attention"}

#: Defaults where labels are hidden, by (task, exchange_on). They take precedence over `GRAPH_TASK`.
HIDDEN_LABELS: Mapping[tuple[str, str], Mapping[str, Any]] = {
    # Most graphs of the exchange have no label to fit. With few labels a student is good in one epoch and bad in the next: with 10 %,
    # validation is higher with targets from each peer's best epoch than with current ones on PROTEINS and ogbg-molbace, and equal on NCI1.
    # Not with a pool of graphs, where these targets help as well, but need one more pass in each step, which costs too much.
    ("graph", "training"): {"weight": 1.0, "mix": "probabilities", "targets": "best"},
    # Students that imitate each other's sharpened predictions come to neglect some classes. Not on graph tasks, where targets are not
    # sharpened: with 10 % of the labels these two terms raise validation on PROTEINS, and lower it on NCI1 and ogbg-molbace.
    ("node", "training"): {"entropy_weight": -0.05, "class_prior_weight": 3.0},
    # The estimated class prior is that of the training nodes alone.
    ("node", "all"): {"entropy_weight": -0.05, "class_prior_weight": 3.0, "entropy_on": "training"},
    ("node", "transductive"): {"entropy_weight": -0.05, "class_prior_weight": 3.0, "entropy_on": "training"},
}
#: If equal counts of labels were kept of classes that differ in size, the estimated prior is wrong. On validation of Cora (1,000 training
#: nodes, 2 and 10 labels per class, 3 seeds), 1 is better on average than 3, 0.3 and 0.
EQUAL_COUNTS = {"class_prior_weight": 1.0}


class GMLOptions(GateOptions, EntropyOptions):
    """Options of `gml`.

    The defaults were chosen on validation: see results/nodes.md, results/graphs.md and results/few-labels.md. Some differ on graph tasks
    (`GRAPH_TASK`) and where labels are hidden (`HIDDEN_LABELS`).
    """

    search_space: ClassVar[SearchSpace] = {
        **GateOptions.search_space,
        "target_temperature": Real(0.25, 2.0, log=True),
        "weighting": Categorical(("attention", "confidence", "consensus", "uniform")),
        "mix": Categorical(("logits", "probabilities")),
        "uniform_kl_weight": Real(0.1, 10.0, log=True),
        "entropy_weight": Categorical((0.0, 0.03, 0.1, -0.05)),
    }
    #: confidence, consensus and uniform have no parameters, so no loss regularises them; cross-fitted always learns from the targets' pass.
    #: With direction = best, the target is the best student's prediction alone.
    idle_with: ClassVar[IdleWith] = {
        "uniform_kl_weight": {"weighting": ("confidence", "consensus", "uniform")},
        "coordinator_inputs": {"weighting": ("confidence", "consensus", "cross-fitted", "uniform"), "targets": ("train",)},
        "mix": {"direction": ("best",), "weight": (0.0,)},
        "running_decay": {"direction": ("all",)},
    }
    target_temperature: float | None = Field(0.5, ge=MIN_TEMPERATURE, le=MAX_TEMPERATURE)
    #: Sharpened targets with dropout on teach as much (suite ablation); with dropout off they are deterministic.
    targets: TargetPass = "eval"
    #: Early in training students make the same errors, and sharpened targets reinforce them: a quarter of the epochs, not a tenth.
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
    cross-fitted, the share that each student leaves out: one of max(2, round(1 / share)) parts."""
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
                f"direction = best and weighting = {self.weighting!r} both hold out training labels: the first the same labels for all "
                "students, the second different labels for each student. Choose one of the two"
            )
        return self

    @field_serializer("weighting")
    def _name_weighting(self, weighting: str | type[Weighting], info: FieldSerializationInfo) -> str | type[Weighting]:
        if isinstance(weighting, str) or (info.mode == "python" and not_importable(weighting)):
            return weighting
        return WEIGHTING_REGISTRY.name_of(weighting)

    def _with_unlabelled(self, task: TaskName, unlabelled: Unlabelled) -> Self:
        """Add the defaults of `HIDDEN_LABELS`.

        On a node task none of them is used if given options turn the two terms off, or put them on samples outside the training part.
        """
        options = super()._with_unlabelled(task, unlabelled)
        defaults = HIDDEN_LABELS.get((task, options.exchange_on), {})
        if task == "graph":
            return options if unlabelled.pool else options._with_defaults(defaults)
        if defaults and unlabelled.equal_counts:
            defaults = {**defaults, **EQUAL_COUNTS}
        with_terms = options._with_defaults(defaults)
        is_off = with_terms.entropy_weight >= 0 and options.prior_weight == 0
        samples = with_terms.exchange_on if with_terms.entropy_on == "exchange" else with_terms.entropy_on
        return options if is_off or samples not in ("training", "labelled") else with_terms

    def without_effect(self, num_students: int) -> Mapping[str, str]:
        reasons = {**self._for_ensemble_alone(num_students), **super().without_effect(num_students)}
        if self.direction != "best" and not self.is_cross_fitted:
            reasons["held_out"] = (
                f"since direction = {self.direction} and weighting = {self.weighting}. Leave it out, or choose direction=best or "
                "weighting=cross-fitted."
            )
        if num_students <= 2:
            reasons["mix"] = "since each of two students has one peer, and nothing to mix. Leave it out, or train more students."
            reasons["uniform_kl_weight"] = "since each of two students has one peer, of weight 1. Leave it out, or train more students."
        return reasons

    def _for_ensemble_alone(self, num_students: int) -> dict[str, str]:
        """Map the options that change the ensemble alone to the reason, as `without_effect` does."""
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
        """Parse `weighting_options`; raise `UsageError` if the weighting is unknown or has no such options."""
        return parse_options(WEIGHTING_REGISTRY.resolve(weighting).Options, self.weighting_options, "strategy_options.weighting_options")

    def resolved(self, epochs: int, task: TaskName, unlabelled: Unlabelled | None = None) -> Self:
        resolved = super().resolved(epochs, task, unlabelled)._with_defaults(GRAPH_TASK if task == "graph" else {})
        return resolved.model_copy(update={"weighting_options": resolved._options_of(resolved.weighting).model_dump(mode="json")})


class GraphMutualLearning(ExchangeStrategy):
    """loss_i = CE(z_i[L], y[L]) + lambda T^2 mean_v KL(t_i(v) || p_i(v)) - gamma mean_v H(p_i(v)) + rho KL(mean_v p_i(v) || p(y)).

    The target t_i mixes the peers with the coordinator's weights a_ij: t_i(v) = sum_{j != i} a_ij(v) softmax(z_j(v) / T'), divided by its
    sum over the classes where weights differ by class; or, in the paper's form (``mix: logits``), t_i(v) = softmax(sum_{j != i} a_ij(v)
    z_j(v) / T'). T' is `target_temperature`. In the last two terms predictions are at temperature 1; gamma < 0 sharpens them, and p(y) is
    the class prior, estimated from the training labels. `entropy_on` sets the samples of these terms, `entropy_schedule` their epochs.

    The coordinator minimises the cross-entropy of its weighted logits on the labelled samples; no gradient of it reaches a student.
    Two weightings learn differently: `cross-fitted` is fitted on labels that each student leaves out; `consensus` uses no labels and
    counts how often students agree on the exchange samples.

    With ``direction: best`` one student teaches all others and learns from none: the one with the lowest running loss on training samples
    that are held out from all supervised terms. Validation labels do not choose it.

    With several tasks each has a coordinator; the best student is the best over all tasks.

    NOTE[PAPER]: the coordinator's loss is ours: the cross-entropy of its mix for each student and for the ensemble.
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

    #: p(y): (C,).
    class_prior: Tensor

    def __init__(self, options: GMLOptions, setting: Setting) -> None:
        super().__init__(options, setting)
        self.register_buffer("class_prior", setting.class_prior, persistent=False)
        self.label_use = _label_use(options, setting)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        self.label_use.reset_parameters()

    def coordinator_weighting(self) -> tuple[str | type[Weighting], Mapping[str, Any]]:
        return self.options.weighting, self.options.weighting_options

    def loss_terms(self, step: Step) -> dict[str, Tensor]:
        step = self.label_use.observe(step, self.distribution)
        return {
            "supervised": self.label_use.supervised(step, self.supervised),
            **self._mutual_term(step),
            **entropy_terms(self.options, self.distribution, step, self.class_prior),
            **self._coordinator_term(step),
        }

    def _mutual_term(self, step: Step) -> dict[str, Tensor]:
        """lambda T^2 mean_v KL(t_i(v) || p_i(v)) of each active i, times the ramp: (A,); no term before the exchange begins."""
        options = self.options
        if step.ramp == 0:
            return {}
        target = self._peer_target(step)
        divergences = self.distribution.divergence(target, step.logits[:, step.exchange], options.temperature)
        if options.gate != "none":
            divergences = divergences * gate_of(options, self.distribution, step, target)
        divergence = self.label_use.mean(divergences, step)
        step.log["exchange"] = divergence.detach()
        return {"mutual": options.scale * step.ramp * divergence}

    @torch.no_grad()
    def _peer_target(self, step: Step) -> Tensor:
        """t_i(v) on the exchange samples, for each active i: (A, N, C) probabilities."""
        logits, samples = step.targets[:, step.exchange], step.samples[step.exchange]
        self.coordinator.checked_observe(logits, samples)  # with direction best, for the ensemble alone
        weights = self.label_use.peer_weights(self.coordinator, logits, self.distribution.confidence(logits), samples)
        step.log["weights"] = weights.mean((2, 3))
        if len(step.active) < len(weights):
            weights = weights[list(step.active)]
        temperature = self.options.peers_temperature
        if self.options.mix == "probabilities":
            mixed = mix(weights, self.distribution.probabilities(logits, temperature))
            return mixed if weights.shape[-1] == 1 else self.distribution.normalised(mixed)
        return self.distribution.probabilities(mix(weights, logits), temperature)

    def _coordinator_term(self, step: Step) -> dict[str, Tensor]:
        """L_c = 1/(K+1) sum_r CE(sum_j a_rj z_j[L], y[L]) + eta/K sum_i mean_{v in L} KL(u || a_i(v)): a scalar.

        r: the K students as receivers, then the ensemble; u = 1/(K-1) over the peers of i; eta = `uniform_kl_weight`; z: the logits of
        `coordinator_inputs`, detached, (K, N, C). Both terms are summed over tasks. With `cross-fitted`, the first is
        `CrossFitting.coordinator_loss`.
        A coordinator without parameters has no such term.

        NOTE[PAPER]: this loss is ours. It mixes logits, also where `mix` is probabilities.
        """
        if next(self.coordinator.parameters(), None) is None:
            return {}
        from_targets = self.options.coordinator_inputs == "eval" or self.label_use.coordinator_takes_targets
        logits = (step.targets if from_targets else step.logits.detach())[:, step.labelled]
        evidence, labels = (logits, self.distribution.confidence(logits), step.samples[step.labelled]), step.labels[step.labelled]
        loss, weights = self.label_use.coordinator_loss(self.coordinator, evidence, labels, self.distribution)
        if self.options.uniform_kl_weight > 0 and len(labels):  # all labels of a small batch may be held out
            loss = loss + self.options.uniform_kl_weight * self._kl_from_uniform(weights[:-1], labels)
        return {"coordinator": loss}

    def _kl_from_uniform(self, weights: Tensor, labels: Tensor) -> Tensor:
        """KL(u || a_i(v)) in nats, mean over students and samples, summed over tasks: weights (K, K, N, 1 or C), result a scalar."""
        others = weights[~torch.eye(len(weights), dtype=torch.bool)]  # (K (K - 1), N, 1 or C)
        logarithms = (others.clamp(min=1e-12) * (len(weights) - 1)).log()
        return -torch.stack([of_task.mean() for _, of_task, _ in self.distribution.tasks(logarithms, labels)]).sum()


def _label_use(options: GMLOptions, setting: Setting) -> LabelUse:
    """Create the use of labels that `direction` and `weighting` need."""
    if options.direction == "best":
        return BestTeacher(setting, options.held_out, options.running_decay, exchange_on_labels=options.exchange_on == "labelled")
    return CrossFitting(setting, options.held_out) if options.is_cross_fitted else LabelUse()
