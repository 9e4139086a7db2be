"""Progress on standard error: a bar on a terminal or in a notebook, plain lines elsewhere. Standard output is for results."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from tqdm import tqdm

from dgl_mutual.experiments.progress_estimate import ProgressEstimator, ProgressFiles
from dgl_mutual.training.history import EpochReport
from dgl_mutual.utils.display import RepeatingTimer, TolerantStream, make_bar, shows_bars
from dgl_mutual.utils.safe_text import terminal_text
from dgl_mutual.utils.scratch import temporary_folder

#: Minimum width of a terminal for the word 'trials' after the count, and minimum width of bar, clock and spaces.
_WIDE, _TAKEN = 60, 24
_FORMAT = "{desc} {bar} {elapsed}<{remaining}{postfix}"
#: Called with the title of a trial at the end of each of its epochs.
OnEpoch: TypeAlias = Callable[[str, EpochReport], None]


class Progress:
    """Interface for reports on the progress of trials, which are named by their titles. This implementation shows nothing."""

    def start(self, trials: int, finished: int, seconds: float | None = None) -> None:
        """`trials` trials are about to run, in an estimated time of `seconds`, if known; `finished` others have finished already."""

    def epoch(self, title: str, report: EpochReport) -> None:
        """An epoch is over."""

    @property
    def epoch_elsewhere(self) -> OnEpoch | None:
        """The function that other processes call instead of `epoch`; None if they should be silent."""

    def end(self, title: str, error: str | None = None) -> None:
        """A trial is over, or failed with this error."""


#: Opens a `Progress` for the duration of a block.
Display: TypeAlias = Callable[[], AbstractContextManager[Progress]]


@contextmanager
def no_progress() -> Iterator[Progress]:
    """A display that shows nothing."""
    yield Progress()


class Lines(Progress):
    """A plain line for every trial, for every `every`-th epoch, and for the remaining time: once it is known, and then every `seconds`.

    Args:
        files: files to which other processes write their epochs.
    """

    def __init__(self, files: ProgressFiles | None = None, every: int = 50, seconds: float = 60.0) -> None:
        self.every, self.seconds = every, seconds
        self.estimate = ProgressEstimator(files)
        self._told: float | None = None
        self._clock = RepeatingTimer(self.tell)

    def start(self, trials: int, finished: int, seconds: float | None = None) -> None:
        self.estimate.start(trials, finished, seconds)
        if finished:
            left = "" if seconds is None or not trials else f", about {tqdm.format_interval(seconds)} left"
            _say(f"{finished} of {self.estimate.total} trials are finished already{left}")
        self._clock.start()

    def epoch(self, title: str, report: EpochReport) -> None:
        self.estimate.epoch(title, report)
        _EpochLines(self.every)(title, report)

    @property
    def epoch_elsewhere(self) -> OnEpoch:
        return _EpochLines(self.every, self.estimate.files)  # standard error is shared with the processes

    def end(self, title: str, error: str | None = None) -> None:
        self.estimate.end(title)
        self.estimate.update()
        ending = f"failed: {error}" if error else "finished"
        _say(f"{title}  {ending}  [{self.estimate.done}/{self.estimate.total}{self._left()}]")

    def tell(self) -> None:
        """Print the progress and the remaining time, if it is known and was not printed recently."""
        self.estimate.update()
        now = time.monotonic()
        if self.estimate.measured and self.estimate.done < self.estimate.total and (self._told is None or now - self._told >= self.seconds):
            self._told = now
            running = _longest_that_fits(self.estimate.running, "", 60)
            _say(f"{self.estimate.done}/{self.estimate.total} trials{f', {running}' if running else ''}{self._left()}")

    def close(self) -> None:
        """Stop printing."""
        self._clock.close()

    def _left(self) -> str:
        seconds = self.estimate.seconds_left() if self.estimate.done < self.estimate.total else None
        return "" if seconds is None else f", {tqdm.format_interval(seconds)} left"


@dataclass(frozen=True)
class _EpochLines:
    """Print a line for every `every`-th epoch, in whichever process the trial runs, and write each epoch to the files."""

    every: int
    files: ProgressFiles | None = None

    def __call__(self, title: str, report: EpochReport) -> None:
        if self.files is not None:
            self.files(title, report)
        if (report.epoch + 1) % self.every == 0:
            _say(f"{title}  epoch {report.epoch + 1}/{report.epochs}  {_figures(report)}")


class Bar(Progress):
    """A bar over the trials that moves with the epochs of running trials, with the elapsed and the estimated remaining time.

    Args:
        bar: tqdm's bar for a terminal or a notebook.
        seconds: interval of updates.
    """

    def __init__(self, bar: tqdm[Any], files: ProgressFiles, seconds: float = 0.5) -> None:
        self.bar, self.files = bar, files
        self.estimate = ProgressEstimator(files)
        self.figures = ""
        self._lock = threading.Lock()
        self._clock = RepeatingTimer(self.show, seconds)

    def start(self, trials: int, finished: int, seconds: float | None = None) -> None:
        self.estimate.start(trials, finished, seconds)
        self.bar.reset(total=self.estimate.total)
        self.bar.n = self.bar.initial = finished
        self.show()
        self._clock.start()

    def epoch(self, title: str, report: EpochReport) -> None:
        self.estimate.epoch(title, report)
        self.figures = _figures(report)

    @property
    def epoch_elsewhere(self) -> ProgressFiles:
        return self.files

    def end(self, title: str, error: str | None = None) -> None:
        if error:
            self.bar.write(terminal_text(f"{title} failed: {error}"), file=self.bar.fp)
        self.estimate.end(title)
        self.show()

    def close(self) -> None:
        """Stop the clock."""
        self._clock.close()
        self.show()

    def show(self) -> None:
        """Draw the bar in its current state."""
        with self._lock:
            self.estimate.update()
            self.bar.n = self.estimate.fractional_done if self.bar.total else 0
            seconds = self.estimate.seconds_left()
            left = "?" if seconds is None else f"{'' if self.estimate.measured else '~'}{tqdm.format_interval(seconds)}"
            self.bar.bar_format = _FORMAT.replace("{remaining}", left)
            width, count = self._width(), f"{self.estimate.done}/{self.bar.total}"
            self.bar.set_description_str(f"{count} trials" if width >= _WIDE else count, refresh=False)
            self.bar.set_postfix_str(
                _longest_that_fits(self.estimate.running, self.figures, width - _TAKEN - len(self.bar.desc)), refresh=False
            )
        self.bar.refresh()

    def _width(self) -> int:
        return int(self.bar.format_dict["ncols"] or 80)  # a notebook does not say


@contextmanager
def display() -> Iterator[Progress]:
    """The progress display that fits standard error or a notebook, for the duration of a block."""
    with temporary_folder() as folder, ExitStack() as stack:
        files = ProgressFiles(Path(folder))
        shown = Bar(stack.enter_context(make_bar(bar_format=_FORMAT)), files) if shows_bars() else Lines(files)
        try:
            yield shown
        finally:
            shown.close()


def _longest_that_fits(running: Sequence[tuple[int, int]], figures: str, room: int) -> str:
    """The most informative text about running trials that fits into `room` characters."""
    if not running:
        return ""
    first = "{}/{}".format(*running[0])
    choices = [f"epoch {first}", first]
    if len(running) > 1:
        choices.insert(0, "epochs " + ", ".join(f"{epoch}/{epochs}" for epoch, epochs in running))
        if len(totals := {epochs for _, epochs in running}) == 1:
            choices.insert(0, f"epochs {', '.join(str(epoch) for epoch, _ in running)} of {max(totals)}")
    elif figures:
        choices.insert(0, f"epoch {first}  {terminal_text(figures)}")
    return next((text for text in choices if len(text) <= room), "")


def _figures(report: EpochReport) -> str:
    val = " ".join(f"{member} {value:.3f}" for member, value in report.val.items())
    return f"loss {report.loss:.3f}  val {val}"


def _say(line: str) -> None:
    print(terminal_text(line), file=TolerantStream(sys.stderr), flush=True)
