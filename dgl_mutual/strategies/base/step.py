"""Input of a strategy in one training step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from dgl_mutual.nn.batch import Batch
from dgl_mutual.nn.csr import Rows


@dataclass(frozen=True)
class Step:
    """One training step of the cohort.

    Three things are kept apart: the *labelled* samples, the *exchange* samples on which peers are imitated, and the *targets*: the
    peers' logits there.

    Attributes:
        logits: (A, N, C): the training pass of the A members that train in this step, with gradient; N samples in the batch.
        active: the indices of those A members within the cohort.
        hidden: per active member, the state of each hidden layer (|V|, width).
        embeddings: per active member, the last state of each sample before its logits (N, width). Both are empty where processes divide
            students.
        targets: (K, N, C): logits of all K members from the pass that `Strategy.exchange` selects, detached.
        labels: labels of the N samples, unknown (-1, or NaN in columns) outside of `labelled`.
        labelled, training, exchange: the rows of the labelled samples, of the training samples, labelled or not, and of the exchange
            samples, as an index: numbers, or a slice. ``torch.arange(N)[step.exchange]`` gives numbers in any case.
        samples: (N,): the samples' numbers in the dataset.
        batch: features and edges of the step before perturbation: a `dgl_mutual.nn.batch.GraphBatch`, or with sampled neighbours a
            `dgl_mutual.nn.blocks.BlockBatch`.
        ramp: factor in [0, 1] on the terms learned from peers.
        epoch: epoch of the current phase, from 0 (`TrainingState.epoch` counts over all phases).
        log: values for the history, beside the loss terms, by name, each averaged over the steps of an epoch that log it: ``weights``
            (K, K), the weight of peer j in the target of i; ``exchange`` (A,), the term that is learned from others without its weight,
            that is, the mean KL(target || own prediction) on the exchange samples in nats. It should be zero only if each member agrees
            with its target.
    """

    logits: Tensor
    active: tuple[int, ...]
    hidden: Sequence[Sequence[Tensor]]
    embeddings: Sequence[Tensor]
    targets: Tensor
    labels: Tensor
    labelled: Rows
    training: Rows
    exchange: Rows
    samples: Tensor
    batch: Batch
    ramp: float
    epoch: int
    log: dict[str, Tensor] = field(default_factory=dict)
