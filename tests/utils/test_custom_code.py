"""Attribution of errors to custom code, and the line in the message."""

from __future__ import annotations

import errno
import linecache
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from dgl_mutual.errors import UsageError
from dgl_mutual.strategies.base.exchange import Exchange
from dgl_mutual.utils import custom_code
from dgl_mutual.utils.custom_code import described, errors_attributed_to, is_custom
from dgl_mutual.utils.error_causes import is_interrupt, is_out_of_memory


class Own: ...


def test_errors_that_mean_a_lack_of_memory() -> None:
    for error in (
        *(MemoryError(), OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), RuntimeError("can't allocate memory: 9 bytes")),
        ImportError("libtorch.so: failed to map segment from shared object"),
    ):
        assert is_out_of_memory(error)
    assert not is_out_of_memory(ImportError("no such file")) and not is_out_of_memory(KeyError("failed to map segment"))


def test_an_interrupt_that_was_wrapped_is_still_one() -> None:
    """As wrapped by `type` during the creation of a class, before Python 3.12."""
    wrapped = RuntimeError("Error calling __set_name__")
    wrapped.__cause__ = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt), errors_attributed_to("It"):
        raise wrapped
    other, circular = ValueError("other"), ValueError("circular")
    other.__context__, circular.__cause__ = wrapped, circular
    assert is_interrupt(other) and not is_interrupt(circular) and not is_interrupt(ValueError())


def test_errors_of_the_package_and_of_memory_pass() -> None:
    for error in (UsageError("mine"), MemoryError(), KeyboardInterrupt(), RuntimeError("can't allocate memory: 9 bytes")):
        with pytest.raises(type(error)) as caught, errors_attributed_to("It"):
            raise error
        assert caught.value is error
    ours = ValueError("a fault of ours")
    with pytest.raises(ValueError, match="of ours"), errors_attributed_to("It", Exchange()):
        raise ours
    assert not is_custom(Exchange) and not is_custom(Exchange()) and is_custom(Own) and is_custom(SimpleNamespace())


def test_the_named_line_is_not_of_a_library() -> None:
    try:
        nn.Linear(2, 2)(torch.zeros(3))
    except RuntimeError as error:
        assert "test_custom_code.py, line" in described(error)
    assert described(KeyError()) == "KeyError."
    assert described(RuntimeError("Too big.\nException raised from f at g.cpp:1\nframe #0: h")) == "RuntimeError: Too big.."


@pytest.mark.parametrize("folder", ["site-packages", "dist-packages"])
def test_packages_are_not_taken_for_custom_code(folder: str) -> None:
    code = compile("raise KeyError('deep')", f"/usr/lib/python3/{folder}/anything/inner.py", "exec")
    try:
        exec(code)
    except KeyError as error:
        assert "test_custom_code.py, line" in described(error) and "inner.py" not in described(error)


@pytest.mark.parametrize("file", ["numpy/random/_generator.pyx", "/build/numpy/random/_generator.pyx"])
def test_compiled_code_is_not_taken_for_custom_code(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    error = _raised_in(file)
    assert "test_custom_code.py, line" in described(error) and "_generator" not in described(error)


def test_a_cell_of_a_notebook_is_custom_code(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = "/tmp/ipykernel_7/123.py"
    monkeypatch.setitem(linecache.cache, cell, (1, None, ["raise KeyError('deep')\n"], cell))
    assert f"({cell}, line 1)" in described(_raised_in(cell))


def test_a_folder_whose_name_begins_as_the_packages_is_custom_code(monkeypatch: pytest.MonkeyPatch) -> None:
    file = f"{Path(custom_code.__file__).parents[1]}_runs/mine.py"
    monkeypatch.setitem(linecache.cache, file, (1, None, ["raise KeyError('deep')\n"], file))
    assert f"({file}, line 1)" in described(_raised_in(file))


def _raised_in(file: str) -> KeyError:
    try:
        exec(compile("raise KeyError('deep')", file, "exec"))
    except KeyError as error:
        return error
    raise AssertionError
