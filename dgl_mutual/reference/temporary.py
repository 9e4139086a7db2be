"""The temporary files that torch_geometric leaves behind: generated code of each layer, and the folder of torch's compiler."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from dgl_mutual.utils.scratch import temporary_folder

#: The folder of torch's compiler. A user's own choice stays.
_COMPILER = "TORCHINDUCTOR_CACHE_DIR"
#: The folder of temporary files of child processes.
_PROCESSES = "TMPDIR"


@contextmanager
def own_temporary_files() -> Iterator[None]:
    """Put temporary files of this process and its child processes into a folder that is deleted at the end of a block.

    Raises:
        StoreError: the folder cannot be made.
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
