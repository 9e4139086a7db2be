"""Fixtures of tests with many made-up inputs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@pytest.fixture
def fuzz(stress: int, request: pytest.FixtureRequest) -> Callable[..., None]:
    """Runs a test function over many inputs."""
    given_much = request.config.getoption("--stress")

    def run(test: Callable[..., None], *inputs: st.SearchStrategy[object], share: float = 1.0) -> None:
        examples = max(4, int((100 * stress if given_much else 24) * share))
        checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
        settings(max_examples=examples, deadline=None, database=None, suppress_health_check=checks)(given(*inputs)(test))()

    return run
