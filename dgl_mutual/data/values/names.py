"""Validation of names of datasets, classes and feature columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from dgl_mutual.errors import DataError, shortened
from dgl_mutual.utils.safe_text import is_unicode


def check_name(name: Any) -> None:
    """Raise `DataError` for an invalid dataset name, which tables of results could not show unchanged."""
    if not isinstance(name, str) or not name or name != name.strip() or not is_unicode(name):
        raise DataError(
            f"{shortened(repr(name))} is not a valid name for a dataset: expected a non-empty string that neither starts nor ends with a "
            "space and can be written as UTF-8. Choose another name, for example 'mine'."
        )


def check_text(names: Sequence[str], what: str) -> None:
    """Raise `DataError` for a name that cannot be written to a file: a trained student could not be saved.

    Args:
        what: the named item, for example ``a class``.
    """
    for name in names:
        if isinstance(name, str) and not is_unicode(name):
            raise DataError(f"{name!r:.80}, the name of {what}, cannot be written as UTF-8. Choose another name.")


def refuse_duplicate_names(names: Sequence[str]) -> None:
    """Raise `DataError` for a name that two feature columns share, or that cannot be saved: a saved student finds columns by name."""
    check_text(names, "a feature column")
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(
            f"Several feature columns are called {repeated[0]!r:.80}. Give each a name of its own: a saved student finds columns by name."
        )
