from __future__ import annotations

import pytest
import torch

from tests.strategies.cases import Bench
from tests.strategies.test_kd import fit, parameters_of


def test_students_train_one_after_another_and_the_first_by_itself():
    apart, _ = fit("node", "independent")
    boosted, _ = fit("node", "bgnn")
    assert torch.equal(parameters_of(apart, 0), parameters_of(boosted, 0))
    assert not torch.equal(parameters_of(apart, 1), parameters_of(boosted, 1))
    assert ["val/gcn-0" in row for row in boosted.history] == [True] * 4 + [False] * 4
    assert ["val/ensemble" in row for row in boosted.history] == [False] * 4 + [True] * 4
    assert 1 < boosted.history[-1]["temperature"] < 4


@pytest.mark.parametrize("kind", ["single-label", "multi-label"])
def test_a_sample_weighs_more_where_the_teacher_errs(kind):
    bench = Bench.of("bgnn", "node", kind, 2)
    step = bench.step((1,))
    labels = step.labels[step.labelled]
    wrong = bench.targets[0, step.labelled].clone()
    right = wrong.clone()
    column = int(labels[0]) if kind == "single-label" else 0
    sign = 1.0 if kind == "single-label" or labels[0, 0] == 1 else -1.0
    wrong[0, column] -= 3 * sign
    right[0, column] += 3 * sign
    weights = [bench.strategy._weights(logits.unsqueeze(0), labels) for logits in (wrong, right)]
    shares = [(weight[0] if kind == "single-label" else weight[0, 0]) / weight.sum() for weight in weights]
    assert shares[0] > shares[1]
    assert all(weight.max() == 1 for weight in weights)


def test_without_boosting_all_samples_weigh_the_same():
    bench = Bench.of("bgnn", "node", "single-label", 2, {"boost": False})
    step = bench.step((1,))
    torch.testing.assert_close(bench.strategy.loss_terms(step)["supervised"], bench.strategy.supervised(step))


def test_what_teachers_say_of_unknown_labels_takes_no_weight_from_known_ones():
    bench = Bench.of("bgnn", "node", "multi-label", 2)
    sure = torch.where(torch.as_tensor(bench.dataset.labels).isnan(), 1e4, bench.targets)
    plain, changed = (bench.strategy.loss_terms(bench.step((1,), targets=targets))["supervised"] for targets in (bench.targets, sure))
    torch.testing.assert_close(changed, plain)


def test_weights_of_one_task_do_not_vanish_beside_those_of_another():
    """Each task has a mean of its own, so a factor of all its weights changes nothing."""
    bench = Bench.of("bgnn", "node", "joint", 3)
    first, second = bench.strategy.distribution.heads
    plain, changed = (
        bench.strategy.distribution._supervised(step.logits[:, step.labelled], labels, bench.strategy._weights(teachers, labels))
        for scale in (1, 300)
        for step in [bench.step((2,), targets=torch.cat([first.logits(bench.targets) * scale, second.logits(bench.targets)], -1))]
        for labels in [step.labels[step.labelled]]
        for teachers in [step.targets[:2, step.labelled].float()]
    )
    assert plain[0] != changed[0] > 0
    torch.testing.assert_close(changed[1], plain[1])
