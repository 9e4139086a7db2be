"""Correct and Smooth: what trained students miss on training nodes is spread over edges, and then their predictions are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from dgl_mutual.strategies.citation import Citation
from dgl_mutual.strategies.independent import Independent
from dgl_mutual.strategies.options import StrategyOptions
from dgl_mutual.strategies.transduction import Matrix, Transduction, as_probabilities, spread


class CorrectAndSmoothOptions(StrategyOptions):
    """Options of `correct-and-smooth`."""

    correct_alphas: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field((0.0, 0.5, 0.8, 0.9, 0.99), min_length=1)
    """alpha_1: shares of a step of the correction that come from the neighbours; validation chooses one for each student (0: none)."""
    smooth_alphas: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field((0.0, 0.5, 0.8, 0.9, 0.99), min_length=1)
    """alpha_2: the same of smoothing."""
    steps: int = Field(50, ge=1, le=10_000)
    """Number of steps of each."""


class CorrectAndSmooth(Independent):
    """loss_i = CE(z_i[L], y[L]), as `independent`; then the predictions Z = p_i of each student are changed, with S = D^-1/2 A D^-1/2:

    correct:  E_0 = Y - Z on the training nodes L, 0 elsewhere;  E <- (1 - a_1) E_0 + a_1 S E;
              Z' (v) = Z(v) + s E(v) / |E(v)|_1, s = mean_L |E_0|_1 (autoscale);
    smooth:   G_0 = Y on L, Z' elsewhere;  G <- (1 - a_2) G_0 + a_2 S G.

    Figures are those of the changed predictions; the ensemble mixes these. They belong to the nodes of this graph, so what is saved are
    the students as they were trained. The time of a prediction is that of the student alone. For node tasks on one graph.

    NOTE[PAPER]: validation labels, which the paper also spreads, are used for the choice of the alphas alone.
    NOTE[PAPER]: a step that leaves out correcting or smoothing is among the choices (alpha = 0).
    """

    name = "correct-and-smooth"
    Options = CorrectAndSmoothOptions
    transduces: ClassVar[bool] = True
    citation = Citation(
        title="Combining label propagation and simple models out-performs graph neural networks",
        authors="Huang, He, Singh, Lim, Benson",
        venue="ICLR 2021",
        url="https://arxiv.org/abs/2010.13993",
        formula="CE(z_i[L], y[L]); after training E <- (1 - a_1) E_0 + a_1 S E, G <- (1 - a_2) G_0 + a_2 S G",
    )

    @classmethod
    def transduce(cls, options: StrategyOptions, predictions: Sequence[Matrix], graph: Transduction) -> list[Matrix]:
        assert isinstance(options, CorrectAndSmoothOptions)
        chosen = []
        for prediction in predictions:
            corrected = [correct(prediction, graph, alpha, options.steps) for alpha in options.correct_alphas]
            flat = np.full(graph.num_classes, 1 / graph.num_classes)
            candidates = [
                as_probabilities(smooth(one, graph, alpha, options.steps), otherwise=flat)
                for one in corrected
                for alpha in options.smooth_alphas
            ]
            chosen.append(candidates[graph.best(candidates)])
        return chosen


def correct(prediction: Matrix, graph: Transduction, alpha: float, steps: int) -> Matrix:
    """Z': the predictions (N, C) with what they miss, spread from the training nodes."""
    errors = np.zeros_like(prediction)
    errors[graph.train] = graph.labels[graph.train] - prediction[graph.train]
    scale = np.abs(errors[graph.train]).sum() / max(len(graph.train), 1)
    spread_errors = spread(graph.symmetric, errors, alpha, steps)
    size = np.abs(spread_errors).sum(axis=1, keepdims=True)
    changed: Matrix = prediction + np.divide(scale * spread_errors, size, out=np.zeros_like(errors), where=size > 0)
    return changed


def smooth(prediction: Matrix, graph: Transduction, alpha: float, steps: int) -> Matrix:
    """G: predictions (N, C) and training labels, spread over the edges."""
    guess = prediction.copy()
    guess[graph.train] = graph.labels[graph.train]
    return spread(graph.symmetric, guess, alpha, steps)
