"""Options together: each pair of values is in some training here, if it is allowed. What holds for one training holds for each."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import dgl_mutual as dm
from dgl_mutual.strategies import STRATEGIES

#: What is varied -> its values; None is the default.
VALUES: dict[str, tuple[Any, ...]] = {
    "strategy": tuple(STRATEGIES),
    "data": ("nodes", "nodes of graphs", "graphs"),
    "students": ("gcn,gin", "gat,mlp,sage", ({"architecture": "gin", "feature_noise": 0.5}, "gcn")),
    "label_rate": (None, 0.5),
    "sampler": (None, "neighbor"),
    "average": ("none", "ema", "swa"),
    "view": (None, "feature_mask", "own_views"),
    "positions": (0, 2),
    "eval_every": (1, 2),
    "edge_features": (None, False),
    "norm": (None, "batch", "layer"),
    "readout": (None, "jumping"),
    "exchange_on": (None, "all", "labelled"),
}
EPOCHS = 3
N = 40


def is_refused(values: Mapping[str, Any]) -> bool:
    """Whether these values of some options do not go together, which other tests are about."""
    strategy = values.get("strategy", "gml")
    if values.get("sampler"):
        refusing = strategy == "alignahead" or (strategy == "oad" and values.get("readout") == "jumping")
        with_noise = not isinstance(values.get("students", ""), str)
        return refusing or with_noise or values.get("data") == "graphs"
    if strategy == "pseudo-label" and values.get("exchange_on") == "labelled":
        return True
    return bool(values.get("exchange_on")) and "exchange_on" not in STRATEGIES[strategy].Options.model_fields


def rows() -> list[dict[str, Any]]:
    """Combinations in which each pair that is not refused occurs, made one value after another, each for the most pairs that are new."""
    options = {name: range(len(values)) for name, values in VALUES.items()}
    pairs = [
        frozenset([(first, i), (second, j)])
        for first, second in itertools.combinations(options, 2)
        for i in options[first]
        for j in options[second]
        if not is_refused({first: VALUES[first][i], second: VALUES[second][j]})
    ]
    found, left = [], dict.fromkeys(pairs)
    while left:
        chosen = dict(sorted(next(iter(left))))
        for name in options:
            if name not in chosen:
                allowed = [i for i in options[name] if not is_refused(_values({**chosen, name: i}))]
                chosen[name] = max(allowed, key=lambda i: sum(frozenset([(name, i), other]) in left for other in chosen.items()))
        for pair in itertools.combinations(chosen.items(), 2):
            left.pop(frozenset(pair), None)
        found.append(_values(chosen))
    return found


def _values(places: Mapping[str, int]) -> dict[str, Any]:
    return {name: VALUES[name][place] for name, place in places.items()}


def test_each_pair_that_is_allowed_is_in_a_training() -> None:
    made = rows()
    for first, second in itertools.combinations(VALUES, 2):
        for pair in itertools.product(VALUES[first], VALUES[second]):
            assert is_refused(dict(zip((first, second), pair, strict=True))) or any((row[first], row[second]) == pair for row in made)
    assert not any(map(is_refused, made))


def dataset_of(kind: str) -> dm.Dataset:
    """40 nodes of one graph or of eight, with three classes, or 40 graphs with two labels, of which some are unknown."""
    random = np.random.default_rng(0)
    sizes = {"nodes": [N], "nodes of graphs": [5] * 8, "graphs": [1 + i % 4 for i in range(N)]}[kind]
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    graphs = random.integers(len(sizes), size=2 * offsets[-1])
    edges = np.unique(offsets[graphs] + random.integers(np.array(sizes)[graphs], size=(2, len(graphs))), axis=1)
    labels: npt.NDArray[Any] = np.arange(N) % 3
    if kind == "graphs":
        labels = np.where(random.random((N, 2)) < 0.2, np.nan, random.integers(2, size=(N, 2)))
    features, of_edges = random.normal(size=(offsets[-1], 4)), random.normal(size=(edges.shape[1], 2))
    split = dm.Split(*(np.arange(*ends) for ends in ((20,), (20, 30), (30, N))))
    layout: dict[str, Any] = {} if kind == "nodes" else {"node_offsets": offsets}
    layout |= {"task": "graph", "metric": "micro-f1"} if kind == "graphs" else {"task": "node"}
    return dm.Dataset.from_arrays(edges, features, labels, edge_features=of_edges, split=split, **layout)


def arguments(row: Mapping[str, Any]) -> dict[str, Any]:
    views: dict[str | None, dict[str, Any]] = {
        None: {},
        "feature_mask": {"feature_mask": 0.3},
        "own_views": {"feature_mask": 0.3, "own_views": True},
    }
    training = {name: row[name] for name in ("sampler", "average", "positions", "eval_every")}
    student = {name: row[name] for name in ("edge_features", "norm", "readout") if row[name] is not None}
    students = row["students"] if isinstance(row["students"], str) else list(row["students"])
    extra: dict[str, dict[str, Any]] = {"kd": {"teacher": {"hidden": 8}}, "okddip": {"leader": {"hidden": 8}}, "kdcl": {"target": "naive"}}
    options = {**extra.get(row["strategy"], {}), **({} if row["exchange_on"] is None else {"exchange_on": row["exchange_on"]})}
    return {
        "students": students,
        "strategy": row["strategy"],
        "student": {"hidden": 8, **student},
        "strategy_options": options,
        "training": {"epochs": EPOCHS, **training, **views[row["view"]]},
        "label_rate": row["label_rate"],
    }


def score(dataset: dm.Dataset, probabilities: npt.NDArray[Any], samples: npt.NDArray[Any]) -> float:
    """Accuracy, or micro-F1, by its definition."""
    p, truth = probabilities[samples], dataset.labels[samples]
    if truth.ndim == 1:
        return float((p.argmax(1) == truth).mean())
    positive, right = p > 0.5, truth == 1
    positive &= ~np.isnan(truth)
    total = positive.sum() + right.sum()
    return float(2 * (positive & right).sum() / total) if total else 0.0


@pytest.mark.filterwarnings("ignore:The strategy 'pseudo-label' learns from samples without labels, and there are none")
@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row['strategy']}-{row['data']}")
def test_a_training_with_these_options_keeps_what_every_training_promises(row: dict[str, Any], tmp_path: Path) -> None:
    dataset = dataset_of(row["data"])
    result = dm.fit(dataset, **arguments(row))
    assert all(np.isfinite(list(epoch.values())).all() for epoch in result.history)
    result.save(tmp_path / "cohort")
    for member in result.members[: result.cohort.num_students]:
        predicted = result.predict(member=member.member)
        np.testing.assert_array_equal(dm.load_student(tmp_path / "cohort" / f"{member.member}.safetensors").predict(dataset), predicted)
        parts = (result.split.train, result.split.val, result.split.test)
        assert [member.train, member.val, member.test] == pytest.approx([score(dataset, predicted, part) for part in parts])
        best = next(epoch for epoch in result.history if epoch["epoch"] == member.best_epoch)
        assert best[f"val/{member.member}"] == pytest.approx(member.val)
    labels = dataset.labels.copy()
    labels[result.split.test] = labels[np.roll(result.split.test, 1)]
    assert dm.fit(dataset, config=result.config).history == result.history
    assert dm.fit(dataset.replaced(labels=labels), **arguments(row)).history == result.history
