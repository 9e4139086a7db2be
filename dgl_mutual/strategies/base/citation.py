"""Citation of a strategy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Citation:
    """Source of a strategy, as data from which the list of strategies and the README's table are generated.

    Attributes:
        title, authors, venue, url: of the paper.
        formula: the loss, in the paper's symbols.
    """

    title: str
    authors: str
    venue: str
    url: str
    formula: str
