from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from dgl_mutual.errors import UsageError
from dgl_mutual.reporting import runs
from dgl_mutual.reporting.pages import fill
from tests.reporting.folders import write_run, write_suite

CommandLine = Callable[..., tuple[int, str, str]]
FIRST = "<!-- table: results -->\n"
PAGE = """# Results

<!-- table: results --percent --members mean -->
typed by hand
<!-- end of table -->

Text that stays: <!-- a comment -->

<!-- table: results/{run} --baseline none --precision 2 -->
<!-- end of table -->
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    write_run(tmp_path / "results", strategy="independent", level=0.7)
    run = write_run(tmp_path / "results", strategy="gml", level=0.8)
    (tmp_path / "page.md").write_text(PAGE.format(run=run.name))
    return tmp_path / "page.md"


def test_tables_of_a_page_are_those_of_its_runs(command_line: CommandLine, page: Path, tmp_path: Path) -> None:
    status, out, _ = command_line("tables", page, "--check")
    assert (status, out) == (1, f"Out of date: {page}\n")
    assert "typed by hand" in page.read_text()
    assert command_line("tables", page)[:2] == (0, f"Written to {page}\n")
    text = page.read_text()
    assert "typed by hand" not in text
    assert "Text that stays: <!-- a comment -->" in text
    exported = command_line("export", tmp_path / "results", "--percent", "--members", "mean", "--format", "markdown")[1]
    assert exported.strip() in text
    assert text.count("| gml |") == 4  # three members without a filter
    # Again: nothing is left to do.
    assert command_line("tables", page)[1].startswith("Nothing to change")
    assert command_line("tables", page, "--check")[0] == 0
    assert page.read_text() == text


def test_the_long_table_of_a_suite_need_not_be_kept(command_line: CommandLine, tmp_path: Path) -> None:
    run = write_run(tmp_path / "results", strategy="gml")
    suite = write_suite(tmp_path / "results", "mine", [(run, "gml", "Cora")])
    assert command_line("tables", tmp_path / "results")[0] == 0
    (suite / "all.csv").unlink()
    assert command_line("tables", tmp_path / "results", "--check")[0] == 0
    assert "all.csv" in command_line("tables", tmp_path / "results")[1] and (suite / "all.csv").exists()
    (suite / "table.csv").unlink()
    assert command_line("tables", tmp_path / "results", "--check")[0] == 1


def test_a_table_that_asks_for_help_hides_no_other(command_line: CommandLine, page: Path, tmp_path: Path) -> None:
    asking = tmp_path / "asking.md"
    asking.write_text("<!-- table: results --help -->\n<!-- end of table -->\n")
    for options in ((), ("--check",)):
        status, _, err = command_line("tables", asking, page, *options)
        assert status == 2 and "In the table of 'results --help': No such option" in err


def test_several_tables_of_the_same_runs_read_them_once(
    command_line: CommandLine, page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = ["--value val --precision 3", "--percent", "--value train --members gcn-0", "--method gml", "--value val --precision 3"]
    exported = [command_line("export", tmp_path / "results", *kind.split(), "--format", "markdown")[1].strip() for kind in kinds]
    page.write_text("".join(f"<!-- table: results {kind} -->\n<!-- end of table -->\n\n" for kind in kinds))
    read = []
    monkeypatch.setattr(runs, "load_runs", lambda paths, load=runs.load_runs: read.append(paths) or load(paths))
    assert command_line("tables", page)[0] == 0
    tables = re.findall(r"-->\n\n(.*?)\n\n<!-- end of table -->", page.read_text(), flags=re.DOTALL)
    assert tables == exported
    assert read == [(tmp_path / "results",)]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("first", ["", "\ufeff"])
def test_ends_of_lines_and_a_mark_of_the_byte_order_stay(command_line: CommandLine, page: Path, newline: str, first: str) -> None:
    command_line("tables", page)
    made = page.read_text().removeprefix("# Results\n\n")  # so that the first block begins the page
    old = PAGE.format(run=next((page.parent / "results").glob("*-gml-*")).name).removeprefix("# Results\n\n")
    page.write_bytes((first + old.rstrip("\n")).replace("\n", newline).encode())
    assert command_line("tables", page)[0] == 0
    assert page.read_bytes().decode() == (first + made.rstrip("\n")).replace("\n", newline)
    assert command_line("tables", page, "--check")[0] == 0


def test_comments_of_several_lines_are_no_blocks() -> None:
    comment = "<!--\ntable: what it shows\n-->\n<!-- table\n: of runs -->\n"
    page = f"<!-- table: x -->\n{comment}<!-- end of table -->\n\n{comment}"
    assert fill(page, lambda arguments: "T") == f"<!-- table: x -->\n\nT\n\n<!-- end of table -->\n\n{comment}"


CODE = "<!-- table: of code -->\n<!-- end of table -->\n<!-- table: without an end -->\n"
FENCES = [("```", "```"), ("   ~~~~ html `x`", "~~~~~~ "), ("````md", "```\n```x\n`````"), ("~~~", "```\n\n  ~~~\t")]


@pytest.mark.parametrize(("begin", "end"), FENCES)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_code_between_fences_has_no_blocks(begin: str, end: str, newline: str) -> None:
    code = f"{begin}\n{CODE}{end}\n"
    page = f"{code}<!-- table: x -->\n```\n<!-- end of table -->\n\n{code}".replace("\n", newline)
    made = f"{code}<!-- table: x -->\n\nT\n\n<!-- end of table -->\n\n{code}".replace("\n", newline)
    assert fill(page, lambda arguments: "T") == made
    with pytest.raises(UsageError, match="There is no table in it"):
        fill(code, lambda arguments: "T")


def test_code_that_is_not_closed_hides_no_table() -> None:
    for begin in ("```", "`` `", "``` a`b", "    ```"):
        with pytest.raises(UsageError, match="line 6: '<!-- table: without an end -->'"):
            fill(f"<!-- table: x -->\n<!-- end of table -->\n{begin}\n{CODE}", lambda arguments: "T")


@pytest.mark.parametrize("kind", ["csv", "latex"])
def test_output_that_is_not_markdown_is_fenced(kind: str, command_line: CommandLine, page: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "other", strategy="dml")
    suite = write_suite(tmp_path / "other", "mine", [(run, "<img src=x> ````", "Cora")])
    page.write_text(f"<!-- table: other/{suite.name} --format {kind} -->\n<!-- end of table -->\n")
    assert command_line("tables", page)[0] == 0
    exported = command_line("export", suite, "--format", kind)[1].strip()
    assert f" -->\n\n`````{kind}\n{exported}\n`````\n\n<!-- end of table -->\n" in page.read_text()
    assert command_line("tables", page)[1].startswith("Nothing to change")


@pytest.mark.parametrize("mark", ["<!-- end of table -->", "<!-- table: x -->"])
def test_a_table_with_a_mark_in_it_is_refused(mark: str) -> None:
    with pytest.raises(
        UsageError, match=f"In the table of 'x' a line would be read as the mark of a table: '{mark},1'. Leave out that run"
    ):
        fill("<!-- table: x -->\n<!-- end of table -->\n", lambda arguments: f"data,mean\n{mark},1\n")


def test_a_figure_changed_by_hand_is_found(command_line: CommandLine, page: Path) -> None:
    command_line("tables", page)
    page.write_text(re.sub(r"\d\d\.\d", "99.9", page.read_text(), count=1))
    assert command_line("tables", page, "--check")[0] == 1


def test_a_link_to_a_page_stays_one_and_no_table_of_a_suite_is_written_through_one(
    command_line: CommandLine, page: Path, tmp_path: Path
) -> None:
    link, mine = tmp_path / "link.md", tmp_path / "mine"
    link.symlink_to(page)
    assert command_line("tables", link)[0] == 0
    assert link.is_symlink() and "typed by hand" not in page.read_text()
    runs = [(run, run.name, "Cora") for run in sorted((tmp_path / "results").iterdir())]
    suite = write_suite(tmp_path / "results", "x", runs)
    mine.write_text("mine")
    (suite / "table.md").symlink_to(mine)
    assert command_line("tables", tmp_path / "results")[0] == 0
    assert mine.read_text() == "mine" and not (suite / "table.md").is_symlink()


def test_every_suite_below_a_folder_gets_its_tables(command_line: CommandLine, tmp_path: Path) -> None:
    deep = tmp_path / "results" / "a" / "b"
    suite = write_suite(deep, "deep", [(write_run(deep, strategy=name), name, "Cora") for name in ("independent", "gml")])
    status, out, _ = command_line("tables", tmp_path / "results")
    assert status == 0
    assert [line.rpartition("/")[2] for line in out.splitlines()] == ["all.csv", "table.csv", "table.md", "table.tex"]
    assert "| gml |" in (suite / "table.md").read_text()
    (suite / "table.md").write_text("| gml | 99.9 |")
    status, out, _ = command_line("tables", tmp_path / "results", "--check")
    assert (status, out) == (1, f"Out of date: {suite / 'table.md'}\n")


def test_other_comments_stay(command_line: CommandLine, page: Path) -> None:
    page.write_text("<!-- table of contents -->\n<!-- end of table of contents -->\n" + page.read_text())
    assert command_line("tables", page)[0] == 0
    assert page.read_text().startswith("<!-- table of contents -->\n<!-- end of table of contents -->\n")


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("<!-- table: results -->\n", "A table is marked incorrectly: line 1: '<!-- table: results -->'. Write"),
        ("text\n<!-- end of table -->\n", "marked incorrectly: line 2: '<!-- end of table -->'. Write"),
        (f"{FIRST}| 1 |\nProse.\n{FIRST}| 2 |\n<!-- end of table -->\n", "marked incorrectly: line 1: '<!-- table: results -->'. Write"),
        (f"{FIRST}<!-- end of table -->\n\n{FIRST}| 2 |\nProse.\n", "marked incorrectly: line 4: '<!-- table: results -->'. Write"),
        (f"{FIRST}| 1 |\n<!-- end of table --> Prose.\n", "marked incorrectly: line 1: .*, line 3: '<!-- end of table --> Prose.'. Write"),
        ("<!-- table: results\n--percent -->\n<!-- end of table -->\n", "marked incorrectly: line 1: '<!-- table: results', line 3: "),
        ("<!-- table: nowhere -->\n<!-- end of table -->\n", "There is no folder .*nowhere"),
        ("<!-- table: results --percents -->\n<!-- end of table -->\n", "No such option '?--percents"),
        ("<!-- table: results --format pdf -->\n<!-- end of table -->\n", "'pdf' is not one of"),
        ("<!-- table: -->\n<!-- end of table -->\n", "marked incorrectly: line 1: '<!-- table: -->', line 2: "),
        (
            "<!-- table: results --members mean --members ensemble -->\n<!-- end of table -->\n",
            "--members was given 2 times, and takes one value.",
        ),
        ("<!-- table: results 'x -->\n<!-- end of table -->\n", "quotation"),
        ("<!-- table: results --out evil.csv -->\n<!-- end of table -->\n", "--out has no effect here"),
        ("<!--table: results-->\n<!-- end of table -->\n", "marked incorrectly: line 1: '<!--table: results-->', line 2: "),
        (f"{FIRST}<!-- End of table -->\n", "marked incorrectly: line 1: .*, line 2: '<!-- End of table -->'. Write"),
        (
            "  <!-- table: results -->\n  <!-- end of table -->\n",
            "marked incorrectly: line 1: .*, line 2: .*, at the beginning of separate lines",
        ),
        ("Prose.\n\n    <!-- table: results -->\n", "There is no table in it"),
    ],
)
def test_a_wrong_block_is_one_message(command_line: CommandLine, page: Path, block: str, message: str) -> None:
    page.write_text(block)
    status, out, err = command_line("tables", page)
    assert (status, out) == (2, "")
    assert re.search(f"page.md: .*{message}", err)
    assert page.read_text() == block
