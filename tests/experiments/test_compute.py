"""What trials compute with is checked and resolved where it is made; names of devices, and what is said where one cannot be used."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import joblib
import numpy as np
import pytest
import torch

import dgl_mutual
from dgl_mutual.errors import UsageError
from dgl_mutual.experiments.compute import Compute, is_cuda, resolve_device
from dgl_mutual.experiments.executors.torchrun import device_of_rank


def test_the_default_is_one_thread_a_trial_and_one_trial_a_core_or_one_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 7)
    for gpu, device, jobs in ((False, "cpu", 7), (True, "cuda", 1)):
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpu=gpu: gpu)
        default = Compute()
        assert (default.device, default.jobs, default.threads, default.num_jobs) == (device, None, 1, jobs)
        assert replace(default, jobs=3).num_jobs == 3


def test_numbers_and_devices_of_other_libraries_are_taken() -> None:
    given = Compute(device=torch.device("cpu", 0), jobs=np.int64(2), threads=np.int64(3))
    assert given == Compute(device="cpu", jobs=2, threads=3) == pickle.loads(pickle.dumps(given))
    assert type(given.jobs) is type(given.threads) is int


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"jobs": 0}, "jobs = 0 is not an integer from 1"),
        ({"jobs": 10**6}, "jobs = 1000000 is more than"),
        ({"threads": "2"}, "threads = '2' is not an integer from 1"),
        ({"device": "gpu"}, "Unknown device 'gpu'. Did you mean 'cuda'?"),
    ],
)
def test_wrong_numbers_and_devices_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Compute(**given)
    with pytest.raises(UsageError, match=message):
        replace(Compute(device="cpu"), **given)


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
