"""Predictions of a strategy from training labels and edges, after training or without training (see `Strategy.propagate`)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dgl_mutual.cohort import Cohort
from dgl_mutual.coordinator import CoordinatorConfig
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.split import Split
from dgl_mutual.distributions import Distribution
from dgl_mutual.errors import TrainingError, UsageError
from dgl_mutual.store.members import BEST, ENSEMBLE, MEAN
from dgl_mutual.strategies.base.options import StrategyOptions
from dgl_mutual.strategies.base.propagation import Matrix, labelled_graph_of
from dgl_mutual.strategies.base.strategy import Strategy
from dgl_mutual.training.assessment import MemberFacts, score_members
from dgl_mutual.training.evaluation.metrics import as_compared
from dgl_mutual.training.evaluation.task_metrics import Scorer, scorer_of
from dgl_mutual.training.result import FitResult
from dgl_mutual.training.seeds import seeded_globally
from dgl_mutual.utils.custom_code import errors_attributed_to
from dgl_mutual.utils.wording import kind_of
from dgl_mutual.weightings import make_coordinator

#: Lower bound of probabilities before their logarithm is taken.
_MIN_PROBABILITY = 1e-12
#: Largest allowed difference of the sum of a node's probabilities from one.
_MAX_ERROR = 1e-3


def propagated_logits(
    strategy_class: type[Strategy],
    options: StrategyOptions,
    dataset: Dataset,
    split: Split,
    distribution: Distribution,
    scorer: Scorer,
    logits: Tensor,
    seed: int,
) -> Tensor:
    """Compute logits (M, N, C) that replace those of the students (K, N, C). Candidates of options are selected by the validation score.

    Args:
        seed: seed of the strategy, which determines the random numbers of `Strategy.propagate`.
    """
    labels = torch.as_tensor(dataset.labels[split.val], device=logits.device)

    def as_logits(candidates: Sequence[Matrix]) -> Tensor:
        return torch.as_tensor(np.log(np.maximum(np.stack(candidates), _MIN_PROBABILITY)), dtype=logits.dtype, device=logits.device)

    def best(candidates: Sequence[Matrix]) -> int:
        scores = scorer.scores(as_logits([matrix[split.val] for matrix in candidates]), labels, [""] * len(candidates)).overall
        return int(np.argmax([as_compared(score) for score in scores]))

    predictions = [distribution.probabilities(of_student).double().cpu().numpy() for of_student in logits]
    graph = labelled_graph_of(dataset, split, best)
    with errors_attributed_to(f"propagate of the strategy {strategy_class.name!r}", strategy_class), seeded_globally(seed, "propagate"):
        propagated = strategy_class.propagate(options, predictions, graph)
    return as_logits(_checked(propagated, strategy_class.name, max(1, len(predictions)), (graph.num_nodes, graph.num_classes)))


def _checked(matrices: Any, strategy: str, count: int, shape: tuple[int, int]) -> list[Matrix]:
    """Check that `propagate` has returned probabilities for each of `count` members, and return them as a list.

    Raises:
        UsageError: a wrong type or shape, or numbers that are not probabilities.
        TrainingError: probabilities that are not finite.
    """
    title = f"propagate of the strategy {strategy!r}"
    if not isinstance(matrices, list | tuple) or len(matrices) != count:
        actual = f"{len(matrices)} values" if isinstance(matrices, list | tuple) else kind_of(matrices)
        raise UsageError(f"{title} returns {actual}. It must return a list of {count}: probabilities {shape} for each member.")
    for matrix in matrices:
        if not isinstance(matrix, np.ndarray) or matrix.shape != shape or matrix.dtype.kind != "f":
            actual = f"an array {matrix.shape} of {matrix.dtype}" if isinstance(matrix, np.ndarray) else kind_of(matrix)
            raise UsageError(f"{title} returns {actual} for a member. It must return floating-point probabilities of the shape {shape}.")
        if not np.isfinite(matrix).all():
            node = int(np.flatnonzero(~np.isfinite(matrix).all(axis=1))[0])
            raise TrainingError(f"{title} returns probabilities that are not finite, first for node {node}. Look for divisions by zero.")
        if (matrix < 0).any() or (np.abs(matrix.sum(axis=1) - 1) > _MAX_ERROR).any():
            raise UsageError(f"{title} returns numbers that are not probabilities: they must be 0 or more, and sum to 1 for each node.")
    return list(matrices)


def fit_untrained(
    strategy_class: type[Strategy],
    options: StrategyOptions,
    dataset: Dataset,
    split: Split,
    distribution: Distribution,
    dtype: torch.dtype,
    seed: int,
) -> FitResult:
    """Return the result of a strategy without training: one member with the strategy's name, which is also the ensemble.

    Args:
        seed: see `propagated_logits`.
    """
    scorer = scorer_of(dataset)
    none = torch.empty(0, dataset.num_nodes, dataset.target.num_outputs, dtype=dtype)
    started = time.perf_counter()
    logits = propagated_logits(strategy_class, options, dataset, split, distribution, scorer, none, seed)
    seconds = time.perf_counter() - started
    facts = MemberFacts(strategy_class.name, "-", best_epoch=None, inference_ms=1000 * seconds, parameters=0)
    scores = score_members([facts], logits, dataset, split)
    (member,) = scores.members
    return FitResult(
        members=(member, *(replace(member, member=name) for name in (MEAN, BEST, ENSEMBLE))),
        history=[],
        epochs=0,
        train_seconds=seconds,
        seconds_per_epoch=0.0,
        disagreement=float("nan"),
        cohort=Cohort([], make_coordinator(CoordinatorConfig("uniform", 1, dataset.target.num_outputs)), distribution, (), 0),
        dataset=dataset,
        split=split,
        reliability=scores.reliability,
        kept=dict.fromkeys((strategy_class.name, ENSEMBLE), distribution.probabilities(logits.double())[0].numpy()),
    )


def with_kept(result: FitResult, logits: Tensor) -> FitResult:
    """Return the result with predictions of its members and ensemble from these logits of all samples (K, N, C)."""
    cohort, samples = result.cohort, torch.arange(logits.shape[1], device=logits.device)
    with_ensemble = torch.cat([logits, cohort.ensemble_logits(logits, samples).unsqueeze(0)])
    probabilities = cohort.distribution.probabilities(with_ensemble.double()).detach().cpu().numpy()
    return replace(result, kept=dict(zip((*cohort.names, ENSEMBLE), probabilities, strict=True)))
