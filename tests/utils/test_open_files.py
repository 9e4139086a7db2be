from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from dgl_mutual.utils import open_files
from dgl_mutual.utils.open_files import make_room, more_files, too_many_open

pytest.importorskip("resource", reason="there are no such limits on Windows")


def test_the_process_limit_is_raised_and_the_system_limit_is_named() -> None:
    code = """
import os, resource
from dgl_mutual.utils.open_files import make_room
resource.setrlimit(resource.RLIMIT_NOFILE, (20, 120))
make_room(60)
opened = [open(os.devnull) for _ in range(60)]
between = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
make_room(1000)
print(60 <= between < 120, resource.getrlimit(resource.RLIMIT_NOFILE))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "True (120, 120)\n"


def test_without_limits_nothing_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    make_room(10**9)
    assert more_files(100) == "Raise it: ulimit -n 100"


def test_errors_of_too_many_open_files_are_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_files, "_limits", lambda: (64, None))
    refused = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    follows = UnboundLocalError("no pipe")
    follows.__context__ = refused
    for error in (refused, follows, ImportError(f"libtorch.so: cannot open shared object file: {refused.strerror}")):
        assert "The limit is 64 open files per process. Raise it: ulimit -n 4096" in str(too_many_open(error))
    monkeypatch.setattr(open_files, "_limits", lambda: (5000, None))
    assert "Raise it: ulimit -n 10000" in str(too_many_open(refused))
    monkeypatch.setattr(open_files, "_limits", lambda: (64, 64))
    assert "The system limits a process to 64 open files" in str(too_many_open(refused))
    assert "All programs together" in str(too_many_open(OSError(errno.ENFILE, os.strerror(errno.ENFILE))))
    assert too_many_open(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))) is None
