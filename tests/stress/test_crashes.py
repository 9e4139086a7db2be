"""No finished trial is lost and no table is torn, whatever ends a suite; what is resumed ends as if nothing had happened.

With ``--stress N``, N crash points of each kind instead of a handful, and kinds that take long.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests import forked
from tests.stress.crashing import RUNS, TRIALS, AtOperation, Child, Scene, check, lives, make_scene, results

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scene, dict[str, str], float]:
    """The suite, undisturbed: its results and the seconds that it took."""
    scene = make_scene(tmp_path_factory.mktemp("whole"))
    forked.returned(os.getpid)  # with it starts the process that all others are forked from
    started = time.monotonic()
    assert Child(scene).wait() == 0
    seconds = time.monotonic() - started
    assert sum(map(len, check(scene, {}).values())) == RUNS * TRIALS
    return scene, results(scene), seconds


def fresh(scene: Scene, folder: Path) -> Scene:
    shutil.rmtree(folder, ignore_errors=True)
    return replace(scene, out=folder)


@pytest.mark.parametrize("every", [None, 3], ids=["trials", "snapshots"])
def test_signals_at_random_moments(whole: tuple[Scene, dict[str, str], float], tmp_path: Path, stress: int, every: int | None) -> None:
    """Between trials and within them; with snapshots, long trainings go on from the middle."""
    scene, expected, seconds = whole
    if every is not None:
        scene = replace(scene, epochs=40, out=tmp_path / "whole")
        started = time.monotonic()
        assert Child(scene).wait() == 0
        seconds, expected = time.monotonic() - started, results(scene)
    moments = random.Random(stress)
    done: dict[str, set[int]] = {}
    crashes = 0
    current = fresh(replace(scene, every=every), tmp_path / "out")
    while crashes < stress:
        child = Child(current)
        time.sleep(moments.uniform(0.0, seconds))
        child.send(kind := moments.choice(SIGNALS))
        status = child.wait()
        assert status in (0, -kind, 130), (kind, status, child.said())
        assert "Traceback" not in child.said(), kind
        done = check(current, done)
        if status == 0:
            assert results(current) == expected
            current, done = fresh(current, tmp_path / "out"), {}
        else:
            crashes += 1
    assert Child(current).wait() == 0
    check(current, done)
    assert results(current) == expected


@pytest.mark.parametrize("error", [None, errno.ENOSPC], ids=["killed", "disk full"])
def test_every_file_operation(whole: tuple[Scene, dict[str, str], float], tmp_path: Path, stress: int, error: int | None) -> None:
    """Killed before its n-th operation, or told by it and all later ones that the disk is full; n in even steps over all there are."""
    scene, expected, _ = whole
    current = fresh(scene, tmp_path / "out")
    assert Child(current, AtOperation(0, current.out, error)).wait() == 0
    total = int((scene.folder / "operations").read_text())
    numbers = sorted({1 + index * total // stress for index in range(stress)})
    for number in numbers:
        current = fresh(scene, tmp_path / "out")
        child = Child(current, AtOperation(number, current.out, error))
        assert child.wait() == (-signal.SIGKILL if error is None else 1), number
        assert "Traceback" not in child.said(), number
        done = check(current, {})
        assert Child(current).wait() == 0
        check(current, done)
        assert results(current) == expected, number


def test_a_file_that_must_not_grow(whole: tuple[Scene, dict[str, str], float], tmp_path: Path, stress: int) -> None:
    """The operating system itself ends a write in the middle, at ever more bytes."""
    scene, expected, _ = whole
    largest = max(file.stat().st_size for file in scene.out.rglob("*") if file.is_file())
    current = fresh(scene, tmp_path / "out")
    done: dict[str, set[int]] = {}
    for index in range(stress):
        # What it says goes into a file, too.
        child = Child(replace(current, most_bytes=400 + (largest - 400) * index // stress))
        assert child.wait() == 1
        assert "File too large" in child.said()
        assert "Traceback" not in child.said()
        done = check(current, done)
    assert Child(current).wait() == 0
    assert results(current) == expected


def test_two_processes_on_one_folder(whole: tuple[Scene, dict[str, str], float], tmp_path: Path) -> None:
    scene, expected, _ = whole
    current = fresh(scene, tmp_path / "out")
    both = [Child(current), Child(current)]
    assert sorted(child.wait() for child in both) == [0, 1]
    assert "Another process is working in" in both[0].said() + both[1].said()
    assert results(current) == expected


@pytest.mark.usefixtures("only_under_stress")
def test_a_disk_that_is_full_or_read_only(whole: tuple[Scene, dict[str, str], float], tmp_path: Path, stress: int) -> None:
    """A real file system, too small at first, and then one that cannot be written at all."""
    scene, expected, _ = whole
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        for _ in range(max(1, stress // 10)):
            current = fresh(scene, disk / "out")
            done: dict[str, set[int]] = {}
            for kilobytes in (16, 64, 128, 192):
                remount(disk, f"size={kilobytes}k")
                child = Child(current)
                assert child.wait() == 1, kilobytes
                assert "No space left on device" in child.said()
                done = check(current, done)
            remount(disk, "size=16m")
            assert Child(current).wait() == 0
            assert results(current) == expected
        remount(disk, "ro")
        before = {file: file.read_bytes() for file in disk.rglob("*") if file.is_file()}
        child = Child(current)
        assert child.wait() == 1
        assert "Read-only file system" in child.said()
        assert {file: file.read_bytes() for file in disk.rglob("*") if file.is_file()} == before
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def remount(disk: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", str(disk)], check=True)


@pytest.mark.usefixtures("only_under_stress")
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes by Linux's /proc")
@pytest.mark.parametrize("victim", ["run", "worker"])
def test_processes_that_train(whole: tuple[Scene, dict[str, str], float], tmp_path: Path, stress: int, victim: str) -> None:
    """The run is killed, or one of its processes, as for want of memory."""
    moments, longer = random.Random(stress), replace(whole[0], epochs=40, out=tmp_path / "whole")
    assert Child(longer).wait() == 0
    expected = results(longer)
    for _ in range(max(1, stress // 10)):
        current = fresh(replace(longer, jobs=2), tmp_path / "out")
        child = Child(current)
        wait_until(lambda child=child, out=current.out: len(child.workers()) == 2 and list(out.glob("*/checkpoints/seed*")) != [])
        time.sleep(moments.uniform(0.0, 0.5))
        workers = child.workers()
        if victim == "worker":
            os.kill(moments.choice(workers), signal.SIGKILL)
        else:
            child.send(signal.SIGKILL)
        status = child.wait()
        assert status == {"run": -signal.SIGKILL, "worker": 1}[victim] or (status == 0 and victim == "worker")
        if victim == "worker" and status:
            assert "killed, probably for lack of memory" in child.said()
        wait_until(lambda workers=workers: not any(map(lives, workers)), seconds=30.0)  # one may still be starting
        done = check(current, {})
        assert Child(replace(current, jobs=1)).wait() == 0
        check(current, done)
        assert results(current) == expected


@pytest.mark.usefixtures("only_under_stress")
def test_an_interrupt_from_the_keyboard(whole: tuple[Scene, dict[str, str], float], tmp_path: Path, stress: int) -> None:
    """A terminal sends it to the run and to all processes that work for it."""
    moments, longer = random.Random(stress), replace(whole[0], epochs=40, out=tmp_path / "whole")
    assert Child(longer).wait() == 0
    for _ in range(max(1, stress // 10)):
        current = fresh(replace(longer, jobs=2), tmp_path / "out")
        command = [sys.executable, "-m", "dgl_mutual", *current.arguments]
        with subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            wait_until(lambda out=current.out: list(out.glob("*/checkpoints/seed*")) != [])
            time.sleep(moments.uniform(0.0, 0.5))
            os.killpg(process.pid, signal.SIGINT)
            _, said = process.communicate(timeout=120)
        assert process.returncode in (0, 130)  # it may have been done
        assert "Traceback" not in said
        done = check(current, {})
        assert Child(replace(current, jobs=1)).wait() == 0
        check(current, done)
        assert results(current) == results(longer)


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.02)
