"""What every test shares: the event loops it runs on."""

from __future__ import annotations

import gc

import pytest


def pytest_collection_finish() -> None:
    """What was imported lives to the end: garbage collections need not look at it each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(
    params=[
        pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Run each async test on asyncio's own loop and on uvloop."""
    return request.param  # type: ignore[no-any-return]  # pytest types params as Any
