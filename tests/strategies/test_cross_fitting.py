"""The weighting `cross-fitted`: what each student leaves out, and what is fitted there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from dgl_mutual.errors import UsageError
from dgl_mutual.options import parse_options
from dgl_mutual.strategies.base.setting import TrainingSamples
from dgl_mutual.strategies.gml import GMLOptions
from dgl_mutual.strategies.terms.held_out import left_out_samples
from tests.strategies.cases import Bench
from tests.strategies.test_kd import fit

K = 4
OPTIONS = {"weighting": "cross-fitted", "exchange_warmup": (0, 0), "held_out": 0.25, "uniform_kl_weight": 0.0}


def bench_of(kind: str = "single-label", task: str = "node", **options: object) -> Bench:
    return Bench.of("gml", task, kind, K, {**OPTIONS, **options})


def test_parts_are_disjoint_cover_the_training_samples_and_hold_all_classes_alike() -> None:
    numbers, classes = np.arange(10, 70), np.arange(60) % 3
    mask = left_out_samples(TrainingSamples(numbers, classes, 100), 0.25, 4, seed=0).numpy()
    assert mask.shape == (4, 100)
    assert (mask[:, 10:70].sum(0) == 1).all() and not mask[:, :10].any() and not mask[:, 70:].any()
    for own in mask[:, 10:70]:
        assert np.bincount(classes[own]).tolist() == [5, 5, 5]
    several = left_out_samples(TrainingSamples(numbers, classes, 100), 0.34, 4, seed=0).numpy()
    assert (several[0] == several[3]).all() and not (several[0] & several[1]).any()
    assert (mask != left_out_samples(TrainingSamples(numbers, classes, 100), 0.25, 4, seed=1).numpy()).any()
    assert left_out_samples(TrainingSamples(numbers, None, 100), 0.9, 2, seed=0).sum(1).tolist() == [30, 30]


@pytest.mark.parametrize("kind", ["single-label", "multi-label", "joint"])
def test_no_student_learns_from_the_labels_of_its_part(kind: str) -> None:
    bench = bench_of(kind)
    parts = bench.strategy.label_use.left_out
    assert parts[:, bench.labelled].sum(0).eq(1).all()
    step = bench.step(range(K))
    before = bench.strategy.loss_terms(step)
    for k in range(K):
        rows = torch.nonzero(parts[k]).squeeze(1)
        labels = step.labels.clone()
        labels[rows] = (labels[rows] + 1) % 3 if kind == "single-label" else 1 - labels[rows].clamp(max=1)
        after = bench.strategy.loss_terms(bench.step(range(K), labels=labels))
        for term in ("supervised", "mutual"):
            assert after[term][k] == before[term][k]
        others = [j for j in range(K) if j != k]
        assert (after["supervised"][others] != before["supervised"][others]).all()
        assert after["coordinator"] != before["coordinator"]


def test_what_peers_say_of_a_students_part_teaches_it_nothing() -> None:
    bench = bench_of()
    parts = bench.strategy.label_use.left_out
    changed = torch.where(parts[1][:, None], 3 * bench.targets.flip(-1), bench.targets)
    one, other = (bench.strategy.loss_terms(bench.step(range(K), targets=targets))["mutual"] for targets in (bench.targets, changed))
    assert other[1] == one[1] and other[0] != one[0]


def test_the_loss_is_the_log_loss_of_being_right_on_the_own_part() -> None:
    bench = bench_of()
    step = bench.step(range(K))
    truth, said, probability = [], [], []
    coordinator = bench.strategy.coordinator
    for k in range(K):
        rows = torch.nonzero(bench.strategy.label_use.left_out[k]).squeeze(1)
        confidence = bench.strategy.distribution.confidence(bench.targets[k, rows])
        probability += torch.sigmoid(coordinator.bias[k] + coordinator.slope * confidence).tolist()
        said += bench.targets[k, rows].argmax(-1).tolist()
        truth += step.labels[rows].tolist()
    right = np.array(truth) == np.array(said)
    assert bench.strategy.loss_terms(step)["coordinator"].item() == pytest.approx(log_loss(right, probability))


def test_a_good_peer_comes_to_weigh_more_and_the_pull_holds_it_back() -> None:
    shares = []
    for pull in (0.0, 1.0, 100.0):
        bench = bench_of(uniform_kl_weight=pull)
        bench.targets[2] = 3 * torch.nn.functional.one_hot(torch.as_tensor(bench.dataset.labels), 3)
        bench.strategy.reset_parameters()
        optimizer = torch.optim.Adam(bench.strategy.coordinator.parameters(), lr=0.1)
        step = bench.step(range(K))
        for _ in range(80):
            optimizer.zero_grad()
            bench.strategy.loss_terms(step)["coordinator"].backward()
            optimizer.step()
        bench.strategy.loss_terms(step)
        shares.append(step.log["weights"][[0, 1, 3], 2].mean().item())
    assert shares[0] > 0.6
    assert shares[0] > shares[1] > shares[2] > 1 / 3 - 1e-6
    assert shares[2] == pytest.approx(1 / 3, abs=0.02)


@pytest.mark.parametrize("task", ["node", "graph"])
def test_it_trains_also_in_steps_that_hold_no_label_of_a_student(task: str) -> None:
    result, _ = fit(task, "gml", {**OPTIONS, "held_out": 0.5})
    assert all(np.isfinite(value) for row in result.history for value in row.values())
    assert result.cohort.coordinator.bias.any()


def test_a_direction_that_has_no_use_for_weights_is_refused() -> None:
    with pytest.raises(UsageError, match="'cross-fitted' both hold out training labels"):
        parse_options(GMLOptions, {"weighting": "cross-fitted", "direction": "best"})


def test_unknown_labels_are_no_wrong_answers():
    """Of several tasks, a sample that a student leaves out may have a label for another one alone."""
    bench = Bench.of("gml", "node", "single-label", 3, {"weighting": "cross-fitted"})
    fitting, distribution, logits = bench.strategy.label_use, bench.strategy.distribution, bench.targets
    samples = torch.arange(logits.shape[1])
    scores = torch.randn(3, len(samples), 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.as_tensor(bench.dataset.labels).clone()
    labels[::2] = -1
    known = samples[labels >= 0]
    alone = fitting.loss(scores[:, known], logits[:, known], labels[known], known, distribution)
    torch.testing.assert_close(fitting.loss(scores, logits, labels, samples, distribution), alone)
