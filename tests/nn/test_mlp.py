from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse

from dgl_mutual.nn.batch import Collator, GraphBatch
from dgl_mutual.nn.csr import SparseMatrix
from dgl_mutual.nn.mlp import MLP
from tests.strategies.cases import make_dataset


def numbers_of(mlp: MLP) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy() for name, value in mlp.named_parameters()}


@pytest.mark.parametrize("task", ["node", "graph"])
def test_logits_follow_the_formula(task):
    dataset = make_dataset(task, "single-label")
    mlp = MLP(task, 5, 3, hidden=4, depth=3).double()
    w = numbers_of(mlp)
    h = np.maximum(dataset.features @ w["weight"] + w["bias"], 0)
    h = np.maximum(h @ w["hidden.0.weight"].T + w["hidden.0.bias"], 0)
    if task == "graph":
        h = np.add.reduceat(h, dataset.node_offsets[:-1])
    expected = h @ w["last.weight"].T + w["last.bias"]
    logits = mlp.forward_batch(Collator(dataset, dtype=torch.float64).all()).logits
    np.testing.assert_allclose(logits.detach().numpy(), expected)


def test_sparse_features_give_the_same():
    dataset = make_dataset("node", "single-label")
    mlp = MLP("node", 5, 3, hidden=4)
    batch = Collator(dataset).all()
    features = SparseMatrix.from_scipy(sparse.csr_matrix(dataset.features))
    sparse_batch = GraphBatch(batch.in_offsets, batch.sources, features, batch.node_offsets)
    torch.testing.assert_close(mlp.forward_batch(sparse_batch).logits, mlp.forward_batch(batch).logits)


def test_dropout_comes_from_the_generator_alone():
    batch = Collator(make_dataset("node", "single-label")).all()
    mlp = MLP("node", 5, 3, hidden=4).train()
    torch.testing.assert_close(mlp.forward_batch(batch).logits, mlp.forward_batch(batch).logits)
    draws = [mlp.forward_batch(batch, torch.Generator().manual_seed(seed)).logits for seed in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
