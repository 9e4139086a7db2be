"""Tiny comparisons."""

from __future__ import annotations

from typing import Any

import numpy as np

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.split import Split
from dgl_mutual.experiments.configuration.config import RunConfig, parse_config
from dgl_mutual.experiments.trial import Trial
from dgl_mutual.nn.student import resolve_student
from dgl_mutual.options import parse_options
from dgl_mutual.strategies import resolve_strategy
from dgl_mutual.training.options import resolve_training
from tests.strategies.cases import SMALL, make_dataset


def make_case(
    task: str, kind: str = "single-label", strategy: str = "gml", options: dict[str, Any] | None = None, **values: Any
) -> tuple[Trial, RunConfig, Dataset]:
    """A trial on `make_dataset`, its configuration with nothing left open, and the dataset."""
    dataset = make_dataset(task, kind)
    config = parse_config({"task": task, "strategy": strategy, "student": SMALL, **values})
    chosen = parse_options(resolve_strategy(strategy).Options, options or {}).model_dump(mode="json")
    config = config.model_copy(
        update={
            "students": tuple(resolve_student(student, dataset.task) for student in config.cohort),
            "strategy_options": chosen,
            "training": resolve_training(config.training, dataset),
        }
    )
    samples = np.arange(dataset.num_samples)
    # Of a multi-label target, each part has a label with both a positive and a negative.
    return Trial(0, 0, Split(samples[samples % 2 == 0], samples[samples % 4 == 1], samples[samples % 4 == 3])), config, dataset
