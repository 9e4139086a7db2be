from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dgl_mutual.data.sources.catalog import Entry
from dgl_mutual.data.sources.custom import DATASET_REGISTRY, find_custom
from dgl_mutual.data.sources.folders import DataFolders
from dgl_mutual.data.sources.load import load_dataset
from dgl_mutual.errors import DataError
from tests.test_registry import forgetful, installed  # noqa: F401  # fixtures

pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.fixture
def own_dataset(tmp_path: Path) -> Path:
    """Two triangles in TU form."""
    folder = tmp_path / "TRIANGLES"
    folder.mkdir()
    edges = [(a + b, a + c) for a in (0, 3) for b in (1, 2, 3) for c in (1, 2, 3) if b != c]
    (folder / "TRIANGLES_A.txt").write_text("".join(f"{a}, {b}\n" for a, b in edges))
    (folder / "TRIANGLES_graph_indicator.txt").write_text("1\n1\n1\n2\n2\n2\n")
    (folder / "TRIANGLES_graph_labels.txt").write_text("0\n1\n")
    return folder


def test_list_goes_on_after_a_folder_that_may_not_be_read(
    command_line: Callable[..., object], elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = DataFolders.find

    def refused(folders: DataFolders, entry: Entry) -> Path | None:
        if entry.name == "Cora":
            raise PermissionError(13, "Permission denied", "data/planetoid")
        return find(folders, entry)

    monkeypatch.setattr(DataFolders, "find", refused)
    status, out, _ = command_line("data", "list")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert status == 0 and " no access " in lines["Cora"] and " to fetch " in lines["ogbn-arxiv"]


def test_list_says_what_is_here(command_line: Callable[..., object], elsewhere: Path) -> None:
    folder = elsewhere / "mine" / "planetoid"
    folder.mkdir(parents=True)
    for part in ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index"):
        (folder / f"ind.cora.{part}").touch()
    status, out, _ = command_line("data", "list", "--data-dir", "mine")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert status == 0
    assert " built in " in lines["digits"]
    assert " here " in lines["Cora"]
    assert " to fetch " in lines["CiteSeer"]


def test_describe_shows_the_sizes_of_each_split(command_line: Callable[..., object], tmp_path: Path) -> None:
    (tmp_path / "meta.yaml").write_text("dataset_name: two\nnode_data: [{file_name: n.csv}]\nedge_data: [{file_name: e.csv}]\n")
    cells = ['"1,0","0,1","0,0"', '"0,1","1,0","0,0"', '"0,0","0,0","1,1"', '"0,0","0,0","1,0"']
    rows = [f"{node},{node % 2},{node},{masks}\n" for node, masks in enumerate(cells)]
    (tmp_path / "n.csv").write_text("node_id,label,feat,train_mask,val_mask,test_mask\n" + "".join(rows))
    (tmp_path / "e.csv").write_text("src_id,dst_id\n0,1\n")
    status, out, _ = command_line("data", "describe", tmp_path)
    assert status == 0 and "train: 1, val: 1, test: 2; train: 1, val: 1, test: 1\n" in out


def test_describe_counts(command_line: Callable[..., object], own_dataset: Path) -> None:
    status, out, _ = command_line("data", "describe", own_dataset)
    facts = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert status == 0
    assert (facts["graphs"], facts["nodes"], facts["edges"], facts["label_counts"]) == ("2", "6", "12", "0: 1, 1: 1")


def test_verify_names_file_and_line(command_line: Callable[..., object], own_dataset: Path) -> None:
    assert command_line("data", "verify", own_dataset)[:2] == (0, f"{own_dataset}: sound\n")
    edges = own_dataset / "TRIANGLES_A.txt"
    edges.write_text(edges.read_text() + "1, 4\n")
    status, out, _ = command_line("data", "verify", own_dataset)
    assert status == 1
    assert f"{edges}, line 13: " in out


def test_data_without_labels_are_verified_as_predict_reads_them(command_line: Callable[..., object], own_dataset: Path) -> None:
    (own_dataset / "TRIANGLES_graph_labels.txt").unlink()
    assert "TRIANGLES_graph_labels.txt" in command_line("data", "verify", own_dataset)[1]
    assert command_line("data", "verify", own_dataset, "--no-labels")[:2] == (0, f"{own_dataset}: sound\n")
    edges, indicator = own_dataset / "TRIANGLES_A.txt", own_dataset / "TRIANGLES_graph_indicator.txt"
    edges.write_text(edges.read_text() + "1, 99\nx, y\n")
    indicator.write_text(indicator.read_text() + "z\n")
    with pytest.raises(DataError, match="'dgl-mutual data verify DATASET --no-labels' lists them all"):
        load_dataset(own_dataset, require_labels=False)
    with pytest.raises(DataError, match="'dgl-mutual data verify DATASET' lists them all"):
        load_dataset(own_dataset)


def test_fetch_refuses_a_wrong_name_before_it_fetches_anything(command_line: Callable[..., object], elsewhere: Path) -> None:
    assert command_line("data", "fetch", "digits")[:2] == (0, "digits: built in, nothing to fetch\n")
    status, out, err = command_line("data", "fetch", "Cora", "nonsense")
    assert (status, out) == (2, "")
    assert "Unknown dataset 'nonsense'" in err
    assert list(elsewhere.iterdir()) == []


def test_an_option_that_is_given_twice_is_refused(command_line: Callable[..., object]) -> None:
    status, out, err = command_line("data", "list", "--data-dir", "a", "--data-dir", "b")
    assert (status, out) == (2, "")
    assert "--data-dir was given 2 times, and takes one value" in err


def test_datasets_of_packages_are_listed_by_what_names_them(command_line, installed, tmp_path, monkeypatch):  # noqa: F811  # the fixture
    """A name means the known dataset wherever it would be found as one: in any case, and as any TU dataset."""
    monkeypatch.chdir(tmp_path)
    installed(entry_points="[dgl_mutual.datasets]\nDIGITS = plugpack.ideas:function\ntu/Foo = plugpack.ideas:function\n")
    _, out, _ = command_line("data", "list")
    assert [" ".join(line.split()) for line in out.splitlines() if "plugpack" in line] == [
        f"{name} installed from plugpack 1.0; the name means the built-in one, so name it plugpack.ideas:function"
        for name in ("DIGITS", "tu/Foo")
    ]
    monkeypatch.setattr(DATASET_REGISTRY, "_told", set())
    with pytest.warns(UserWarning, match="plugpack 1.0 provides a dataset 'DIGITS', too"):
        assert load_dataset("digits", "graph").name == "digits"
    assert command_line("data", "fetch", "DIGITS").out == "DIGITS: built in, nothing to fetch\n"
    assert find_custom("DIGITS") is None and find_custom("tu/Foo") is None
