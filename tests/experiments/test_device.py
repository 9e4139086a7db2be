"""Names of devices, and what is said where one cannot be used."""

from __future__ import annotations

import dgl
import pytest
import torch

import dgl_mutual
from dgl_mutual.errors import UsageError
from dgl_mutual.experiments.device import is_cuda, resolve_device


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch):
    """Pretend that torch sees so many GPUs, and that DGL can use them or not."""

    def pretend(count: int, dgl_has_cuda: bool) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

        def move(graph: dgl.DGLGraph, device: str) -> dgl.DGLGraph:
            if not dgl_has_cuda:
                raise dgl.DGLError("Check failed: allow_missing: Device API cuda is not enabled.")
            return graph

        monkeypatch.setattr(dgl.DGLGraph, "to", move)

    return pretend


def test_the_cpu_is_always_there():
    assert resolve_device("cpu") == "cpu"
    assert not is_cuda("cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "CUDA", "cpu:0", ""])
def test_unknown_names_list_the_choices(name):
    with pytest.raises(UsageError, match="auto, cpu, cuda"):
        resolve_device(name)


def test_auto_takes_a_gpu_only_where_both_can_use_it(gpus):
    gpus(0, True)
    assert resolve_device("auto") == "cpu"
    gpus(2, False)
    assert resolve_device("auto") == "cpu"
    gpus(2, True)
    assert resolve_device("auto") == "cuda"
    assert resolve_device("cuda:1") == "cuda:1"
    assert is_cuda("cuda:1")


def test_no_gpu(gpus):
    gpus(0, True)
    with pytest.raises(UsageError, match=r"'cuda' cannot be used: torch .* sees no GPU.*nvidia-smi.*--device cpu"):
        resolve_device("cuda")


def test_a_gpu_that_is_not_there(gpus):
    gpus(2, True)
    with pytest.raises(UsageError, match=r"'cuda:2' cannot be used: there are 2 GPUs here, cuda:0 ... cuda:1"):
        resolve_device("cuda:2")


def test_a_dgl_without_cuda_is_named_with_the_mend(gpus):
    gpus(1, False)
    with pytest.raises(UsageError, match=rf"DGL {dgl.__version__} here is a build without CUDA.*not enabled.*dgl.ai.*--device cpu"):
        resolve_device("cuda:0")


def test_the_python_interface_says_the_same(gpus):
    gpus(1, False)
    with pytest.raises(UsageError, match="build without CUDA"):
        dgl_mutual.fit(dgl_mutual.load("digits"), students="gcn,gcn", device="cuda")
