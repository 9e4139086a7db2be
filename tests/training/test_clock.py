from __future__ import annotations

import pytest
import torch

from dgl_mutual.training.clock import median_ms


@pytest.mark.parametrize(("seconds", "calls", "expected"), [([4.0, 0.3, 0.1, 0.2], 4, 200.0), ([6.0], 1, 6000.0)])
def test_the_first_call_counts_only_where_it_takes_seconds(
    monkeypatch: pytest.MonkeyPatch, seconds: list[float], calls: int, expected: float
) -> None:
    clock, left = [0.0], list(seconds)
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    def run() -> None:
        clock[0] += left.pop(0)

    assert median_ms(run, torch.device("cpu")) == pytest.approx(expected)
    assert len(seconds) - len(left) == calls
