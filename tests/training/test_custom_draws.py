"""What custom code draws follows from the seed of the training."""

from __future__ import annotations

import random
from typing import Any

import dgl
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dgl_mutual as dm
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.strategies.base.exchange import Exchange
from dgl_mutual.strategies.base.imitation import ExchangeStrategy
from dgl_mutual.training.callbacks import EpochReports
from dgl_mutual.training.snapshots import Snapshots
from tests.training.custom_students import Linear, custom
from tests.training.cuts import Cut, CutAfter, same


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
def test_draws_of_custom_code_follow_from_the_seed(strategy, options, node_data, fit):
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
def test_a_resumed_training_draws_the_same_numbers(strategy, options, node_data, fit, tmp_path):
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
        results.append(fit(node_data, ("gcn", custom(Initial)), epochs=3))
    same(*results)


class RandomPhases(dm.Strategy):
    """Trains its members in a random order."""

    def phases(self) -> tuple[tuple[int, ...], ...]:
        order = sorted(range(6), key=lambda _: random.random() + np.random.rand() + float(torch.rand(())))
        return tuple((member,) for member in order)

    def loss_terms(self, step: Any) -> dict[str, Tensor]:
        return {"supervised": self.supervised(step)}


class RandomExchange(ExchangeStrategy):
    def exchange(self) -> Exchange:
        return Exchange("eval", warmup=(0, 1 + random.randrange(1000) + int(np.random.randint(1000))))

    def loss_terms(self, step: Any) -> dict[str, Tensor]:
        step.log["ramp"] = torch.tensor(float(step.ramp))
        return {"supervised": self.supervised(step)}


class RandomTeacher(dm.Strategy):
    @classmethod
    def extra_members(cls, options: Any, students: Any) -> Any:
        return (("teacher", StudentOptions(hidden=random.randint(4, 1000))),)

    def loss_terms(self, step: Any) -> dict[str, Tensor]:
        return {"supervised": self.supervised(step)}


class RandomPredictions(dm.Strategy):
    propagates = True

    @classmethod
    def propagate(cls, options: Any, predictions: Any, graph: Any) -> Any:
        drawn = [one + np.random.rand(*one.shape) + random.random() + torch.rand(one.shape).numpy() for one in predictions]
        return [one / one.sum(1, keepdims=True) for one in drawn]

    def loss_terms(self, step: Any) -> dict[str, Tensor]:
        return {"supervised": self.supervised(step)}


class Untrained(RandomPredictions):
    trains = False

    @classmethod
    def propagate(cls, options: Any, predictions: Any, graph: Any) -> Any:
        drawn = np.random.rand(graph.num_nodes, graph.num_classes) + random.random()
        return [drawn / drawn.sum(1, keepdims=True)]


@pytest.mark.parametrize("strategy", [RandomPhases, RandomExchange, RandomTeacher, RandomPredictions, Untrained])
def test_draws_outside_of_steps_follow_from_the_seed(strategy, node_data, fit):
    told: list[int] = []

    def train(global_seed: int, seed: int = 0) -> Any:
        torch.manual_seed(global_seed), np.random.seed(global_seed), random.seed(global_seed)
        reports = EpochReports(lambda report: told.append(report.epochs))
        result = fit(node_data, ("gcn", "sage") * 3, strategy=strategy, epochs=2, seed=seed, callbacks=[reports])
        drawn = torch.rand(()), np.random.rand(), random.random()
        torch.manual_seed(global_seed), np.random.seed(global_seed), random.seed(global_seed)
        assert drawn == (torch.rand(()), np.random.rand(), random.random())
        return result

    first, second, other = train(1), train(2), train(1, seed=1)
    assert len({*told}) <= 1
    assert first.history == second.history or strategy is Untrained
    for name, probabilities in (first.kept or {}).items():
        np.testing.assert_array_equal(probabilities, second.kept[name])
    widths = [[student.options.hidden for student in result.cohort.members] for result in (first, second, other)]
    assert widths[0] == widths[1] == widths[2]
    if strategy is RandomPhases:
        assert [[*row] for row in first.history] != [[*row] for row in other.history]
    elif strategy is RandomExchange:
        assert [row["ramp"] for row in first.history] != [row["ramp"] for row in other.history]
    elif strategy is Untrained:
        assert not np.array_equal(first.kept["ensemble"], other.kept["ensemble"])


def test_a_resumed_training_keeps_its_phases(node_data, fit, tmp_path):
    options: dict[str, Any] = {"students": ("gcn", "sage") * 3, "strategy": RandomPhases, "epochs": 2}
    whole = fit(node_data, **options)
    for epochs in (1, 4, 9):
        random.seed(epochs)
        snapshots = Snapshots(tmp_path / str(epochs), 1)
        with pytest.raises(Cut):
            fit(node_data, **options, snapshots=snapshots, callbacks=[CutAfter(epochs)])
        same(fit(node_data, **options, snapshots=snapshots), whole)
