"""Users' own data, split, students and strategy, and the results."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import dgl
import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import dgl_mutual as dm
from dgl_mutual.errors import DglMutualError, UsageError
from dgl_mutual.experiments.compute import Compute
from dgl_mutual.experiments.configuration.config import parse_config
from dgl_mutual.experiments.runner import run
from dgl_mutual.strategies.dml import DeepMutualLearning

NODES = 40
QUICK: dict[str, Any] = {"student": {"hidden": 4}, "training": {"epochs": 3}}


class MyNet(nn.Module):
    def __init__(self, in_features: int, num_outputs: int, hidden: int = 5) -> None:
        super().__init__()
        self.first, self.last = dgl.nn.SAGEConv(in_features, hidden, "mean"), nn.Linear(hidden, num_outputs)

    def forward(self, graph: dgl.DGLGraph, feat: Tensor) -> Tensor:
        return self.last(nn.functional.dropout(self.first(graph, feat).relu(), training=self.training))


class MyStrategy(DeepMutualLearning):
    """Deep mutual learning under another name."""


@pytest.fixture(scope="module")
def data() -> dm.Dataset:
    random = np.random.default_rng(0)
    labels = np.arange(NODES) % 2
    return dm.Dataset.from_arrays(random.integers(0, NODES, (2, 90)), random.normal(size=(NODES, 3)) + labels[:, None], labels, name="mine")


@pytest.fixture(scope="module")
def split() -> dm.Split:
    return dm.Split(np.arange(20), list(range(20, 30)), torch.arange(NODES) >= 30)


@pytest.fixture(scope="module")
def result(data: dm.Dataset, split: dm.Split) -> Any:
    students = ["gcn", {"architecture": "gat", "hidden": 8}, MyNet, {"architecture": MyNet, "options": {"hidden": 3}}]
    return dm.fit(data, students, strategy=MyStrategy, split=split, **QUICK)


def test_a_cohort_of_all_kinds_of_students(result: Any) -> None:
    assert [member.member for member in result.members] == ["gcn-0", "gat-1", "MyNet-2", "MyNet-3", "mean", "best_by_val", "ensemble"]
    assert result.cohort.members[3].module.last.in_features == 3
    assert result.cohort.members[0].options.hidden == 4 and result.cohort.members[1].options.hidden == 8


def test_a_split_decides_who_is_assessed_on_what(result: Any, data: dm.Dataset, split: dm.Split) -> None:
    predicted = result.predict(member="gcn-0").argmax(1)
    for name, part in split.parts.items():
        assert getattr(result["gcn-0"], name) == pytest.approx((predicted == data.labels)[part].mean())
    assert result.split.test.tolist() == list(range(30, NODES))


def test_a_split_as_masks_or_numbers_is_the_same(data: dm.Dataset, split: dm.Split) -> None:
    masks = dm.Split(*(np.isin(np.arange(NODES), part) for part in split.parts.values()))
    one, two = (dm.fit(data, "gcn,sage", "dml", split=given, **QUICK).table() for given in (split, masks))
    pd.testing.assert_frame_equal(one.drop(columns="inference_ms"), two.drop(columns="inference_ms"))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (([0, 1], [2], [NODES]), f"names sample {NODES}; there are {NODES}"),
        (([0, 1], [2], [-1]), "names sample -1"),
        (([0, 1], [1], [3]), "shares samples with an earlier part"),
        (([0, 0], [1], [3]), "names sample 0 twice"),
        (([0], [], [3]), "'val' of the split is empty"),
        (([0.5], [1], [2]), "train samples"),
        ((["a"], [1], [2]), "train samples"),
        (([0], [1], np.ones(NODES + 1, dtype=bool)), f"mask of the part 'test' .* covers {NODES + 1} samples; there are {NODES}"),
        (
            (pd.Series(np.arange(NODES) < 9, index=np.arange(NODES)[::-1]), [NODES - 1], [NODES - 2]),
            "mask of the part 'train' of the split: the index counts from 0 on, but in another order",
        ),
        (([0], [1], np.zeros(3, dtype=bool)), "covers 3 samples"),
        ((torch.arange(NODES) % 2, [1], [2]), r"'train' of the split is a mask of the numbers 0 and 1.*in NumPy mask\.astype\(bool\)"),
    ],
)
def test_a_wrong_split_is_refused(data: dm.Dataset, parts: Any, message: str) -> None:
    with pytest.raises(DglMutualError, match=message):
        dm.fit(data, "gcn", "independent", split=dm.Split(*parts), **QUICK)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"split": ([0], [1], [2])}, r"The split is a tuple. Give dgl_mutual.Split\(train, val, test\)"),
        ({"protocol": "random"}, "A split was given, so protocol, fold and folds have no effect"),
        ({"fold": 1}, "A split was given"),
        ({"strategy": MyNet}, "is not a subclass of dgl_mutual.Strategy"),
        (
            {"students": [MyNet(3, 2)]},
            r"^The student MyNet\(\.\.\.\) is an instance, and each seed needs new weights. Give a class or function",
        ),
        ({"students": [3]}, "is not a class or function but an int"),
        ({"students": [{"architecture": MyNet, "hidden": 3}]}, "The options hidden are for built-in students"),
        ({"students": [{"architecture": MyNet(3, 2)}]}, "is an instance"),
    ],
)
def test_wrong_arguments_are_refused(data: dm.Dataset, split: dm.Split, given: Any, message: str) -> None:
    with pytest.raises(DglMutualError, match=message):
        dm.fit(data, **{"students": "gcn", "split": split, "strategy": "independent", **given})


def test_one_class_is_a_cohort_of_one(data: dm.Dataset, split: dm.Split) -> None:
    assert dm.fit(data, MyNet, "independent", split=split, training={"epochs": 1}).members[0].member == "MyNet-0"


def test_the_result_knows_how_it_was_trained(result: Any) -> None:
    assert result.config["protocol"] == "given" and result.config["training"]["epochs"] == 3
    assert result.config["strategy"] == f"{__name__}:MyStrategy"
    assert result.config["students"][3] == {"architecture": f"{__name__}:MyNet", "options": {"hidden": 3}}
    assert result.config["students"][0]["hidden"] == 4


def test_embeddings_are_the_last_hidden_states(result: Any, data: dm.Dataset) -> None:
    graph = dgl.graph(tuple(torch.as_tensor(data.edges)), num_nodes=NODES)
    expected = result.cohort.members[1].embed(graph, torch.as_tensor(data.features))
    np.testing.assert_allclose(result.embeddings(member="gat-1"), expected.detach(), rtol=1e-5, atol=1e-6)
    assert result.embeddings().shape[0] == NODES
    with pytest.raises(DglMutualError, match="Unknown student 'ensemble'"):
        result.embeddings(member="ensemble")


def test_a_table_shows_val_and_test_where_a_terminal_has_80_columns(result: Any) -> None:
    with pd.option_context("display.width", 80, "display.max_columns", 0):
        head = str(result.table()).splitlines()[0]
    assert {"member", "val", "test"} <= set(head.split())


def test_a_plot_has_a_line_a_student_and_the_ensemble(result: Any) -> None:
    (axes,) = result.plot().axes
    lines = {line.get_label(): line for line in axes.lines}
    assert set(lines) == {"gcn-0", "gat-1", "MyNet-2", "MyNet-3", "ensemble"}
    assert lines["gcn-0"].get_ydata().tolist() == [row["val/gcn-0"] for row in result.history]


def test_what_trains_nothing_has_no_learning_curves() -> None:
    with pytest.raises(DglMutualError, match=r"label-propagation trains nothing, so there are no learning curves\. Use result\.table"):
        dm.fit(dm.load("digits"), strategy="label-propagation").plot()


def test_print_gives_a_few_readable_lines(result: Any, data: dm.Dataset, split: dm.Split) -> None:
    text = str(result)
    assert text.startswith("4 students on mine by ") and "(node task, accuracy), 3 epochs" in text
    assert len(text.splitlines()) == 9 and max(map(len, text.splitlines())) < 120
    assert repr(result.cohort.members[0]).startswith(
        "gcn student, depth 2, hidden 4, dropout 0.5 (node task): 3 features -> 2 outputs, 26 parameters"
    )
    assert repr(result.cohort.members[2]).splitlines()[0].startswith(f"MyNet-2 student of {__name__}:MyNet (node task)")


class Counting(dm.Callback):
    """Counts its calls, and stops after two epochs."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def on_fit_begin(self, state: Any) -> None:
        self.calls.append("begin")

    def on_step_end(self, state: Any) -> None:
        self.calls.append(f"step {state.step.logits.shape[0]}")

    def on_epoch_end(self, state: Any) -> None:
        self.calls.append(f"epoch {state.epoch}")
        state.log("mine", 2.0)
        if len(state.history) == 2:
            state.stop()

    def on_fit_end(self, state: Any) -> None:
        self.calls.append(f"end {state.result.epochs}")


def test_callbacks_are_called_and_progress_is_shown(data: dm.Dataset, split: dm.Split, capfd: pytest.CaptureFixture[str]) -> None:
    counting = Counting()
    result = dm.fit(data, "gcn,sage", "dml", split=split, callbacks=[counting], progress=True, **QUICK)
    assert [call.split()[0] for call in counting.calls] == ["begin", "step", "epoch", "step", "epoch", "end"]
    assert counting.calls[1] == "step 2" and counting.calls[-1] == "end 2"
    assert [row["mine"] for row in result.history] == [2.0, 2.0]
    shown = capfd.readouterr()
    assert "2/3" in shown.err and "val=" in shown.err and shown.out == ""
    dm.fit(data, "gcn", "independent", split=split, **QUICK)
    assert capfd.readouterr().err == ""
    assert dm.fit(data, "gcn", "independent", split=split, callbacks=Counting(), **QUICK).epochs == 2  # type: ignore[arg-type]  # one alone
    with pytest.raises(DglMutualError, match=r"Counting is a class. Give an instance"):
        dm.fit(data, "gcn", "independent", split=split, callbacks=[Counting], **QUICK)


def test_the_clock_of_a_bar_ends_with_a_training_that_fails(data: dm.Dataset, split: dm.Split, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(dm.Callback):
        def on_epoch_end(self, state: Any) -> None:
            clocks.extend(thread for thread in threading.enumerate() if thread.name == "dgl_mutual clock" and thread not in before)
            raise ValueError("no more")

    before, clocks = threading.enumerate(), list[threading.Thread]()
    monkeypatch.setattr("dgl_mutual.training.callbacks.shows_bars", lambda: True)
    with pytest.raises(ValueError, match="no more"):
        dm.fit(data, "gcn", "independent", split=split, callbacks=Failing(), progress=True, **QUICK)
    assert clocks and not any(thread.is_alive() for thread in clocks)


def losing(result: Any) -> type[dm.Strategy]:
    """A strategy whose loss terms are what `result` makes of a step."""

    class Losing(dm.Strategy):
        def loss_terms(self, step: Any) -> Any:
            return result(self.supervised(step))

    return Losing


class NoArguments(dm.Strategy):
    def __init__(self) -> None: ...

    def loss_terms(self, step: Any) -> Any: ...


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        (losing(lambda term: term), "loss_terms of the strategy 'Losing' returns a Tensor. It must return a dict"),
        (losing(lambda term: {}), "returns an empty dict"),
        (losing(lambda term: None), "returns None"),
        (losing(lambda term: {"a": 3.0}), "The loss term 'a' of the strategy 'Losing' is a float"),
        (losing(lambda term: {"a": term[:1]}), r"has the shape \(1,\) .* number for each of the 2 members"),
        (losing(lambda term: {"a": term.long()}), "the type torch.int64"),
        (losing(lambda term: {"a": term.detach()}), "No loss term of the strategy 'Losing' depends on the students' logits"),
        (NoArguments, r"has __init__\(self\) -> .*, but strategies are made with \(options, setting\)"),
    ],
)
def test_a_wrong_strategy_is_named(data: dm.Dataset, split: dm.Split, strategy: Any, message: str) -> None:
    with pytest.raises(DglMutualError, match=message):
        dm.fit(data, "gcn,sage", strategy, split=split, **QUICK)


def test_a_strategy_needs_loss_terms_alone(data: dm.Dataset, split: dm.Split) -> None:
    own = dm.fit(data, "gcn,sage", losing(lambda term: {"supervised": term}), split=split, **QUICK)
    independent = dm.fit(data, "gcn,sage", "independent", split=split, **QUICK)
    assert [row["val/gcn-0"] for row in own.history] == [row["val/gcn-0"] for row in independent.history]


def test_a_weighting_may_be_a_local_class(data: dm.Dataset, split: dm.Split, tmp_path: Path) -> None:
    class Even(dm.Weighting):
        def scores(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
            return logits.new_zeros(len(logits), len(logits), 1, 1)

    given = {"exchange_warmup": [0, 0]}
    own, uniform = (
        dm.fit(data, "gcn,sage,gin", "gml", split=split, strategy_options={"weighting": weighting, **given}, **QUICK)
        for weighting in (Even, "uniform")
    )
    assert own.history == uniform.history
    with pytest.raises(DglMutualError, match="Even cannot be found again"):
        own.save(tmp_path / "never")
    config = parse_config({"strategy_options": {"weighting": Even}, "students": "gcn,sage,gin", "seeds": 1, "training": {"epochs": 1}})
    with pytest.raises(DglMutualError, match=r"strategy_options.weighting: .*Even cannot be found again"):
        run(config, out=tmp_path, compute=Compute(jobs=1))


def test_all_of_it_together(tmp_path: Path, split: dm.Split) -> None:
    """A graph of DGL's, students of all kinds, an own strategy by class and by import path, a split, and a callback."""
    graph = dgl.rand_graph(NODES, 120)
    graph.ndata["feat"], graph.ndata["label"] = torch.rand(NODES, 4), torch.arange(NODES) % 3
    graph.ndata["train_mask"], graph.ndata["val_mask"], graph.ndata["test_mask"] = (
        torch.as_tensor(np.isin(np.arange(NODES), part)) for part in split.parts.values()
    )
    data = dm.Dataset.from_dgl(graph)
    students = ["gcn", {"architecture": "gat", "hidden": 32}, MyNet]
    counting = Counting()
    one = dm.fit(data, students, strategy="gml", split=split, callbacks=[counting], progress=False, training={"epochs": 2})
    own, named = (
        dm.fit(data, students, strategy=strategy, split=split, training={"epochs": 2})
        for strategy in (MyStrategy, f"{__name__}:MyStrategy")
    )
    pd.testing.assert_frame_equal(*(found.table().drop(columns="inference_ms") for found in (own, named)))
    official = dm.fit(data, students, strategy="gml", training={"epochs": 2})
    assert [row["val/MyNet-2"] for row in official.history] == [row["val/MyNet-2"] for row in one.history]
    one.save(tmp_path)
    loaded = dm.load_student(tmp_path / "MyNet-2.safetensors", trust=__name__)
    assert loaded(graph, graph.ndata["feat"]).shape == (NODES, 3)
    np.testing.assert_allclose(loaded.predict(graph), one.predict(graph, "MyNet-2"), rtol=1e-6)


def test_the_contributors_page_names_files_that_exist() -> None:
    root = Path(dm.__file__).parents[1]
    table = (root / "CONTRIBUTING.md").read_text().split("## Commands")[0]
    named = re.findall(r"`([\w/]+(?:\.py|/))`", table)
    assert len(named) >= 8
    for name in named:
        assert (root / name).exists() or (root / "dgl_mutual" / name).exists(), name


def test_a_strategy_whose_propagate_would_not_be_called_is_refused() -> None:
    class Silent(dm.Strategy):
        def loss_terms(self, step: Any) -> dict[str, Tensor]:
            return {"supervised": self.supervised(step)}

        @staticmethod
        def propagate(options: Any, predictions: Any, graph: Any) -> Any:
            return predictions

    with pytest.raises(UsageError, match=r"has a propagate\(\) that is not called"):
        dm.fit("digits", "gcn,gat", strategy=Silent, training={"epochs": 1})
