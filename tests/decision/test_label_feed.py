"""Labels reach the store, and other processes, whatever the store does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from asynccache import BackendUnavailable, Label, LabelPage
from asynccache.backends import MemoryBackend, SqliteBackend
from asynccache.decision import _label_feed
from asynccache.decision._label_feed import LabelFeed
from asynccache.testing import make_label

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_label_feed, "POLL", 0.01)
    monkeypatch.setattr(_label_feed, "RETRY", 0.01)


class Flaky(MemoryBackend):
    """Fails while told to."""

    def __init__(self) -> None:
        super().__init__()
        self.broken = False

    async def put_labels(self, labels: Sequence[Label]) -> None:
        if self.broken:
            raise BackendUnavailable("down")
        await super().put_labels(labels)

    async def labels(self, after: int) -> LabelPage:
        if self.broken:
            raise BackendUnavailable("down")
        return await super().labels(after)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never happened")


async def test_what_one_learns_the_other_takes_up_and_nobody_its_own(tmp_path: Path) -> None:
    heard: list[list[Label]] = [[], []]
    backends = [SqliteBackend(tmp_path / "x.db") for _ in range(2)]
    feeds = [LabelFeed(backend, told.append) for backend, told in zip(backends, heard, strict=True)]
    async with AsyncExitStack() as stack:
        for feed in feeds:
            await stack.enter_async_context(feed.lifespan())
        own = [make_label(n, at=1.0, origin=feeds[n % 2].origin) for n in range(40)]
        for n, label in enumerate(own):
            feeds[n % 2].publish(label)
        await until(lambda: len(heard[0]) == len(heard[1]) == 20)
    assert heard[0] == own[1::2]
    assert heard[1] == own[0::2]


async def test_all_that_was_stored_is_known_when_it_has_opened() -> None:
    backend = MemoryBackend()
    await backend.put_labels([make_label(n, at=1.0) for n in range(3000)])
    heard: list[Label] = []
    feed = LabelFeed(backend, heard.append)
    assert not feed.caught_up
    async with feed.lifespan():
        assert feed.caught_up
        assert len(heard) == 3000


async def test_closing_loses_nothing(tmp_path: Path) -> None:
    feed = LabelFeed(SqliteBackend(tmp_path / "x.db"), lambda _: None)
    async with feed.lifespan():
        for n in range(1000):
            feed.publish(make_label(n, at=1.0))
    heard: list[Label] = []
    async with LabelFeed(SqliteBackend(tmp_path / "x.db"), heard.append).lifespan():
        assert len(heard) == 1000


async def test_a_store_that_fails_costs_labels_and_nothing_else() -> None:
    backend = Flaky()
    heard: list[Label] = []
    feed = LabelFeed(backend, heard.append, patience=0.05)
    backend.broken = True
    async with feed.lifespan():
        assert not feed.caught_up
        assert isinstance(feed.trouble, BackendUnavailable)
        feed.publish(make_label(1, at=1.0))
        with pytest.raises(BackendUnavailable, match="could not be stored in time"):
            await feed.flush()
        backend.broken = False
        await until(lambda: feed.caught_up)
        assert feed.trouble is None
        feed.publish(make_label(2, at=1.0))
        await feed.flush()
    assert (await backend.labels(0)).labels == [make_label(n, at=1.0) for n in (1, 2)]
    assert feed.dropped == 0


async def test_closing_tries_once_more_and_counts_what_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_label_feed, "RETRY", 60.0)
    for mended in (True, False):
        backend = Flaky()
        feed = LabelFeed(backend, lambda _: None, patience=0.05)
        async with feed.lifespan():
            backend.broken = True
            for n in range(3):
                feed.publish(make_label(n, at=1.0))
            await asyncio.sleep(0.02)
            backend.broken = not mended
        assert feed.dropped == (0 if mended else 3)
        backend.broken = False
        assert len((await backend.labels(0)).labels) == (3 if mended else 0)


async def test_a_label_that_has_no_stored_form_takes_no_other_with_it(tmp_path: Path) -> None:
    feed = LabelFeed(SqliteBackend(tmp_path / "x.db"), lambda _: None)
    async with feed.lifespan():
        for n in range(10):
            feed.publish(make_label(n, at=1.0, **({"score": float("inf")} if n == 4 else {})))
        await feed.flush()
    assert feed.dropped == 1
    heard: list[Label] = []
    async with LabelFeed(SqliteBackend(tmp_path / "x.db"), heard.append).lifespan():
        assert len(heard) == 9


async def test_a_label_that_cannot_be_taken_up_hides_no_other() -> None:
    backend = MemoryBackend()
    await backend.put_labels([make_label(n, at=1.0) for n in range(3)])
    heard: list[Label] = []

    def take(label: Label) -> None:
        if label == make_label(1, at=1.0):
            raise ValueError("no sense")
        heard.append(label)

    feed = LabelFeed(backend, take)
    async with feed.lifespan():
        assert feed.caught_up
    assert (len(heard), feed.dropped) == (2, 1)


async def test_a_feed_that_is_opened_again_is_somebody_else() -> None:
    feed = LabelFeed(MemoryBackend(), lambda _: None)
    origins = set()
    for _ in range(3):
        async with feed.lifespan():
            origins.add(feed.origin)
    assert len(origins) == 3


async def test_a_store_that_cannot_keep_up_lets_the_oldest_fall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_label_feed, "WAITING", 10)
    backend = MemoryBackend()
    feed = LabelFeed(backend, lambda _: None)
    async with feed.lifespan():
        for n in range(25):
            feed.publish(make_label(n, at=1.0))
        await feed.flush()
    assert feed.dropped == 15
    assert (await backend.labels(0)).labels == [make_label(n, at=1.0) for n in range(15, 25)]


async def test_without_a_store_for_labels_there_is_nothing_to_wait_for() -> None:
    feed = LabelFeed(None, lambda _: None)
    async with feed.lifespan():
        assert feed.caught_up
        feed.publish(make_label(1, at=1.0))
        await feed.flush()
