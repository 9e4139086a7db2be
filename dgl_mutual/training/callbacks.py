"""Callbacks: code that runs at fixed points of a training, in the form of skorch's. The package's own extras are callbacks, too."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch

from dgl_mutual.errors import UsageError
from dgl_mutual.nn.module import StudentOutput
from dgl_mutual.training.history import EpochReport
from dgl_mutual.training.state import TrainingState
from dgl_mutual.utils.custom_code import refuse_other_arguments
from dgl_mutual.utils.display import RepeatingTimer, make_bar, shows_bars
from dgl_mutual.utils.python_compat import is_class
from dgl_mutual.utils.wording import kind_of


class Callback:
    """Base class of callbacks. Override the methods that you need; each receives the state, the same object throughout a training.

    An exception in a callback ends the training. A callback with a state of its own returns it from `state_dict` and restores it in
    `load_state_dict`, so that an interrupted training can be resumed. This concerns trackers, with ``run --checkpoint-every``: `fit` keeps
    no snapshots.
    """

    def on_fit_begin(self, state: TrainingState) -> None:
        """Before the first epoch."""

    def on_phase_begin(self, state: TrainingState) -> None:
        """Before the first epoch of a phase. Most strategies have one phase; `kd` trains a teacher first, `bgnn` one student at a time."""

    def on_epoch_begin(self, state: TrainingState) -> None:
        """Before each epoch."""

    def on_step_end(self, state: TrainingState) -> None:
        """After each optimizer step; ``state.step`` and ``state.terms`` are its input and its loss terms."""

    def on_evaluation_batch(self, state: TrainingState, member: int, samples: torch.Tensor, output: StudentOutput) -> None:
        """After a member has run on a batch in evaluation mode.

        Args:
            member: index of the member in the cohort.
            samples: (n,), int64 indices of the samples of the batch in the dataset.
            output: output of the member for these n samples.
        """

    def on_epoch_end(self, state: TrainingState) -> None:
        """After each epoch and its validation, if there is one; the epoch's metrics are ``state.history[-1]``."""

    def on_phase_end(self, state: TrainingState) -> None:
        """After the last epoch of a phase."""

    def on_fit_end(self, state: TrainingState) -> None:
        """After training and assessment; ``state.result`` is what `fit` returns."""

    def state_dict(self) -> dict[str, Any]:
        """Return what must be kept to resume: plain values and tensors, in dicts and lists."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore from `state_dict()`."""


HOOKS = tuple(name for name in vars(Callback) if name.startswith("on_"))


def check_callbacks(callbacks: Sequence[Callback]) -> tuple[Callback, ...]:
    """Check callbacks, and return them.

    Raises:
        UsageError: an object that is not an instance of `Callback`, or a method ``on_...`` that is never called.
    """
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise UsageError(_fault(callback))
        _check_hooks(callback)
    return tuple(callbacks)


class CallbackList:
    """Calls hooks in the order of the callbacks. A hook that no callback overrides costs nothing."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self._hooks: dict[str, list[Callable[..., None]]] = {
            name: [getattr(callback, name) for callback in callbacks if _overrides(callback, name)] for name in HOOKS
        }

    def wants(self, hook: str) -> bool:
        """Whether a callback overrides this hook."""
        return bool(self._hooks[hook])

    def __call__(self, hook: str, *arguments: Any) -> None:
        """Call a hook of all callbacks that override it."""
        for call in self._hooks[hook]:
            call(*arguments)


class EpochReports(Callback):
    """Hands a short report of each epoch to a function."""

    def __init__(self, report: Callable[[EpochReport], None]) -> None:
        self._report = report

    def on_epoch_end(self, state: TrainingState) -> None:
        row = state.history[-1]
        val = {name.removeprefix("val/"): value for name, value in row.items() if name.startswith("val/")}
        loss = sum(value for name, value in row.items() if name.startswith("loss/"))
        epochs, phase = state.options.epochs, state.current
        self._report(EpochReport(phase.number * epochs + phase.epochs_done - 1, len(state.phases) * epochs, loss, val))


class EpochClock(Callback):
    """Measures the time of an epoch, without the first one of the process, which also fills caches."""

    def __init__(self) -> None:
        self._epochs = 0
        self._first_end = 0.0

    def on_epoch_end(self, state: TrainingState) -> None:
        if not self._epochs:
            self._first_end = state.seconds
        self._epochs += 1

    def seconds_per_epoch(self, state: TrainingState) -> float:
        """Return the mean seconds of an epoch (of the only one, if there is one). Call it directly after the last epoch."""
        if self._epochs > 1:
            return (state.seconds - self._first_end) / (self._epochs - 1)
        return state.seconds / len(state.history)


class ProgressBar(Callback):
    """Shows a bar on standard error: epochs, a clock, the time left, the loss, and the students' mean metric on validation.

    Call `close` at the end; it also stops the clock of a training that failed.
    """

    def __init__(self) -> None:
        self._ending = ExitStack()

    def on_fit_begin(self, state: TrainingState) -> None:
        self._bar = make_bar(total=state.options.epochs * len(state.phases), unit="epoch", leave=True)
        self._ending.callback(self._bar.close)
        if shows_bars():  # a file would get a line each time
            clock = RepeatingTimer(self._bar.refresh)
            self._ending.callback(clock.close)
            clock.start()

    def on_epoch_end(self, state: TrainingState) -> None:
        row = state.history[-1]
        figures = {"loss": f"{sum(value for name, value in row.items() if name.startswith('loss/')):.3f}"}
        if (mean := state.mean_metric) is not None:
            figures["val"] = f"{mean:.3f}"
        self._bar.set_postfix(figures, refresh=False)
        self._bar.update()

    def on_fit_end(self, state: TrainingState) -> None:
        self.close()

    def close(self) -> None:
        """Stop the bar, and leave it on the screen."""
        self._ending.close()


def _overrides(callback: Callback, name: str) -> bool:
    return name in vars(callback) or getattr(type(callback), name) is not getattr(Callback, name)


def _check_hooks(callback: Callback) -> None:
    """Refuse hooks that are misspelt or of other libraries, which would never be called, and hooks with a wrong signature."""
    names = {*dir(type(callback)), *vars(callback)}
    idle = sorted(name for name in names if name.startswith("on_") and name not in HOOKS and callable(getattr(callback, name)))
    if idle:
        nearest = difflib.get_close_matches(idle[0], HOOKS, n=1)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        raise UsageError(
            f"The callback {type(callback).__name__} has a method {idle[0]!r}, which is never called.{hint} The hooks are: "
            f"{', '.join(HOOKS)}. A method of your own needs another name."
        )
    for name in HOOKS:
        hook = getattr(callback, name)
        if not callable(hook):
            raise UsageError(
                f"{name} of the callback {type(callback).__name__} is {kind_of(hook)}, and must be a method. Leave it out if it does "
                "nothing."
            )
        arguments = list(inspect.signature(getattr(Callback, name)).parameters)[1:]
        refuse_other_arguments(hook, f"{name} of the callback {type(callback).__name__}", arguments)


def _fault(callback: object) -> str:
    if is_class(callback) and issubclass(callback, Callback):
        return f"The callback {callback.__name__} is a class. Give an instance: callbacks=[{callback.__name__}()]."
    return f"A callback must be an instance of a subclass of dgl_mutual.Callback, found {callback!r:.80}. Derive a class from it."
