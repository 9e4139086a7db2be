"""The handwritten digits with three targets of different kinds, for training on several tasks at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.digits import read_digits
from dgl_mutual.data.target import Target, TaskName, join_targets

_QUADRANTS = ("top left", "top right", "bottom left", "bottom right")


def read_digits_multi(task: TaskName) -> Dataset:
    """The graphs of `read_digits` with these targets:

    - ``digit``: the ten digits (accuracy);
    - ``even``: whether the digit is even (binary, ROC-AUC);
    - ``ink``: which quadrants of the image have more ink than they have in the median image (four labels, micro-averaged F1).
    """
    from sklearn.datasets import load_digits

    dataset = read_digits(task)
    bunch: Any = load_digits()
    ink = bunch.images.reshape(-1, 2, 4, 2, 4).sum(axis=(2, 4)).reshape(-1, 4)
    targets = [
        replace(dataset.target, name="digit"),
        Target("multi-label", ("even",), "rocauc", "even"),
        Target("multi-label", _QUADRANTS, "micro-f1", "ink"),
    ]
    even, inked = dataset.labels[:, None] % 2 == 0, ink > np.median(ink, axis=0)
    target, labels = join_targets(targets, [dataset.labels, even.astype(np.float32), inked.astype(np.float32)])
    return dataset.replaced(name="digits-multi", labels=labels, target=target)
