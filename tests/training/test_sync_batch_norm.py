"""Batch norm over the rows of several processes."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch

from dgl_mutual.errors import UsageError
from dgl_mutual.nn.norm import batch_norm
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.training.distributed.ranks import DividedSamples
from dgl_mutual.training.distributed.sync_batch_norm import SyncBatchNorm, plain_batch_norm, share_batch_norm
from dgl_mutual.training.options import TrainingOptions
from tests.cohorts import train_cohort
from tests.training.custom_students import OtherNorm
from tests.training.small_data import Data

TWO = DividedSamples(rank=1, size=2)


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_a_shared_batch_norm_of_one_process_is_the_plain_one(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: None)
    plain = batch_norm(3)
    plain(torch.randn(9, 3))
    shared = deepcopy(plain)
    share_batch_norm(shared, DividedSamples(0, 1), "mine")
    inputs = [torch.randn(rows, 3, generator=torch.Generator().manual_seed(0)).requires_grad_() for _ in range(2)]
    outputs = [norm(x) for norm, x in zip((plain, shared), inputs, strict=True)]
    torch.testing.assert_close(outputs[1], outputs[0])
    torch.testing.assert_close(shared.state_dict(), plain.state_dict())
    for output in outputs:
        (output * torch.arange(3.0)).square().sum().backward()
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad)


@pytest.mark.parametrize("form", [{"affine": False}, {"momentum": None}, {"eps": 0.5}])
def test_batch_norms_of_other_forms_are_shared_and_made_plain_again(form: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: None)
    plain = torch.nn.BatchNorm1d(3, **form)
    shared = deepcopy(plain)
    share_batch_norm(shared, DividedSamples(0, 1), "mine")
    for shape in ((9, 3), (4, 3), (5, 3, 2)):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(shared(x), plain(x))
    torch.testing.assert_close(shared.state_dict(), plain.state_dict())
    assert isinstance(shared, SyncBatchNorm)
    plain_batch_norm(shared)
    assert type(shared) is torch.nn.BatchNorm1d and vars(shared).keys() == vars(plain).keys()
    torch.testing.assert_close(shared(x), plain(x))


def test_a_shared_batch_norm_is_the_same_module(graph_data: Data) -> None:
    norm = torch.nn.BatchNorm1d(4)
    norm.weight.requires_grad_(False)
    called = []
    norm.register_forward_hook(lambda *_: called.append(1))
    module = torch.nn.ModuleDict({"a": norm, "b": norm})
    share_batch_norm(module, TWO, "mine")
    assert module["a"] is module["b"] is norm and isinstance(norm, SyncBatchNorm) and not norm.weight.requires_grad
    plain_batch_norm(module)
    norm(torch.randn(3, 4))
    assert type(norm) is torch.nn.BatchNorm1d and called == [1]


def test_a_batch_norm_of_a_custom_class_is_refused() -> None:
    class Frozen(torch.nn.BatchNorm1d):
        def train(self, mode: bool = True) -> Frozen:
            return super().train(False)

    with pytest.raises(UsageError, match=r"cannot share the statistics of '0' of the student 'mine' \(Frozen"):
        share_batch_norm(torch.nn.Sequential(Frozen(4)), TWO, "mine")


@pytest.mark.parametrize(
    "norm", [{"kind": "BatchNorm1d", "track_running_stats": False}, {"kind": "SyncBatchNorm"}, {"kind": "BatchNorm2d"}], ids=str
)
def test_batch_norms_whose_statistics_cannot_be_shared_are_refused(norm: dict[str, Any], graph_data: Data) -> None:
    students = [StudentOptions(architecture=OtherNorm, options=norm), StudentOptions(architecture="gcn")]
    with pytest.raises(UsageError, match=r"cannot share the statistics of 'module.norms.0' of the student 'OtherNorm-0' \(\w*BatchNorm"):
        train_cohort(*graph_data, students=students, training=TrainingOptions(epochs=1, batch_size=7), ranks=TWO)
