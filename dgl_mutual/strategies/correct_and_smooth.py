"""Correct and Smooth: the errors of trained students on training nodes are spread over edges, and then their predictions are smoothed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from dgl_mutual.strategies.base.citation import Citation
from dgl_mutual.strategies.base.options import StrategyOptions
from dgl_mutual.strategies.base.propagation import LabelledGraph, Matrix, as_probabilities, spread
from dgl_mutual.strategies.independent import Independent


class CorrectAndSmoothOptions(StrategyOptions):
    """Options of `correct-and-smooth`."""

    correct_alphas: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field((0.0, 0.5, 0.8, 0.9, 0.99), min_length=1)
    """Candidates for alpha_1, the weight of the neighbours in each step of the correction (0: no correction). Validation chooses."""
    smooth_alphas: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field((0.0, 0.5, 0.8, 0.9, 0.99), min_length=1)
    """Candidates for alpha_2, the same for smoothing."""
    steps: int = Field(50, ge=1, le=10_000)
    """Number of steps of the correction, and of smoothing."""


class CorrectAndSmooth(Independent):
    """loss_i = CE(z_i[L], y[L]), as `independent`. After training the predictions Z = p_i of each student change, with S = D^-1/2 A D^-1/2:

    correct:  E_0 = Y - Z on the training nodes L, 0 elsewhere;  E <- (1 - a_1) E_0 + a_1 S E;
              Z' (v) = Z(v) + s E(v) / |E(v)|_1, s = mean_L |E_0|_1 (autoscale);
    smooth:   G_0 = Y on L, Z' elsewhere;  G <- (1 - a_2) G_0 + a_2 S G.

    All metrics are computed from the changed predictions, and the ensemble is their mix. The changed predictions exist only for the nodes
    of this graph, so saved students and inference times are those before the change. For node tasks on one graph.

    NOTE[PAPER]: the paper also spreads validation labels. Here they only choose the alphas.
    NOTE[PAPER]: alpha = 0, which leaves out correcting or smoothing, is among the candidates.
    """

    name = "correct-and-smooth"
    Options = CorrectAndSmoothOptions
    propagates: ClassVar[bool] = True
    citation = Citation(
        title="Combining label propagation and simple models out-performs graph neural networks",
        authors="Huang, He, Singh, Lim, Benson",
        venue="ICLR 2021",
        url="https://arxiv.org/abs/2010.13993",
        formula="CE(z_i[L], y[L]); after training E <- (1 - a_1) E_0 + a_1 S E, G <- (1 - a_2) G_0 + a_2 S G",
    )

    @classmethod
    def propagate(cls, options: StrategyOptions, predictions: Sequence[Matrix], graph: LabelledGraph) -> list[Matrix]:
        assert isinstance(options, CorrectAndSmoothOptions)
        flat = np.full(graph.num_classes, 1 / graph.num_classes)
        chosen = []
        for prediction in predictions:
            corrected = [correct(prediction, graph, alpha, options.steps) for alpha in options.correct_alphas]
            candidates = [
                as_probabilities(smooth(scores, graph, alpha, options.steps), otherwise=flat)
                for scores in corrected
                for alpha in options.smooth_alphas
            ]
            chosen.append(candidates[graph.best(candidates)])
        return chosen


def correct(prediction: Matrix, graph: LabelledGraph, alpha: float, steps: int) -> Matrix:
    """Z': the predictions (N, C) plus the errors that are spread from the training nodes."""
    errors = np.zeros_like(prediction)
    errors[graph.train] = graph.labels[graph.train] - prediction[graph.train]
    scale = np.abs(errors[graph.train]).sum() / max(len(graph.train), 1)
    spread_errors = spread(graph.symmetric, errors, alpha, steps)
    size = np.abs(spread_errors).sum(axis=1, keepdims=True)
    changed: Matrix = prediction + np.divide(scale * spread_errors, size, out=np.zeros_like(errors), where=size > 0)
    return changed


def smooth(prediction: Matrix, graph: LabelledGraph, alpha: float, steps: int) -> Matrix:
    """G: predictions (N, C) and training labels, spread over the edges."""
    guess = prediction.copy()
    guess[graph.train] = graph.labels[graph.train]
    return spread(graph.symmetric, guess, alpha, steps)
