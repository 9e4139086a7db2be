from __future__ import annotations

import pandas as pd

from dgl_mutual.store import columns
from dgl_mutual.store.summary import summarise_trials
from dgl_mutual.store.tables import MORE_COLUMNS, TRIAL_COLUMNS


def test_every_column_of_trials_is_explained_in_order() -> None:
    assert list(columns.TRIALS) == [*TRIAL_COLUMNS, *MORE_COLUMNS]


def test_every_column_of_summaries_is_explained() -> None:
    trials = pd.DataFrame([{name: 0.5 if name in ("train", "val", "test") else 0 for name in TRIAL_COLUMNS}])
    assert set(columns.SUMMARY) == set(summarise_trials(trials))
