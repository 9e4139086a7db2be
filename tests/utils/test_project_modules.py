"""Detection of changes in the modules that custom code imports."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import linecache
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dgl_mutual.utils.code_digest import changed_since_import, code_digest
from dgl_mutual.utils.project_modules import ProjectModules

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

    def forward(self, x):
        return 19 * x

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
    """Write the files, some of them changed, for a new import."""
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
def test_changes_of_unused_imported_code_are_not_noticed(write: Callable[..., None], name: str, file: str, change: tuple[str, str]) -> None:
    write()
    before = code_digest(net(name))
    write(**{file: change})
    assert code_digest(net(name)) == before


def test_an_installed_package_is_followed_into_no_other(write: Callable[..., None], tmp_path: Path) -> None:
    write()
    net("Beside")
    there = {
        name for name in ("near_ext.layers", "near_beside", "numpy", "json", "near_none") if ProjectModules("near_ext.nets").file(name)
    }
    assert there == {"near_ext.layers", "near_beside"}
    (tmp_path / "near_ext-1.0.dist-info").mkdir()
    assert ProjectModules("near_ext.nets").file("near_beside") is None
    assert ProjectModules("near_ext.nets").file("near_ext.layers") == tmp_path / "near_ext" / "layers.py"


def test_a_file_of_another_module_of_that_name_is_not_taken(write: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    write()
    net("Beside")
    monkeypatch.setattr(sys.modules["near_beside"], "__file__", __file__)
    assert ProjectModules("near_ext.nets").file("near_beside") is None


@pytest.fixture
def edit(tmp_path: Path) -> Callable[[str, str, str], None]:
    """Change a file that may have been imported."""

    def change(file: str, old: str, new: str) -> None:
        path = tmp_path / "near_ext" / file
        path.write_text(path.read_text().replace(old, new))
        os.utime(path, (1, path.stat().st_mtime + 10))

    return change


def test_an_imported_function_that_was_changed_after_the_import_is_noticed(write: Callable[..., None], edit: Callable[..., None]) -> None:
    write()
    found = net("Attribute")
    edit("layers.py", "19 * x", "20 * x")
    assert changed_since_import(found) == "near_ext.layers:Conv.forward"
    assert code_digest(found) is None
    importlib.reload(sys.modules["near_ext.layers"])
    assert changed_since_import(found) is None and code_digest(found) is not None


def test_a_change_after_the_first_digest_is_told_of_the_file_until_that_is_imported_again(
    write: Callable[..., None], edit: Callable[..., None]
) -> None:
    write()
    found = net("Attribute")
    before = code_digest(found)
    edit("layers.py", "width = 3", "width = 4")
    assert code_digest(found) == before and changed_since_import(found) == "near_ext.layers:Conv"
    importlib.reload(sys.modules["near_ext.layers"])
    assert changed_since_import(found) is None and code_digest(found) not in (before, None)


def test_modules_that_are_not_imported_yet_count_as_their_files(write: Callable[..., None], edit: Callable[..., None]) -> None:
    write()
    found = net("Within")
    del sys.modules["near_ext.late"]
    before = code_digest(found)
    edit("late.py", "15 * x", "16 * x")
    assert changed_since_import(found) is None
    after = code_digest(found)
    assert found().forward(2) == 32
    assert code_digest(found) == after != before


def test_a_reload_of_one_file_does_not_hide_the_change_of_another(write: Callable[..., None], edit: Callable[..., None]) -> None:
    write()
    found = net("Absolute")
    before = code_digest(found)
    edit("parts.py", "RATE = 1.5", "RATE = 2.5")
    importlib.reload(sys.modules["near_ext.layers"])
    assert changed_since_import(found) == "near_ext.parts:RATE"
    assert code_digest(found) == before is not None


@pytest.mark.parametrize(
    ("name", "file", "change", "told"),
    [
        ("Absolute", "parts", ("RATE = 1.5", "RATE = 2.5"), "near_ext.layers:RATE"),
        ("Absolute", "layers", ("factor = RATE", "factor = RATE\n\n    def forward(self):\n        pass"), "near_ext.nets:Mlp"),
        ("Reexported", "parts", ("width = 9", "width = 10"), "near_ext:Shown"),
    ],
)
def test_objects_of_the_former_file_are_noticed(
    write: Callable[..., None], edit: Callable[..., None], name: str, file: str, change: tuple[str, str], told: str
) -> None:
    write()
    found = net(name)
    edit(f"{file}.py", *change)
    importlib.reload(sys.modules[f"near_ext.{file}"])
    assert changed_since_import(found) == told
    importlib.reload(sys.modules[told.partition(":")[0]])
    assert changed_since_import(net(name)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {
            "near_ext/__init__.py": "from . import nets, patch",
            "near_ext/nets.py": "from .layers import act\n\nclass Net:\n    def forward(self, x):\n        return act(x)\n",
            "near_ext/layers.py": "def act(x):\n    return x\n\ndef other(x):\n    return -x\n",
            "near_ext/patch.py": """
import functools
from . import layers

kept = layers.act
layers.act = functools.wraps(kept)(lambda x: 2 * kept(x))
""",
        },
        {
            "near_ext/__init__.py": "from . import patch, nets",
            "near_ext/nets.py": "from . import layers\n\nclass Net:\n    def forward(self, x):\n        return layers.act(x)\n",
            "near_ext/layers.py": "def act(x):\n    return x\n\ndef other(x):\n    return -x\n",
            "near_ext/patch.py": "from . import layers\n\nlayers.act = layers.other\n",
        },
        {
            "near_ext/__init__.py": "RATE = 1\nfrom .nets import Net\nRATE = 2\n",
            "near_ext/nets.py": "from . import RATE\n\nclass Net:\n    rate = RATE\n",
        },
        {
            "near_ext/__init__.py": "from . import nets, other\n\nother.begin()\n",
            "near_ext/nets.py": "from . import state\nfrom .state import STEPS\n\nclass Net:\n    steps = state.STEPS, STEPS\n",
            "near_ext/state.py": "STEPS = 1\n",
            "near_ext/other.py": "from . import state\n\ndef begin():\n    state.STEPS = 2\n",
        },
    ],
)
def test_replacements_within_a_package_are_not_changes(write: Callable[..., None], tmp_path: Path, changes: dict[str, str]) -> None:
    write()
    for file, text in changes.items():
        (tmp_path / file).write_text(text)
    assert changed_since_import(net("Net")) is None and code_digest(net("Net")) is not None


def test_a_module_that_became_a_package_is_another_file(write: Callable[..., None], tmp_path: Path) -> None:
    write()
    found, folder = net("Renamed"), tmp_path / "near_ext" / "parts"
    assert code_digest(found) is not None
    folder.mkdir()
    (folder.parent / "parts.py").rename(folder / "__init__.py")
    assert changed_since_import(found) == "near_ext.parts:Part"


def test_a_project_of_its_own_beside_a_script_is_not_followed(write: Callable[..., None], tmp_path: Path) -> None:
    write()
    (tmp_path / "near_script.py").write_text("from near_ext.layers import Mlp\n")
    importlib.import_module("near_script")
    assert ProjectModules("near_script").file("near_ext.layers") is not None
    (tmp_path / "near_ext" / "pyproject.toml").touch()
    assert ProjectModules("near_script").file("near_ext.layers") is None
    assert ProjectModules("near_ext.layers").file("near_ext.parts") is not None


def test_large_packages_are_read_once_and_not_to_their_end(
    write: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(nets=("class Absolute:", "from .m0 import f as f0\n\nclass Long:\n    made_of = f0\n\nclass Absolute:"))
    files = [tmp_path / "near_ext" / f"m{number}.py" for number in range(100)]
    for number, file in enumerate(files):
        after = f"from .m{number + 1} import f as g\n" if number < 99 else "g = abs\n"
        file.write_text(f"{after}def f(x):\n    return g(x) + {number}\n")
    found, parsed, parse = net("Long"), [], ast.parse
    monkeypatch.setattr(ast, "parse", lambda *given: parsed.append(given) or parse(*given))
    before = code_digest(found)
    num_parsed = len(parsed)
    assert num_parsed <= 2 * 51
    assert changed_since_import(found) is None and code_digest(found) == before
    assert len(parsed) == num_parsed
    files[60].write_text("def f(x):\n    return x\n")
    assert changed_since_import(found) is None
    files[40].write_text("def f(x):\n    return x\n")
    assert changed_since_import(found) == "near_ext.m40:f"


def test_a_dotted_name_that_is_deeper_than_its_path_has_no_modules_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, file = ".".join("near" for _ in range(len(tmp_path.parts) + 2)), tmp_path / "deep.py"
    file.write_text("import json\n\nclass Net:\n    made_of = json\n")
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    assert code_digest(module.Net) is not None


def test_values_set_by_another_module_are_not_changes(write: Callable[..., None]) -> None:
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
