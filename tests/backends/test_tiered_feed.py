"""A memory in front of a store that tells what changes: coherent with it, whoever changes what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from asynccache import BackendUnavailable
from asynccache._models import Change, Entry
from asynccache._protocols import Backend, Clock, Confirming, Feed, Flights
from asynccache.backends import MemoryBackend, SqliteBackend, Tiered
from asynccache.testing import BackendContract, FakeClock, cancel_at_every_step, make_entry
from asynccache.testing.entries import make_embedding
from tests.backends._fake_feed import FakeFeed, FakeStore, caught_up, held, tier, until

pytestmark = pytest.mark.anyio


class TestTieredOverFeed(BackendContract):
    def make_backend(self, tmp_path: Path, clock: Clock) -> Backend:
        assert isinstance(clock, FakeClock)
        return Tiered(MemoryBackend(clock=clock), FakeFeed(FakeStore(), clock), front_ttl=3.0)


class Process:
    """A tier with what it is made of."""

    def __init__(self, store: FakeStore, clock: FakeClock) -> None:
        self.tiered, self.front, self.back = tier(store, clock)

    def held(self, entry: Entry) -> Entry | None:
        return held(self.front, entry.key)


@pytest.fixture
async def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
async def one(store: FakeStore, clock: FakeClock) -> AsyncIterator[Process]:
    process = Process(store, clock)
    async with process.tiered.lifespan():
        yield process


@pytest.fixture
async def other(store: FakeStore, clock: FakeClock) -> AsyncIterator[Process]:
    process = Process(store, clock)
    async with process.tiered.lifespan():
        yield process


@pytest.fixture
def entry(clock: FakeClock) -> Entry:
    return make_entry(created_at=clock.now(), ttl=None, tags=("t",))


def test_it_has_a_feed_where_the_back_has_one(clock: FakeClock) -> None:
    fed = tier(FakeStore(), clock)[0]
    assert isinstance(fed, Feed)
    assert isinstance(fed, Confirming)
    assert not isinstance(fed, Flights)
    plain = Tiered(MemoryBackend(), MemoryBackend())
    assert not isinstance(plain, Feed)
    assert not isinstance(plain, Confirming)


def test_it_passes_flights_on(clock: FakeClock) -> None:
    class Flying(FakeFeed):
        board = renew = append = log = flight_news = FakeFeed.voided

    assert isinstance(Tiered(MemoryBackend(), Flying(FakeStore(), clock)), Flights)


async def test_what_another_process_replaced_leaves_the_front(
    one: Process, other: Process, entry: Entry
) -> None:
    await one.tiered.put(entry)
    assert (await other.tiered.get(entry.key)) == entry
    newer = replace(entry, version="newer")
    await one.tiered.put(newer)
    await caught_up(one.back, other.back)
    assert other.held(entry) is None
    assert await other.tiered.get(entry.key) == newer
    assert one.held(entry) == newer  # told of its own change, it keeps what it wrote
    assert (await other.tiered.measure())["feed_dropped"] == 1
    assert (await one.tiered.measure())["feed_dropped"] == 0


@pytest.mark.parametrize("removal", ["delete", "delete_tagged", "clear", "remove"])
async def test_what_another_process_removed_leaves_the_front(
    one: Process, other: Process, entry: Entry, removal: str
) -> None:
    await one.tiered.put(entry)
    await other.tiered.get(entry.key)
    removals: dict[str, Callable[[], Coroutine[Any, Any, int]]] = {
        "delete": lambda: one.tiered.delete([entry.key]),
        "delete_tagged": lambda: one.tiered.delete_tagged(["t"]),
        "clear": one.tiered.clear,
        "remove": lambda: one.tiered.remove(entry),
    }
    assert await removals[removal]() == 1
    await caught_up(other.back)
    assert other.held(entry) is None
    assert await other.tiered.get(entry.key) is None


async def test_what_was_written_is_stamped_with_its_generation(
    one: Process, store: FakeStore, entry: Entry
) -> None:
    await one.tiered.put(replace(entry, embedding=make_embedding()))
    kept = one.held(entry)
    assert kept is not None
    assert kept.generation == store.entries[entry.key].generation
    assert kept.embedding is None
    assert one.tiered._claims == {}
    assert one.tiered._puts == {}


async def test_front_has_at_once_what_is_written_behind(one: Process, store: FakeStore, entry: Entry) -> None:
    one.back.behind = True
    await one.tiered.put(entry)
    assert store.entries == {}
    assert await one.tiered.get(entry.key) == entry
    one.back.commit()
    await caught_up(one.back)
    kept = one.held(entry)
    assert kept is not None
    assert kept.generation == store.entries[entry.key].generation
    assert one.tiered._claims == {}
    assert one.tiered._puts == {}


async def test_fill_that_was_voided_leaves_the_front(one: Process, other: Process, entry: Entry) -> None:
    for behind in (False, True):
        one.back.behind = behind
        assert await one.tiered.get(entry.key) is None
        since = one.tiered.position(entry.key)
        await other.tiered.delete_tagged(["t"])
        stored = await one.tiered.fill(entry, since=since)
        assert one.front.holds(entry.key) is behind
        one.back.commit()
        assert await stored is None
        await asyncio.sleep(0)
        assert one.held(entry) is None
        assert await one.tiered.get(entry.key) is None
        assert one.tiered._claims == {}


async def test_fill_that_was_voided_takes_what_it_was_to_replace_from_the_front(
    one: Process, other: Process, entry: Entry
) -> None:
    await one.tiered.put(entry)
    await other.tiered.get(entry.key)
    other.back.failing.update(("changes", "news"))
    since = other.tiered.position(entry.key)
    await one.tiered.delete([entry.key])
    assert await other.tiered.get(entry.key) == entry  # not told yet
    assert await (await other.tiered.fill(replace(entry, version="newer"), since=since)) is None
    assert other.held(entry) is None


async def test_fill_that_was_voided_after_it_had_lost_its_claim_leaves_the_front(
    one: Process, other: Process, entry: Entry
) -> None:
    one.back.behind = True
    since = one.tiered.position(entry.key)
    await other.tiered.delete([entry.key])
    stored = await one.tiered.fill(entry, since=since)
    await one.tiered.delete_tagged(["another"])  # voids every claim: which keys carry the tag is not known
    assert one.held(entry) is not None
    one.back.commit()
    await asyncio.sleep(0)
    assert await stored is None
    assert one.held(entry) is None


async def test_write_behind_that_fails_stays_in_the_front(
    one: Process, clock: FakeClock, entry: Entry
) -> None:
    one.back.behind = True
    await one.tiered.put(entry)
    one.back.commit(BackendUnavailable("the disk is gone"))
    await caught_up(one.back)
    assert await one.tiered.get(entry.key) == entry
    clock.advance(60)
    assert await one.tiered.get(entry.key) is None
    assert one.tiered._claims == {}


async def test_write_behind_that_fails_gives_way_to_what_others_wrote_meanwhile(
    one: Process, other: Process, entry: Entry
) -> None:
    one.back.behind = True
    await one.tiered.put(entry)
    theirs = replace(entry, version="theirs")
    await other.tiered.put(theirs)
    await caught_up(one.back)
    assert await one.tiered.get(entry.key) == entry  # its own is still to come
    one.back.commit(BackendUnavailable("the disk is gone"))
    await asyncio.sleep(0)
    assert await one.tiered.get(entry.key) == theirs


async def test_of_two_writes_at_once_the_one_applied_last_remains(
    one: Process, other: Process, entry: Entry
) -> None:
    one.back.behind = other.back.behind = True
    theirs = replace(entry, version="theirs")
    await one.tiered.put(entry)
    await other.tiered.put(theirs)
    one.back.commit()
    other.back.commit()
    await caught_up(one.back, other.back)
    assert await one.tiered.get(entry.key) == theirs
    assert other.held(entry) == theirs


async def test_writes_of_one_process_applied_in_the_other_order_leave_what_the_store_holds(
    one: Process, store: FakeStore, entry: Entry
) -> None:
    later = replace(entry, version="later")
    one.back.behind = True
    await one.tiered.put(entry)
    await one.tiered.put(later)
    one.back._pending.reverse()
    one.back.commit()
    await caught_up(one.back)
    assert store.entries[entry.key] == entry
    assert await one.tiered.get(entry.key) == entry


async def test_refused_write_is_kept_and_the_error_raised(one: Process, entry: Entry) -> None:
    one.back.failing.add("fill")
    with pytest.raises(BackendUnavailable):
        await one.tiered.put(entry)
    now, before = (make_entry(number, created_at=entry.created_at) for number in (1, 2))
    with pytest.raises(BackendUnavailable):
        await one.tiered.fill(now, since=one.tiered.position(now.key))
    with pytest.raises(BackendUnavailable):  # it may have been invalidated since
        await one.tiered.fill(before, since=one.tiered.position(before.key) - 1)
    one.back.failing.clear()
    assert await one.tiered.get(entry.key) == entry
    assert one.front.holds(now.key)
    assert not one.front.holds(before.key)
    assert one.tiered._claims == {}


async def test_refused_write_is_let_go_of_when_something_was_invalidated_that_only_the_store_can_look_up(
    one: Process, entry: Entry
) -> None:
    one.back.failing.add("fill")
    with pytest.raises(BackendUnavailable):
        await one.tiered.put(entry)
    assert one.front.holds(entry.key)
    assert one.tiered._coherence is not None
    one.tiered._coherence._changed([Change(b"", 10**9)])
    assert not one.front.holds(entry.key)


async def test_refused_write_gives_way_to_what_others_write(
    one: Process, other: Process, entry: Entry
) -> None:
    one.back.failing.add("fill")
    with pytest.raises(BackendUnavailable):
        await one.tiered.put(entry)
    theirs = replace(entry, version="theirs")
    await other.tiered.put(theirs)
    await caught_up(one.back)
    assert await one.tiered.get(entry.key) == theirs


async def test_write_refused_after_others_wrote_is_not_kept(
    store: FakeStore, other: Process, clock: FakeClock, entry: Entry
) -> None:
    class Late(FakeFeed):
        async def fill(self, entry: Entry, *, since: int | None) -> asyncio.Future[int | None]:
            await self.put_by_another()
            raise BackendUnavailable("the store is gone")

        async def put_by_another(self) -> None:
            await other.tiered.put(replace(entry, version="theirs"))
            await caught_up(self)

    front = MemoryBackend(clock=clock)
    late = Tiered(front, Late(store, clock))
    async with late.lifespan():
        with pytest.raises(BackendUnavailable):
            await late.put(entry)
        assert held(front, entry.key) is None
        assert late._claims == {}


async def test_write_that_was_replaced_before_it_returned_is_not_kept(
    one: Process, other: Process, entry: Entry
) -> None:
    theirs = replace(entry, version="theirs")
    async with asyncio.TaskGroup() as group, one.back.halting("fill"):
        group.create_task(one.tiered.put(entry))
        await one.back.worked["fill"].wait()
        await other.tiered.put(theirs)
        await caught_up(one.back)
    assert one.held(entry) is None
    assert await one.tiered.get(entry.key) == theirs


async def test_refused_write_is_kept_before_the_feed_is_known(
    store: FakeStore, clock: FakeClock, entry: Entry
) -> None:
    process = Process(store, clock)
    process.back.failing.update(("fill", "changes"))
    async with process.tiered.lifespan():
        with pytest.raises(BackendUnavailable):
            await process.tiered.put(entry)
        assert process.held(entry) is entry


async def test_nothing_else_is_kept_before_the_feed_is_known(
    store: FakeStore, clock: FakeClock, entry: Entry
) -> None:
    process = Process(store, clock)
    process.back.failing.add("changes")
    async with process.tiered.lifespan():
        for behind in (False, True):
            process.back.behind = behind
            await process.tiered.put(entry)
            assert process.held(entry) is None
            process.back.commit()
            await caught_up_failing(process.back)
            assert process.held(entry) is None
        assert await process.tiered.get(entry.key) == entry
        assert await process.tiered.get_many([entry.key]) == [entry]
        assert process.held(entry) is None
        process.back.failing.clear()
        await caught_up(process.back)
        assert await process.tiered.get(entry.key) == entry
        assert process.held(entry) == entry
        assert (await process.tiered.measure())["feed_gaps"] == 0


async def caught_up_failing(back: FakeFeed) -> None:
    before = back.calls["changes"]
    await until(lambda: back.calls["changes"] > before)


async def test_a_store_that_hangs_lets_one_open(
    store: FakeStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hanging(FakeFeed):
        async def changes(self, after: int | None) -> object:  # type: ignore[override]  # never returns
            return await asyncio.Event().wait()

    monkeypatch.setattr("asynccache.backends._feed_follower.FIRST", 0.01)
    tiered = Tiered(MemoryBackend(clock=clock), Hanging(store, clock))
    with anyio.fail_after(1):
        async with tiered.lifespan():
            assert await tiered.get(b"k" * 32) is None


async def test_read_under_way_does_not_keep_what_was_replaced_meanwhile(
    one: Process, other: Process, entry: Entry
) -> None:
    await other.tiered.put(entry)

    async def many(key: bytes) -> object:
        return await one.tiered.get_many([key])

    reads: dict[str, Callable[[bytes], Coroutine[Any, Any, object]]] = {
        "get": one.tiered.get,
        "get_many": many,
    }
    for name, read in reads.items():
        async with asyncio.TaskGroup() as group, one.back.halting(name):
            group.create_task(read(entry.key))
            await one.back.worked[name].wait()
            await other.tiered.put(replace(entry, version=f"newer for {name}"))
            await caught_up(one.back)
        assert one.held(entry) is None
    assert one.tiered._claims == {}
    assert await one.tiered.get(entry.key) == replace(entry, version="newer for get_many")


async def test_read_under_way_keeps_what_the_feed_is_late_to_tell(
    one: Process, other: Process, entry: Entry
) -> None:
    """Told of its very generation, and of older ones, while reading it."""
    async with one.back.halting("changes"):
        await one.back.worked["changes"].wait()
        await other.tiered.put(replace(entry, version="older"))
        await other.tiered.put(entry)
        assert await one.tiered.get(entry.key) == entry
    await caught_up(one.back)
    assert one.held(entry) == entry


async def test_gap_empties_the_front_and_voids_what_is_under_way(
    one: Process, other: Process, store: FakeStore, entry: Entry
) -> None:
    second = make_entry(1, created_at=entry.created_at, ttl=None)
    await one.tiered.put(entry)
    await other.tiered.put(second)
    async with asyncio.TaskGroup() as group, one.back.halting("get"):
        group.create_task(one.tiered.get(second.key))
        await one.back.worked["get"].wait()
        store.forget()
        await caught_up(one.back)
        assert one.held(entry) is None
    assert one.held(second) is None
    assert (await one.tiered.measure())["feed_gaps"] == 1
    assert await one.tiered.get(entry.key) == entry
    await other.tiered.delete([entry.key])
    await caught_up(one.back)
    assert one.held(entry) is None


async def test_front_serves_on_for_front_ttl_while_the_feed_cannot_be_read(
    one: Process, other: Process, clock: FakeClock, entry: Entry
) -> None:
    await one.tiered.put(entry)
    one.back.failing.update(("changes", "news", "get"))
    await other.tiered.delete([entry.key])
    await caught_up_failing(one.back)
    assert await one.tiered.get(entry.key) == entry
    clock.advance(60)
    with pytest.raises(BackendUnavailable):
        await one.tiered.get(entry.key)


async def test_feed_is_read_on_from_where_it_was(one: Process, other: Process, entry: Entry) -> None:
    unchanged = make_entry(1, created_at=entry.created_at, ttl=None)
    await one.tiered.put(entry)
    await one.tiered.put(unchanged)
    one.back.failing.update(("changes", "news"))
    await caught_up_failing(one.back)
    await other.tiered.delete([entry.key])
    one.back.failing.clear()
    await caught_up(one.back)
    assert one.held(entry) is None
    assert one.held(unchanged) == unchanged
    assert (await one.tiered.measure())["feed_gaps"] == 0


async def test_a_feed_that_fails_in_its_own_way_is_reported_and_followed_on(
    one: Process, other: Process, entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))
    await one.tiered.put(entry)
    failure = TypeError("a bug")

    async def news(seconds: float) -> None:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(one.back, "news", news)
        await until(lambda: bool(reported))
    await other.tiered.delete([entry.key])
    await caught_up(one.back)
    assert one.held(entry) is None
    assert reported[0] is failure


async def test_reads_of_the_feed_keep_their_distance(one: Process, other: Process, entry: Entry) -> None:
    await caught_up(one.back)
    before, began = one.back.calls["changes"], asyncio.get_running_loop().time()
    for version in range(200):
        await other.tiered.put(replace(entry, version=str(version)))
        await asyncio.sleep(0)
    took = asyncio.get_running_loop().time() - began
    # One read for each 5 ms, and one more for each ten changes that did not fit into one.
    assert one.back.calls["changes"] - before <= took / 0.005 + 22


async def test_added_entry_is_kept_once_it_is_read(one: Process, store: FakeStore, entry: Entry) -> None:
    assert await one.tiered.add(entry) is True
    assert one.held(entry) is None  # its generation is not known
    assert await one.tiered.get(entry.key) == entry
    kept = one.held(entry)
    assert kept is not None
    assert kept.generation == store.entries[entry.key].generation


async def test_front_is_empty_once_closed(store: FakeStore, clock: FakeClock, entry: Entry) -> None:
    process = Process(store, clock)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(process.tiered.lifespan())
        async with process.tiered.lifespan():
            await process.tiered.put(entry)
        assert process.held(entry) is not None  # still open
    assert process.held(entry) is None
    async with process.tiered.lifespan():
        assert await process.tiered.get(entry.key) == entry
        assert process.held(entry) == entry


@pytest.mark.parametrize("voided", [False, True])
async def test_cancelled_fill_leaves_no_claim_and_nothing_in_the_front(
    one: Process, other: Process, store: FakeStore, entry: Entry, voided: bool
) -> None:
    since = store.number if voided else None
    await other.tiered.delete([entry.key])
    cancelled = 0

    async def fill() -> None:
        nonlocal cancelled
        await one.tiered.put(replace(entry, version="older"))
        cancelled += 1
        await one.tiered.fill(entry, since=since)
        cancelled -= 1

    async def check() -> None:
        nonlocal cancelled
        if cancelled:
            assert one.held(entry) is None
        assert one.tiered._claims == {}
        assert one.tiered._puts == {}
        cancelled = 0

    assert await cancel_at_every_step(fill, check) >= 4


async def test_over_one_file_each_sees_what_the_other_does_within_a_second(
    path: Path, clock: FakeClock, entry: Entry
) -> None:
    fronts = [MemoryBackend(clock=clock) for _ in range(2)]
    one, other = (Tiered(front, SqliteBackend(path, clock=clock)) for front in fronts)
    async with one.lifespan(), other.lifespan():
        await one.put(entry)
        assert await other.get(entry.key) == entry
        assert all(front.holds(entry.key) for front in fronts)
        newer = replace(entry, version="newer")
        await other.put(newer)
        assert await one.confirmed([entry.key]) == [newer]
        await one.delete([entry.key])
        await until(lambda: not fronts[1].holds(entry.key))
        assert await other.get(entry.key) is None
