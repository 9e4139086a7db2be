"""Who imports whom: no circle between modules, and arrows between the rooms of the package that run one way."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import networkx as nx
import pytest

import dgl_mutual
import dgl_mutual.data
import dgl_mutual.experiments
import dgl_mutual.nn
import dgl_mutual.reporting
import dgl_mutual.store
import dgl_mutual.strategies.base
import dgl_mutual.strategies.terms
import dgl_mutual.training

PACKAGE = Path(dgl_mutual.__file__).parent
#: From the top: a room imports from those in lines below its own, and from no other of its line.
ROOMS = (
    ("cli",),
    ("experiment_api",),
    ("api",),
    ("experiments", "reporting"),
    ("reference",),
    ("training",),
    ("strategies",),
    ("cohort",),
    ("weightings",),
    ("coordinator", "joint"),
    ("nn",),
    ("data",),
    ("statistics", "distributions", "options", "registry", "store"),
    ("search_space", "utils"),
    ("dgl_compat", "errors", "version"),
)
#: These only pass on what others offer.
FRONT = {"dgl_mutual", "dgl_mutual.__main__"}


@cache
def imports(folder: Path = PACKAGE) -> nx.DiGraph[str]:
    """An arrow from each module to each that it imports, anywhere in it, for types too."""
    files = {".".join(("dgl_mutual", *file.relative_to(folder).with_suffix("").parts)): file for file in folder.rglob("*.py")}
    modules = {name.removesuffix(".__init__"): file for name, file in files.items()}
    graph: nx.DiGraph[str] = nx.DiGraph()
    for module, file in modules.items():
        graph.add_node(module)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{module} has a relative import"
                names = [name if (name := f"{node.module}.{entry}") in modules else str(node.module) for entry in names]
            graph.add_edges_from((module, name) for name in names if name in modules and name != module)
    return graph


def room(module: str) -> str:
    return module.split(".")[1]


def circles(graph: nx.DiGraph[str]) -> list[list[str]]:
    return [sorted(circle) for circle in nx.strongly_connected_components(graph) if len(circle) > 1]


def upward(graph: nx.DiGraph[str]) -> list[str]:
    """Arrows between rooms that do not lead to a line further down."""
    line = {name: index for index, names in enumerate(ROOMS) for name in names}
    return [
        f"{here} -> {there}"
        for here, there in graph.edges
        if not {here, there} & FRONT and room(here) != room(there) and line[room(here)] >= line[room(there)]
    ]


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles(imports()) == []


def test_folders_import_each_other_in_no_circle() -> None:
    """Modules that lie in no folder of a room stand for themselves; those of data and training count as a folder."""
    graph, of_folders = imports(), nx.DiGraph()
    folder = {module: module if module.count(".") < 3 else module.rpartition(".")[0] for module in graph}
    whole = {"dgl_mutual.data", "dgl_mutual.training"}
    packages = {module.rpartition(".")[0] for module in graph}
    folder |= {module: f"{above}.*" for module in graph if (above := module.rpartition(".")[0]) in whole and module not in packages}
    of_folders.add_edges_from((folder[here], folder[there]) for here, there in graph.edges if folder[here] != folder[there])
    assert circles(of_folders) == []


def test_rooms_import_only_from_rooms_below() -> None:
    graph = imports()
    assert {room(module) for module in graph if module not in FRONT} == {name for names in ROOMS for name in names}
    assert upward(graph) == []


def test_nothing_imports_the_front() -> None:
    assert not [f"{here} -> {there}" for here, there in imports().edges if there in FRONT and here not in FRONT]


ROOMS_IN_ORDER = [dgl_mutual.data, dgl_mutual.experiments, dgl_mutual.nn, dgl_mutual.reporting, dgl_mutual.store, dgl_mutual.training]


@pytest.mark.parametrize("room", [*ROOMS_IN_ORDER, dgl_mutual.strategies.base, dgl_mutual.strategies.terms])
def test_modules_import_only_from_those_listed_before_them(room: ModuleType) -> None:
    lines = re.findall(r"^(\w+(?:, \w+)*)   *\S", room.__doc__ or "", re.MULTILINE)
    order = [f"{room.__name__}.{name}" for line in lines for name in line.split(", ")]
    depth = room.__name__.count(".") + 2
    parts = {name: ".".join(name.split(".")[:depth]) for name in imports() if name.startswith(f"{room.__name__}.")}
    assert sorted(order) == sorted(set(parts.values()))
    arrows = [(parts[here], parts[there]) for here, there in imports().edges if here in parts and there in parts]
    assert [f"{here} -> {there}" for here, there in arrows if here != there and order.index(here) < order.index(there)] == []


def test_tables_and_plots_load_neither_torch_nor_dgl() -> None:
    names = sorted(name for name in imports() if name.startswith("dgl_mutual.reporting"))
    code = f"import sys, importlib; [*map(importlib.import_module, {names})]; sys.exit(bool({{'torch', 'dgl'}} & {{*sys.modules}}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_circle_and_an_arrow_that_runs_up_are_found(tmp_path: Path) -> None:
    for name, text in {
        "__init__": "",
        "nn/__init__": "",
        "nn/a": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from dgl_mutual.nn.b import B\n",
        "nn/b": "def late():\n    from dgl_mutual.nn import a\n",
        "data/c": "import dgl_mutual.nn.a\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.py").write_text(text)
    graph = imports(tmp_path)
    assert circles(graph) == [["dgl_mutual.nn.a", "dgl_mutual.nn.b"]]
    assert upward(graph) == ["dgl_mutual.data.c -> dgl_mutual.nn.a"]
