from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit, log_softmax, softmax

from dgl_mutual.coordinator import CoordinatorConfig, mix
from dgl_mutual.data.values.target import Target, join_targets
from dgl_mutual.distributions import distribution_of
from dgl_mutual.joint import Joint, make_distribution
from dgl_mutual.weightings import WEIGHTINGS, make_coordinator

K, N = 3, 20
CLASSES = Target("single-label", ("a", "b", "c"), "accuracy", "classes")
MARKS = Target("multi-label", ("d", "e"), "rocauc", "marks")


def labels_of(target: Target, seed: int = 0) -> np.ndarray:
    """Random labels, some unknown."""
    random = np.random.default_rng(seed)
    if target.kind == "single-label":
        return random.integers(-1, 3, size=N)
    labels = random.integers(2, size=(N, 2)).astype(np.float32)
    labels[random.random(labels.shape) < 0.3] = np.nan
    return labels


def joint_of(*targets: Target, task_weights="equal") -> tuple[Joint, torch.Tensor]:
    labels, target = join_targets(targets, [labels_of(one) for one in targets])
    joint = make_distribution(target, task_weights)
    assert isinstance(joint, Joint)
    return joint.double(), torch.as_tensor(labels)


def logits_of(width: int, seed: int = 1) -> torch.Tensor:
    return 2 * torch.randn(K, N, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("target", [CLASSES, MARKS])
def test_one_task_is_that_task_exactly(target: Target) -> None:
    joint, labels = joint_of(target)
    alone, own = distribution_of(target.kind), torch.as_tensor(labels_of(target))
    logits, other = logits_of(target.num_outputs), logits_of(target.num_outputs, seed=2)
    temperature = torch.rand(N, 1, dtype=torch.float64) + 0.5
    weights = torch.rand(own.shape, dtype=torch.float64)
    column = (lambda values: values) if own.ndim == 2 else (lambda values: values.unsqueeze(-1))
    assert torch.equal(joint.probabilities(logits, temperature), alone.probabilities(logits, temperature))
    taught = alone.probabilities(other)
    assert torch.equal(joint.divergence(taught, logits, temperature), alone.divergence(taught, logits, temperature))
    assert torch.equal(joint.entropy(logits), alone.entropy(logits))
    marginal = alone.marginal(own, target.num_outputs)
    assert torch.equal(joint.marginal(labels, target.num_outputs), marginal)
    assert torch.equal(joint.mean_divergence(logits, marginal), alone.mean_divergence(logits, marginal))
    assert torch.equal(joint.confidence(logits)[..., 0], alone.confidence(logits))
    assert torch.equal(joint.supervised(logits, labels), alone.supervised(logits, own))
    assert torch.equal(joint.supervised(logits, labels, column(weights)), alone.supervised(logits, own, weights))
    each = torch.stack([weights, *([weights**2] * (K - 1))])
    assert torch.equal(joint.supervised(logits, labels, column(each)), alone.supervised(logits, own, each))
    assert torch.equal(joint.objective(logits, labels), alone.objective(logits, own))
    assert torch.equal(joint.known(labels), column(alone.known(own)))
    known = joint.known(labels)
    assert torch.equal(joint.nll(logits, labels)[:, known], column(alone.nll(logits, own))[:, known])
    assert torch.equal(joint.predictions(logits), column(alone.predictions(logits)).long())
    assert set(joint.choices(logits).tolist()) == {alone.choices(logits)}


def test_quantities_are_sums_over_tasks_in_numpy() -> None:
    joint, labels = joint_of(CLASSES, MARKS)
    logits, other = logits_of(5), logits_of(5, seed=2)
    z, t = logits.numpy(), other.numpy()
    classes, marks = labels_of(CLASSES), labels_of(MARKS)
    p, q = softmax(z[..., :3], axis=-1), expit(z[..., 3:])
    np.testing.assert_allclose(joint.probabilities(logits), np.concatenate([p, q], axis=-1))

    mixed = joint.probabilities(logits) * torch.tensor([1.0, 2.0, 3.0, 0.5, 0.25])
    of_classes = p * [1, 2, 3]
    expected = np.concatenate([of_classes / of_classes.sum(-1, keepdims=True), q * [0.5, 0.25]], axis=-1)
    np.testing.assert_allclose(joint.normalised(mixed), expected)

    known = np.flatnonzero(classes >= 0)
    ce = -log_softmax(z[..., :3], axis=-1)[:, known, classes[known]].mean(-1)
    seen = ~np.isnan(marks)
    bce = -np.where(marks == 1, np.log(q), np.log(1 - q))[:, seen].mean(-1)
    np.testing.assert_allclose(joint.supervised(logits, labels), ce + bce)

    entropy = -(p * np.log(p)).sum(-1) - (q * np.log(q) + (1 - q) * np.log(1 - q)).mean(-1)
    np.testing.assert_allclose(joint.entropy(logits), entropy)
    p_mean, q_mean = p.mean(-2), q.mean(-2)
    marginal = joint.marginal(labels, 5)
    r = (np.bincount(classes[known]) + 1) / (len(known) + 3)
    s = (np.nansum(marks, axis=0) + 1) / (seen.sum(0) + 2)
    np.testing.assert_allclose(marginal.numpy(), np.concatenate([r, s]), rtol=1e-6)
    of_mean = (p_mean * np.log(p_mean / r)).sum(-1) + (q_mean * np.log(q_mean / s) + (1 - q_mean) * np.log((1 - q_mean) / (1 - s))).mean(-1)
    np.testing.assert_allclose(joint.mean_divergence(logits, marginal), of_mean, rtol=1e-6)

    a, b = softmax(t[..., :3], axis=-1), expit(t[..., 3:])
    kl = (a * np.log(a / p)).sum(-1) + (b * np.log(b / q) + (1 - b) * np.log((1 - b) / (1 - q))).mean(-1)
    np.testing.assert_allclose(joint.divergence(joint.probabilities(other), logits), kl)


def test_an_unknown_label_of_one_task_leaves_the_others() -> None:
    joint, labels = joint_of(CLASSES, MARKS)
    logits = logits_of(5).requires_grad_()
    joint.supervised(logits, labels).sum().backward()
    assert logits.grad is not None
    reached = logits.grad[0] != 0
    unknown = labels.isnan()
    assert not reached[unknown[:, 0], :3].any() and reached[~unknown[:, 0], :3].all()
    assert torch.equal(reached[:, 3:], ~unknown[:, 1:])
    # A task of which nothing is known adds nothing.
    labels[:, 1:] = torch.nan
    classes, _ = joint_of(CLASSES)
    assert torch.equal(joint.supervised(logits, labels), classes.supervised(logits[..., :3], labels[:, :1]))


def test_uncertainty_starts_as_equal_weights() -> None:
    (equal, labels), (learned, _) = joint_of(CLASSES, MARKS), joint_of(CLASSES, MARKS, task_weights="uncertainty")
    logits = logits_of(5)
    assert torch.equal(learned.objective(logits, labels), equal.objective(logits, labels))
    assert torch.equal(learned.entropy(logits), equal.entropy(logits))
    assert {name: float(value) for name, value in learned.logged().items()} == {"task_weight/classes": 1.0, "task_weight/marks": 1.0}
    assert not equal.logged() and not list(equal.parameters())


def test_uncertainty_learns_to_weigh_by_half_the_inverse_loss() -> None:
    """sum_t exp(-s_t) L_t + s_t / 2 is least where exp(-s_t) = 1 / (2 L_t); with several students, L_t is their mean."""
    joint, labels = joint_of(CLASSES, MARKS, task_weights="uncertainty")
    logits = logits_of(5)
    optimizer = torch.optim.Adam(joint.parameters(), lr=0.05)
    for _ in range(400):
        optimizer.zero_grad()
        joint.objective(logits, labels).sum().backward()
        optimizer.step()
    losses = [own.supervised(z, y).mean() for own, z, y in joint.tasks(logits, labels)]
    torch.testing.assert_close(torch.exp(-joint.log_variances), 1 / (2 * torch.stack(losses)), rtol=1e-3, atol=0)
    assert list(joint.logged()) == ["task_weight/classes", "task_weight/marks"]
    joint.reset_parameters()
    assert not joint.log_variances.any()


def test_a_task_without_a_label_in_a_step_keeps_its_weight() -> None:
    joint, labels = joint_of(CLASSES, MARKS, task_weights="uncertainty")
    labels[:, 0] = torch.nan
    joint.objective(logits_of(5), labels).sum().backward()
    assert joint.log_variances.grad[0] == 0 and joint.log_variances.grad[1] != 0


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_each_task_has_a_coordinator_of_its_own(weighting: str) -> None:
    joint, _ = joint_of(CLASSES, MARKS)
    torch.manual_seed(0)
    whole = make_coordinator(CoordinatorConfig(weighting, K, 5, N, joint.widths)).double()
    for parameter in whole.parameters():
        torch.nn.init.normal_(parameter)
    logits, samples = logits_of(5), torch.arange(N)
    peers = mix(whole.peer_weights(logits, joint.confidence(logits), samples), logits)
    ensemble = mix(whole.ensemble_weights(logits, joint.confidence(logits), samples), logits)
    for task, head in enumerate(joint.heads):
        own, alone = head.logits(logits), whole.coordinators[task]
        confidence = head.distribution.confidence(own)
        torch.testing.assert_close(head.logits(peers), mix(alone.peer_weights(own, confidence, samples), own))
        torch.testing.assert_close(head.logits(ensemble), mix(alone.ensemble_weights(own, confidence, samples), own))
    assert whole.inductive == (weighting != "transductive")
    whole.reset_parameters()
    if weighting != "confidence":
        torch.testing.assert_close(mix(whole.ensemble_weights(logits, joint.confidence(logits), samples), logits)[0], logits.mean(0))
