from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.split import Split
from dgl_mutual.experiments.compare.checks import Check, difference, gradients_difference, parity_trial, terms_difference, without_dropout
from tests.experiments.compare.cases import make_case


def test_difference_is_in_units_of_the_largest_entry_once_that_is_above_one() -> None:
    assert difference(torch.tensor([1.0, 0.5]), torch.tensor([1.0, 0.25])) == 0.25
    assert difference(torch.tensor([10.0, 0.5]), torch.tensor([10.0, 0.25])) == pytest.approx(0.025)


@pytest.mark.parametrize("other", [[math.nan, 0.0], [math.inf, 0.0], [0.0]])
def test_tensors_that_cannot_be_compared_are_infinitely_far_apart(other: list[float]) -> None:
    assert difference(torch.tensor(other), torch.zeros(2)) == math.inf
    assert not Check("gcn-0", "logits", "float64", math.inf, 1e-10).holds


def test_gradients_are_measured_by_the_members_largest() -> None:
    theirs = {"weight": torch.tensor([1e-3]), "bias": torch.tensor([0.0])}
    assert gradients_difference({"weight": torch.tensor([1e-3]), "bias": torch.tensor([1e-6])}, theirs) == pytest.approx(1e-3)
    assert gradients_difference({"weight": torch.tensor([1e-3])}, theirs) == math.inf


def test_a_term_of_one_side_alone_is_infinitely_far_apart() -> None:
    assert terms_difference({"a": 1.0, "b": 2.0}, {"a": 1.0, "c": 2.0}) == {"a": 0.0, "b": math.inf, "c": math.inf}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("place", ["first", "last"])
def test_a_gradient_that_is_not_finite_is_infinitely_far_wherever_it_is(bad: float, place: str) -> None:
    theirs = {"first": torch.ones(2), "last": torch.ones(2)}
    assert gradients_difference({**theirs, place: torch.tensor([1.0, bad])}, theirs) == math.inf
    assert gradients_difference(theirs, {**theirs, place: torch.tensor([bad, 1.0])}) == math.inf


def test_gradients_that_are_all_zero_are_equal() -> None:
    assert gradients_difference({"weight": torch.zeros(2)}, {"weight": torch.zeros(2)}) == 0.0


def test_parity_is_shown_on_some_graphs_and_on_the_whole_of_a_node_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dgl_mutual.experiments.compare.checks._MAX_GRAPHS", (3, 1))
    trial, _, dataset = make_case("graph")
    small = parity_trial(trial, dataset)
    assert 1 < len(small.split.train) <= 3 and set(small.split.train) <= set(trial.split.train)
    assert len(small.split.val) == 1 and len(small.split.test) == len(trial.split.test)
    trial, _, dataset = make_case("node")
    assert parity_trial(trial, dataset) is trial


def test_of_several_labels_a_rare_one_is_still_there_both_ways() -> None:
    trial, _, _ = make_case("graph", "multi-label")
    labels = np.full((3000, 2), np.nan, dtype=np.float32)
    labels[:, 0] = 0
    labels[[701, 1999, 2500], 0] = 1
    labels[5, 1] = 1
    many = replace(trial, split=Split(np.arange(2000), np.arange(2000, 3000), trial.split.test))
    many_graphs = Dataset.from_arrays([[], []], np.ones((3000, 1)), labels, node_offsets=np.arange(3001))
    small = parity_trial(many, many_graphs).split
    assert len(small.train) <= 128 and len(small.val) <= 64
    assert {701, 1999} <= set(small.train) and 2500 in small.val
    assert (labels[small.train, 0] == 0).any() and (labels[small.val, 0] == 0).any()


def test_of_two_classes_a_rare_one_is_still_there_where_rocauc_needs_it() -> None:
    trial, _, _ = make_case("graph")
    labels = np.zeros(3000, dtype=np.int64)
    labels[[701, 2500]] = 1
    many = replace(trial, split=Split(np.arange(2000), np.arange(2000, 3000), trial.split.test))
    graphs = Dataset.from_arrays([[], []], np.ones((3000, 1)), labels, node_offsets=np.arange(3001), metric="rocauc")
    small = parity_trial(many, graphs).split
    assert 701 in small.train and 2500 in small.val and len(small.train) <= 128


def test_without_dropout_every_epoch_is_trained() -> None:
    _, config, _ = make_case("node", training={"patience": 2, "eval_every": 5})
    changed = without_dropout(config, 7)
    assert {student.dropout for student in changed.students} == {0.0}
    assert changed.strategy_options["exchange_warmup"] == [1, 1]
    assert without_dropout(changed, 2).strategy_options["exchange_warmup"] == [0, 0]
    assert (changed.training.epochs, changed.training.patience, changed.training.eval_every) == (7, 7, 1)
