"""Validation of dataset names."""

from __future__ import annotations

from typing import Any

from dgl_mutual.errors import DataError


def check_name(name: Any) -> None:
    """Raise `DataError` for what is no name of a dataset: tables of results would not show it, or not as it is."""
    # Half a surrogate pair is text that no file in UTF-8 can hold.
    if not isinstance(name, str) or not name or name != name.strip() or name != name.encode(errors="ignore").decode():
        raise DataError(
            f"{name!r} is no name of a dataset: expected text that is not empty, neither starts nor ends with a space, and can be "
            "written as UTF-8. Choose another name, for example 'mine'."
        )
