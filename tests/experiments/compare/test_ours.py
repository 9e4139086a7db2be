from __future__ import annotations

import pytest

from dgl_mutual.errors import TrainingError
from dgl_mutual.experiments.trial import fit_resolved
from tests.experiments.compare.cases import make_case


def test_too_little_memory_for_our_side_is_an_error_that_says_what_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("dgl_mutual.experiments.trial.fit_cohort", fails)
    with pytest.raises(TrainingError, match=r"not enough memory for this\. The widest student has hidden = "):
        fit_resolved(*make_case("node"))
