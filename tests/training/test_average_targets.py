"""Targets of averaged students, and of averages that are made for targets alone."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dgl_mutual.nn.batch import Collator
from dgl_mutual.nn.module import CohortMember
from dgl_mutual.training.callbacks import Callback
from dgl_mutual.training.state import TrainingState
from tests.training.conftest import Fit
from tests.training.moving_average import GCN, GIN, moving_average
from tests.training.small_data import Data


@pytest.mark.parametrize("targets", ["eval", "ema", "best"])
def test_clean_targets_are_predictions_of_the_averaged_students(targets: str, fit: Fit, node_data: Data) -> None:
    class Keeps(Callback):
        last: dict[int, Tensor] = {}  # noqa: RUF012  # of this test alone
        best = (-math.inf, 0.0)
        checked = 0

        def on_step_end(self, state: TrainingState) -> None:
            assert state.step is not None
            if self.last:
                torch.testing.assert_close(state.step.targets[0], self.last[0])
                self.checked += 1

        def on_epoch_end(self, state: TrainingState) -> None:
            assert state.averages.in_evaluation is not None and state.validation is not None
            with torch.no_grad():
                served = state.evaluated_member(0).eval().forward_batch(Collator(state.dataset).all()).logits
            score = state.validation.metrics[0], -state.validation.losses[0]
            if targets != "best":
                self.last = {0: state.clean.targets[0].clone()}
            elif score > self.best:
                self.best, self.last = score, {0: served}
            if targets == "eval":
                torch.testing.assert_close(self.last[0], served)

    keeps = Keeps()
    training = {"average": "ema", "average_decay": 0.9, "scale_inputs": False}
    fit(node_data, [GCN, GCN], 5, strategy_options={"targets": targets}, training=training, callbacks=[keeps])
    assert keeps.checked == 4


@pytest.mark.parametrize("average", ["ema", "swa"])
def test_sampled_targets_are_of_the_averages_that_have_begun(average: str, fit: Fit, node_data: Data) -> None:
    class Looks(Callback):
        served: CohortMember
        averaged: list[bool] = []  # noqa: RUF012  # of this test alone

        def on_epoch_begin(self, state: TrainingState) -> None:
            self.served = deepcopy(state.evaluated_member(1)).eval()
            self.averaged.append(state.evaluated_member(1) is not state.cohort.members[1])

        def on_step_end(self, state: TrainingState) -> None:
            assert state.step is not None
            with torch.no_grad():
                torch.testing.assert_close(state.step.targets[1], self.served.forward_batch(state.step.batch).logits)

    looks = Looks()
    training = {"average": average, "average_start": 2, "sampler": "neighbor", "fanout": (-1, -1), "batch_size": 24}
    fit(node_data, [GCN, GCN], 6, strategy_options={"targets": "eval"}, training=training, callbacks=[looks])
    assert looks.averaged == [False, False, False, True, True, True]


@pytest.mark.parametrize("late", [0, 2])
@pytest.mark.parametrize("strategy", ["gml", "dml", "pseudo-label"])
@pytest.mark.parametrize("task", ["node", "graph"])
def test_peers_teach_with_the_average_of_their_weights(
    task: str, strategy: str, late: int, fit: Fit, node_data: Data, graph_data: Data
) -> None:
    """A student which starts late has no average before; its weights do not change, and teach as they are, in evaluation mode."""

    class Follows(Callback):
        average: Any = None
        apart = 0

        def on_fit_begin(self, state: TrainingState) -> None:
            self.average = moving_average(state.cohort.members[1], 0.8).eval()

        def on_step_end(self, state: TrainingState) -> None:
            assert state.step is not None
            waits = state.epoch < late
            teacher = deepcopy(state.cohort.members[1]).eval() if waits else self.average.module
            with torch.no_grad():
                expected = teacher.forward_batch(state.step.batch).logits
            if waits or late == 0 or state.epoch > late:  # the first weights of a late student are gone here
                torch.testing.assert_close(state.step.targets[1], expected)
                self.apart += not torch.allclose(state.step.logits[1], expected)
            if not waits:
                self.average.update_parameters(state.cohort.members[1])

    follows = Follows()
    training = {"batch_size": 8} if task == "graph" else {}
    options = {"targets": "average", "ema_decay": 0.8}
    data = node_data if task == "node" else graph_data
    gin = GIN.model_copy(update={"starts_after": late / 6}) if late else GIN
    fit(data, [GCN, gin], 6, strategy=strategy, strategy_options=options, training=training, callbacks=[follows])
    assert follows.apart >= 3


def test_without_decay_the_average_is_the_present_prediction(fit: Fit, node_data: Data) -> None:
    figures = [
        fit(node_data, [GCN, GIN], 6, strategy_options={"targets": targets, **decay}).predict(node_data[0])
        for targets, decay in (("average", {"ema_decay": 0.0}), ("eval", {}), ("average", {}))
    ]
    np.testing.assert_allclose(figures[0], figures[1], rtol=1e-4, atol=1e-6)
    assert not np.allclose(figures[0], figures[2], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("decay", [0.9, 0.5])
def test_a_mean_teacher_that_is_also_evaluated_is_one_average(decay: float, fit: Fit, node_data: Data) -> None:
    found: list[TrainingState] = []

    class Looks(Callback):
        def on_fit_begin(self, state: TrainingState) -> None:
            found.append(state)

    training = {"average": "ema", "average_decay": decay}
    options = {"decay": 0.9, "exchange_warmup": (0, 0)}
    fit(node_data, [GCN], 3, strategy="mean-teacher", strategy_options=options, training=training, callbacks=[Looks()])
    assert (found[0].averages.in_evaluation is found[0].averages.in_targets) == (decay == 0.9)
    assert len([*found[0].averages]) == (1 if decay == 0.9 else 2)
