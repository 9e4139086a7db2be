"""Label propagation: a baseline without features, parameters or training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field
from torch import Tensor

from dgl_mutual.strategies.base.citation import Citation
from dgl_mutual.strategies.base.options import StrategyOptions
from dgl_mutual.strategies.base.propagation import LabelledGraph, Matrix, as_probabilities, spread
from dgl_mutual.strategies.base.step import Step
from dgl_mutual.strategies.base.strategy import Strategy


class LabelPropagationOptions(StrategyOptions):
    """Options of `label-propagation`."""

    alphas: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field((0.5, 0.8, 0.9, 0.95, 0.99, 1.0), min_length=1)
    """Candidates for a, the weight of the neighbours in each step; the best on validation is chosen. The paper uses 1."""
    steps: int = Field(50, ge=1, le=10_000)
    """Number of steps."""


class LabelPropagation(Strategy):
    """F <- a D^-1 A F + (1 - a) Y, then F[L] = Y[L], repeated from F = Y on; p(v) = F(v) / sum_c F(v, c).

    A is the adjacency matrix, D its degrees, Y the one-hot labels of the training nodes L and zero elsewhere. Nothing is trained:
    `students` are not used, and the only member is called ``label-propagation``. Nodes that no training label reaches get the
    class shares of the training labels. For node tasks on one graph.

    NOTE[PAPER]: the paper has a = 1 and weights from distances between features; here an edge weighs 1, and validation chooses a.
    """

    name = "label-propagation"
    Options = LabelPropagationOptions
    min_students: ClassVar[int] = 0
    trains: ClassVar[bool] = False
    propagates: ClassVar[bool] = True
    citation = Citation(
        title="Learning from labeled and unlabeled data with label propagation",
        authors="Zhu, Ghahramani",
        venue="Technical report CMU-CALD-02-107, 2002",
        url="https://www.cs.cmu.edu/~zhuxj/pub/CMU-CALD-02-107.pdf",
        formula="none: F <- a D^-1 A F + (1 - a) Y, F[L] = Y[L]",
    )

    @classmethod
    def propagate(cls, options: StrategyOptions, predictions: Sequence[Matrix], graph: LabelledGraph) -> list[Matrix]:
        assert isinstance(options, LabelPropagationOptions)

        def clamped(scores: Matrix) -> Matrix:
            scores[graph.train] = graph.labels[graph.train]
            return scores

        shares = np.bincount(graph.classes, minlength=graph.num_classes) / max(len(graph.train), 1)
        candidates = [
            as_probabilities(spread(graph.by_rows, graph.labels, alpha, options.steps, clamped), otherwise=shares)
            for alpha in options.alphas
        ]
        return [candidates[graph.best(candidates)]]

    def loss_terms(self, step: Step) -> dict[str, Tensor]:
        raise NotImplementedError("nothing is trained")
