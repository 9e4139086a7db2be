"""Files and folders that permissions close, also to the superuser, and a disk without room."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any, NoReturn

import pytest


def close(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Let the system refuse to open `path`."""
    opened, access = os.open, os.access

    def refusing(name: Any, *arguments: Any, **options: Any) -> int:
        if name == path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opened(name, *arguments, **options)

    monkeypatch.setattr(os, "open", refusing)
    monkeypatch.setattr(os, "access", lambda name, *arguments, **options: name != path and access(name, *arguments, **options))


def full_disk(*_: Any, **__: Any) -> NoReturn:
    """In place of whatever writes: no space is left."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
