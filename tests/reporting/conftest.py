from __future__ import annotations

from pathlib import Path

import pytest

from tests.reporting.folders import write_run


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs with the data for every plot."""
    tmp_path = tmp_path_factory.mktemp("everything")
    for data in ("Cora", "CiteSeer", "PubMed"):
        for index, strategy in enumerate(("independent", "dml", "gml")):
            level = 0.7 + 0.03 * index
            shown = {"weights": strategy == "gml", "diversity": True, "inference": True} if data != "PubMed" else {}
            write_run(tmp_path, data, strategy, level=level, seeds=3, students=["gcn", "gat", "gin"], **shown)
    for strategy in ("independent", "gml"):
        write_run(tmp_path / "k", strategy=strategy, seeds=2, students=["gcn"] * 2, diversity=True)
        write_run(tmp_path / "k", strategy=strategy, seeds=2, students=["gcn"] * 4, diversity=True)
        write_run(tmp_path / "noise", strategy=strategy, seeds=2)
        write_run(tmp_path / "noise", strategy=strategy, seeds=2, level=0.5, config={"noise": "edge:0.2"})
        write_run(tmp_path / "noise", strategy=strategy, seeds=2, level=0.4, config={"noise": "label:0.1"})
    return tmp_path
