from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from dgl_mutual.utils.standard_streams import streams_opened

PROGRAM = """
import os, sys
from functools import partial
from dgl_mutual.experiments.executors.local import in_processes
from dgl_mutual.experiments.processes import process_apart
found = [*in_processes([partial(abs, -1)] * 2, 2, 1)]
with process_apart() as pool:
    found.append(pool.submit(abs, -2).result())
os._exit(7 if found == [1, 1, 2] and {closed} else 1)
"""


#: Files that are opened before processes start, as by libraries and for the lock of a run, get the descriptors of closed streams.
EXPERIMENT = """
import os
import dgl_mutual
if __name__ == "__main__":
    found = dgl_mutual.experiment("digits", "independent", students="gcn,gcn", seeds=2, jobs=2, out={out!r}, training={{"epochs": 1}})
    os._exit(7 if len(found.trials) and found.failures.empty else 1)
"""


@pytest.mark.skipif(os.name == "nt", reason="needs a shell")
@pytest.mark.parametrize("closed", [">&- 2>&-", "<&- >&- 2>&-"])
def test_an_experiment_without_standard_streams(closed: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(EXPERIMENT.format(out=str(tmp_path / "results")))
    program = shlex.join([sys.executable, str(tmp_path / "program.py")])
    assert os.waitstatus_to_exitcode(os.system(f"{program} {closed}")) == 7


@pytest.mark.skipif(os.name == "nt", reason="needs a shell")
@pytest.mark.parametrize(("closed", "is_closed"), [(">&-", "sys.stdout is None"), ("<&- >&- 2>&-", "sys.stdin is sys.stderr is None")])
def test_processes_are_started_without_standard_streams(closed: str, is_closed: str) -> None:
    program = shlex.join([sys.executable, "-c", PROGRAM.format(closed=is_closed)])
    assert os.waitstatus_to_exitcode(os.system(f"{program} {closed}")) == 7


def test_a_stream_that_can_only_be_written_to_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that writes to a terminal and to a file."""
    tee = SimpleNamespace(write=lambda text: len(text), flush=lambda: None)
    monkeypatch.setattr(sys, "stdout", tee)
    with streams_opened():
        assert sys.stdout is tee
    assert sys.stdout is tee


def test_streams_are_those_from_before_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    before = sys.stdin, sys.stderr
    monkeypatch.setattr(sys, "stdout", None)
    with streams_opened():
        made = sys.stdout
        print("nowhere")
    assert sys.stdout is None and (sys.stdin, sys.stderr) == before
    assert made.closed
