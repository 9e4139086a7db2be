"""Standard streams of a process that was started without them, as by ``>&-`` or as a service."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def open_streams() -> None:
    """Open the null device in place of standard streams that are closed.

    Libraries write to the streams without a check, and the next opened file would get the descriptor of a closed stream.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free descriptor is that of the stream
    for name, mode in _STREAMS:
        stream = getattr(sys, name)
        if stream is None or getattr(stream, "closed", False):  # an object that only has write() has none
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  # it stays open


@contextmanager
def streams_opened() -> Iterator[None]:
    """As `open_streams`, for the duration of a block in another program; descriptors stay open. One thread at a time."""
    before = {name: getattr(sys, name) for name, _ in _STREAMS}
    open_streams()
    try:
        yield
    finally:
        for name, stream in before.items():
            if getattr(sys, name) is not stream:
                getattr(sys, name).close()
                setattr(sys, name, stream)
