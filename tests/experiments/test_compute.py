"""What trials compute with is checked and resolved where it is made."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import joblib
import numpy as np
import pytest
import torch

from dgl_mutual.errors import UsageError
from dgl_mutual.experiments.compute import Compute


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
        ({"jobs": 0}, "jobs = 0 is not a whole number from 1"),
        ({"jobs": 10**6}, "jobs = 1000000 is more than"),
        ({"threads": "2"}, "threads = '2' is not a whole number from 1"),
        ({"device": "gpu"}, "Unknown device 'gpu'. Did you mean 'cuda'?"),
    ],
)
def test_what_is_none_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Compute(**given)
    with pytest.raises(UsageError, match=message):
        replace(Compute(device="cpu"), **given)
