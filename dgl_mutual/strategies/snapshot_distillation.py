"""Snapshot distillation: every student follows what it predicted at its best epoch."""

from __future__ import annotations

from dataclasses import replace

from dgl_mutual.strategies.base.citation import Citation
from dgl_mutual.strategies.base.exchange import Exchange
from dgl_mutual.strategies.base.imitation import OwnPredictions


class SnapshotDistillation(OwnPredictions):
    """loss_i = CE(z_i[L], y[L]) + lambda T^2 mean_v KL(p'_i(v) || p_i(v)),

    p'_i the prediction of student i at its best epoch so far, by validation. It is `gml` with ``targets: best`` and no peers: the control
    for these targets without an exchange.

    NOTE[PAPER]: the paper takes a snapshot at the end of each cycle of a cyclic learning rate. Here the rate has no cycles, and a snapshot
    is taken whenever the validation metric improves.
    NOTE[PAPER]: the paper has a separate temperature for the teacher. Ours is `target_temperature`, by default the student's.
    """

    name = "snapshot-distillation"
    citation = Citation(
        title="Snapshot Distillation: Teacher-Student Optimization in One Generation",
        authors="Yang, Xie, Su, Yuille",
        venue="CVPR 2019",
        url="https://arxiv.org/abs/1812.00123",
        formula="CE + lambda T^2 KL(p'_i || p_i), p'_i of student i at its best epoch so far",
    )

    def exchange(self) -> Exchange:
        return replace(super().exchange(), targets="best")
