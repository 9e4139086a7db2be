"""The temporary files of torch_geometric, which leaves them behind: the code of each layer that it makes, and a folder of its compiler."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from dgl_mutual.utils.scratch import temporary_folder

#: Where the compiler of torch has its folder. A user's own choice stays.
_COMPILER = "TORCHINDUCTOR_CACHE_DIR"
#: Where the processes that are started have their temporary files.
_PROCESSES = "TMPDIR"


@contextmanager
def own_temporary_files() -> Iterator[None]:
    """Have the temporary files of this process, and of those that it starts, in a folder that goes at the end of a block.

    Raises:
        StoreError: there is no place for one.
    """
    before, variables = tempfile.tempdir, {name: os.environ.get(name) for name in (_COMPILER, _PROCESSES)}
    with temporary_folder() as folder:
        tempfile.tempdir = os.environ[_PROCESSES] = folder
        os.environ.setdefault(_COMPILER, os.path.join(folder, "compiler"))
        try:
            yield
        finally:
            tempfile.tempdir = before
            for name, value in variables.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value
