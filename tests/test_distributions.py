"""Every quantity against SciPy's, on random and on extreme logits."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from torch import Tensor
from torch.nn import functional as F

from dgl_mutual import distributions
from dgl_mutual.distributions import Bernoulli, Categorical, Distribution, distribution_of
from dgl_mutual.errors import UsageError

K, N, C = 3, 40, 5
DISTRIBUTIONS = pytest.mark.parametrize("distribution", [Categorical(), Bernoulli()], ids=["categorical", "bernoulli"])
TEMPERATURES = pytest.mark.parametrize("temperature", [1e-3, 0.5, 1.0, 4.0, 1e3])


@pytest.fixture
def logits() -> Tensor:
    return 3 * torch.randn(K, N, C, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def target(logits: Tensor) -> Tensor:
    return logits.roll(1, dims=0)


def class_probabilities(logits: Tensor, temperature: float = 1.0) -> np.ndarray:
    return scipy.special.softmax(logits.detach().numpy() / temperature, axis=-1)


def label_probabilities(logits: Tensor, temperature: float = 1.0) -> np.ndarray:
    """P(0) and P(1) of each label on a new last axis."""
    scaled = logits.detach().numpy() / temperature
    return np.stack([scipy.special.expit(-scaled), scipy.special.expit(scaled)], axis=-1)


@pytest.mark.parametrize("shape", [(7,), (4, 7), (3, 4, 7), (4, 1), (0, 7)])
def test_softmax_over_the_last_axis(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    if len(shape) > 1:
        upstream = torch.randn(shape, dtype=torch.float64)
        for ours, theirs in ((distributions.log_softmax, F.log_softmax), (distributions.softmax, F.softmax)):
            torch.testing.assert_close(ours(x), theirs(x, dim=-1), rtol=1e-12, atol=1e-14)
            gradients = (torch.autograd.grad(f, x, upstream)[0] for f in (ours(x), theirs(x, dim=-1)))
            torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(
            distributions.log_softmax(x).detach().numpy(), scipy.special.log_softmax(x.detach().numpy(), axis=-1), rtol=1e-10, atol=1e-13
        )


@TEMPERATURES
def test_categorical_equals_scipy(logits: Tensor, target: Tensor, temperature: float) -> None:
    categorical = Categorical()
    np.testing.assert_allclose(categorical.entropy(logits).numpy(), scipy.stats.entropy(class_probabilities(logits), axis=-1), rtol=1e-9)
    p = categorical.probabilities(logits, temperature)
    np.testing.assert_allclose(p.numpy(), class_probabilities(logits, temperature), rtol=1e-9, atol=1e-300)
    t = categorical.probabilities(target, 1.0)
    divergence = categorical.divergence(t, logits, temperature).numpy()
    log_ratio = np.log(class_probabilities(target)) - scipy.special.log_softmax(logits.numpy() / temperature, axis=-1)
    np.testing.assert_allclose(divergence, (class_probabilities(target) * log_ratio).sum(-1), rtol=1e-9)
    if temperature >= 0.5:
        relative = scipy.stats.entropy(class_probabilities(target), class_probabilities(logits, temperature), axis=-1)
        np.testing.assert_allclose(divergence, relative, rtol=1e-9)


@TEMPERATURES
def test_bernoulli_equals_scipy(logits: Tensor, target: Tensor, temperature: float) -> None:
    bernoulli = Bernoulli()
    np.testing.assert_allclose(
        bernoulli.entropy(logits).numpy(), scipy.stats.entropy(label_probabilities(logits), axis=-1).mean(-1), rtol=1e-9
    )
    p = bernoulli.probabilities(logits, temperature)
    np.testing.assert_allclose(p.numpy(), label_probabilities(logits, temperature)[..., 1], rtol=1e-9, atol=1e-300)
    t = bernoulli.probabilities(target, 1.0)
    divergence = bernoulli.divergence(t, logits, temperature).numpy()
    scaled = logits.numpy() / temperature
    log_ratio = np.log(label_probabilities(target)) - np.stack([scipy.special.log_expit(-scaled), scipy.special.log_expit(scaled)], axis=-1)
    np.testing.assert_allclose(divergence, (label_probabilities(target) * log_ratio).sum(-1).mean(-1), rtol=1e-9)
    if temperature >= 0.5:
        relative = scipy.stats.entropy(label_probabilities(target), label_probabilities(logits, temperature), axis=-1)
        np.testing.assert_allclose(divergence, relative.mean(-1), rtol=1e-9)


@DISTRIBUTIONS
def test_temperature_may_differ_from_sample_to_sample(distribution: Distribution, logits: Tensor, target: Tensor) -> None:
    temperatures = torch.rand(K, N, 1, dtype=torch.float64) + 0.5
    t = distribution.probabilities(target)
    for k, v in ((0, 0), (2, 17)):
        temperature = temperatures[k, v].item()
        one = logits[k, v : v + 1]
        torch.testing.assert_close(distribution.probabilities(logits, temperatures)[k, v], distribution.probabilities(one, temperature)[0])
        torch.testing.assert_close(
            distribution.divergence(t, logits, temperatures)[k, v], distribution.divergence(t[k, v : v + 1], one, temperature)[0]
        )


def test_categorical_supervised_masks_unknown_labels(logits: Tensor) -> None:
    labels = torch.randint(0, C, (N,), generator=torch.Generator().manual_seed(1))
    labels[::3] = -1
    known = (labels >= 0).numpy()
    log_p = scipy.special.log_softmax(logits.numpy(), axis=-1)[:, known]
    expected = -np.take_along_axis(log_p, labels.numpy()[None, known, None], axis=-1).mean((1, 2))
    np.testing.assert_allclose(Categorical().supervised(logits, labels).numpy(), expected, rtol=1e-10)
    for k in range(K):
        torch.testing.assert_close(Categorical().supervised(logits[k], labels), F.cross_entropy(logits[k], labels, ignore_index=-1))


def test_bernoulli_supervised_masks_unknown_labels(logits: Tensor) -> None:
    random = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 2, (N, C), generator=random).double()
    labels[torch.rand(N, C, generator=random) < 0.4] = torch.nan
    labels[3] = torch.nan
    known = ~np.isnan(labels.numpy())
    p_right = np.where(labels.numpy() == 1, label_probabilities(logits)[..., 1], label_probabilities(logits)[..., 0])
    expected = -np.log(p_right[:, known]).mean(-1)
    np.testing.assert_allclose(Bernoulli().supervised(logits, labels).numpy(), expected, rtol=1e-10)


@DISTRIBUTIONS
def test_supervised_by_weights(distribution: Distribution, logits: Tensor) -> None:
    """Weights that repeat samples equal the samples repeated; equal weights equal none; unknown labels have no say."""
    single = isinstance(distribution, Categorical)
    labels = torch.arange(N) % C if single else (torch.arange(N * C).view(N, C) % 3 == 0).double()
    labels[0] = -1 if single else torch.nan
    counts = torch.arange(N) % 4
    weights = counts.double() if single else counts.double().unsqueeze(1).expand(N, C)
    repeated = torch.repeat_interleave(torch.arange(N), counts)
    torch.testing.assert_close(
        distribution.supervised(logits, labels, weights), distribution.supervised(logits[:, repeated], labels[repeated])
    )
    torch.testing.assert_close(
        distribution.supervised(logits, labels, torch.full_like(weights, 1e-6)), distribution.supervised(logits, labels)
    )
    own = torch.stack([weights * (student + 1) if student else weights.flip(0) for student in range(len(logits))])
    each = [distribution.supervised(z, labels, shares) for z, shares in zip(logits, own, strict=True)]
    torch.testing.assert_close(distribution.supervised(logits, labels, own), torch.stack(each))


@DISTRIBUTIONS
def test_without_known_labels_the_loss_is_zero(distribution: Distribution, logits: Tensor) -> None:
    logits.requires_grad_()
    labels = torch.full((N,), -1) if isinstance(distribution, Categorical) else torch.full((N, C), torch.nan)
    loss = distribution.supervised(logits, labels)
    assert torch.equal(loss, torch.zeros(K, dtype=torch.float64))
    assert torch.equal(torch.autograd.grad(loss.sum(), logits)[0], torch.zeros_like(logits))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@DISTRIBUTIONS
def test_without_known_labels_large_terms_have_zero_gradients(distribution: Distribution, dtype: torch.dtype) -> None:
    """A task counts exp(-s_t), which may be more than 4: divided by the smallest float, that is infinite, and 0 times it NaN."""
    logits = torch.zeros(K, N, C, dtype=dtype, requires_grad=True)
    labels = torch.full((N,), -1) if isinstance(distribution, Categorical) else torch.full((N, C), torch.nan)
    (100 * distribution.supervised(logits, labels, torch.ones(labels.shape, dtype=dtype))).sum().backward()
    assert logits.grad is not None and not logits.grad.any()


@DISTRIBUTIONS
def test_unknown_labels_have_no_gradient(distribution: Distribution, logits: Tensor) -> None:
    logits.requires_grad_()
    labels = torch.zeros(N, dtype=torch.int64) if isinstance(distribution, Categorical) else torch.zeros(N, C)
    labels[5:] = -1 if isinstance(distribution, Categorical) else torch.nan
    gradient = torch.autograd.grad(distribution.supervised(logits, labels).sum(), logits)[0]
    assert (gradient[:, :5] != 0).all() and (gradient[:, 5:] == 0).all()


@DISTRIBUTIONS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("temperature", [1e-3, 1.0, 1e3])
def test_extreme_logits_keep_values_and_gradients_finite(distribution: Distribution, dtype: torch.dtype, temperature: float) -> None:
    extreme = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4], [0.0, 0.0, 0.0], [-1e4, -1e4, -1e4]], dtype=dtype, requires_grad=True)
    labels = torch.tensor([1, 0, 2, -1]) if isinstance(distribution, Categorical) else torch.tensor([[1.0, torch.nan, 0.0]] * 4)
    target = distribution.probabilities(extreme.detach().flip(0), temperature)
    for value in (
        distribution.supervised(extreme, labels),
        distribution.entropy(extreme),
        distribution.mean_divergence(extreme, torch.tensor([0.9, 0.05, 0.05], dtype=dtype)),
        distribution.confidence(extreme),
        distribution.probabilities(extreme, temperature),
        distribution.divergence(target, extreme, temperature),
    ):
        assert value.isfinite().all()
        assert torch.autograd.grad(value.sum(), extreme)[0].isfinite().all()


@DISTRIBUTIONS
def test_bounds(distribution: Distribution, logits: Tensor) -> None:
    """0 <= H <= log of the number of outcomes, reached by equal logits; KL >= 0, and 0 for the same distribution; c = -H."""
    highest = np.log(C if isinstance(distribution, Categorical) else 2)
    entropy = distribution.entropy(logits)
    assert (entropy >= 0).all() and (entropy <= highest).all()
    torch.testing.assert_close(distribution.entropy(torch.zeros(2, C)), torch.full((2,), float(highest)))
    assert torch.equal(distribution.confidence(logits), -entropy)
    itself = distribution.divergence(distribution.probabilities(logits, 2.0), logits, 2.0)
    torch.testing.assert_close(itself, torch.zeros_like(itself), rtol=0, atol=1e-12)
    assert (distribution.divergence(distribution.probabilities(logits.flip(1)), logits) >= 0).all()


@DISTRIBUTIONS
def test_the_divergence_of_the_mean_prediction(distribution: Distribution, logits: Tensor) -> None:
    """As SciPy says; 0 where there are no samples, and where each prediction is the marginal itself."""
    marginal = torch.tensor([0.5, 0.2, 0.1, 0.15, 0.05], dtype=torch.float64)
    if isinstance(distribution, Categorical):
        expected = scipy.stats.entropy(class_probabilities(logits).mean(1), marginal.numpy(), axis=-1)
    else:
        sides = np.stack([1 - marginal, marginal], axis=-1)
        expected = scipy.stats.entropy(label_probabilities(logits).mean(1), sides, axis=-1).mean(-1)
    np.testing.assert_allclose(distribution.mean_divergence(logits, marginal).numpy(), expected, rtol=1e-9)
    assert torch.equal(distribution.mean_divergence(logits[:, :0], marginal), torch.zeros(K, dtype=torch.float64))
    itself = (marginal.log() if isinstance(distribution, Categorical) else torch.logit(marginal)).expand(1, N, C)
    torch.testing.assert_close(distribution.mean_divergence(itself, marginal), torch.zeros(1, dtype=torch.float64), rtol=0, atol=1e-12)


@DISTRIBUTIONS
def test_the_marginal_counts_each_value_once_more(distribution: Distribution) -> None:
    if isinstance(distribution, Categorical):
        labels, expected, unknown = torch.tensor([0, 0, 0, 1, -1]), [4 / 9, 2 / 9, 1 / 9, 1 / 9, 1 / 9], 1 / C
    else:
        unseen = torch.nan
        labels = torch.tensor([[1, 0, unseen, 1, 0], [1, 0, unseen, unseen, 0], [1, 1, 0, 1, 0]])
        expected, unknown = [4 / 5, 2 / 5, 1 / 3, 3 / 4, 1 / 5], 1 / 2
    np.testing.assert_allclose(distribution.marginal(labels, C).numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(distribution.marginal(labels[:0], C).numpy(), [unknown] * C, rtol=1e-6)


@DISTRIBUTIONS
def test_a_certain_target_is_a_label(distribution: Distribution, logits: Tensor) -> None:
    """KL(one-hot || p) is the negative log-likelihood: 0 log 0 counts as 0."""
    if isinstance(distribution, Categorical):
        labels = torch.arange(N) % C
        certain = F.one_hot(labels, C).double()
    else:
        labels = certain = (torch.arange(N * C).view(N, C) % 2).double()
    torch.testing.assert_close(distribution.divergence(certain, logits).mean(-1), distribution.supervised(logits, labels))


@DISTRIBUTIONS
def test_gradient_steps_push_the_right_way(distribution: Distribution, logits: Tensor, target: Tensor) -> None:
    """Down the divergence the prediction nears the target; up the entropy it flattens; down the loss the right label gains."""
    t = distribution.probabilities(target)
    labels = torch.arange(N) % C if isinstance(distribution, Categorical) else (torch.arange(N * C).view(N, C) % 2).double()
    z = logits.clone().requires_grad_()

    def step(value: Tensor, size: float) -> Tensor:
        return (z - size * torch.autograd.grad(value.sum(), z)[0]).detach()

    assert (distribution.divergence(t, step(distribution.divergence(t, z), 0.1)) < distribution.divergence(t, logits)).all()
    assert (distribution.entropy(step(distribution.entropy(z), -0.1)) > distribution.entropy(logits)).all()
    assert (distribution.supervised(step(distribution.supervised(z, labels), 0.1), labels) < distribution.supervised(logits, labels)).all()
    nearer = distribution.probabilities(step(distribution.divergence(t, z), 0.1))
    assert ((nearer - t).abs().sum(-1) < (distribution.probabilities(logits) - t).abs().sum(-1)).double().mean() > 0.95


def test_one_label_is_two_classes(logits: Tensor) -> None:
    """A Bernoulli of logit z is a softmax over (0, z)."""
    z = logits[..., :1]
    two = torch.cat([torch.zeros_like(z), z], dim=-1)
    labels = torch.arange(N) % 2
    torch.testing.assert_close(Bernoulli().entropy(z), Categorical().entropy(two))
    torch.testing.assert_close(Bernoulli().supervised(z, labels.double().unsqueeze(1)), Categorical().supervised(two, labels))
    torch.testing.assert_close(
        Bernoulli().divergence(Bernoulli().probabilities(z.flip(1), 2.0), z, 2.0),
        Categorical().divergence(Categorical().probabilities(two.flip(1), 2.0), two, 2.0),
    )


def test_distribution_of_a_target() -> None:
    assert isinstance(distribution_of("single-label"), Categorical)
    assert isinstance(distribution_of("multi-label"), Bernoulli)
    for other in ("joint", "multilabel", ""):  # several targets have a distribution of their own: see `make_distribution`
        with pytest.raises(UsageError, match=f"Unknown kind of target '{other}'.*Choose from: single-label, multi-label"):
            distribution_of(other)
