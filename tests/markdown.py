"""The Markdown pages of the repository, and where their links go."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from urllib.parse import unquote

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
_CODE = re.compile(r"^ {0,3}(?P<fence>```+|~~~+|:::+).*?^ {0,3}(?P=fence)|(?P<ticks>`+).+?(?P=ticks)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(\s*<?(?P<inline>[^)>\s]+)|^\[[^\]]+\]:\s*<?(?P<defined>[^>\s]+)", re.MULTILINE)


def markdown_pages() -> dict[Path, str]:
    """Each page of the repository with its text."""
    files = sorted(file for place in _PLACES for file in ROOT.glob(place) if not any(file.is_relative_to(folder) for folder in _BUILT))
    return {file: file.read_text(encoding="utf-8") for file in files}


def anchors(text: str) -> set[str]:
    """What a link can name in a page: its headings, as GitHub and MyST write them."""
    found: set[str] = set(re.findall(r"^\((\S+)\)=$", text, flags=re.MULTILINE))
    seen: Counter[str] = Counter()
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), flags=re.MULTILINE):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown).strip().lower().replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def broken_links(page: Path, text: str) -> list[str]:
    """The relative links of a page that lead to no file, or to no heading of a page."""
    broken = []
    home = _BUILT[1] if page.parent == _FORMULAS else page.parent
    for match in _LINK.finditer(_CODE.sub("`code`", text)):
        target = match["inline"] or match["defined"]
        if re.match(r"[a-z][a-z+.-]*:", target, flags=re.IGNORECASE):
            continue
        path, _, anchor = map(unquote, target.partition("#"))
        file = Path(os.path.normpath(home / path)) if path else page
        if any(file.is_relative_to(folder) for folder in _BUILT):
            continue
        there = text if file == page else file.read_text(encoding="utf-8") if file.suffix == ".md" and file.exists() else ""
        if not (file == page or file.exists()) or (anchor and anchor not in anchors(there)):
            broken.append(target)
    return broken
