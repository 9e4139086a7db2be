"""Warnings that point to the user's line, not to one of this package."""

from __future__ import annotations

import sys
import warnings
from types import FrameType

from dgl_mutual.utils.custom_code import is_custom_file


def warn(message: str) -> None:
    """Issue a `UserWarning` at the user's line that led to it (see `level_of_caller`)."""
    warnings.warn(message, stacklevel=level_of_caller())


def level_of_caller() -> int:
    """Return the `stacklevel` with which the calling function can warn at the user's line that led to it.

    This is the innermost line that is neither in this package nor in a library. Without such a line, as in a worker process, it is the
    line that called that function.
    """
    frame: FrameType | None = sys._getframe(1)
    level = 1
    while frame is not None:
        if is_custom_file(frame.f_code.co_filename) or _is_typed(frame):
            return level
        frame, level = frame.f_back, level + 1
    return 2


def _is_typed(frame: FrameType) -> bool:
    """Whether a frame belongs to code without a file, typed at Python's prompt or passed with -c."""
    return frame.f_globals.get("__name__") == "__main__" and frame.f_code.co_filename.startswith("<")
