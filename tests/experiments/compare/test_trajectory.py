from __future__ import annotations

import pandas as pd
import pytest

from tests.experiments.compare.cases import make_case
from tests.strategies.cases import SMALL

pytest.importorskip("torch_geometric", reason="needs torch_geometric")

from dgl_mutual.experiments.compare.trajectory import Trajectory, certify_trajectory
from dgl_mutual.reference import losses

#: Imitation from the second epoch on, so that short trajectories see it.
EARLY = {"exchange_warmup": [1, 2]}


@pytest.mark.parametrize(("task", "kind"), [("node", "multi-label"), ("graph", "single-label")])
@pytest.mark.parametrize(
    ("strategy", "options"),
    [
        ("gml", EARLY),
        ("gml", {**EARLY, "targets": "ema"}),
        ("gml", {**EARLY, "weighting": "attention"}),
        ("gml", {**EARLY, "weighting": "consensus"}),
        ("gml", {**EARLY, "entropy_weight": -0.3, "class_prior_weight": 2.0}),
        ("dml", {}),
        ("independent", {}),
    ],
)
def test_both_sides_train_alike(task: str, kind: str, strategy: str, options: dict[str, object]) -> None:
    trajectory = certify_trajectory(*make_case(task, kind, strategy, options, training={"batch_size": 3}), "float64", 5)
    assert len(trajectory.table) == 5
    assert trajectory.table["weights"].max() < 1e-9
    assert trajectory.parted(1e-6) is None and all(check.holds for check in trajectory.checks)
    assert trajectory.table["loss_ours"].nunique() == 5  # training moved


@pytest.mark.parametrize(
    ("task", "parts"),
    [
        ("node", {"depth": 3, "residual": True, "norm": "layer", "activation": "gelu", "input_dropout": 0.0}),
        ("graph", {"depth": 3, "residual": True, "virtual_node": True, "input_readout": True, "activation": "silu"}),
    ],
)
def test_optional_parts_of_students_train_alike(task: str, parts: dict[str, object]) -> None:
    trajectory = certify_trajectory(*make_case(task, options=EARLY, student={**SMALL, **parts}, training={"batch_size": 3}), "float64", 6)
    assert trajectory.table["weights"].max() < 1e-9
    assert trajectory.parted(1e-6) is None and all(check.holds for check in trajectory.checks)
    assert trajectory.table["loss_ours"].nunique() == 6  # training moved


@pytest.mark.parametrize("average", ["ema", "swa"])
@pytest.mark.parametrize("task", ["node", "graph"])
def test_averaged_students_teach_alike(task: str, average: str) -> None:
    """Clean targets are predictions of the averaged students."""
    training = {"batch_size": 3, "average": average}
    trajectory = certify_trajectory(*make_case(task, options={**EARLY, "targets": "eval"}, training=training), "float64", 6)
    assert trajectory.table["weights"].max() < 1e-9
    assert trajectory.parted(1e-6) is None and all(check.holds for check in trajectory.checks)
    assert trajectory.table["loss_ours"].nunique() == 6  # training moved


def test_single_precision_drifts_and_is_only_reported() -> None:
    trajectory = certify_trajectory(*make_case("node", options=EARLY), "float32", 4)
    assert 0 < trajectory.table["weights"].max() < 1e-2
    assert all(check.holds for check in trajectory.checks)


def test_a_wrong_loss_shows_from_the_epoch_it_acts_in(monkeypatch: pytest.MonkeyPatch) -> None:
    right = losses.divergence
    monkeypatch.setattr(losses, "divergence", lambda *arguments: 1.01 * right(*arguments))
    trajectory = certify_trajectory(*make_case("node", options=EARLY), "float64", 4)
    assert trajectory.parted(1e-6) == 2
    assert not all(check.holds for check in trajectory.checks)


def test_a_wrong_optimizer_shows_in_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    trial, config, dataset = make_case("node", strategy="independent")
    from dgl_mutual.experiments.compare import theirs

    monkeypatch.setattr(
        theirs,
        "make_reference",
        lambda config, *rest, make=theirs.make_reference, **values: make(
            config.model_copy(update={"training": config.training.model_copy(update={"weight_decay": 0.0})}), *rest, **values
        ),
    )
    assert certify_trajectory(trial, config, dataset, "float64", 3).parted(1e-6) is not None


def test_where_two_trajectories_part() -> None:
    table = pd.DataFrame({"epoch": [1, 2, 3], "loss": [0.0, 1e-9, 1e-3], "weights": [1e-12, 1e-5, 1e-5]})
    trajectory = Trajectory("float64", table, 1e-6)
    assert trajectory.parted(1e-6) == 2
    assert trajectory.parted(1e-4) == 3
    assert trajectory.parted(1e-2) is None
    assert [check.holds for check in trajectory.checks] == [False, False]
