"""Runs and suites of somebody else, looked at: shown, or refused with an error of the package, soon and in little memory.

With ``--stress N``, N hundred inputs a test instead of two dozen.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import strategies as st

from dgl_mutual.reporting.export import export
from dgl_mutual.reporting.plots import draw
from dgl_mutual.reporting.plots.style import drawing, save
from dgl_mutual.reporting.report import report
from dgl_mutual.reporting.runs import load_runs, preferred_baseline
from dgl_mutual.reporting.status import status_of
from tests.reporting.folders import write_run, write_suite
from tests.stress.damage import bounded, changed, write

#: Values that somebody may put in the place of any other.
VALUES: list[Any] = [
    *(10**12, 10**30, -1, 0, 1.5, float("inf"), float("nan"), True, None, "", "0", [], {}, [[]], {"a": {}}, [1, "x"]),
    *("x" * 5000, "\x1b]0;x\x07", "\x9b2J", "../../x", "=1+1", "a\n=1", "<script>", "$\\frac{1}{0}$", "\u202e", "日本", "a.b" * 2000),
    *(datetime.date(2024, 1, 1), datetime.datetime(2024, 1, 1), b"\x00"),
]
#: Cells likewise.
CELLS = ["inf", "-inf", "nan", "1e300", "-1", "1.5", "", "2024-01-01", "9" * 40]
CELLS += ["x" * 300, "=1", "\x1b[2J", "True", "gml", "0", "mean", '"a\nb"', "a\rb"]
#: What may be in the place of a file.
KINDS: dict[str, Callable[[Path], object]] = {
    "folder": Path.mkdir,
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "circle": lambda path: path.symlink_to(path),
    "dangling": lambda path: path.symlink_to("nowhere"),
    "nothing": lambda path: None,
}


@pytest.fixture
def sound(tmp_path: Path) -> dict[str, bytes]:
    """A suite of two runs, as files."""
    out = tmp_path / "sound"
    runs = [write_run(out, strategy=strategy, seeds=3, epochs=3, weights=strategy == "gml") for strategy in ("independent", "gml")]
    write_suite(out, "x", [(run, run.name.split("-")[2], "Cora") for run in runs], missing={"PubMed": "why"})
    return {str(file.relative_to(out)): file.read_bytes() for file in out.rglob("*") if file.is_file()}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in below for place in places(each, (*path, key)))]


def with_value(text: bytes, choice: float, value: Any, key: bool) -> bytes:
    """A YAML document in which one value, or one key, is another."""
    values = yaml.safe_load(text)
    *above, last = (found := [place for place in places(values) if place])[int(choice * len(found))]
    group = values
    for step in above:
        group = group[step]
    if key and isinstance(group, dict) and not isinstance(value, list | dict):
        group[value] = group.pop(last)
    else:
        group[last] = value
    return yaml.safe_dump(values).encode()


def with_cell(text: bytes, choice: float, cell: str) -> bytes:
    """A table in which one cell, of the header too, is another."""
    lines = [line.split(",") for line in text.decode().splitlines()]
    where = int(choice * sum(map(len, lines)))
    for line in lines:
        if where < len(line):
            line[where] = cell
            break
        where -= len(line)
    return "".join(",".join(line) + "\n" for line in lines).encode()


def hostile(files: dict[str, bytes]) -> st.SearchStrategy[tuple[dict[str, bytes], dict[str, str]]]:
    """Files of which some are damaged, some hold other values, and some are no files."""
    share = st.floats(0, 1, exclude_max=True)
    documents, tables = ([name for name in sorted(files) if name.endswith(end)] for end in (".yaml", ".csv"))
    valued = st.builds(
        lambda name, *arguments: {**files, name: with_value(files[name], *arguments)},
        st.sampled_from(documents),
        share,
        st.sampled_from(VALUES),
        st.booleans(),
    )
    celled = st.builds(
        lambda name, *arguments: {**files, name: with_cell(files[name], *arguments)}, st.sampled_from(tables), share, st.sampled_from(CELLS)
    )
    kinds = st.dictionaries(st.sampled_from(sorted(files)), st.sampled_from(sorted(KINDS)), max_size=1)
    return st.tuples(valued | celled | changed(files), st.just({}) | kinds)


def put(folder: Path, content: dict[str, bytes], kinds: dict[str, str]) -> Path:
    write(folder, content)
    for name, kind in kinds.items():
        (folder / name).unlink()
        KINDS[kind](folder / name)
    return folder


@pytest.mark.filterwarnings("ignore")
def test_tables_and_status(fuzz: Callable[..., None], sound: dict[str, bytes], tmp_path: Path) -> None:
    def test(input: tuple[dict[str, bytes], dict[str, str]]) -> None:
        out = put(tmp_path / "out", *input)
        for folder in (out, out / "suite-x"):
            with bounded():
                status_of(folder)
            with bounded():
                export(load_runs([folder]), "csv", preferred=preferred_baseline([folder]))
        with bounded():
            export(load_runs([out]), "markdown", members=["mean"], percent=True)
        with bounded():
            export(load_runs([out / "suite-x"]), "latex", value="seconds_per_epoch")

    fuzz(test, hostile(sound))


@pytest.mark.filterwarnings("ignore")
def test_pages_and_plots(fuzz: Callable[..., None], sound: dict[str, bytes], tmp_path: Path) -> None:
    def test(input: tuple[dict[str, bytes], dict[str, str]]) -> None:
        out = put(tmp_path / "out", *input)
        with bounded():
            page = report([out / "suite-x"])
            assert "<script" not in page
        with bounded(), drawing():
            for name, figure in draw(load_runs([out])):
                (file,) = save(figure, tmp_path / "plots", name, ["png"])
                assert file.parent == tmp_path / "plots"

    fuzz(test, hostile(sound), share=0.05)
