from __future__ import annotations

import sys
import types

import pytest

from dgl_mutual.reference.requirement import SUPPORTED, MissingReference, require_torch_geometric

INSTALL = "pip install 'dgl-mutual[reference]'"


def test_the_installed_version_is_returned() -> None:
    installed = pytest.importorskip("torch_geometric", reason="needs torch_geometric")
    assert require_torch_geometric() == installed.__version__


def test_a_missing_torch_geometric_is_one_line_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_geometric", None)
    with pytest.raises(MissingReference) as caught:
        require_torch_geometric()
    assert "\n" not in str(caught.value) and "not installed" in str(caught.value) and INSTALL in str(caught.value)


@pytest.mark.parametrize("version", ["1.7.2", "2.4.0", "3.0.0"])
def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    module = types.ModuleType("torch_geometric")
    module.__version__ = version  # type: ignore[attr-defined]  # a module may have any attribute
    monkeypatch.setitem(sys.modules, "torch_geometric", module)
    with pytest.raises(MissingReference, match=version) as caught:
        require_torch_geometric()
    assert SUPPORTED in str(caught.value) and INSTALL in str(caught.value)


def test_a_broken_torch_geometric_says_what_broke(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.delitem(sys.modules, "torch_geometric", raising=False)

    class Broken:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name == "torch_geometric":
                raise OSError("libpyg.so: undefined symbol")

    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(MissingReference, match="undefined symbol"):
        require_torch_geometric()
