"""Progress of trials and estimated remaining time."""

from __future__ import annotations

import hashlib
import os
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dgl_mutual.training.history import EpochReport

#: Entry of a trial in a file: digest of its title, number of finished epochs, and maximum number of epochs.
_ENTRY = struct.Struct("=16sqq")


class ProgressFiles:
    """Progress of trials in other processes of this machine: one small file per process, rewritten after each epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, title: str, report: EpochReport) -> None:
        """Write a report in place of the last one of this process."""
        with suppress(OSError):  # a display is no reason to fail
            (self.folder / str(os.getpid())).write_bytes(_ENTRY.pack(_digest(title), report.epoch + 1, report.epochs))

    def read(self) -> dict[bytes, tuple[int, int]]:
        """Digest of a trial's title -> (finished epochs, maximum number of epochs)."""
        progress = {}
        with suppress(OSError):  # the folder of temporary files may be cleared
            for file in self.folder.iterdir():
                content = file.read_bytes()
                if len(content) == _ENTRY.size:  # else it is being written
                    trial, epoch, epochs = _ENTRY.unpack(content)
                    progress[trial] = (epoch, epochs)
        return progress


class ProgressEstimator:
    """Counts trials and epochs of running trials, and estimates the remaining time from their speed.

    The speed is measured from the first reported epoch on, since earlier work, such as the start of processes, is only done once.

    Attributes:
        done: number of ended trials.
        fractional_done: `done` plus the finished fractions of running trials.
        running: (finished epochs, maximum number of epochs) of each running trial.
    """

    def __init__(self, files: ProgressFiles | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.files = files
        self.total = self.initial = self.done = 0
        self.fractional_done = 0.0
        self.running: list[tuple[int, int]] = []
        self._clock = clock
        self._expected: float | None = None
        self._epochs: dict[bytes, tuple[int, int]] = {}
        self._ended: set[bytes] = set()
        self._started = 0.0
        #: (time, fractional_done) of the first and of the last progress.
        self._first: tuple[float, float] | None = None
        self._last = (0.0, 0.0)
        self._lock = threading.Lock()

    def start(self, trials: int, finished: int, seconds: float | None = None) -> None:
        """See `Progress.start`."""
        self.total, self.initial, self.done, self.fractional_done = finished + trials, finished, finished, float(finished)
        self._expected, self._started = seconds, self._clock()
        self._last = (self._started, self.fractional_done)

    def epoch(self, title: str, report: EpochReport) -> None:
        """An epoch is over in this process."""
        with self._lock:
            self._epochs[_digest(title)] = (report.epoch + 1, report.epochs)

    def end(self, title: str) -> None:
        """A trial is over, or failed."""
        with self._lock:
            self.done += 1
            self._ended.add(_digest(title))

    def update(self) -> None:
        """Read the reports of other processes."""
        with self._lock:
            if self.files is not None:
                self._epochs.update(self.files.read())
            self.running = [entry for trial, entry in self._epochs.items() if trial not in self._ended]
            part = sum(min(1.0, epoch / epochs) for epoch, epochs in self.running)
            # Progress never decreases, even if a trial ends early or another one takes its place.
            reached = max(self.fractional_done, min(self.done + part, self.total))
            if reached > self.fractional_done:
                self.fractional_done, self._last = reached, (self._clock(), reached)
                self._first = self._first or self._last

    @property
    def measured(self) -> bool:
        """Whether the remaining time is estimated from measured epochs."""
        return self._first is not None and self._first != self._last

    def seconds_left(self) -> float | None:
        """Estimated remaining seconds as of the last update; None if nothing is known yet."""
        now = self._clock()
        (begin, from_here), (end, reached) = self._first or self._last, self._last
        if not self.measured:
            begin, from_here = self._started, float(self.initial)
            if reached <= from_here or self._epochs:  # most of the time before a first report is spent only once
                return None if self._expected is None else max(0.0, self._expected - (now - begin))
        speed = (reached - from_here) / max(end - begin, 1e-9)
        return max(0.0, (self.total - reached) / speed - (now - end))


def _digest(title: str) -> bytes:
    return hashlib.sha256(title.encode(errors="surrogatepass")).digest()[:16]
