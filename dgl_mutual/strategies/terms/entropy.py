"""Entropy of the students' own predictions as a loss term: a bonus, or with a negative weight information maximisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator
from torch import Tensor

from dgl_mutual.data.values.target import TaskName
from dgl_mutual.distributions import Distribution
from dgl_mutual.errors import UsageError
from dgl_mutual.nn.csr import Rows
from dgl_mutual.options import MAX_WEIGHT
from dgl_mutual.strategies.base.options import ExchangeOptions, Unlabelled
from dgl_mutual.strategies.base.step import Step

if TYPE_CHECKING:
    from typing_extensions import Self


class EntropyOptions(ExchangeOptions):
    """Options of the entropy and class-prior terms."""

    entropy_weight: float = Field(0.0, ge=-MAX_WEIGHT, le=MAX_WEIGHT)
    """gamma: weight of the predictive entropy. A positive weight is a bonus that flattens predictions, and a negative one sharpens them."""
    entropy_schedule: Literal["constant", "warmup"] = "constant"
    """Epochs with the terms of entropy and class prior: all of them (constant), or only those before the exchange begins (warmup; see
    exchange_warmup)."""
    entropy_on: Literal["exchange", "labelled", "training", "all"] = "exchange"
    """Samples of these two terms: those of the exchange (exchange_on), the labelled training samples, all training samples of a step,
    labelled or not (training), or all samples of a step (on a node task all nodes, on a graph task the graphs of the batch). With hidden
    labels and an exchange on all nodes, the default of gml is training."""
    class_prior_weight: float | None = Field(None, ge=0, le=MAX_WEIGHT)
    """Weight of the divergence of the mean prediction from the class prior: each class's share of the labelled training samples. It keeps
    students from neglecting classes. With a number of labels per class (label_rate) the prior is uniform, and wrong where classes differ in
    size; the default of gml is then 1 instead of 3 (null: -entropy_weight if that is positive, else 0)."""

    @model_validator(mode="after")
    def _check_schedule(self) -> EntropyOptions:
        if fault := self._schedule_fault():
            raise ValueError(fault.removesuffix("."))
        return self

    def _schedule_fault(self) -> str | None:
        """Return the fault of a schedule under which the terms are on in no epoch; else None."""
        is_off = self.entropy_weight == 0 and self.prior_weight == 0
        if is_off or self.entropy_schedule == "constant" or self.exchange_warmup is None or self.exchange_warmup[0] > 0:
            return None
        return (
            f"With entropy_schedule = warmup the entropy term is never on, since the exchange begins in the first epoch (exchange_warmup = "
            f"{list(self.exchange_warmup)}). Let the exchange begin later, for example exchange_warmup=[1, 1], or choose "
            "entropy_schedule=constant."
        )

    def resolved(self, epochs: int, task: TaskName, unlabelled: Unlabelled | None = None) -> Self:
        resolved = super().resolved(epochs, task, unlabelled)
        if fault := resolved._schedule_fault():  # a quarter of few epochs may be zero
            raise UsageError(fault)
        return resolved

    def without_effect(self, num_students: int) -> Mapping[str, str]:
        reasons = super().without_effect(num_students)
        if self.entropy_weight != 0 or self.prior_weight != 0:
            return reasons
        why = "since entropy_weight and class_prior_weight are zero here. Give one of these, for example entropy_weight=-0.05."
        return {**reasons, **dict.fromkeys(("entropy_on", "entropy_schedule"), why)}

    @property
    def prior_weight(self) -> float:
        """Weight of the class prior."""
        return max(0.0, -self.entropy_weight) if self.class_prior_weight is None else self.class_prior_weight


def entropy_terms(options: EntropyOptions, distribution: Distribution, step: Step, marginal: Tensor) -> dict[str, Tensor]:
    """-gamma mean_v H(p_i(v)) and rho KL(mean_v p_i(v) || p(y)) for each active i: (A,); terms that are off are left out.

    With gamma = -rho < 0 and classes of one size their sum is, up to a constant, -rho I(v; y), the mutual information of samples and
    predictions. Sources: Pereyra et al., ICLR 2017 workshop, arXiv 1701.06548 (bonus); Grandvalet and Bengio, NeurIPS 2004 (entropy
    minimisation); Krause, Perona and Gomes, NeurIPS 2010 (regularised information maximisation, with a prior of the classes).

    NOTE: the mean is over the samples of a step. In small batches it is further from the prior than over all samples.

    Args:
        marginal: p(y), the class prior (see `Setting`): (C,).
    """
    if options.entropy_schedule == "warmup" and step.ramp > 0:
        return {}
    own = step.logits[:, _rows(options, step)]
    terms = {}
    if options.entropy_weight != 0:
        count = max(own.shape[1], 1)  # a mini-batch may hold no labelled sample
        terms["entropy"] = -options.entropy_weight * distribution.entropy(own).sum(-1) / count
    if options.prior_weight > 0:
        terms["class_prior"] = options.prior_weight * distribution.mean_divergence(own, marginal)
    return terms


def _rows(options: EntropyOptions, step: Step) -> Rows:
    rows = {"exchange": step.exchange, "labelled": step.labelled, "training": step.training, "all": slice(None)}
    return rows[options.entropy_on]
