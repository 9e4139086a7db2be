"""Worker processes that train trials and end with their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING

from dgl_mutual.utils.python_processes import Surroundings, same_path, surroundings, take_over
from dgl_mutual.utils.safe_text import terminal_text
from dgl_mutual.utils.standard_streams import streams_opened

if TYPE_CHECKING:
    from dgl_mutual.training.callbacks import Callback

#: Polling interval for the death of the parent process, in seconds: far less than a resumed run needs to start.
INTERVAL = 0.2


def end_with(parent: int) -> None:
    """End this worker process as soon as `parent` is no longer its parent.

    Otherwise the workers of a killed run would train on, and write into a folder that another process may have locked by then. Call it
    first: the parent may be killed before there is anything to train.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(INTERVAL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def begin_work(parent: int, of_parent: Surroundings) -> None:
    """Initialise a worker process: it ends with its parent, and shows warnings without their source lines, which are not the user's.

    It runs nothing else, so it counts as the command line's own.
    """
    own_process()
    ignore_interrupts()
    end_with(parent)
    take_over(*of_parent)
    warnings.formatwarning = lambda message, *_, **__: f"Warning: {terminal_text(str(message))}\n"


def begin_apart(parent: int, of_parent: Surroundings) -> None:
    """Initialise a process of `process_apart`."""
    end_with(parent)
    take_over(*of_parent)


def process_apart() -> ProcessPoolExecutor:
    """An executor with one new, started process, which ends with this one and imports from the same path (see `same_path`)."""
    of_parent = surroundings()
    with same_path(), streams_opened():
        pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), begin_apart, (os.getpid(), of_parent))
        pool.submit(os.getpid)  # the first call starts it
    return pool


@contextmanager
def spared_from_interrupts() -> Iterator[None]:
    """Protect processes that are started in the block from Ctrl-C, which a terminal sends to all processes: their parent ends them.

    An interrupt that arrives meanwhile is delivered afterwards.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # first: its start would unblock interrupts for the processes that follow
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


#: Whether this process belongs to the command line, or works for one that does.
_owned = False


def own_process() -> None:
    """Mark this process as the command line's own: no other code runs in it, so its settings may be tuned for training."""
    global _owned
    _owned = True


def ignore_interrupts() -> None:
    """Ignore Ctrl-C from now on, if this process is the command line's own: it is ending, or its parent ends it."""
    if _owned and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def freed_memory() -> Iterator[list[Callback]]:
    """Callbacks that keep freed memory in this process during the block (see `FreedMemory`); none if it is not the command line's own."""
    if not _owned:
        yield []
        return
    from dgl_mutual.training.memory import FreedMemory

    with FreedMemory() as freed:
        yield [freed]
