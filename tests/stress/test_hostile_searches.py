"""Searches and measured times of somebody else: gone on with or read, or refused with an error of the package.

With ``--stress N``, N hundred inputs a test instead of two dozen.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import strategies as st

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.errors import StoreError
from dgl_mutual.experiments.configuration.config import parse_config, read_config
from dgl_mutual.experiments.tuning import objective
from dgl_mutual.experiments.tuning.search import tune
from dgl_mutual.reporting.plots.style import drawing
from dgl_mutual.reporting.plots.tuning import tuning_history
from dgl_mutual.store.files import BEST_FILE, INFERENCE_FILE, JOURNAL_FILE, TUNING_FILE
from dgl_mutual.store.tables import INFERENCE_COLUMNS, read_inference, read_tuning
from tests.experiments.conftest import ring
from tests.stress.damage import Edit, bounded, changed, damaged, edits, write
from tests.stress.test_hostile_reports import CELLS, VALUES, places, with_cell

__all__ = ["ring"]  # a fixture

QUICK = {"students": "gcn,sage", "strategy": "gml", "training": {"epochs": 12}, "dataset": "ring"}


@pytest.fixture
def search(ring: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Path]:
    """Goes on with a search below a folder, whose trainings take no time, and returns its own folder."""
    pytest.importorskip("optuna")
    monkeypatch.setattr(objective, "fit_resolved", lambda *_, **__: {"mean": SimpleNamespace(val=0.5)})
    return lambda out: tune(parse_config(QUICK), ring, trials=3, out=out, in_memory=True).folder


def with_json(content: bytes, line: float, place: float, value: Any) -> bytes:
    """Lines of JSON in which one value of one line is another."""
    lines = content.splitlines()
    chosen = int(line * len(lines))
    entry = json.loads(lines[chosen])
    *above, last = (found := [each for each in places(entry) if each])[int(place * len(found))]
    group = entry
    for step in above:
        group = group[step]
    group[last] = value
    lines[chosen] = json.dumps(entry).encode()
    return b"\n".join(lines) + b"\n"


JSON_VALUES = st.sampled_from([value for value in VALUES if not hasattr(value, "isoformat") and not isinstance(value, bytes)])
SHARES = st.floats(0, 1, exclude_max=True)


def test_journals(fuzz: Callable[..., None], search: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = search(tmp_path / "sound")
    files = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}

    def test(line: float, index: float, value: Any, changes: list[Edit]) -> None:
        for journal in (with_json(files[JOURNAL_FILE], line, index, value), damaged(files[JOURNAL_FILE], changes)):
            write(tmp_path / "out" / folder.name, {**files, JOURNAL_FILE: journal})
            with bounded():
                search(tmp_path / "out")

    fuzz(test, SHARES, SHARES, JSON_VALUES, edits, share=0.1)


@pytest.mark.filterwarnings("ignore")
def test_what_a_search_and_a_measurement_leave(fuzz: Callable[..., None], search: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = search(tmp_path / "sound")
    row = "0,0,gcn-0,100,30,1.5,1.25,1.75,1,cpu\n"
    tables = {TUNING_FILE: (folder / TUNING_FILE).read_bytes(), INFERENCE_FILE: (",".join(INFERENCE_COLUMNS) + f"\n{row}").encode()}
    files = {BEST_FILE: (folder / BEST_FILE).read_bytes(), **tables}
    celled = st.builds(
        lambda name, index, cell: {**files, name: with_cell(tables[name], index, cell)},
        st.sampled_from(sorted(tables)),
        SHARES,
        st.sampled_from(CELLS),
    )

    def test(content: dict[str, bytes]) -> None:
        out = write(tmp_path / "out", content)
        with bounded():
            parse_config(read_config(out / BEST_FILE))
        with bounded():
            read_inference(out)
        with bounded():
            assert read_tuning(out)["trial"].dtype.kind in "iu"
        with bounded(), drawing():
            tuning_history(out, "name", 1)

    fuzz(test, celled | changed(files), share=0.2)


@pytest.mark.parametrize("number", ["inf", "-1", "0.5", "1e300", ""])
def test_numbers_of_trials_that_no_search_gives_are_refused(search: Callable[[Path], Path], tmp_path: Path, number: str) -> None:
    file = search(tmp_path) / TUNING_FILE
    header, first, *rest = file.read_text().splitlines()
    file.write_text("\n".join([header, f"{number}{first.removeprefix('0')}", *rest]) + "\n")
    with pytest.raises(StoreError, match=r"has (no number where one belongs, in trial:|trial = ).*it can be made again"):
        read_tuning(file.parent)
