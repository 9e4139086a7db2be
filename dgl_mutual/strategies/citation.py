"""Citation of a strategy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Citation:
    """Where a strategy comes from, as data: the list of strategies and the README's table are made of it.

    Attributes:
        title, authors, venue, url: of the paper.
        formula: the loss, in the paper's symbols.
    """

    title: str
    authors: str
    venue: str
    url: str
    formula: str
