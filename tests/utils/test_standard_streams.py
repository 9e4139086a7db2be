from __future__ import annotations

import os
import shlex
import sys

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


@pytest.mark.skipif(os.name == "nt", reason="needs a shell")
@pytest.mark.parametrize(("closed", "is_closed"), [(">&-", "sys.stdout is None"), ("<&- >&- 2>&-", "sys.stdin is sys.stderr is None")])
def test_processes_are_started_without_standard_streams(closed: str, is_closed: str) -> None:
    program = shlex.join([sys.executable, "-c", PROGRAM.format(closed=is_closed)])
    assert os.waitstatus_to_exitcode(os.system(f"{program} {closed}")) == 7


def test_streams_are_those_from_before_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    before = sys.stdin, sys.stderr
    monkeypatch.setattr(sys, "stdout", None)
    with streams_opened():
        made = sys.stdout
        print("nowhere")
    assert sys.stdout is None and (sys.stdin, sys.stderr) == before
    assert made.closed
