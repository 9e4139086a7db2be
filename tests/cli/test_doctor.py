from __future__ import annotations

from collections.abc import Callable

import pytest

from dgl_mutual.experiments import doctor
from dgl_mutual.experiments.doctor import Finding


@pytest.mark.parametrize(
    ("findings", "status", "parts"),
    [
        ([Finding("torch", True, "2.5")], 0, ["ok        torch", "Training can work here."]),
        ([Finding("dgl", False, "2.1.0; broken", "pip install it")], 1, ["WRONG     dgl", "to fix it: pip install it"]),
        (
            [Finding("plots", False, "not installed", "pip install them", optional=True)],
            0,
            ["optional  plots", "to install it: pip install them"],
        ),
    ],
)
def test_only_what_training_needs_decides_the_status(
    monkeypatch: pytest.MonkeyPatch, command_line: Callable[..., object], findings: list[Finding], status: int, parts: list[str]
) -> None:
    monkeypatch.setattr(doctor, "diagnose", lambda: findings)
    ended, out, _ = command_line("doctor")
    assert ended == status
    assert [part for part in parts if part not in out] == []
    assert ("Training can work here." in out) == (status == 0)
