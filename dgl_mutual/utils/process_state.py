"""What all threads of a process share, such as global random streams: code that sets it for a while is run by one thread at a time."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_turn = threading.RLock()


@contextmanager
def alone() -> Iterator[None]:
    """Within the block no other thread is in such a block. A thread that is in one may enter another.

    Keep blocks short: code within one must not wait for another thread, which may wait for its own turn.
    """
    with _turn:
        yield


def _renew() -> None:
    """A forked process has one thread: that which held the lock may not be there to release it."""
    global _turn
    _turn = threading.RLock()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_renew)
