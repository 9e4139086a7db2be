from __future__ import annotations

import pytest
import torch

from dgl_mutual.errors import UsageError
from tests.strategies.cases import Bench


def target_of(options, logits, labels, labelled):
    bench = Bench.of("kdcl", "node", "single-label", len(logits), options)
    step = bench.step(range(len(logits)), targets=logits, labels=labels, labelled=labelled)
    return bench.strategy._target_logits(step)


# Two members, two samples, three classes; the true classes are 0 and 2, and the second sample has no label.
LOGITS = torch.tensor([[[3.0, 1.0, 0.0], [1.0, 0.0, 2.0]], [[1.0, 0.5, -3.0], [0.0, 4.0, 0.0]]])
LABELS, LABELLED = torch.tensor([0, 2]), torch.tensor([0])


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("minlogit", [[0.0, -2.0, -4.0], [0.5, 2.0, 1.0]]),
        ("naive", [[3.0, 1.0, 0.0], [0.5, 2.0, 1.0]]),
        ("mean", [[2.0, 0.75, -1.5], [0.5, 2.0, 1.0]]),
    ],
)
def test_targets_by_hand(target, expected):
    torch.testing.assert_close(target_of({"target": target}, LOGITS, LABELS, LABELLED), torch.tensor(expected))


def test_the_members_logits_are_left_alone():
    before = LOGITS.clone()
    target_of({"target": "minlogit"}, LOGITS, LABELS, slice(None))
    assert torch.equal(LOGITS, before)


def test_minlogit_is_refused_where_a_sample_has_no_single_true_class():
    with pytest.raises(UsageError, match="target=naive or mean"):
        Bench.of("kdcl", "node", "multi-label", 2)


def test_minlogit_of_a_sample_without_a_label_is_the_mean():
    """Of several tasks a sample may have a label for one alone."""
    strategy = Bench.of("kdcl", "node", "single-label", 2).strategy
    found = strategy._task_target(strategy.distribution, LOGITS, torch.tensor([0, -1]))
    torch.testing.assert_close(found, torch.tensor([[0.0, -2.0, -4.0], [0.5, 2.0, 1.0]]))
