"""State that custom code keeps, and what it changes of others, while it trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import dgl
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dgl_mutual as dm
from dgl_mutual.errors import DglMutualError, UsageError
from dgl_mutual.strategies.base.options import ExchangeOptions, TeachingOptions
from tests.small_graph import EDGES, FEATURES, SPLIT, graph
from tests.small_graph import fit as short
from tests.training.custom_students import CountsSteps, Linear, custom

# Two students are the fewest that a weighting can be tried on.
pytestmark = pytest.mark.filterwarnings("ignore:strategy_options.weighting = .* has no effect, except on the ensemble")


def test_custom_students_predict_in_inference_mode(node_data, fit):
    result = fit(node_data, ("gcn", custom(Linear)), strategy="gml", strategy_options={"weighting": weighing(plain)}, epochs=2)
    expected = result.predict(member="ensemble")
    with torch.inference_mode():
        np.testing.assert_array_equal(result.predict(member="ensemble"), expected)
        result.cohort.members[1](graph(), torch.zeros(30, node_data[0].num_features))


class Scaled(dm.Weighting):
    """Computes with a tensor that is neither a parameter nor a buffer that is kept."""

    def __init__(self, options: Any, config: Any) -> None:
        super().__init__(options, config)
        self.scale = torch.tensor(0.5)
        self.register_buffer("factor", torch.tensor([0.5]).squeeze(), persistent=False)
        self.values = torch.arange(3).tolist()

    def scores(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        return (confidence * self.scale * self.factor)[None, ..., None]


class Best(Linear):
    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__(in_features, num_outputs)
        self.register_buffer("lowest", torch.tensor(torch.inf))


@pytest.mark.parametrize("students", [("gcn", "sage"), (custom(Best), "gcn")], ids=["built-in", "custom"])
def test_a_saved_ensemble_with_a_custom_weighting_predicts_the_same(students, node_data, fit, tmp_path):
    result = fit(node_data, students, strategy="gml", strategy_options={"weighting": Scaled}, epochs=2)
    result.save(tmp_path / "saved")
    loaded = dm.load_student(tmp_path / "saved", trust=True)
    np.testing.assert_array_equal(loaded.predict(node_data[0]), result.predict(member="ensemble"))


class Cached(nn.Module):
    def __init__(self, in_features: int, num_outputs: int, cached: bool = True) -> None:
        super().__init__()
        self.layer = dgl.nn.SGConv(in_features, num_outputs, k=2, cached=cached, allow_zero_in_degree=True)

    def forward(self, graph: Any, feat: Tensor) -> Any:
        return self.layer(graph, feat)


class Picky(Linear):
    """Takes no other features than those of the dataset."""

    def forward(self, graph: Any, feat: Tensor) -> Any:
        if not set(feat.flatten().tolist()) <= set(FEATURES.astype(np.float32).flatten().tolist()):
            raise ValueError("unknown features")
        return super().forward(graph, feat)


def test_a_student_that_caches_its_first_input_is_refused():
    def of(student: Any) -> Any:
        return short([student, "gcn"], training={"epochs": 1, "scale_inputs": False})

    with pytest.raises(UsageError, match=r"'Cached-0' keeps something that it computed from its first input \(for example cached=True\)"):
        of(Cached)
    assert of({"architecture": Cached, "options": {"cached": False}}).epochs == of(Picky).epochs == 1


class CachesGraph(Linear):
    """Keeps the ends of the edges of its first graph, or the edge features of the first graph with so many edges."""

    def __init__(self, in_features: int, num_outputs: int, what: str) -> None:
        super().__init__(in_features, num_outputs)
        self.what, self.of_edges = what, nn.Linear(2, num_outputs)
        self.kept: dict[Any, Any] = {}

    def forward(self, graph: Any, feat: Tensor) -> Any:
        (source, destination), edges = graph.edges(), graph.edata.get("feat", feat.new_zeros(graph.num_edges(), 2))
        if self.what == "ends":
            source, destination = self.kept.setdefault("ends", (source, destination))
            edges = edges.new_zeros(len(source), 2)
        if self.what == "edges":
            edges = self.kept.setdefault(len(edges), edges)
        logits = super().forward(graph, feat)
        return logits.index_add(0, destination, logits[source] + self.of_edges(edges))


@pytest.mark.parametrize(("what", "has_edge_features"), [("ends", False), ("edges", True)])
def test_a_student_that_caches_edges_or_their_features_is_refused(what, has_edge_features):
    drawn = np.random.default_rng(0).normal(size=(EDGES.shape[1], 2)).astype(np.float32)
    data = dm.Dataset.from_arrays(EDGES, FEATURES, np.arange(30) % 3, edge_features=drawn if has_edge_features else None)
    student = {"architecture": CachesGraph, "edge_features": has_edge_features, "options": {"what": what}}
    with pytest.raises(UsageError, match="'CachesGraph-0' keeps something that it computed from its first input"):
        short([student, "gcn"], data=data)
    assert short([{**student, "options": {"what": "nothing"}}, "gcn"], data=data).epochs == 2


class Lowest(dm.Weighting):
    def __init__(self, options: Any, config: Any) -> None:
        super().__init__(options, config)
        self.register_buffer("lowest", torch.full((config.num_students,), torch.inf))

    def scores(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        return confidence[None, ..., None]


def test_a_saved_ensemble_with_a_custom_weighting_of_several_tasks_can_be_loaded(tmp_path):
    labels = {"a": np.arange(30) % 2, "b": np.arange(30) % 3}
    data = dm.Dataset.from_arrays(EDGES, FEATURES, labels)
    result = short(data=data, strategy_options={"weighting": Lowest})
    result.save(tmp_path / "saved")
    loaded = dm.load_student(tmp_path / "saved", trust=True)
    np.testing.assert_array_equal(loaded.predict(data), result.predict(member="ensemble"))


class Taught(dm.Strategy):
    class Options(TeachingOptions):
        exchange_on: Literal["all", "training"] = "all"

    def loss_terms(self, step: Any) -> dict[str, Tensor]:
        target = self.distribution.probabilities(step.targets[:, step.exchange]).mean(0, keepdim=True)
        divergence = self.distribution.divergence(target, step.logits[:, step.exchange]).mean(-1)
        return {"supervised": self.supervised(step), "mutual": step.ramp * divergence}


class Exchanging(Taught):
    Options = ExchangeOptions


@pytest.mark.parametrize(
    ("strategy", "options"),
    [(Taught, {"exchange_on": "training"}), (Taught, {"exchange_warmup": [1, 1]}), (Exchanging, {"targets": "eval"})],
)
def test_a_strategy_without_an_exchange_of_its_own_follows_its_options(strategy, options):
    assert short(strategy=strategy).history != short(strategy=strategy, strategy_options=options).history


def changing(name: str) -> type[dm.Strategy]:
    class Mine(dm.Strategy):
        def loss_terms(self, step: Any) -> dict[str, Tensor]:
            tensor = getattr(step, name)
            with torch.no_grad():
                tensor.mul_(0) if tensor.is_floating_point() else tensor.fill_(0)
            return {"supervised": self.supervised(step)}

    return Mine


def weighing(scores: Callable[..., Any], observe: Callable[..., Any] | None = None, **members: Any) -> type[dm.Weighting]:
    members = {"scores": scores, **({"observe": observe} if observe else {}), **members}
    return type("Mine", (dm.Weighting,), members)


def plain(self: Any, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
    return confidence[None, ..., None]


def divides(self: Any, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
    logits /= 10
    return confidence[None, ..., None]


def zeroes(self: Any, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
    samples.zero_()
    return confidence[None, ..., None]


def zeroes_observed(self: Any, logits: Tensor, samples: Tensor) -> None:
    samples.zero_()


def halves(self: Any, logits: Tensor, samples: Tensor) -> None:
    logits /= 2


@pytest.mark.parametrize("name", ["logits", "targets", "labels"])
def test_a_strategy_that_changes_what_others_read_is_refused(name):
    with pytest.raises(
        UsageError, match=rf"loss_terms of the strategy 'Mine' changes step\.(logits and step\.targets|{name}), which others"
    ):
        short(strategy=changing(name))


@pytest.mark.parametrize(
    "mine",
    [weighing(divides), weighing(zeroes), weighing(plain, halves), weighing(plain, zeroes_observed)],
    ids=["scores", "samples", "observe", "observed samples"],
)
def test_a_weighting_that_changes_what_others_read_is_refused(mine):
    with pytest.raises(UsageError, match="weighting 'Mine' changes the logits, confidence or samples that it receives"):
        short(strategy_options={"weighting": mine, "exchange_warmup": (0, 0)})


def test_a_weighting_whose_state_is_no_tensor_is_refused():
    mine = weighing(plain, get_extra_state=lambda self: {"k": 1}, set_extra_state=lambda self, state: None)
    with pytest.raises(UsageError, match=r"weighting 'Mine' keeps state that is not a tensor \(_extra_state\)"):
        short(strategy_options={"weighting": mine})


def test_students_that_are_given_the_same_weights_each_time_are_refused(node_data, fit):
    kept: list[nn.Module] = []

    def cached(in_features: int, num_outputs: int) -> nn.Module:
        kept[:] = kept or [Linear(in_features, num_outputs)]
        return kept[0]

    shared = nn.Linear(5, 3)

    def partly(in_features: int, num_outputs: int) -> nn.Module:
        module = Linear(in_features, num_outputs)
        module.part = shared
        return module

    for student in (cached, partly):
        with pytest.raises(UsageError, match=rf"'{student.__name__}-1' has the same weights each time it is made"):
            fit(node_data, ("gcn", custom(student)), epochs=1)
    shared.requires_grad_(False)  # frozen weights may be shared
    fit(node_data, ("gcn", custom(partly)), epochs=1)


class LaterLayer(Linear):
    def forward(self, graph: dgl.DGLGraph, feat: Tensor) -> Tensor:
        logits = super().forward(graph, feat)
        if not hasattr(self, "extra"):
            self.extra = nn.Linear(logits.shape[1], logits.shape[1])
        return self.extra(logits)


class Queue(Linear):
    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__(in_features, num_outputs)
        self.register_buffer("queue", torch.zeros(0))

    def forward(self, graph: dgl.DGLGraph, feat: Tensor) -> Tensor:
        if self.training:
            self.queue = torch.cat([self.queue, feat.new_zeros(1)])
        return super().forward(graph, feat)


class LaterBuffer(Linear):
    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__(in_features, num_outputs)
        self.register_buffer("mean", None)

    def forward(self, graph: dgl.DGLGraph, feat: Tensor) -> Tensor:
        self.mean = feat.mean(0)
        return super().forward(graph, feat)


class Cache(Linear):
    """A buffer that is not saved may come and change."""

    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__(in_features, num_outputs)
        self.register_buffer("cache", None, persistent=False)
        self.register_buffer("sparse", torch.eye(3).to_sparse(), persistent=False)

    def forward(self, graph: dgl.DGLGraph, feat: Tensor) -> Tensor:
        self.cache = feat.new_zeros(1 if self.cache is None else len(self.cache) + 1)
        return super().forward(graph, feat)


def test_buffers_that_are_not_saved_may_change(node_data, fit):
    cache = fit(node_data, ("gcn", custom(Cache)), epochs=2).cohort.members[1].module.cache
    assert len(cache) > 1  # it came, and grew with every pass


class Sparse(Linear):
    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__(in_features, num_outputs)
        self.register_buffer("matrix", torch.eye(3).to_sparse())


class Expanded(Linear):
    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__(in_features, num_outputs)
        self.register_buffer("zeros", torch.zeros(1).expand(7))


@pytest.mark.parametrize(
    ("student", "message"),
    [
        (LaterLayer, r"module\.extra\.weight of the student 'LaterLayer-1' is created while it trains"),
        (Queue, r"The student 'Queue-1' changes the shape of module\.queue from \(0,\) to \(1,\) while it trains"),
        (LaterBuffer, r"module\.mean of the student 'LaterBuffer-1' is created while it trains"),
        (Sparse, r"'Sparse-1' has a sparse tensor matrix, which cannot be saved"),
        (Expanded, r"'Expanded-1' has a tensor zeros in which several values share memory.*zeros\.clone\(\)"),
    ],
)
def test_a_student_whose_state_cannot_be_kept_is_refused(student, message, node_data, fit):
    with pytest.raises(UsageError, match=message):
        fit(node_data, ("gcn", custom(student)), epochs=2)


def test_a_strategy_or_weighting_whose_state_cannot_be_kept_is_refused():
    def later(self: Any, step: Any) -> dict[str, Tensor]:
        if not hasattr(self, "layer"):
            self.layer = nn.Linear(3, 3)
        return {"supervised": self.supervised(step), "own": self.layer(step.logits).square().mean()}

    def growing(self: Any, logits: Tensor, samples: Tensor) -> None:
        self.register_buffer("counts", torch.zeros(len(getattr(self, "counts", ())) + 1))

    with pytest.raises(UsageError, match=r"layer\.weight of the strategy 'Mine' is created while it trains"):
        short(strategy=type("Mine", (dm.Strategy,), {"loss_terms": later}))
    with pytest.raises(UsageError, match=r"counts of the weighting 'Mine' is created while it trains"):
        short(strategy_options={"weighting": weighing(plain, growing), "exchange_warmup": (0, 0)})


def test_a_lazy_layer_of_a_strategy_gets_its_shape_and_is_trained():
    class Mine(dm.Strategy):
        def __init__(self, options: Any, setting: Any) -> None:
            super().__init__(options, setting)
            self.layer = nn.LazyLinear(3)

        def loss_terms(self, step: Any) -> dict[str, Tensor]:
            return {"supervised": self.supervised(step), "own": (self.layer(step.logits) - step.logits).square().mean()}

    first, second = (short(strategy=Mine).history for _ in range(2))
    assert first == second


def test_predictions_for_a_graph_of_several_kinds_are_refused():
    result = short(data=graph())
    kinds = {("a", "to", "b"): (torch.tensor([0]), torch.tensor([0])), ("b", "to", "a"): (torch.tensor([0]), torch.tensor([0]))}
    mixed = dgl.heterograph(kinds)
    mixed.nodes["a"].data["feat"] = torch.as_tensor(FEATURES[:1])
    mixed.nodes["b"].data["feat"] = torch.as_tensor(FEATURES[:1])
    with pytest.raises(DglMutualError, match="The graph is heterogeneous"):
        result.predict(mixed)
    assert len(SPLIT.train) == 12


def test_a_coordinator_of_another_class_is_refused():
    def made(self: Any, options: Any, setting: Any) -> None:
        dm.Strategy.__init__(self, options, setting)
        self.coordinator = nn.Linear(2, 2)

    members = {"__init__": made, "loss_terms": lambda self, step: {"supervised": self.supervised(step)}}
    with pytest.raises(UsageError, match=r"The coordinator of the strategy 'Mine' is a Linear\. It must be made by"):
        short(strategy=type("Mine", (dm.Strategy,), members))


class Counts(CountsSteps):
    """Predicts by the number of steps."""

    def forward(self, graph: Any, feat: Tensor) -> Tensor:
        return super().forward(graph, feat) / (1 + self.steps)


class Draws(Linear):
    """Predicts with random numbers of its own."""

    def forward(self, graph: Any, feat: Tensor) -> Tensor:
        return super().forward(graph, feat) + np.random.default_rng(next(_SEEDS)).normal()


_SEEDS = iter(range(10**6))


@pytest.mark.parametrize("average", ["none", "ema"])
def test_a_student_that_predicts_by_a_number_that_is_not_saved_is_refused(average, node_data, fit):
    with pytest.raises(UsageError, match=r"'Counts-1' predicts something else after its state has been loaded.* may be 'steps'"):
        fit(node_data, ("gcn", custom(Counts)), epochs=2, training={"average": average})
    begun: list[int] = []

    class Epochs(dm.Callback):
        def on_epoch_begin(self, state: Any) -> None:
            begun.append(state.epoch)

    with pytest.raises(UsageError, match="predicts something else"):
        fit(node_data, ("gcn", custom(Counts)), epochs=9, callbacks=[Epochs()])
    assert begun == [0]
    assert fit(node_data, ("gcn", custom(Counts, saved=True)), epochs=2).history
    assert fit(node_data, ("gcn", custom(Draws)), epochs=2).history


def test_a_weighting_that_weighs_by_a_number_that_is_not_saved_is_refused():
    def counting(self: Any, logits: Tensor, samples: Tensor) -> None:
        self.steps = getattr(self, "steps", 0) + 1

    def by_steps(self: Any, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        return confidence[None, ..., None] * getattr(self, "steps", 0)

    with pytest.raises(UsageError, match=r"The weighting 'Mine' predicts something else.* may be 'steps'"):
        short(strategy_options={"weighting": weighing(by_steps, counting), "exchange_warmup": (0, 0)})
