"""What custom code keeps outside of its state: it is kept in snapshots, or refused."""

from __future__ import annotations

import logging
import random
from argparse import Namespace
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import dgl
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dgl_mutual as dm
from dgl_mutual.errors import UsageError
from dgl_mutual.training.snapshots import Snapshots
from tests.training.custom_students import CountsSteps, Linear, custom
from tests.training.cuts import cut, same


class Counts(dm.Strategy):
    """Weighs its loss by a number of steps that is a plain attribute."""

    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.steps = 0

    def loss_terms(self, step: Any) -> dict[str, Tensor]:
        self.steps += 1
        return {"supervised": self.supervised(step) / self.steps}


class Returns(Counts):
    """Keeps it in its extra state."""

    def get_extra_state(self) -> Any:
        return self.steps

    def set_extra_state(self, state: Any) -> None:
        self.steps = state


class Constant(dm.Strategy):
    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.factor, self.label, self.unknown = 2, "mine", float("nan")

    def loss_terms(self, step: Any) -> dict[str, Tensor]:
        return {"supervised": self.factor * self.supervised(step)}


def test_a_strategy_that_changes_a_number_that_is_not_kept_is_refused(node_data, fit, tmp_path):
    snapshots = Snapshots(tmp_path / "kept", 2)
    with pytest.raises(UsageError, match=r"'Counts' changes its attribute 'steps' while it trains, now to 1\. .*register_buffer\('steps'"):
        fit(node_data, strategy=Counts, epochs=4, snapshots=snapshots)
    assert not snapshots.file.exists()
    assert fit(node_data, strategy=Counts, epochs=2).history  # without snapshots nothing is lost
    for strategy in (Returns, Constant):
        cut(fit, node_data, snapshots, strategy=strategy)
        same(fit(node_data, strategy=strategy, epochs=4, snapshots=snapshots), fit(node_data, strategy=strategy, epochs=4))
        snapshots.file.unlink()


class Inner(nn.Module):
    """A part of a module that counts."""

    def __init__(self) -> None:
        super().__init__()
        self.n = 0


class Remembers(Constant):
    """Keeps values of several kinds in plain attributes."""

    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.mean: Any = 0.0
        self.hist: list[int] = []
        self.cfg = {"n": 0, "mode": "mean", "other": object()}
        self.inner = Inner()
        self.array = np.zeros(2)
        self.linear = nn.Linear(2, 2)
        self.alias = self.linear.weight.data


def averages(self: Any, step: Any) -> None:
    self.mean = 0.9 * self.mean + step.logits.detach().mean()


def appends(self: Any, step: Any) -> None:
    self.hist.append(1)


def counts_in_a_dict(self: Any, step: Any) -> None:
    self.cfg["n"] += 1


def counts_in_a_part(self: Any, step: Any) -> None:
    self.inner.n += 1


def counts_in_an_array(self: Any, step: Any) -> None:
    self.array += 1


def makes_anew(self: Any, step: Any) -> None:
    self.latest = step.logits.detach()


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        (averages, "mean"),
        (appends, "hist"),
        (counts_in_a_dict, "cfg"),
        (counts_in_a_part, r"inner\.n"),
        (counts_in_an_array, "array"),
        (makes_anew, "latest"),
    ],
)
def test_a_strategy_that_changes_a_value_of_any_kind_that_is_not_kept_is_refused(changes, name, node_data, fit, tmp_path):
    class Mine(Remembers):
        def loss_terms(self, step: Any) -> dict[str, Tensor]:
            changes(self, step)
            return super().loss_terms(step)

    snapshots = Snapshots(tmp_path / "kept", 2)
    with pytest.raises(UsageError, match=rf"The strategy 'Mine' changes its attribute '{name}' while it trains, now to .*get_extra_state"):
        fit(node_data, strategy=Mine, epochs=4, snapshots=snapshots)
    assert not snapshots.file.exists()

    class Saves(Mine):
        def get_extra_state(self) -> Any:
            return {"mean": self.mean, "hist": self.hist, "n": self.cfg["n"], "inner": self.inner.n}

        def set_extra_state(self, state: Any) -> None:
            self.mean, self.hist, self.cfg["n"], self.inner.n = state["mean"], state["hist"], state["n"], state["inner"]

    fit(node_data, strategy=Saves, epochs=2, snapshots=snapshots)


def test_a_strategy_that_changes_nothing_of_its_own_is_kept(node_data, fit, tmp_path):
    assert fit(node_data, strategy=Remembers, epochs=2, snapshots=Snapshots(tmp_path / "kept", 1)).history


class Schedule(CountsSteps):
    """Drops more from step to step, in training alone."""

    def forward(self, graph: Any, feat: Tensor) -> Tensor:
        return super().forward(graph, nn.functional.dropout(feat, min(0.5, 0.1 * float(self.steps + 1)), self.training))


class Anneals(Linear):
    """Drops less from step to step, by a rate that a layer of torch has."""

    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__(in_features, num_outputs)
        self.dropout = nn.Dropout(0.5)

    def forward(self, graph: Any, feat: Tensor) -> Tensor:
        if self.training:
            self.dropout.p *= 0.9
        return super().forward(graph, self.dropout(feat))


class Recurrent(nn.LSTM):
    """It keeps a list of its weights."""


class Normed(nn.Linear):
    """Its weight is computed from two parameters before each forward pass."""


class Caches(Linear):
    """Has layers of torch and DGL that keep something of theirs, and values that it keeps from step to step for itself."""

    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__(in_features, num_outputs)
        self.recurrent = Recurrent(in_features, in_features)
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(in_features, in_features))
        self.spectral = nn.utils.parametrizations.spectral_norm(nn.Linear(in_features, in_features))
        self.conv = dgl.nn.GraphConv(in_features, in_features, allow_zero_in_degree=True)
        self.norm, self.hooked = nn.BatchNorm1d(in_features), nn.utils.weight_norm(Normed(in_features, in_features))
        self.register_buffer("hidden", None, persistent=False)

    @cached_property
    def scale(self) -> float:
        return 0.5

    def forward(self, graph: Any, feat: Tensor) -> Tensor:
        self.hidden = self.conv(graph, self.hooked(self.spectral(self.normed(self.norm(feat)))))
        return super().forward(graph, self.scale * self.hidden + self.recurrent(feat)[0])


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_a_student_that_changes_a_number_that_is_not_kept_is_refused(node_data, fit, tmp_path):
    snapshots = Snapshots(tmp_path / "kept", 2)
    with pytest.raises(UsageError, match=r"The student 'Schedule-1' changes its attribute 'steps' while it trains, now to 1\."):
        fit(node_data, ("gcn", custom(Schedule)), epochs=4, snapshots=snapshots)
    with pytest.raises(UsageError, match=r"The student 'Anneals-1' changes its attribute 'dropout\.p' while it trains, now to 0\.45\."):
        fit(node_data, ("gcn", custom(Anneals)), epochs=4, snapshots=snapshots)
    for students in (("gcn", custom(Schedule, saved=True)), ("gcn", custom(Caches))):
        cut(fit, node_data, snapshots, students=students)
        same(fit(node_data, students, epochs=4, snapshots=snapshots), fit(node_data, students, epochs=4))
        snapshots.file.unlink()


class CountingWeighting(dm.Weighting):
    name = "mine"

    def observe(self, logits: Tensor, samples: Tensor) -> None:
        self.steps = getattr(self, "steps", 0) + 1

    def scores(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        return logits.new_zeros(1, len(logits), 1, 1)


def test_a_weighting_that_changes_a_number_that_is_not_kept_is_refused(node_data, fit, tmp_path):
    weighting = {"weighting": CountingWeighting}
    with pytest.raises(UsageError, match=r"The weighting 'CountingWeighting' changes its attribute 'steps' while it trains, now to 1\."):
        fit(node_data, epochs=2, strategy_options=weighting, snapshots=Snapshots(tmp_path / "kept", 1))


class CountsInBuffers(dm.Strategy):
    """Counts steps in buffers that no checkpoint has; the loss depends on all of them."""

    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.register_buffer("n", torch.zeros(2), persistent=False)
        self.first = self.n[:1]  # a view, which shares the memory
        self.register_buffer("latest", None, persistent=False)
        self.register_buffer("eye", torch.eye(2).to_sparse(), persistent=False)
        self.register_buffer("spectrum", None, persistent=False)
        self.register_buffer("zeros", torch.zeros(1).expand(3), persistent=False)

    def loss_terms(self, step: Any) -> dict[str, Tensor]:
        self.n += 1
        self.zeros, self.spectrum = self.zeros + 1, torch.zeros(2, dtype=torch.complex128)
        before = torch.zeros(1) if self.latest is None else self.latest
        self.latest = torch.cat([before, self.n[:1]])
        if not hasattr(self, "made"):
            self.register_buffer("made", torch.zeros(()), persistent=False)
        self.made += 1
        factor = 1 / (1 + self.first + self.zeros[0] + self.latest.mean() + self.made)
        return {"supervised": factor.squeeze() * self.supervised(step)}


class CountsInABuffer(Linear):
    """As a schedule of dropout would, in training alone."""

    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__(in_features, num_outputs)
        self.register_buffer("steps", torch.zeros(()), persistent=False)

    def forward(self, graph: Any, feat: Tensor) -> Tensor:
        if self.training:
            self.steps += 1
            feat = feat / (1 + self.steps)
        return super().forward(graph, feat)


@pytest.mark.parametrize("options", [{"strategy": CountsInBuffers}, {"students": ("gcn", custom(CountsInABuffer))}])
def test_buffers_that_checkpoints_do_not_have_are_in_snapshots(options, node_data, fit, tmp_path):
    snapshots = Snapshots(tmp_path / "kept", 1)
    cut(fit, node_data, snapshots, **options)
    same(fit(node_data, epochs=4, snapshots=snapshots, **options), fit(node_data, epochs=4, **options))


def test_buffers_of_built_in_code_are_not_in_snapshots(node_data, fit, tmp_path):
    snapshots = Snapshots(tmp_path / "kept", 1)
    fit(node_data, strategy="gml", epochs=1, snapshots=snapshots)
    assert b"class_prior" not in snapshots.file.read_bytes()


class Box:
    def __init__(self, holder: Any = None) -> None:
        self.n, self.text, self.holder, self.itself = 0, "eval", holder, self

    @cached_property
    def cache(self) -> float:
        return 1.0


class Slots:
    __slots__ = ("n",)

    def __init__(self) -> None:
        self.n = 0


def holds(make: Any, change: Any) -> type[dm.Strategy]:
    class Holds(Constant):
        def __init__(self, options: Any, setting: Any) -> None:
            super().__init__(options, setting)
            self.held = make(self)

        def loss_terms(self, step: Any) -> dict[str, Tensor]:
            change(self)
            return super().loss_terms(step)

    return Holds


def counts(self: Any) -> None:
    self.held.n += 1


def sets(value: Any) -> Any:
    return lambda self: setattr(self, "held", value)


STREAM = "Draw from the global random stream of torch"
EXTRA = r"Return what changes in it from get_extra_state"


@pytest.mark.parametrize(
    ("make", "change", "message"),
    [
        (lambda _: random.Random(0), lambda self: self.held.random(), f"random.Random .*{STREAM}"),
        (lambda _: np.random.default_rng(0), lambda self: self.held.random(), STREAM),
        (lambda _: np.random.RandomState(0), lambda self: self.held.rand(), STREAM),
        (lambda _: torch.Generator(), lambda self: torch.rand(1, generator=self.held), STREAM),
        (Box, counts, f"Box .*{EXTRA}"),
        (lambda _: Slots(), counts, f"Slots .*{EXTRA}"),
        (lambda _: Namespace(n=0), counts, f"Namespace.n=1.*{EXTRA}"),
        (lambda _: [nn.Linear(1, 1)], lambda self: self.held[0].weight.data.add_(1), f"Linear.*{EXTRA}"),
        (lambda _: {"a": 0}, lambda self: self.held.update(a=self.held["a"] + 1), f"'a': 1.*{EXTRA}"),
        (lambda _: [{"a": SimpleNamespace(n=0)}], lambda self: counts(SimpleNamespace(held=self.held[0]["a"])), EXTRA),
        (lambda _: set(), lambda self: self.held.add(len(self.held)), EXTRA),
        (lambda _: {-1: 1.0}, sets({-2: 1.0}), EXTRA),
        (lambda _: "train", sets("eval"), f"now to 'eval'.*{EXTRA}"),
        (lambda _: torch.zeros(2, 300), lambda self: self.held.add_(1), r"now to a tensor of shape \(2, 300\)\. .*register_buffer"),
        (lambda _: [random.Random(0), random.Random(1)], lambda self: self.held[1].random(), EXTRA),
        (lambda _: torch.eye(2).to_sparse(), sets(2 * torch.eye(2).to_sparse()), r"now to a tensor of shape \(2, 2\)\. "),
        (lambda _: np.zeros(3), lambda self: self.held.__iadd__(1), r"now to an array of shape \(3,\)\. "),
    ],
)
def test_what_an_object_or_a_generator_holds_may_not_change(make, change, message, node_data, fit, tmp_path):
    with pytest.raises(UsageError, match=rf"The strategy 'Holds' changes its attribute 'held' while it trains, .*{message}"):
        fit(node_data, strategy=holds(make, change), epochs=2, snapshots=Snapshots(tmp_path / "kept", 1))


class Draws(dm.Callback):
    """Moves the global random streams."""

    def on_epoch_end(self, _: Any) -> None:
        torch.rand(1), np.random.rand(), random.random()


def holds_itself(_: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"n": 1}
    found["self"], found["list"] = found, [found]
    return found


def keyed_by_a_weight(strategy: Any) -> dict[Any, Any]:
    strategy.weight = nn.Parameter(torch.zeros(1))
    return {strategy.weight: 0.1}


def chain(_: Any) -> Box:
    box = Box()
    for _ in range(3000):
        box = Box(box)
    return box


def diamonds(_: Any) -> list[Any]:
    found: list[Any] = []
    for _ in range(40):
        found = [found, found]
    return found


@pytest.mark.parametrize(
    ("make", "change"),
    [
        (holds_itself, lambda self: None),
        (diamonds, lambda self: None),
        (lambda _: [1, np.float64(2)], sets((True, 2))),
        (lambda _: {1, frozenset({1, 9})}, sets({frozenset({9, 1}), 1})),
        (chain, lambda self: None),
        (lambda _: 10**5000, lambda self: None),
        (lambda _: {1: 2}, sets({True: 2.0})),
        (keyed_by_a_weight, lambda self: self.weight.data.add_(1)),
        (lambda _: torch.arange(4.0).reshape(1, 4)[:, 1], lambda self: None),
        (lambda _: torch.zeros(1).expand(0), lambda self: None),
        (lambda _: torch.nested.nested_tensor([torch.zeros(1), torch.zeros(2)]), lambda self: None),
        (lambda _: torch.tensor([1 + 1j]).conj().imag, lambda self: None),
        (Box, lambda self: self.held.cache),
        (lambda _: {}, lambda self: self.held.update(graph=object())),
        (lambda _: random.SystemRandom(), lambda self: self.held.random()),
        (lambda _: np.random.mtrand._rand, lambda self: self.held.rand()),
        (lambda _: torch.default_generator, lambda self: torch.rand(1)),
        (lambda _: random._inst, lambda self: self.held.random()),
        (lambda _: logging.getLogger("tests.held"), lambda self: self.held.isEnabledFor(5)),
    ],
)
def test_objects_that_change_nothing_of_their_own_are_held(make, change, node_data, fit, tmp_path):
    snapshots = Snapshots(tmp_path / "kept", 1)
    assert fit(node_data, strategy=holds(make, change), epochs=2, snapshots=snapshots, callbacks=[Draws()]).history


def test_a_container_that_holds_itself_may_not_change(node_data, fit, tmp_path):
    strategy = holds(holds_itself, lambda self: self.held.update(n=self.held["n"] + 1))
    with pytest.raises(UsageError, match="changes its attribute 'held'"):
        fit(node_data, strategy=strategy, epochs=2, snapshots=Snapshots(tmp_path / "kept", 1))


class KnowsItsMode(Linear):
    """Notes in `train` in which mode it is."""

    mode = "new"

    def train(self, mode: bool = True) -> Any:
        self.mode = "train" if mode else "eval"
        if mode:
            self.began = True
        return super().train(mode)


@pytest.mark.parametrize("eval_every", [1, 3])
def test_a_value_that_the_mode_alone_sets_is_not_refused(eval_every, node_data, fit, tmp_path):
    snapshots, students = Snapshots(tmp_path / "kept", 1), ("gcn", custom(KnowsItsMode))
    options = {"strategy": "independent", "training": {"eval_every": eval_every}}  # without clean logits in each epoch
    cut(fit, node_data, snapshots, students=students, **options)
    same(fit(node_data, students, epochs=4, snapshots=snapshots, **options), fit(node_data, students, epochs=4, **options))
