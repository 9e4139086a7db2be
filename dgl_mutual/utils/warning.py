"""Warnings that name the line of the user's code."""

from __future__ import annotations

import warnings

from dgl_mutual.utils.custom_code import level_of_caller


def warn(message: str) -> None:
    """Issue a `UserWarning` at the user's line that led to it (see `level_of_caller`)."""
    warnings.warn(message, stacklevel=level_of_caller())
