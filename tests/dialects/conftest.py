"""Dialects are functions over bytes: what is shown of them on one event loop holds on any."""

from __future__ import annotations

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """One loop, in place of all that other tests run on."""
    return "asyncio"
