"""Pseudo-labels: every student learns from its own confident predictions on unlabelled samples as labels."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor

from dgl_mutual.search_space import Categorical, SearchSpace
from dgl_mutual.strategies.base.citation import Citation
from dgl_mutual.strategies.base.exchange import ExchangeOn, TargetPass
from dgl_mutual.strategies.base.options import TargetOptions
from dgl_mutual.strategies.base.step import Step
from dgl_mutual.strategies.base.strategy import Strategy


class PseudoLabelOptions(TargetOptions):
    """Options of `pseudo-label`."""

    search_space: ClassVar[SearchSpace] = {**TargetOptions.search_space, "threshold": Categorical((0.0, 0.6, 0.8, 0.9, 0.95))}
    exchange_warmup: tuple[int, int] | None = None
    exchange_on: ExchangeOn = "all"
    """Samples that get pseudo-labels: all unlabelled samples of a step (all), unlabelled training samples (training), or also validation
    and test samples (transductive). labelled would leave none and is refused."""
    threshold: float = Field(0.95, ge=0, le=1)
    """Least confidence of a prediction that becomes a label; with 0 all of them do."""
    targets: TargetPass = "eval"
    """Which predictions become labels: eval (dropout off, batch norm in evaluation mode), train (the training pass), ema (moving average
    of eval), best (eval at the best epoch so far, by validation), or average (eval with a moving average of the weights)."""

    @model_validator(mode="after")
    def _check_samples(self) -> PseudoLabelOptions:
        if self.exchange_on == "labelled":
            raise ValueError("exchange_on = labelled leaves no sample for pseudo-labels: choose all, or the strategy independent")
        return self


class PseudoLabel(Strategy):
    """loss_i = CE(z_i[L], y[L]) + lambda mean_{v in U} [max_c p'_i,c(v) >= threshold] CE(z_i(v), argmax_c p'_i,c(v)),

    p'_i the student's own clean prediction, U the exchange samples that are not among the labelled ones L. Students exchange nothing: a
    control for the gain from unlabelled samples without peers. With several labels the threshold applies to each of them.

    The threshold and the mean over all of U are those of FixMatch (Sohn et al., NeurIPS 2020, arXiv 2001.07685).

    Without unlabelled samples, as on a graph task with all labels, it is `independent`, and a warning says so.

    NOTE[PAPER]: lambda grows from 0 by `exchange_warmup`, linearly, as the paper's alpha(t) does.
    """

    name = "pseudo-label"
    Options = PseudoLabelOptions
    options: PseudoLabelOptions
    min_students: ClassVar[int] = 1
    needs_unlabelled: ClassVar[bool] = True
    citation = Citation(
        title="Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for Deep Neural Networks",
        authors="Lee",
        venue="ICML Workshop on Challenges in Representation Learning 2013",
        url="https://www.kaggle.com/blobs/download/forum-message-attachment-files/746/pseudo_label_final.pdf",
        formula="CE + lambda [max p'_i >= threshold] CE(z_i, argmax p'_i) on unlabelled samples",
    )

    def loss_terms(self, step: Step) -> dict[str, Tensor]:
        unlabelled = torch.zeros(step.logits.shape[1], dtype=torch.bool, device=step.logits.device)
        unlabelled[step.exchange] = True
        unlabelled[step.labelled] = False
        rows = torch.nonzero(unlabelled).squeeze(1)
        per_student = [self._term(step.targets[k, rows], own) for k, own in zip(step.active, step.logits[:, rows], strict=True)]
        losses, confident = (torch.stack(values) for values in zip(*per_student, strict=True))
        if len(rows):  # a mini-batch may have no unlabelled samples
            step.log["exchange"] = losses.detach()
            step.log["confident"] = confident.mean()
        return {"supervised": self.supervised(step), "pseudo_label": self.options.weight * step.ramp * losses}

    def _term(self, predicted: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss of one student, a weighted sum over tasks, and the share of confident labels, from (N, C) logits each."""
        labels = self.distribution.predictions(predicted)
        if self.distribution.has_columns:
            labels = labels.to(own.dtype)
        losses, confident = [], []
        predicted_tasks, own_tasks = (self.distribution.tasks(logits, labels) for logits in (predicted, own))
        for (task, theirs, pseudo), (_, logits, _) in zip(predicted_tasks, own_tasks, strict=True):
            passes = (-task.nll(theirs, pseudo)).exp() >= self.options.threshold
            losses.append(torch.where(passes, task.nll(logits, pseudo), 0.0).sum() / max(passes.numel(), 1))
            confident.append(passes.flatten())
        is_confident = torch.cat(confident)
        return self.distribution.over_tasks(losses), is_confident.sum().to(own.dtype) / max(len(is_confident), 1)
