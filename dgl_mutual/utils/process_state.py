"""A lock for state that all threads of a process share, such as global random streams: one thread at a time may change it temporarily."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_turn = threading.RLock()


@contextmanager
def alone() -> Iterator[None]:
    """Run the block while no other thread is in such a block. Blocks of the same thread can be nested.

    Keep blocks short: code within one must not wait for another thread, which may itself wait for the lock.
    """
    with _turn:
        yield


def _renew() -> None:
    """Replace the lock in a forked process, which has one thread: the thread that held the lock may not exist there."""
    global _turn
    _turn = threading.RLock()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_renew)
