"""Kept results stand for the methods of their suites: a change of a default must not give a kept run another meaning."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from dgl_mutual.data.fingerprint import fingerprint
from dgl_mutual.data.label_rate import without_labels
from dgl_mutual.data.sources.load import load_dataset
from dgl_mutual.experiments.configuration.recorded import config_of, with_recorded_defaults
from dgl_mutual.experiments.configuration.resolve import resolve, resolved_values, run_name
from dgl_mutual.experiments.configuration.splits import splits_of
from dgl_mutual.experiments.suites.suite import configurations
from dgl_mutual.experiments.suites.suite_file import load_suite
from dgl_mutual.store.configuration import identity
from dgl_mutual.store.tables import KEY, read_trials

RESULTS = Path(__file__).parents[2] / "results"
KEPT = RESULTS / "suites"
#: Enough for every method of these suites, and quickly loaded.
DATASET = "Cora"


@pytest.mark.skipif("DGL_MUTUAL_DATA" not in os.environ, reason="DGL_MUTUAL_DATA does not name a folder with Cora")
@pytest.mark.parametrize("name", ["node", "ablation", "noise", "cohort-size", "unequal", "few-labels", "students"])
def test_a_suite_finds_its_kept_runs(name: str) -> None:
    dataset = load_dataset(DATASET, offline=True)
    (file,) = RESULTS.glob(f"suites*/suite-{name}/suite.yaml")
    runs = yaml.safe_load(file.read_text(encoding="utf-8"))["runs"]
    folders = {(run["data"], run["method"]): run["folder"] for run in runs}
    checked = 0
    for entry in configurations(load_suite(name)[1]):
        folder = folders.get((entry.data, entry.method))
        if folder is None or entry.config.dataset != DATASET:
            continue
        assert run_name(resolve(entry.config, dataset)) == folder, f"{entry.method} on {entry.data}"
        checked += 1
    assert checked


@pytest.mark.parametrize("name", ["Cora", "Amazon-Computers", "MUTAG"])
@pytest.mark.filterwarnings("ignore:Defaults have changed")
def test_a_seed_draws_the_split_and_the_labels_that_it_drew_for_kept_runs(name: str, data_dir: Path) -> None:
    runs = yaml.safe_load((KEPT / "suite-few-labels" / "suite.yaml").read_text(encoding="utf-8"))["runs"]
    (folder,) = (KEPT / run["folder"] for run in runs if (run["data"], run["method"]) == (f"{name} 10 %", "independent"))
    dataset = load_dataset(name, data_dir=data_dir, offline=True)
    config = resolve(
        with_recorded_defaults(config_of(yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))), dataset), dataset
    )
    kept = read_trials(folder).drop_duplicates(KEY).set_index(KEY)["split"]
    drawn = splits_of(config, dataset, seed=0)
    assert [fingerprint(without_labels(dataset, split.unlabelled), split, edge_features=False) for split in drawn] == kept[0].tolist()


@pytest.mark.skipif("DGL_MUTUAL_DATA" not in os.environ, reason="DGL_MUTUAL_DATA does not name a folder with Cora")
@pytest.mark.filterwarnings("ignore:Defaults have changed")
def test_the_configuration_of_a_kept_run_repeats_it() -> None:
    dataset = load_dataset(DATASET, offline=True)
    kept = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in sorted(RESULTS.glob(f"suites*/node-{DATASET}-gml-*/config.yaml"))]
    assert len(kept) > 80
    for values in kept:
        config = with_recorded_defaults(config_of(values), dataset)
        assert identity(resolved_values(resolve(config, dataset))) == identity(values["resolved"])
