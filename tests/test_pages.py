"""The Markdown pages: their links, and the agreement of the overview of results with the other pages of results."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.markdown import ROOT, anchors, broken_links, markdown_pages

PAGES = markdown_pages()
RESULTS = ROOT / "results"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page, PAGES[page]) == []


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# One `thing`, twice\n\n```\n# no heading\n```\n\n# One thing twice\n")
    text = """# Here
[a](other.md#one-thing-twice) [b](other.md#one-thing-twice-1) [c](#here) ![d](other.md) [e](https://example.org/#x) `[f](code.md)`
[g](gone.md) [h
i](other.md#no-heading) [j](#there) ![k](gone.png)

[l]: gone/defined.md

```
[m](code.md)
```
"""
    assert broken_links(tmp_path / "page.md", text) == [
        "gone.md",
        "other.md#no-heading",
        "#there",
        "gone.png",
        "gone/defined.md",
    ]
    assert anchors("(name)=\n## Files of `this` folder\n") == {"name", "files-of-this-folder"}


def test_the_overview_of_results_leads_to_every_page_of_them() -> None:
    linked = re.findall(r"\]\(([\w-]+\.md)", PAGES[RESULTS / "README.md"])
    assert {RESULTS / name for name in linked} == {page for page in PAGES if page.parent == RESULTS} - {RESULTS / "README.md"}


def test_the_overview_of_results_counts_the_hypotheses() -> None:
    outcomes = re.findall(r"^\| (H\d+) \|.+\| (?:\*second look\*; )?(.+?) \|$", PAGES[RESULTS / "hypotheses.md"], flags=re.MULTILINE)
    expected: dict[str, list[str]] = {}
    for name, outcome in outcomes:
        word = re.match(r"(fails in part|fails|holds)\b", outcome)
        expected.setdefault(word[1] if word else "differs by dataset, cohort or rate", []).append(name)
    counted = re.findall(r"^\| ([\w, ]+) \| (\d+) \| (H\d.*) \|$", PAGES[RESULTS / "README.md"], flags=re.MULTILINE)
    assert {kind: names.split(", ") for kind, _, names in counted} == expected
    assert all(int(number) == len(names.split(", ")) for _, number, names in counted)


def test_pages_of_results_that_the_package_names_exist() -> None:
    files = [file for ending in ("py", "yaml") for file in (ROOT / "dgl_mutual").rglob(f"*.{ending}")]
    named = {name for file in files for name in re.findall(r"\bresults/[\w-]+\.md", file.read_text(encoding="utf-8"))}
    assert named
    assert {name for name in named if not (ROOT / name).exists()} == set()
