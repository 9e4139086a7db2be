from __future__ import annotations

import gc
import importlib
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

# A thread a core in each of several processes is many times slower than one, for what tests compute. Read when torch is imported, below,
# and by the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests import forked

# That a file survives a loss of power shows in no test, and waiting for the disk takes long. A closed file still is an error.
os.fsync = os.fstat


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Test modules, and what they import, stay: no search for garbage goes through them, neither now nor later."""
    if session.config.pluginmanager.hasplugin("dsession"):  # others collect and run tests
        return (yield)
    gc.disable()
    importlib.import_module("dgl_mutual.dgl_compat")  # before tests import DGL
    collected = yield
    gc.freeze()
    gc.enable()
    return collected


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--stress", type=int, default=0, metavar="N", help="crash N times, and fuzz N hundred inputs, in each stress test")


@pytest.fixture(scope="session")
def stress(request: pytest.FixtureRequest) -> int:
    """How much a stress test tries: little, unless --stress asks for more."""
    return int(request.config.getoption("--stress")) or 2


@pytest.fixture
def only_under_stress(request: pytest.FixtureRequest) -> None:
    """For tests that take minutes."""
    if not request.config.getoption("--stress"):
        pytest.skip("takes minutes: ask for it with --stress N")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with the real datasets. Without it, tests that need one are skipped."""
    folder = os.environ.get("DGL_MUTUAL_DATA")
    if not folder:
        pytest.skip("needs real datasets: set DGL_MUTUAL_DATA to the data folder that holds them")
    return Path(folder)


@pytest.fixture
def forked_workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Processes that train are forked (see `forked`), with the environment that there was when the first of them was."""
    from dgl_mutual.experiments.executors import local

    monkeypatch.setattr("joblib.externals.loky.backend.context._DEFAULT_START_METHOD", "forkserver")
    monkeypatch.setattr("dgl_mutual.experiments.executors.local.begin_work", forked.begin_work)
    local.take_kept(None)
    forked.start_server()
    yield
    local.take_kept(None)


@pytest.fixture
def forked_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes of `process_apart` are forked (see `forked`)."""
    monkeypatch.setattr("multiprocessing.get_context", lambda method: forked.CONTEXT)
    monkeypatch.setattr("dgl_mutual.experiments.processes.begin_apart", forked.begin_apart)


@pytest.fixture
def without_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in a figure is moved to make room for the rest, which takes most of the time that a figure takes."""
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("matplotlib.layout_engine.ConstrainedLayoutEngine.execute", lambda engine, figure: None)


@pytest.fixture
def set_threads() -> Iterator[Callable[[int], None]]:
    """Changes how many threads torch has, for the length of a test."""
    import torch

    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
