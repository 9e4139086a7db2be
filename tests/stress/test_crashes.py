"""No finished trial is lost and no table is torn, whatever ends a suite; what is resumed ends as if nothing had happened.

With ``--stress N``, N crash points of each kind instead of a handful.
"""

from __future__ import annotations

import errno
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.stress.crashing import RUNS, TRIALS, AtOperation, Child, Scene, check, make_scene, results

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scene, dict[str, str], float]:
    """The suite, undisturbed: its results and the seconds that it took."""
    scene = make_scene(tmp_path_factory.mktemp("whole"))
    started = time.monotonic()
    assert Child(scene).wait() == 0
    seconds = time.monotonic() - started
    assert sum(map(len, check(scene, {}).values())) == RUNS * TRIALS
    return scene, results(scene), seconds


def fresh(scene: Scene, folder: Path) -> Scene:
    shutil.rmtree(folder, ignore_errors=True)
    return Scene(scene.folder, folder, scene.changed)


def test_signals_at_random_moments(whole: tuple[Scene, dict[str, str], float], tmp_path: Path, stress: int) -> None:
    scene, expected, seconds = whole
    moments = random.Random(stress)
    done, crashes = {}, 0
    current = fresh(scene, tmp_path / "out")
    while crashes < stress:
        child = Child(current)
        time.sleep(moments.uniform(0.0, seconds))
        child.send(kind := moments.choice(SIGNALS))
        status = child.wait()
        assert status in (0, -kind, 130), status
        done = check(current, done)
        if status == 0:
            assert results(current) == expected
            current, done = fresh(scene, tmp_path / "out"), {}
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
    numbers = sorted({1 + place * total // stress for place in range(stress)})
    for number in numbers:
        current = fresh(scene, tmp_path / "out")
        status = Child(current, AtOperation(number, current.out, error)).wait()
        assert status == (-signal.SIGKILL if error is None else 1), (number, status)
        done = check(current, {})
        assert Child(current).wait() == 0
        check(current, done)
        assert results(current) == expected, number
