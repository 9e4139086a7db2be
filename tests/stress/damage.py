"""Damage to files, and the bounds within which a reader must refuse it."""

from __future__ import annotations

import resource
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st

from dgl_mutual.errors import DglMutualError

SECONDS, GIGABYTES = 20, 3
TOKENS = [
    *(
        b"",
        b",",
        b"\n",
        b"\r",
        b"\x00",
        b"\xff\xfe",
        b'"',
        b"'",
        b";",
        b":",
        b"-",
        b"- ",
        b"[",
        b"{",
        b"}",
        b"&a ",
        b"*a",
        b"!!python/object:os.system ",
    ),
    *(
        b"nan",
        b"inf",
        b"-1",
        b"0",
        b"1e999",
        b"1e18",
        b"99999999999999999999",
        b"0x1F",
        b"1_000",
        b"0b",
        b"2024-13-45",
        b"true",
        b"null",
        b" ",
    ),
    *(b"9" * 5000, b"[" * 3000, b"=cmd()", b"../../x", b"\xe2\x80\xae", b"label", b"feat", b"graph_id", b"1,1,1,1,1,1,1"),
]


@dataclass(frozen=True)
class Edit:
    """Replaces `length` bytes, at a share of the content, by others."""

    where: float
    length: int
    new: bytes

    def __call__(self, content: bytes) -> bytes:
        start = int(self.where * len(content))
        return content[:start] + self.new + content[start + self.length :]


edits = st.lists(
    st.builds(
        Edit,
        st.floats(0, 1, exclude_max=True),
        st.one_of(st.just(0), st.integers(0, 8), st.just(1 << 30)),
        st.one_of(st.sampled_from(TOKENS), st.binary(max_size=6)),
    ),
    min_size=1,
    max_size=4,
)


def damaged(content: bytes, changes: list[Edit]) -> bytes:
    for change in changes:
        content = change(content)
    return content


@contextmanager
def bounded() -> Iterator[None]:
    """Success or an error of the package; anything else, too much time, or too much memory fails the test."""

    def too_long(*_: object) -> None:
        raise AssertionError(f"it took more than {SECONDS} s")

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (GIGABYTES << 30), hard))
    usual = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    try:
        yield
    except DglMutualError as error:
        assert len(str(error)) < 20_000
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, usual)
        resource.setrlimit(resource.RLIMIT_AS, (before, hard))


def write(folder: Path, files: dict[str, bytes]) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def changed(files: dict[str, bytes]) -> st.SearchStrategy[dict[str, bytes]]:
    """The same files, some of them damaged."""
    return st.dictionaries(st.sampled_from(sorted(files)), edits, min_size=1, max_size=2).map(
        lambda chosen: files | {name: damaged(files[name], changes) for name, changes in chosen.items()}
    )
