from __future__ import annotations

from dgl_mutual.experiments.configuration.config import RunConfig
from dgl_mutual.store.configuration import ROLES, Role, identity, keys_of


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
    assert identity({"dataset": "ring", "training": {"checkpoint_every": 5}}) == identity({"dataset": "ring", "training": {}})
    for off in (None, False, "none"):
        for group in ("training", "students"):
            without, with_off, with_on = (
                identity({"dataset": "ring", group: [options] if group == "students" else options})
                for options in ({"depth": 3}, {"depth": 3, "added_later": off}, {"depth": 3, "added_later": 0})
            )
            assert with_off == without != with_on


def test_among_options_of_a_strategy_and_of_its_teacher_null_alone_is_off() -> None:
    def of(**options: object) -> dict[str, object]:
        return identity({"dataset": "ring", "strategy_options": options})

    assert of(weight=1, added_later=None) == of(weight=1) != of(weight=1, added_later=False)
    teacher = {"architecture": "gin"}  # unlike students, it is not resolved: null stands for the default of the task
    assert of(teacher={**teacher, "norm": None}) == of(teacher=teacher) != of(teacher={**teacher, "norm": "none"})
    assert of(teacher={**teacher, "edge_features": False}) != of(teacher=teacher)


def test_how_many_seeds_there_are_does_not_change_what_a_run_is_but_folds_do() -> None:
    assert identity({"dataset": "ring", "seeds": 2}) == identity({"dataset": "ring", "seeds": 3})
    assert identity({"dataset": "ring", "folds": 2}) != identity({"dataset": "ring", "folds": 3})
