"""Calibration against scikit-learn, and against the definition written out sample by sample."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from torch import Tensor

from dgl_mutual.api import fit, load
from dgl_mutual.data.values.target import parts_of
from dgl_mutual.distributions import Bernoulli, Categorical
from dgl_mutual.training.evaluation.calibration import calibrations

N, C = 200, 4


def by_hand(decisions: list[tuple[float, bool]]) -> float:
    """ECE as Guo et al. define it, eq. 5, by loops."""
    error = 0.0
    for b in range(15):
        here = [(confidence, right) for confidence, right in decisions if b / 15 < confidence <= (b + 1) / 15]
        if here:
            accuracy = sum(right for _, right in here) / len(here)
            error += len(here) / len(decisions) * abs(accuracy - sum(confidence for confidence, _ in here) / len(here))
    return error


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_single_label_equals_sklearn_and_the_definition_over_known_labels() -> None:
    logits, labels = 2 * draw(3, N, C), torch.randint(-1, C, (N,), generator=torch.Generator().manual_seed(1))
    known = labels >= 0
    assert 0 < known.sum() < N
    for member, found in zip(logits, calibrations(Categorical(), logits, labels), strict=True):
        p = np.exp(member.numpy()) / np.exp(member.numpy()).sum(1, keepdims=True)
        p, y = p[known.numpy()], labels[known].numpy()
        assert found.nll == pytest.approx(log_loss(y, p, labels=range(C)), rel=1e-9)
        assert found.ece == pytest.approx(by_hand([(row.max(), row.argmax() == truth) for row, truth in zip(p, y, strict=True)]), rel=1e-9)
        assert sum(found.counts) == known.sum()


def test_each_known_label_of_several_is_a_decision() -> None:
    logits, labels = draw(2, N, C), (draw(N, C, seed=1) > 0.5).double()
    labels[draw(N, C, seed=2) > 0.8] = torch.nan
    known = ~labels.isnan()
    for member, found in zip(logits, calibrations(Bernoulli(), logits, labels), strict=True):
        p, y = torch.sigmoid(member)[known].numpy(), labels[known].numpy()
        assert found.nll == pytest.approx(log_loss(y, np.stack([1 - p, p], 1)), rel=1e-9)
        decisions = [(max(one, 1 - one), (one > 0.5) == bool(truth)) for one, truth in zip(p, y, strict=True)]
        assert found.ece == pytest.approx(by_hand(decisions), rel=1e-9)
        assert sum(found.counts) == known.sum() and not any(found.counts[:7])


@pytest.mark.parametrize(("scale", "right", "ece"), [(60.0, True, 0.0), (60.0, False, 1.0)])
def test_extremes(scale: float, right: bool, ece: float) -> None:
    labels = torch.arange(C)
    logits = scale * torch.eye(C)[None] if right else scale * torch.eye(C).roll(1, 0)[None]
    (found,) = calibrations(Categorical(), logits, labels)
    assert found.ece == pytest.approx(ece, abs=1e-9) and found.counts[-1] == C
    assert found.nll == pytest.approx(0.0 if right else scale, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_confidence_at_an_edge_belongs_to_the_bin_below(dtype: torch.dtype) -> None:
    labels = torch.arange(3)
    (found,) = calibrations(Categorical(), torch.zeros(1, 3, 3, dtype=dtype), labels)
    assert found.counts[4] == 3  # 1/3 = 5/15 closes the fifth
    assert found.ece == pytest.approx(0, abs=1e-12)
    assert found.nll == pytest.approx(math.log(3), rel=1e-6)
    (row,) = found.rows()
    assert (row["bin"], row["count"], row["accuracy"]) == (4, 3, pytest.approx(1 / 3))


def test_without_known_labels_figures_are_nan() -> None:
    (found,) = calibrations(Categorical(), torch.zeros(1, 3, 2), torch.full((3,), -1))
    assert math.isnan(found.nll) and math.isnan(found.ece) and not list(found.rows())


def test_a_result_has_the_figures_of_each_member_on_its_test_part_and_of_each_task() -> None:
    result = fit(load("digits-multi"), "gcn,sage", training={"epochs": 4}, protocol="random")
    assert list(result.tasks) and result.tasks.keys() == {row["metric"] for row in result.reliability}
    for member in ("gcn-0", "sage-1", "ensemble"):
        places = [row.member for row in result.members].index(member)
        in_tasks = [members[places] for members in result.tasks.values()]
        assert result[member].nll == pytest.approx(sum(one.nll for one in in_tasks) / len(in_tasks))
        assert result[member].ece == pytest.approx(sum(one.ece for one in in_tasks) / len(in_tasks))
        assert len({one.nll for one in in_tasks}) == len(in_tasks)
    assert result["mean"].nll == pytest.approx((result["gcn-0"].nll + result["sage-1"].nll) / 2)
    (digit, *_), test = parts_of(result.dataset.target), result.split.test
    truth, p = result.dataset.labels[test, 0].astype(int), result.predict(member="gcn-0")[test][:, digit.outputs]
    expected = log_loss(truth, p / p.sum(1, keepdims=True), labels=range(p.shape[1]))
    assert result.tasks[digit.metric][0].nll == pytest.approx(expected, rel=1e-4)
    assert {"nll", "ece"} <= set(result.table().columns)
