"""State of strategies in snapshots."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import dgl_mutual as dm
from dgl_mutual.errors import UsageError
from dgl_mutual.training.snapshots import Snapshots
from tests.training.cuts import Cut, CutAfter


def remembering(state: Any) -> type[dm.Strategy]:
    class Mine(dm.Strategy):
        def loss_terms(self, step: Any) -> dict[str, Tensor]:
            return {"supervised": self.supervised(step)}

        def get_extra_state(self) -> Any:
            return state

        def set_extra_state(self, found: Any) -> None:
            self.found = found

    return Mine


@pytest.mark.parametrize("state", [{"a": {1, 2}}, {"a": np.int64(3)}, {3: "a"}, {"a": object()}])
def test_state_of_a_strategy_that_is_not_plain_is_refused_where_it_is_kept(state, node_data, fit, tmp_path):
    with pytest.raises(UsageError, match=r"The state strategy/_extra_state.* cannot be kept with training\.checkpoint_every: it holds"):
        fit(node_data, strategy=remembering(state), epochs=2, snapshots=Snapshots(tmp_path / "kept", 1))


def test_state_of_a_strategy_comes_back_as_it_was(node_data, fit, tmp_path):
    state = {
        "a/b": torch.ones(1),
        "a": {"b": torch.zeros(2)},
        "a~1b": torch.ones(3),
        "text": "tensor:text:x",
        "text:": ["text:", None, 0.5],
    }
    strategy = remembering(state)
    with pytest.raises(Cut):
        fit(node_data, strategy=strategy, epochs=3, snapshots=Snapshots(tmp_path / "kept", 1), callbacks=[CutAfter(1)])
    found: list[Any] = []
    strategy.set_extra_state = lambda self, one: found.append(one)
    fit(node_data, strategy=strategy, epochs=3, snapshots=Snapshots(tmp_path / "kept", 1))
    assert repr(found) == repr([state])
