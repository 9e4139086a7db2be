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

#: What a process leaves of a trial: a digest of its title, epochs that are over, and how many there will be at most.
_ENTRY = struct.Struct("=16sqq")


class ProgressFiles:
    """Where trials in other processes of this machine leave how far they are: a small file a process, written again after each epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, title: str, report: EpochReport) -> None:
        """Leave a report; the last one of a process stands."""
        with suppress(OSError):  # a display is no reason to fail
            (self.folder / str(os.getpid())).write_bytes(_ENTRY.pack(_digest(title), report.epoch + 1, report.epochs))

    def read(self) -> dict[bytes, tuple[int, int]]:
        """Digest of a trial -> how many of how many epochs are over."""
        found = {}
        with suppress(OSError):  # something clears folders of temporary files
            for file in self.folder.iterdir():
                content = file.read_bytes()
                if len(content) == _ENTRY.size:  # else it is being written
                    trial, epoch, epochs = _ENTRY.unpack(content)
                    found[trial] = (epoch, epochs)
        return found


class ProgressEstimator:
    """Counts trials and the epochs of those that run, and estimates the time that is left from their speed.

    The speed is measured from the first report of an epoch on: what comes before it, such as the start of processes, comes once.

    Attributes:
        done: trials that are over.
        fractional_done: the same, with the parts of those that run.
        running: epochs that are over, of how many, of each trial that runs.
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
        #: When something moved for the first and for the last time, and how far all was then.
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
        """Take in what other processes have reported."""
        with self._lock:
            if self.files is not None:
                self._epochs.update(self.files.read())
            self.running = [entry for trial, entry in self._epochs.items() if trial not in self._ended]
            part = sum(min(1.0, epoch / epochs) for epoch, epochs in self.running)
            # What a trial has reached is not lost when it ends early, or when another takes its place.
            reached = max(self.fractional_done, min(self.done + part, self.total))
            if reached > self.fractional_done:
                self.fractional_done, self._last = reached, (self._clock(), reached)
                self._first = self._first or self._last

    @property
    def measured(self) -> bool:
        """Whether the time left follows from the speed of epochs, and not from less."""
        return self._first is not None and self._first != self._last

    def seconds_left(self) -> float | None:
        """Seconds that the rest should take, as of the last update; None before anything is known."""
        now = self._clock()
        (begin, from_here), (end, reached) = self._first or self._last, self._last
        if not self.measured:
            begin, from_here = self._started, float(self.initial)
            if reached <= from_here or self._epochs:  # of what came before a first report, most comes once
                return None if self._expected is None else max(0.0, self._expected - (now - begin))
        speed = (reached - from_here) / max(end - begin, 1e-9)
        return max(0.0, (self.total - reached) / speed - (now - end))


def _digest(title: str) -> bytes:
    return hashlib.sha256(title.encode(errors="surrogatepass")).digest()[:16]
