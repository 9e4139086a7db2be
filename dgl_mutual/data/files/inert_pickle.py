"""Planetoid's pickles as inert records: no name in them is looked up, and nothing in them is called.

The standard library's `pickletools` splits the file into opcodes. The opcodes of Planetoid's files build plain values and `Record`; any
other opcode or name is refused. Arrays are created from records afterwards, by rules of their own.

`pickle.Unpickler` with a custom `find_class` would refuse names, too, but not files that exhaust memory: its memo, in C, is an array twice
as long as the largest index in the file. For the 7 bytes ``b"Nr\\xff\\xff\\xff\\x7f."`` (None, LONG_BINPUT 0x7fffffff, STOP) it allocates
32 GiB, and raises MemoryError where a process is limited to 3 GiB. The memo here is a dict, as in the slower `pickle._Unpickler`.
"""

from __future__ import annotations

import math
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dgl_mutual.data.values.arrays import native
from dgl_mutual.utils.wording import counted

#: An opcode costs about two microseconds; PubMed's graph has 180,000.
MAX_OPCODES = 1 << 21

ARRAY, DTYPE, MATRIX, DEFAULT_DICT = "_reconstruct", "dtype", "csr_matrix", "defaultdict"
#: The names in Planetoid's files, as Python 2 wrote them, and as newer versions of NumPy and SciPy write them.
_NAMES = {
    ("numpy", "ndarray"),
    ("numpy", DTYPE),
    ("numpy.core.multiarray", ARRAY),
    ("numpy._core.multiarray", ARRAY),
    ("scipy.sparse.csr", MATRIX),
    ("scipy.sparse._csr", MATRIX),
    ("collections", DEFAULT_DICT),
    ("__builtin__", "list"),
    ("builtins", "list"),
}
#: `i4`, `f8` and so on: integers and floats.
_NUMBERS = re.compile(r"[iu][1248]|f[48]")
_Array = npt.NDArray[Any]


class RefusedPickle(ValueError):
    """A pickle that holds what no Planetoid file needs."""


@dataclass(frozen=True)
class Name:
    """A name in a file. It is never looked up."""

    name: str


@dataclass(eq=False)
class Record:
    """A call that a file describes: a name, arguments, a state to set, and entries of a dictionary."""

    name: str
    arguments: tuple[Any, ...]
    state: Any = None
    entries: dict[Any, Any] = field(default_factory=dict)


def read_pickle(content: bytes) -> Any:
    """Read the value of a pickle: numbers, strings, tuples, lists, dicts, and `Record`.

    Raises:
        RefusedPickle: an opcode, a name or a structure that no Planetoid file needs.
        ValueError: it is truncated or damaged.
    """
    machine = _Machine()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        step = _STEPS.get(opcode.name)
        if step is None:
            raise RefusedPickle(f"it holds the opcode {opcode.name}, which no Planetoid file needs: do not trust this file")
        if count >= MAX_OPCODES:
            raise RefusedPickle(f"it has more than {MAX_OPCODES} opcodes")
        step(machine, argument)
    return machine.result()


class _Machine:
    """The stack of values and the memo that opcodes work on."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise RefusedPickle("it takes a value that does not exist")
        return self.stack.pop()

    def pop_many(self, count: int) -> tuple[Any, ...]:
        return tuple(self.pop() for _ in range(count))[::-1]

    def pop_to_mark(self) -> list[Any]:
        if not self.marks:
            raise RefusedPickle("it refers to a mark that does not exist")
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def result(self) -> Any:
        value = self.pop()
        if self.stack or self.marks:
            raise RefusedPickle("it ends with more than one value")
        return value

    def top(self, kind: type) -> Any:
        """The value on top of the stack, which stays there and must be of exactly this type."""
        value = self.pop()
        self.stack.append(value)
        if type(value) is not kind:
            raise RefusedPickle(f"it changes a value of type {type(value).__name__}")
        return value

    def integer(self, value: int) -> None:
        if not -(2**63) <= value < 2**63:
            raise RefusedPickle("it holds an integer of more than 64 bits")
        self.stack.append(value)

    def name(self, module: object, name: object) -> None:
        if not (type(module) is str and type(name) is str and (module, name) in _NAMES):
            shown = f"{module}.{name}"[:80] if type(module) is str and type(name) is str else "something that is not a name"
            raise RefusedPickle(f"it refers to {shown}, which no Planetoid file needs: do not trust this file")
        self.stack.append(Name(name))

    def put(self, place: int) -> None:
        value = self.pop()
        self.stack.append(value)
        self.memo[place] = value

    def get(self, place: int) -> None:
        # Lists, dicts, arrays and matrices occur once each. If they could be shared, a small file could describe arbitrarily large data.
        value = self.memo.get(place)
        if not (isinstance(value, str | bytes | int | tuple | Name) or (isinstance(value, Record) and value.name == DTYPE)):
            raise RefusedPickle(f"it uses a value of type {type(value).__name__} again, which no Planetoid file does")
        self.stack.append(value)

    def append(self, values: list[Any]) -> None:
        self.top(list).extend(values)

    def set_entries(self, values: list[Any]) -> None:
        target = self.stack[-1] if self.stack else None
        is_record = isinstance(target, Record) and target.name == DEFAULT_DICT
        entries = self.top(Record).entries if is_record else self.top(dict)
        if len(values) % 2 or not all(type(key) in (int, str) for key in values[::2]):
            raise RefusedPickle("it holds a dictionary whose keys are neither integers nor strings")
        entries.update(zip(values[::2], values[1::2], strict=True))

    def call(self, names: tuple[str, ...]) -> None:
        function, arguments = self.pop_many(2)
        if not (type(function) is Name and function.name in names and type(arguments) is tuple):
            what = function.name if type(function) is Name else f"a value of type {type(function).__name__}"
            raise RefusedPickle(f"it calls {what}, which no Planetoid file does: do not trust this file")
        self.stack.append(Record(function.name, arguments))

    def build(self) -> None:
        state = self.pop()
        record = self.top(Record)
        if record.name not in (ARRAY, DTYPE, MATRIX) or record.state is not None:
            raise RefusedPickle(f"it sets the state of {record.name} where no Planetoid file does: do not trust this file")
        record.state = state


_Step = Callable[[_Machine, Any], None]


def _tuple(count: int) -> _Step:
    return lambda machine, _: machine.stack.append(machine.pop_many(count))


def _constant(value: object) -> _Step:
    return lambda machine, _: machine.stack.append(value)


def _nothing(machine: _Machine, argument: Any) -> None:
    pass


def _push(machine: _Machine, argument: Any) -> None:
    machine.stack.append(argument)


#: Opcodes of protocol 2, and their equivalents written by Python 3.
_STEPS: dict[str, _Step] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), _nothing),
    **dict.fromkeys(("BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES"), _push),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1"), lambda machine, value: machine.integer(value)),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), lambda machine, index: machine.put(index)),
    "MEMOIZE": lambda machine, _: machine.put(len(machine.memo)),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda machine, index: machine.get(index)),
    "NONE": _constant(None),
    "NEWTRUE": _constant(True),
    "NEWFALSE": _constant(False),
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "EMPTY_TUPLE": _tuple(0),
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.pop_to_mark())),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "APPEND": lambda machine, _: machine.append([machine.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.pop_to_mark()),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "SETITEM": lambda machine, _: machine.set_entries(list(machine.pop_many(2))),
    "SETITEMS": lambda machine, _: machine.set_entries(machine.pop_to_mark()),
    "GLOBAL": lambda machine, text: machine.name(*text.split(" ", 1)),
    "STACK_GLOBAL": lambda machine, _: machine.name(*machine.pop_many(2)),
    "REDUCE": lambda machine, _: machine.call((ARRAY, DTYPE, DEFAULT_DICT)),
    "NEWOBJ": lambda machine, _: machine.call((MATRIX,)),
    "BUILD": lambda machine, _: machine.build(),
}


def make_array(value: Any, dimensions: int) -> _Array:
    """Create the array that a record describes: integers or floats in one or two dimensions, whose shape fits the number of bytes.

    Raises:
        RefusedPickle: it describes no such array.
    """
    state = value.state if isinstance(value, Record) and value.name == ARRAY else None
    if type(state) is not tuple or len(state) != 5 or state[0] != 1:
        raise RefusedPickle(f"an array was expected, found {value.name if isinstance(value, Record) else type(value).__name__}")
    _, shape, kind, is_fortran, content = state
    dtype = _make_dtype(kind)
    if type(shape) is not tuple or not all(type(length) is int and 0 <= length < 2**31 for length in shape):
        raise RefusedPickle("the shape of an array was expected to be integers")
    if len(shape) != dimensions:
        raise RefusedPickle(f"an array of {counted(dimensions, 'dimension')} was expected, found {len(shape)}")
    if type(content) is str:  # Python 2's bytes; any other text becomes too long
        content = content.encode("latin1", errors="backslashreplace")
    if type(content) is not bytes or len(content) != math.prod(shape) * dtype.itemsize:
        raise RefusedPickle(f"an array of {math.prod(shape) * dtype.itemsize} bytes was expected, found other content")
    flat = np.frombuffer(content, dtype) if content else np.zeros(0, dtype)
    return native(flat).reshape(shape, order="F" if is_fortran else "C")


def _make_dtype(value: Any) -> np.dtype[Any]:
    if not (isinstance(value, Record) and value.name == DTYPE and value.arguments and type(value.state) is tuple and len(value.state) == 8):
        raise RefusedPickle("an array of integers or floats was expected, found one without a type")
    code, (version, order, *others) = value.arguments[0], value.state
    # The others say: no subarrays, fields, custom sizes or flags.
    if type(code) is not str or not _NUMBERS.fullmatch(code) or version != 3 or tuple(others) != (None, None, None, -1, -1, 0):
        raise RefusedPickle("an array of integers or floats was expected, found another type")
    if order not in ("<", ">", "|"):
        raise RefusedPickle("the byte order of an array is unknown")
    return np.dtype(f"{order}{code}")
