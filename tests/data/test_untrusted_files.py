"""What is recorded of files that cannot be read."""

from __future__ import annotations

import errno
import zlib
from pathlib import Path

import pytest

from dgl_mutual.data.files.untrusted_files import recording
from dgl_mutual.data.values.faults import Faults
from dgl_mutual.errors import DataError
from dgl_mutual.utils.files import RefusedFile


@pytest.mark.parametrize(
    ("error", "rule"),
    [
        (RefusedFile("it is a folder"), "it is a folder"),
        (OSError(errno.EIO, "Input/output error"), "the file cannot be opened or read (Input/output error)"),
        (OSError("no gzip file"), "expected text (OSError: no gzip file)"),
        (zlib.error("bad block"), "expected text (error: bad block)"),
        (KeyError("k" * 1000), f"expected text (KeyError: '{'k' * 199}...)"),
    ],
)
def test_errors_are_recorded_as_faults(error: Exception, rule: str) -> None:
    faults = Faults()
    with recording(Path("a.txt"), faults, "expected text"):
        raise error
    assert [(fault.file, fault.rule) for fault in faults.found] == [(Path("a.txt"), rule)]


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.ENOMEM, "Cannot allocate memory"), DataError("two"), UserWarning("odd")])
def test_errors_that_are_not_faults_of_the_file_are_raised(error: Exception) -> None:
    faults = Faults()
    with pytest.raises(type(error)), recording(Path("a.txt"), faults, "expected text"):
        raise error
    assert not faults.found
