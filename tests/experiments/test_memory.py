from __future__ import annotations

import sys

import numpy as np
import pytest

from dgl_mutual.experiments.memory import forget_peak, peak, status

MIB = 2**20


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
