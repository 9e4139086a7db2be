from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from dgl_mutual.data.values.split import Split
from dgl_mutual.distributions import Categorical
from dgl_mutual.training.diversity import Diversity
from dgl_mutual.training.evaluation.similarity import disagreement, linear_cka
from dgl_mutual.training.seeds import TrialSeed
from tests.strategies.test_kd import fit


def hsic(x, y):
    """The biased Hilbert-Schmidt independence criterion of linear kernels, from Gram matrices of rows."""
    centre = np.eye(len(x)) - 1 / len(x)
    return np.trace(x @ x.T @ centre @ y @ y.T @ centre)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_cka_equals_its_definition_by_gram_matrices():
    x, y = random(20, 5), random(20, 3, seed=1) + 2
    expected = hsic(x.numpy(), y.numpy()) / math.sqrt(hsic(x.numpy(), x.numpy()) * hsic(y.numpy(), y.numpy()))
    assert linear_cka(x, y) == pytest.approx(expected)


def test_cka_ignores_rotation_scale_and_shift():
    x = random(30, 4)
    rotation = torch.linalg.qr(random(4, 4, seed=1)).Q
    assert linear_cka(x, 3 * x @ rotation + 1) == pytest.approx(1)
    assert linear_cka(x, random(30, 4, seed=2)) < 0.5
    assert math.isnan(linear_cka(x, torch.ones(30, 2, dtype=torch.float64)))
    assert math.isnan(linear_cka(x.float(), torch.full((30, 2), 0.1)))  # whose mean is not 0.1 to the last bit


def test_disagreement_by_hand():
    assert disagreement(torch.tensor([[0, 1, 2, 0], [0, 1, 1, 1], [0, 1, 2, 0]])) == pytest.approx((0.5 + 0 + 0.5) / 3)
    assert disagreement(torch.tensor([[[True, False]], [[True, True]]])) == 0.5


def test_validation_samples_are_compared_in_any_order_of_batches():
    split = Split(np.arange(10), np.arange(10, 40), np.arange(40, 60))
    logits, embeddings = random(2, 60, 3), [random(60, 4), random(60, 5, seed=1)]
    state: Any = SimpleNamespace(
        cohort=SimpleNamespace(names=("a", "b", "teacher"), num_students=2, distribution=Categorical()),
        split=split,
        dataset=SimpleNamespace(num_samples=60),
        trial_seed=TrialSeed(),
        clean=SimpleNamespace(device=torch.device("cpu")),
        validation=(),
        history=[{}],
    )
    probe = Diversity()
    probe.on_fit_begin(state)
    for member in range(3):
        for samples in torch.randperm(60, generator=torch.Generator().manual_seed(member)).split(17):
            output: Any = SimpleNamespace(logits=logits[member % 2, samples], embedding=embeddings[member % 2][samples])
            probe.on_evaluation_batch(state, member, samples, output)
    probe.on_epoch_end(state)
    val = slice(10, 40)
    assert state.history == [
        {
            "diversity/disagreement": pytest.approx(disagreement(logits[:, val].argmax(-1))),
            "diversity/cka/a/b": pytest.approx(linear_cka(embeddings[0][val], embeddings[1][val])),
        }
    ]


@pytest.mark.parametrize("task", ["node", "graph"])
def test_a_run_records_diversity_when_asked_and_is_not_changed_by_it(task):
    plain, _ = fit(task, "gml")
    watched, _ = fit(task, "gml", diversity=True)
    assert all(0 <= row["diversity/disagreement"] <= 1 for row in watched.history)
    assert all(0 <= row["diversity/cka/gcn-0/gin-1"] <= 1 for row in watched.history)
    assert [{k: v for k, v in row.items() if not k.startswith("diversity")} for row in watched.history] == plain.history


def test_students_that_are_not_yet_trained_are_not_compared():
    result, _ = fit("node", "bgnn", diversity=True)
    assert ["diversity/disagreement" in row for row in result.history] == [False] * 4 + [True] * 4
