"""How far a run is, on standard error: a bar on a terminal or in a notebook, plain lines elsewhere. Standard output is for results."""

from __future__ import annotations

import hashlib
import os
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn, Protocol

from tqdm import tqdm

from dgl_mutual.display import shows_bars
from dgl_mutual.experiments.trial import Outcome, Trial
from dgl_mutual.safe_text import terminal_text
from dgl_mutual.training.history import EpochReport

#: What a process leaves of a trial: a digest of its title, epochs that are over, and how many there will be at most.
_ENTRY = struct.Struct("=16sqq")
#: Columns from which on the count says of what, and those that the bar, the clock and what stands between them take at least.
_WIDE, _TAKEN = 60, 24
_FORMAT = "{desc} {bar} {elapsed}<{remaining}{postfix}"


class Progress(Protocol):
    """What a run tells of itself."""

    def start(self, trials: Sequence[Trial], finished: int, seconds: float | None = None) -> None:
        """`trials` are about to run, and should take so many seconds, if that is known; `finished` others stand already."""

    def epoch(self, trial: Trial, report: EpochReport) -> None:
        """An epoch is over."""

    @property
    def remote_epoch(self) -> Callable[[Trial, EpochReport], None] | None:
        """What a process that runs a trial may call instead of `epoch`; None if it should be silent."""

    def end(self, outcome: Outcome) -> None:
        """A trial is over."""


class Silence:
    """Tells nothing."""

    def start(self, trials: Sequence[Trial], finished: int, seconds: float | None = None) -> None: ...

    def epoch(self, trial: Trial, report: EpochReport) -> None: ...

    remote_epoch = None

    def end(self, outcome: Outcome) -> None: ...


@contextmanager
def silence() -> Iterator[Progress]:
    """What `display` is to a terminal, where nothing is to be shown."""
    yield Silence()


class Lines:
    """A plain line for every trial, and for every `every`-th epoch."""

    def __init__(self, every: int = 50) -> None:
        self.every = every
        self.done = 0
        self.total = 0
        self.finished = 0
        self.started = 0.0

    def start(self, trials: Sequence[Trial], finished: int, seconds: float | None = None) -> None:
        self.finished = self.done = finished
        self.total = finished + len(trials)
        self.started = time.monotonic()
        if finished:
            left = "" if seconds is None or not trials else f", about {tqdm.format_interval(seconds)} left"
            _say(f"{finished} of {self.total} trials are finished already{left}")

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


class Board:
    """Where trials in other processes of this machine leave how far they are: a small file a process, written anew after each epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, trial: Trial, report: EpochReport) -> None:
        """Leave a report; the last one of a process stands."""
        with suppress(OSError):  # a display is no reason to fail
            (self.folder / str(os.getpid())).write_bytes(_ENTRY.pack(_digest(trial), report.epoch + 1, report.epochs))

    def read(self) -> dict[bytes, tuple[int, int]]:
        """Digest of a trial -> how many of how many epochs are over."""
        found = {}
        for file in self.folder.iterdir():
            content = file.read_bytes()
            if len(content) == _ENTRY.size:  # else it is being written
                trial, epoch, epochs = _ENTRY.unpack(content)
                found[trial] = (epoch, epochs)
        return found


class Bar:
    """A bar over the trials that moves with the epochs of those that run, with a clock and an estimate of the time that is left.

    Args:
        bar: of tqdm, for a terminal of any width or a notebook.
        seconds: between two looks at the clock and at other processes.
    """

    def __init__(self, bar: tqdm[NoReturn], board: Board, seconds: float = 0.5) -> None:
        self.bar, self.board, self.seconds = bar, board, seconds
        self.done = 0
        self.ended: set[bytes] = set()
        self.running: dict[bytes, tuple[int, int]] = {}
        self.figures = ""
        self.expected: float | None = None
        self.started = 0.0
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._clock = threading.Thread(target=self._tick, daemon=True)

    def start(self, trials: Sequence[Trial], finished: int, seconds: float | None = None) -> None:
        self.expected, self.started = seconds, time.monotonic()
        self.bar.reset(total=finished + len(trials))
        self.done = self.bar.n = self.bar.initial = finished
        self.show()
        self._clock.start()

    def epoch(self, trial: Trial, report: EpochReport) -> None:
        with self._lock:
            self.running[_digest(trial)] = (report.epoch + 1, report.epochs)
            self.figures = _figures(report)

    @property
    def remote_epoch(self) -> Board:
        return self.board

    def end(self, outcome: Outcome) -> None:
        if outcome.error:
            self.bar.write(terminal_text(f"{outcome.trial.title} failed: {outcome.error}"), file=sys.stderr)
        with self._lock:
            self.done += 1
            self.ended.add(_digest(outcome.trial))
        self.show()

    def close(self) -> None:
        """Stop the clock."""
        self._closed.set()
        if self._clock.ident is not None:
            self._clock.join()
        self.show()

    def show(self) -> None:
        """Draw the bar as things stand."""
        with self._lock:
            self.running.update(self.board.read())
            running = [entry for trial, entry in self.running.items() if trial not in self.ended]
            part = sum(min(1.0, epoch / epochs) for epoch, epochs in running)
            # What a trial has reached is not lost when it ends early, or when another takes its place.
            self.bar.n = max(self.bar.n, min(self.done + part, self.bar.total or 0)) if self.bar.total else 0
            left = "{remaining}"
            if self.expected is not None and self.bar.n <= self.bar.initial:  # nothing has moved that the rest could be told from
                left = f"~{tqdm.format_interval(max(0.0, self.expected - (time.monotonic() - self.started)))}"
            self.bar.bar_format = _FORMAT.replace("{remaining}", left)
            width, count = self._width(), f"{self.done}/{self.bar.total}"
            self.bar.set_description_str(f"{count} trials" if width >= _WIDE else count, refresh=False)
            self.bar.set_postfix_str(_fitting(running, self.figures, width - _TAKEN - len(self.bar.desc)), refresh=False)
        self.bar.refresh()

    def _width(self) -> int:
        return int(self.bar.format_dict["ncols"] or 80)  # a notebook does not say

    def _tick(self) -> None:
        while not self._closed.wait(self.seconds):
            self.show()


@contextmanager
def display() -> Iterator[Progress]:
    """The progress that fits standard error, or a notebook, for the length of a block."""
    if not shows_bars():
        yield Lines()
        return
    from tqdm.auto import tqdm as fitting_tqdm

    with (
        TemporaryDirectory(prefix="dgl-mutual-") as folder,
        fitting_tqdm(file=sys.stderr, dynamic_ncols=True, bar_format=_FORMAT) as bar,
    ):
        shown = Bar(bar, Board(Path(folder)))
        try:
            yield shown
        finally:
            shown.close()


def _digest(trial: Trial) -> bytes:
    return hashlib.sha256(trial.title.encode(errors="surrogatepass")).digest()[:16]


def _fitting(running: Sequence[tuple[int, int]], figures: str, room: int) -> str:
    """The most telling text on the running trials that has room."""
    if not running:
        return ""
    last = {epochs for _, epochs in running}
    several = [f"epochs {', '.join(str(epoch) for epoch, _ in running)} of {max(last)}"] if len(running) > 1 and len(last) == 1 else []
    first = "{}/{}".format(*running[0])
    alone = [f"epoch {first}  {terminal_text(figures)}"] if len(running) == 1 and figures else []
    each = "epochs " + ", ".join(f"{epoch}/{epochs}" for epoch, epochs in running)
    choices = [*alone, *several, *([each] if len(running) > 1 else []), f"epoch {first}", first]
    return next((text for text in choices if len(text) <= room), "")


def _figures(report: EpochReport) -> str:
    val = " ".join(f"{member} {value:.3f}" for member, value in report.val.items())
    return f"loss {report.loss:.3f}  val {val}"


def _say(line: str) -> None:
    print(terminal_text(line), file=sys.stderr, flush=True)
