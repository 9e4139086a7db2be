"""Detection of changes of code."""

from __future__ import annotations

import functools
import importlib
import linecache
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dgl_mutual.utils.code_digest import code_digest

MODULE = '''
"""Ideas."""
import functools
import math as maths
from torch import relu as act

RATE = 1.0
OPTIONS = {}
OPTIONS["width"] = 4
OTHER = 1

def scaled(x):
    return RATE * x

def unused(x):
    return -x

class Base:
    """A base."""
    def first(self, x):
        return act(x)

try:
    class Net(Base):
        """What it is."""
        width = OPTIONS["width"]
        def forward(self, x):
            OTHER = 3  # local
            def inner(y):
                return scaled(y) + OTHER
            return inner(x) * maths.pi
except ImportError:
    Net = None

Net.depth = 2

class Call:
    def __call__(self):
        return Net()

def make(width):
    class Made(Base):
        size = width
    return Made

Small = make(8)
Part = functools.partial(scaled, x=3)
short = lambda: scaled(2)
instance = Call()

STRONG = True
if STRONG:
    SIGN = 1
elif RATE:
    SIGN = 2
WEIGHTS = {}
for key in ("a", "b"):
    WEIGHTS[key] = 1
else:
    WEIGHTS["c"] = 2
STEPS = []
while len(STEPS) < 3:
    STEPS.append(0)
try:
    DEPTH = int("2")
except ValueError:
    DEPTH = 4
finally:
    LIMIT = 9
with open(__file__) as source:
    START = source.read(5)
match (SIGN, 5):
    case [1, size] if size > 3:
        SIZE = size
    case [_, other]:
        SIZE = 0
if (half := RATE / 2) > 0.1:
    pass
def set_up():
    global SCALE
    SCALE = 3
set_up()
of_global = lambda: SCALE
from string import *
[STEPS.append(1) for _ in range(2)]
WIDE = (wide := 4) + 1
of_walrus = lambda: wide
ACTS = {}
def register(function):
    ACTS[function.__name__] = function
    return function
@register
def act_of_table(x):
    return 7 * x
from functools import cache
@cache
def kept(x):
    return 17 * x
@cache
def kept_beside(x):
    return 23 * x
COUNTS = {}
def fill(number):
    COUNTS["b"] = number
fill(19)
first = COUNTS.setdefault("a", 11)
of_register = lambda: ACTS["act_of_table"]
of_setdefault = lambda: COUNTS
of_if = lambda: SIGN
of_for = lambda: (key, WEIGHTS)
of_while = lambda: STEPS
of_try = lambda: (DEPTH, LIMIT)
of_with = lambda: START
of_match = lambda: SIZE
of_header = lambda: (source, other, half)

if __name__ == "__main__":
    OTHER, y = 1, 2
else:
    IMPORTED = 13
of_import = lambda: IMPORTED
'''


@pytest.fixture
def digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str | None]]:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def of(name: str, *changes: tuple[str, str]) -> str | None:
        text = MODULE
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (tmp_path / "digested_ideas.py").write_text(text)
        sys.modules.pop("digested_ideas", None)
        importlib.invalidate_caches()
        linecache.clearcache()
        return code_digest(getattr(importlib.import_module("digested_ideas"), name), f"digested_ideas:{name}")

    yield of
    sys.modules.pop("digested_ideas", None)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("Net", ("RATE = 1.0", "RATE = 2.0")),
        ("of_global", ("SCALE = 3", "SCALE = 4")),
        ("Net", ("from string import *", "from textwrap import *")),
        ("of_while", ("for _ in range(2)]", "for _ in range(3)]")),
        ("of_walrus", ("wide := 4", "wide := 5")),
        ("of_register", ("@register\ndef act_of_table", "def act_of_table")),
        ("of_register", ("    return 7 * x", "    return 8 * x")),
        ("of_setdefault", ("fill(19)", "fill(20)")),
        ("of_setdefault", ("11)", "12)")),
        ("of_import", ("IMPORTED = 13", "IMPORTED = 14")),
        ("Net", ("RATE * x", "RATE + x")),
        ("Net", ("return act(x)", "return -act(x)")),
        ("Net", ("relu as act", "tanh as act")),
        ("Net", ('OPTIONS["width"] = 4', 'OPTIONS["width"] = 8')),
        ("Net", ("Net.depth = 2", "Net.depth = 3")),
        ("Net", ("maths.pi", "maths.e")),
        ("Net", ("OTHER = 3", "OTHER = 4")),
        ("Small", ("make(8)", "make(64)")),
        ("Small", ("size = width", "size = 2 * width")),
        ("Part", ("x=3", "x=4")),
        ("Part", ("RATE = 1.0", "RATE = 2.0")),
        ("short", ("scaled(2)", "scaled(3)")),
        ("short", ("RATE = 1.0", "RATE = 2.0")),
        ("instance", ("return Net()", "return Net() or None")),
        ("instance", ("RATE = 1.0", "RATE = 2.0")),
        ("Net", ("except ImportError", "except OSError")),
        ("of_if", ("if STRONG", "if not STRONG")),
        ("of_if", ("STRONG = True", "STRONG = False")),
        ("of_if", ("elif RATE", "elif not RATE")),
        ("of_for", ('("a", "b")', '("a", "c")')),
        ("of_for", ('WEIGHTS["c"] = 2', 'WEIGHTS["c"] = 3')),
        ("of_while", ("len(STEPS) < 3", "len(STEPS) < 4")),
        ("of_try", ("except ValueError", "except TypeError")),
        ("of_try", ("DEPTH = 4", "DEPTH = 5")),
        ("of_try", ("LIMIT = 9", "LIMIT = 8")),
        ("of_with", ("open(__file__) as", 'open(__file__, "rb") as')),
        ("of_match", ("if size > 3", "if size > 4")),
        ("of_match", ("case [1, size]", "case [size, 1]")),
        ("of_match", ("SIZE = 0", "SIZE = 1")),
        ("of_header", ("open(__file__) as", 'open(__file__, "rb") as')),
        ("of_header", ("(SIGN, 5)", "(SIGN, 6)")),
        ("of_header", ("RATE / 2", "RATE / 4")),
    ],
)
def test_a_change_of_what_it_uses_is_noticed(digest: Callable[..., str | None], name: str, change: tuple[str, str]) -> None:
    before, after = digest(name), digest(name, change)
    assert before is not None and after is not None and before != after


@pytest.mark.parametrize(
    "change",
    [
        ("return -x", "return x"),
        ("OTHER = 1\n\ndef", "OTHER = 5\n\ndef"),
        ("OTHER, y = 1, 2", "OTHER, y = 7, 8"),
        ('"""What it is."""', '"""What else it is."""'),
        ('"""A base."""', "# A comment."),
        ("return RATE * x", "return (RATE\n        * x)"),
        ("make(8)", "make(9)"),
        ("if STRONG", "if not STRONG"),
    ],
)
def test_changes_of_unused_code_are_not_noticed(digest: Callable[..., str | None], change: tuple[str, str]) -> None:
    assert digest("Net") == digest("Net", change)


def test_changes_of_others_with_the_same_imported_decorator_are_not_noticed(digest: Callable[..., str | None]) -> None:
    assert digest("kept") == digest("kept", ("23 * x", "24 * x"))
    assert digest("kept") != digest("kept", ("17 * x", "18 * x"))


def test_code_without_source_has_no_digest() -> None:
    made: dict[str, Any] = {"__name__": "nowhere"}
    exec("class Net:\n    pass\n", made)
    assert code_digest(made["Net"]) is None
    assert code_digest(functools.partial(made["Net"], 1)) is None
    assert code_digest(len) is None
