"""Predictions that a strategy makes from training labels and edges after training, or without training (see `Strategy.transduce`)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from dgl_mutual.cohort import Cohort
from dgl_mutual.coordinator import CoordinatorRecipe
from dgl_mutual.data.dataset import Dataset, Split
from dgl_mutual.distributions import Distribution
from dgl_mutual.strategies.base import Strategy
from dgl_mutual.strategies.options import StrategyOptions
from dgl_mutual.strategies.transduction import Matrix, transduction_of
from dgl_mutual.training.assessment import calibrations_by_metric, reliability_rows
from dgl_mutual.training.calibration import mean_over_tasks
from dgl_mutual.training.metrics import Scorer
from dgl_mutual.training.result import FitResult, MemberResult
from dgl_mutual.training.task_metrics import score, scorer_of
from dgl_mutual.weightings import make_coordinator

#: Smaller probabilities are raised to this before their logarithm is taken.
_LEAST = 1e-12


def transduced_logits(
    kind: type[Strategy],
    options: StrategyOptions,
    dataset: Dataset,
    split: Split,
    distribution: Distribution,
    scorer: Scorer,
    logits: Tensor,
) -> Tensor:
    """Logits (M, N, C) that replace those of the students (K, N, C). Options with several candidates are chosen by the validation score."""
    labels = torch.as_tensor(dataset.labels[split.val], device=logits.device)

    def as_logits(candidates: Sequence[Matrix]) -> Tensor:
        return torch.as_tensor(np.log(np.maximum(np.stack(candidates), _LEAST)), dtype=logits.dtype, device=logits.device)

    def best(candidates: Sequence[Matrix]) -> int:
        scores = score(scorer, as_logits([one[split.val] for one in candidates]), labels, [""] * len(candidates)).overall
        return int(np.argmax(scores))

    predictions = [distribution.probabilities(one).double().cpu().numpy() for one in logits]
    return as_logits(kind.transduce(options, predictions, transduction_of(dataset, split, best)))


def fit_untrained(
    kind: type[Strategy], options: StrategyOptions, dataset: Dataset, split: Split, distribution: Distribution, dtype: torch.dtype
) -> FitResult:
    """The result of a strategy without training: one member with the strategy's name, which is also the ensemble."""
    scorer = scorer_of(dataset)
    none = torch.empty(0, dataset.num_nodes, dataset.target.num_outputs, dtype=dtype)
    started = time.perf_counter()
    logits = transduced_logits(kind, options, dataset, split, distribution, scorer, none)
    seconds = time.perf_counter() - started
    labels = torch.as_tensor(dataset.labels)
    parts = [torch.as_tensor(part) for part in (split.train, split.val, split.test)]
    train, val, test = (score(scorer, logits[:, part], labels[part], [kind.name]).overall[0] for part in parts)
    measured = calibrations_by_metric(dataset, distribution, logits[:, parts[-1]], labels[parts[-1]])
    ((nll, ece),) = mean_over_tasks(list(measured.values()))
    member = MemberResult(kind.name, "-", train, val, test, None, 1000 * seconds, 0, nll, ece)
    return FitResult(
        members=(member, *(replace(member, member=name) for name in ("mean", "best_by_val", "ensemble"))),
        history=[],
        epochs=0,
        train_seconds=seconds,
        seconds_per_epoch=0.0,
        disagreement=float("nan"),
        cohort=Cohort([], make_coordinator(CoordinatorRecipe("uniform", 1, dataset.target.num_outputs)), distribution, (), 0),
        dataset=dataset,
        split=split,
        reliability=reliability_rows(measured, [kind.name]),
        kept=dict.fromkeys((kind.name, "ensemble"), distribution.probabilities(logits)[0].numpy()),
    )


def with_kept(result: FitResult, distribution: Distribution, logits: Tensor, samples: Tensor) -> FitResult:
    """A result whose members, and ensemble, predict these logits (K, N, C)."""
    everyone = torch.cat([logits, result.cohort.ensemble_logits(logits, samples).unsqueeze(0)])
    probabilities = distribution.probabilities(everyone).detach().cpu().numpy()
    return replace(result, kept=dict(zip((*result.cohort.names, "ensemble"), probabilities, strict=True)))
