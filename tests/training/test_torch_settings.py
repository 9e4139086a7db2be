"""Settings of torch that hold for the whole process: custom code does not change them for others, and results do not depend on them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import dgl_mutual as dm
from dgl_mutual.utils.imports import import_object
from dgl_mutual.utils.torch_settings import settings_kept
from tests.small_graph import fit, graph, strategy

CHANGES = """
import torch
torch.set_default_dtype(torch.float64)
torch.set_grad_enabled(False)
torch.set_num_threads(torch.get_num_threads() + 1)
torch.set_float32_matmul_precision("medium")
torch.use_deterministic_algorithms(True)
"""


@pytest.fixture(autouse=True)
def _kept() -> Iterator[None]:
    with settings_kept():
        yield


def _settings() -> tuple[Any, ...]:
    return (
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.get_num_threads(),
        torch.get_float32_matmul_precision(),
        torch.are_deterministic_algorithms_enabled(),
    )


def change() -> None:
    exec(CHANGES)


class Changes(nn.Module):
    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__()
        change()
        self.layer = nn.Linear(in_features, num_outputs).float().requires_grad_()

    def forward(self, graph: Any, feat: torch.Tensor) -> Any:
        return self.layer(feat)


class ChangingWeighting(dm.Weighting):
    def __init__(self, options: Any, config: Any) -> None:
        super().__init__(options, config)
        change()

    def scores(self, logits: torch.Tensor, confidence: torch.Tensor, samples: torch.Tensor) -> Any:
        return logits[None]


def _strategy_init(self: Any, options: Any, setting: Any) -> None:
    dm.Strategy.__init__(self, options, setting)
    change()


def test_importing_custom_code_changes_no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "changes_settings.py").write_text(f"{CHANGES}\nvalue = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = _settings()
    assert import_object("changes_settings:value") == 1
    assert _settings() == before
    del sys.modules["changes_settings"]


@pytest.mark.parametrize(
    ("students", "options"),
    [
        ([Changes, "gcn"], {}),
        ("gcn,sage", {"strategy": strategy(__init__=_strategy_init)}),
        ("gcn,gcn,sage", {"strategy_options": {"weighting": ChangingWeighting, "exchange_warmup": [0, 0]}}),
    ],
)
def test_making_custom_code_changes_no_settings(students: Any, options: dict[str, Any]) -> None:
    seen: list[tuple[Any, ...]] = []

    class Looks(dm.Callback):
        def on_epoch_end(self, state: Any) -> None:
            seen.append(_settings())

    before = _settings()
    fit(students, callbacks=[Looks()], **options)
    assert set(seen) == {before} and _settings() == before


class ChangesLater(nn.Module):
    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(in_features, num_outputs)

    def forward(self, graph: Any, feat: torch.Tensor) -> Any:
        logits = self.layer(feat)
        change()
        return logits


def test_the_forward_of_a_student_changes_no_settings() -> None:
    before = _settings()
    assert fit([ChangesLater, "gcn"]).epochs == 2
    assert _settings() == before


def test_results_do_not_depend_on_the_default_type(tmp_path: Path) -> None:
    plain = fit()
    plain.save(tmp_path)
    expected = plain.predict()
    torch.set_default_dtype(torch.float64)
    again = fit()
    assert again.history == plain.history and torch.get_default_dtype() == torch.float64
    loaded = dm.load_student(tmp_path)
    for predicted in (again.predict(), plain.predict(), loaded.predict(graph())):
        np.testing.assert_array_equal(predicted, expected)
