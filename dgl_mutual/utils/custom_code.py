"""Custom code of users or other packages: how it is recognised, and messages for its exceptions, with the line that raised them."""

from __future__ import annotations

import inspect
import linecache
import os
import re
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from dgl_mutual.errors import DglMutualError, TrainingError, UsageError

_LIBRARY = sysconfig.get_paths()["stdlib"]
_PACKAGE = f"{Path(__file__).parents[1]}{os.sep}"
#: Folders of installed packages; the second is that of Debian's Python.
_INSTALLED = ("site-packages", "dist-packages")
#: Top-level names of modules that were imported because a user, or an installed package, named them.
NAMED: set[str] = set()
_LESS_MEMORY = "Train smaller students, smaller batches, or with fewer unlabelled samples (--unlabelled-ratio), or run fewer --jobs."


def is_custom(value: Any) -> bool:
    """Whether an object's class, or a class or function itself, is from outside this package."""
    module = getattr(value, "__module__", None) or type(value).__module__
    return str(module).partition(".")[0] != "dgl_mutual"


def is_of_user(kind: type) -> bool:
    """Whether a class is of a module that a user wrote, also at a prompt or in a notebook, or of an installed package that was named."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return _is_custom_file(file) if isinstance(file, str) else kind.__module__ == "__main__"


def level_of_caller() -> int:
    """The `stacklevel` with which the function that calls this one warns of the user's line that led to it.

    This is the innermost line that is neither in this package nor in a library. In a process that has none, as a worker, it is the
    line that called that function.
    """
    frame: FrameType | None = sys._getframe(1)
    level = 1
    while frame is not None:
        if _is_custom_file(frame.f_code.co_filename) or _is_typed(frame):
            return level
        frame, level = frame.f_back, level + 1
    return 2


def refuse_other_arguments(method: Callable[..., Any], what: str, arguments: Sequence[str]) -> None:
    """Refuse a method that does not take these arguments.

    Args:
        what: its name in messages, for example ``on_epoch_end of the callback Mine``.

    Raises:
        UsageError: it does not.
    """
    taken = inspect.signature(method)
    try:
        taken.bind(*arguments)
    except TypeError:
        raise UsageError(f"The method {what} takes {taken}. It is called with ({', '.join(arguments)}).") from None


@contextmanager
def blamed(what: str, on: Any = None, failure: str = "raised an error") -> Iterator[None]:
    """Turn an exception within the block into a `UsageError` that names `what`.

    Args:
        what: the beginning of the message, for example ``The strategy 'mine'``.
        on: the object whose code runs. If it is of this package, the exception is not changed.
        failure: the continuation of the message.

    Raises:
        UsageError: for any exception other than the package's own, lack of memory and a keyboard interrupt.
        KeyboardInterrupt: it caused the exception (see `is_interrupt`).
    """
    try:
        yield
    except DglMutualError:
        raise
    except (Exception, SystemExit) as error:
        if is_interrupt(error):
            raise KeyboardInterrupt from error
        if is_out_of_memory(error) or (on is not None and not is_custom(on)):
            raise
        raise UsageError(f"{what} {failure}: {described(error)}") from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that there is not enough memory, or that a size is too large. Torch has no such class for the CPU."""
    messages = (
        *("can't allocate memory", "not enough memory", "Storage size calculation overflowed", "numel: integer multiplication overflow"),
        *("Overflow when unpacking long", "int too large to convert", "Cannot allocate memory", "failed to map segment"),
    )
    torch = sys.modules.get("torch")  # if it is not loaded, it has not raised the error
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.cuda.OutOfMemoryError)):
        return True
    # Where a compiled library does not fit into memory, it cannot be imported.
    kinds = RuntimeError | ValueError | OverflowError | ImportError | OSError
    return isinstance(error, kinds) and any(text in str(error) for text in messages)


def not_enough_memory(error: BaseException, hint: str = _LESS_MEMORY) -> str:
    """The message for an out-of-memory error: the requested size, if torch reports it, and `hint`."""
    asked = re.search(r"allocate (\d+) bytes|Tried to allocate ([\d.]+ \w+)", str(error))
    size = "" if asked is None else f" ({f'{int(asked[1]) / 2**30:.1f} GiB' if asked[1] else asked[2]} at once)"
    return f"There is not enough memory for this{size}. {hint}"


@contextmanager
def memory_checked(hint: str) -> Iterator[None]:
    """Turn an out-of-memory error of a training into one of the package.

    Raises:
        TrainingError: with `hint` (see `not_enough_memory`).
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(not_enough_memory(error, hint)) from error


def described(error: BaseException) -> str:
    """``TypeError: message (file, line n).``, with the last line of custom code, if there is one."""
    place = custom_place(error)
    message = " ".join(str(error).partition("Exception raised from")[0].split())  # torch goes on with frames of C++
    return f"{type(error).__name__}{f': {message}' if message else ''}{f' ({place})' if place else ''}."


def custom_place(error: BaseException) -> str | None:
    """``file, line n`` of the last line that is neither in this package nor in a library; None if there is none."""
    custom = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_custom_file(frame.filename)]
    return f"{custom[-1].filename}, line {custom[-1].lineno}" if custom else None


def raised_in(error: BaseException, package: str) -> bool:
    """Whether a line of an installed package has raised an error."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and package in Path(frames[-1].filename).parts


def _is_typed(frame: FrameType) -> bool:
    """Whether a frame is of code that was typed at the prompt of Python, or given with -c: it has no file."""
    return frame.f_globals.get("__name__") == "__main__" and frame.f_code.co_filename.startswith("<")


def _is_custom_file(file: str) -> bool:
    # Compiled code names its source by a relative path, or by one on the machine that compiled it; cells of a notebook have lines to show.
    if file.startswith(("<", _PACKAGE)) or not Path(file).is_absolute() or not linecache.getlines(file):
        return False
    parts = Path(file).parts
    installed = [index for index, part in enumerate(parts[:-1]) if part in _INSTALLED]
    return parts[installed[-1] + 1].removesuffix(".py") in NAMED if installed else not file.startswith(_LIBRARY)


def warn(message: str) -> None:
    """Issue a `UserWarning` at the user's line that led to it (see `level_of_caller`)."""
    warnings.warn(message, stacklevel=level_of_caller())


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, and those that it was raised from or in the handling of, as a traceback shows them: the last one came first."""
    seen: list[BaseException] = []
    caused: BaseException | None = error
    while caused is not None and all(caused is not before for before in seen):
        yield caused
        seen.append(caused)
        caused = caused.__cause__ or (None if caused.__suppress_context__ else caused.__context__)


def is_interrupt(error: BaseException) -> bool:
    """Whether a keyboard interrupt, or a signal that ends a command, caused an error.

    Before Python 3.12 a class that is being made, as in an import, turns whatever a `__set_name__` raises into a RuntimeError.
    """
    return any(isinstance(cause, KeyboardInterrupt) for cause in causes(error))
