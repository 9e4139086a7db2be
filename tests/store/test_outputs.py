"""Results take the place of other results, and never of a file that the program needs."""

from __future__ import annotations

import os
import stat
import tempfile
from operator import attrgetter
from pathlib import Path

import pytest

from dgl_mutual.data.sources.catalog import Entry, known_datasets, tu_entry
from dgl_mutual.errors import StoreError, UsageError
from dgl_mutual.store.outputs import refuse_other_endings, write_result
from dgl_mutual.utils.files import is_special

NEEDED = {
    "a run": ("trials.csv", {"config.yaml": "", "trials.csv": "seed"}),
    "a run's configuration": ("config.yaml", {"config.yaml": "seeds: 3"}),
    "a search": ("journal.log", {"journal.log": "{}"}),
    "a suite": ("suite.yaml", {"suite.yaml": "name: node"}),
    "a student": ("gcn-0.safetensors", {"gcn-0.safetensors": "weights"}),
    "the description of a student": ("gcn-0.json", {"gcn-0.safetensors": "weights", "gcn-0.json": "{}"}),
    "a table of a dataset": ("nodes.csv", {"meta.yaml": "node_data: [{file_name: nodes.csv}]", "nodes.csv": "node_id"}),
    "one in a folder below": ("tables/nodes.csv", {"meta.yaml": "node_data: [{file_name: tables/nodes.csv}]", "tables/nodes.csv": ""}),
    "the arrays of a partition": ("nodes.npz", {"partition.json": "{}", "nodes.npz": "PK"}),
    "a part of a partition": ("part0/feat.npy", {"part0/feat.npy": "nodes"}),
    "a graph of DGL": ("graph.dgl", {"graph.dgl": "nodes"}),
    "a configuration of one's own": ("my-suite.yml", {"my-suite.yml": "datasets: [digits]"}),
}


@pytest.mark.parametrize(("name", "files"), NEEDED.values(), ids=NEEDED.keys())
@pytest.mark.parametrize("through_link", [False, True])
def test_files_that_the_program_needs_are_not_replaced(name: str, files: dict[str, str], through_link: bool, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for file, text in files.items():
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text(text)
    target = folder / name
    if through_link:
        target = tmp_path / "link.csv"
        target.symlink_to(folder / name)
    with pytest.raises(UsageError, match=r"is a .*, and would be lost\. Name another file"):
        write_result(target, "a result")
    assert (folder / name).read_text() == files[name]
    write_result(folder / "table.csv", "first")
    write_result(folder / "table.csv", "second")
    assert (folder / "table.csv").read_text() == "second"


@pytest.mark.parametrize("dataset", [*known_datasets().values(), tu_entry("my_own")], ids=attrgetter("name"))
def test_no_file_of_a_dataset_is_replaced(dataset: Entry, tmp_path: Path) -> None:
    files = [tmp_path / name for name in (*dataset.files, *dataset.optional)]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    for file in files:
        with pytest.raises(UsageError, match="is a file of a dataset or partition, and would be lost"):
            write_result(file, "a result")


def test_the_same_names_elsewhere_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "meta.yaml").write_text("metric: macro-f1\nnode_data: [{file_name: all-nodes.csv}]")
    for name in ("nodes.csv", "f1", "results.json", "table_A.txt", "ind.cora.txt"):
        (tmp_path / name).write_text("old")
        write_result(tmp_path / name, "new")
        assert (tmp_path / name).read_text() == "new"


def test_an_output_follows_a_link_and_keeps_it(tmp_path: Path) -> None:
    target, link = tmp_path / "target.csv", tmp_path / "link.csv"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    write_result(link, "new")
    assert link.is_symlink() and target.read_text() == "new" and target.stat().st_mode & 0o777 == 0o640
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    with pytest.raises(StoreError, match="Cannot write"):
        write_result(circle, "x")
    with pytest.raises(StoreError, match=r"it is a folder\. Name a file"):
        write_result(tmp_path, "x")


def test_an_output_that_is_a_pipe_or_a_device_stays_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(StoreError, match="no process reads from this pipe"):
        write_result(pipe, "x")
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_result(pipe, "some text")
    assert os.read(reader, 100) == b"some text"
    os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    write_result(Path("/dev/null"), "x")
    with pytest.raises(StoreError, match="No space left"):
        write_result(Path("/dev/full"), "x")
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="there is no /dev/shm")
def test_a_file_in_shared_memory_is_a_file() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        target = Path(folder) / "table.csv"
        for text in ("first", "second"):
            write_result(target, text)
            assert target.read_text() == text
    assert all(is_special(Path(path)) for path in ("/dev/null", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"))


def test_a_name_with_a_point_is_no_ending() -> None:
    for name in ("report v1.2", "report.2026-11", "report.final", "report", ".hidden", "a.html", "/dev/null"):
        refuse_other_endings(Path(name), (".html",))
    for name in ("a.txt", "a.CSV", "b.a.md"):
        with pytest.raises(UsageError, match=r"but the output is \.html"):
            refuse_other_endings(Path(name), (".html",))
