from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dgl_mutual.errors import StoreError
from dgl_mutual.reporting.plots import PLOTS
from dgl_mutual.reporting.report import report
from dgl_mutual.reporting.run import Run
from tests.reporting.folders import write_run, write_suite

if TYPE_CHECKING:
    from matplotlib.figure import Figure

pytest.importorskip("matplotlib")
pytestmark = pytest.mark.usefixtures("without_layout")
WICKED = "<script>alert('x')</script> & \"q\" {{ 7 * 7 }}"


class Page(HTMLParser):
    """A page as a browser reads it: its tags, its text and its references."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [str(value) for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a suite with wicked names."""
    tmp_path = tmp_path_factory.mktemp("results")
    runs = [
        (write_run(tmp_path, strategy="independent", level=0.7, seeds=6), "independent", WICKED),
        (write_run(tmp_path, strategy="gml", level=0.8, seeds=6, weights=True, diversity=True, inference=True), WICKED, WICKED),
    ]
    return report([write_suite(tmp_path, "mine", runs, description=WICKED)])


@pytest.fixture
def only_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other plots are not drawn."""
    monkeypatch.setattr("dgl_mutual.reporting.report.PLOTS", {"curves": PLOTS["curves"]})


def test_the_page_holds_tables_plots_configuration_and_environment(text: str) -> None:
    page = Page(text)
    for heading in ("Results", "Learning curves", "Weights of the peers", "Similarity of hidden layers", "Configuration", "Environment"):
        assert heading in page.text
    assert page.tags.count("table") == 2
    assert page.tags.count("img") == 7
    assert "Test accuracy (%)" in page.text
    assert "learning_rate: 0.01" in page.text
    assert "python: 3.11.7" in page.text


def test_names_are_text(text: str) -> None:
    page = Page(text)
    assert "script" not in page.tags
    assert page.text.count(WICKED) > 5
    images = "".join(base64.b64decode(address.partition("base64,")[2]).decode() for address in page.addresses)
    assert "<script" not in images


def test_the_figure_has_the_baseline_of_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def gains(runs: Sequence[Run], baseline: str | None) -> Iterator[tuple[str, Figure]]:
        asked.append((len(runs), baseline))
        return iter(())

    monkeypatch.setattr("dgl_mutual.reporting.report.PLOTS", {"gains": replace(PLOTS["gains"], draw=gains)})
    runs = [(write_run(tmp_path, strategy=name), name, "Cora") for name in ("independent", "gml", "dml")]
    assert "better / worse than gml" in Page(report([write_suite(tmp_path, "of-gml", runs, baseline="gml")])).text
    with pytest.warns(UserWarning, match="Nothing is tested"):
        report([write_suite(tmp_path, "of-kd", runs, baseline="kd")])
    report([write_suite(tmp_path, "of-none", runs)])
    assert asked == [(3, "gml"), (3, None), (3, None)]


def test_characters_that_turn_text_around_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dgl_mutual.reporting.report.PLOTS", {})
    page = Page(report([write_run(tmp_path, dataset="left\u202eright\x1b")]))
    assert "\u202e" not in page.text and "\x1b" not in page.text
    assert "left\\u202eright\\x1b" in page.text


def test_the_page_needs_nothing_else(text: str) -> None:
    page = Page(text)
    assert page.addresses
    assert all(address.startswith("data:image/svg+xml;base64,") for address in page.addresses)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "default-src 'none'" in text


@pytest.mark.usefixtures("only_curves")
def test_runs_that_do_not_pair_are_shown_without_tests_and_with_the_reason(tmp_path: Path) -> None:
    write_run(tmp_path, strategy="independent", seeds=3)
    write_run(tmp_path, strategy="gml", seeds=2)
    with pytest.warns(UserWarning, match="Nothing is tested.* are not paired on Cora"):
        page = Page(report([tmp_path]))
    assert "are not paired on Cora" in page.text
    assert page.tags.count("table") == 2
    write_run(tmp_path, strategy="dml", fingerprint="other")
    page = Page(report([tmp_path]))
    assert "different data or splits" in page.text
    assert page.tags.count("table") == 0
    assert "Learning curves" in page.text


@pytest.mark.usefixtures("only_curves")
def test_a_suites_baseline_that_is_missing_is_named(tmp_path: Path) -> None:
    runs = [(write_run(tmp_path, strategy=strategy), strategy, "Cora") for strategy in ("independent", "gml")]
    with pytest.warns(UserWarning, match="Nothing is tested"):
        page = Page(report([write_suite(tmp_path, "s", runs, baseline="dml")]))
    assert "'dml' is not among the methods" in page.text and "better / worse" not in page.text


@pytest.mark.usefixtures("only_curves")
def test_incomplete_runs_are_named(tmp_path: Path) -> None:
    run = write_run(tmp_path, seeds=3, keys=[(0, 0)])
    (run / "failures.csv").write_text("seed,fold,error,details\n1,0,it <burns>,\n")
    page = Page(report([run]))
    assert "1 done, 1 failed, 1 missing" in page.text
    assert "seed 1, fold 0: it <burns>" in page.text
    with pytest.raises(StoreError, match="no trial has finished"):
        report([write_run(tmp_path, strategy="dml", keys=[])])


@pytest.mark.usefixtures("only_curves")
def test_a_suite_without_all_its_data_says_which(tmp_path: Path) -> None:
    suite = write_suite(tmp_path, "x", [(write_run(tmp_path), "gml", "Cora")], missing={"PubMed": "its files are not here"})
    assert "PubMed: its files are not here" in Page(report([suite])).text


def test_a_browser_shows_the_page_without_complaint(text: str, tmp_path: Path) -> None:
    browser = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip("needs a browser: chromium is not installed")
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
    folder = f"--user-data-dir={tmp_path / 'profile'}"
    command = [browser, *quiet, folder, "--enable-logging=stderr", "--dump-dom", (tmp_path / "page.html").as_uri()]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in ended.stderr
    assert "Learning curves" in ended.stdout
    assert "&lt;script&gt;alert" in ended.stdout
