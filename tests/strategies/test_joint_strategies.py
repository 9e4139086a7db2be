"""Several tasks at once, in every strategy: what is taught per task is the sum of what each task alone would give, in NumPy."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import expit

from dgl_mutual.errors import UsageError
from dgl_mutual.strategies import STRATEGIES
from tests.strategies.cases import Bench, make_bench
from tests.strategies.references import REFERENCES, Numbers

PER_TASK = {"supervised", "mutual", "distillation", "coordinator", "consistency", "pseudo_label"}


def alone(step, strategy, number, head, known=True):
    """One task of a step as the reference takes a step: its logits, and labels and coordinator of its own."""
    labels = head.labels(step.labels)
    labelled = step.labelled
    if labels.ndim == 1 and known:  # the reference takes every labelled sample to have a label
        labelled = labelled[labels[labelled] >= 0]
    own = replace(step, logits=head.logits(step.logits), targets=head.logits(step.targets), labels=labels, labelled=labelled)
    coordinators = getattr(strategy.coordinator, "coordinators", [strategy.coordinator] * 2)
    parts = {name: getattr(strategy, name) for name in ("receive", "send", "discriminators") if hasattr(strategy, name)}
    return Numbers(own, SimpleNamespace(options=strategy.options, setting=strategy.setting, coordinator=coordinators[number], **parts))


@pytest.mark.parametrize("task", ["node", "graph"])
@pytest.mark.parametrize("name", sorted(set(STRATEGIES) - {"bgnn"}))
def test_terms_are_the_sums_over_tasks(name, task):
    bench = make_bench(name, task, "joint", 3)
    reference = REFERENCES[name]
    if name == "gml":  # the pull towards uniform asks for no label, so it is over samples with any
        bench = Bench.of(name, task, "joint", 3, {"weighting": "attention", "uniform_kl_weight": 0.0})
        reference = without_pull
    if name == "kdcl":
        reference = naive_everywhere
    for active in bench.strategy.phases():
        step = bench.step(active)
        terms = bench.strategy.loss_terms(step)
        tasks = [reference(alone(step, bench.strategy, number, head)) for number, head in enumerate(bench.strategy.distribution.heads)]
        whole = tasks[0]
        if name == "alignahead":  # the last layer's states are all logits on a node task
            whole = reference(Numbers(replace(step, labels=torch.zeros_like(step.samples)), bench.strategy))
        if name == "pseudo-label":  # what has a label of any task is labelled in all of them
            for found, (number, head) in zip(tasks, enumerate(bench.strategy.distribution.heads), strict=True):
                found["pseudo_label"] = reference(alone(step, bench.strategy, number, head, known=False))["pseudo_label"]
        for term, value in terms.items():
            expected = np.sum([found[term] for found in tasks], axis=0) if term in PER_TASK else whole[term]
            np.testing.assert_allclose(value.detach().numpy(), expected, rtol=1e-6, atol=1e-12, err_msg=term)


def without_pull(n):
    n.options = n.options.model_copy(update={"uniform_kl_weight": 0.0})
    return REFERENCES["gml"](n)


def test_the_pull_towards_uniform_is_the_sum_over_tasks():
    alike, pulled, none = (
        Bench.of("gml", "node", "joint", 3, {"weighting": "attention", "uniform_kl_weight": pull}) for pull in (0.5, 1.0, 0.0)
    )
    half, full, nothing = (bench.strategy.loss_terms(bench.step(range(3)))["coordinator"].item() for bench in (alike, pulled, none))
    step = none.step(range(3))
    labelled = step.logits[:, step.labelled].detach()
    distances = []
    for number, head in enumerate(none.strategy.distribution.heads):
        own = head.logits(labelled)
        weights = none.strategy.coordinator.coordinators[number].peer_weights(own, head.distribution.confidence(own), step.samples)
        distances.append(np.mean([-np.log(2 * weights[i, j].detach().numpy()).mean() for i in range(3) for j in range(3) if i != j]))
    assert full - nothing == pytest.approx(sum(distances))
    assert half - nothing == pytest.approx(sum(distances) / 2)


def naive_everywhere(n):
    """`kdcl` with the target ``naive``; where no label is known, the mean."""
    target = n.targets.mean(0)
    for v in n.labelled:
        if n.nll(n.targets[0], v):
            target[v] = min(n.targets, key=lambda z: sum(n.nll(z, v)))[v]
    return {"supervised": n.supervised, "mutual": n.imitation([n.p(target, 2.0)] * n.num_students)}


def test_boosting_weighs_the_labels_of_each_task_by_its_number_of_classes():
    bench = make_bench("bgnn", "node", "joint", 3)
    strategy, distribution = bench.strategy, bench.strategy.distribution
    step = bench.step((2,))
    terms = strategy.loss_terms(step)
    expected = 0.0
    for number, head in enumerate(distribution.heads):
        n = alone(step, strategy, number, head)
        share = 2 / 3 if n.single else 1 / 2
        pairs = [
            (np.exp(share * sum(n.nll(n.targets[j], v)[index] for j in range(2))), value)
            for v in n.labelled
            for index, value in enumerate(n.nll(n.z[0], v))
        ]
        expected += sum(weight * value for weight, value in pairs) / sum(weight for weight, _ in pairs)
    np.testing.assert_allclose(terms["supervised"].item(), expected, rtol=1e-6)

    tasks = [alone(step, strategy, number, head) for number, head in enumerate(distribution.heads)]
    teacher = step.targets[1].numpy()
    w = {key: value.detach().numpy() for key, value in strategy.temperatures[1].named_parameters()}
    entropy = sum(n.entropy(n.targets[1]) for n in tasks)
    inner = np.maximum(np.concatenate([teacher, entropy[:, None]], axis=1) @ w["first.weight"].T + w["first.bias"], 0)
    temperature = 1 + 3 * expit(inner @ w["last.weight"].T + w["last.bias"])
    kl = sum(n.kl(n.p(n.targets[1], temperature), n.p(n.z[0], temperature)).mean() for n in tasks)
    np.testing.assert_allclose(terms["distillation"].item(), kl, rtol=1e-6)


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "bgnn"])
def test_the_order_of_tasks_does_not_matter(name):
    """Heads, labels and coordinators in another order: the same terms."""
    bench = make_bench(name, "graph", "joint", 3)
    strategy, step = bench.strategy, bench.step(bench.strategy.phases()[-1])
    terms = strategy.loss_terms(step)
    distribution = strategy.distribution
    first, second = distribution.heads
    swap = torch.tensor([3, 4, 5, 0, 1, 2])
    turned = replace(step, logits=step.logits[..., swap], targets=step.targets[..., swap], labels=step.labels[:, [1, 2, 3, 0]], log={})
    distribution.heads = (
        replace(second, part=replace(second.part, outputs=first.part.outputs, columns=slice(0, 3))),
        replace(first, part=replace(first.part, outputs=second.part.outputs, columns=slice(3, 4))),
    )
    if hasattr(strategy.coordinator, "coordinators"):
        strategy.coordinator.coordinators = torch.nn.ModuleList(reversed(strategy.coordinator.coordinators))
    for term, value in strategy.loss_terms(turned).items():
        torch.testing.assert_close(value, terms[term], rtol=1e-9, atol=1e-12)


def test_uncertainty_weights_scale_the_exchange_and_learn_from_labels_alone():
    bench = Bench.of("dml", "node", "joint", 3, task_weights="uncertainty")
    strategy, step = bench.strategy, bench.step(range(3))
    with torch.no_grad():
        strategy.distribution.log_variances.copy_(torch.tensor([0.5, -1.0]))
    terms = strategy.loss_terms(step)
    found = [REFERENCES["dml"](alone(step, strategy, number, head)) for number, head in enumerate(strategy.distribution.heads)]
    weights, s = np.exp([-0.5, 1.0]), np.array([0.5, -1.0])
    mutual = weights[0] * np.array(found[0]["mutual"]) + weights[1] * np.array(found[1]["mutual"])
    np.testing.assert_allclose(terms["mutual"].detach().numpy(), mutual, rtol=1e-6)
    supervised = weights[0] * found[0]["supervised"] + weights[1] * found[1]["supervised"] + s.sum() / 2
    np.testing.assert_allclose(terms["supervised"].detach().numpy(), supervised, rtol=1e-6)
    (gradient,) = torch.autograd.grad(terms["mutual"].sum(), strategy.distribution.log_variances, allow_unused=True, retain_graph=True)
    assert gradient is None
    (gradient,) = torch.autograd.grad(terms["supervised"].sum(), strategy.distribution.log_variances)
    losses = np.array([task["supervised"].sum() for task in found])
    np.testing.assert_allclose(gradient.numpy(), -weights * losses + 3 / 2, rtol=1e-6)
    assert {name: round(float(value), 6) for name, value in step.log.items() if name != "exchange"} == {
        "task_weight/classes": 0.606531,
        "task_weight/marks": 2.718282,
    }


def test_uncertainty_scales_pseudo_labels_too():
    bench = Bench.of("pseudo-label", "graph", "joint", 2, {"threshold": 0.0}, task_weights="uncertainty")
    strategy, step = bench.strategy, bench.step(range(2))
    step = replace(step, labelled=step.labelled[:2])
    with torch.no_grad():
        strategy.distribution.log_variances.copy_(torch.tensor([0.5, -1.0]))
    term = strategy.loss_terms(step)["pseudo_label"]
    heads = enumerate(strategy.distribution.heads)
    found = [REFERENCES["pseudo-label"](alone(step, strategy, number, head, known=False)) for number, head in heads]
    expected = np.exp(-0.5) * np.array(found[0]["pseudo_label"]) + np.exp(1.0) * np.array(found[1]["pseudo_label"])
    assert (expected > 0).all()
    np.testing.assert_allclose(term.detach().numpy(), expected, rtol=1e-6)


def test_minlogit_is_refused_where_one_task_is_not_single_label():
    with pytest.raises(UsageError, match="target=naive or mean"):
        Bench.of("kdcl", "node", "joint", 2)
