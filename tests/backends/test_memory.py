"""The memory backend: the contract, and what only it promises."""

from __future__ import annotations

import gc
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from asynccache._errors import ConfigurationError
from asynccache._models import Alias, Cost, Embedding, Entry, Response
from asynccache._protocols import (
    Backend,
    Clearable,
    Clock,
    Conditional,
    Labels,
    Managed,
    Measurable,
    Taggable,
    Vectors,
)
from asynccache.backends import MemoryBackend
from asynccache.backends.memory import size_of
from asynccache.testing import BackendContract, FakeClock, make_entry
from asynccache.testing._mirror import Mirror
from asynccache.testing.entries import SPACE, make_embedding

pytestmark = pytest.mark.anyio


class TestMemoryBackend(BackendContract):
    def make_backend(self, tmp_path: Path, clock: Clock) -> Backend:
        return MemoryBackend(clock=clock)


def run_without_loop(coroutine: Any) -> Any:
    """Run a coroutine that may not suspend."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it suspended")


def test_it_has_every_capability() -> None:
    backend = MemoryBackend()
    for capability in (Conditional, Taggable, Clearable, Measurable, Vectors, Labels, Managed):
        assert isinstance(backend, capability)


def test_get_finishes_without_suspending() -> None:
    clock = FakeClock()
    backend = MemoryBackend(clock=clock)
    entry = make_entry(created_at=clock.now())
    run_without_loop(backend.put(entry))
    assert run_without_loop(backend.get(entry.key)) is entry
    assert run_without_loop(backend.get(b"absent")) is None


async def test_least_recently_used_entry_leaves_first() -> None:
    clock = FakeClock()
    backend = MemoryBackend(max_entries=2, clock=clock)
    one, two, three = (make_entry(n, created_at=clock.now()) for n in range(3))
    await backend.put(one)
    await backend.put(two)
    await backend.get(one.key)
    await backend.put(three)
    assert await backend.get_many([one.key, two.key, three.key]) == [one, None, three]
    measured = await backend.measure()
    assert (measured["entries"], measured["evictions"]) == (2, 1)


async def test_byte_budget_is_never_exceeded() -> None:
    clock = FakeClock()
    backend = MemoryBackend(max_bytes=20_000, clock=clock)
    for number in range(50):
        await backend.put(make_entry(number, created_at=clock.now(), response=Response(bytes(number * 40))))
        assert (await backend.measure())["bytes"] <= 20_000
    assert (await backend.measure())["entries"] > 2


async def test_entry_beyond_the_whole_budget_is_not_kept_nor_its_predecessor() -> None:
    clock = FakeClock()
    backend = MemoryBackend(max_bytes=10_000, clock=clock)
    small, other = (make_entry(n, created_at=clock.now(), tags=("t",)) for n in range(2))
    await backend.put(small)
    await backend.put(other)
    await backend.put(make_entry(0, created_at=clock.now(), response=Response(bytes(10_000)), tags=("t",)))
    assert await backend.get_many([small.key, other.key]) == [None, other]
    assert await backend.delete_tagged(["t"]) == 1


async def test_tag_index_forgets_what_leaves() -> None:
    clock = FakeClock()
    backend = MemoryBackend(max_entries=10, clock=clock)
    for number in range(30):  # evicts
        await backend.put(make_entry(number, created_at=clock.now(), ttl=5.0, tags=("same", f"own-{number}")))
    await backend.put(make_entry(29, created_at=clock.now(), ttl=5.0, tags=()))  # replaces
    await backend.delete([make_entry(28, created_at=0).key])
    assert backend._tagged.keys() == {"same", *(f"own-{n}" for n in range(20, 28))}
    assert len(backend._tagged["same"]) == 8
    clock.advance(5)
    for number in range(30):  # expires
        assert await backend.get(make_entry(number, created_at=0).key) is None
    assert backend._tagged == {}


async def test_scan_gives_nothing_that_left_since_it_began() -> None:
    clock = FakeClock()
    backend = MemoryBackend(clock=clock)
    entries = [make_entry(n, created_at=clock.now() + n, ttl=ttl) for n, ttl in enumerate((60, 60, 5, 60))]
    for entry in entries:
        await backend.put(entry)
    seen = []
    async for entry in backend.scan():
        seen.append(entry)
        if entry is entries[0]:
            await backend.delete([entries[1].key])
            clock.advance(10)
    assert seen == [entries[0], entries[3]]


async def test_kept_entry_leaves_after_its_seconds_or_its_ttl() -> None:
    clock = FakeClock()
    backend = MemoryBackend(clock=clock)
    long = make_entry(1, created_at=clock.now(), ttl=None)
    short = make_entry(2, created_at=clock.now(), ttl=5.0)
    for entry in (long, short):
        backend.keep(entry, seconds=8.0)
    clock.advance(5)
    assert await backend.get_many([long.key, short.key]) == [long, None]
    clock.advance(3)
    assert await backend.get(long.key) is None


async def follow(backend: MemoryBackend, mirror: Mirror, expected: list[Entry]) -> None:
    await mirror.follow(backend)
    assert mirror.live(0.0) == Mirror.of(expected)


async def test_vector_that_leaves_for_want_of_room_or_by_expiry_is_told() -> None:
    clock = FakeClock()
    backend = MemoryBackend(max_entries=3, clock=clock)
    entries = [
        make_entry(n, created_at=clock.now(), ttl=5.0 + n, embedding=make_embedding(n)) for n in range(6)
    ]
    mirror = Mirror()
    for number in range(3):
        await backend.put(entries[number])
    await follow(backend, mirror, entries[:3])
    for number in range(3, 5):
        await backend.put(entries[number])
    await follow(backend, mirror, entries[2:5])
    clock.advance(8)
    for entry in entries:
        await backend.get(entry.key)
    await follow(backend, mirror, entries[4:5])
    assert await backend.vector_groups() == [(entries[4].partition, SPACE, 1)]


async def test_trail_is_bounded_and_what_it_has_lost_is_a_gap() -> None:
    clock = FakeClock()
    backend = MemoryBackend(clock=clock)
    start = (await backend.vector_changes(None)).cursor
    for number in range(5_001):  # each is a coming and a going, of which the first is only a coming
        await backend.put(make_entry(1, created_at=clock.now(), embedding=make_embedding(number)))
    assert (await backend.vector_changes(start)).gap
    last = await backend.vector_changes(start + 1)
    assert [change.row is not None for change in last.changes] == [True]
    assert (last.more, last.gap, last.cursor) == (True, False, start + 257)
    assert (await backend.vector_changes(start + 10_001)) == ([], start + 10_001, False, False)


async def test_entries_without_embeddings_leave_no_trail() -> None:
    clock = FakeClock()
    backend = MemoryBackend(clock=clock)
    start = (await backend.vector_changes(None)).cursor
    for number in range(10):
        await backend.put(make_entry(number % 3, created_at=clock.now()))
    await backend.clear()
    assert await backend.vector_changes(start) == ([], start, False, False)
    assert backend._trail._groups == {}


def real_entry(number: int, *, frames: int, tags: int) -> Entry:
    """An entry none of whose objects are shared with another, except partition and common tag."""
    return Entry(
        key=os.urandom(32),
        partition=PARTITION,
        dialect="chat.completions",
        response=Response(os.urandom(1500), tuple(os.urandom(180) for _ in range(frames))),
        created_at=1.7e9 + number,
        ttl=3600.0 + number,
        question="".join(chr(97 + byte % 26) for byte in os.urandom(80)),
        tags=("everything", *(f"document-{number}-{n}" for n in range(tags)))[: tags + 1],
        cost=Cost(prompt_tokens=1000 + number, completion_tokens=2000 + number, seconds=number / 3),
        embedding=Embedding(SPACE, os.urandom(1536)) if number % 2 else None,
        alias=Alias(os.urandom(32), number / 7, os.urandom(16)) if number % 3 == 0 else None,
    )


PARTITION = os.urandom(32)


@pytest.mark.parametrize(("frames", "tags"), [(0, 0), (0, 2), (40, 1)])
@pytest.mark.parametrize("count", [300, 3000])
def test_counted_bytes_are_the_real_ones_within_a_quarter(count: int, frames: int, tags: int) -> None:
    clock = FakeClock(1.7e9)
    backend = MemoryBackend(max_bytes=2**40, clock=clock)
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(count):
            backend.keep(real_entry(number, frames=frames, tags=tags))
        gc.collect()
        real = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    counted = run_without_loop(backend.measure())["bytes"]
    assert 0.75 * real <= counted <= 1.25 * real


def test_every_part_of_an_entry_counts() -> None:
    plain = make_entry(created_at=0, tags=(), question=None, embedding=None)
    changes: list[dict[str, Any]] = [
        {"response": Response(bytes(1000), plain.response.frames)},
        {"response": Response(plain.response.body, (*plain.response.frames, bytes(1000)))},
        {"question": "q" * 1000},
        {"tags": ("t" * 1000,)},
        {"embedding": Embedding(SPACE, bytes(1000))},
        {"alias": Alias(bytes(1000), 0.5, SPACE)},
    ]
    for fields in changes:
        larger = make_entry(created_at=0, **{"tags": (), "question": None, "embedding": None, **fields})
        assert size_of(larger) >= size_of(plain) + 900


@pytest.mark.parametrize("options", [{"max_entries": 0}, {"max_bytes": 0}, {"max_entries": -1}])
def test_budget_below_one_is_a_configuration_error(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="must be 1 or more"):
        MemoryBackend(**options)
