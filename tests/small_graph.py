"""A small graph as arrays and as a DGL graph, and short trainings on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import dgl_mutual as dm
from dgl_mutual.dgl_compat import dgl

N = 30
LABELS = np.arange(N) % 3
FEATURES = np.random.default_rng(0).normal(size=(N, 4)).astype(np.float32)
EDGES = np.random.default_rng(1).integers(0, N, (2, 90))
SPLIT = dm.Split(range(12), range(12, 20), range(20, N))


class Net(nn.Module):
    """A custom student."""

    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(in_features, num_outputs)

    def forward(self, graph: Any, feat: Tensor) -> Any:
        return self.layer(feat)


def graph(**columns: Any) -> Any:
    made = dgl.graph((torch.as_tensor(EDGES[0]), torch.as_tensor(EDGES[1])), num_nodes=N)
    made.ndata["feat"], made.ndata["label"] = torch.as_tensor(FEATURES), torch.as_tensor(LABELS)
    for key, value in columns.items():
        made.ndata[key] = torch.as_tensor(value)
    return made


def fit(students: Any = "gcn,sage", strategy: Any = "gml", data: Any = None, **options: Any) -> Any:
    data = dm.Dataset.from_arrays(EDGES, FEATURES, LABELS) if data is None else data
    return dm.fit(data, students, strategy, **{"split": SPLIT, "training": {"epochs": 2}, **options})


def strategy(terms: Callable[..., Any] | None = None, **attributes: Any) -> type[dm.Strategy]:
    class Mine(dm.Strategy):
        def loss_terms(self, step: Any) -> Any:
            return {"a": self.supervised(step)} if terms is None else terms(self, step)

    for name, value in attributes.items():
        setattr(Mine, name, value)
    return Mine
