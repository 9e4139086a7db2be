"""Files and folders that permissions close, also to the superuser."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

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
