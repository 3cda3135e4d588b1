"""Settings for the whole suite: deterministic Hypothesis, a cache of its own, one default type at each start."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

import retape as rt
from retape import compiled

# Compiled code is kept for the session, for the processes that tests start, too; never in the user's own cache.
_CACHE = tempfile.TemporaryDirectory(prefix="retape-tests-", ignore_cleanup_errors=True)
os.environ["RETAPE_CACHE_DIR"] = _CACHE.name
os.environ.pop("RETAPE_CACHE_SIZE", None)


def pytest_unconfigure() -> None:
    _CACHE.cleanup()


settings.register_profile(
    "retape", deadline=None, derandomize=True, print_blob=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
settings.load_profile("retape")


@pytest.fixture(autouse=True)
def _plain_state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test starts with float32 as the default, and with recording on. Short ways of calls are made at once, so
    that calls that come after the second take them, be there many arguments or few."""
    monkeypatch.setattr(compiled, "LONG", 0)
    yield
    rt.set_default_dtype(rt.float32)
    assert rt.is_grad_enabled(), "a test left recording switched off"
