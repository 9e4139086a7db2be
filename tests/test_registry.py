from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import dgl_mutual
from dgl_mutual.errors import UsageError
from dgl_mutual.registry import Registry, subclass_of
from dgl_mutual.strategies import STRATEGY_REGISTRY, resolve_strategy
from dgl_mutual.utils.imports import import_object, is_import_path, not_importable

IDEAS = """
from dgl_mutual.strategies.base.strategy import Strategy

class Alone(Strategy):
    min_students = 1

    def loss_terms(self, step):
        return {"supervised": self.supervised(step)}

    class Inner:
        pass

class Unfinished(Strategy):
    pass

def function():
    pass

value = 3
"""

MODULES = {
    "ideas.py": IDEAS,
    "raising.py": "def fail():\n    raise ValueError('no luck')\n\nfail()\n",
    "leaving.py": "import sys\nsys.exit(3)\n",
    "lacking.py": "import a_package_that_nobody_has\n",
    "unreadable.py": "def (:\n",
}


def write_package(folder: Path, name: str = "plugpack", entry_points: str = "", version: str = "1.0") -> None:
    """An installed package: its modules, and the metadata that pip would write."""
    package = folder / name
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for file, text in MODULES.items():
        (package / file).write_text(text)
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(entry_points)


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch):
    """What a test imports is not there for the next one, nor are the folders that it is found in."""
    known = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in set(sys.modules) - known:
        if name.split(".")[0] in ("plugpack", "broken", "other"):
            del sys.modules[name]


@pytest.fixture
def installed(tmp_path, monkeypatch, forgetful):
    def install(name: str = "plugpack", entry_points: str = "") -> None:
        write_package(tmp_path / name, name, entry_points)
        monkeypatch.syspath_prepend(str(tmp_path / name))

    return install


def test_an_import_path_is_followed_into_classes(installed):
    installed()
    found = STRATEGY_REGISTRY.find("plugpack.ideas:Alone")
    assert (found.name, found.value.__name__, found.value.name, found.origin) == ("plugpack.ideas:Alone", "Alone", "Alone", "import path")
    assert import_object("plugpack.ideas:Alone.Inner").__qualname__ == "Alone.Inner"


def test_the_working_folder_counts_last(tmp_path, monkeypatch, forgetful):
    write_package(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    assert resolve_strategy("plugpack.ideas:Alone").__name__ == "Alone"
    assert sys.path[-1] == str(tmp_path)


def test_a_name_that_is_missing_elsewhere_leaves_the_path_alone(tmp_path, monkeypatch, forgetful):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError):
        resolve_strategy("json.decoder.nothing:X")
    with pytest.raises(UsageError):
        resolve_strategy("dgl_mutual.nonsense:X")
    assert str(tmp_path) not in sys.path


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("plugpac.ideas:Alone", r"there is no module 'plugpac', neither installed nor in the working folder .* start from the folder"),
        ("plugpack.idea:Alone", r"there is no module 'plugpack.idea'"),
        ("plugpack.ideas.deeper:Alone", r"there is no module 'plugpack.ideas.deeper'"),
        ("ideas.py:Alone", r"Write 'ideas:Alone'"),
        ("plugpack.ideas:Alon", r"'plugpack.ideas' has no 'Alon'. Did you mean 'Alone'\?"),
        ("plugpack.ideas:Xyz", r"It has: .*function"),
        ("plugpack.ideas:", r"the form is package.module:Name"),
        (":Alone", r"the form is package.module:Name"),
        ("a:b:c", r"the form is package.module:Name"),
        ("../evil:X", r"the form is package.module:Name"),
        ("plugpack.raising:X", r"raised ValueError: no luck \(.*raising.py, line 2\). Correct that module"),
        ("plugpack.leaving:X", r"raised SystemExit: 3"),
        ("plugpack.lacking:X", r"raised ModuleNotFoundError: No module named 'a_package_that_nobody_has'"),
        ("plugpack.unreadable:X", r"raised SyntaxError: .*unreadable.py, line 1"),
        ("plugpack.ideas:function", r"plugpack.ideas:function is not a class but a function. Give a subclass of dgl_mutual.Strategy"),
        ("plugpack.ideas:value", r"is not a class but an int"),
        ("plugpack.ideas:Alone.Inner", r"is not a subclass of dgl_mutual.Strategy"),
        ("plugpack.ideas:Unfinished", r"is abstract. Define its loss_terms"),
    ],
)
def test_an_object_that_is_no_strategy_or_cannot_be_imported_is_refused(installed, path, message):
    installed()
    with pytest.raises(UsageError, match=message):
        resolve_strategy(path)


@pytest.mark.parametrize("given", [3, [], object(), dict, lambda: None, sys])
def test_another_object_is_no_strategy(given):
    with pytest.raises(UsageError, match=r"is not a (class|subclass)"):
        resolve_strategy(given)


def test_nothing_in_place_of_a_name_is_told():
    with pytest.raises(UsageError, match=r"The name of a strategy is empty \(null\). Give one, for example .*, or leave it out"):
        resolve_strategy(None)


def test_an_object_is_told_by_its_class_alone():
    class Talks:
        def __repr__(self) -> str:
            return "Talks(\n  on two lines\n)"

    with pytest.raises(UsageError) as caught:
        resolve_strategy(Talks())
    assert str(caught.value).startswith("The strategy Talks(...) is not a class but ") and "\n" not in str(caught.value)


def test_an_instance_is_not_the_class(installed):
    class Base: ...

    registry: Registry[type[Base]] = Registry("thing", {}, subclass_of(Base, "Base"), "dgl_mutual.things")
    with pytest.raises(UsageError, match=r"is an instance\. Give the class itself, Base"):
        registry.find(Base())  # type: ignore[arg-type]  # the mistake is the test


def test_an_unknown_name_lists_built_in_names_plug_ins_and_the_import_path(installed):
    installed(entry_points="[dgl_mutual.strategies]\nalone = plugpack.ideas:Alone\n")
    with pytest.raises(UsageError, match=r"Unknown strategy 'alon'. Did you mean 'alone'\? Choose from: .*gml.*alone, package.module:Name"):
        resolve_strategy("alon")


def test_a_package_brings_a_strategy_by_name_and_nothing_is_imported_before(installed):
    installed(entry_points="[dgl_mutual.strategies]\nalone = plugpack.ideas:Alone\nbad = plugpack.raising:X\n[console_scripts]\nx = y:z\n")
    assert STRATEGY_REGISTRY.names()[-2:] == ["alone", "bad"]
    assert "plugpack" not in sys.modules
    found = STRATEGY_REGISTRY.find("alone")
    assert (found.value.__name__, found.origin) == ("Alone", "plugpack 1.0")
    with pytest.raises(UsageError, match=r"strategy 'bad' of the installed package plugpack 1.0 cannot be used. .*no luck"):
        resolve_strategy("bad")
    assert resolve_strategy("gml").name == "gml"


def test_built_in_names_cannot_be_replaced_and_two_packages_cannot_share_one(installed, monkeypatch):
    points = "[dgl_mutual.strategies]\ngml = {0}.ideas:Alone\nsame = {0}.ideas:Alone\n"
    installed("plugpack", points.format("plugpack"))
    installed("other", points.format("other"))
    monkeypatch.setattr(STRATEGY_REGISTRY, "_told", set())
    with pytest.warns(UserWarning, match="provides a strategy 'gml', too"):
        assert resolve_strategy("gml").__module__ == "dgl_mutual.strategies.gml"
    with pytest.raises(UsageError, match=r"Several .* other.ideas:Alone \(other 1.0\); plugpack.ideas:Alone \(plugpack 1.0\)"):
        resolve_strategy("same")


def test_a_package_with_the_name_of_a_built_in_item_is_warned_of_once(installed):
    installed(entry_points="[dgl_mutual.things]\nours = plugpack.ideas:Alone\n")
    registry = Registry("thing", {"ours": int, "same": int, "other": str}, lambda value: None, "dgl_mutual.things")
    message = r"plugpack 1\.0 provides a thing 'ours', too\. The built-in one is used; plugpack\.ideas:Alone names the other"
    with pytest.warns(UserWarning, match=message):
        assert registry.find("ours").value is int
    registry.find("ours")
    registry.check_name("ours")
    registry.check_name("other")
    registry.check_name("same")
    assert "plugpack" not in sys.modules
    named_alone = Registry("thing", {"ours": int}, lambda value: None, "dgl_mutual.things")
    with pytest.warns(UserWarning, match=message):
        named_alone.check_name("ours")


def test_a_package_that_is_installed_in_a_running_session_is_found(tmp_path, monkeypatch, forgetful):
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UsageError, match="Unknown strategy 'alone'"):
        resolve_strategy("alone")
    write_package(tmp_path, entry_points="[dgl_mutual.strategies]\nalone = plugpack.ideas:Alone\n")
    assert resolve_strategy("alone").__name__ == "Alone"


def test_a_package_with_unreadable_metadata_hides_no_other(installed, tmp_path):
    installed("broken")
    (tmp_path / "broken" / "broken-1.0.dist-info" / "entry_points.txt").write_bytes(b"\xff\xfe[x\n= =")
    installed(entry_points="[dgl_mutual.strategies]\nalone = plugpack.ideas:Alone\n")
    assert "alone" in STRATEGY_REGISTRY.names()


def test_a_class_has_the_name_by_which_it_is_found_again(installed):
    installed()
    kind = resolve_strategy("plugpack.ideas:Alone")
    assert STRATEGY_REGISTRY.name_of(kind) == "plugpack.ideas:Alone"
    assert STRATEGY_REGISTRY.name_of(resolve_strategy("dml")) == "dml"

    class Local(kind):  # type: ignore[misc, valid-type]  # the base is found at run time
        pass

    with pytest.raises(UsageError, match=r"cannot be found again .* defined inside a function\. Define it at the top level of a module"):
        STRATEGY_REGISTRY.name_of(Local)
    Local.__qualname__, Local.__module__ = "Local", "__main__"
    assert "__main__" in (not_importable(Local) or "")
    Local.__qualname__, Local.__module__ = "Alone", "plugpack.ideas"
    assert "another object" in (not_importable(Local) or "")


@pytest.mark.parametrize(("text", "is_one"), [("a:B", True), ("a.b:C.D", True), ("C:\\data", False), ("gcn", False), ("a.b", False)])
def test_an_import_path_is_recognised(text, is_one):
    assert is_import_path(text) is is_one


def test_public_names_are_imported_on_demand():
    for name in set(dgl_mutual.__all__) - {"__version__"}:
        found = getattr(dgl_mutual, name)
        assert found is getattr(sys.modules[found.__module__], name) and found.__module__.startswith("dgl_mutual.")
    code = "import sys, dgl_mutual, dgl_mutual.registry; sys.exit(any(m in sys.modules for m in ('torch', 'dgl', 'numpy', 'pydantic')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_a_module_draws_when_it_is_imported_is_the_same_in_each_process(tmp_path, monkeypatch, forgetful):
    (tmp_path / "plugpack").mkdir()
    module = "import random\nimport numpy as np\nimport torch\n\nDRAWN = [random.random(), np.random.rand(), float(torch.rand(()))]\n"
    (tmp_path / "plugpack" / "draws.py").write_text(module)
    monkeypatch.syspath_prepend(str(tmp_path))
    drawn = []
    for seed in (1, 2):
        sys.modules.pop("plugpack.draws", None)
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        state = random.getstate(), torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()
        drawn.append(import_object("plugpack.draws:DRAWN"))
        assert state == (random.getstate(), torch.get_rng_state().tolist(), np.random.get_state()[1].tolist())
    assert drawn[0] == drawn[1]


def test_an_interrupt_within_an_import_stays_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Python 3.12, the creation of a class turns it into a RuntimeError."""
    descriptor = "class Descriptor:\n    def __set_name__(self, owner, name):\n        raise KeyboardInterrupt\n"
    (tmp_path / "interrupted_module.py").write_text(f"{descriptor}class Mine:\n    here = Descriptor()\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        resolve_strategy("interrupted_module:Mine")
