from __future__ import annotations

from pathlib import Path

import pytest

from dgl_mutual.data.sources.folders import data_folders, user_path
from dgl_mutual.data.sources.load import find_source, load_dataset
from dgl_mutual.errors import DataError, DglMutualError, UsageError
from dgl_mutual.training.checkpoints import load_student

NO_PATHS = ["~nosuchuser", "~nosuchuser/data", "n" * 300, "./" + "n" * 300 + "/data", "a\0b", "loop"]


@pytest.mark.parametrize("path", NO_PATHS)
def test_invalid_paths_are_refused(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    for use in (user_path, find_source, load_student):
        with pytest.raises(UsageError, match=r"The path .* (cannot be used|names the home)"):
            use(path)  # type: ignore[operator]  # each takes a path
    with pytest.raises(UsageError, match="The path"):
        data_folders(Path(path))


def test_a_file_is_not_called_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DglMutualError, match=r"file is not a folder\. It was named by data_dir \(on the command line: --data-dir\)"):
        data_folders(tmp_path / "file")


def test_paths_need_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/data") == tmp_path / "data" and user_path("a/b") == Path("a/b")
    (tmp_path / "file").touch()
    assert user_path(tmp_path / "file" / "below") == tmp_path / "file" / "below"


def test_a_set_that_is_missing_is_fetched_by_the_name_that_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("tu/FOO", "MUTAG"):
        with pytest.raises(DataError, match=rf"'dgl-mutual data fetch {name}'"):
            load_dataset(name, data_dir=tmp_path, offline=True)
        find_source(name)


@pytest.mark.parametrize("name", ["tu/" + "N" * 300, "tu/" + "N" * 61])
def test_names_of_sets_that_no_file_can_have(name: str) -> None:
    with pytest.raises(DglMutualError, match=r"cannot be used|does not exist|Unknown"):
        load_dataset(name, offline=True)
