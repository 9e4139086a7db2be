"""A piece of a batch is the batch of its graphs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.nn.adjacency import Norm
from dgl_mutual.nn.batch import Collator, GraphBatch
from dgl_mutual.nn.csr import Pattern, SparseMatrix
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.split_batch import split_batch
from dgl_mutual.nn.student import Student

MakeDataset = Callable[..., Dataset]
SIZES = (4, 0, 1, 7, 3, 5, 2)
ORDER = [5, 3, 1, 0, 4, 6, 3, 2]
COUNTS = [3, 1, 2, 2]
NORMS: tuple[Norm, ...] = ("sum", "mean", "symmetric")

sparse = pytest.mark.parametrize("sparse_", [False, True], ids=["dense", "sparse"])
directed = pytest.mark.parametrize("directed", [False, True], ids=["undirected", "directed"])


def both(dataset: Dataset) -> list[tuple[GraphBatch, GraphBatch]]:
    """Each piece of one batch, and the batch that is collated of its graphs."""
    collate = Collator(dataset, dtype=torch.float64)
    starts = [sum(COUNTS[:index]) for index in range(len(COUNTS))]
    alone = [collate(ORDER[start : start + count]) for start, count in zip(starts, COUNTS, strict=True)]
    return list(zip(split_batch(collate(ORDER), COUNTS), alone, strict=True))


def same(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def same_pattern(ours: Pattern, theirs: Pattern) -> None:
    assert ours.shape == theirs.shape
    for name in ("indptr", "indices", "rows"):
        same(getattr(ours, name), getattr(theirs, name))


def same_matrix(ours: SparseMatrix, theirs: SparseMatrix) -> None:
    same_pattern(ours.pattern, theirs.pattern)
    same(ours.values, theirs.values)


@sparse
@directed
def test_a_part_has_the_structure_of_its_graphs_alone(sparse_: bool, directed: bool, make_dataset: MakeDataset) -> None:
    for ours, theirs in both(make_dataset(SIZES, directed=directed, sparse_=sparse_)):
        for name in ("in_offsets", "sources", "node_offsets", "graph_sizes", "batch_index", "in_degrees", "out_degrees"):
            same(getattr(ours, name), getattr(theirs, name))
        for heads in (1, 4):
            patterns = [batch.attention_pattern(heads) for batch in (ours, theirs)]
            same_pattern(*patterns)
            (of_ours, order), (of_theirs, expected) = (pattern.transpose for pattern in patterns)
            same_pattern(of_ours, of_theirs)
            same(order, expected)
        for values in zip(ours.sum_and_loops, theirs.sum_and_loops, strict=True):
            same(*values)
        matrices_of = [[batch.normalised(norm) for norm in NORMS] for batch in (ours, theirs)]
        for matrices in zip(*matrices_of, strict=True):
            same_matrix(*matrices)
            same_matrix(*(matrix.transposed for matrix in matrices))
        if isinstance(ours.features, SparseMatrix):
            assert isinstance(theirs.features, SparseMatrix)
            same_matrix(ours.features, theirs.features)
        else:
            assert isinstance(theirs.features, Tensor)
            same(ours.features, theirs.features)
            for norm in NORMS:
                torch.testing.assert_close(ours.aggregated_features(norm), theirs.aggregated_features(norm))


@sparse
@pytest.mark.parametrize("architecture", ["gcn", "gat", "gin", "sage"])
def test_a_student_learns_the_same_from_a_part(architecture: str, sparse_: bool, make_dataset: MakeDataset) -> None:
    student = Student(StudentOptions(architecture=architecture, hidden=8, heads=4), "graph", 5, 3).double()
    state = {name: value.clone() for name, value in student.state_dict().items()}
    for batches in both(make_dataset(SIZES, sparse_=sparse_)):
        logits, gradients = [], []
        for batch in batches:
            student.load_state_dict(state)  # a pass in training moves running statistics
            student.zero_grad()
            logits.append(student.forward_batch(batch).logits)
            logits[-1].square().sum().backward()
            gradients.append([parameter.grad for parameter in student.parameters()])
        torch.testing.assert_close(*logits)
        torch.testing.assert_close(*gradients)


def test_a_batch_in_one_piece_is_itself(make_dataset: MakeDataset) -> None:
    batch = Collator(make_dataset(SIZES))(ORDER)
    assert split_batch(batch, [len(ORDER)]) == [batch]
