"""Callbacks: when each hook is called, what it is given, and what it can do."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dgl_mutual.errors import UsageError
from dgl_mutual.strategies.base.step import Step
from dgl_mutual.strategies.base.strategy import Strategy
from dgl_mutual.training.callbacks import HOOKS, Callback, CallbackList, EpochClock, EpochReports
from dgl_mutual.training.snapshots import Snapshots
from dgl_mutual.training.state import TrainingState
from tests.training.conftest import Fit
from tests.training.small_data import Data


class Recorder(Callback):
    """The hooks that were called, with the epoch in each, and the states that they were given."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        self.states: set[int] = set()

    def _record(self, hook: str, state: TrainingState) -> None:
        self.calls.append((hook, state.epoch))
        self.states.add(id(state))

    def on_fit_begin(self, state: TrainingState) -> None:
        assert state.phase is None and state.history == []
        self._record("fit_begin", state)

    def on_phase_begin(self, state: TrainingState) -> None:
        self._record("phase_begin", state)

    def on_epoch_begin(self, state: TrainingState) -> None:
        assert len(state.history) == state.epoch
        self._record("epoch_begin", state)

    def on_step_end(self, state: TrainingState) -> None:
        assert state.step is not None and "supervised" in state.terms
        assert state.step.logits.shape[0] == len(state.current.active)
        self._record("step_end", state)

    def on_epoch_end(self, state: TrainingState) -> None:
        assert state.step is None, "a step's graph is not kept alive"
        assert state.history[-1]["epoch"] == state.epoch
        self._record("epoch_end", state)

    def on_phase_end(self, state: TrainingState) -> None:
        self._record("phase_end", state)

    def on_fit_end(self, state: TrainingState) -> None:
        assert state.result is not None and state.result.history is state.history
        self._record("fit_end", state)


def test_hooks_are_called_in_order(fit: Fit, node_data: Data) -> None:
    recorder = Recorder()
    fit(node_data, epochs=2, callbacks=[recorder])
    epochs = [(hook, epoch) for epoch in range(2) for hook in ("epoch_begin", "step_end", "epoch_end")]
    assert recorder.calls == [("fit_begin", 0), ("phase_begin", 0), *epochs, ("phase_end", 1), ("fit_end", 1)]
    assert len(recorder.states) == 1


def test_there_is_a_step_end_for_each_batch_and_a_phase_for_each_of_the_strategys(fit: Fit, graph_data: Data) -> None:
    recorder = Recorder()
    fit(graph_data, epochs=2, strategy="bgnn", training={"batch_size": 5}, callbacks=[recorder])
    hooks = [hook for hook, _ in recorder.calls]
    assert [hooks.count(name) for name in ("phase_begin", "epoch_end", "step_end")] == [2, 4, 4 * 4]
    assert [epoch for hook, epoch in recorder.calls if hook == "epoch_begin"] == [0, 1, 2, 3]


def test_callbacks_are_called_in_their_order_after_selection(fit: Fit, node_data: Data) -> None:
    called: list[str] = []

    class Named(Callback):
        def __init__(self, name: str) -> None:
            self.name = name

        def on_epoch_end(self, state: TrainingState) -> None:
            assert state.validation is not None and state.validation.names == ("gcn-0", "sage-1", "ensemble")
            called.append(self.name)

    fit(node_data, epochs=1, callbacks=[Named("a"), Named("b")])
    assert called == ["a", "b"]


def test_callbacks_that_only_watch_change_nothing(fit: Fit, graph_data: Data) -> None:
    seen: list[torch.Tensor] = []

    class Watch(Recorder):
        def on_evaluation_batch(self, state: TrainingState, member: int, samples: torch.Tensor, output: Any) -> None:
            seen.append(samples)
            assert output.logits.shape == (len(samples), 2)

    assert fit(graph_data, callbacks=[Watch()]).history == fit(graph_data).history
    assert {int(sample) for samples in seen for sample in samples} == set(range(40)), "the last pass is over all samples"


def test_an_epoch_that_was_not_validated_has_no_scores(fit: Fit, node_data: Data) -> None:
    scored: list[bool] = []

    class Look(Callback):
        def on_epoch_end(self, state: TrainingState) -> None:
            scored.append(state.validation is not None)

    fit(node_data, epochs=5, training={"eval_every": 2}, callbacks=[Look()])
    assert scored == [False, True, False, True, True]


@pytest.mark.parametrize("strategy", ["gml", "okddip", "kd"])
def test_the_mean_metric_is_that_of_the_students_alone(strategy: str, fit: Fit, graph_data: Data) -> None:
    means: list[float | None] = []

    class Look(Callback):
        def on_epoch_end(self, state: TrainingState) -> None:
            means.append(state.mean_metric)

    result = fit(graph_data, epochs=4, strategy=strategy, training={"eval_every": 2}, callbacks=[Look()])
    students = [name for name in result.cohort.names if name not in ("leader", "teacher")]
    assert len(students) < len(result.cohort.names) or strategy == "gml"
    for row, mean in zip(result.history, means, strict=True):
        scores = [row[f"val/{name}"] for name in students if f"val/{name}" in row] or [row[key] for key in row if key == "val/teacher"]
        assert mean == (pytest.approx(np.mean(scores)) if scores else None)


class Log(Callback):
    def __init__(self, name: str, value: Any) -> None:
        self.name, self.value = name, value

    def on_epoch_end(self, state: TrainingState) -> None:
        state.log(self.name, self.value)


def test_a_logged_number_is_a_column_of_the_history(fit: Fit, node_data: Data) -> None:
    result = fit(node_data, epochs=2, callbacks=[Log("my/gradient", torch.tensor(0.5)), Log("entry", np.ones((1, 1)))])
    assert [row["my/gradient"] for row in result.history] == [0.5, 0.5]
    assert result.history[-1]["entry"] == 1.0


def test_logged_values_are_averaged_over_their_steps_and_loss_terms_over_all(fit: Fit, graph_data: Data) -> None:
    class Sometimes(Strategy):
        steps = 0

        def loss_terms(self, step: Step) -> dict[str, Tensor]:
            self.steps += 1
            if self.steps > 1:
                return {"supervised": self.supervised(step)}
            step.log["once"] = torch.tensor(3.0)
            return {"supervised": self.supervised(step), "extra": 8.0 + 0.0 * step.logits.sum()}

    (row,) = fit(graph_data, epochs=1, strategy=Sometimes, training={"batch_size": 5}).history
    assert len(graph_data[1].train) == 20 and (row["once"], row["loss/extra"]) == (3.0, 2.0)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        *((name, 1.0, f"has a column '{name}'") for name in ("val/gcn-0", "seed", "fold")),
        ("", 1.0, r"Cannot log under the name '': it is empty\. Give it a name, for example state.log\('mine', 1.0\)"),
        ("a\n", 1.0, r"Cannot log under the name 'a\\n': it has control characters in it"),
        ("x", float("nan"), "finite numbers"),
        (
            "mine",
            torch.tensor([1.0, 2.0]),
            r"Cannot log 'mine' = tensor\(\[1., 2.\]\): .* one number per epoch. .* state.log\('mine', value.mean\(\)\)",
        ),
        *(
            ("mine", value, r"Cannot log 'mine' = .*: a column takes one number per epoch. Give a number\.")
            for value in ("1.5", None, [1.0], 1j, np.zeros(0))
        ),
        (3, 1.0, "Cannot log under the name 3"),
    ],
)
def test_invalid_names_and_values_are_not_logged(name: Any, value: Any, told: str, fit: Fit, node_data: Data) -> None:
    with pytest.raises(UsageError, match=told):
        fit(node_data, epochs=1, callbacks=[Log(name, value)])


@pytest.mark.parametrize(("hook", "epoch"), [("on_step_end", 0), ("on_epoch_begin", 0), ("on_phase_begin", 1)])
def test_logging_into_the_row_of_an_earlier_epoch_is_refused(hook: str, epoch: int, fit: Fit, node_data: Data) -> None:
    def log(self: Callback, state: TrainingState) -> None:
        if state.history:
            state.log("mine", 1.0)

    with pytest.raises(
        UsageError, match=rf"Cannot log 'mine' = 1.0 yet: the last row of the history is that of epoch {epoch}, .*on_epoch_end"
    ):
        fit(node_data, epochs=2, strategy="kd", callbacks=[type("Early", (Callback,), {hook: log})()])


def test_the_last_row_takes_what_is_logged_at_the_end_of_a_phase_and_of_the_training(fit: Fit, node_data: Data) -> None:
    class Late(Callback):
        def on_phase_end(self, state: TrainingState) -> None:
            state.log("phase", state.current.number)

        def on_fit_end(self, state: TrainingState) -> None:
            state.log("fit", 1.0)

    history = fit(node_data, epochs=2, strategy="kd", callbacks=[Late()]).history
    assert [(row.get("phase"), row.get("fit")) for row in history] == [(None, None), (0.0, None), (None, None), (1.0, 1.0)]


def test_a_callback_may_stop_a_phase_and_students_end_at_their_best_epochs(fit: Fit, node_data: Data) -> None:
    class StopAfter(Callback):
        def on_epoch_end(self, state: TrainingState) -> None:
            if state.current.epochs_done == 3:
                state.stop()

    stopped, whole = fit(node_data, epochs=9, callbacks=[StopAfter()]), fit(node_data, epochs=3)
    assert stopped.epochs == 3
    assert [member.val for member in stopped.members] == [member.val for member in whole.members]
    assert fit(node_data, epochs=9, strategy="bgnn", callbacks=[StopAfter()]).epochs == 6


def test_reports_count_the_epochs_of_all_phases(fit: Fit, node_data: Data) -> None:
    class StopTheTeacher(Callback):
        def on_epoch_end(self, state: TrainingState) -> None:
            if state.current.number == 0 and state.current.epochs_done == 2:
                state.stop()

    reports: list[tuple[int, int]] = []
    follow = EpochReports(lambda report: reports.append((report.epoch, report.epochs)))
    fit(node_data, epochs=4, strategy="kd", callbacks=[follow, StopTheTeacher()])
    assert reports == [(epoch, 8) for epoch in (0, 1, 4, 5, 6, 7)]


def test_a_strategy_is_asked_for_its_phases_once(fit: Fit, node_data: Data, tmp_path: Path) -> None:
    asked: list[Strategy] = []

    class InTurn(Strategy):
        def phases(self) -> list[tuple[int, ...]]:
            asked.append(self)
            return [(0,), (1,)]

        def loss_terms(self, step: Step) -> dict[str, Tensor]:
            return {"supervised": self.supervised(step)}

    reports: list[tuple[int, int]] = []
    follow = EpochReports(lambda report: reports.append((report.epoch, report.epochs)))
    fit(node_data, epochs=2, strategy=InTurn, callbacks=[follow], snapshots=Snapshots(tmp_path / "0.safetensors", 1))
    assert reports == [(epoch, 4) for epoch in range(4)]
    assert len(asked) == 1


def test_stopping_before_any_validation_leaves_the_weights_as_they_are(fit: Fit, node_data: Data) -> None:
    class Stop(Callback):
        def on_epoch_end(self, state: TrainingState) -> None:
            state.stop()

    result = fit(node_data, epochs=9, training={"eval_every": 5}, callbacks=[Stop()])
    assert result.epochs == 1 and result["gcn-0"].best_epoch is None


@pytest.mark.parametrize(("hook", "told"), [("on_fit_begin", "no phase yet to stop"), ("on_phase_begin", "before there is an epoch")])
def test_stopping_before_the_first_epoch_is_refused(hook: str, told: str, fit: Fit, node_data: Data) -> None:
    stop = type("Stop", (Callback,), {hook: lambda self, state: state.stop()})()
    for strategy in ("independent", "kd"):
        with pytest.raises(UsageError, match=told):
            fit(node_data, epochs=2, strategy=strategy, callbacks=[stop])


class Cut(Exception):
    """Stands for a kill."""


class Counter(Callback):
    """Has a state: what it has counted."""

    def __init__(self, cut: int | None = None) -> None:
        self.count, self.cut = 0, cut

    def on_epoch_begin(self, state: TrainingState) -> None:
        if self.count == self.cut:
            raise Cut

    def on_epoch_end(self, state: TrainingState) -> None:
        self.count += 1
        state.log("count", self.count)

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count = state["count"]


def test_an_exception_ends_the_training_and_a_callbacks_state_is_resumed(fit: Fit, node_data: Data, tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path / "s", 2)
    with pytest.raises(Cut):
        fit(node_data, epochs=6, snapshots=snapshots, callbacks=[Counter(cut=3)])
    resumed = fit(node_data, epochs=6, snapshots=snapshots, callbacks=[Recorder(), Counter()])
    assert resumed.history == fit(node_data, epochs=6, callbacks=[Counter()]).history
    assert [row["count"] for row in resumed.history] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("given", "told"),
    [(Counter, r"Counter is a class\. Give an instance: callbacks=\[Counter\(\)\]"), (print, "instance of a subclass"), (3, "found 3")],
)
def test_objects_that_are_not_callbacks_are_refused(given: Any, told: str, fit: Fit, node_data: Data) -> None:
    with pytest.raises(UsageError, match=told):
        fit(node_data, epochs=1, callbacks=[given])


def test_a_hook_that_nobody_overrides_is_not_called() -> None:
    class One(Callback):
        def on_step_end(self, state: TrainingState) -> None: ...

    later = Callback()
    later.on_fit_end = lambda state: None  # type: ignore[method-assign]  # an instance may have a hook of its own
    assert [hook for hook in HOOKS if CallbackList([One(), later]).wants(hook)] == ["on_step_end", "on_fit_end"]


def test_the_first_epoch_does_not_count_in_the_time_of_an_epoch() -> None:
    clock = EpochClock()
    state = SimpleNamespace(seconds=0.0, history=[{}])
    for seconds in (3.0, 3.5, 4.0, 4.5):
        state.seconds = seconds
        clock.on_epoch_end(state)
        if seconds == 3.0:
            assert clock.seconds_per_epoch(state) == 3.0
    assert clock.seconds_per_epoch(state) == 0.5
