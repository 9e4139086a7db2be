"""The initial weights of custom students, strategies and weightings: drawn anew for each seed, or computed, but not seeded or shared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dgl_mutual as dm
from dgl_mutual.errors import UsageError
from tests.small_graph import Net, fit


class Eye(Net):
    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__(in_features, num_outputs)  # draws weights, which are overwritten
        nn.init.eye_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)


class Empty(Net):
    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__(in_features, num_outputs)
        self.none, self.nowhere = nn.Embedding(0, 3), nn.Linear(3, 0)


class SeededNumpy(Net):
    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__(in_features, num_outputs)
        np.random.seed(3)
        self.layer.weight = nn.Parameter(torch.as_tensor(np.random.randn(num_outputs, in_features), dtype=torch.float32))
        nn.init.zeros_(self.layer.bias)


_GIVEN = torch.arange(12.0).reshape(3, 4)


class Given(Net):
    """Its weights are another tensor, or a copy of it."""

    def __init__(self, in_features: int, num_outputs: int, copies: bool = False) -> None:
        super().__init__(in_features, num_outputs)
        self.layer = nn.Linear(in_features, num_outputs, bias=False)
        self.layer.weight = nn.Parameter(_GIVEN.clone() if copies else _GIVEN)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors", "ignore:The student .* starts with the same weights")
@pytest.mark.parametrize("student", [Eye, Empty, {"architecture": Given, "options": {"copies": True}}])
def test_weights_of_a_student_may_be_computed_read_or_of_no_numbers(student: Any) -> None:
    assert fit([student, "gcn"]).epochs == 2


def test_a_student_that_begins_with_the_same_weights_in_every_seed_is_warned_of() -> None:
    with pytest.warns(UserWarning, match=r"The student .*Eye starts with the same weights each time it is made: all seeds start alike"):
        fit([Eye, Net])


@pytest.mark.parametrize("student", [SeededNumpy, Given])
def test_a_student_that_seeds_numpy_or_shares_memory_is_refused(student: Any) -> None:
    with pytest.raises(
        UsageError, match=r"-0' has the same weights each time it is made, .*copies of tensors .*\(clone\(\)\), and set no seed"
    ):
        fit([student, "gcn"])


def test_a_student_is_made_a_few_times_alone() -> None:
    made: list[int] = []

    class Counted(Net):
        def __init__(self, in_features: int, num_outputs: int) -> None:
            super().__init__(in_features, num_outputs)
            made.append(1)

    fit([Counted, "gcn"])
    assert len(made) <= 8


def test_a_student_may_be_made_in_any_random_stream(tmp_path: Path) -> None:
    fit([Net, "gcn"]).save(tmp_path)
    for seed in (0, 42):
        torch.manual_seed(seed)
        dm.load_student(tmp_path / "Net-0.safetensors", trust=[Net])


class WithPart(dm.Strategy):
    seed: int | None = None

    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        if self.seed is not None:
            torch.manual_seed(self.seed)
        self.part = nn.Linear(3, 3)

    def loss_terms(self, step: Any) -> dict[str, Tensor]:
        return {"a": self.supervised(step)}


class Parted(dm.Weighting):
    seed: int | None = None

    def __init__(self, options: Any, config: Any) -> None:
        super().__init__(options, config)
        if self.seed is not None:
            torch.manual_seed(self.seed)
        self.part = nn.Parameter(torch.randn(2))

    def scores(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        return logits[None] * self.part.sum()


def test_modules_of_a_strategy_or_a_weighting_that_seed_themselves_are_refused() -> None:
    def weighted(by: type[dm.Weighting]) -> Any:
        return fit("gcn,gcn,sage", strategy_options={"weighting": by, "exchange_warmup": [0, 0]})

    assert fit(strategy=WithPart).epochs == weighted(Parted).epochs == 2
    with pytest.raises(UsageError, match="The strategy 'Again' has modules with the same weights each time it is made, so that all seeds"):
        fit(strategy=type("Again", (WithPart,), {"seed": 1}))
    with pytest.raises(UsageError, match="The weighting 'Again' has the same weights each time it is made, so that all seeds"):
        weighted(type("Again", (Parted,), {"seed": 1}))


class Computed(dm.Weighting):
    def __init__(self, options: Any, config: Any) -> None:
        super().__init__(options, config)
        self.part = nn.Parameter(torch.arange(2.0))

    def scores(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        return logits[None] * self.part.sum()


class Projected(Computed):
    def __init__(self, options: Any, config: Any) -> None:
        super().__init__(options, config)
        self.register_buffer("projection", torch.randn(4, 4))


class ProjectedStrategy(WithPart):
    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.part = nn.Linear(3, 3).requires_grad_(False)
        self.scale = nn.Parameter(torch.linspace(0, 1, 4))
        self.register_buffer("projection", torch.randn(4, 4))


@pytest.mark.parametrize("kind", [Computed, Projected])
def test_a_weighting_may_begin_with_computed_weights(kind: Any) -> None:
    assert fit("gcn,gcn,sage", strategy_options={"weighting": kind, "exchange_warmup": [0, 0]}).epochs == 2


def test_a_strategy_may_draw_frozen_numbers_beside_computed_weights() -> None:
    assert fit(strategy=ProjectedStrategy).epochs == 2
