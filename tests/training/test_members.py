"""Students that a training does not fit."""

from __future__ import annotations

import pytest

from dgl_mutual.errors import UsageError
from dgl_mutual.experiments.config import parse_config
from dgl_mutual.experiments.resolve import resolve
from dgl_mutual.nn.options import StudentOptions
from tests.training.conftest import Fit
from tests.training.small_data import Data


@pytest.mark.parametrize(("share", "epochs", "message"), [(0.97, 10, "never learn"), (0.04, 10, "not wait"), (0.5, 1, "not wait")])
def test_a_student_that_would_never_wait_or_never_learn_is_refused(
    share: float, epochs: int, message: str, fit: Fit, node_data: Data
) -> None:
    late = StudentOptions(architecture="gin", hidden=8, starts_after=share)
    with pytest.raises(UsageError, match=rf"starts_after = {share} of gin is epoch \d+ of training.epochs = {epochs}, .* would {message}"):
        fit(node_data, ["gcn", late], epochs=epochs, strategy="independent")
    config = {"students": ["gcn", late.model_dump(exclude_unset=True)], "training": {"epochs": epochs}, "strategy": "independent"}
    with pytest.raises(UsageError, match=message):
        resolve(parse_config(config), node_data[0])


def test_noise_of_a_student_does_not_depend_on_which_nodes_are_sampled(fit: Fit, node_data: Data) -> None:
    noisy = StudentOptions(architecture="gcn", hidden=8, feature_noise=0.5)
    with pytest.raises(UsageError, match=r"feature_noise of gcn is the same .* or leave out --sampler"):
        fit(node_data, [noisy, "sage"], training={"sampler": "neighbor"})
