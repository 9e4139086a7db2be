from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from dgl_mutual.nn.unsaved_state import changed_values


def with_buffer(module: nn.Module, value: Tensor) -> nn.Module:
    module.register_buffer("seen", value, persistent=False)
    return module


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda odd: nn.AvgPool1d(2, ceil_mode=odd), "ceil_mode"),
        (lambda odd: with_buffer(nn.Linear(1, 1), torch.tensor(odd)), "seen"),
        (lambda odd: with_buffer(nn.Sequential(), torch.tensor([1.0, odd]).to_sparse()), "seen"),
        (lambda odd: with_buffer(nn.Sequential(), torch.tensor([1, odd], dtype=torch.complex128)), "seen"),
    ],
)
def test_changed_values_of_torch_modules_are_named(make: Callable[[bool], nn.Module], name: str) -> None:
    assert changed_values(make(False), make(True)) == [name]
    assert changed_values(nn.Sequential(make(False)), nn.Sequential(make(True))) == [f"0.{name}"]
    assert changed_values(make(True), make(True)) == []


def test_values_that_only_one_module_has_are_named() -> None:
    first, second = nn.Sequential(), nn.Sequential()
    second.fresh = True
    assert changed_values(first, second) == changed_values(second, first) == ["fresh"]
