"""The tables in the pages and in results/ are what the runs kept there give, and what is kept says nothing of a machine."""

from __future__ import annotations

import io
import shlex
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from dgl_mutual.cli.tables import filled, read_runs
from dgl_mutual.experiments.environment import without_folders
from dgl_mutual.reporting.suite_tables import suite_tables
from dgl_mutual.store.files import ALL_FILE
from tests.markdown import ROOT, markdown_pages

PAGES = [page for page, text in markdown_pages().items() if any(line.startswith("<!-- table:") for line in text.splitlines())]
READ = cache(read_runs)
SUITES = sorted(file.parent for file in (ROOT / "results" / "suites").rglob("suite.yaml"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
@pytest.mark.filterwarnings("ignore:On .* splits are stratified by the learned targets")
def test_a_page_shows_what_the_runs_give(page: Path) -> None:
    assert filled(page, READ) == page.read_text(encoding="utf-8"), "make tables brings it up to date"


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_tables_makes_those_of_every_page() -> None:
    said = subprocess.run(["make", "--dry-run", "tables"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
    (made,) = (shlex.split(line) for line in said.splitlines() if "dgl-mutual tables results " in line)
    assert {ROOT / file for file in made if file.endswith(".md")} == {*PAGES}
    assert {ROOT / "README.md", ROOT / "results" / "README.md"} < {*PAGES}


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: str(suite.relative_to(ROOT)))
def test_a_suite_has_the_tables_of_its_runs(suite: Path) -> None:
    tables = suite_tables(suite, READ((suite,))[0])
    joined = tables.pop(suite / ALL_FILE)  # not kept: it is trials.csv of the runs, one after the other
    assert len(pd.read_csv(io.StringIO(joined))) == sum(len(run.trials) for run in READ((suite,))[0])
    for file, text in tables.items():
        kept = file.read_text(encoding="utf-8")
        if file.suffix == ".csv":  # all digits, of which another machine may round the last otherwise
            ours, theirs = (pd.read_csv(io.StringIO(table)) for table in (text, kept))
            pd.testing.assert_frame_equal(ours, theirs, rtol=1e-6)
        else:
            assert text == kept, "make tables brings it up to date"


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: str(suite.relative_to(ROOT)))
def test_nothing_that_is_kept_names_a_folder_of_a_machine(suite: Path) -> None:
    files = [file for pattern in ("suite.yaml", "config.yaml", "environment.json") for file in suite.parent.rglob(pattern)]
    assert len(files) > 1
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert without_folders(text) == text, file
