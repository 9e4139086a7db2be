from __future__ import annotations

from pathlib import Path

import pytest

from dgl_mutual.errors import StoreError
from dgl_mutual.store.files import check_writable, replacing, write_text


def test_a_failure_while_writing_leaves_the_old_file_alone(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    write_text(file, "old")
    with pytest.raises(ZeroDivisionError), replacing(file) as temporary:
        temporary.write_text("half of the n")
        raise ZeroDivisionError
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_until_the_block_ends_the_old_content_stands(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    write_text(file, "old")
    with replacing(file) as temporary:
        temporary.write_text("new")
        assert file.read_text() == "old"
        assert temporary.parent == file.parent
    assert file.read_text() == "new"


def test_a_folder_takes_the_place_of_a_folder_and_leftovers_go(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "weights"
    for name in ("first", "second"):
        leftover = folder.with_name(f".{folder.name}.tmp")
        leftover.mkdir(parents=True)
        (leftover / "leftover").touch()
        with replacing(folder) as temporary:
            temporary.mkdir()
            (temporary / name).touch()
    assert [path.name for path in folder.iterdir()] == ["second"]
    assert list(folder.parent.iterdir()) == [folder]


def test_unwritable_places_are_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for act in (check_writable, lambda path: write_text(path, "")):
        with pytest.raises(StoreError, match=r"Cannot write '.*file/below': .*--out"):
            act(tmp_path / "file" / "below")


def test_checking_leaves_no_trace(tmp_path: Path) -> None:
    check_writable(tmp_path / "not" / "yet")
    assert list(tmp_path.iterdir()) == []
