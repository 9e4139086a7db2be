from __future__ import annotations

import errno
import fcntl
import io
import os
import pty
import struct
import sys
import termios
import time
import warnings
from collections.abc import Iterator
from typing import TextIO

import pytest
import tqdm.std

from dgl_mutual.utils.display import RepeatingTimer, make_bar, screen


@pytest.fixture
def terminal() -> Iterator[TextIO]:
    """A terminal of unknown size, as in a container."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as stream:
        yield stream
    os.close(ours)


def resize(stream: TextIO, columns: int, lines: int) -> None:
    fcntl.ioctl(stream.fileno(), termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


def test_the_width_is_from_the_environment_the_terminal_or_80(terminal: TextIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert screen(terminal) == screen(io.StringIO()) == (79, 23)
    resize(terminal, 50, 0)
    assert screen(terminal) == (49, 23)
    monkeypatch.setenv("COLUMNS", "40")
    assert screen(terminal) == (39, 23)
    for wrong in ("0", "", "wide", "-1", "9" * 50):
        monkeypatch.setenv("COLUMNS", wrong)
        assert screen(terminal) == (49, 23)


def test_a_bar_is_shown_on_a_terminal_that_does_not_know_its_size(terminal: TextIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr("sys.stderr", terminal)
    with make_bar(total=4) as bar:
        bar.update(2)
        assert len(str(bar)) == 79 and "2/4" in str(bar)
        resize(terminal, 50, 20)
        assert len(str(bar)) == 49


def test_a_notebook_without_widgets_has_a_bar_of_text_and_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dgl_mutual.utils.display.in_notebook", lambda: True)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    monkeypatch.delitem(sys.modules, "tqdm.auto", raising=False)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    with warnings.catch_warnings(), make_bar(total=4) as bar:
        warnings.simplefilter("error")
        assert type(bar) is tqdm.std.tqdm
        assert "tqdm.auto" not in sys.modules


def test_a_clock_calls_until_it_is_closed() -> None:
    calls: list[float] = []
    clock = RepeatingTimer(lambda: calls.append(time.monotonic()), seconds=0.001)
    clock.start()
    while len(calls) < 3:
        time.sleep(0.001)
    clock.close()
    clock.close()
    seen = len(calls)
    time.sleep(0.01)
    assert len(calls) == seen
    RepeatingTimer(lambda: None).close()  # was never started


class Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("stream", [None, Full()])
def test_a_bar_that_cannot_be_shown_ends_no_training(monkeypatch: pytest.MonkeyPatch, stream: TextIO | None) -> None:
    """As with `2>&-`, or on a full disk."""
    monkeypatch.setattr("sys.stderr", stream)
    with make_bar(total=4, mininterval=0) as bar:
        bar.update(2)
        bar.refresh()
        assert bar.n == 2
