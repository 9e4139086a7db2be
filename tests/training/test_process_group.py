"""The group of processes that torchrun starts."""

from __future__ import annotations

import pytest
import torch

from dgl_mutual.errors import TrainingError, UsageError
from dgl_mutual.training.distributed.process_group import leads, process_group


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"WORLD_SIZE": None}, "WORLD_SIZE = '' is not an integer"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE = 'two' is not an integer"),
        ({"RANK": "abc"}, "RANK = 'abc' is not an integer"),
        ({"MASTER_ADDR": None}, "cannot join the others: ValueError: .*MASTER_ADDR"),
    ],
)
def test_an_environment_that_torchrun_has_not_made_is_named(
    changed: dict[str, str | None], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "9"}
    for name, value in {**made, **changed}.items():
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
    with pytest.raises((UsageError, TrainingError), match=message):
        leads()
        with process_group("cpu"):
            pass


def test_each_process_has_its_own_gpu_before_nccl_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    for name, value in {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "set_device", calls.append)
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda backend, timeout: calls.append(backend))
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: None)
    with process_group("cuda") as ranks:
        assert (ranks.rank, ranks.size) == (1, 2)
    assert calls == [1, "nccl"]
