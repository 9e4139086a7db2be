from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from scipy.stats import entropy

from dgl_mutual.errors import UsageError
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.strategies.gml import GMLOptions
from dgl_mutual.strategies.terms.entropy import entropy_terms
from dgl_mutual.training.options import TrainingOptions
from tests.cohorts import train_cohort
from tests.strategies.cases import SMALL, Bench
from tests.strategies.test_extremes import make_data

KINDS = pytest.mark.parametrize("kind", ["single-label", "multi-label", "joint"])


def terms_of(options, kind="single-label", task="node", **changes):
    bench = Bench.of("gml", task, kind, 3, options)
    step = bench.step(range(3), **changes)
    return bench.strategy.loss_terms(step), step, bench.strategy.class_prior.numpy()


def entropies(z, kind, prior):
    """Of each sample's prediction, and how far the mean prediction is from the class prior, from SciPy: (K, N) and (K,)."""
    if kind == "joint":
        first = entropies(z[..., :3], "single-label", prior[:3])
        second = entropies(z[..., 3:], "multi-label", prior[3:])
        return first[0] + second[0], first[1] + second[1]
    if kind == "single-label":
        p = softmax(z, axis=-1)
        return entropy(p, axis=-1), entropy(p.mean(1), prior, axis=-1)
    q, r = np.stack([expit(-z), expit(z)], axis=-1), np.stack([1 - prior, prior], axis=-1)
    return entropy(q, axis=-1).mean(-1), entropy(q.mean(1), r, axis=-1).mean(-1)


@KINDS
@pytest.mark.parametrize("task", ["node", "graph"])
@pytest.mark.parametrize("on", ["exchange", "labelled", "training", "all"])
def test_both_terms_equal_the_formula_on_their_samples(kind, task, on):
    options = {"entropy_weight": -0.2, "class_prior_weight": 0.7, "entropy_on": on}
    exchange, training = torch.tensor([0, 3, 4, 8]), torch.tensor([1, 2, 3, 6, 7])
    terms, step, prior = terms_of(options, kind, task, exchange=exchange, training=training)
    rows = {"exchange": exchange, "labelled": step.labelled, "training": training, "all": slice(None)}[on]
    each, of_mean = entropies(step.logits.detach().numpy()[:, rows], kind, prior)
    np.testing.assert_allclose(terms["entropy"].detach().numpy(), 0.2 * each.mean(1))
    np.testing.assert_allclose(terms["class_prior"].detach().numpy(), 0.7 * of_mean)


@KINDS
def test_a_bonus_flattens_and_the_opposite_sharpens(kind):
    changes = {}
    for weight in (0.5, -0.5):
        terms, step, prior = terms_of({"entropy_weight": weight, "class_prior_weight": 0.0 if weight < 0 else None}, kind)
        assert "class_prior" not in terms
        (gradient,) = torch.autograd.grad(terms["entropy"].sum(), step.logits)
        before, after = (entropies(z.detach().numpy(), kind, prior)[0] for z in (step.logits, step.logits - 0.1 * gradient))
        changes[weight] = after - before
    assert (changes[0.5] > 0).all() and (changes[-0.5] < 0).all()


def test_default_sharpening_does_not_fall_into_one_class():
    terms, step, prior = terms_of({"entropy_weight": -1.0})
    p = softmax(step.logits.detach().numpy(), axis=-1)
    information = entropy(p.mean(1), axis=-1) - entropy(p, axis=-1).mean(1)
    expected = -information - p.mean(1) @ np.log(prior)  # the last term is a constant where the prior is uniform
    np.testing.assert_allclose((terms["entropy"] + terms["class_prior"]).detach().numpy(), expected)
    shares = {}
    for prior in (0.0, 1.0):
        bench = Bench.of("gml", "node", "single-label", 3, {"entropy_weight": -1.0, "class_prior_weight": prior})
        step = bench.step(range(3))
        z = (0.1 * bench.targets + torch.tensor([1.0, 0.0, 0.0])).requires_grad_()  # all lean to the first class
        for _ in range(300):
            terms = entropy_terms(bench.strategy.options, bench.strategy.distribution, replace(step, logits=z), bench.strategy.class_prior)
            loss = sum(term.sum() for term in terms.values())
            z = (z - 20 * torch.autograd.grad(loss, z)[0]).detach().requires_grad_()
        shares[prior] = torch.softmax(z, -1).mean(1).max(-1).values
    assert (shares[0.0] > 0.9).all() and (shares[1.0] < 0.6).all()


def test_the_warm_up_schedule_is_on_until_the_exchange_begins():
    options = {"entropy_weight": 0.1, "entropy_schedule": "warmup", "exchange_warmup": (5, 5)}
    assert "entropy" in terms_of(options, ramp=0.0)[0]
    assert "entropy" not in terms_of(options, ramp=0.2)[0]
    assert "entropy" in terms_of({**options, "entropy_schedule": "constant"}, ramp=0.2)[0]
    dataset, split = make_data("node", num_edges=20, classes=2, sizes=(1,), scale=1.0)
    result = train_cohort(
        dataset,
        split,
        students=[StudentOptions(architecture=name, **SMALL) for name in ("gcn", "gin")],
        strategy_options={**options, "exchange_warmup": (2, 2)},
        training=TrainingOptions(epochs=5),
    )
    seen = [[key for key, value in row.items() if key.startswith("loss/entropy") and value == value] for row in result.history]
    assert [bool(keys) for keys in seen] == [True, True, False, False, False]


@KINDS
@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_the_class_prior_needs_no_sharpening(kind, weight):
    terms, step, prior = terms_of({"entropy_weight": weight, "class_prior_weight": 0.7}, kind)
    _, of_mean = entropies(step.logits.detach().numpy(), kind, prior)
    np.testing.assert_allclose(terms["class_prior"].detach().numpy(), 0.7 * of_mean)
    assert ("entropy" in terms) == (weight != 0)


def test_a_batch_without_samples_of_the_term_adds_nothing():
    terms, *_ = terms_of({"entropy_weight": -0.1}, exchange=torch.empty(0, dtype=torch.int64), ramp=0.0)
    assert terms["entropy"].tolist() == [0, 0, 0] and terms["class_prior"].abs().tolist() == [0, 0, 0]


@pytest.mark.parametrize("options", [{"entropy_weight": 0.0}, {"entropy_weight": 0.0, "entropy_schedule": "warmup"}])
def test_no_weight_no_term(options):
    assert not {"entropy", "class_prior"} & set(terms_of(options)[0])


def test_a_schedule_that_few_epochs_leave_nothing_of_is_refused():
    options = GMLOptions(entropy_weight=0.1, entropy_schedule="warmup")
    assert options.resolved(8, "node").exchange_warmup == (2, 2)
    with pytest.raises(UsageError, match=r"exchange_warmup = \[0, 0\]"):
        options.resolved(3, "node")
