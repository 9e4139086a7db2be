"""The strategies as a list to read: name, formula, source and origin. It is made of their citations, so it cannot fall behind."""

from __future__ import annotations

from collections.abc import Iterator

from dgl_mutual.errors import UsageError
from dgl_mutual.registry import Found
from dgl_mutual.strategies import STRATEGIES, STRATEGY_REGISTRY
from dgl_mutual.strategies.base import Strategy
from dgl_mutual.strategies.citation import Citation


def as_text() -> str:
    """A paragraph a strategy: built-in ones, then those of installed packages."""
    return "\n\n".join("\n".join((f"{name:<13}{first}", *(f"{'':<13}{line}" for line in rest))) for name, first, *rest in _paragraphs())


def as_markdown() -> str:
    """A table, a row a strategy: the README's."""
    lines = ["| name | loss of student i | source |", "|---|---|---|"]
    for name, found in _all():
        if isinstance(found, UsageError):
            lines.append(f"| `{name}` | - | {_cell(str(found))} |")
            continue
        citation: Citation | None = getattr(found.value, "citation", None)
        formula = f"`{_cell(citation.formula)}`" if citation is not None else "-"
        lines.append(f"| `{name}` | {formula} | {_markdown_source(found, citation)} |")
    return "\n".join(lines)


def _all() -> Iterator[tuple[str, Found[type[Strategy]] | UsageError]]:
    for name, kind in STRATEGIES.items():
        yield name, Found(name, kind, "built in")
    for plug_in in STRATEGY_REGISTRY.plug_ins():
        try:
            yield plug_in.name, Found(plug_in.name, STRATEGY_REGISTRY.load(plug_in), plug_in.package)
        except UsageError as error:  # one broken package must not hide the other strategies
            yield plug_in.name, error


def _paragraphs() -> Iterator[tuple[str, ...]]:
    for name, found in _all():
        if isinstance(found, UsageError):
            yield name, "cannot be used", str(found)
            continue
        citation: Citation | None = getattr(found.value, "citation", None)
        lines = (citation.formula, *_source(citation)) if citation is not None else (_first_line(found.value),)
        yield name, *lines, found.origin if found.origin == "built in" else f"from {found.origin}"


def _markdown_source(found: Found[type[Strategy]], citation: Citation | None) -> str:
    origin = [] if found.origin == "built in" else [found.origin]
    if citation is None:
        return ", ".join(origin)
    is_linked = citation.url.startswith("http")
    return ", ".join([f"[{citation.authors}, {citation.venue}]({citation.url})" if is_linked else citation.title, *origin])


def _source(citation: Citation) -> list[str]:
    if not citation.url.startswith("http"):
        return [citation.title]
    return [f"{citation.authors}: {citation.title}. {citation.venue}", citation.url]


def _first_line(kind: type[Strategy]) -> str:
    return (kind.__doc__ or "no description").strip().splitlines()[0]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
