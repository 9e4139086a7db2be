"""Processes that train trials for another one, and end with it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

#: Seconds in which an orphan notices: far less than whoever resumes needs to start.
INTERVAL = 0.2


@cache
def end_with(parent: int) -> None:
    """Have this process end as soon as `parent` is no longer its parent.

    Without it, the processes of a killed run would train on, and write into a folder that somebody else may hold by then.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(INTERVAL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def spared_from_interrupts() -> Iterator[None]:
    """Processes that are started within do not hear Ctrl-C, which a terminal sends to all: only who started them does, and ends them.

    What arrives meanwhile is heard afterwards.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
