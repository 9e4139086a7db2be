"""Names of devices, and what is said where one cannot be used."""

from __future__ import annotations

import pytest
import torch

import dgl_mutual
from dgl_mutual.errors import UsageError
from dgl_mutual.experiments.device import is_cuda, resolve_device
from dgl_mutual.experiments.executors.torchrun import device_of_rank


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch):
    """Pretend that torch sees so many GPUs."""

    def pretend(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return pretend


def test_the_cpu_is_always_there():
    assert resolve_device("cpu") == "cpu"
    assert not is_cuda("cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "CUDA", "cpu:0", ""])
def test_unknown_names_list_the_choices(name):
    with pytest.raises(UsageError, match="auto, cpu, cuda"):
        resolve_device(name)


def test_auto_takes_a_gpu_where_there_is_one(gpus):
    gpus(0)
    assert resolve_device("auto") == "cpu"
    gpus(2)
    assert resolve_device("auto") == "cuda"
    assert resolve_device("cuda:1") == "cuda:1"
    assert is_cuda("cuda:1")


def test_no_gpu(gpus):
    gpus(0)
    with pytest.raises(UsageError, match=r"'cuda' cannot be used: torch .* sees no GPU.*nvidia-smi.*--device cpu"):
        resolve_device("cuda")


def test_a_gpu_that_is_not_there(gpus):
    gpus(2)
    with pytest.raises(UsageError, match=r"'cuda:2' cannot be used: there are 2 GPUs here, cuda:0 ... cuda:1"):
        resolve_device("cuda:2")
    gpus(1)
    with pytest.raises(UsageError, match=r"'cuda:2' cannot be used: the only GPU here is cuda:0\. Or train with --device cpu"):
        resolve_device("cuda:2")


def test_the_python_interface_says_the_same(gpus):
    gpus(0)
    with pytest.raises(UsageError, match="sees no GPU"):
        dgl_mutual.fit(dgl_mutual.load("digits"), students="gcn,gcn", device="cuda")


def test_a_process_of_torchrun_without_a_gpu_of_its_own_says_so(gpus, monkeypatch):
    gpus(2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert device_of_rank("cuda") == "cuda:1"
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UsageError, match="there are 2 GPUs here"):
        device_of_rank("cuda")
