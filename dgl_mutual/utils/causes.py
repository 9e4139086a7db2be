"""What caused an error."""

from __future__ import annotations

from collections.abc import Iterator


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
