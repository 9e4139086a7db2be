from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dgl_mutual.errors import StoreError
from dgl_mutual.utils.files import (
    check_regular,
    check_writable,
    read_bytes,
    remove_files,
    replacing,
    set_aside,
    unwritable,
    write_text,
)


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


def test_a_folder_takes_the_place_of_a_folder_and_what_it_lacks_stays(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "weights"
    for content in ("first", "second"):
        with replacing(folder) as temporary:
            temporary.mkdir()
            (temporary / "own").write_text(content)
        if content == "first":
            (folder / "notes").mkdir()
            (folder / "notes" / "mine").write_text("text")
            (folder / "link").symlink_to("nowhere")
    assert (folder / "own").read_text() == "second" and (folder / "notes" / "mine").read_text() == "text"
    assert sorted(path.name for path in folder.iterdir()) == ["link", "notes", "own"] and (folder / "link").is_symlink()
    assert list(folder.parent.iterdir()) == [folder]


def test_kept_entries_of_a_folder_are_not_copied(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    (folder / "mine").mkdir(parents=True)
    holes = [folder / "holes", folder / "mine" / "holes"]
    for file in holes:
        with file.open("wb") as opened:
            opened.truncate(1 << 40)
    os.mkfifo(folder / "pipe")
    before = {file: (file.stat().st_ino, file.stat().st_blocks) for file in holes}
    with replacing(folder) as temporary:
        temporary.mkdir()
        (temporary / "own").touch()
    assert {file: (file.stat().st_ino, file.stat().st_blocks) for file in holes} == before
    assert all(file.stat().st_nlink == 1 for file in holes) and (folder / "pipe").is_fifo() and (folder / "own").exists()


def test_kept_entries_are_copied_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "weights" / "mine").mkdir(parents=True)
    (tmp_path / "weights" / "mine" / "notes").write_text("text")
    (tmp_path / "weights" / "link").symlink_to("nowhere")
    with replacing(tmp_path / "weights") as temporary:
        temporary.mkdir()
    assert (tmp_path / "weights" / "mine" / "notes").read_text() == "text" and (tmp_path / "weights" / "link").is_symlink()


@pytest.mark.parametrize("renames", [1, 2])
def test_a_folder_whose_place_is_being_taken_survives_a_kill(tmp_path: Path, renames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, done, rename = tmp_path / "weights", [], os.replace
    folder.mkdir()
    for name in ("own", "mine"):
        (folder / name).write_text("first")

    def replace_folder() -> None:
        with replacing(folder) as temporary:
            temporary.mkdir()
            (temporary / "own").write_text("second")

    def move(source: Path, target: Path) -> None:
        rename(source, target)
        done.append(target)
        if len(done) == renames:
            os._exit(9)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", move)
        if (child := os.fork()) == 0:
            replace_folder()
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert folder.exists() == (renames == 2)
    write_text(tmp_path / "other", "")  # whatever is written beside it
    assert (folder / "own").read_text() == ("first" if renames == 1 else "second") and (folder / "mine").read_text() == "first"
    replace_folder()
    remove_files(tmp_path)
    assert (folder / "own").read_text() == "second" and (folder / "mine").read_text() == "first"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "weights"]


def test_a_folder_goes_back_where_another_cannot_take_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, tries, rename = tmp_path / "weights", [], os.replace
    folder.mkdir()
    (folder / "mine").touch()

    def refuse(source: Path, target: Path) -> None:
        tries.append(target)
        if len(tries) == 2:  # the old folder is aside, and the new one is to take its place
            raise PermissionError(13, "Permission denied")
        rename(source, target)

    with pytest.raises(StoreError, match="Permission denied"), replacing(folder) as temporary:
        temporary.mkdir()
        (temporary / "own").touch()
        monkeypatch.setattr(os, "replace", refuse)
    assert [path.name for path in tmp_path.iterdir()] == ["weights"] and [path.name for path in folder.iterdir()] == ["mine"]


def test_only_files_of_these_names_are_removed_and_an_empty_folder(tmp_path: Path) -> None:
    for name in ("1.csv", "23.csv", "1.csv.mine", "mine-1.csv"):
        (tmp_path / "folder").mkdir(exist_ok=True)
        (tmp_path / "folder" / name).touch()
    remove_files(tmp_path / "folder", r"[0-9]+\.csv")
    assert sorted(file.name for file in (tmp_path / "folder").iterdir()) == ["1.csv.mine", "mine-1.csv"]
    (tmp_path / "folder" / ".1.dgl-mutual.tmp").touch()
    remove_files(tmp_path / "folder", r".*mine.*")
    remove_files(tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_setting_aside_replaces_nothing(tmp_path: Path) -> None:
    for content in ("one", "two", "three"):
        (tmp_path / "t.csv").write_text(content)
        set_aside(tmp_path / "t.csv")
    assert [(tmp_path / f"t.csv.damaged{end}").read_text() for end in ("", "-2", "-3")] == ["one", "two", "three"]
    with pytest.raises(StoreError, match="Cannot write"):
        set_aside(tmp_path / "t.csv")


def test_unwritable_places_are_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for act in (check_writable, lambda path: write_text(path, "")):
        with pytest.raises(StoreError, match=r"Cannot write '.*file/below': .*Choose another place"):
            act(tmp_path / "file" / "below")


def test_too_many_open_files_are_not_blamed_on_the_path() -> None:
    error = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    assert re.search(r"'there': Too many open files\. Do less at a time.*open files", str(unwritable(Path("there"), error)))


def test_checking_leaves_no_trace(tmp_path: Path) -> None:
    check_writable(tmp_path / "not" / "yet")
    assert list(tmp_path.iterdir()) == []


def test_writers_of_one_file_never_tear_it(tmp_path: Path) -> None:
    """Each has its own temporary name: with a common one, the file of one was renamed while another wrote to it."""
    file = tmp_path / "a.csv"
    with replacing(file) as first, replacing(file) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert file.read_text() == "first"
    assert list(tmp_path.iterdir()) == [file]


def test_old_temporary_files_are_removed_and_fresh_ones_stay(tmp_path: Path) -> None:
    old, fresh, foreign = tmp_path / ".1.dgl-mutual.tmp", tmp_path / ".2.dgl-mutual.tmp", tmp_path / ".a.csv.tmp"
    old.mkdir()
    (old / "half").touch()
    fresh.touch()
    foreign.touch()
    os.utime(old, (0, 0))
    os.utime(foreign, (0, 0))
    write_text(tmp_path / "a.csv", "")
    assert sorted(tmp_path.iterdir()) == [fresh, foreign, tmp_path / "a.csv"]


def test_a_file_does_not_replace_a_folder_nor_a_folder_a_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").touch()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match="a folder of that name"), replacing(tmp_path / "folder") as temporary:
        temporary.touch()
    with pytest.raises(StoreError, match="a file of that name"), replacing(tmp_path / "file") as temporary:
        temporary.mkdir()
    assert (tmp_path / "folder" / "mine").exists() and (tmp_path / "file").read_text() == "mine"


def test_no_link_leads_out_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "run" / "checkpoints").symlink_to(tmp_path / "outside")
    with pytest.raises(StoreError, match="is a link"):
        write_text(tmp_path / "run" / "checkpoints" / "a" / "b", "x", within=tmp_path / "run")
    assert not list((tmp_path / "outside").iterdir())
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "run" / "a.csv").symlink_to(tmp_path / "mine")
    write_text(tmp_path / "run" / "a.csv", "x", within=tmp_path / "run")
    assert (tmp_path / "mine").read_text() == "mine" and not (tmp_path / "run" / "a.csv").is_symlink()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a process")
def test_half_of_a_replaced_folder_does_not_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "weights"

    def write() -> None:
        with replacing(folder) as temporary:
            temporary.mkdir()
            for name in "abc":
                (temporary / name).write_text("")

    def killed(path: Path, **_: object) -> None:
        (path / "a").unlink()
        os._exit(9)

    write()
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed)
        if (child := os.fork()) == 0:
            write()
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert len([*folder.iterdir()]) == 3
    shutil.rmtree(folder)
    write_text(tmp_path / "other", "")
    assert not folder.exists()
    remove_files(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_only_files_are_read_and_no_more_than_they_may_be(tmp_path: Path) -> None:
    file, pipe, link = tmp_path / "file", tmp_path / "pipe", tmp_path / "link"
    file.write_bytes(b"12345")
    os.mkfifo(pipe)
    link.symlink_to("/dev/zero")
    assert read_bytes(file, 5) == b"12345"
    for path, most in ((file, 4), (pipe, 10), (link, 10), (tmp_path, 10), (tmp_path / "none", 10)):
        with pytest.raises(OSError):
            read_bytes(path, most)


def test_a_file_is_read_by_its_real_size(tmp_path: Path) -> None:
    small, holes = tmp_path / "small", tmp_path / "holes"
    small.write_bytes(b"12345")
    with holes.open("wb") as file:
        file.truncate(1 << 40)
    assert read_bytes(small, 1 << 45) == b"12345"  # Python would take memory for all that it is asked to read
    for read in (lambda path: read_bytes(path, 1 << 45), check_regular):
        with pytest.raises(OSError, match="holes"):
            read(holes)
        with pytest.raises(OSError, match="no file can have this name"):
            read(Path("a\0b"))
    assert read_bytes(Path("/proc/self/status"), 1 << 20).startswith(b"Name")


def test_an_error_does_not_name_a_temporary_path(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=rf"Cannot write '{tmp_path}': No space left"), replacing(tmp_path / "folder") as folder:
        folder.mkdir()
        with replacing(folder / "file"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert not [*tmp_path.iterdir()]


def test_a_folder_that_was_moved_away_is_not_made_anew(tmp_path: Path) -> None:
    """A new folder would prevent moving the old one back."""
    run = tmp_path / "run"
    for write in (lambda: write_text(run / "a" / "b.csv", "x", within=run), lambda: write_text(run / "b.csv", "x", within=run)):
        with pytest.raises(StoreError, match=r"run' was removed, moved or replaced"):
            write()
        assert not run.exists()
    run.mkdir()
    write_text(run / "a" / "b.csv", "x", within=run)
    assert (run / "a" / "b.csv").read_text() == "x"


def test_text_does_not_replace_a_folder(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"it is a folder\. Move it away, or rename it\.$"):
        write_text(tmp_path, "")


@pytest.mark.skipif(os.name == "nt", reason="no process is looked for there")
def test_files_of_a_running_process_stay_if_the_clock_is_set_forward(tmp_path: Path) -> None:
    file = tmp_path / "a"
    with replacing(file) as temporary:
        for path in (temporary, dead := temporary.with_name(re.sub(r"\.[0-9]+\.dgl", f".{ended()}.dgl", temporary.name))):
            path.touch()
            os.utime(path, (0, 0))
        write_text(tmp_path / "b", "")
        assert temporary.exists() and not dead.exists()
        remove_files(tmp_path)  # its caller has the folder to itself
        assert not temporary.exists()
        temporary.touch()


def ended() -> int:
    """The ID of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid
