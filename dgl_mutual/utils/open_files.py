"""The limit on open files of a process."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from dgl_mutual.utils.error_causes import causes

#: Open files that are not counted: libraries, tables, temporary files.
RESERVE = 32
#: Open files that a process needs for each training process that it starts.
OF_A_JOB = 8
#: A limit that is enough for most uses.
_MANY = 4096


def make_room(number: int) -> None:
    """Raise this process's limit on open files, as far as the system allows, so that it may open `number` more."""
    limits = _limits()
    if limits is None:
        return
    import resource

    soft, hard = limits
    already = _num_open()
    if soft is not None and soft < already + number:
        raised = already + number if hard is None else min(already + number, hard)
        with suppress(OSError, ValueError):  # the actual limit may be lower than the reported one
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, resource.RLIM_INFINITY if hard is None else hard))


def more_files(number: int = _MANY) -> str:
    """How to raise the limit on open files to `number`, or to twice the current limit if that is not lower, as a sentence."""
    soft, hard = _limits() or (None, None)
    if soft is not None and soft >= number:
        number = 2 * soft
    if hard is not None and hard < number:
        return f"The system limits a process to {hard} open files ('ulimit -Hn'): run this on a system that allows {number}."
    now = "" if soft is None else f"The limit is {soft} open files per process. "
    return f"{now}Raise it: ulimit -n {number}"


def too_many_open(error: BaseException) -> str | None:
    """A hint for an error that is, or was caused by, too many open files; None for any other error."""
    for cause in causes(error):
        number = cause.errno if isinstance(cause, OSError) else None
        if number == errno.ENFILE:
            return "All programs together have too many files open: close some of them."
        # The import of a compiled library only reports the text.
        if number == errno.EMFILE or (isinstance(cause, ImportError) and os.strerror(errno.EMFILE) in str(cause)):
            return f"Do less at a time, with fewer runs or fewer --jobs. {more_files()}"
    return None


def _limits() -> tuple[int | None, int | None] | None:
    """The soft and the hard limit on open files, each None if unlimited; None if the system has no such limits, as Windows."""
    try:
        import resource
    except ImportError:
        return None
    soft, hard = (None if limit == resource.RLIM_INFINITY else limit for limit in resource.getrlimit(resource.RLIMIT_NOFILE))
    return soft, hard


def _num_open() -> int:
    """Number of open files of this process; 0 if the system does not report it."""
    with suppress(OSError):
        return len(os.listdir("/dev/fd"))
    return 0
