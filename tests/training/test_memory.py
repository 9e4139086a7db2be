from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dgl_mutual.data.dataset import Dataset, Split
from dgl_mutual.training import memory
from dgl_mutual.training.memory import FreedMemory, available, forget_peak, peak, status
from dgl_mutual.training.result import FitResult

MIB = 2**20
on_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is asked")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a high-water mark")
def test_the_peak_is_of_what_came_after_it_was_forgotten() -> None:
    big = np.ones(200 * MIB, dtype=np.uint8)
    before = status("VmRSS")
    del big
    forget_peak()
    small = np.ones(60 * MIB, dtype=np.uint8)
    held = status("VmRSS")
    del small
    found = peak()
    assert before is not None and held is not None and found is not None
    assert held - 1 < found < before - 100
    forget_peak()
    assert (peak() or 0) < found - 40


def test_what_the_system_does_not_tell_is_none() -> None:
    assert status("NoSuchEntry") is None


def held() -> float:
    found = status("VmRSS")
    assert found is not None
    return found


def use_and_free(mib: int) -> None:
    np.ones(mib * MIB, dtype=np.uint8)


@on_glibc
def test_what_is_freed_stays_until_the_training_ends() -> None:
    before = held()
    with FreedMemory() as freed:
        use_and_free(200)
        assert held() < before + 50
        freed.keep_if_plentiful()
        use_and_free(200)
        assert freed.stays and held() > before + 150
    assert held() < before + 50
    use_and_free(200)
    assert held() < before + 50


@on_glibc
def test_what_is_freed_goes_back_when_a_training_fails() -> None:
    before = held()
    with pytest.raises(KeyboardInterrupt), FreedMemory() as freed:
        freed.keep_if_plentiful()
        use_and_free(200)
        raise KeyboardInterrupt
    assert held() < before + 50


@pytest.mark.parametrize("more", [0.0, None])
def test_nothing_stays_where_memory_is_short_or_unknown(monkeypatch: pytest.MonkeyPatch, more: float | None) -> None:
    monkeypatch.setattr(memory, "available", lambda: more)
    before = status("VmRSS") or 0.0
    with FreedMemory() as freed:
        freed.keep_if_plentiful()
        use_and_free(200)
        assert not freed.stays and (status("VmRSS") or 0.0) < before + 50


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"proc/meminfo": "MemFree: 1024 kB\nMemAvailable:   4096 kB\n"}, 4.0),
        (
            {"proc/meminfo": "MemAvailable: 4096 kB\n", "sys/fs/cgroup/memory.max": "max\n", "sys/fs/cgroup/memory.current": "1048576\n"},
            4.0,
        ),
        (
            {"proc/meminfo": "MemAvailable: 4096 kB\n", "sys/fs/cgroup/memory.max": "3145728\n", "sys/fs/cgroup/memory.current": "1048576"},
            2.0,
        ),
        (
            {"proc/meminfo": "MemAvailable: 1024 kB\n", "sys/fs/cgroup/memory.max": "3145728\n", "sys/fs/cgroup/memory.current": "1048576"},
            1.0,
        ),
        ({"sys/fs/cgroup/memory.max": "3145728\n", "sys/fs/cgroup/memory.current": "1048576"}, 2.0),
    ],
    ids=["not told", "no group", "no limit", "limit", "limit out of reach", "limit alone"],
)
def test_available_memory_is_within_the_limit_of_the_control_group(tmp_path: Path, files: dict[str, str], expected: float | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available(tmp_path) == expected


@on_glibc
def test_training_comes_to_the_same_wherever_freed_memory_goes(
    node_data: tuple[Dataset, Split], fit: Callable[..., FitResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    stayed = []
    keep = FreedMemory.keep_if_plentiful

    def follow(freed: FreedMemory) -> None:
        keep(freed)
        stayed.append(freed.stays)

    monkeypatch.setattr(FreedMemory, "keep_if_plentiful", follow)
    kept = fit(node_data, epochs=4).history
    assert stayed == [True] * 4
    monkeypatch.setattr(memory, "available", lambda: 0.0)
    assert fit(node_data, epochs=4).history == kept
    assert stayed[4:] == [False] * 4
