from __future__ import annotations

import stat
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest

from dgl_mutual.data.files import unpack as module
from dgl_mutual.data.files.unpack import unpack
from dgl_mutual.errors import DataError


def archive_of(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def special(name: str, mode: int) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name)
    member.external_attr = (mode | 0o777) << 16
    return member


def test_unpacks_plain_files(tmp_path: Path) -> None:
    archive = archive_of(tmp_path / "a.zip", ("TOY/TOY_A.txt", b"1, 2\n"), ("TOY/sub/", b""))
    unpack(archive, tmp_path / "out")
    assert (tmp_path / "out" / "TOY" / "TOY_A.txt").read_bytes() == b"1, 2\n"


HOSTILE = [
    ("../outside.txt", "leads outside"),
    ("TOY/../../outside.txt", "leads outside"),
    ("/tmp/outside.txt", "leads outside"),
    ("..\\outside.txt", "leads outside"),
    ("C:/outside.txt", "leads outside"),
    (special("TOY/link", stat.S_IFLNK), "a link"),
    (special("TOY/pipe", stat.S_IFIFO), "a special file"),
    ("TOY/" + "n" * 256, "too long"),
    ("TOY/" + "\u00e4" * 128, "too long"),
    ("a/" * 40 + "b", "too long"),
    (".", "a file without a name"),
    ("TOY/fine.txt/below", "a file in a file"),
    ("TOY/fine.txt/", "a file in a file"),
    ("TOY//fine.txt", "the same file twice"),
]


@pytest.mark.parametrize(("member", "reason"), HOSTILE)
def test_hostile_members_are_refused_before_anything_is_written(tmp_path: Path, member: str | zipfile.ZipInfo, reason: str) -> None:
    archive = archive_of(tmp_path / "a.zip", ("TOY/fine.txt", b"fine"), (member, b"/etc"))
    with pytest.raises(DataError, match=reason):
        unpack(archive, tmp_path / "deep" / "out")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.zip"]


def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 10_000)
    monkeypatch.setattr(module, "MAX_MEMBERS", 5)
    large = archive_of(tmp_path / "large.zip", ("a", bytes(6_000)), ("b", bytes(6_000)))
    many = archive_of(tmp_path / "many.zip", *((str(number), b"") for number in range(6)))
    for archive, found in ((large, "12000 bytes"), (many, "6 files")):
        with pytest.raises(DataError, match=found):
            unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_archives_that_unpack_to_far_more_than_their_size_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SMALL", 1_000)
    zeros = tmp_path / "zeros.zip"
    with zipfile.ZipFile(zeros, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("TOY/a.txt", bytes(1 << 20))
    assert 250 * zeros.stat().st_size < 1 << 20
    with pytest.raises(DataError, match=r"1048576 bytes; at most .* are expected"):
        unpack(zeros, tmp_path / "out")
    numbers = tmp_path / "numbers.zip"
    with zipfile.ZipFile(numbers, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("TOY/a.txt", "".join(f"{number}, {number + 1}\n" for number in range(50_000)))
    unpack(numbers, tmp_path / "out")


def test_damaged_archive(tmp_path: Path) -> None:
    archive = archive_of(tmp_path / "a.zip", ("TOY/a.txt", b"content" * 100))
    archive.write_bytes(archive.read_bytes()[:-30])
    with pytest.raises(DataError, match="truncated or damaged"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
@pytest.mark.parametrize("is_damaged", [False, True])
def test_codecs_that_no_dataset_uses(tmp_path: Path, method: int, is_damaged: bool) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("TOY/a.txt", b"content" * 1000)
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[50:60] = bytes(10) if is_damaged else content[50:60]
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DataError, match="in a way that no dataset uses"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_archives_damaged_in_any_place(tmp_path: Path) -> None:
    """Unpacked, or refused with an error of the package; nothing is written outside."""
    archive = archive_of(tmp_path / "a.zip", ("TOY/a.txt", b"content" * 100), ("TOY/b.txt", b"more")).read_bytes()
    for index in range(len(archive)):
        value = 0xFF if index % 2 else archive[index] ^ 0x11
        (tmp_path / "a.zip").write_bytes(archive[:index] + bytes([value]) + archive[index + 1 :])
        with suppress(DataError):
            unpack(tmp_path / "a.zip", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) in (["a.zip"], ["a.zip", "out"])
