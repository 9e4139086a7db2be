from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from dgl_mutual.reference.temporary import own_temporary_files


@pytest.mark.parametrize("chosen", [None, "mine"])
def test_temporary_files_go_also_those_of_other_processes(chosen: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    if chosen is not None:
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", chosen)
    before = tempfile.gettempdir(), dict(os.environ)
    code = "import tempfile; print(tempfile.mkstemp()[1])"
    with own_temporary_files():
        mine = Path(tempfile.mkstemp()[1])
        theirs = Path(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip())
        assert mine.is_file() and theirs.is_file()
        assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == chosen or (
            chosen is None and mine.parent.name in os.environ["TORCHINDUCTOR_CACHE_DIR"]
        )
    assert not mine.parent.exists() and not theirs.parent.exists()
    assert (tempfile.gettempdir(), dict(os.environ)) == before
