from __future__ import annotations

import importlib
from types import ModuleType

import pytest

from dgl_mutual.experiments import doctor

DGL = "dgl!=2.0.0,!=2.1.0,>=1.1.3"


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "requirements", lambda: ["torch>=2.1", DGL, "packaging", 'matplotlib>=3.8; extra == "plot"'])


def findings() -> dict[str, doctor.Finding]:
    return {finding.subject: finding for finding in doctor.diagnose()}


@pytest.mark.usefixtures("declared")
def test_a_sound_environment_passes_messages() -> None:
    found = findings()
    assert all(finding.ok for finding in found.values() if not finding.optional)
    assert found["message passing"].state == "works"


@pytest.mark.usefixtures("declared")
@pytest.mark.parametrize(
    ("version", "state", "mend"),
    [
        (None, "not installed", f'pip install "{DGL}"'),
        ("2.1.0", "2.1.0; cannot be imported with a torch newer than 2.2.1", f'pip install "{DGL}"'),
        ("1.0.0", f"1.0.0; needed is {DGL}", f'pip install "{DGL}"'),
    ],
)
def test_a_wrong_dgl_is_named_with_its_mend(monkeypatch: pytest.MonkeyPatch, version: str | None, state: str, mend: str) -> None:
    installed = doctor.installed_version
    monkeypatch.setattr(doctor, "installed_version", lambda name: version if name == "dgl" else installed(name))
    found = findings()
    assert (found["dgl"].ok, found["dgl"].state, found["dgl"].mend) == (False, state, mend)
    assert "message passing" not in found


@pytest.mark.usefixtures("declared")
@pytest.mark.parametrize(
    ("error", "state", "mend"),
    [
        (ModuleNotFoundError("No module named 'packaging'", name="packaging"), "No module named 'packaging'", "pip install packaging"),
        (OSError("libtorch.so: undefined symbol\nmore"), "OSError: libtorch.so: undefined symbol", "--force-reinstall"),
    ],
)
def test_a_dgl_that_cannot_be_imported_is_named_with_its_mend(
    monkeypatch: pytest.MonkeyPatch, error: Exception, state: str, mend: str
) -> None:
    import_module = importlib.import_module

    def fail(name: str) -> ModuleType:
        if name == "dgl":
            raise error
        return import_module(name)

    monkeypatch.setattr(importlib, "import_module", fail)
    found = findings()["dgl"]
    assert not found.ok
    assert found.state.endswith(state)
    assert mend in found.mend


@pytest.mark.usefixtures("declared")
def test_what_is_optional_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = doctor.installed_version
    monkeypatch.setattr(doctor, "installed_version", lambda name: None if name == "matplotlib" else installed(name))
    found = findings()["matplotlib"]
    assert (found.ok, found.optional, found.mend) == (False, True, 'pip install "dgl-mutual[plot]"')


def test_a_python_without_dgl_wheels_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.version_info", (3, 12, 0, "final", 0))
    found = findings()["python"]
    assert not found.ok
    assert "3.10 and 3.11" in found.state


def test_wrong_sums_are_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    import dgl.ops

    monkeypatch.setattr(dgl.ops, "copy_u_sum", lambda graph, x: x)
    found = doctor._message_passing()
    assert not found.ok
    assert "wrong sums" in found.state
