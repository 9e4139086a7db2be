"""Which Pythons the package is for is said in several places, before anything can be imported."""

from __future__ import annotations

import configparser
import re
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from dgl_mutual.experiments import doctor
from dgl_mutual.version import __version__

ROOT = Path(__file__).parents[1]
RELEASES = ["3.9", "3.10", "3.11", "3.12", "3.13", "3.14"]
OURS = ["3.10", "3.11", "3.12"]


@pytest.fixture(scope="module")
def setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def requirements(setup: configparser.ConfigParser) -> list[Requirement]:
    return [Requirement(line) for line in setup["options"]["install_requires"].splitlines() if line and not line.startswith("#")]


def as_version_info(release: str) -> tuple[int, int, int, str, int]:
    major, minor = map(int, release.split("."))
    return major, minor, 0, "final", 0


def test_the_same_pythons_are_named_everywhere(setup: configparser.ConfigParser) -> None:
    declared = SpecifierSet(setup["options"]["python_requires"])
    assert [release for release in RELEASES if f"{release}.1" in declared] == OURS
    assert re.findall(r"Python :: (3\.\d+)", setup["metadata"]["classifiers"]) == OURS
    assert [release for release in RELEASES if doctor._OLDEST <= as_version_info(release)[:2] <= doctor._NEWEST] == OURS
    assert "not (3, 10) <= sys.version_info[:2] <= (3, 12)" in (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize("release", RELEASES)
def test_another_python_is_refused_before_anything_is_downloaded(monkeypatch: pytest.MonkeyPatch, release: str) -> None:
    called: list[str] = []
    monkeypatch.setitem(sys.modules, "setuptools", SimpleNamespace(setup=lambda: called.append("setup")))
    monkeypatch.setattr(sys, "version_info", as_version_info(release))
    monkeypatch.setattr(sys, "version", f"{release}.0 (main)")
    if release in OURS:
        runpy.run_path(str(ROOT / "setup.py"))
        assert called == ["setup"]
        return
    with pytest.raises(SystemExit, match=rf"needs Python 3\.10, 3\.11 or 3\.12, and this is Python {re.escape(release)}\.0"):
        runpy.run_path(str(ROOT / "setup.py"))
    assert called == []


@pytest.mark.parametrize(
    ("python", "allowed", "refused"),
    [
        ("3.10", ["1.1.3", "2.4.0", "2.4.0+cu121", "2.5.0"], ["1.1.2", "2.0.0", "2.1.0", "2.1.0+cu121", "2.6.0", "3.0.0"]),
        ("3.12", ["2.1.0", "2.1.0+cu121", "2.4.0"], ["1.1.3", "2.0.0", "2.6.0"]),
    ],
)
def test_each_python_has_its_dgl(setup: configparser.ConfigParser, python: str, allowed: list[str], refused: list[str]) -> None:
    names = [requirement.name for requirement in requirements(setup)]
    assert names.index("dgl") < names.index("torch")
    (dgl,) = (one for one in requirements(setup) if one.name == "dgl" and one.marker and one.marker.evaluate({"python_version": python}))
    assert [version for version in (*allowed, *refused) if version in dgl.specifier] == allowed


def test_the_citation_and_the_changelog_are_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    first = re.search(r"^## \[(?!Unreleased)(.+)\] - (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert first is not None and first.groups() == (__version__, str(citation["date-released"]))
    for page in ("README.md", "docs/cite.md"):
        assert f"version = {{{__version__}}}" in (ROOT / page).read_text(encoding="utf-8")


def test_bibtex_is_the_same_everywhere() -> None:
    """The paper's authors, too, are those of the strategy's source."""
    readme, page = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/cite.md"))
    entries = re.findall(r"^@.*?^}$", page, re.MULTILINE | re.DOTALL)
    assert len(entries) == 2 and all(entry in readme for entry in entries)
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    authors = " and ".join(f"{one['family-names']}, {one['given-names']}" for one in citation["references"][0]["authors"])
    assert f"author  = {{{authors}}}" in readme
