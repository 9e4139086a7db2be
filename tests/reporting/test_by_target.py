from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dgl_mutual.errors import UsageError
from dgl_mutual.reporting.baseline import default_baseline
from dgl_mutual.reporting.by_target import gather_by_target
from dgl_mutual.reporting.comparison import compare
from dgl_mutual.reporting.export import export
from dgl_mutual.reporting.runs import gather, load_runs
from tests.reporting.folders import write_run

ALONE, TOGETHER = [0.80, 0.81, 0.79, 0.82, 0.80], [0.83, 0.82, 0.82, 0.86, 0.84]


def write(
    folder: Path, strategy: str, targets: Sequence[str], scores: Sequence[float], rate: float | None = None, protocol: str | None = None
) -> None:
    """A run on some targets; of several, the first scores `scores` and each next one 0.1 less."""
    config = {"targets": list(targets), "label_rate": rate}
    run = write_run(
        folder, "digits-multi", strategy, seeds=5, scores=scores, config=config, fingerprint="+".join(targets), protocol=protocol
    )
    if len(targets) > 1:
        table = pd.read_csv(run / "trials.csv")
        single = [table.assign(metric=f"accuracy({name})", test=table["test"] - 0.1 * k) for k, name in enumerate(targets)]
        pd.concat([table.assign(metric="mean"), *single]).to_csv(run / "trials.csv", index=False)


def test_a_target_alone_stands_beside_the_same_target_among_others(tmp_path: Path) -> None:
    for strategy in ("independent", "gml"):
        write(tmp_path, strategy, ["digit", "even", "ink"], TOGETHER)
        write(tmp_path, strategy, ["digit"], ALONE)
        write(tmp_path, strategy, ["even"], ALONE)
    trials = gather_by_target(load_runs([tmp_path]))
    assert default_baseline(trials) == "independent (1 target)"
    rows = compare(trials, baseline="gml (1 target)", members=["mean"]).rows.set_index(["data", "method"])
    assert set(rows.index.get_level_values("data")) == {"digits-multi: digit", "digits-multi: even"}  # ink was not learned alone
    for data, loss in (("digits-multi: digit", 0.0), ("digits-multi: even", 0.1)):
        found = rows.loc[(data, "gml (3 targets)")]
        assert found["mean"] == pytest.approx(np.mean(TOGETHER) - loss)
        assert found["difference"] == pytest.approx(np.subtract(TOGETHER, ALONE).mean() - loss)
        assert (found["metric"], found["n"]) == ("accuracy", 5)


def test_label_rates_stay_apart_and_without_single_targets_all_are_shown(tmp_path: Path) -> None:
    for rate in (None, 0.1):
        write(tmp_path, "gml", ["digit", "even"], TOGETHER, rate)
    assert set(gather_by_target(load_runs([tmp_path]))["data"]) == {
        *("digits-multi: digit", "digits-multi: even"),
        *("digits-multi (10% labels): digit", "digits-multi (10% labels): even"),
    }
    assert "digits-multi (10% labels): even" in export(load_runs([tmp_path]), "markdown", by_target=True)


@pytest.mark.parametrize("protocol", ["public", "random", "holdout"])
def test_splits_that_depend_on_the_target_cause_a_warning(protocol: str, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    write(tmp_path, "gml", ["digit", "even"], TOGETHER, protocol=protocol)
    write(tmp_path, "gml", ["even"], ALONE, protocol=protocol)
    export(load_runs([tmp_path]), "markdown", by_target=True, baseline="gml (1 target)")
    told = [str(warning.message) for warning in recwarn if "stratified" in str(warning.message)]
    assert len(told) == (protocol != "public") and all("On digits-multi: even splits" in text for text in told)


@pytest.mark.parametrize("protocols", [["holdout"], ["holdout", "random"]])
def test_targets_without_common_protocol_cause_a_warning(protocols: list[str], tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    write(tmp_path, "gml", ["digit", "even"], TOGETHER, protocol="random")
    for protocol in protocols:
        write(tmp_path, "gml", ["even"], ALONE, protocol=protocol)
    export(load_runs([tmp_path]), "markdown", by_target=True, baseline="gml (1 target)")
    told = " ".join(str(warning.message) for warning in recwarn)
    has_common = "random" in protocols
    assert ("On digits-multi: even nothing is compared" in told) != has_common
    assert ("On digits-multi: even splits are stratified" in told) == has_common


def test_a_target_of_one_protocol_is_not_among_those_of_several(tmp_path: Path) -> None:
    write(tmp_path, "gml", ["digit", "even"], TOGETHER, protocol="random")
    write(tmp_path, "gml", ["digit"], ALONE, protocol="random")
    write(tmp_path, "gml", ["even"], ALONE, protocol="holdout")
    runs = load_runs([tmp_path])
    (columns,) = compare(gather_by_target(runs)).blocks
    assert set(columns) == {"digits-multi: even (holdout)", "digits-multi: even (random)"}
    assert compare(gather(runs)).blocks == ()  # by run, they learn different targets


def test_runs_without_a_named_target_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path)
    with pytest.raises(UsageError, match="no table by target"):
        gather_by_target(load_runs([tmp_path]))
