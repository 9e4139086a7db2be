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

if TYPE_CHECKING:
    from dgl_mutual.training.callbacks import Callback

#: Polling interval for the death of the parent process, in seconds: far less than a resumed run needs to start.
INTERVAL = 0.2


def end_with(parent: int) -> None:
    """Have this process end as soon as `parent` is no longer its parent.

    Without it, the processes of a killed run would train on, and write into a folder that another process may hold by then. Such a process
    does nothing else, so it counts as the command line's own. It is the first thing that a process does: it may be killed before it has
    anything to train.
    """
    own_process()
    ignore_interrupts()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(INTERVAL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def begin_work(parent: int, of_parent: Surroundings) -> None:
    """What a worker process does first: it ends with its parent, and shows warnings as one line, since no line of them is the user's."""
    end_with(parent)
    take_over(*of_parent)
    warnings.formatwarning = lambda message, *_, **__: f"Warning: {terminal_text(str(message))}\n"


def process_apart() -> ProcessPoolExecutor:
    """An executor with one fresh process, which is started, and imports from where this one does (see `same_path`)."""
    of_parent = surroundings()
    with same_path():
        pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), take_over, of_parent)
        pool.submit(os.getpid)  # the first call starts it
    return pool


@contextmanager
def spared_from_interrupts() -> Iterator[None]:
    """Processes that are started within are spared from Ctrl-C, which a terminal sends to all: who started them ends them.

    What arrives meanwhile is delivered afterwards.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # before: when it starts, it lets interrupts through to the processes that follow
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


#: Whether this process belongs to the command line, or works for one that does.
_owned = False


def own_process() -> None:
    """Mark this process as the command line's own: no other code runs in it, so it may be tuned for training."""
    global _owned
    _owned = True


def ignore_interrupts() -> None:
    """From now on nothing comes of Ctrl-C, if this process is the command line's own: it ends anyway, or another ends it."""
    if _owned and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def freed_memory() -> Iterator[list[Callback]]:
    """Callbacks that keep freed memory with this process for the length of a block (see `FreedMemory`), if it is the command line's own."""
    if not _owned:
        yield []
        return
    from dgl_mutual.training.memory import FreedMemory

    with FreedMemory() as freed:
        yield [freed]
