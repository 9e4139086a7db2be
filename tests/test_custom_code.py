"""Mistakes in what a user brings: each is an error that names the class, and where it can be told the line."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import Field
from torch import Tensor, nn

import dgl_mutual as dm
from dgl_mutual.cli.main import main
from dgl_mutual.coordinator import CoordinatorConfig
from dgl_mutual.errors import DglMutualError, StoreError, TrainingError, UsageError
from dgl_mutual.strategies.base.exchange import Exchange
from dgl_mutual.strategies.base.imitation import ExchangeStrategy
from dgl_mutual.strategies.base.options import ExchangeOptions, StrategyOptions
from tests.small_graph import EDGES, FEATURES, LABELS, N, Net, fit, graph, strategy


class Remembers(dm.Strategy):
    """Keeps logits of the step before with their gradient."""

    before: Tensor | None = None

    def loss_terms(self, step: Any) -> dict[str, Tensor]:
        drift = step.logits.sum() * 0 if self.before is None else (step.logits - self.before).square().mean()
        self.before = step.logits
        return {"a": self.supervised(step), "drift": drift}


def logs(value: Any, name: Any = "x") -> Callable[..., Any]:
    def terms(self: dm.Strategy, step: Any) -> Any:
        step.log[name] = value
        return {"a": self.supervised(step)}

    return terms


def logs_twice(self: dm.Strategy, step: Any) -> Any:
    step.log["m"], step.log["m/gcn-0"] = torch.ones(len(step.active)), 2.0
    return {"a": self.supervised(step)}


class Drawing(StrategyOptions):
    fixed: list[int] = Field(default_factory=list)
    start: float = Field(default_factory=random.random)


class Failing(StrategyOptions):
    start: float = Field(default_factory=lambda: {}["x"])


def _raises(*arguments: Any, **named: Any) -> Any:
    raise RuntimeError("mine")


def options(**attributes: Any) -> type[StrategyOptions]:
    return type("Mine", (StrategyOptions,), {"__module__": __name__, **attributes})


class Silent(dm.Strategy):
    def __init__(self, options: Any, setting: Any) -> None: ...

    def loss_terms(self, step: Any) -> Any: ...


class Broken(dm.Strategy):
    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        raise KeyError("gone")

    def loss_terms(self, step: Any) -> Any: ...


class MetaPart(dm.Strategy):
    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.part = nn.Linear(2, 2, device="meta")

    def loss_terms(self, step: Any) -> Any: ...


def adds(*names: str) -> Any:
    return classmethod(lambda cls, options, students: tuple((name, students[0]) for name in names))


@pytest.mark.parametrize(
    ("mine", "message"),
    [
        (
            strategy(lambda self, step: {}["x"]),
            r"loss_terms of the strategy 'Mine' raised an error: KeyError: 'x' \(.*test_custom_code.py, line",
        ),
        (strategy(lambda self, step: sys.exit(3)), "loss_terms of the strategy 'Mine' raised an error: SystemExit: 3"),
        (strategy(lambda self, step: {3: self.supervised(step)}), "'Mine' names a term 3"),
        (strategy(lambda self, step: {" ": self.supervised(step)}), r"names a term ' '\. The name is empty\. Give it a name, for example"),
        (strategy(lambda self, step: {"a, b\n": self.supervised(step)}), r"names a term 'a, b\\n'\. The name has control characters in it"),
        (
            strategy(lambda self, step: {"s": self.supervised(step), "s/gcn-0": step.logits.mean()}),
            r"The strategy 'Mine' has two values for the column 'loss/s/gcn-0' of the history",
        ),
        (strategy(logs_twice), "two values for the column 'm/gcn-0' of the history"),
        (strategy(logs(1.0, "")), r"logs a value under the name ''\. The name is empty"),
        (strategy(logs(1.0, "\x1b")), r"under the name '\\x1b'\. The name has control characters in it"),
        (strategy(phases=lambda self: ()), r"phases of the strategy 'Mine' returns \(\)"),
        (strategy(phases=lambda self: ((0, 7),)), r"phases .* \(\(0, 7\),\)\. Each phase must name some of the 2 members"),
        (strategy(phases=lambda self: ((0, 0),)), "once each"),
        (strategy(phases=lambda self: ((0,),)), r"returns \(\(0,\),\), which leaves out member 1 \(sage\): it would never be trained"),
        *((strategy(phases=lambda self, one=one: (one,)), "Each phase must name") for one in ((0.0, 1), (False, True), ("0", "1"))),
        (strategy(exchange=lambda self: Exchange("frozen")), "the targets 'frozen', .* and there is one phase"),
        (strategy(lambda self, step: {"a": self.supervised(step).to_sparse()}), "'a' of the strategy 'Mine' is a sparse tensor"),
        (strategy(logs(1.0, 3)), "logs a value under the name 3. Names must be strings"),
        (MetaPart, "'MetaPart' has weights on the device 'meta'"),
        (strategy(exchange=lambda self: None), "exchange of the strategy 'Mine' returns None. It must return an Exchange"),
        *(
            (
                strategy(coordinator_weighting=lambda self, found=found: found),
                r"coordinator_weighting .* 'Mine' returns .* \('attention', {}\)",
            )
            for found in ("attention", ("attention",), ("attention", None))
        ),
        (strategy(coordinator_weighting=lambda self: ("attentoin", {})), "Unknown weighting 'attentoin'. Did you mean 'attention'"),
        (strategy(extra_members=classmethod(lambda cls, options, students: (("teacher", "gcn"),))), "returns .*'teacher', 'gcn'"),
        (strategy(extra_members=adds("teacher", "teacher")), r"under names that are taken: teacher\. Give"),
        (strategy(extra_members=adds("gcn-0")), r"under names that are taken: gcn-0\. Give"),
        *((strategy(extra_members=adds(name)), "under names that are taken") for name in ("mean", "best_by_val", "ensemble", "mlp")),
        *((strategy(extra_members=adds(name)), "cannot be a part of the name of a file") for name in ("", "../../a", "/a", "a\n", ".a")),
        (strategy(Options=dict), r"has Options = <class 'dict'>. Derive the class of its options from .*StrategyOptions"),
        (strategy(Options=Drawing), r"class has a default of start that differs from call to call \(here 0\..* Give it a fixed default"),
        (strategy(Options=Failing), "A default_factory of the options 'Failing' raised an error: KeyError: 'x'"),
        (strategy(min_students="2"), "has min_students = '2'"),
        (strategy(name=3), "has name = 3"),
        (strategy(logs("abc")), "The value 'x' that the strategy 'Mine' logs has the type str"),
        (strategy(logs(torch.ones(3))), r"logs has the shape \(3,\)"),
        *(
            (strategy(logs(1.0, name)), "a column of the history already")
            for name in ("epoch", "seed", "fold", "loss/a", "train/gcn-0", "val/gcn-0")
        ),
        (strategy(exchange=lambda self: Exchange(on="al")), r"Unknown Exchange\(on=...\) 'al'. Did you mean 'all'"),
        (strategy(exchange=lambda self: Exchange("evall")), r"Unknown Exchange\(targets=...\) 'evall'. Did you mean 'eval'"),
        (strategy(exchange=lambda self: Exchange("ema", decay=1.5)), r"decay=1.5\): the decay of a moving average is in \[0, 1\)"),
        (strategy(exchange=lambda self: Exchange(warmup=(-1, 0))), r"warmup=\(-1, 0\)\): give two numbers of epochs"),
        (strategy(exchange=lambda self: Exchange(warmup=(9, 0))), r"begins in epoch 9, and training.epochs = \d: it never would"),
        (Silent, r"'Silent' does not call super\(\).__init__\(options, setting\)"),
        (Broken, r"The strategy 'Broken' cannot be made: KeyError: 'gone' \(.*test_custom_code.py"),
        (Remembers, r"gradients of a step cannot be computed .*\(the strategy 'Remembers'\).* detach\(\)"),
    ],
)
def test_a_wrong_strategy_is_named(mine: type[dm.Strategy], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fit(strategy=mine)


@pytest.mark.parametrize(
    ("base", "name", "hidden"),
    [
        (StrategyOptions, "exchange", "the method exchange of StrategyOptions"),
        (StrategyOptions, "all_idle_with", "the method all_idle_with of Options"),
        (StrategyOptions, "idle_with", "the attribute idle_with of Options"),
        (ExchangeOptions, "scale", "the property scale of ImitationOptions"),
    ],
)
@pytest.mark.filterwarnings("ignore:Field name")
def test_an_option_that_hides_a_method_of_the_package_is_refused(base, name, hidden):
    kind = type("Hiding", (base,), {"__module__": __name__, "__annotations__": {name: float}, name: 0.5})
    with pytest.raises(UsageError, match=rf"has an option {name}, which hides {hidden}\. Choose another name for it"):
        fit(strategy=strategy(Options=kind))


def test_an_option_of_the_package_may_have_another_default():
    kind = type("Other", (ExchangeOptions,), {"__module__": __name__, "__annotations__": {"weight": float}, "weight": 0.5})
    fit(strategy=strategy(Options=kind))


def test_a_strategy_names_the_weighting_of_its_coordinator():
    mine = strategy(coordinator_weighting=lambda self: ("confidence", {"temperature": 0.2}))
    data = dm.Dataset.from_arrays(EDGES, FEATURES, {"a": LABELS % 2, "b": LABELS})
    config = fit(strategy=mine, data=data).cohort.coordinator.config
    assert config == CoordinatorConfig("confidence", 2, 5, N, (2, 3), {"temperature": 0.2}, (False, False))
    assert fit(strategy=strategy()).cohort.coordinator.config == CoordinatorConfig("uniform", 2, 3)


_OPTION_METHODS = ("resolved", "without_effect")


@pytest.mark.parametrize(
    ("mine", "message"),
    [
        *(
            (
                strategy(**{name: _raises}),
                rf"{name} of the strategy 'Mine' raised an error: RuntimeError: mine \(.*test_custom_code.py, line",
            )
            for name in ("learns_from_others", "coordinator_weighting", "exchange", "phases")
        ),
        *(
            (strategy(**{name: _raises}), rf"The strategy 'Mine' has a method {name}\(\) that raised an error: RuntimeError: mine \(")
            for name in ("parameters", "buffers", "state_dict")
        ),
        (strategy(state_dict=lambda self, **_: None), r"'Mine' has a method state_dict\(\) that returns None\. It must return a mapping"),
        *(
            (strategy(Options=options(**{name: _raises})), rf"{name} of the options 'Mine' raised an error: RuntimeError: mine \(.*line")
            for name in _OPTION_METHODS
        ),
        *(
            (strategy(Options=options(**{name: lambda *_, **__: None})), f"{name} of the options 'Mine' returns None. It must return")
            for name in _OPTION_METHODS
        ),
        (
            strategy(Options=options(without_effect=lambda *_: {"extra": True})),
            r"returns {'extra': True} \(a dict\)\. It must return a mapping from names of options to reasons \(strings\)",
        ),
        (strategy(Options=options(model_post_init=_raises)), r"The options 'Mine' cannot be made: RuntimeError: mine \(.*line"),
        (strategy(Options=options(model_dump=_raises)), "The options 'Mine' cannot be turned into plain values: RuntimeError: mine"),
    ],
)
def test_a_method_that_raises_is_named(mine: type[dm.Strategy], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fit(strategy=mine, label_rate=0.5)


def test_a_strategy_may_make_itself_after_the_base_class_has() -> None:
    class Late(strategy()):  # type: ignore[misc]  # made by a function
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.samples = "all"

        def exchange(self) -> Exchange:
            return Exchange(on=self.samples)

    for training in ({}, {"sampler": "neighbor", "batch_size": 8}):
        assert fit(strategy=Late, training={"epochs": 1, **training}).epochs == 1


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        (
            lambda self, step: {"fine": self.supervised(step), "mine": self.supervised(step) * torch.tensor([float("nan"), 1.0])},
            r"in epoch 0: the term 'mine' of gcn-0\. All logits of the step are finite, so look in loss_terms of the strategy 'Mine': "
            "the likely cause is a logarithm of zero, a division by zero",
        ),
        (
            lambda self, step: {"a": self.supervised(step), "one": step.logits.sum() / 0, "two": self.supervised(step) / 0},
            r"the term 'one'; the term 'two' of gcn-0, sage-1\. All logits",
        ),
        (
            lambda self, step: {"a": self.supervised(step), "root": (step.logits - step.logits.detach()).norm(dim=(1, 2)).sqrt()},
            r"in epoch 0: the validation loss of gcn-0, sage-1, ensemble\. Likely causes are a gradient that is not finite in loss_terms "
            r"of the strategy 'Mine' \(a square root .* \(training.learning_rate = 0.01\)",
        ),
    ],
)
def test_a_loss_that_is_not_finite_is_named_with_its_cause(terms: Callable[..., Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        fit(strategy=strategy(terms))


def test_a_loss_that_is_not_finite_is_named_in_its_step() -> None:
    """In the next step the weights would be NaN, and every term with them."""
    calls: list[int] = []

    def terms(self: dm.Strategy, step: Any) -> Any:
        calls.append(1)
        return {"supervised": self.supervised(step), "mine": self.supervised(step) * (float("nan") if len(calls) == 2 else 1.0)}

    with pytest.raises(TrainingError, match=r"in epoch 0: the term 'mine' of gcn-0, sage-1\. All logits"):
        fit(strategy=strategy(terms), training={"sampler": "neighbor", "fanout": [2, 2], "batch_size": 4, "epochs": 2})
    assert len(calls) == 2


def test_a_loss_term_without_gradient_is_named_once() -> None:
    def terms(self: dm.Strategy, step: Any) -> Any:
        return {"a": self.supervised(step), "agree": step.targets.std(0).mean(), "off": torch.zeros(())}

    with pytest.warns(UserWarning, match="'agree' of the strategy 'Mine' has no gradient.* Use step.logits for what a student") as caught:
        fit(strategy=strategy(terms, exchange=lambda self: Exchange("eval")), training={"epochs": 3})
    assert len([one for one in caught if "no gradient" in str(one.message)]) == 1


@pytest.mark.parametrize(
    "loss",
    [
        lambda logits, labels: nn.functional.cross_entropy(logits, labels),
        lambda logits, labels: logits.gather(1, labels[:, None]).sum(),
        lambda logits, labels: (nn.functional.one_hot(labels) * logits).sum(),
    ],
)
def test_labels_that_are_not_known_are_named(loss: Callable[..., Any]) -> None:
    def unknown(self: dm.Strategy, step: Any) -> Any:
        return {"a": self.supervised(step), "mine": loss(step.logits[0], step.labels)}

    message = r"Mine' raised an error: .* labels are unknown \(-1\) outside of step.labelled. .*step.labels\[step.labelled\]"
    with pytest.raises(UsageError, match=message):
        fit(strategy=strategy(unknown), label_rate=0.5)


def test_what_a_strategy_logs_may_be_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    row = fit(strategy=strategy(logs(1.5))).history[-1]
    assert row["x"] == 1.5
    assert fit(strategy=strategy(logs(np.float32(0.5)))).history[-1]["x"] == 0.5
    row = fit(strategy=strategy(logs(torch.tensor([[0.0, 1.0], [2.0, 3.0]], requires_grad=True)))).history[-1]
    assert row["x/sage-1/gcn-0"] == 2.0


class OneArgument(Net):
    def forward(self, feat: Tensor) -> Any: ...  # type: ignore[override]  # the mistake


class WrongEmbed(Net):
    def embed(self, feat: Tensor) -> Any: ...


class Exits(Net):
    def forward(self, graph: Any, feat: Tensor) -> Any:
        sys.exit("enough")


class Meta(Net):
    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__(in_features, num_outputs)
        self.to("meta")


class Rows(Net):
    """Has sparse gradients."""

    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__(in_features, num_outputs)
        self.rows = nn.Embedding(N, num_outputs, sparse=True)

    def forward(self, graph: Any, feat: Tensor) -> Any:
        return self.layer(feat) + self.rows(torch.arange(len(feat)))


class Drawn(Net):
    """Draws numbers that a file would not have."""

    def __init__(self, in_features: int, num_outputs: int, where: str = "plain") -> None:
        super().__init__(in_features, num_outputs)
        drawn = torch.randn(in_features, in_features)
        made = {"array": drawn.numpy(), "list": [drawn], "dict": {"a": drawn}, "sparse": drawn.to_sparse_csr()}
        if where == "buffer":
            self.register_buffer("drawn", drawn, persistent=False)
        else:
            self.drawn = made.get(where, drawn)
        self.is_used = where != "unused"

    def forward(self, graph: Any, feat: Tensor) -> Any:
        drawn = self.drawn["a"] if isinstance(self.drawn, dict) else self.drawn[0] if isinstance(self.drawn, list) else self.drawn
        return self.layer(feat @ torch.as_tensor(drawn) if self.is_used else feat)


class Seeded(Net):
    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__(in_features, num_outputs)
        torch.manual_seed(42)
        self.layer = nn.Linear(in_features, num_outputs)


class Double(Net):
    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__(in_features, num_outputs)
        self.double()

    def forward(self, graph: Any, feat: Tensor) -> Any:
        return self.layer(feat.double())


class Zeros(Net):
    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__(in_features, num_outputs)
        nn.init.zeros_(self.layer.weight)
        nn.init.ones_(self.layer.bias)


class Sparse(Net):
    def forward(self, graph: Any, feat: Tensor) -> Any:
        return self.layer(feat).to_sparse()


_SHARED = nn.Linear(4, 3)


class Shares(Net):
    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__(in_features, num_outputs)
        self.layer = _SHARED


class Counting(Net):
    """Its modes and its state can be asked for a few times."""

    def __init__(self, in_features: int, num_outputs: int, method: str, times: int) -> None:
        super().__init__(in_features, num_outputs)
        self.method, self.left = method, [None] * times

    def train(self, mode: bool = True) -> Any:
        return self._call("train", mode)

    def state_dict(self, *args: Any, **named: Any) -> Any:
        return self._call("state_dict", *args, **named)

    def _call(self, name: str, *args: Any, **named: Any) -> Any:
        if name == self.method:
            _ = self.left.pop() if self.left else _raises()
        return getattr(nn.Module, name)(self, *args, **named)


def raising(method: str, times: int) -> Any:
    return [{"architecture": Counting, "options": {"method": method, "times": times}}, "gcn"]


class Forgets(Net):
    def state_dict(self, *args: Any, **named: Any) -> Any:
        return {}


@pytest.mark.parametrize(
    ("students", "message"),
    [
        ([OneArgument, "gcn"], r"The method forward of the student 'OneArgument-0' cannot be called with \(graph, feat\): .* It takes"),
        ([WrongEmbed, "gcn"], r"The method embed of the student 'WrongEmbed-0' cannot be called"),
        ([Exits, "gcn"], "'Exits-0' raised an error: SystemExit: enough"),
        ([Meta, "gcn"], "'Meta-0' has weights on the device 'meta'"),
        *(
            (
                [{"architecture": Drawn, "options": {"where": where}}, "gcn"],
                "'Drawn-0' predicts something else after its state has been loaded into a new one: .* The cause may be 'drawn'",
            )
            for where in ("plain", "buffer", "array", "list", "dict", "sparse")
        ),
        ([Sparse, "gcn"], "'Sparse-0' returns sparse logits"),
        ([{"architecture": Net, "starts_after": 0.5}, "gcn"], "The options starts_after are for built-in students, and .* Leave them out"),
        (raising("state_dict", 0), r"'Counting-0' has a method state_dict\(\) that raised an error: RuntimeError: mine \(.*line"),
        (raising("state_dict", 3), r"state_dict of the student 'Counting-0' raised an error: RuntimeError: mine \(.*line"),
        (raising("train", 2), r"train of the student 'Counting-0' raised an error: RuntimeError: mine \(.*line"),
        ([Forgets, "gcn"], r"The state of the student 'Forgets-0' cannot be loaded into a new one: .*module.layer.weight"),
        ([Rows, "gcn"], r"cannot be computed or used: .*sparse.*\('Rows-0'\)"),
        (
            [Shares, "gcn", Shares],
            "'Shares-0' has the same weights each time it is made",
        ),
        ([Double, "gcn"], r"'Double-0' raised an error: .* made in torch\.float64, and all members compute in torch\.float32, to which"),
        ([Seeded, "gcn"], r"'Seeded-0' has the same weights each time it is made, .* set no seed \(torch\.manual_seed\)"),
    ],
)
def test_a_wrong_student_is_named(students: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fit(students)


def test_weights_that_are_not_drawn_and_numbers_that_are_not_used_are_no_fault() -> None:
    assert fit([Zeros, {"architecture": Drawn, "options": {"where": "unused"}}]).epochs == 2


def weighting(scores: Callable[[Tensor], Any], **attributes: Any) -> type[dm.Weighting]:
    class Mine(dm.Weighting):
        def scores(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Any:
            return scores(logits)

    for name, value in attributes.items():
        setattr(Mine, name, value)
    return Mine


def _observes(self: Any, logits: Tensor, samples: Tensor) -> None:
    raise KeyError("no note")


def _silent(self: Any, options: Any, config: Any) -> None: ...


def _lazy(self: Any, options: Any, config: Any) -> None:
    dm.Weighting.__init__(self, options, config)
    self.part = nn.LazyLinear(2)


def _alone(self: Any) -> None: ...


def _failing(self: Any, options: Any, config: Any) -> None:
    raise OSError("no disk")


@pytest.mark.parametrize(
    ("mine", "message"),
    [
        (weighting(lambda z: None), "scores of the weighting 'Mine' returns None"),
        (weighting(lambda z: torch.zeros(3, 3, 30)), r"'Mine' returns scores of the shape \(3, 3, 30\) .* of the shape \(3, 3, 30, 3\)"),
        (weighting(lambda z: z), r"'Mine' returns scores of the shape \(3, 30, 3\) .* of the shape \(3, 3, 30, 3\)"),
        (weighting(lambda z: z[None].long()), "the type torch.int64"),
        (weighting(lambda z: z[None].to_sparse()), "returns sparse scores"),
        (weighting(lambda z: z[None], __init__=_lazy), "'Mine' has lazy layers"),
        (weighting(lambda z: z[None] / 0), "returns scores that are NaN or infinite"),
        (weighting(lambda z: z[None] * 0 - torch.inf), "minus infinity for all peers"),
        (
            weighting(lambda z: torch.zeros(3, 3, 1, 1).index_fill(1, torch.tensor([1, 2]), -torch.inf)),
            "minus infinity for all peers",
        ),
        (weighting(lambda z: z.nothing), r"scores of the weighting 'Mine' raised an error: AttributeError: .*\(.*test_custom_code.py"),
        (weighting(lambda z: z[None], observe=_observes), r"observe of the weighting 'Mine' raised an error: KeyError: 'no note' \(.*line"),
        (
            weighting(lambda z: z[None], state_dict=_raises),
            r"'Mine' has a method state_dict\(\) that raised an error: RuntimeError: mine \(",
        ),
        (weighting(lambda z: z, Options=dict), "has Options = <class 'dict'>"),
        (weighting(lambda z: z, __init__=_silent), r"'Mine' does not call super\(\).__init__\(options, config\)"),
        (weighting(lambda z: z, __init__=_alone), r"weightings are made with \(options, config\)"),
        (weighting(lambda z: z, __init__=_failing), "'Mine' cannot be made: OSError: no disk"),
    ],
)
def test_a_wrong_weighting_is_named(mine: type[dm.Weighting], message: str) -> None:
    with pytest.raises((UsageError, TrainingError), match=message):
        fit("gcn,gcn,sage", strategy_options={"weighting": mine, "exchange_warmup": [0, 0]})


def test_scores_that_all_receivers_share_are_those_of_each() -> None:
    """One row of scores for all receivers stands for as many as there are students, and no student attends to itself."""
    options = {"exchange_warmup": [0, 0]}
    one, each = (
        fit("gcn,gcn,sage", strategy_options={"weighting": weighting(scores), **options})
        for scores in (lambda z: z[None] * 2, lambda z: (z[None] * 2).expand(len(z), *z.shape).clone())
    )
    assert one.history == each.history
    assert one.history[-1]["weights/gcn-0/gcn-0"] == 0.0 < one.history[-1]["weights/gcn-0/gcn-1"]


def callback(**hooks: Any) -> dm.Callback:
    made: dm.Callback = type("Mine", (dm.Callback,), hooks)()
    return made


@pytest.mark.parametrize(
    ("hooks", "message"),
    [
        ({"on_train_end": lambda self, state: None}, "'on_train_end', which is never called"),
        ({"on_epoch_ends": lambda self, state: None}, "Did you mean 'on_epoch_end'?"),
        ({"on_epoch_end": None}, "on_epoch_end of the callback Mine is None, and must be a method"),
        ({"on_epoch_end": lambda self: None}, r"on_epoch_end of the callback Mine takes .* It is called with \(state\)"),
    ],
)
def test_a_callback_that_would_never_be_called_is_refused(hooks: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fit(callbacks=[callback(**hooks)])


def test_an_error_of_a_callback_is_raised_as_it_is() -> None:
    class Enough(Exception): ...

    def stop(self: dm.Callback, state: Any) -> None:
        raise Enough

    with pytest.raises(Enough):
        fit(callbacks=callback(on_epoch_end=stop))


def test_arguments_of_another_type(tmp_path: Path) -> None:
    result = fit(callbacks=None, device=torch.device("cpu"))
    (tmp_path / "file").write_text("")
    calls: list[tuple[Callable[[], Any], type[DglMutualError], str]] = [
        (lambda: fit(device=0), UsageError, "Unknown device '0'"),
        (lambda: fit(callbacks=dm.Callback), UsageError, "is a class. Give an instance"),
        (lambda: fit(callbacks=3), UsageError, "callback"),
        (lambda: fit(recipe=3), UsageError, "Unknown recipe '3'"),
        (lambda: fit(config=3), UsageError, r"Expected a path, found 3 \(an int\)"),
        (lambda: dm.load_student(3), UsageError, "Expected a path"),
        (lambda: result.save(3), UsageError, "Expected a path"),
        (lambda: result.save(tmp_path / "file"), StoreError, "is a file. Name a folder"),
        (lambda: result.predict(3), UsageError, "Expected a Dataset, .* found an int"),
        (lambda: result.embeddings(data=3), UsageError, "found an int"),
        (lambda: result.cohort.members[0](graph(), FEATURES), UsageError, "are an ndarray. Give a tensor"),
    ]
    for call, kind, message in calls:
        with pytest.raises(kind, match=message):
            call()


def test_an_option_of_a_group_without_any_says_so() -> None:
    with pytest.raises(UsageError, match=r"Unknown option 'strategy_options.zz'. There are no options here"):
        fit(strategy=strategy(), strategy_options={"zz": 1})


def test_what_custom_code_raises_anywhere_is_no_bug_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    (tmp_path / "anywhere.py").write_text(
        "import dgl_mutual\n\n\nclass Gone:\n    def __get__(self, *_):\n        return {}['gone']\n\n\n"
        "class Mine(dgl_mutual.Strategy):\n    trains = Gone()\n\n    def loss_terms(self, step): ...\n"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["run", "--strategy", "anywhere:Mine", "--seeds", "1", "--epochs", "1", "--out", str(tmp_path)])
    assert ended.value.code == 1
    assert "Error: Code of your own, or of a package that you named, raised an error: KeyError: 'gone' (" in (
        told := capsys.readouterr().err
    )
    assert "anywhere.py, line 6)." in told and "bug" not in told


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_training_without_gradients_is_refused(off: Any) -> None:
    with off(), pytest.raises(UsageError, match="Gradients are switched off"):
        fit()


class Fixed(Net):
    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__(in_features, num_outputs)
        self.fixed = torch.tensor([float("nan"), 1.0])
        self.made_at = time.perf_counter()
        self.drawn = torch.rand(3, generator=torch.Generator().manual_seed(0))
        self.register_buffer("eye", torch.eye(3).to_sparse(), persistent=False)


def test_numbers_that_are_the_same_each_time_need_not_be_saved(tmp_path: Path) -> None:
    result = fit([Fixed, "gcn"])
    result.save(tmp_path / "saved")
    loaded = dm.load_student(tmp_path / "saved" / "Fixed-0.safetensors", trust=[Fixed])
    np.testing.assert_array_equal(loaded.predict(graph()), result.predict(member="Fixed-0"))


def test_targets_that_are_no_probabilities_are_refused() -> None:
    class Mine(ExchangeStrategy):
        def loss_terms(self, step: Any) -> dict[str, Tensor]:
            return {"a": self.supervised(step), "mutual": self.imitation(step, step.targets[:, step.exchange])}

    with pytest.raises(UsageError, match=r"'Mine' gives to imitation are not probabilities: .*distribution.probabilities"):
        fit(strategy=Mine)
