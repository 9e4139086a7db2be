from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit, rel_entr, softmax

from dgl_mutual.strategies.terms.gate import gate_of
from tests.strategies.cases import Bench

PLAIN = {"weighting": "uniform", "target_temperature": None, "mix": "probabilities"}


def terms_of(options, kind="single-label", students=4):
    bench = Bench.of("gml", "node", kind, students, {**PLAIN, **options})
    step = bench.step(range(students))
    return bench.strategy.loss_terms(step)["mutual"].detach().numpy(), step


def mean_of_peers(step, i, kind):
    z = np.delete(step.targets.numpy(), i, axis=0)
    return (softmax(z, axis=-1) if kind == "single-label" else expit(z)).mean(0), z


@pytest.mark.parametrize("gate", ["confidence", "agreement"])
@pytest.mark.parametrize("kind", ["single-label", "multi-label"])
def test_only_samples_that_pass_are_learned_from(gate, kind):
    threshold = 0.7
    mutual, step = terms_of({"gate": gate, "gate_threshold": threshold}, kind)
    shares = []
    for i, own in enumerate(step.logits.detach().numpy()):
        target, z = mean_of_peers(step, i, kind)
        if kind == "single-label":
            divergence = rel_entr(target, softmax(own, axis=-1)).sum(-1)
            votes = np.stack([(z.argmax(-1) == c).mean(0) for c in range(z.shape[-1])], axis=-1)
            max_probability = (target if gate == "confidence" else votes).max(-1)
        else:
            p = expit(own)
            divergence = (rel_entr(target, p) + rel_entr(1 - target, 1 - p)).mean(-1)
            share = target if gate == "confidence" else (z > 0).mean(0)
            max_probability = np.maximum(share, 1 - share).mean(-1)
        passes = max_probability >= threshold
        shares.append(passes.mean())
        assert mutual[i] == pytest.approx((divergence * passes).mean())
    assert min(shares) > 0 and max(shares) < 1
    assert step.log["gate"].item() == pytest.approx(np.mean(shares))


def test_a_gate_that_lets_all_pass_changes_nothing_and_full_agreement_is_the_default():
    plain, _ = terms_of({})
    everything, _ = terms_of({"gate": "confidence", "gate_threshold": 0.01})
    np.testing.assert_allclose(everything, plain)
    by_default, _ = terms_of({"gate": "agreement"})
    explicit, _ = terms_of({"gate": "agreement", "gate_threshold": 1.0})
    np.testing.assert_array_equal(by_default, explicit)
    assert (by_default < plain).all()


def test_of_several_tasks_the_mean_counts():
    bench = Bench.of("gml", "node", "joint", 3, {**PLAIN, "gate": "confidence", "gate_threshold": 0.75})
    step = bench.step(range(3))
    bench.strategy.loss_terms(step)
    certainties = []
    for i in range(3):
        z = np.delete(step.targets.numpy(), i, axis=0)
        p, q = softmax(z[..., :3], axis=-1).mean(0), expit(z[..., 3:]).mean(0)
        certainties.append((p.max(-1) + np.maximum(q, 1 - q).mean(-1)) / 2)
    assert step.log["gate"].item() == pytest.approx((np.stack(certainties) >= 0.75).mean())


@pytest.mark.parametrize("kind", ["single-label", "multi-label"])
def test_a_share_that_is_the_threshold_passes(kind):
    """In float32 1 - 1/3 is less than 2/3."""
    bench = Bench.of("gml", "node", kind, 4, {**PLAIN, "gate": "agreement", "gate_threshold": 2 / 3})
    targets = torch.full(bench.targets.shape, -9.0)
    targets[:, :, 1] = 9
    targets[0] *= -1  # of the three peers of every other student, two agree
    step = bench.step(range(4), targets=targets)
    assert gate_of(bench.strategy.options, bench.strategy.distribution, step, targets).all()


def test_two_students_always_agree():
    gated, _ = terms_of({"gate": "agreement"}, students=2)
    np.testing.assert_allclose(gated, terms_of({}, students=2)[0])


@pytest.mark.parametrize("kind", ["single-label", "multi-label", "joint"])
def test_a_tie_is_a_vote_for_one_class(kind):
    bench = Bench.of("gml", "node", kind, 3, {**PLAIN, "gate": "agreement"})
    step = bench.step(range(3), targets=torch.zeros_like(bench.targets))
    assert gate_of(bench.strategy.options, bench.strategy.distribution, step, step.targets).all()


def test_gated_samples_give_no_gradient():
    bench = Bench.of("gml", "node", "single-label", 4, {**PLAIN, "gate": "agreement"})
    step = bench.step(range(4))
    mutual = bench.strategy.loss_terms(step)["mutual"]
    (gradient,) = torch.autograd.grad(mutual.sum(), step.logits)
    still = (gradient == 0).all(-1).double().mean()
    assert still.item() == pytest.approx(1 - step.log["gate"].item())
