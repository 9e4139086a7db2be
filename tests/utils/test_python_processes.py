from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from dgl_mutual.utils import python_processes
from dgl_mutual.utils.python_processes import VARIABLE, same_path, surroundings, take_over

#: Run as a file of another folder: the working folder is then not on the path.
PROGRAM = """
import os, sys
sys.path.append({package!r})

if __name__ == "__main__":
    from functools import partial
    from dgl_mutual.experiments.executors.local import in_processes
    from dgl_mutual.experiments.processes import process_apart
    from dgl_mutual.utils.imports import import_object
    CALLS = [(os.getcwd, []), (os.getenv, ["PYTHONSAFEPATH"]), (import_object, ["mine:VALUE"])]
    calls = [partial(f, *a) for f, a in CALLS]
    print(*sorted(map(str, in_processes(calls, 2, 1)), key=len, reverse=True))
    with process_apart() as pool:
        print(*(pool.submit(f, *a).result() for f, a in CALLS))
    print(os.getcwd(), "PYTHONSAFEPATH" in os.environ)
"""
SHADOWS = ("joblib", "numpy", "psutil", "random", "threading")


@pytest.mark.skipif(os.name == "nt", reason="files of the working folder are only looked for where processes are started so")
@pytest.mark.parametrize("options", [[], ["-E"]])  # with -E as on Python 3.10, where no variable keeps the folder off the path
def test_processes_run_no_files_of_the_working_folder_but_those_named(options: list[str], tmp_path: Path) -> None:
    program, folder, ran = tmp_path / "bin" / "program.py", tmp_path / "here", tmp_path / "ran"
    for made in (program.parent, folder, ran):
        made.mkdir()
    program.write_text(PROGRAM.format(package=str(Path(__file__).parents[2])))
    for name in SHADOWS:
        (folder / f"{name}.py").write_text(f"open({str(ran / name)!r}, 'w'); raise ImportError('not the library')")
    (folder / "mine.py").write_text("VALUE = 0")
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    ended = subprocess.run([sys.executable, *options, str(program)], cwd=folder, env=environment, capture_output=True, text=True)
    assert not list(ran.iterdir())
    assert ended.stdout.splitlines() == [f"{folder} None 0", f"{folder} None 0", f"{folder} False"], ended.stderr


def test_a_process_that_imports_from_the_working_folder_has_its_processes_do_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    elsewhere = [entry for entry in sys.path if entry not in ("", str(tmp_path))]
    for path, safe in [
        (["", *elsewhere], False),
        ([str(tmp_path), *elsewhere], False),
        ([*elsewhere, str(tmp_path)], True),
        (elsewhere, True),
    ]:
        monkeypatch.setattr(sys, "path", path)
        with same_path():
            assert (os.environ.get(VARIABLE) == "1") is safe
        assert VARIABLE not in os.environ


@pytest.mark.parametrize("value", [None, "1"])
def test_surroundings_come_back(value: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.setattr(python_processes, "_reads_environment", lambda: False)
    monkeypatch.delenv(VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(VARIABLE, value)
    before = surroundings()
    with ThreadPoolExecutor(1) as thread, same_path():
        assert os.getcwd() == os.path.dirname(os.__file__)
        other = thread.submit(surroundings)
        wait([other], timeout=0.2)
    assert other.result() == before
    assert surroundings() == before == (str(tmp_path), value)
    take_over("/", "2")
    assert surroundings() == ("/", "2")
    take_over(*before)
