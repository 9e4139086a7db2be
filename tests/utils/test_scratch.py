from __future__ import annotations

import copy
import errno
import gc
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import filelock
import pytest

from dgl_mutual.errors import StoreError, UsageError
from dgl_mutual.utils.scratch import temporary_folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_only_folders_of_killed_processes_are_removed(tmp_path: Path) -> None:
    for name in (".dgl-mutual-dead", ".dgl-mutual-living", ".dgl-mutual-mine", ".other-dead"):
        (tmp_path / name / "below").mkdir(parents=True)
        if name != ".dgl-mutual-mine":  # without a lock it need not be ours
            (tmp_path / f"{name}.lock").touch()
    with filelock.FileLock(tmp_path / ".dgl-mutual-living.lock"), temporary_folder() as folder:
        kept = [".dgl-mutual-living", ".dgl-mutual-living.lock", ".dgl-mutual-mine", ".other-dead", ".other-dead.lock"]
        scratch = Path(folder)
        assert names(tmp_path) == sorted([*kept, scratch.name, f"{scratch.name}.lock"])
        with temporary_folder() as other:
            assert other != folder and scratch.is_dir()
    assert names(tmp_path) == kept


def test_files_that_only_look_like_locks_stay(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / ".dgl-mutual-link.lock").symlink_to(tmp_path / "mine")
    (tmp_path / ".dgl-mutual-text.lock").write_text("mine, too")
    (tmp_path / ".dgl-mutual-text").mkdir()
    before = names(tmp_path)
    with temporary_folder():
        pass
    assert names(tmp_path) == before
    assert (tmp_path / "mine").read_text() == "mine" and (tmp_path / ".dgl-mutual-text.lock").read_text() == "mine, too"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    (tmp_path / ".dgl-mutual-dead").symlink_to(tmp_path / "mine")
    (tmp_path / ".dgl-mutual-dead.lock").touch()
    with temporary_folder():
        pass
    assert (tmp_path / "mine" / "file").exists()


def test_temporary_folders_of_killed_processes_go(tmp_path: Path) -> None:
    code = """
import os, signal
from dgl_mutual.utils.scratch import temporary_folder
folder = temporary_folder()
open(os.path.join(folder.name, "0"), "w").close()
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], check=False, env={**os.environ, "TMPDIR": str(tmp_path)})
    left = names(tmp_path)
    with temporary_folder() as first, temporary_folder() as second:
        assert len(left) == 2 and not {*left} & {*names(tmp_path)}
        assert Path(first).stat().st_mode & 0o777 == 0o700 and Path(second).is_dir()
    assert names(tmp_path) == []


def test_locks_of_another_user_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".dgl-mutual-dead").mkdir()
    (tmp_path / ".dgl-mutual-dead.lock").touch()
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    with temporary_folder():
        assert (tmp_path / ".dgl-mutual-dead").is_dir()


def test_a_folder_that_cannot_be_removed_keeps_its_lock_and_goes_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", lambda *_, **__: None)  # as where no more files can be opened
        with temporary_folder() as folder:
            pass
        left = {Path(folder).name, f"{Path(folder).name}.lock"}
        assert {*names(tmp_path)} == left
        with temporary_folder() as other:  # which sweeps in vain
            pass
        assert {*names(tmp_path)} == {*left, Path(other).name, f"{Path(other).name}.lock"}
    with temporary_folder():
        assert not left & {*names(tmp_path)}
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_locked_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(filelock.FileLock, "acquire", refused)
    with pytest.raises(StoreError, match=r"No folder for temporary files.*Too many open files.*ulimit"):
        temporary_folder()
    assert names(tmp_path) == []


def test_a_temporary_folder_that_is_kept_outlives_its_process_and_no_other_removes_it(tmp_path: Path) -> None:
    kept, removed = temporary_folder(), temporary_folder()
    names_there = [Path(kept.name).name]
    kept.keep()
    removed.remove()
    kept.remove()
    del kept, removed
    gc.collect()
    with temporary_folder():
        pass
    assert names(tmp_path) == names_there


def test_copies_of_a_temporary_folder_are_the_same_one_and_it_is_not_pickled() -> None:
    folder = temporary_folder()
    copied = copy.deepcopy([folder])
    assert copied == [folder]
    with pytest.raises(UsageError, match=r"cannot be pickled.*experiment\.save\(FOLDER\)"):
        pickle.dumps(folder)


def test_where_a_sweep_has_its_lock_first_another_folder_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes start together: one creates a lock file, and the other locks it, to check whether it was left behind."""
    tokens = iter(["first", "second"])
    monkeypatch.setattr("dgl_mutual.utils.scratch.secrets.token_hex", lambda _: next(tokens))
    with filelock.FileLock(tmp_path / ".dgl-mutual-first.lock"), temporary_folder() as folder:
        assert Path(folder).name == ".dgl-mutual-second" and Path(folder).is_dir()
