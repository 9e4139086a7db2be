"""What code of a user's own draws follows from the seed of the training."""

from __future__ import annotations

import random
from typing import Any

import dgl
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dgl_mutual as dm
from dgl_mutual.training.snapshots import Snapshots
from tests.training.cuts import Cut, CutAfter, same
from tests.training.own_students import Linear, own


class Dice(dm.Strategy):
    def loss_terms(self, step: Any) -> dict[str, Tensor]:
        noise = torch.rand(()) + np.random.rand() + random.random()
        return {"supervised": self.supervised(step) * noise}


class Drops(dm.Weighting):
    """Draws where it weighs, and where it observes."""

    def __init__(self, options: Any, config: Any) -> None:
        super().__init__(options, config)
        self.register_buffer("seen", torch.zeros(()))

    def scores(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        return nn.functional.dropout(confidence, 0.5)[None, ..., None] + self.seen * np.random.rand()

    def observe(self, logits: Tensor, samples: Tensor) -> None:
        self.seen.copy_(torch.rand(()))


WITH_DROPS = ("gml", {"weighting": Drops, "exchange_warmup": (0, 0), "mix": "logits"})


@pytest.mark.parametrize(("strategy", "options"), [(Dice, {}), WITH_DROPS])
def test_what_they_draw_follows_from_the_seed(strategy, options, node_data, fit):
    results = []
    for other in (1, 2):
        torch.manual_seed(other), np.random.seed(other), random.seed(other)
        results.append(fit(node_data, ("gcn", "sage"), strategy=strategy, strategy_options=options, epochs=4))
        drawn = torch.rand(()), np.random.rand(), random.random()
        torch.manual_seed(other), np.random.seed(other), random.seed(other)
        assert drawn == (torch.rand(()), np.random.rand(), random.random())
    same(*results)
    other = fit(node_data, ("gcn", "sage"), strategy=strategy, strategy_options=options, epochs=4, seed=1)
    assert other.history != results[0].history


@pytest.mark.parametrize(("strategy", "options"), [(Dice, {}), WITH_DROPS])
def test_a_cut_training_draws_what_it_would_have_drawn(strategy, options, node_data, fit, tmp_path):
    def train(*callbacks: Any, file: str) -> Any:
        torch.manual_seed(len(callbacks))
        return fit(
            node_data,
            ("gcn", "sage"),
            strategy=strategy,
            strategy_options=options,
            epochs=6,
            callbacks=callbacks,
            snapshots=Snapshots(tmp_path / file, 2),
        )

    with pytest.raises(Cut):
        train(CutAfter(3), file="cut")
    same(train(file="cut"), train(file="whole"))


class Initial(Linear):
    """Draws its weights from NumPy, and noise for gradients from all."""

    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__(in_features, num_outputs)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.mul_(float(np.random.rand() + random.random()))

    def forward(self, graph: dgl.DGLGraph, feat: Tensor) -> Tensor:
        logits = super().forward(graph, feat)
        if logits.requires_grad:
            logits.register_hook(lambda grad: grad * (torch.rand(()) + np.random.rand()))
        return logits


def test_initial_weights_and_gradients_follow_from_the_seed(node_data, fit):
    results = []
    for other in (1, 2):
        torch.manual_seed(other), np.random.seed(other), random.seed(other)
        results.append(fit(node_data, ("gcn", own(Initial)), epochs=3))
    same(*results)
