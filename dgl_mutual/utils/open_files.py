"""The limit on the files that a process may have open at a time."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from dgl_mutual.utils.error_causes import causes

#: Files that are open beside those that are counted: libraries, tables, temporary files.
RESERVE = 32
#: Open files that each training process needs in the process that started it.
OF_A_JOB = 8
#: A limit that suffices for most uses.
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
        with suppress(OSError, ValueError):  # a system may have a lower limit than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, resource.RLIM_INFINITY if hard is None else hard))


def more_files(number: int = _MANY) -> str:
    """How to raise the limit on open files to `number`, as a sentence."""
    soft, hard = _limits() or (None, None)
    if hard is not None and hard < number:
        return f"The system lets a process have {hard} files open at a time ('ulimit -Hn'): start this where it lets one have {number}."
    now = "" if soft is None else f"A process may have {soft} files open at a time here. "
    return f"{now}Allow it more: ulimit -n {number}"


def too_many_open(error: BaseException) -> str | None:
    """What helps where an error is, or comes from, too many files being open; None for any other error."""
    for cause in causes(error):
        number = cause.errno if isinstance(cause, OSError) else None
        if number == errno.ENFILE:
            return "All programs together have too many files open: close some of them."
        # Of a compiled library that is imported there is only the text.
        if number == errno.EMFILE or (isinstance(cause, ImportError) and os.strerror(errno.EMFILE) in str(cause)):
            return f"Do less at a time, with fewer runs or fewer --jobs. {more_files()}"
    return None


def _limits() -> tuple[int | None, int | None] | None:
    """The soft and the hard limit on open files, each None where unlimited; None where the system has no such limits, as Windows."""
    try:
        import resource
    except ImportError:
        return None
    soft, hard = (None if limit == resource.RLIM_INFINITY else limit for limit in resource.getrlimit(resource.RLIMIT_NOFILE))
    return soft, hard


def _num_open() -> int:
    """How many files this process has open; 0 where the system does not tell."""
    with suppress(OSError):
        return len(os.listdir("/dev/fd"))
    return 0
