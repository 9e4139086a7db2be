"""The weighting `consensus`, beside an implementation in NumPy that goes student by student, sample by sample and class by class."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.special import expit, softmax
from torch import Tensor

from dgl_mutual.coordinator import CoordinatorConfig, PerTask
from dgl_mutual.distributions import Bernoulli, Categorical
from dgl_mutual.errors import UsageError
from dgl_mutual.weightings import make_coordinator
from dgl_mutual.weightings.consensus import Consensus
from tests.strategies.cases import Bench
from tests.strategies.test_kd import fit

K, N, C = 4, 200, 3
Array = npt.NDArray[np.float64]


def consensus_of(num_students: int = K, num_outputs: int = C, multi_label: bool = False, **options: Any) -> Consensus:
    made = make_coordinator(CoordinatorConfig("consensus", num_students, num_outputs, options=options, multi_label=(multi_label,)))
    assert isinstance(made, Consensus)
    return made.double()


def peers(accuracies: list[float], num_samples: int = N, num_classes: int = C, seed: int = 0) -> tuple[Tensor, npt.NDArray[np.int64]]:
    """Logits of students that are right on these shares of the samples and err at random, and the truth."""
    random = np.random.default_rng(seed)
    truth = random.integers(num_classes, size=num_samples)
    logits = random.normal(scale=0.3, size=(len(accuracies), num_samples, num_classes))
    for own, accuracy in zip(logits, accuracies, strict=True):
        right = random.random(num_samples) < accuracy
        said = np.where(right, truth, (truth + random.integers(1, num_classes, size=num_samples)) % num_classes)
        own[np.arange(num_samples), said] += 3
    return torch.as_tensor(logits), truth


def counted(
    probabilities: Array, rounds: int, power: float, prior: float, old: tuple[Array, Array] | None = None, kept: float = 0.0
) -> tuple[Array, Array, Array]:
    """Predictions and agreements of each student by class, and its precisions: probabilities (K, N, C)."""
    num_students, num_samples, num_classes = probabilities.shape
    said = probabilities.argmax(-1)
    weights = np.ones((num_students, num_samples))
    for _ in range(rounds):
        predicted, agreed = np.zeros((2, num_students, num_classes))
        if old is not None:
            predicted, agreed = kept * old[0], kept * old[1]
        for j in range(num_students):
            for v in range(num_samples):
                votes = sum(weights[k, v] * probabilities[k, v] for k in range(num_students) if k != j)
                predicted[j, said[j, v]] += 1
                agreed[j, said[j, v]] += votes.argmax() == said[j, v]
        overall = (agreed.sum(1, keepdims=True) + 1) / (predicted.sum(1, keepdims=True) + 2)
        precision = (agreed + prior * overall) / (predicted + prior)
        odds = (precision / (1 - precision)) ** power
        weights = np.array([[odds[j, said[j, v]] for v in range(num_samples)] for j in range(num_students)])
    return predicted, agreed, precision


@pytest.mark.parametrize(("rounds", "power", "prior"), [(1, 1.0, 10.0), (3, 1.0, 10.0), (3, 2.0, 2.0), (5, 0.5, 30.0)])
def test_counts_and_weights_equal_those_of_numpy(rounds: int, power: float, prior: float) -> None:
    logits, _ = peers([0.9, 0.8, 0.7, 0.4])
    coordinator = consensus_of(rounds=rounds, power=power, prior=prior)
    coordinator.observe(logits, torch.arange(N))
    predicted, agreed, precision = counted(softmax(logits.numpy(), axis=-1), rounds, power, prior)
    np.testing.assert_allclose(coordinator.predicted[:, 0], predicted)
    np.testing.assert_allclose(coordinator.agreed[:, 0], agreed)
    np.testing.assert_allclose(coordinator.precision()[:, 0], precision)
    weights = coordinator.peer_weights(logits, Categorical().confidence(logits), torch.arange(N)).squeeze(-1).numpy()
    said = logits.argmax(-1).numpy()
    odds = (precision / (1 - precision)) ** power
    for i in range(K):
        for v in range(0, N, 20):
            others = [j for j in range(K) if j != i]
            expected = np.array([odds[j, said[j, v]] for j in others])
            np.testing.assert_allclose(weights[i, others, v], expected / expected.sum())


def test_counts_of_earlier_steps_fade_with_the_samples_of_later_ones() -> None:
    first, second = peers([0.9, 0.8, 0.7, 0.4], seed=1)[0], peers([0.9, 0.8, 0.7, 0.4], num_samples=50, seed=2)[0]
    coordinator = consensus_of(memory=200)
    coordinator.observe(first, torch.arange(N))
    old = counted(softmax(first.numpy(), axis=-1), 3, 2.0, 10.0)[:2]
    coordinator.observe(second, torch.arange(50))
    predicted, agreed, _ = counted(softmax(second.numpy(), axis=-1), 3, 2.0, 10.0, old, kept=0.75)
    np.testing.assert_allclose(coordinator.predicted[:, 0], predicted)
    np.testing.assert_allclose(coordinator.agreed[:, 0], agreed)
    for memory in (N, N // 2):  # a step that is as large as the memory, or larger, leaves nothing of those before
        alone = consensus_of(memory=memory)
        for logits in (second, first):
            alone.observe(logits, torch.arange(logits.shape[1]))
        np.testing.assert_allclose(alone.agreed[:, 0], old[1])


def test_each_label_is_a_problem_of_two_classes() -> None:
    logits = peers([0.9, 0.8, 0.7, 0.4])[0] - 1
    coordinator = consensus_of(multi_label=True)
    coordinator.observe(logits, torch.arange(N))
    weights = coordinator.ensemble_weights(logits, Bernoulli().confidence(logits), torch.arange(N))
    assert weights.shape == (1, K, N, C)
    for label in range(C):
        p = expit(logits[..., label].numpy())
        predicted, agreed, _ = counted(np.stack([1 - p, p], axis=-1), 3, 2.0, 10.0)
        np.testing.assert_allclose(coordinator.predicted[:, label], predicted)
        np.testing.assert_allclose(coordinator.agreed[:, label], agreed)
        binary = consensus_of(num_outputs=1, multi_label=True)
        own = logits[..., label : label + 1]
        binary.observe(own, torch.arange(N))
        alone = binary.ensemble_weights(own, Bernoulli().confidence(own), torch.arange(N))
        torch.testing.assert_close(weights[..., label : label + 1], alone)


def test_a_bad_peer_weighs_less_than_its_share_and_equal_peers_about_as_much() -> None:
    samples = torch.arange(2000)
    for accuracies, bad in (([0.85] * K, None), ([0.85, 0.85, 0.85, 0.35], 3), ([0.4, 0.85, 0.85, 0.85], 0)):
        logits, _ = peers(accuracies, num_samples=2000, num_classes=4)
        coordinator = consensus_of(num_outputs=4, power=1)
        coordinator.observe(logits, samples)
        shares = coordinator.ensemble_weights(logits, Categorical().confidence(logits), samples)[0].squeeze(-1).mean(1)
        if bad is None:
            assert (shares - 1 / K).abs().max() < 0.05
        else:
            assert shares[bad] < 0.12
            assert (shares[[j for j in range(K) if j != bad]] > 1 / K).all()
            previous = shares[bad]
            sharper = consensus_of(num_outputs=4, power=2)
            sharper.observe(logits, samples)
            assert sharper.ensemble_weights(logits, Categorical().confidence(logits), samples)[0].squeeze(-1).mean(1)[bad] < previous


def test_good_peers_outweigh_three_bad_ones_of_seven() -> None:
    logits, truth = peers([0.8, 0.3, 0.8, 0.3, 0.8, 0.3, 0.8], num_samples=500, num_classes=5)
    coordinator = consensus_of(7, 5, power=1)
    coordinator.observe(logits, torch.arange(500))
    precision = coordinator.precision().squeeze(1).mean(1)
    assert precision[::2].min() > precision[1::2].max() + 0.3
    weights = coordinator.ensemble_weights(logits, Categorical().confidence(logits), torch.arange(500))
    weighed, plain = ((z.argmax(-1).numpy() == truth).mean() for z in ((weights * logits).sum(1)[0], logits.mean(0)))
    assert weighed > plain


def test_neither_the_order_of_peers_nor_of_classes_nor_of_samples_matters() -> None:
    logits, _ = peers([0.9, 0.8, 0.6, 0.4])
    samples = torch.arange(N)

    def weights(seen: Tensor) -> Tensor:
        coordinator = consensus_of()
        coordinator.observe(seen, samples)
        return coordinator.peer_weights(seen, Categorical().confidence(seen), samples)

    order, classes = torch.tensor([2, 0, 3, 1]), torch.tensor([1, 2, 0])
    mixed = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(weights(logits[order]), weights(logits)[order][:, order])
    torch.testing.assert_close(weights(logits[..., classes]), weights(logits))
    torch.testing.assert_close(weights(logits[:, mixed]), weights(logits)[:, :, mixed])


def test_without_evidence_all_weigh_the_same() -> None:
    logits, _ = peers([0.9, 0.4, 0.8, 0.7])
    coordinator = consensus_of()
    nothing = logits[:, :0]
    coordinator.observe(nothing, torch.arange(0))
    assert not coordinator.predicted.any()
    torch.testing.assert_close(
        coordinator.ensemble_weights(logits, Categorical().confidence(logits), torch.arange(N)), torch.full((1, K, N, 1), 0.25).double()
    )


def test_a_class_that_a_peer_hardly_predicts_has_its_precision_over_all_classes() -> None:
    logits, _ = peers([0.9, 0.9, 0.9, 0.9])
    logits[0, :, 2] -= 20  # student 0 never says class 2
    coordinator = consensus_of()
    coordinator.observe(logits, torch.arange(N))
    assert coordinator.predicted[0, 0, 2] == 0
    overall = (coordinator.agreed[0].sum() + 1) / (coordinator.predicted[0].sum() + 2)
    torch.testing.assert_close(coordinator.precision()[0, 0, 2], overall)


def test_one_student_and_two_students_have_weights() -> None:
    for num_students in (1, 2):
        logits, _ = peers([0.9] * num_students)
        coordinator = consensus_of(num_students)
        coordinator.observe(logits, torch.arange(N))
        weights = coordinator.ensemble_weights(logits, Categorical().confidence(logits), torch.arange(N))
        assert weights.isfinite().all()
        torch.testing.assert_close(weights.sum(1), torch.ones_like(weights.sum(1)))


def test_peers_that_always_agree_keep_finite_weights() -> None:
    logits = peers([0.9])[0].expand(K, -1, -1)
    coordinator = consensus_of(power=10, prior=1e-6)
    for _ in range(50):
        coordinator.observe(logits, torch.arange(N))
    weights = coordinator.peer_weights(logits, Categorical().confidence(logits), torch.arange(N))
    torch.testing.assert_close(weights.sum(1), torch.ones_like(weights.sum(1)))


def test_each_of_several_tasks_has_its_own_counts() -> None:
    bench = Bench.of("gml", "node", "joint", K, {"weighting": "consensus"})
    bench.strategy.loss_terms(bench.step(range(K)))
    coordinator = bench.strategy.coordinator
    assert isinstance(coordinator, PerTask)
    joint = bench.strategy.distribution
    for own, head in zip(coordinator.coordinators, joint.heads, strict=True):
        alone = consensus_of(num_outputs=own.config.num_outputs, multi_label=head.distribution.has_columns)
        alone.observe(head.logits(bench.targets), torch.arange(bench.dataset.num_samples))
        torch.testing.assert_close(own.agreed, alone.agreed)
        assert own.predicted.any()


@pytest.mark.parametrize("kind", ["single-label", "multi-label", "joint"])
def test_no_label_changes_a_weight(kind: str) -> None:
    found = []
    for change in (False, True):
        bench = Bench.of("gml", "graph", kind, K, {"weighting": "consensus", "exchange_warmup": (0, 0)})
        step = bench.step(range(K))
        if change:
            labels = torch.where(step.labels.isnan(), step.labels, 1 - step.labels) if kind == "multi-label" else step.labels.flip(0)
            step = bench.step(range(K), labels=labels)
        bench.strategy.loss_terms(step)
        found.append(step.log["weights"])
    assert torch.equal(*found)


def test_only_samples_of_the_exchange_count() -> None:
    bench = Bench.of("gml", "node", "single-label", K, {"weighting": "consensus"})
    rows = torch.arange(0, 30, 2)
    bench.strategy.loss_terms(bench.step(range(K), exchange=rows))
    alone = consensus_of()
    alone.observe(bench.targets[:, rows], rows)
    torch.testing.assert_close(bench.strategy.coordinator.agreed, alone.agreed)


@pytest.mark.parametrize("task", ["node", "graph"])
def test_it_trains_on_every_task_and_its_counts_are_kept(task: str) -> None:
    result, _ = fit(task, "gml", {"weighting": "consensus", "exchange_warmup": (0, 0)})
    assert result.cohort.coordinator.predicted.sum() > 0
    assert "predicted" in result.cohort.coordinator.state_dict()


@pytest.mark.parametrize(("option", "value"), [("power", 0), ("rounds", 0), ("prior", 0), ("memory", 0), ("memory", 10**7 + 1)])
def test_options_out_of_range_are_refused(option: str, value: int) -> None:
    with pytest.raises(UsageError, match=f"weighting_options.{option}' = {value}"):
        consensus_of(**{option: value})


def test_counts_of_the_longest_memory_are_exact() -> None:
    coordinator = consensus_of(2, 2, memory=10**7).float()
    coordinator.predicted.fill_(10**7)
    coordinator.agreed.fill_(10**7)
    logits = torch.zeros(2, 1000, 2)
    logits[..., 0] = 3.0
    logits[1] = torch.tensor([0.0, 3.0])
    coordinator.observe(logits, torch.arange(1000))
    assert coordinator.predicted[0, 0].tolist() == [10**7, 10**7 - 1000] and coordinator.agreed[0, 0, 0] == 10**7 - 1000


def test_with_very_many_samples_and_a_large_power_disagreements_still_count() -> None:
    logits = torch.zeros(2, 1_000_000, 2)
    logits[..., 0] = 3.0
    logits[1, :20] = torch.tensor([0.0, 3.0])
    coordinator = consensus_of(2, 2, power=10).float()
    coordinator.observe(logits, torch.arange(logits.shape[1]))
    assert coordinator.predicted[0, 0].tolist() == [1_000_000, 0] and coordinator.agreed[0, 0, 0] == 999_980
    assert coordinator.agreed[1, 0].tolist() == [999_980, 0]
