from __future__ import annotations

from dgl_mutual.experiments.configuration.config import RunConfig
from dgl_mutual.store.configuration import ROLES, Role, file_values, identity, keys_of, resolved_part


def test_every_key_of_a_configuration_has_a_role() -> None:
    assert [*ROLES] == [*RunConfig.model_fields]
    assert keys_of(Role.POOL, Role.SPLIT) == ("protocol", "folds", "unlabelled")


def test_an_option_that_is_off_does_not_change_what_a_run_is() -> None:
    assert identity({"dataset": "/a/ring", "noise": "edge:0.2", "added_later": None}) == identity({"dataset": "ring", "noise": "edge:0.2"})
    assert identity({"dataset": "ring", "unlabelled": "/a/pool"}) == identity({"dataset": "ring", "unlabelled": "/b/pool"})
    assert identity({"dataset": "ring", "unlabelled": "pool", "label_rate": 1}) != identity({"dataset": "ring", "unlabelled": "pool"})
    assert (
        identity({"dataset": "ring", "metric": None})
        == identity({"dataset": "ring"})
        != identity({"dataset": "ring", "metric": "macro-f1"})
    )
    assert identity({"dataset": "ring", "folds": 0}) != identity({"dataset": "ring"})
    older = identity({"dataset": "ring", "training": {"epochs": 3}})
    off = {"sampler": None, "fanout": None, "scale_inputs": False, "checkpoint_every": 5}
    assert identity({"dataset": "ring", "training": {"epochs": 3, **off}}) == older
    assert identity({"dataset": "ring", "training": {"epochs": 3, "scale_inputs": True}}) != older
    older = identity({"dataset": "ring", "strategy_options": {"entropy_weight": 0.1}})
    off = {"entropy_schedule": "constant", "entropy_on": "exchange", "class_prior_weight": None}
    assert identity({"dataset": "ring", "strategy_options": {"entropy_weight": 0.1, **off}}) == older
    assert identity({"dataset": "ring", "strategy_options": {"entropy_weight": 0.1, **off, "entropy_on": "all"}}) != older
    teacher = {"architecture": "gin", "residual": False}  # as in runs of earlier versions, which say so of all options but the latest
    older = identity({"dataset": "ring", "strategy_options": {"teacher": teacher}})
    assert identity({"dataset": "ring", "strategy_options": {"teacher": {**teacher, "input_readout": False}}}) == older
    assert identity({"dataset": "ring", "strategy_options": {"teacher": {**teacher, "input_readout": True}}}) != older


def test_how_many_seeds_there_are_does_not_change_what_a_run_is_but_folds_do() -> None:
    assert identity({"dataset": "ring", "seeds": 2}) == identity({"dataset": "ring", "seeds": 3})
    assert identity({"dataset": "ring", "folds": 2}) != identity({"dataset": "ring", "folds": 3})


def test_the_resolved_part_is_read_from_files_of_this_version_and_of_earlier_ones() -> None:
    resolved = {"dataset": "ring", "seeds": 2}
    assert resolved_part(file_values({"seeds": 2}, resolved)) == resolved_part(resolved) == resolved
