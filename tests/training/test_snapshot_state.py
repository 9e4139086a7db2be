"""State of strategies in snapshots."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import dgl_mutual as dm
from dgl_mutual.errors import DataError, StoreError, UsageError
from dgl_mutual.training.snapshots import Snapshots
from tests.training.custom_students import Linear, custom
from tests.training.cuts import Cut, CutAfter, cut, same


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
def test_state_of_a_strategy_that_is_not_plain_is_refused_in_a_snapshot(state, node_data, fit, tmp_path):
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


def fails(self: Any, found: Any) -> None:
    raise KeyError("mine")


class Keeps(dm.Callback):
    """Counts epochs, and has that in its state."""

    def __init__(self) -> None:
        self.epochs = 0

    def on_epoch_end(self, state: Any) -> None:
        self.epochs += 1

    def state_dict(self) -> dict[str, Any]:
        return {"epochs": self.epochs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epochs = state["epochs"]


class Extra(Linear):
    def get_extra_state(self) -> Tensor:
        return torch.ones(1)

    def set_extra_state(self, state: Any) -> None: ...


NO_DAMAGE = r"cannot be restored: KeyError: 'mine' \(.*test_snapshot_state\.py, line \d+\)\. It was not deleted\. Fix"


def test_an_error_of_custom_code_in_restoring_its_state_is_not_called_damage(node_data, fit, tmp_path, monkeypatch):
    snapshots = Snapshots(tmp_path / "kept", 1)
    strategy = remembering({"a": 1})
    cases: list[tuple[Any, str, dict[str, Any]]] = [
        (strategy, "set_extra_state", {"strategy": strategy}),
        (strategy, "load_state_dict", {"strategy": strategy}),
        (Extra, "set_extra_state", {"students": ("gcn", custom(Extra))}),
        (Keeps, "load_state_dict", {"callbacks": [Keeps()]}),
    ]
    for kind, method, options in cases:
        cut(fit, node_data, snapshots, **options)
        kept = snapshots.file.read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(
                kind, method, fails if method != "load_state_dict" or kind is Keeps else lambda self, found, **_: fails(self, found)
            )
            with pytest.raises(StoreError, match=NO_DAMAGE):
                fit(node_data, epochs=4, snapshots=snapshots, **options)
        assert snapshots.file.read_bytes() == kept
        same(fit(node_data, epochs=4, snapshots=snapshots, **options), fit(node_data, epochs=4, **options))
        snapshots.file.unlink()


def test_lack_of_memory_in_restoring_is_named(node_data, fit, tmp_path, monkeypatch):
    def too_large(self: Any, found: Any) -> None:
        raise RuntimeError("can't allocate memory")

    snapshots = Snapshots(tmp_path / "kept", 1)
    cut(fit, node_data, snapshots, callbacks=[Keeps()])
    monkeypatch.setattr(Keeps, "load_state_dict", too_large)
    with pytest.raises(RuntimeError, match=r"^can't allocate memory"):
        fit(node_data, epochs=4, snapshots=snapshots, callbacks=[Keeps()])


def test_a_snapshot_with_the_state_of_a_missing_callback_is_kept(node_data, fit, tmp_path):
    snapshots = Snapshots(tmp_path / "kept", 1)
    cut(fit, node_data, snapshots, callbacks=[Keeps()])
    with pytest.raises(StoreError, match=r"cannot be restored: .* callback .*Keeps#0 that is missing now\. It was not deleted"):
        fit(node_data, epochs=4, snapshots=snapshots)
    callback = Keeps()
    fit(node_data, epochs=4, snapshots=snapshots, callbacks=[callback])
    assert callback.epochs == 4


def test_damage_is_called_damage_also_with_custom_code(node_data, fit, tmp_path):
    snapshots = Snapshots(tmp_path / "kept", 1)
    cut(fit, node_data, snapshots, strategy=remembering({"a": 1}))
    content = snapshots.file.read_bytes()
    snapshots.file.write_bytes(content.replace(b"_extra_state", b"_extra_stale"))
    with pytest.raises(DataError, match="It was changed or damaged"):
        fit(node_data, epochs=4, snapshots=snapshots, strategy=remembering({"a": 1}))


def test_a_callback_that_saves_and_does_not_load_its_state_is_refused(node_data, fit, tmp_path):
    class Gives(dm.Callback):
        def state_dict(self) -> dict[str, Any]:
            return {"a": 1}

    class GivesAlone(Linear):
        def get_extra_state(self) -> Tensor:
            return torch.ones(1)

    class TakesAlone(Linear):
        def set_extra_state(self, state: Any) -> None: ...

    alone = remembering(1)
    del alone.set_extra_state
    with pytest.raises(UsageError, match=r"'Mine' defines get_extra_state and not set_extra_state in Mine, .*Define set_extra_state"):
        fit(node_data, strategy=alone, epochs=2)
    with pytest.raises(UsageError, match=r"'GivesAlone-1' defines get_extra_state and not set_extra_state"):
        fit(node_data, ("gcn", custom(GivesAlone)), epochs=2)
    with pytest.raises(UsageError, match=r"'TakesAlone-1' defines set_extra_state and not get_extra_state"):
        fit(node_data, ("gcn", custom(TakesAlone)), epochs=2)
    with pytest.raises(UsageError, match=r"The callback Gives .* not load_state_dict"):
        fit(node_data, epochs=2, callbacks=[Gives()], snapshots=Snapshots(tmp_path / "kept", 1))
