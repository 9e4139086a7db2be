"""Kept results stand for the methods of their suites: a change of a default must not give a kept run another meaning."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from dgl_mutual.data.load import load_dataset
from dgl_mutual.experiments.recorded import config_of, with_recorded_defaults
from dgl_mutual.experiments.resolve import plain, resolve
from dgl_mutual.experiments.suite import configurations
from dgl_mutual.experiments.suite_file import load_suite
from dgl_mutual.store.configuration import has_both, identity, resolved_part

KEPT = Path(__file__).parents[2] / "results" / "suites"
#: Enough for every method of these suites, and quickly loaded.
DATASET = "Cora"


@pytest.mark.skipif("DGL_MUTUAL_DATA" not in os.environ, reason="DGL_MUTUAL_DATA does not name a folder with Cora")
@pytest.mark.parametrize("name", ["node", "ablation", "noise", "cohort-size", "unequal", "few-labels", "students"])
def test_a_suite_finds_its_kept_runs(name: str) -> None:
    dataset = load_dataset(DATASET, offline=True)
    runs = yaml.safe_load((KEPT / f"suite-{name}" / "suite.yaml").read_text(encoding="utf-8"))["runs"]
    folders = {(run["data"], run["method"]): run["folder"] for run in runs}
    checked = 0
    for entry in configurations(load_suite(name)[1]):
        folder = folders.get((entry.data, entry.method))
        if folder is None or entry.config.dataset != DATASET:
            continue
        kept = identity(resolved_part(yaml.safe_load((KEPT / folder / "config.yaml").read_text(encoding="utf-8"))))
        assert identity(plain(resolve(entry.config, dataset))) == kept, f"{entry.method} on {entry.data}"
        checked += 1
    assert checked


@pytest.mark.skipif("DGL_MUTUAL_DATA" not in os.environ, reason="DGL_MUTUAL_DATA does not name a folder with Cora")
@pytest.mark.filterwarnings("ignore:Defaults have changed")
def test_the_configuration_of_a_kept_run_repeats_it() -> None:
    dataset = load_dataset(DATASET, offline=True)
    kept = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in sorted(KEPT.glob(f"node-{DATASET}-gml-*/config.yaml"))]
    kept = [values for values in kept if has_both(values)]
    assert len(kept) > 40
    for values in kept:
        config = with_recorded_defaults(config_of(values), dataset)
        assert identity(plain(resolve(config, dataset))) == identity(values["resolved"])
