"""The Markdown pages of the repository, and where their links go."""

from __future__ import annotations

import os
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
#: Where pages are. Data, runs and what is built have none of ours.
_PLACES = (
    "*.md",
    "benchmarks/**/*.md",
    "data/*.md",
    "dgl_mutual/**/*.md",
    "docs/**/*.md",
    "results/*.md",
    "results/benchmarks/**/*.md",
    "results/compare/**/*.md",
)
#: Folders of docs/ that are made when the documentation is built.
_BUILT = (ROOT / "docs" / "_build", ROOT / "docs" / "generated")
#: Pages that are parts of one in docs/generated, where their links start.
_FORMULAS = ROOT / "docs" / "maths"
_PARSER = MarkdownIt("commonmark").enable("table")


def markdown_pages() -> dict[Path, str]:
    """Each page of the repository with its text."""
    files = sorted(file for place in _PLACES for file in ROOT.glob(place) if not any(file.is_relative_to(folder) for folder in _BUILT))
    return {file: file.read_text(encoding="utf-8") for file in files}


def anchors(text: str) -> set[str]:
    """What a link can name in a page: its headings, as GitHub and MyST write them."""
    found: set[str] = set(re.findall(r"^\((\S+)\)=$", text, flags=re.MULTILINE))
    seen: Counter[str] = Counter()
    tokens = _PARSER.parse(text)
    for heading in (after for before, after in pairwise(tokens) if before.type == "heading_open"):
        shown = "".join(part.content for part in heading.children or ())
        slug = re.sub(r"[^\w\- ]", "", shown).strip().lower().replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def links(text: str) -> list[str]:
    """The targets of the links and images of a page, then those of its definitions."""
    defined: dict[str, Any] = {}
    parts = [part for token in _PARSER.parse(text, defined) for part in token.children or ()]
    found = [str(part.attrs[key]) for part in parts for key in ("href", "src") if key in part.attrs]
    return list(dict.fromkeys([*found, *(one["href"] for one in defined.get("references", {}).values())]))


def broken_links(page: Path, text: str) -> list[str]:
    """The relative links of a page that lead to no file, or to no heading of a page."""
    broken = []
    home = _BUILT[1] if page.parent == _FORMULAS else page.parent
    for target in links(text):
        if urlsplit(target).scheme:
            continue
        path, _, anchor = map(unquote, target.partition("#"))
        file = Path(os.path.normpath(home / path)) if path else page
        if any(file.is_relative_to(folder) for folder in _BUILT):
            continue
        there = text if file == page else file.read_text(encoding="utf-8") if file.suffix == ".md" and file.exists() else ""
        if not (file == page or file.exists()) or (anchor and anchor not in anchors(there)):
            broken.append(target)
    return broken
