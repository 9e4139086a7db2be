from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dgl_mutual.data import find_entry, known_datasets, load_dataset, verify_dataset
from dgl_mutual.errors import DataError, UsageError

Build = Callable[..., Path]


def test_names_in_any_case_and_the_general_tu_form() -> None:
    assert find_entry("CORA").name == "Cora" and find_entry("imdb-binary").name == "IMDB-BINARY"
    assert find_entry("tu/mutag").name == "MUTAG" and find_entry("tu/My_set-2").folder == "tu/My_set-2"
    assert find_entry("ogbg-molhiv").folder == "ogb/ogbg_molhiv"


@pytest.mark.parametrize("name", ["corra", "tu/../x", "tu/", "tu/cora/x", ""])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"Unknown dataset .*Choose from: digits, digits-multi, Cora, .*tu/NAME"):
        find_entry(name)


def test_nearest_name() -> None:
    with pytest.raises(UsageError, match="Did you mean 'PROTEINS'"):
        load_dataset("protein")


def test_task_of_the_dataset_is_checked() -> None:
    with pytest.raises(UsageError, match="MUTAG is a dataset for the graph task, not for 'node'"):
        load_dataset("mutag", "node", offline=True)
    with pytest.raises(UsageError, match=r"digits is a dataset for the node and the graph task, not for 'edge'\. .* 'node' or 'graph'\."):
        load_dataset("digits", "edge")  # type: ignore[arg-type]  # a wrong task


def test_folders(build_tu: Build, build_csv: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_dataset(str(build_tu())).name == "TOY"
    assert load_dataset(build_csv()).name == "toy"
    with pytest.raises(UsageError, match="graph task"):
        load_dataset(tmp_path / "tu" / "TOY", "node")
    with pytest.raises(DataError, match="holds no dataset in a known form"):
        load_dataset(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        load_dataset(tmp_path / "nowhere")
    (tmp_path / "tu" / "TOY" / "OTHER_A.txt").write_text("1, 2\n")
    with pytest.raises(DataError, match="several TU datasets"):
        load_dataset(tmp_path / "tu" / "TOY")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert load_dataset("digits").num_nodes == 1797  # a bare known name is the dataset, ./digits the folder


def test_a_stray_file_does_not_make_another_form_of_a_folder(build_csv: Build, build_tu: Build) -> None:
    folder = build_csv()
    (folder / "notes_A.txt").write_text("1, 2\n")
    assert load_dataset(folder).name == "toy"
    (build_tu() / "meta.yaml").write_text("author: me\n")
    assert load_dataset(build_tu()).name == "TOY"


@pytest.mark.parametrize("by_argument", [True, False])
def test_named_data_folder_that_does_not_exist(by_argument: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DGL_MUTUAL_DATA", str(tmp_path / "gone"))
    with pytest.raises(DataError, match="--data-dir" if by_argument else "DGL_MUTUAL_DATA"):
        load_dataset("cora", data_dir=tmp_path / "gone" if by_argument else None, offline=True)


def test_a_named_data_folder_must_exist_even_if_nothing_is_read_from_it(build_tu: Build, tmp_path: Path) -> None:
    for name in ("digits", str(build_tu())):
        with pytest.raises(DataError, match=r"The data folder .*nowhere does not exist"):
            load_dataset(name, data_dir=tmp_path / "nowhere")


def test_every_entry_is_complete() -> None:
    entries = known_datasets()
    assert len({name.lower() for name in entries}) == len(entries)
    for entry in entries.values():
        assert entry.citation and entry.tasks
        assert (entry.url is None) == (entry.files == ())
    assert len(find_entry("cora").sha256) == 8 and find_entry("pubmed").sha256 == {}
    assert "MUTAG_node_labels.txt" in find_entry("MUTAG").files


def test_the_package_is_light_until_used() -> None:
    code = "import dgl_mutual.data, sys; print([m for m in ('torch', 'dgl', 'pandas', 'sklearn', 'scipy', 'ogb') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_loading_needs_no_torch(build_tu: Build) -> None:
    code = f"import sys; from dgl_mutual.data import load_dataset; load_dataset({str(build_tu())!r}); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"


def test_a_file_in_place_of_a_folder_is_named(build_tu: Callable[..., Path], build_npz: Callable[..., Path], tmp_path: Path) -> None:
    folder = build_tu()
    with pytest.raises(
        DataError, match=rf"is a file, not the folder of a dataset\. Give the folder that holds it: {re.escape(str(folder))}$"
    ):
        load_dataset(folder / "TOY_A.txt")
    with pytest.raises(DataError, match=r"is a file.*Files in the npz form are read for known names only \(Amazon-Computers"):
        load_dataset(build_npz())
    with pytest.raises(DataError, match="does not exist"):
        load_dataset(tmp_path / "nothing")
    with pytest.raises(DataError, match=rf"A folder within it does: {re.escape(str(folder))}$"):
        load_dataset(folder.parent)


def test_advice_fits_where_the_files_come_from(build_tu: Callable[..., Path], tmp_path: Path) -> None:
    folder = build_tu(name="MUTAG", graph_labels="1\nx\n")
    with pytest.raises(DataError) as own:
        load_dataset(folder)
    assert "fetch" not in str(own.value) and str(own.value).endswith("Correct the file.")
    with pytest.raises(DataError, match=rf"remove the folder {re.escape(str(folder))} and download .*: dgl-mutual data fetch MUTAG$"):
        load_dataset("MUTAG", data_dir=tmp_path, offline=True)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("ogbg-molesol", "continuous"),
        ("OGBG-MolLipo", "continuous"),
        ("ogbg-ppa", "only those of molecules are read"),
        ("ogbl-collab", "link prediction"),
        ("ogbn-mag", "heterogeneous"),
        ("ogbn-papers100M", "not read by name"),
        ("QM9", "continuous"),
        ("tu/QM9", "continuous"),
    ],
)
def test_an_unsupported_dataset_is_refused_with_the_reason(name: str, why: str) -> None:
    for use in (load_dataset, verify_dataset):
        with pytest.raises(UsageError, match=rf"^The dataset {name.removeprefix('tu/')} cannot be used: .*{why}"):
            use(name)


def test_a_folder_of_an_ogb_dataset_of_molecules_says_how_it_is_read(build_ogb: Build, tmp_path: Path) -> None:
    folder = build_ogb()
    with pytest.raises(DataError, match=r"read by its name: (ogbg-molbace) --data-dir (.+)$") as caught:
        load_dataset(folder)
    words = str(caught.value).split("by its name: ")[1].split()
    assert load_dataset(words[0], data_dir=Path(words[2]), offline=True).num_graphs == 3
    moved = folder.rename(tmp_path / "ogbg_molbace")
    with pytest.raises(DataError, match=r"move it to DIR/ogb/ogbg_molbace, and give ogbg-molbace --data-dir DIR$"):
        load_dataset(moved)
    with pytest.raises(DataError, match=r"in OGB's form: its target is continuous"):
        load_dataset(moved.rename(tmp_path / "ogbg_molesol"))
