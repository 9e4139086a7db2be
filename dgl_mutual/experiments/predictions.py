"""Predictions of a trained student on new data, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dgl_mutual.data.several_targets import target_names
from dgl_mutual.data.sources.load import load_dataset
from dgl_mutual.data.values.target import parts_of
from dgl_mutual.errors import TaskMismatchError, UsageError
from dgl_mutual.training.checkpoints import load_student

if TYPE_CHECKING:
    from dgl_mutual.data.dataset import Dataset
    from dgl_mutual.data.values.target import Target, TaskName
    from dgl_mutual.training.checkpoints import TrainedModel

SEPARATOR = ";"


def predict_dataset(
    checkpoint: Path,
    data: str,
    task: TaskName | None = None,
    *,
    member: str | None = None,
    trust: bool = False,
    data_dir: Path | None = None,
    offline: bool = False,
) -> pd.DataFrame:
    """Predict every sample of a dataset, labelled or not (see `prediction_table`).

    Args:
        checkpoint, trust: see `load_student`.
        data: name or folder of a dataset.
        task: refuse a student of another task.

    Raises:
        UsageError: `task` is not the student's, or the member or dataset is unknown.
        DataError: the checkpoint or the data are invalid, or do not fit together.
    """
    model = load_student(checkpoint, member, trust=trust)
    targets = target_names(model.target) or None
    if task not in (None, model.task):
        raise UsageError(f"{checkpoint} was trained for the {model.task} task, not for {task!r}. Leave the task out, or train another.")
    try:
        dataset = load_dataset(data, model.task, data_dir=data_dir, offline=offline, progress=True, require_labels=False, targets=targets)
    except TaskMismatchError:
        other = "graph" if model.task == "node" else "node"
        raise UsageError(
            f"{checkpoint} was trained for the {model.task} task, and {data} is a dataset for the {other} task. Give data of that "
            "task, or a student that was trained for the task of the data."
        ) from None
    return prediction_table(model, dataset)


def prediction_table(model: TrainedModel, dataset: Dataset) -> pd.DataFrame:
    """Predict all samples, one row each: ``node`` or ``graph`` (index), ``id`` (if samples have names), ``prediction``, ``p(<label>)``.

    With multiple labels, `prediction` holds all labels with p > 0.5, joined by `SEPARATOR`. With several targets, each has a prediction,
    ``prediction(digit)``, and probabilities, ``p(digit=3)``.
    """
    probabilities = model.predict(dataset)
    table = pd.DataFrame(probabilities, columns=[f"p({name})" for name in model.target.names])
    if model.target.parts is None:
        table.insert(0, "prediction", _predictions(model.target, probabilities))
    for index, part in enumerate(parts_of(model.target)):
        table.insert(index, f"prediction({part.name})", _predictions(part.target, probabilities[:, part.outputs]))
    if dataset.sample_ids is not None:
        table.insert(0, "id", list(dataset.sample_ids))
    table.insert(0, dataset.task, np.arange(len(table)))
    return table


def _predictions(target: Target, probabilities: npt.NDArray[Any]) -> list[object]:
    if target.kind == "single-label":
        return [target.names[place] for place in probabilities.argmax(axis=1)]
    return [SEPARATOR.join(target.names[place] for place in np.flatnonzero(row)) for row in probabilities > 0.5]
