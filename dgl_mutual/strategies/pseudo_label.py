"""Pseudo-labels: every student takes its own confident predictions on unlabelled samples for labels."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor

from dgl_mutual.search_space import Categorical, SearchSpace
from dgl_mutual.strategies.base import Strategy
from dgl_mutual.strategies.citation import Citation
from dgl_mutual.strategies.exchange import ExchangeOn, TargetPass
from dgl_mutual.strategies.options import TargetOptions
from dgl_mutual.strategies.step import Step


class PseudoLabelOptions(TargetOptions):
    """Options of `pseudo-label`."""

    search_space: ClassVar[SearchSpace] = {**TargetOptions.search_space, "threshold": Categorical((0.0, 0.6, 0.8, 0.9, 0.95))}
    exchange_warmup: tuple[int, int] | None = None
    exchange_on: ExchangeOn = "all"
    """Where pseudo-labels are given: to all unlabelled samples of a step, to training samples (training), or, transductive, to validation
    and test samples, too. There are none with labelled, which is refused."""
    threshold: float = Field(0.95, ge=0, le=1)
    """Confidence from which on a prediction counts as a label; 0 takes all of them."""
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

    p'_i the student's own clean prediction, U the exchange samples that are not among the labelled ones L. Students do not exchange
    anything: a control of what unlabelled samples give without peers. With several labels each is confident, or not, on its own.

    The threshold is that of FixMatch (Sohn et al., NeurIPS 2020, arXiv 2001.07685), and so is the mean over all of U.

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
        found = [self._term(step.targets[k, rows], own) for k, own in zip(step.active, step.logits[:, rows], strict=True)]
        losses, kept = (torch.stack(values) for values in zip(*found, strict=True))
        if len(rows):  # a mini-batch may have no unlabelled samples
            step.log["exchange"] = losses.detach()
            step.log["confident"] = kept.mean()
        return {"supervised": self.supervised(step), "pseudo_label": self.options.weight * step.ramp * losses}

    def _term(self, predicted: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of one student, summed over weighed tasks, and the share of labels that are confident: both (N, C) logits."""
        labels = self.distribution.predictions(predicted)
        if self.distribution.has_columns:
            labels = labels.to(own.dtype)
        losses, confident = [], []
        predicted_tasks, own_tasks = (self.distribution.tasks(logits, labels) for logits in (predicted, own))
        for (task, theirs, pseudo), (_, logits, _) in zip(predicted_tasks, own_tasks, strict=True):
            kept = (-task.nll(theirs, pseudo)).exp() >= self.options.threshold
            losses.append(torch.where(kept, task.nll(logits, pseudo), 0.0).sum() / max(kept.numel(), 1))
            confident.append(kept.flatten())
        is_confident = torch.cat(confident)
        return self.distribution.over_tasks(losses), is_confident.sum().to(own.dtype) / max(len(is_confident), 1)
