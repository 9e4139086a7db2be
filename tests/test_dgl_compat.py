from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path

import pytest
import torch

import dgl_mutual
from dgl_mutual import dgl_compat
from dgl_mutual.dgl_compat import GRAPHBOLT, MissingGraphBolt, dgl, graphbolt_loads

PACKAGE = Path(dgl_mutual.__file__).parent


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A DGL with GraphBolt for torch 2.2.1, which wants torchdata, and a torchdata with what it wants."""
    for name in ("dgl/graphbolt", "torchdata/datapipes"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "dgl/graphbolt/base.py").write_text("from torchdata.datapipes.iter import IterDataPipe\n")
    (tmp_path / "dgl/graphbolt/libgraphbolt_pytorch_2.2.1.so").touch()
    return tmp_path


def test_graphbolt_loads_where_its_library_and_torchdata_are(installed: Path) -> None:
    folder, torchdata = installed / "dgl", installed / "torchdata"
    assert graphbolt_loads(folder, "2.2.1", torchdata)
    assert graphbolt_loads(folder, "2.2.1+cu121", torchdata)
    assert not graphbolt_loads(folder, "2.2.10", torchdata)
    assert not graphbolt_loads(folder, "2.13.0+cpu", torchdata)
    assert not graphbolt_loads(folder, "2.2.1", None)
    (torchdata / "datapipes").rmdir()  # torchdata 0.10 and later
    assert not graphbolt_loads(folder, "2.2.1", torchdata)
    (folder / "graphbolt/base.py").write_text("from torch.utils.data import IterDataPipe\n")  # DGL 2.4
    assert graphbolt_loads(folder, "2.2.1", None)


def stand_in(monkeypatch: pytest.MonkeyPatch, folders: dict[str, Path | None], torch_version: str) -> object:
    """What stands under the name of GraphBolt where packages are in these folders."""
    monkeypatch.setattr(dgl_compat, "_folder", folders.get)
    monkeypatch.setattr(dgl_compat, "version", lambda name: torch_version)
    kept = {name: module for name, module in sys.modules.items() if name.startswith("dgl.")}
    sys.modules.pop(GRAPHBOLT, None)
    try:
        dgl_compat._stand_in()
        return sys.modules.get(GRAPHBOLT)
    finally:
        sys.modules.pop(GRAPHBOLT, None)
        sys.modules.update(kept)


def test_a_module_stands_in_only_where_dgl_could_not_be_imported(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {"dgl": installed / "dgl", "torchdata": installed / "torchdata"}
    assert isinstance(stand_in(monkeypatch, folders, "2.13.0"), MissingGraphBolt)
    assert stand_in(monkeypatch, folders, "2.2.1") is None
    assert stand_in(monkeypatch, {"dgl": None}, "2.13.0") is None
    (installed / "dgl/graphbolt").rename(installed / "graphbolt")  # DGL 1.1 has none
    assert stand_in(monkeypatch, folders, "2.13.0") is None


def test_what_stands_in_says_so_only_when_it_is_used() -> None:
    module = MissingGraphBolt(GRAPHBOLT)
    assert not hasattr(module, "unique_and_compact")
    assert not isinstance(dgl.graph(([0], [0])), module.FusedCSCSamplingGraph)
    with pytest.raises(ImportError, match=r"dgl\.graphbolt\.FusedCSCSamplingGraph is not available"):
        module.FusedCSCSamplingGraph()
    assert not hasattr(module, "__path__")
    with pytest.raises(AttributeError, match=r"dgl\.graphbolt\.unique_and_compact is not available: DGL .* no GraphBolt library for torch"):
        module.unique_and_compact  # noqa: B018  # using it is the test


def test_this_dgl_works() -> None:
    graph = dgl.graph(([0, 1], [1, 2]))
    assert dgl.ops.copy_u_sum(graph, torch.ones(3, 1)).flatten().tolist() == [0, 1, 1]
    graphbolt = sys.modules.get(GRAPHBOLT)
    has_it = importlib.util.find_spec("dgl") is not None and (Path(dgl.__file__).parent / "graphbolt").is_dir()
    assert (graphbolt is not None) == has_it


def test_nothing_else_in_the_package_imports_dgl() -> None:
    found = []
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] == "dgl" for name in names):
                found.append(file.relative_to(PACKAGE).as_posix())
    assert set(found) == {"dgl_compat.py"}
