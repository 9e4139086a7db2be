"""Students that a training does not fit."""

from __future__ import annotations

import pytest

from dgl_mutual.errors import UsageError
from dgl_mutual.nn.options import StudentOptions
from tests.training.conftest import Fit
from tests.training.small_data import Data


@pytest.mark.parametrize(("share", "epochs", "first"), [(0.97, 10, 9), (0.04, 10, 1), (0.5, 10, 5), (0.5, 1, 0)])
def test_a_student_that_starts_later_waits_for_an_epoch_and_learns_in_one(
    share: float, epochs: int, first: int, fit: Fit, node_data: Data
) -> None:
    late = StudentOptions(architecture="gin", hidden=8, starts_after=share)
    assert late.first_epoch(epochs) == first
    history = fit(node_data, ["gcn", late], epochs=epochs, strategy="independent", training={"patience": 100}).history
    losses = [row["val/gin-1"] for row in history]
    assert all(loss == losses[0] for loss in losses[:first])
    assert first == epochs - 1 or len(set(losses[first:])) > 1


def test_noise_of_a_student_does_not_depend_on_which_nodes_are_sampled(fit: Fit, node_data: Data) -> None:
    noisy = StudentOptions(architecture="gcn", hidden=8, feature_noise=0.5)
    with pytest.raises(UsageError, match=r"feature_noise of gcn is the same .* or leave out --sampler"):
        fit(node_data, [noisy, "sage"], training={"sampler": "neighbor"})
