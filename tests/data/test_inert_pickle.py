from __future__ import annotations

import os
import pickle
import pickletools
import struct
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from dgl_mutual.data.files import inert_pickle
from dgl_mutual.data.files.inert_pickle import MATRIX, Record, RefusedPickle, make_array, read_pickle
from dgl_mutual.data.sources.planetoid import _classes, _make_edges, _make_matrix, _make_one_hot, read_planetoid
from dgl_mutual.data.values.faults import Faults, Request
from tests.data.conftest import planetoid_parts

GLOBALS = {
    "ndarray": b"cnumpy\nndarray\n",
    "dtype": b"cnumpy\ndtype\n",
    "array": b"cnumpy.core.multiarray\n_reconstruct\n",
    "matrix": b"cscipy.sparse.csr\ncsr_matrix\n",
    "dict": b"ccollections\ndefaultdict\n",
    "list": b"c__builtin__\nlist\n",
}
NDARRAY, DTYPE, ARRAY, MATRIX_NAME, DICT, LIST = GLOBALS.values()


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value) if -(2**31) <= value < 2**31 else pickle.dumps(value, protocol=2)[2:-1]


def text(value: bytes) -> bytes:
    return b"T" + struct.pack("<i", len(value)) + value


def dtype_of(code: bytes = b"f4", order: bytes = b"<", rest: bytes = b"NNN" + number(-1) * 2 + number(0)) -> bytes:
    return DTYPE + text(code) + number(0) + number(1) + b"\x87R" + b"(" + number(3) + text(order) + rest + b"tb"


def array_of(content: bytes, shape: bytes, dtype: bytes | None = None, version: bytes = b"K\x01") -> bytes:
    """An array as Python 2 and numpy wrote it."""
    start = ARRAY + NDARRAY + b"K\x00\x85" + text(b"b") + b"\x87R"
    return start + b"(" + version + shape + (dtype or dtype_of()) + b"\x89" + text(content) + b"tb"


def stopped(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


def test_arrays_matrices_and_graphs_are_those_of_pythons_unpickler() -> None:
    random = np.random.default_rng(0)
    for protocol in (3, 4):
        for dtype in ("u1", "<i4", ">i8", "<f4", ">f8"):
            for array in (random.integers(0, 9, (4, 3)).astype(dtype), np.asfortranarray(random.integers(0, 9, (4, 3)).astype(dtype))):
                found = make_array(read_pickle(pickle.dumps(array, protocol)), 2)
                assert found.dtype == array.dtype.newbyteorder("=")  # SciPy takes no other order of bytes
                np.testing.assert_array_equal(found, array)
        matrix = sparse.random(7, 5, 0.3, "csr", dtype=np.float32, rng=random)
        assert (_make_matrix(read_pickle(pickle.dumps(matrix, protocol))) != matrix).nnz == 0
        source, destination = _make_edges(read_pickle(pickle.dumps(defaultdict(list, {5: [1, 2], 7: [], 3: [5]}), protocol)))
        assert source.tolist() == [5, 5, 3] and destination.tolist() == [1, 2, 5]
    np.testing.assert_array_equal(
        make_array(read_pickle(stopped(array_of(np.float32([1, 2, 1e-9]).tobytes(), b"K\x03\x85"))), 1), np.float32([1, 2, 1e-9])
    )


@pytest.mark.filterwarnings("ignore:Please import `csr_matrix`:DeprecationWarning")  # the files are of an old SciPy
def test_real_files_are_read_bit_for_bit(data_dir: Path) -> None:
    files = [path for path in sorted((data_dir / "planetoid").glob("ind.*")) if not path.name.endswith("index")]
    assert len(files) >= 14
    for path in files:
        theirs, ours = pickle.loads(path.read_bytes(), encoding="latin1"), read_pickle(path.read_bytes())
        if path.name.endswith("graph"):
            source, destination = _make_edges(ours)
            assert list(zip(source.tolist(), destination.tolist(), strict=True)) == [(a, b) for a, some in theirs.items() for b in some]
        elif path.name.endswith("y"):
            array = make_array(ours, 2)
            assert array.dtype == theirs.dtype and array.tobytes() == theirs.tobytes()
            labelled = theirs.any(axis=1)
            np.testing.assert_array_equal(_classes(_make_one_hot(ours))[labelled], theirs.argmax(axis=1)[labelled])
        else:
            matrix = _make_matrix(ours)
            for part in ("data", "indices", "indptr"):
                assert getattr(matrix, part).dtype == getattr(theirs, part).dtype or part == "data"
                assert getattr(matrix, part).tobytes() == getattr(theirs, part).astype(getattr(matrix, part).dtype).tobytes()
            assert matrix.shape == theirs.shape


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.mark.parametrize(
    "function", [os.mkdir, eval, exec, getattr, np.load, open, sparse.load_npz, np.frombuffer], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_nothing_is_called(tmp_path: Path, function: Any, protocol: int) -> None:
    with pytest.raises(RefusedPickle, match="no Planetoid file needs"):
        read_pickle(pickle.dumps(Calls(function, str(tmp_path / "made")), protocol))
    assert not list(tmp_path.iterdir())


def test_the_state_of_a_dtype_cannot_clear_its_flag_of_objects() -> None:
    """The first half of how raw memory was reached."""
    objects = dtype_of(b"O8", b"|", b"NNN" + number(-1) * 2 + number(0))
    cleared = dtype_of(b"f8", b"<", b"NNN" + number(-1) * 2 + number(63))
    twice = dtype_of() + b"(" + number(3) + text(b"|") + b"NNN" + number(-1) * 2 + number(0) + b"tb"
    fields = dtype_of(b"f8", b"<", b"N" + text(b"a") + b"}" + number(-1) * 2 + number(0))
    for dtype in (
        objects,
        cleared,
        twice,
        fields,
        dtype_of(b"V8"),
        dtype_of(b"f8,f8"),
        dtype_of(b"f16"),
        dtype_of(b"M8"),
        dtype_of(order=b"<" * 9),
    ):
        with pytest.raises(RefusedPickle):
            make_array(read_pickle(stopped(array_of(bytes(8), b"K\x01\x85", dtype))), 1)


OPCODES = {
    "the constructor of arrays, with a buffer": NDARRAY + number(8) + b"\x85" + text(b"x" * 64) + b"\x86R",
    "an array made by NEWOBJ": NDARRAY + number(8) + b"\x85\x81",
    "a dtype made by NEWOBJ": DTYPE + text(b"f4") + b"\x85\x81",
    "a matrix made by a call": MATRIX_NAME + b")R",
    "a matrix of arguments": MATRIX_NAME + b"(" + number(1 << 30) + number(1 << 30) + b"t\x85\x81" + b")R",
    "the state of a class": MATRIX_NAME + b"}" + text(b"toarray") + b"c__builtin__\nlist\n" + b"sb",
    "the state of a function": ARRAY + b"}" + text(b"__code__") + b"Nsb",
    "the state of a list": b"]}b",
    "the state of a dictionary": DICT + LIST + b"\x85R}b",
    "a call of a list": b"])R",
    "a call of text": text(b"os.system") + text(b"ls") + b"\x85R",
    "a call of what was called": DTYPE + text(b"f4") + b"\x85R" + b")R",
    "a call of list": LIST + b")R",
    "a call without a tuple": DTYPE + b"]R",
    "INST": b"(ios\nsystem\n",
    "OBJ": b"(" + LIST + b"o",
    "EXT1": b"\x82\x01",
    "PERSID": b"P1\n",
    "BINPERSID": b"K\x01Q",
    "NEWOBJ_EX": LIST + b")}\x92",
    "DUP": b"]2",
    "POP": b"]]0",
    "POP_MARK": b"](1",
    "GET": b"]p0\ng0\n",
    "INT": b"I1\n",
    "LONG": b"L" + b"9" * 4_000 + b"L\n",
    "FLOAT": b"F1.5\n",
    "BINFLOAT": b"G" + bytes(8),
    "STRING": b"S'a'\n",
    "UNICODE": b"Va\n",
    "LONG4": b"\x8b" + struct.pack("<i", 8) + bytes(8),
    "EMPTY_SET": b"\x8f",
    "BYTEARRAY8": b"\x96" + bytes(8),
    "NEXT_BUFFER": b"\x97",
    "a number of 255 bytes": b"\x8a\xff" + b"\x7f" * 255,
    "a list used twice": b"]q\x00h\x00\x86",
    "a dictionary used twice": b"}q\x00h\x00\x86",
    "a list within itself": b"]q\x00h\x00a",
    "an array used twice": array_of(b"", b"K\x00\x85") + b"q\x00h\x00\x86",
    "a memo without a value": b"h\x05",
    "keys that are lists": b"}(]]u",
    "keys that are tuples": b"}" + b"(" * 3 + b"ttK\x01u",
    "an odd number of entries": b"}(K\x01u",
    "entries of a matrix": MATRIX_NAME + b")\x81(K\x01K\x02u",
    "items of a dictionary": b"}K\x01a",
    "a mark without end": b"(",
    "two values": b"]]",
    "no value": b"",
    "less than a tuple takes": b"K\x01\x87",
    "a value below the mark": b"K\x01(\x85",
    "a name on the stack": text(b"os") + text(b"system") + b"\x93",
    "a name made of lists": b"]]\x93",
}


@pytest.mark.parametrize("kind", OPCODES)
def test_opcodes_that_no_planetoid_file_needs_are_refused(kind: str) -> None:
    body = stopped(OPCODES[kind])
    with pytest.raises(RefusedPickle):
        read_pickle(body)


def test_every_opcode_of_python_is_known_or_refused() -> None:
    """Any content gives either a refusal or a value."""
    for opcode in pickletools.opcodes:
        for argument in (b"", b"\x00" * 9, b"a\nb\n", b"\xff" * 300):
            try:
                read_pickle(b"]](K\x01" + opcode.code.encode("latin1") + argument + b".")
            except ValueError:
                pass
            except Exception as error:
                assert type(error).__module__ == "builtins", opcode.name  # what is damaged; the reader names the file


HUGE = {
    "a shape that lies": array_of(bytes(8), number(1 << 30) + b"\x85"),
    "a shape of 2^40": array_of(bytes(8), number(1 << 40) + b"\x85"),
    "a shape that overflows": array_of(b"", number(1 << 62) * 2 + number(4) + b"\x87"),
    "a negative shape": array_of(bytes(8), number(-2) + b"\x85"),
    "a shape of truth": array_of(bytes(4), b"\x88\x85"),
    "a shape of text": array_of(bytes(4), text(b"a") + b"\x85"),
    "no shape": array_of(bytes(4), b"N"),
    "a scalar": array_of(bytes(4), b")"),
    "too short": array_of(bytes(7), b"K\x02\x85"),
    "too long": array_of(bytes(9), b"K\x02\x85"),
    "another version": array_of(bytes(8), b"K\x02\x85", version=b"K\x02"),
    "text beyond Latin-1": ARRAY
    + NDARRAY
    + b")"
    + b"\x86R(K\x01K\x01\x85"
    + dtype_of(b"u1", b"|")
    + b"\x89X\x03\x00\x00\x00\xe2\x82\xactb",
}


@pytest.mark.parametrize("kind", HUGE)
def test_arrays_that_their_content_does_not_justify(kind: str) -> None:
    with pytest.raises(RefusedPickle):
        make_array(read_pickle(stopped(HUGE[kind])), 1)


def test_lengths_of_text_that_lie() -> None:
    for body in (
        b"T" + struct.pack("<i", 1 << 30) + b"a",
        b"T" + struct.pack("<i", -5),
        b"\x8e" + struct.pack("<Q", 1 << 60),
        b"B" + b"\xff" * 4,
    ):
        with pytest.raises(ValueError):
            read_pickle(stopped(body))


def test_many_small_opcodes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inert_pickle, "MAX_OPCODES", 100_000)
    with pytest.raises(RefusedPickle, match="opcodes"):
        read_pickle(stopped(b")" * 100_000))
    assert type(read_pickle(stopped(b"]" * 40_000 + b"a" * 39_999))) is list


def matrix_state(**changed: Any) -> Record:
    arrays = {"data": np.ones(3, np.float32), "indices": np.array([0, 1, 2], np.int32), "indptr": np.array([0, 1, 3], np.int32)}
    state = {**arrays, "_shape": (2, 3), **changed}
    made = {key: read_pickle(pickle.dumps(value, 4)) if isinstance(value, np.ndarray) else value for key, value in state.items()}
    return Record(MATRIX, (), made)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"indptr": np.array([0, 3, 1])}, "rise from 0"),
        ({"indptr": np.array([1, 1, 3])}, "rise from 0"),
        ({"indptr": np.array([0, -1, 3])}, "rise from 0"),
        ({"indptr": np.array([0, 1, 4])}, "rise from 0"),
        ({"indptr": np.array([0, 1, 2**63 - 1])}, "rise from 0"),
        ({"indptr": np.array([0.0, 1.0, 3.0])}, "not integers"),
        ({"indptr": np.array([0, 3])}, "do not fit"),
        ({"indices": np.array([0, 1, 3])}, "column indices"),
        ({"indices": np.array([0, -1, 2])}, "column indices"),
        ({"indices": np.array([0, 1])}, "do not fit"),
        ({"indices": np.zeros((3, 1), np.int64)}, "1 dimension"),
        ({"_shape": (2, 10**9)}, "expected 1 to 1000000 columns, found 1000000000"),
        ({"_shape": (10**9, 3)}, "do not fit"),
        ({"_shape": (2, 0)}, "column indices"),
        ({"_shape": (-2, 3)}, "two integers"),
        ({"_shape": (True, 3)}, "two integers"),
        ({"_shape": [2, 3]}, "two integers"),
        ({"data": np.array([1, np.inf, 1])}, "finite numbers.*row 1"),
        ({"data": np.array([1e39, 1, 1])}, "finite numbers.*row 0"),
        ({"data": None}, "an array was expected"),
    ],
)
def test_matrices_whose_arrays_do_not_fit(changed: dict[str, Any], message: str) -> None:
    assert _make_matrix(matrix_state()).toarray().tolist() == [[1, 0, 0], [0, 1, 1]]
    with pytest.raises(ValueError, match=message):
        _make_matrix(matrix_state(**changed))


def test_a_reader_names_the_file_whatever_a_pickle_holds(tmp_path: Path) -> None:
    sound = {part: value.encode() if isinstance(value, str) else pickle.dumps(value, 4) for part, value in planetoid_parts().items()}
    bodies = [*OPCODES.values(), *HUGE.values()]
    for index, part in enumerate(("x", "y", "graph")):
        for body in bodies[index::3]:
            for name, content in {**sound, part: stopped(body)}.items():
                if name == part or not (tmp_path / f"ind.cora.{name}").exists():
                    (tmp_path / f"ind.cora.{name}").write_bytes(content)
            faults = Faults()
            with pytest.raises(Exception, match=rf"ind\.cora\.{part}: "):
                read_planetoid(tmp_path, "Cora", faults, Request())
            assert {fault.file.name for fault in faults.found} == {f"ind.cora.{part}"}
        (tmp_path / f"ind.cora.{part}").write_bytes(sound[part])
