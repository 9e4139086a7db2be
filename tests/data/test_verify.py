from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dgl_mutual.data import verify_dataset
from dgl_mutual.errors import DataError

Build = Callable[..., Path]


def test_sound_folder_has_no_faults(build_tu: Build, build_csv: Build) -> None:
    assert verify_dataset(build_tu()) == []
    assert verify_dataset(build_csv()) == []
    assert verify_dataset("digits") == []


@pytest.mark.parametrize("name", ["MUTAG", "ENZYMES", "IMDB-BINARY", "ogbg-molbace", "CiteSeer"])
def test_real_data_are_sound(data_dir: Path, name: str) -> None:
    assert verify_dataset(name, data_dir=data_dir) == []


def test_optional_files_are_those_that_were_published(data_dir: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(data_dir / "tu" / "MUTAG", tmp_path / "tu" / "MUTAG")
    labels = folder / "MUTAG_edge_labels.txt"
    rows = labels.read_text().splitlines()
    labels.unlink()
    assert verify_dataset("MUTAG", data_dir=tmp_path) == []
    labels.write_text("5\n" * len(rows))
    (folder / "MUTAG_edge_attributes.txt").write_text("0.5\n" * len(rows))
    (folder / "notes.txt").write_text("mine")
    faults = {(fault.file.name, fault.rule.split(":")[0]) for fault in verify_dataset("MUTAG", data_dir=tmp_path)}
    assert faults == {
        ("MUTAG_edge_labels.txt", "the file is not the one that was published"),
        ("MUTAG_edge_attributes.txt", "the published MUTAG has no such file, and it is read"),
    }


def test_changed_and_missing_files_of_a_known_dataset(data_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tu" / "MUTAG"
    shutil.copytree(data_dir / "tu" / "MUTAG", folder)
    (folder / "MUTAG_node_labels.txt").unlink()
    labels = folder / "MUTAG_graph_labels.txt"
    labels.chmod(0o644)
    labels.write_text(labels.read_text().replace("-1", "0"))
    faults = {(fault.file.name, fault.rule.split(":")[0]) for fault in verify_dataset("mutag", data_dir=tmp_path)}
    assert faults == {
        ("MUTAG_node_labels.txt", "the file is missing"),
        ("MUTAG_graph_labels.txt", "the file is not the one that was published"),
    }


@pytest.mark.parametrize("name", ["MUTAG_graph_labels.txt", "MUTAG_edge_labels.txt"])
def test_a_file_of_holes_is_refused_once_and_not_hashed(data_dir: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(data_dir / "tu" / "MUTAG", tmp_path / "tu" / "MUTAG")
    (folder / name).unlink()
    with (folder / name).open("wb") as file:
        file.truncate(1 << 40)  # to read it takes an hour
    [fault] = verify_dataset("MUTAG", data_dir=tmp_path)
    assert fault.file.name == name and "are holes" in fault.rule


def test_class_that_only_the_test_part_has(build_planetoid: Build) -> None:
    three = np.eye(3, dtype=np.int32)
    folder = build_planetoid("pubmed", y=three[np.arange(10) % 2], ally=three[np.arange(520) % 2], ty=three[[0, 1, 2]])
    [fault] = verify_dataset("pubmed", data_dir=folder.parent)
    assert "class '2' is in the test part" in fault.rule


def test_nothing_to_verify(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="dgl-mutual data fetch NCI1"):
        verify_dataset("nci1", data_dir=tmp_path)


def test_a_single_class_is_a_fault(build_csv: Build) -> None:
    [fault] = verify_dataset(build_csv(graphs_csv="graph_id,label\n3,yes\n7,yes\n"))
    assert "of one class" in fault.rule


def test_a_fault_names_its_split(build_csv: Build) -> None:
    nodes = "node_id,label,feat,train_mask_0,val_mask_0,test_mask_0,train_mask_1,val_mask_1,test_mask_1\n"
    rows = "a,x,1,1,0,0,0,0,1\nb,x,2,1,0,0,1,0,0\nc,y,3,0,0,1,1,0,0\nd,y,4,0,1,0,0,1,0\n"
    meta = "dataset_name: toy\nnode_data: [{file_name: nodes.csv}]\nedge_data: [{file_name: edges.csv}]\n"
    folder = build_csv(meta_yaml=meta, nodes_csv=nodes + rows, edges_csv="src_id,dst_id\na,b\n", graphs_csv=None)
    [fault] = verify_dataset(folder)
    assert fault.rule == "class 'y' is in the test part of official split 0, but not in its training part"
