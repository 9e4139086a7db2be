"""DGL, imported so that it works with the installed Python and torch: ``from dgl_mutual.dgl_compat import dgl``.

DGL 2.0 to 2.3 load `dgl.graphbolt` with everything else, and later releases with `dgl.distributed`. It is DGL's own loader of mini-batches,
which this package does not use, and its library exists for the torch of each release's time only. DGL 2.1, the one release with a wheel
for Python 3.12 on the package index, has it for torch 2.0.0 to 2.2.1, and needs an old `torchdata` as well. Where it cannot be loaded, and
there alone, an empty module stands under its name, which says so when something in it is used. DGL 1.1 has no such part.

Everything else in the package takes DGL from here. Scripts that import `dgl` themselves import this module first.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

GRAPHBOLT = "dgl.graphbolt"


def _missing(name: str) -> str:
    return (
        f"dgl.graphbolt.{name} is not available: DGL {version('dgl')} has no GraphBolt library for torch {version('torch')}. Install a DGL "
        "that was built for this torch (https://www.dgl.ai/pages/start.html)."
    )


class FusedCSCSamplingGraph:
    """A class without instances: DGL's graph store asks whether a graph is one of GraphBolt's."""

    def __init__(self, *_: object, **__: object) -> None:
        raise ImportError(_missing("FusedCSCSamplingGraph"))


class MissingGraphBolt(ModuleType):
    """Stands for `dgl.graphbolt` where that cannot be loaded."""

    FusedCSCSamplingGraph = FusedCSCSamplingGraph

    def __getattr__(self, name: str) -> Any:
        # An AttributeError, so that hasattr() answers no; whoever asks a module for its path or its origin gets the usual answer.
        raise AttributeError(name if name.startswith("__") else _missing(name))


def graphbolt_loads(dgl_folder: Path, torch_version: str, torchdata_folder: Path | None) -> bool:
    """Whether the files are there from which `import dgl.graphbolt` would load.

    Args:
        dgl_folder: of the installed package.
        torch_version: as in ``2.13.0+cpu``; a library is for one release, whatever its build.
        torchdata_folder: of the installed package, if it is.
    """
    graphbolt = dgl_folder / "graphbolt"
    library = f"*graphbolt_pytorch_{torch_version.partition('+')[0]}.*"  # .so, .dylib or .dll
    if next(graphbolt.glob(library), None) is None:
        return False
    wants_pipes = "torchdata.datapipes" in (graphbolt / "base.py").read_text(encoding="utf-8")
    return not wants_pipes or (torchdata_folder is not None and (torchdata_folder / "datapipes").is_dir())


def _folder(package: str) -> Path | None:
    """Where a package is installed, without importing it."""
    found = importlib.util.find_spec(package)
    return Path(found.origin).parent if found is not None and found.origin else None


def _stand_in() -> None:
    """Put the empty module in place where `import dgl` or `import dgl.distributed` would fail for the lack of the real one."""
    folder = _folder("dgl")
    if GRAPHBOLT in sys.modules or folder is None or not (folder / "graphbolt").is_dir():
        return
    try:
        loads = graphbolt_loads(folder, version("torch"), _folder("torchdata"))
    except PackageNotFoundError:  # without torch DGL says what is missing
        return
    if not loads:
        # What an import that has failed before left behind would be taken for whole.
        for name in [name for name in sys.modules if name.startswith("dgl.")]:
            del sys.modules[name]
        sys.modules[GRAPHBOLT] = MissingGraphBolt(GRAPHBOLT, "Not available with this torch.")


if "dgl" not in sys.modules:
    _stand_in()

# DGL 2.4 no longer imports all of its modules by itself.
import dgl  # noqa: E402  # only after the stand-in
import dgl.dataloading  # noqa: E402  # only after the stand-in
import dgl.distributed  # noqa: E402  # only after the stand-in
import dgl.nn.pytorch  # noqa: E402  # only after the stand-in
import dgl.ops  # noqa: E402  # only after the stand-in

__all__ = ["GRAPHBOLT", "MissingGraphBolt", "dgl", "graphbolt_loads"]
