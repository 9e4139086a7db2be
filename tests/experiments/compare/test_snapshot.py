from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from torch import Tensor

from tests.experiments.compare.cases import make_case

pytest.importorskip("torch_geometric", reason="needs torch_geometric")

from dgl_mutual.experiments.compare.checks import Check
from dgl_mutual.experiments.compare.snapshot import certify_numbers
from dgl_mutual.reference import losses, mapping


def broken(checks: list[Check]) -> set[tuple[str, str]]:
    return {(check.member, check.quantity) for check in checks if not check.holds}


@pytest.mark.parametrize(("task", "kind"), [("node", "single-label"), ("graph", "multi-label")])
@pytest.mark.parametrize(
    ("strategy", "options"),
    [
        ("independent", {}),
        ("dml", {"temperature": 2.0, "weight": 0.7}),
        ("dml", {"targets": "eval", "exchange_on": "labelled", "scale_by_temperature": False, "temperature": 3.0}),
        ("gml", {}),
        ("gml", {"weighting": "classwise", "mix": "probabilities", "entropy_weight": 0.3}),
        ("gml", {"entropy_weight": -0.3, "entropy_on": "labelled", "class_prior_weight": 0.2}),
        ("gml", {"class_prior_weight": 0.4, "entropy_on": "all"}),
        ("gml", {"weighting": "confidence", "targets": "train", "temperature": 2.0, "target_temperature": None}),
        ("gml", {"weighting": "uniform", "targets": "ema", "exchange_on": "labelled"}),
        ("gml", {"weighting": "consensus", "weighting_options": {"power": 2, "memory": 40}}),
        ("gml", {"uniform_kl_weight": 0.5, "coordinator_inputs": "eval", "exchange_warmup": [2, 3]}),
    ],
)
def test_both_sides_compute_the_same(task: str, kind: str, strategy: str, options: dict[str, Any]) -> None:
    checks = certify_numbers(*make_case(task, kind, strategy, options))
    assert not broken(checks)
    quantities = {check.quantity for check in checks}
    assert {"logits, training", "logits, evaluation", "gradients", "weights there and back", "loss: supervised"} <= quantities
    assert ("loss: mutual" in quantities) == (strategy != "independent")
    assert {check.precision for check in checks} == {"float64", "float32"}


@pytest.mark.parametrize(("task", "kind"), [("node", "multi-label"), ("graph", "single-label")])
def test_other_pairs_of_task_and_kind_too(task: str, kind: str) -> None:
    assert not broken(certify_numbers(*make_case(task, kind)))


def test_the_transductive_form_is_covered_where_it_exists() -> None:
    assert not broken(certify_numbers(*make_case("node", options={"weighting": "transductive"})))


def _swap(architecture: str, first: int, second: int) -> dict[str, tuple[mapping.Rule, ...]]:
    rules = list(mapping.RULES[architecture])
    rules[first], rules[second] = (
        replace(rules[first], reference=rules[second].reference),
        replace(rules[second], reference=rules[first].reference),
    )
    return {**mapping.RULES, architecture: tuple(rules)}


@pytest.mark.parametrize("task", ["node", "graph"])
def test_attention_vectors_mapped_the_wrong_way_round_break_parity(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "RULES", _swap("gat", 1, 2))
    found = broken(certify_numbers(*make_case(task)))
    assert {("gat-1", "logits, training"), ("gat-1", "logits, evaluation"), ("gat-1", "gradients")} <= found
    assert ("gcn-0", "logits, training") not in found


@pytest.mark.parametrize("task", ["node", "graph"])
def test_exchanged_weights_of_sage_break_parity(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own, neighbours, *others = mapping.RULES["sage"]
    exchanged = (replace(own, reference=neighbours.reference), replace(neighbours, reference=own.reference))
    monkeypatch.setitem(mapping.RULES, "sage", (*exchanged, *others))
    assert ("sage-3", "logits, training") in broken(certify_numbers(*make_case(task)))


def test_a_weight_that_does_not_come_back_breaks_parity(monkeypatch: pytest.MonkeyPatch) -> None:
    first, *others = mapping.RULES["gcn"]
    monkeypatch.setitem(mapping.RULES, "gcn", (replace(first, to_ours=lambda weight: weight.t() * 1.0000001), *others))
    assert broken(certify_numbers(*make_case("node"))) == {("gcn-0", "weights there and back")}


@pytest.mark.parametrize("task", ["node", "graph"])
def test_a_wrong_loss_term_breaks_parity_where_it_is(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def reverse(target: Tensor, z: Tensor, temperature: float, multi_label: bool) -> Tensor:
        return 1.001 * right(target, z, temperature, multi_label)

    right = losses.divergence
    monkeypatch.setattr(losses, "divergence", reverse)
    found = broken(certify_numbers(*make_case(task)))
    assert {(f"{name}", "loss: mutual") for name in ("gcn-0", "gat-1", "gin-2", "sage-3")} <= found
    assert not any("logits" in quantity or "supervised" in quantity for _, quantity in found)


def test_a_missing_loss_term_breaks_parity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(losses.LOSSES, "gml", losses.independent)
    assert ("gcn-0", "loss: mutual") in broken(certify_numbers(*make_case("node")))
