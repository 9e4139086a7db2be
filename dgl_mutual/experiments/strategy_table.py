"""The strategies as a list to read: name, formula, source. It is made of their citations, so it cannot fall behind."""

from __future__ import annotations

from dgl_mutual.strategies import STRATEGIES
from dgl_mutual.strategies.base import Citation


def as_text() -> str:
    """A paragraph a strategy."""
    return "\n\n".join(
        "\n".join((f"{name:<13}{kind.citation.formula}", *(f"{'':<13}{line}" for line in _source(kind.citation))))
        for name, kind in STRATEGIES.items()
    )


def as_markdown() -> str:
    """A table, a row a strategy: the README's."""
    lines = ["| name | loss of student i | source |", "|---|---|---|"]
    for name, kind in STRATEGIES.items():
        citation = kind.citation
        formula = citation.formula.replace("|", "\\|")
        source = f"[{citation.authors}, {citation.venue}]({citation.url})" if citation.url.startswith("http") else citation.title
        lines.append(f"| `{name}` | `{formula}` | {source} |")
    return "\n".join(lines)


def _source(citation: Citation) -> list[str]:
    if not citation.url.startswith("http"):
        return [citation.title]
    return [f"{citation.authors}: {citation.title}. {citation.venue}", citation.url]
