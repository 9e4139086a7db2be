"""Which changes of code are noticed in the modules that custom code imports."""

from __future__ import annotations

import importlib
import linecache
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dgl_mutual.utils.code_digest import changed_since_import, code_digest
from dgl_mutual.utils.neighbours import Neighbours

FILES = {
    "near_ext/__init__.py": "from .parts import Shown\n",
    "near_ext/nets.py": """
import json
import near_ext.deep.inner
import near_ext.parts as renamed
import near_beside
import numpy
from near_ext.layers import Mlp, Other
from near_ext import Shown
from . import layers, parts, whole
from .deep.inner import *

class Absolute:
    made_of = Mlp

class Attribute:
    def forward(self, x):
        return layers.Conv(x)

class Renamed:
    made_of = renamed.Part

class Dotted:
    made_of = near_ext.deep.inner.Inner

class Passed:
    made_of = [whole]

class Reexported:
    made_of = Shown

class Starred:
    made_of = starred

class Within:
    def forward(self, x):
        from .late import late
        return late(x)

class Beside:
    made_of = near_beside.Thing

class Outside:
    made_of = numpy.zeros, json.dumps
""",
    "near_ext/layers.py": """
from .parts import RATE

class Mlp:
    factor = RATE

class Conv:
    width = 3

class Other:
    width = 5
""",
    "near_ext/parts.py": "RATE = 1.5\n\nclass Part:\n    width = 7\n\nclass Shown:\n    width = 9\n",
    "near_ext/whole.py": "from .late import late\n\nLIMIT = 11\n",
    "near_ext/deep/__init__.py": "",
    "near_ext/deep/inner.py": "from ..parts import Part as of_above\n\nstarred = 13\n\nclass Inner(of_above):\n    pass\n",
    "near_ext/late.py": "def late(x):\n    return 15 * x\n",
    "near_beside.py": "class Thing:\n    width = 17\n",
}


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Writes the files, some of them changed, to be imported anew."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def forget() -> None:
        for name in [name for name in sys.modules if name.startswith("near_")]:
            del sys.modules[name]

    def write_files(**changes: tuple[str, str]) -> None:
        for file, text in FILES.items():
            old, new = changes.get(Path(file).stem, ("", ""))
            assert not old or text.count(old) == 1
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_text(text.replace(old, new) if old else text)
        forget()
        importlib.invalidate_caches()
        linecache.clearcache()

    yield write_files
    forget()


def net(name: str) -> Any:
    return getattr(importlib.import_module("near_ext.nets"), name)


@pytest.mark.parametrize(
    ("name", "file", "change"),
    [
        ("Absolute", "layers", ("factor = RATE", "factor = 2 * RATE")),
        ("Absolute", "parts", ("RATE = 1.5", "RATE = 2.5")),
        ("Attribute", "layers", ("width = 3", "width = 4")),
        ("Renamed", "parts", ("width = 7", "width = 8")),
        ("Dotted", "parts", ("width = 7", "width = 8")),
        ("Passed", "whole", ("LIMIT = 11", "LIMIT = 12")),
        ("Passed", "late", ("15 * x", "16 * x")),
        ("Reexported", "parts", ("width = 9", "width = 10")),
        ("Starred", "inner", ("starred = 13", "starred = 14")),
        ("Within", "late", ("15 * x", "16 * x")),
        ("Beside", "near_beside", ("width = 17", "width = 18")),
    ],
)
def test_a_change_of_what_is_imported_is_noticed(write: Callable[..., None], name: str, file: str, change: tuple[str, str]) -> None:
    write()
    before = code_digest(net(name))
    write(**{file: change})
    assert code_digest(net(name)) not in (before, None)


@pytest.mark.parametrize(
    ("name", "file", "change"),
    [
        ("Absolute", "layers", ("width = 5", "width = 6")),
        ("Attribute", "layers", ("factor = RATE", "factor = 2 * RATE")),
        ("Absolute", "late", ("15 * x", "16 * x")),
        ("Outside", "near_beside", ("width = 17", "width = 18")),
    ],
)
def test_what_is_not_used_of_it_is_no_change(write: Callable[..., None], name: str, file: str, change: tuple[str, str]) -> None:
    write()
    before = code_digest(net(name))
    write(**{file: change})
    assert code_digest(net(name)) == before


def test_an_installed_package_is_followed_into_no_other(write: Callable[..., None], tmp_path: Path) -> None:
    write()
    net("Beside")
    there = {name for name in ("near_ext.layers", "near_beside", "numpy", "json", "near_none") if Neighbours("near_ext.nets").file(name)}
    assert there == {"near_ext.layers", "near_beside"}
    (tmp_path / "near_ext-1.0.dist-info").mkdir()
    assert Neighbours("near_ext.nets").file("near_beside") is None
    assert Neighbours("near_ext.nets").file("near_ext.layers") == tmp_path / "near_ext" / "layers.py"


def test_a_file_of_another_module_of_that_name_is_not_taken(write: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    write()
    net("Beside")
    monkeypatch.setattr(sys.modules["near_beside"], "__file__", __file__)
    assert Neighbours("near_ext.nets").file("near_beside") is None


def test_an_imported_file_that_was_changed_after_the_import_is_noticed(write: Callable[..., None], tmp_path: Path) -> None:
    write()
    found = net("Attribute")
    layers = tmp_path / "near_ext" / "layers.py"
    layers.write_text(layers.read_text().replace("width = 3", "width = 4"))
    os.utime(layers, (1, layers.stat().st_mtime + 10))
    assert changed_since_import(found) == "near_ext.layers:Conv.width"
    assert code_digest(found) is None
    importlib.reload(sys.modules["near_ext.layers"])
    assert changed_since_import(found) is None and code_digest(found) is not None
    assert changed_since_import(net("Absolute")) == "near_ext.nets:Mlp"  # which is still that of the former file
    again = importlib.reload(sys.modules["near_ext.nets"]).Absolute
    assert changed_since_import(again) is None and code_digest(again) is not None


def test_what_another_of_the_modules_sets_is_no_change(write: Callable[..., None]) -> None:
    write(nets=("class Attribute:", "layers.Conv.width = 4\nparts.RATE = 9.5\n\nclass Attribute:"))
    assert changed_since_import(net("Attribute")) is None
    assert changed_since_import(net("Absolute")) is None
    assert importlib.import_module("near_ext.layers").Conv.width == 4


def test_modules_beside_a_script_count(write: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write()
    script = tmp_path / "near_script.py"
    script.write_text("import near_beside\nfrom near_ext.layers import Mlp\n\nclass Net(near_beside.Thing):\n    made_of = Mlp\n")
    before = code_digest(importlib.import_module("near_script").Net)
    for file, change in (("near_beside", ("width = 17", "width = 18")), ("parts", ("RATE = 1.5", "RATE = 2.5"))):
        write(**{file: change})
        assert code_digest(importlib.import_module("near_script").Net) not in (before, None)
