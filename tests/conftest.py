"""Settings for the whole suite: deterministic Hypothesis, and one default element type at the start of every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

import retape as rt

settings.register_profile(
    "retape", deadline=None, derandomize=True, print_blob=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
settings.load_profile("retape")


@pytest.fixture(autouse=True)
def _plain_state() -> Iterator[None]:
    """Every test starts with float32 as the default, and with recording on."""
    yield
    rt.set_default_dtype(rt.float32)
    assert rt.is_grad_enabled(), "a test left recording switched off"
