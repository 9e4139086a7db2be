"""Progress bars: terminal detection, width and periodic refresh."""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from tqdm import tqdm


def shows_bars() -> bool:
    """Whether standard error is a terminal, or this is a notebook."""
    return in_notebook() or (sys.stderr is not None and sys.stderr.isatty())


def in_notebook() -> bool:
    """Whether this is a notebook, or another client of a Jupyter kernel."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return "IPKernelApp" in getattr(shell, "config", {})


def screen(stream: TextIO) -> tuple[int, int]:
    """Number of columns and lines for a bar, as tqdm counts them: one less than those of the terminal.

    The environment variable COLUMNS takes precedence, as in `shutil.get_terminal_size`. A terminal of unknown size, as in a container or a
    recording, counts as 80 by 24: tqdm would show nothing there.
    """
    try:
        columns, lines = os.get_terminal_size(stream.fileno())
    except (AttributeError, ValueError, OSError):
        columns = lines = 0
    override = os.environ.get("COLUMNS", "")
    columns = (int(override) if override.isascii() and override.isdecimal() and len(override) < 6 else 0) or columns
    return (columns or 80) - 1, (lines or 24) - 1


class TolerantStream:
    """A stream, or None, that ignores write errors: a broken display must not end a training."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        if self._stream is not None:
            with suppress(OSError):
                self._stream.write(text)

    def flush(self) -> None:
        if self._stream is not None:
            with suppress(OSError):
                self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def make_bar(**options: Any) -> tqdm[Any]:
    """Make a tqdm bar, on standard error or in a notebook, that follows the width of the terminal."""
    if in_notebook() and importlib.util.find_spec("ipywidgets") is None:  # tqdm.auto would warn
        from tqdm.std import tqdm
    else:
        from tqdm.auto import tqdm

    if in_notebook():
        return tqdm(file=sys.stderr, **options)
    stream = TolerantStream(sys.stderr)
    if not shows_bars():
        return tqdm(file=stream, **options)
    ncols, nrows = screen(sys.stderr)
    bar: tqdm[Any] = tqdm(file=stream, ncols=ncols, nrows=nrows, **options)
    vars(bar)["dynamic_ncols"] = screen  # tqdm calls it at each refresh
    return bar


class RepeatingTimer:
    """Calls a function every `seconds` in a separate thread, until it is closed."""

    def __init__(self, call: Callable[[], object], seconds: float = 0.5) -> None:
        self._call, self._seconds = call, seconds
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="dgl_mutual clock", daemon=True)

    def start(self) -> None:
        """Start the thread; once."""
        self._thread.start()

    def close(self) -> None:
        """Stop, and wait for the last call. Closing again has no effect."""
        self._closed.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _tick(self) -> None:
        while not self._closed.wait(self._seconds):
            self._call()
