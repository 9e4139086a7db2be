"""Causes of errors: lack of memory, or an interrupt."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from dgl_mutual.errors import TrainingError

_LESS_MEMORY = "Train smaller students, smaller batches, or with fewer unlabelled samples (--unlabelled-ratio), or run fewer --jobs."
#: Python's message where a new thread gets no memory for its stack, or would exceed a limit on processes.
_NO_THREAD = "can't start new thread"


def causes(error: BaseException) -> Iterator[BaseException]:
    """Iterate over an error and the chain of its causes and contexts, as in a traceback: the original error comes last."""
    seen: list[BaseException] = []
    caused: BaseException | None = error
    while caused is not None and all(caused is not before for before in seen):
        yield caused
        seen.append(caused)
        caused = caused.__cause__ or (None if caused.__suppress_context__ else caused.__context__)


def is_interrupt(error: BaseException) -> bool:
    """Whether a keyboard interrupt, or a signal that ends a command, caused an error.

    Before Python 3.12, the creation of a class, as in an import, turns any error in a `__set_name__` into a RuntimeError.
    """
    return any(isinstance(cause, KeyboardInterrupt) for cause in causes(error))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means a lack of memory, or too large a size. Torch has no class of its own for this on the CPU."""
    messages = (
        *("can't allocate memory", "not enough memory", "Storage size calculation overflowed", "numel: integer multiplication overflow"),
        *("Overflow when unpacking long", "int too large to convert", "Cannot allocate memory", "failed to map segment", _NO_THREAD),
    )
    torch = sys.modules.get("torch")  # if it is not loaded, it has not raised the error
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.cuda.OutOfMemoryError)):
        return True
    # A compiled library that does not fit into memory fails to import.
    kinds = RuntimeError | ValueError | OverflowError | ImportError | OSError
    return isinstance(error, kinds) and any(text in str(error) for text in messages)


def not_enough_memory(error: BaseException, hint: str = _LESS_MEMORY) -> str:
    """The message for an out-of-memory error: the requested size, if torch reports it, and `hint`."""
    if _NO_THREAD in str(error):
        return f"The system refuses another thread, for lack of memory or since a limit on processes is reached. {hint}"
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
