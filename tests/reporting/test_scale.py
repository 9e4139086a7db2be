from __future__ import annotations

import time
from pathlib import Path

from dgl_mutual.reporting.export import export
from dgl_mutual.reporting.runs import load_runs
from tests.reporting.folders import write_run


def test_ten_thousand_rows_take_less_than_five_seconds(tmp_path: Path) -> None:
    # 13 seeds: the most for which the signed-rank test goes through all ways to swap pairs.
    for index in range(14):
        strategy = f"m{index}" if index else "independent"
        run = write_run(tmp_path, "D0", strategy, level=0.7 + 0.005 * index, seeds=13, students=["gcn"] * 4, epochs=1)
        for data in range(1, 8):
            copied = tmp_path / run.name.replace("D0", f"D{data}")
            copied.mkdir()
            for file in run.iterdir():
                (copied / file.name).write_text(file.read_text().replace("D0", f"D{data}"))
    start = time.process_time()
    lines = export(load_runs([tmp_path]), "csv").splitlines()
    assert time.process_time() - start < 5
    assert len(lines) == 1 + 8 * 14 * 3
