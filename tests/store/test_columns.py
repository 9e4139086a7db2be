from __future__ import annotations

import re

import numpy as np
import pandas as pd

from dgl_mutual.data.values.split import Split
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.store import columns
from dgl_mutual.store.summary import summarise_trials
from dgl_mutual.store.tables import TRIAL_COLUMNS
from dgl_mutual.strategies import STRATEGIES
from dgl_mutual.training.options import TrainingOptions
from tests.cohorts import train_cohort
from tests.strategies.cases import MULTI_LABEL_OPTIONS, SMALL, SMALL_OPTIONS, make_dataset


def test_every_column_of_summaries_is_explained() -> None:
    trials = pd.DataFrame([{name: 0.5 if name in ("train", "val", "test") else 0 for name in TRIAL_COLUMNS}])
    assert set(columns.SUMMARY) == set(summarise_trials(trials))


def test_every_column_of_a_history_is_explained() -> None:
    """And each entry is a column of some strategy."""
    dataset, nodes = make_dataset("node", "joint"), np.random.default_rng(0).permutation(30)
    split = Split(nodes[:16], nodes[16:23], nodes[23:])
    seen: set[str] = set()
    for name in STRATEGIES:
        options = {**SMALL_OPTIONS.get(name, {}), **MULTI_LABEL_OPTIONS.get(name, {})}
        fields = STRATEGIES[name].Options.model_fields
        options |= {"gate": "confidence"} if "gate" in fields else {}
        options |= {"exchange_warmup": (0, 0)} if "exchange_warmup" in fields else {}
        result = train_cohort(
            dataset,
            split,
            students=[StudentOptions(architecture=kind, **SMALL) for kind in ("gcn", "sage")],
            strategy=name,
            strategy_options=options,
            training=TrainingOptions(epochs=1, diversity=True),
            task_weights="uncertainty",
        )
        seen |= set().union(*result.history)
    # A loss term that is shared has no member, as its entry says.
    entries = [*columns.HISTORY, "loss/<term>"]
    patterns = {entry: re.compile("[^/]+".join(map(re.escape, re.split("<.*?>", entry)))) for entry in entries}
    assert {name for name in seen if not any(pattern.fullmatch(name) for pattern in patterns.values())} == set()
    unseen = {entry for entry, pattern in patterns.items() if not any(map(pattern.fullmatch, seen))}
    assert unseen <= {"seed", "fold", "loss/<term>"}
