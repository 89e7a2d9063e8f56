"""A store in a file of the test's own, on a clock of the test's own."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from asynccache.backends import SqliteBackend
from asynccache.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.sqlite"


@pytest.fixture
def threads() -> Callable[[], list[threading.Thread]]:
    """The library's threads that were not there before; some stores stay open to the end of the program."""
    before = threading.enumerate()

    def new() -> list[threading.Thread]:
        ours = [each for each in threading.enumerate() if each.name.startswith("asynccache")]
        return [each for each in ours if each not in before]

    return new


@pytest.fixture
async def backend(path: Path, clock: FakeClock) -> AsyncIterator[SqliteBackend]:
    backend = SqliteBackend(path, clock=clock)
    async with backend.lifespan():
        yield backend
