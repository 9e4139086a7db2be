"""How far a run is: a bar on a terminal, plain lines elsewhere. Both go to standard error; standard output is for results."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn, Protocol

from tqdm import tqdm

from dgl_mutual.experiments.trial import Outcome, Trial
from dgl_mutual.safe_text import terminal_text
from dgl_mutual.training.history import EpochReport


class Progress(Protocol):
    """What a run tells of itself."""

    def start(self, trials: Sequence[Trial], finished: int) -> None:
        """`trials` are about to run; `finished` others stand already."""

    def epoch(self, trial: Trial, report: EpochReport) -> None:
        """An epoch is over."""

    @property
    def remote_epoch(self) -> Callable[[Trial, EpochReport], None] | None:
        """What a process that runs a trial may call instead of `epoch`; None if it should be silent."""

    def end(self, outcome: Outcome) -> None:
        """A trial is over."""


class Silence:
    """Tells nothing."""

    def start(self, trials: Sequence[Trial], finished: int) -> None: ...

    def epoch(self, trial: Trial, report: EpochReport) -> None: ...

    remote_epoch = None

    def end(self, outcome: Outcome) -> None: ...


class Lines:
    """A plain line for every trial, and for every `every`-th epoch."""

    def __init__(self, every: int = 50) -> None:
        self.every = every
        self.done = 0
        self.total = 0
        self.finished = 0
        self.started = 0.0

    def start(self, trials: Sequence[Trial], finished: int) -> None:
        self.finished = self.done = finished
        self.total = finished + len(trials)
        self.started = time.monotonic()
        if finished:
            _say(f"{finished} of {self.total} trials are finished already")

    def epoch(self, trial: Trial, report: EpochReport) -> None:
        if (report.epoch + 1) % self.every == 0:
            _say(f"{trial.title}  epoch {report.epoch + 1}/{report.epochs}  {_figures(report)}")

    @property
    def remote_epoch(self) -> Callable[[Trial, EpochReport], None]:
        return self.epoch  # standard error is shared with the processes

    def end(self, outcome: Outcome) -> None:
        self.done += 1
        ending = f"failed: {outcome.error}" if outcome.error else "finished"
        _say(f"{outcome.trial.title}  {ending}  [{self.done}/{self.total}{self._left()}]")

    def _left(self) -> str:
        seconds = (time.monotonic() - self.started) / (self.done - self.finished) * (self.total - self.done)
        return f", {tqdm.format_interval(seconds)} left" if self.done < self.total else ""


class Bar:
    """A bar over the trials, with the running trial's latest figures if it is the only one."""

    remote_epoch = None

    def __init__(self, bar: tqdm[NoReturn]) -> None:
        self.bar = bar

    def start(self, trials: Sequence[Trial], finished: int) -> None:
        self.bar.reset(total=finished + len(trials))
        self.bar.update(finished)

    def epoch(self, trial: Trial, report: EpochReport) -> None:
        self.bar.set_postfix_str(terminal_text(f"{trial.title} epoch {report.epoch + 1}/{report.epochs} {_figures(report)}"), refresh=False)
        self.bar.update(0)

    def end(self, outcome: Outcome) -> None:
        if outcome.error:
            self.bar.write(terminal_text(f"{outcome.trial.title} failed: {outcome.error}"), file=sys.stderr)
        self.bar.update()


@contextmanager
def display() -> Iterator[Progress]:
    """The progress that fits standard error, for the length of a block."""
    if sys.stderr.isatty():
        with tqdm(unit="trial", file=sys.stderr, dynamic_ncols=True) as bar:
            yield Bar(bar)
    else:
        yield Lines()


def _figures(report: EpochReport) -> str:
    val = " ".join(f"{member} {value:.3f}" for member, value in report.val.items())
    return f"loss {report.loss:.3f}  val {val}"


def _say(line: str) -> None:
    print(terminal_text(line), file=sys.stderr, flush=True)
