from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from dgl_mutual.dgl_compat import GRAPHBOLT, MissingGraphBolt
from dgl_mutual.experiments import doctor
from dgl_mutual.nn import kernels
from tests.test_registry import write_package

DGL, OTHER = "dgl!=2.0.*,!=2.1.*,<2.6,>=1.1.3", "dgl<2.6,>=2.1.0"
if sys.version_info >= (3, 12):
    DGL, OTHER = OTHER, DGL
#: As pip writes them for a package that wants one DGL before Python 3.12 and another from then on; this Python is the first of the two.
THIS = f"{sys.version_info[0]}.{sys.version_info[1]}"
MARKED = [f'{OTHER}; python_version > "{THIS}"', f'{DGL}; python_version == "{THIS}"']


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "requirements", lambda: ["torch>=2.1", *MARKED, "packaging", 'matplotlib>=3.8; extra == "plot"'])


def findings() -> dict[str, doctor.Finding]:
    return {finding.subject: finding for finding in doctor.diagnose()}


@pytest.mark.usefixtures("declared")
def test_a_sound_environment_passes_messages() -> None:
    found = findings()
    assert all(finding.ok for finding in found.values() if not finding.optional)
    assert found["message passing"].state == "works"


@pytest.mark.usefixtures("declared")
def test_packaging_is_asked_for_before_what_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    *_, last = doctor.diagnose()
    assert (last.subject, last.ok, last.hint) == ("packaging", False, "pip install packaging")


def test_the_extras_of_users_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        f'{name}>=1; extra == "{extra}"' for extra in ("cluster", "docs", "tune", "test", "dev") for name in (f"{extra}-a", f"{extra}-b")
    ]
    monkeypatch.setattr(doctor, "requirements", lambda: ["torch>=2.1", *lines])
    hints = {subject: finding.hint for subject, finding in findings().items() if finding.state == "not installed"}
    assert hints == {f"{extra}-{name}": f'pip install "dgl-mutual[{extra}]"' for extra in ("cluster", "tune") for name in "ab"}


@pytest.mark.usefixtures("declared")
def test_a_gpu_that_cannot_multiply_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert (findings()["gpu"].ok, findings()["gpu"].hint) == (True, "")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
    monkeypatch.setattr(kernels, "spmm", lambda matrix, x: 1 / 0)
    found = findings()["gpu"]
    assert not found.ok and found.state.startswith("Some GPU; message passing fails: ") and "--device cpu" in found.hint


@pytest.mark.usefixtures("declared")
@pytest.mark.parametrize(
    ("version", "state", "hint"),
    [
        (None, "not installed", f'pip install "{DGL}"'),
        ("2.6.0", f"2.6.0; needed is {DGL}", f'pip install "{DGL}"'),
        ("1.0.0", f"1.0.0; needed is {DGL}", f'pip install "{DGL}"'),
    ],
)
def test_a_wrong_dgl_is_named_with_its_mend(monkeypatch: pytest.MonkeyPatch, version: str | None, state: str, hint: str) -> None:
    installed = doctor.installed_version
    monkeypatch.setattr(doctor, "installed_version", lambda name: version if name == "dgl" else installed(name))
    found = findings()
    assert (found["dgl"].ok, found["dgl"].state, found["dgl"].hint) == (False, state, hint)
    assert "message passing" not in found


@pytest.mark.usefixtures("declared")
@pytest.mark.parametrize(
    ("error", "state", "hint"),
    [
        (ModuleNotFoundError("No module named 'packaging'", name="packaging"), "No module named 'packaging'", "pip install packaging"),
        (OSError("libtorch.so: undefined symbol\nmore"), "OSError: libtorch.so: undefined symbol", "--force-reinstall"),
    ],
)
def test_a_dgl_that_cannot_be_imported_is_named_with_its_mend(
    monkeypatch: pytest.MonkeyPatch, error: Exception, state: str, hint: str
) -> None:
    import_module = importlib.import_module

    def fail(name: str) -> ModuleType:
        if name == "dgl_mutual.dgl_compat":
            raise error
        return import_module(name)

    monkeypatch.setattr(importlib, "import_module", fail)
    found = findings()["dgl"]
    assert not found.ok
    assert found.state.endswith(state)
    assert hint in found.hint


@pytest.mark.usefixtures("declared")
def test_optional_packages_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = doctor.installed_version
    monkeypatch.setattr(doctor, "installed_version", lambda name: None if name == "matplotlib" else installed(name))
    found = findings()["matplotlib"]
    assert (found.ok, found.optional, found.hint) == (False, True, 'pip install "dgl-mutual[plot]"')


@pytest.mark.parametrize(("version", "ok"), [((3, 9, 18), False), ((3, 10, 13), True), ((3, 12, 1), True), ((3, 13, 0), False)])
def test_a_python_without_dgl_wheels_is_named(monkeypatch: pytest.MonkeyPatch, version: tuple[int, int, int], ok: bool) -> None:
    monkeypatch.setattr("sys.version_info", (*version, "final", 0))
    found = doctor._python()
    assert found.ok == ok
    assert ("3.10, 3.11 and 3.12" in found.state, "uv venv --python 3.12" in found.hint) == (not ok, not ok)


def test_remarks_on_a_working_dgl_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, GRAPHBOLT, MissingGraphBolt(GRAPHBOLT))
    assert doctor._remarks("2.1.0+cu121") == "; without dgl.graphbolt, which this torch has no library for and which is not needed"
    monkeypatch.delitem(sys.modules, GRAPHBOLT)
    assert doctor._remarks("1.1.3") == ""
    assert "works, but the tests have run with 1.1.3 and 2.1.0 only" in doctor._remarks("2.4.0")


def test_wrong_sums_are_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    import dgl.ops

    monkeypatch.setattr(dgl.ops, "copy_u_sum", lambda graph, x: x)
    found = doctor._message_passing()
    assert not found.ok
    assert "wrong sums" in found.state


@pytest.mark.usefixtures("declared")
def test_plug_ins_of_installed_packages_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = "[dgl_mutual.students]\na = plugpack.raising:X\nb = plugpack.ideas:Y\n[dgl_mutual.trackers]\nc = plugpack:Z\n"
    write_package(tmp_path, entry_points=points)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = findings()["plugpack 1.0"]
    assert (found.state, found.ok, found.optional) == ("students: a, b; trackers: c", True, True)
    assert "plugpack" not in sys.modules
