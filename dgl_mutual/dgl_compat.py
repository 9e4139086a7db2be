"""Imports DGL so that it works with the installed Python and torch: ``from dgl_mutual.dgl_compat import dgl``.

`import dgl` loads `dgl.graphbolt` in DGL 2.0 to 2.3, and `import dgl.distributed` does so in later releases. GraphBolt is DGL's loader of
mini-batches, which this package does not use. Each release has its library only for the torch versions of its time: DGL 2.1, the one
release with a wheel for Python 3.12 on the package index, for torch 2.0.0 to 2.2.1, and it needs an old `torchdata` as well. Only where it
cannot be loaded, an empty module replaces it, which raises an error that says so when it is used. DGL 1.1 has no GraphBolt.

All other modules of the package import DGL from here. Scripts that import `dgl` themselves must import this module first.
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
    """Replaces `dgl.graphbolt` where it cannot be loaded."""

    FusedCSCSamplingGraph = FusedCSCSamplingGraph

    def __getattr__(self, name: str) -> Any:
        # An AttributeError, so that hasattr() returns False. Names such as __path__ and __spec__ get the usual message.
        raise AttributeError(name if name.startswith("__") else _missing(name))


def graphbolt_loads(dgl_folder: Path, torch_version: str, torchdata_folder: Path | None) -> bool:
    """Whether the files that `import dgl.graphbolt` needs are there.

    Args:
        dgl_folder: folder of the installed package.
        torch_version: as in ``2.13.0+cpu``; a library is for one release, whatever its build.
        torchdata_folder: folder of the installed package, if any.
    """
    graphbolt = dgl_folder / "graphbolt"
    library = f"*graphbolt_pytorch_{torch_version.partition('+')[0]}.*"  # .so, .dylib or .dll
    if next(graphbolt.glob(library), None) is None:
        return False
    wants_pipes = "torchdata.datapipes" in (graphbolt / "base.py").read_text(encoding="utf-8")
    return not wants_pipes or (torchdata_folder is not None and (torchdata_folder / "datapipes").is_dir())


def _folder(package: str) -> Path | None:
    """The folder of an installed package, without importing it."""
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def _stand_in() -> None:
    """Register the empty module where `import dgl` or `import dgl.distributed` would fail without GraphBolt."""
    folder = _folder("dgl")
    if GRAPHBOLT in sys.modules or folder is None or not (folder / "graphbolt").is_dir():
        return
    try:
        loads = graphbolt_loads(folder, version("torch"), _folder("torchdata"))
    except PackageNotFoundError:  # without torch, DGL's own error says what is missing
        return
    if not loads:
        # Modules that a failed import left behind would be taken for complete.
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
