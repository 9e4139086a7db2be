from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from dgl_mutual.training import timing
from dgl_mutual.training.timing import MIN_ROUNDS, WARM_UP, median_ms, time_inference


def test_models_take_turns_after_a_warm_up_and_quartiles_leave_it_out(monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[str] = []

    def model(name: str) -> SimpleNamespace:
        return SimpleNamespace(prepared=lambda _: lambda: passes.append(name), parameters=lambda: iter([torch.zeros(())]))

    def milliseconds(run, _):
        run()
        return float(len(passes))

    monkeypatch.setattr(timing, "milliseconds", milliseconds)
    times = time_inference({"a": model("a"), "b": model("b")}, None, repeats=5)  # type: ignore[arg-type]  # stand-ins for models
    assert passes == ["a"] * WARM_UP + ["b"] * WARM_UP + ["a", "b"] * 5
    first = 2 * WARM_UP + 1  # the numbers of a's passes are first, first + 2, ... first + 8
    assert (times["a"].quartile_1_ms, times["a"].median_ms, times["a"].quartile_3_ms) == (first + 2, first + 4, first + 6)
    assert times["b"].median_ms == first + 5 and times["b"].repeats == 5


def test_slow_models_have_the_minimum_number_of_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = SimpleNamespace(prepared=lambda _: lambda: None, parameters=lambda: iter([torch.zeros(())]))
    monkeypatch.setattr(timing, "_MAX_SECONDS", 0.0)
    assert time_inference({"slow": slow}, None)["slow"].repeats == MIN_ROUNDS  # type: ignore[dict-item, arg-type]  # a stand-in for a model


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
