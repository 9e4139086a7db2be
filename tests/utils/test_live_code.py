"""Differences between imported code and its file are detected, without false alarms."""

from __future__ import annotations

import importlib
import linecache
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from dgl_mutual.utils.code_digest import changed_since_import, code_digest
from tests.utils.test_code_digest import MODULE

SOURCE = '''
from __future__ import annotations

import contextlib
import dataclasses
import enum
import functools
from typing import Any, NamedTuple

import torch
from pydantic import BaseModel
from torch import nn

FACTOR = 2.0
SHAPE = (1, 2)
MODEL = None
COUNT = 0
TABLE: dict = {}
LATER = 1
LATER = 2

def plain(fn):
    def other(*args):
        return fn(*args)
    return other

def naming(fn):
    @functools.wraps(fn)
    def wrapper(*args):
        return fn(*args)
    return wrapper

def helper(x, power=2, *, shift=0.5):
    """Helps."""
    global COUNT
    COUNT += 1
    TABLE["calls"] = COUNT
    names = {"a", "b", "c"}
    return FACTOR * x**power + shift if len(names) == 3 and x in (1, 2) else x

class Colour(enum.Enum):
    RED = 1

class Point(NamedTuple):
    x: int = 3

@dataclasses.dataclass(slots=True)
class Shape:
    size: int = 4

    def area(self):
        return self.size**2

class Options(BaseModel):
    rate: float = 0.5

    def half(self):
        return self.rate / 2

class Base:
    def __init_subclass__(cls):
        cls.name = cls.__name__

class Net(nn.Module, Base):
    scale = 3.0
    calls = 0
    shape = SHAPE
    __hidden = 1

    def __init__(self, width=8, *, depth=1):
        super().__init__()
        self.options, self.point, self.colour, self.shape_ = Options(), Point(), Colour.RED, Shape()

    @torch.no_grad()
    def frozen(self, x):
        return 5 * x

    @plain
    def wrapped(self, x):
        return x

    @naming
    def named(self, x):
        return 6 * x

    @property
    def size(self):
        return 7

    @property
    def both(self):
        return 8

    @both.setter
    def both(self, value):
        pass

    @functools.cached_property
    def cached(self):
        return 9

    @staticmethod
    def static(x):
        return 10 * x

    @classmethod
    def of(cls):
        return cls(11)

    def __secret(self):
        return 12

    def forward(self, graph, feat):
        Net.calls += 1
        with contextlib.suppress(KeyError):
            return helper(feat) + sum(self.scale * one for one in [1])

    class Inner:
        def inner(self):
            return 13

    if True:
        def conditional(self):
            return 14
'''


@pytest.fixture
def imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    monkeypatch.syspath_prepend(tmp_path)

    def of(text: str) -> ModuleType:
        (tmp_path / "live_ideas.py").write_text(text)
        sys.modules.pop("live_ideas", None)
        importlib.invalidate_caches()
        return importlib.import_module("live_ideas")

    yield of
    sys.modules.pop("live_ideas", None)


def write(module: ModuleType, text: str) -> None:
    file = Path(str(module.__file__))
    file.write_text(text)
    os.utime(file, (1, file.stat().st_mtime + 10))
    linecache.checkcache()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("FACTOR = 2.0", "FACTOR = 3.0"), "FACTOR"),
        (("FACTOR = 2.0", "FACTOR = 2"), "FACTOR"),
        (("SHAPE = (1, 2)", "SHAPE = (1, 3)"), "SHAPE"),
        (("power=2", "power=3"), "helper"),
        (("shift=0.5", "shift=0.6"), "helper"),
        (("x**power + shift", "x**power - shift"), "helper"),
        (("x in (1, 2)", "x in (1, 2.0)"), "helper"),
        (("scale = 3.0", "scale = 4.0"), "Net.scale"),
        (("width=8", "width=9"), "Net.__init__"),
        (("depth=1", "depth=2"), "Net.__init__"),
        (("return 5 * x", "return 6.5 * x"), "Net.frozen"),
        (("return 6 * x", "return 7 * x"), "Net.named"),
        (("return 7\n", "return 70\n"), "Net.size"),
        (("return 9\n", "return 90\n"), "Net.cached"),
        (("return 10 * x", "return 11 * x"), "Net.static"),
        (("cls(11)", "cls(12)"), "Net.of"),
        (("return 12\n", "return 120\n"), "Net.__secret"),
        (("one for one in [1]", "one for one in [2]"), "Net.forward"),
        (("return 13\n", "return 130\n"), "Net.Inner.inner"),
        (("    def forward(", "    def extra_repr(self):\n        return ''\n\n    def forward("), "Net.extra_repr"),
        (("    def __secret(self):\n        return 12\n", ""), "Net.__secret"),
        (("size**2", "size**3"), "Shape.area"),
        (("self.rate / 2", "self.rate / 3"), "Options.half"),
    ],
)
def test_a_file_that_was_changed_after_its_import_is_noticed(
    imported: Callable[[str], ModuleType], change: tuple[str, str], told: str
) -> None:
    module = imported(SOURCE)
    assert SOURCE.count(change[0]) == 1
    write(module, SOURCE.replace(*change))
    assert changed_since_import(module.Net, "live_ideas:Net") == f"live_ideas:{told}"
    assert code_digest(module.Net, "live_ideas:Net") is None
    again = importlib.reload(module)
    assert changed_since_import(again.Net, "live_ideas:Net") is None
    assert code_digest(again.Net, "live_ideas:Net") is not None


def by_script(function: Callable[..., object]) -> Callable[..., object]:
    function.__module__ = "__main__"
    return function


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FACTOR", 7.0),
        ("helper", by_script(lambda x: x)),
        ("Net.scale", 7.0),
        ("Net.forward", by_script(lambda self, graph, feat: feat)),
    ],
)
def test_a_value_that_was_replaced_in_the_process_is_noticed(imported: Callable[[str], ModuleType], name: str, value: object) -> None:
    module = imported(SOURCE)
    where, _, last = name.rpartition(".")
    setattr(getattr(module, where) if where else module, last, value)
    assert changed_since_import(module.Net) == f"live_ideas:{name}"


def test_a_method_set_by_another_module_is_not_a_change(imported: Callable[[str], ModuleType]) -> None:
    """As by a library's base class that wraps the methods of its subclasses: each process that imports the file repeats it."""
    module = imported(SOURCE)
    module.Net.forward = lambda self, graph, feat: feat
    assert changed_since_import(module.Net) is None


@pytest.mark.parametrize(
    "changed",
    [
        SOURCE,
        f"# A comment.\n\n{SOURCE}",
        SOURCE.replace("def plain(", "def unused(): ...\n\ndef plain("),
        SOURCE.replace("LATER = 2", "LATER = 3"),
    ],
)
def test_equal_code_has_no_differences(imported: Callable[[str], ModuleType], changed: str) -> None:
    module = imported(SOURCE)
    module.helper(1)
    net = module.Net()
    net.forward(None, 1)
    module.MODEL = net
    assert net.wrapped(1) == 1
    write(module, changed)
    assert changed_since_import(module.Net, "live_ideas:Net") is None


def test_odd_statements_are_the_same(imported: Callable[[str], ModuleType]) -> None:
    module = imported(MODULE)
    named = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == "live_ideas"]
    assert len(named) > 10
    assert {name: changed_since_import(getattr(module, name), f"live_ideas:{name}") for name in named} == dict.fromkeys(named)


def test_the_digest_stays_that_of_what_was_imported(imported: Callable[[str], ModuleType]) -> None:
    """Also if the module does not show which expression has changed."""
    module = imported(SOURCE)
    before = code_digest(module.Net, "live_ideas:Net")
    write(module, SOURCE.replace("TABLE: dict = {}", "TABLE: dict = {1: 1}"))
    assert code_digest(module.Net, "live_ideas:Net") == before
    assert changed_since_import(module.Net, "live_ideas:Net") == "live_ideas:TABLE"
    assert code_digest(importlib.reload(module).Net, "live_ideas:Net") not in (None, before)


def test_a_class_from_before_a_reload_keeps_its_digest(imported: Callable[[str], ModuleType]) -> None:
    module = imported(SOURCE)
    former = module.Net
    before = code_digest(former, "live_ideas:Net")
    write(module, SOURCE.replace("scale = 3.0", "scale = 4.0"))
    importlib.reload(module)
    assert code_digest(former, "live_ideas:Net") == before
    assert changed_since_import(former, "live_ideas:Net") == "live_ideas:Net"


def test_a_module_that_another_tool_has_compiled_is_not_compared() -> None:
    assert changed_since_import(test_odd_statements_are_the_same) is None
