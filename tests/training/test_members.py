"""Students that a training does not fit."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from dgl_mutual.errors import UsageError
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.training.callbacks import Callback
from dgl_mutual.training.state import TrainingState
from tests.training.conftest import Fit
from tests.training.small_data import Data


@pytest.mark.parametrize(("share", "epochs", "first"), [(0.97, 10, 9), (0.04, 10, 1), (0.5, 10, 5)])
def test_a_student_that_starts_later_waits_for_an_epoch_and_learns_in_one(
    share: float, epochs: int, first: int, fit: Fit, node_data: Data
) -> None:
    late = StudentOptions(architecture="gin", hidden=8, starts_after=share)
    assert late.first_epoch(epochs) == first
    seen: list[Tensor] = []

    class Watch(Callback):
        def on_fit_begin(self, state: TrainingState) -> None:
            seen.append(next(state.cohort.members[1].parameters()).detach().clone())

        on_epoch_end = on_fit_begin

    fit(node_data, ["gcn", late], epochs=epochs, strategy="independent", callbacks=[Watch()])
    changes = [not torch.equal(before, after) for before, after in pairwise(seen)]
    assert changes == [False] * first + [True] * (epochs - first)
    with pytest.raises(UsageError, match=rf"starts_after = {share} of gin needs an epoch to wait and one to learn.*epochs = 1\."):
        fit(node_data, ["gcn", late], epochs=1, strategy="independent")


def test_noise_of_a_student_does_not_depend_on_which_nodes_are_sampled(fit: Fit, node_data: Data) -> None:
    noisy = StudentOptions(architecture="gcn", hidden=8, feature_noise=0.5)
    with pytest.raises(UsageError, match=r"feature_noise of gcn is the same .* or leave out --sampler"):
        fit(node_data, [noisy, "sage"], training={"sampler": "neighbor"})
