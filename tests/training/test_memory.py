from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.split import Split
from dgl_mutual.experiments import processes
from dgl_mutual.training import memory
from dgl_mutual.training.memory import FreedMemory, available, forget_peak, peak, process_memory
from dgl_mutual.training.result import FitResult
from tests import forked

MIB = 2**20
on_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is asked")


#: What tests free lies free in this process, and may take an array that should need new memory.
in_a_fresh_process = forked.returned


def held() -> float:
    found = process_memory("VmRSS")
    assert found is not None
    return found


def use_and_free(mib: int) -> None:
    np.ones(mib * MIB, dtype=np.uint8)


def peaks() -> tuple[float, float, float, float]:
    big = np.ones(200 * MIB, dtype=np.uint8)
    with_big = held()
    del big
    forget_peak()
    small = np.ones(60 * MIB, dtype=np.uint8)
    with_small = held()
    del small
    found = peak()
    forget_peak()
    return with_big, with_small, found or 0.0, peak() or 0.0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a high-water mark")
def test_the_peak_starts_anew_after_forget_peak() -> None:
    with_big, with_small, found, later = in_a_fresh_process(peaks)
    assert with_small - 1 < found < with_big - 100
    assert later < found - 40


def test_figures_that_the_system_does_not_report_are_none() -> None:
    assert process_memory("NoSuchEntry") is None


def course() -> dict[str, float]:
    """MiB more than at the start."""
    more: dict[str, float] = {}
    before = held()
    with FreedMemory() as freed:
        use_and_free(200)
        more["not yet"] = held() - before
        freed.keep_if_plentiful()
        assert freed.stays
        use_and_free(200)
        more["stays"] = held() - before
    more["over"] = held() - before
    use_and_free(200)
    more["after it"] = held() - before
    with suppress(KeyboardInterrupt), FreedMemory() as freed:
        freed.keep_if_plentiful()
        use_and_free(200)
        raise KeyboardInterrupt
    more["interrupted"] = held() - before
    return more


@on_glibc
def test_freed_memory_stays_until_the_training_ends_or_fails() -> None:
    more = in_a_fresh_process(course)
    assert {name for name, mib in more.items() if mib > 150} == {"stays"}
    assert {name for name, mib in more.items() if mib < 50} == {"not yet", "over", "after it", "interrupted"}


@pytest.mark.parametrize("more", [0.0, None])
def test_freed_memory_does_not_stay_if_memory_is_short_or_unknown(monkeypatch: pytest.MonkeyPatch, more: float | None) -> None:
    monkeypatch.setattr(memory, "available", lambda: more)
    before = process_memory("VmRSS") or 0.0
    with FreedMemory() as freed:
        freed.keep_if_plentiful()
        use_and_free(200)
        assert not freed.stays and (process_memory("VmRSS") or 0.0) < before + 50


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
def test_kept_memory_does_not_change_results(
    node_data: tuple[Dataset, Split], fit: Callable[..., FitResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    stayed = []
    keep = FreedMemory.keep_if_plentiful

    def follow(freed: FreedMemory) -> None:
        keep(freed)
        stayed.append(freed.stays)

    monkeypatch.setattr(FreedMemory, "keep_if_plentiful", follow)
    plain = fit(node_data, epochs=4).history
    assert stayed == [], "a process that is not the command line's own is left alone"
    with FreedMemory() as freed:
        assert fit(node_data, epochs=4, callbacks=[freed]).history == plain
    assert stayed == [True] * 4
    monkeypatch.setattr(memory, "available", lambda: 0.0)
    with FreedMemory() as freed:
        assert fit(node_data, epochs=4, callbacks=[freed]).history == plain
    assert stayed[4:] == [False] * 4


def test_only_processes_of_the_command_line_keep_freed_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_owned", False)
    with processes.freed_memory() as callbacks:
        assert callbacks == []
    processes.own_process()
    with processes.freed_memory() as callbacks:
        assert [type(callback) for callback in callbacks] == [FreedMemory]
