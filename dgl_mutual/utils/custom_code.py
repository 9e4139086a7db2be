"""Custom code of users and other packages: its detection, and error messages for its exceptions, with the line that raised them."""

from __future__ import annotations

import inspect
import linecache
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dgl_mutual.errors import DglMutualError, UsageError
from dgl_mutual.utils.error_causes import is_interrupt, is_out_of_memory

_LIBRARY = sysconfig.get_paths()["stdlib"]
_PACKAGE = f"{Path(__file__).parents[1]}{os.sep}"
#: Folders of installed packages; the second is that of Debian's Python.
_INSTALLED = ("site-packages", "dist-packages")
#: Top-level names of modules that were imported by import path, or for an entry point of an installed package.
NAMED: set[str] = set()


def is_custom(value: Any) -> bool:
    """Whether an object's class, or a class or function itself, is from outside this package."""
    module = getattr(value, "__module__", None) or type(value).__module__
    return str(module).partition(".")[0] != "dgl_mutual"


def is_of_user(kind: type) -> bool:
    """Whether a class comes from a user's module, prompt or notebook, or from an installed package in `NAMED`."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return is_custom_file(file) if isinstance(file, str) else kind.__module__ == "__main__"


def is_custom_file(file: str) -> bool:
    """Whether a source file belongs neither to this package nor to a library outside of `NAMED`."""
    # Compiled code has a relative source path, or one of the machine that compiled it. Cells of a notebook have lines to show.
    if file.startswith(("<", _PACKAGE)) or not Path(file).is_absolute() or not linecache.getlines(file):
        return False
    parts = Path(file).parts
    installed = [index for index, part in enumerate(parts[:-1]) if part in _INSTALLED]
    return parts[installed[-1] + 1].removesuffix(".py") in NAMED if installed else not file.startswith(_LIBRARY)


def refuse_other_arguments(method: Callable[..., Any], what: str, arguments: Sequence[str]) -> None:
    """Refuse a method that cannot be called with these arguments.

    Args:
        what: its name in messages, for example ``on_epoch_end of the callback Mine``.

    Raises:
        UsageError: it cannot.
    """
    signature = inspect.signature(method)
    try:
        signature.bind(*arguments)
    except TypeError:
        raise UsageError(f"The method {what} takes {signature}. It is called with ({', '.join(arguments)}).") from None


@contextmanager
def errors_attributed_to(what: str, code: Any = None, failure: str = "raised an error") -> Iterator[None]:
    """Turn an exception within the block into a `UsageError` that names `what`.

    Args:
        what: the beginning of the message, for example ``The strategy 'mine'``.
        code: the object whose code runs. Exceptions of this package's own objects are not changed.
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
        if is_out_of_memory(error) or (code is not None and not is_custom(code)):
            raise
        raise UsageError(f"{what} {failure}: {described(error)}") from error


def described(error: BaseException) -> str:
    """``TypeError: message (file, line n).``, with the last line of custom code, if there is one."""
    place = custom_place(error)
    message = " ".join(str(error).partition("Exception raised from")[0].split())  # torch appends frames of C++
    return f"{type(error).__name__}{f': {message}' if message else ''}{f' ({place})' if place else ''}."


def custom_place(error: BaseException) -> str | None:
    """``file, line n`` of the last line that is neither in this package nor in a library; None if there is none."""
    custom = [frame for frame in traceback.extract_tb(error.__traceback__) if is_custom_file(frame.filename)]
    return f"{custom[-1].filename}, line {custom[-1].lineno}" if custom else None


def raised_in(error: BaseException, package: str) -> bool:
    """Whether an installed package raised an error."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and package in Path(frames[-1].filename).parts
